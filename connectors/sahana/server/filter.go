package server

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// selector names a field of a record or of its components.
type selector struct {
	// component is a table, or the part of its name behind the underscore, or
	// an alias; empty for the record itself.
	component string
	// through are the references, one behind the other, by dollar signs, that
	// lead to the record which has the field.
	through string
	field   string
}

// maxThrough is how many references a selector may follow.
const maxThrough = 5

// finder returns a record, or nil if there is none.
type finder func(ident) *s3.Resource

// readSelector reads ~.field, name.field or component.field, where the field may
// be one of what is referenced, as in ~.organisation_id$name.
func readSelector(table, text string) (selector, bool) {
	of, path, ok := strings.Cut(text, ".")
	if !ok || of == "" || strings.ContainsAny(text, "|") || strings.Contains(path, ".") {
		return selector{}, false
	}
	steps := strings.Split(path, "$")
	if slices.Contains(steps, "") || len(steps) > maxThrough+1 {
		return selector{}, false
	}
	through, field := strings.Join(steps[:len(steps)-1], "$"), steps[len(steps)-1]
	_, short, _ := strings.Cut(table, "_")
	if of == ownTable || of == table || of == short {
		of = ""
	}
	return selector{of, through, field}, true
}

// normal returns a value as it is compared with those of the field; false if
// the field cannot have it.
func (s *selector) normal(value string) (string, bool) {
	switch s.field {
	case "id":
		_, err := strconv.ParseUint(value, 10, 64)
		return value, err == nil
	case "modified_on", "created_on":
		t, err := s3.ParseTime(value, s3.RulesPlain)
		return s3.FormatTime(t, s3.TimeNaive), err == nil
	}
	return value, true
}

// values appends what a record has in the field; nothing for no value.
func (s *selector) values(list []string, id uint64, r *s3.Resource, find finder) []string {
	if s.component == "" {
		return s.follow(list, id, r, s.through, find)
	}
	for i := range r.Components {
		c := &r.Components[i]
		_, short, _ := strings.Cut(c.Name, "_")
		if !c.Deleted && (s.component == c.Alias || s.component == short || s.component == c.Name) {
			list = s.follow(list, 0, c, s.through, find)
		}
	}
	return list
}

// follow appends what the field has at the end of references.
func (s *selector) follow(list []string, id uint64, r *s3.Resource, through string, find finder) []string {
	if through == "" {
		return appendValues(list, s.field, id, r)
	}
	step, rest, _ := strings.Cut(through, "$")
	f := r.Reference(step)
	if f == nil || find == nil {
		return list
	}
	for _, uuid := range append([]string{f.UUID}, f.UUIDs...) {
		if uuid == "" || f.Resource == "" {
			continue
		}
		if to := find(ident{f.Resource, uuid}); to != nil {
			list = s.follow(list, 0, to, rest, find)
		}
	}
	return list
}

func appendValues(list []string, field string, id uint64, r *s3.Resource) []string {
	add := func(text string) {
		if text != "" {
			list = append(list, text)
		}
	}
	switch field {
	case "id":
		add(strconv.FormatUint(id, 10))
	case "uuid":
		add(r.UUID)
	case "modified_on":
		add(s3.FormatTime(r.ModifiedOn, s3.TimeNaive))
	case "created_on":
		if !r.CreatedOn.IsZero() {
			add(s3.FormatTime(r.CreatedOn, s3.TimeNaive))
		}
	case "created_by":
		add(r.CreatedBy)
	case "modified_by":
		add(r.ModifiedBy)
	case "deleted":
		add(strconv.FormatBool(r.Deleted))
	case "mci":
		if r.MCI != nil {
			add(strconv.Itoa(*r.MCI))
		}
	default:
		return appendFieldValues(list, field, r)
	}
	return list
}

func appendFieldValues(list []string, field string, r *s3.Resource) []string {
	if f := r.Field(field); f != nil {
		return appendText(list, f)
	}
	if f := r.Reference(field); f != nil {
		if f.UUID != "" {
			list = append(list, f.UUID)
		}
		list = append(list, f.UUIDs...)
	}
	return list
}

// appendText appends the texts of a field's value, each one of a list.
func appendText(list []string, f *s3.Field) []string {
	if f.Value == nil {
		if f.Text != "" {
			list = append(list, f.Text)
		}
		return list
	}
	for _, v := range gjson.ParseBytes(f.Value).Array() {
		if v.Type != gjson.Null {
			list = append(list, v.String())
		}
	}
	return list
}

// filter lets records pass by a field.
type filter struct {
	selector selector
	op       string
	// values are alternatives.
	values []string
}

// isNull reports whether a filter says that there is no value.
func isNull(text string) bool { return text == "NONE" || text == "None" }

// passes reports whether a record passes all filters.
func passes(filters []filter, id uint64, r *s3.Resource, find finder) bool {
	for i := range filters {
		if !filters[i].passes(id, r, find) {
			return false
		}
	}
	return true
}

func (f *filter) passes(id uint64, r *s3.Resource, find finder) bool {
	values := f.selector.values(nil, id, r, find)
	switch f.op {
	case "contains": // all of them
		return !slices.ContainsFunc(f.values, func(want string) bool { return !anyIs(values, "eq", want) })
	case "ne":
		for _, want := range f.values {
			if isNull(want) && len(values) == 0 || anyIs(values, "eq", want) {
				return false
			}
		}
		return true
	}
	for _, want := range f.values {
		if isNull(want) && len(values) == 0 && (f.op == "eq" || f.op == "belongs") || anyIs(values, f.op, want) {
			return true
		}
	}
	return false
}

func anyIs(values []string, op, want string) bool {
	for _, value := range values {
		if is(value, op, want) {
			return true
		}
	}
	return false
}

// is compares a value with that of a filter.
func is(value, op, want string) bool {
	switch op {
	case "like":
		return matches(strings.ToLower(value), strings.ToLower(want))
	case "lt":
		return order(value, want) < 0
	case "le":
		return order(value, want) <= 0
	case "gt":
		return order(value, want) > 0
	case "ge":
		return order(value, want) >= 0
	}
	return value == want || order(value, want) == 0
}

// order compares two values: numbers, times, or texts.
func order(a, b string) int {
	if x, err := strconv.ParseFloat(a, 64); err == nil {
		if y, err := strconv.ParseFloat(b, 64); err == nil {
			return cmp.Compare(x, y)
		}
	}
	if x, ok := asTime(a); ok {
		if y, ok := asTime(b); ok {
			return x.Compare(y)
		}
	}
	return strings.Compare(a, b)
}

func asTime(text string) (t time.Time, ok bool) {
	if len(text) < len(time.DateOnly) || text[4] != '-' {
		return t, false
	}
	t, err := s3.ParseTime(text, s3.RulesPlain)
	return t, err == nil
}

// matches reports whether text is as a pattern says, in which a star stands for
// anything.
func matches(text, pattern string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return text == pattern
	}
	text, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return strings.HasSuffix(text, last)
}
