package query

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

// filter says whether a row is meant. A nil filter means every row.
type filter interface{ match(v *view) bool }

type (
	allOf  []filter
	anyOf  []filter
	noneOf struct{ filter }
)

func (f allOf) match(v *view) bool {
	return !slices.ContainsFunc(f, func(one filter) bool { return !one.match(v) })
}

func (f anyOf) match(v *view) bool {
	return slices.ContainsFunc(f, func(one filter) bool { return one.match(v) })
}

func (f noneOf) match(v *view) bool { return !f.filter.match(v) }

type operator uint8

const (
	opEq operator = iota
	opNeq
	opGt
	opGte
	opLt
	opLte
	opIn
	opNin
	opLike
	opIlike
)

func operatorNames() []string {
	return []string{"_eq", "_neq", "_gt", "_gte", "_lt", "_lte", "_in", "_nin", "_like", "_ilike"}
}

// test compares one field.
type test struct {
	attribute attribute
	op        operator
	operand   operand
	texts     map[string]struct{} // of _in and _nin
	numbers   map[number]struct{}
	pattern   pattern
}

// operand is a value to compare with.
type operand struct {
	null bool
	// bare says that it was given as a number, not as text.
	bare     bool
	text     string
	number   number
	isNumber bool
}

func operandOf(l literal) (operand, bool) {
	o := operand{null: l.kind == nullLiteral, bare: l.kind == numberLiteral, text: l.text}
	o.number, o.isNumber = numberOf(l.text)
	return o, l.kind <= textLiteral
}

// where compiles conditions on the rows of a collection.
func (p *planner) where(c *collection, l literal) (filter, error) {
	switch l.kind {
	case nullLiteral:
		return nil, nil //nolint:nilnil // no condition, no mistake
	case objectLiteral:
	default:
		return nil, mistake(l.at, "where takes an object such as {name: {_eq: \"a\"}}")
	}
	all := allOf{}
	for _, m := range l.fields {
		one, err := p.condition(c, m, l)
		if err != nil {
			return nil, err
		}
		if one != nil {
			all = append(all, one)
		}
	}
	return all, nil
}

func (p *planner) condition(c *collection, m member, parent literal) (filter, error) {
	if len(m.value.fields) == 0 { // nothing in it counts
		if err := p.spend(1, parent); err != nil {
			return nil, err
		}
	}
	switch m.name {
	case "_and", "_or", "_not":
		if m.value.kind == nullLiteral {
			return nil, nil //nolint:nilnil // no condition, no mistake
		}
	}
	switch m.name {
	case "_and":
		list, err := p.conditions(c, m.value)
		return allOf(list), err
	case "_or":
		list, err := p.conditions(c, m.value)
		return anyOf(list), err
	case "_not":
		one, err := p.where(c, m.value)
		if one == nil || err != nil {
			return nil, err
		}
		return noneOf{one}, nil
	}
	at := m.value.at
	if at == nil {
		at = parent.at
	}
	if !isName(m.name) || strings.HasPrefix(m.name, "__") {
		return nil, mistake(at, "%q cannot be the name of a field", m.name)
	}
	if slices.Contains(operatorNames(), m.name) {
		return nil, mistake(at, "%s compares a field: write {FIELD: {%s: ...}}", m.name, m.name)
	}
	if m.value.kind != objectLiteral {
		return nil, mistake(at, "the condition on %s takes an object such as {_eq: \"a\"}", m.name)
	}
	all := allOf{}
	for _, comparison := range m.value.fields {
		t, err := p.test(c.attribute(m.name), comparison)
		if err != nil {
			return nil, mistakeIn(err, at, "the condition on "+m.name)
		}
		all = append(all, t)
	}
	return all, nil
}

func (p *planner) conditions(c *collection, l literal) ([]filter, error) {
	var list []filter
	for _, one := range l.list() {
		f, err := p.where(c, one)
		if err != nil {
			return nil, err
		}
		if f != nil {
			list = append(list, f)
		}
		if err := p.spend(1, l); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// spend counts values of conditions.
func (p *planner) spend(n int, l literal) error {
	if p.values += n; p.values > p.limits.Values {
		return mistake(l.at, "the conditions have more than %d values", p.limits.Values)
	}
	return nil
}

func (p *planner) test(a attribute, m member) (*test, error) {
	op := slices.Index(operatorNames(), m.name)
	if op < 0 {
		e := mistake(m.value.at, "there is no operator %s", m.name)
		e.Hint = gapless.DidYouMean(m.name, operatorNames())
		return nil, e
	}
	t := &test{attribute: a, op: operator(op)}
	if err := p.spend(1, m.value); err != nil {
		return nil, err
	}
	if t.op == opIn || t.op == opNin {
		return t, p.fill(t, m.value)
	}
	var ok bool
	if t.operand, ok = operandOf(m.value); !ok {
		return nil, mistake(m.value.at, "%s takes a string, a number, true, false or null", m.name)
	}
	if t.operand.null && t.op != opEq && t.op != opNeq {
		return nil, mistake(m.value.at, "%s cannot compare with null", m.name)
	}
	if t.op == opLike || t.op == opIlike {
		if m.value.kind != textLiteral || len(m.value.text) > patternBytes {
			return nil, mistake(m.value.at, "%s takes a string of at most %d bytes", m.name, patternBytes)
		}
		t.pattern = compilePattern(m.value.text, t.op == opIlike)
	}
	return t, nil
}

// fill reads the list of _in or _nin.
func (p *planner) fill(t *test, l literal) error {
	items := l.list()
	if err := p.spend(len(items), l); err != nil {
		return err
	}
	t.texts, t.numbers = make(map[string]struct{}, len(items)), map[number]struct{}{}
	for _, item := range items {
		o, ok := operandOf(item)
		if !ok || o.null {
			return mistake(l.at, "%s takes a list of strings, numbers, true or false", operatorNames()[t.op])
		}
		t.texts[o.text] = struct{}{}
		if o.isNumber {
			t.numbers[o.number] = struct{}{}
		}
	}
	return nil
}

func (t *test) match(v *view) bool {
	got := v.value(t.attribute)
	if got.Type == gjson.Null {
		return t.op == opEq && t.operand.null
	}
	switch t.op {
	case opEq:
		return !t.operand.null && t.equal(got)
	case opNeq:
		return t.operand.null || !t.equal(got)
	case opIn:
		return t.contains(got)
	case opNin:
		return !t.contains(got)
	case opLike, opIlike:
		return got.Type == gjson.String && t.pattern.match(got.Str)
	}
	order, ok := t.compare(got)
	if !ok {
		return false
	}
	switch t.op {
	case opGt:
		return order > 0
	case opGte:
		return order >= 0
	case opLt:
		return order < 0
	}
	return order <= 0
}

func (t *test) equal(got gjson.Result) bool {
	switch got.Type {
	case gjson.String:
		return got.Str == t.operand.text
	case gjson.Number:
		n, ok := numberOf(got.Raw)
		return ok && t.operand.isNumber && n == t.operand.number
	case gjson.True, gjson.False:
		return got.Raw == t.operand.text
	}
	return false
}

func (t *test) contains(got gjson.Result) bool {
	found := false
	switch got.Type {
	case gjson.String:
		_, found = t.texts[got.Str]
	case gjson.Number:
		if n, ok := numberOf(got.Raw); ok {
			_, found = t.numbers[n]
		}
	case gjson.True, gjson.False:
		_, found = t.texts[got.Raw]
	}
	return found
}

// compare orders a stored value and the operand: as numbers if the stored one
// is a number or the operand was given as one, or else as text.
func (t *test) compare(got gjson.Result) (order int, ok bool) {
	switch {
	case got.Type == gjson.Number, got.Type == gjson.String && t.operand.bare:
		n, ok := numberOf(got.String())
		if got.Type == gjson.Number {
			n, ok = numberOf(got.Raw)
		}
		return n.compare(t.operand.number), ok && t.operand.isNumber
	case got.Type == gjson.String:
		return strings.Compare(got.Str, t.operand.text), true
	}
	return 0, false
}

// choices returns, sorted, the texts of which a text has to be one; ok is false
// if the test does not say so.
func (t *test) choices() (list []string, ok bool) {
	switch {
	case t.op == opEq && !t.operand.null:
		return []string{t.operand.text}, true
	case t.op == opIn:
		return slices.Sorted(maps.Keys(t.texts)), true
	}
	return nil, false
}

// number is a JSON number; integers are exact.
type number struct {
	integer bool
	i       int64
	f       float64
}

// exactFloat is up to where floating point has every integer.
const exactFloat = 1 << 53

// numberOf reads a number as JSON writes them; ok is false for anything else.
func numberOf(s string) (n number, ok bool) {
	if s == "" || s[0] != '-' && (s[0] < '0' || s[0] > '9') || strings.Trim(s, "0123456789+-.eE") != "" {
		return n, false
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return number{integer: true, i: i}, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return n, false
	}
	if f == math.Trunc(f) && math.Abs(f) < exactFloat {
		return number{integer: true, i: int64(f)}, true
	}
	return number{f: f}, true
}

func (n number) float() float64 {
	if n.integer {
		return float64(n.i)
	}
	return n.f
}

func (n number) compare(other number) int {
	a, b := n.float(), other.float()
	switch {
	case n.integer && other.integer && n.i != other.i:
		if n.i < other.i {
			return -1
		}
		return 1
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
