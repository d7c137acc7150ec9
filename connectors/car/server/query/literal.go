package query

import (
	"strings"

	"github.com/tidwall/gjson"
	"github.com/vektah/gqlparser/v2/ast"
)

type literalKind uint8

const (
	nullLiteral literalKind = iota
	booleanLiteral
	numberLiteral
	textLiteral
	wordLiteral // a name without quotes, such as asc
	listLiteral
	objectLiteral
)

// literal is a value that a request gives, in the document or as a variable.
type literal struct {
	kind literalKind
	// text of a scalar; numbers as they were written.
	text   string
	items  []literal
	fields []member
	at     *ast.Position
}

// member is a field of an object, in the order of the request.
type member struct {
	name  string
	value literal
}

// literalDepth is how deep lists and objects of a variable nest.
const literalDepth = 32

func literalOf(v *ast.Value, variables map[string]literal) (literal, error) {
	l := literal{text: v.Raw, at: v.Position}
	switch v.Kind {
	case ast.Variable:
		value, ok := variables[v.Raw]
		if !ok {
			return l, mistake(v.Position, "the variable $%s is not declared", v.Raw)
		}
		value.at = v.Position
		return value, nil
	case ast.IntValue, ast.FloatValue:
		l.kind = numberLiteral
	case ast.StringValue, ast.BlockValue:
		l.kind = textLiteral
	case ast.BooleanValue:
		l.kind = booleanLiteral
	case ast.NullValue:
		l.kind = nullLiteral
	case ast.EnumValue:
		l.kind = wordLiteral
	case ast.ListValue, ast.ObjectValue:
		return childrenOf(v, variables)
	}
	return l, nil
}

func childrenOf(v *ast.Value, variables map[string]literal) (literal, error) {
	l := literal{kind: listLiteral, at: v.Position}
	if v.Kind == ast.ObjectValue {
		l.kind = objectLiteral
	}
	for _, child := range v.Children {
		value, err := literalOf(child.Value, variables)
		if err != nil {
			return l, err
		}
		if l.kind == listLiteral {
			l.items = append(l.items, value)
		} else {
			l.fields = append(l.fields, member{child.Name, value})
		}
	}
	return l, nil
}

// literalFrom is literalOf for JSON.
func literalFrom(r gjson.Result, depth int) (literal, error) {
	if depth > literalDepth {
		return literal{}, mistake(nil, "a variable nests deeper than %d levels", literalDepth)
	}
	switch {
	case r.Type == gjson.String:
		return literal{kind: textLiteral, text: r.Str}, nil
	case r.Type == gjson.Number:
		return literal{kind: numberLiteral, text: r.Raw}, nil
	case r.IsBool():
		return literal{kind: booleanLiteral, text: r.Raw}, nil
	case !r.IsArray() && !r.IsObject():
		return literal{kind: nullLiteral}, nil
	}
	l := literal{kind: listLiteral}
	if r.IsObject() {
		l.kind = objectLiteral
	}
	var err error
	r.ForEach(func(name, value gjson.Result) bool {
		var child literal
		child, err = literalFrom(value, depth+1)
		if l.kind == listLiteral {
			l.items = append(l.items, child)
		} else {
			l.fields = append(l.fields, member{name.String(), child})
		}
		return err == nil
	})
	return l, err
}

// isName reports whether a field can have this name.
func isName(s string) bool {
	return s != "" && (s[0] < '0' || s[0] > '9') && strings.IndexFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}

// list returns the items of a list; anything else is a list of itself.
func (l literal) list() []literal {
	if l.kind == listLiteral {
		return l.items
	}
	return []literal{l}
}
