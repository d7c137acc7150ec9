package framework

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// rules validates rows against the import schema of a service. The nil rules
// let everything pass.
type rules struct {
	whole *jsonschema.Resolved
	// rows are the rules of single collections, where they can be told apart.
	rows map[string]*rowRules
}

// rowRules are the rules of the rows of one collection. All but a few rows
// satisfy those that quick knows, which are decided on without decoding;
// whatever quick does not know is left to the schema.
type rowRules struct {
	schema *jsonschema.Resolved
	quick  map[string]*quickRule // by field; nil if nothing can be decided
	// required fields; the bits of a set stand for them in this order.
	required []string
}

// schemaBase is what relative references of a schema are relative to.
const schemaBase = "https://car.invalid/"

// compileRules compiles an import schema. A schema that allows everything
// gives nil.
func compileRules(text json.RawMessage) (*rules, error) {
	var root jsonschema.Schema
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("decode the import schema: %w", err)
	}
	if isTrivial(text) {
		return nil, nil //nolint:nilnil // no rules are rules
	}
	if mayNotEnd(gjson.ParseBytes(text)) {
		return nil, errors.New("the import schema refers to itself, or to what is not found in it")
	}
	resolved, err := root.Resolve(&jsonschema.ResolveOptions{BaseURI: schemaBase})
	if err != nil {
		return nil, fmt.Errorf("compile the import schema: %w", err)
	}
	r := &rules{whole: resolved, rows: map[string]*rowRules{}}
	if !separable(&root) {
		return r, nil
	}
	for name, collection := range root.Properties {
		if collection.Type != "array" || collection.Items == nil || !separableList(collection) {
			continue
		}
		// A schema that refers to definitions of the whole cannot stand alone.
		if schema, err := collection.Items.CloneSchemas().Resolve(&jsonschema.ResolveOptions{BaseURI: schemaBase}); err == nil {
			r.rows[name] = newRowRules(schema)
		}
	}
	return r, nil
}

// isTrivial reports whether a schema says at most that a report is an object.
func isTrivial(text json.RawMessage) bool {
	trivial := true
	gjson.ParseBytes(text).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "$schema", "$id", "$comment", "title", "description":
		case "type":
			trivial = value.Str == "object"
		default:
			trivial = false
		}
		return trivial
	})
	return trivial
}

// mayNotEnd reports whether references of a schema may form a circle, in which
// a validation never ends: some do, or lead where they are not followed here.
func mayNotEnd(root gjson.Result) bool {
	const entered, left = 1, 2
	state := map[string]int{}
	var visit func(node gjson.Result) bool
	visit = func(node gjson.Result) (found bool) {
		node.ForEach(func(key, value gjson.Result) bool {
			switch {
			case value.IsObject() || value.IsArray():
				found = visit(value)
			case key.Str == "$dynamicRef" || key.Str == "$recursiveRef":
				found = true
			case key.Str == "$ref" && state[value.Str] != left:
				target := pointedAt(root, value.Str)
				found = !target.Exists() || state[value.Str] == entered
				state[value.Str] = entered
				found = found || visit(target)
				state[value.Str] = left
			}
			return !found
		})
		return found
	}
	return visit(root)
}

// pointedAt returns what a reference such as #/$defs/asset means.
func pointedAt(root gjson.Result, ref string) gjson.Result {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return gjson.Result{}
	}
	for name := range strings.SplitSeq(path, "/") {
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		root = root.Map()[name]
	}
	return root
}

// separable reports whether a report satisfies a schema if each of its
// collections does: nothing but the properties says anything.
func separable(s *jsonschema.Schema) bool {
	c := *s
	c.ID, c.Schema, c.Comment, c.Title, c.Description, c.Type = "", "", "", "", "", ""
	c.Defs, c.Definitions, c.Properties, c.PropertyOrder, c.Extra = nil, nil, nil, nil, nil
	if c.AdditionalProperties != nil && isEmpty(c.AdditionalProperties) {
		c.AdditionalProperties = nil
	}
	return isEmpty(&c) && (s.Type == "" || s.Type == "object")
}

// separableList reports whether a list satisfies a schema if each item does.
func separableList(s *jsonschema.Schema) bool {
	c := *s
	c.Type, c.Items, c.Title, c.Description, c.Extra = "", nil, "", "", nil
	return isEmpty(&c)
}

func isEmpty(s *jsonschema.Schema) bool {
	text, err := json.Marshal(s)
	return err == nil && (string(text) == "true" || string(text) == "{}")
}

// check validates one row, alone. The service's rules for collections with
// keys are about fields that it makes of the key itself; so does check, on a
// copy.
func (r *rules) check(collection string, row []byte) error {
	if r == nil {
		return nil
	}
	if wire.Keyed(collection) {
		row = withKeyFields(collection, row)
	}
	rules := r.rows[collection]
	if rules != nil && rules.certain(row) {
		return nil
	}
	var fields map[string]any
	if err := json.Unmarshal(row, &fields); err != nil {
		return fmt.Errorf("decode the row: %w", err)
	}
	if rules != nil {
		return describe(rules.schema.Validate(fields))
	}
	return describe(r.whole.Validate(map[string]any{collection: []any{fields}}))
}

func describe(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next // the chain repeats the path of the schema at each step
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("the import schema refuses it: %w", err)
}

// withKeyFields returns the row with the fields that are copies of its key.
func withKeyFields(collection string, row []byte) []byte {
	key := gjson.GetBytes(row, "_key").Raw
	names := []string{"name"}
	if collection == "hostname" {
		names = []string{"host_name", "external_id"}
	}
	result := append([]byte(nil), row[:len(row)-1]...)
	for _, name := range names {
		result = append(result, `,"`+name+`":`+key...)
	}
	return append(result, '}')
}

// quickRule is what a schema says of one field, if that is simple enough.
type quickRule struct {
	// types of JSON that are allowed; all if there is none.
	types             []string
	pattern           *regexp.Regexp
	minimum, maximum  *float64
	shortest, longest *int // in characters
	enum              []string
	bit               uint64 // of a required field
}

// newRowRules finds the rules that can be decided on without decoding.
func newRowRules(resolved *jsonschema.Resolved) *rowRules {
	r := &rowRules{schema: resolved}
	s := resolved.Schema()
	c := *s
	c.Properties, c.Required = nil, nil
	if !separable(&c) || len(s.Required) > 64 {
		return r
	}
	r.quick, r.required = map[string]*quickRule{}, s.Required
	for name, field := range s.Properties {
		r.quick[name] = newQuickRule(field)
	}
	for i, name := range s.Required {
		if _, declared := r.quick[name]; !declared {
			r.quick[name] = &quickRule{}
		}
		if rule := r.quick[name]; rule != nil {
			rule.bit = 1 << i
		}
	}
	return r
}

// newQuickRule returns nil for a rule that is not simple.
func newQuickRule(s *jsonschema.Schema) *quickRule {
	q := &quickRule{types: s.Types, minimum: s.Minimum, maximum: s.Maximum, shortest: s.MinLength, longest: s.MaxLength}
	if s.Type != "" {
		q.types = []string{s.Type}
	}
	c := *s
	c.Type, c.Types, c.Minimum, c.Maximum, c.Title, c.Description = "", nil, nil, nil, "", ""
	c.MinLength, c.MaxLength = nil, nil
	c.Default, c.Examples, c.Comment, c.Pattern, c.Enum, c.Extra = nil, nil, "", "", nil, nil
	if !isEmpty(&c) {
		return nil
	}
	if s.Pattern != "" {
		pattern, err := regexp.Compile(s.Pattern)
		if err != nil {
			return nil
		}
		q.pattern = pattern
	}
	for _, value := range s.Enum {
		text, ok := value.(string)
		if !ok {
			return nil
		}
		q.enum = append(q.enum, text)
	}
	return q
}

// certain reports whether a row satisfies the rules for certain. If it does
// not, nothing is known yet.
func (r *rowRules) certain(row []byte) bool {
	if r.quick == nil {
		return false
	}
	ok := true
	var found uint64
	gjson.ParseBytes(row).ForEach(func(key, value gjson.Result) bool {
		rule, ruled := r.quick[key.Str]
		if ruled {
			ok = rule != nil && rule.allows(value)
		}
		if ok && ruled {
			found |= rule.bit
		}
		return ok
	})
	return ok && found == 1<<len(r.required)-1
}

func (q *quickRule) allows(v gjson.Result) bool {
	if len(q.types) > 0 && !slices.Contains(q.types, typeOf(v)) && (typeOf(v) != "integer" || !slices.Contains(q.types, "number")) {
		return false
	}
	switch v.Type {
	case gjson.String:
		length := utf8.RuneCountInString(v.Str)
		return (q.pattern == nil || q.pattern.MatchString(v.Str)) && (len(q.enum) == 0 || slices.Contains(q.enum, v.Str)) &&
			(q.shortest == nil || length >= *q.shortest) && (q.longest == nil || length <= *q.longest)
	case gjson.Number:
		return len(q.enum) == 0 && (q.minimum == nil || v.Num >= *q.minimum) && (q.maximum == nil || v.Num <= *q.maximum)
	}
	return len(q.enum) == 0
}

// typeOf returns the name of a value's type. A number that might be an integer
// in another spelling is called a number.
func typeOf(v gjson.Result) string {
	switch v.Type {
	case gjson.String:
		return "string"
	case gjson.True, gjson.False:
		return "boolean"
	case gjson.Null:
		return "null"
	case gjson.Number:
		for _, c := range v.Raw {
			if (c < '0' || c > '9') && c != '-' {
				return "number"
			}
		}
		return "integer"
	}
	if v.IsArray() {
		return "array"
	}
	return "object"
}
