package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/mapping"
)

// reshaping holds what a connector says about records and their fields; it
// becomes a [mapping.Spec].
type reshaping struct {
	Filter string            `option:"filter" example:"size < 1000000" help:"Condition over a record's fields; records for which it is not true do not pass."`
	Map    map[string]string `option:"map" example:"{title: name}" help:"Fields that get a value, each with a field, a constant such as 'doc', or an expression."`
	Rename map[string]string `option:"rename" example:"{name: title}" help:"Fields that get another name, old to new."`
	Keep   []string          `option:"keep" example:"[name, size]" help:"The only fields that stay, besides those of map and rename."`
	Drop   []string          `option:"drop" example:"[internal]" help:"Fields that are removed."`
}

func (l *loader) mapping(n *node) mapping.Spec {
	var r reshaping
	v, ok := decode(l, n, &r)
	spec := mapping.Spec{Filter: r.Filter, Set: r.Map, Rename: r.Rename, Keep: r.Keep, Drop: r.Drop}
	if ok && slices.IndexFunc(mappingKeys, func(key string) bool { return v.broken[key] }) < 0 {
		l.compile(n, v, spec)
	}
	return spec
}

var mappingKeys = []string{"drop", "rename", "keep", "map", "filter"}

// compile reports every expression that cannot be used, and then whatever is
// wrong between them.
func (l *loader) compile(n *node, v given, spec mapping.Spec) {
	good := true
	for _, part := range parts(spec) {
		if _, err := mapping.Compile(part); err != nil {
			l.mistaken(n, v, err)
			good = false
		}
	}
	if _, err := mapping.Compile(spec); good && err != nil {
		l.mistaken(n, v, err)
	}
}

// parts splits a specification into one for each expression.
func parts(spec mapping.Spec) []mapping.Spec {
	list := []mapping.Spec{{Filter: spec.Filter}}
	for _, name := range slices.Sorted(maps.Keys(spec.Set)) {
		list = append(list, mapping.Spec{Set: map[string]string{name: spec.Set[name]}})
	}
	return list
}

func (l *loader) mistaken(n *node, v given, err error) {
	fix := ""
	if e, ok := errors.AsType[*gapless.Error](err); ok {
		fix = e.Hint
	}
	message, key, field := err.Error(), "", ""
	at := n.place
	if e, ok := errors.AsType[*mapping.ExpressionError](err); ok {
		key, field, _ = strings.Cut(e.Field, ".")
		message = fmt.Sprintf("%s: %s", e.Field, e.Problem)
		at = l.within(n, key, field, e)
	} else if i := slices.IndexFunc(mappingKeys, func(key string) bool { _, found := v.at[key]; return found }); i >= 0 {
		key = mappingKeys[i]
		at = v.at[key].value.place
	}
	if slices.ContainsFunc(mappingKeys, func(k string) bool { return v.environment[k] && (k == key || field == "") }) {
		message = key + ": what the reference stands for cannot be used"
	}
	l.add(at, gapless.CodeConfig, strings.Map(printable, message), fix)
}

// within returns where in the file an expression is wrong: the very character
// if the expression stands there as it was compiled, else its beginning.
func (l *loader) within(n *node, key, field string, e *mapping.ExpressionError) place {
	value, _ := n.get(key)
	if field != "" {
		value, _ = value.value.get(field)
	}
	if value.value == nil {
		return n.place
	}
	at := value.value.place
	if e.Line != 1 || at.line > len(l.lines) {
		return at
	}
	line := []rune(l.lines[at.line-1])
	rest := string(line[min(at.column-1, len(line)):])
	unquoted := strings.TrimLeft(rest, `"'`)
	if strings.HasPrefix(unquoted, e.Expression) {
		at.column += len(rest) - len(unquoted) + e.Column - 1
	}
	return at
}

func mappingSchema(properties map[string]*jsonschema.Schema) {
	for _, o := range gapless.DescribeOptions(new(reshaping)) {
		properties[o.Name] = optionSchema(o)
	}
}

func (w *sampleWriter) mapping(indent string) {
	w.comment(indent, "Which records pass, and what becomes of their fields. For example:")
	w.options(indent+"# ", gapless.DescribeOptions(new(reshaping)))
	w.line("")
}
