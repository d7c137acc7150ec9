package mapping

import (
	"strconv"
	"strings"

	"github.com/expr-lang/expr/parser/utils"
)

// path leads from a record to a value in it.
type path struct {
	root  string
	steps []step
	// slot of root in the program; set when the program is laid out.
	slot int
}

// step is a field name, or an index if name is empty and index is not -1.
type step struct {
	name  string
	index int
}

// String returns the path as it would be written in an expression.
func (p *path) String() string {
	var b strings.Builder
	if utils.IsValidIdentifier(p.root) {
		b.WriteString(p.root)
	} else {
		b.WriteString("$env[" + strconv.Quote(p.root) + "]")
	}
	for _, s := range p.steps {
		switch {
		case s.index >= 0:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case utils.IsValidIdentifier(s.name):
			b.WriteString("." + s.name)
		default:
			b.WriteString("[" + strconv.Quote(s.name) + "]")
		}
	}
	return b.String()
}

// extend returns a path that goes one step further.
func (p *path) extend(s step) *path {
	steps := append(append([]step(nil), p.steps...), s)
	return &path{root: p.root, steps: steps}
}

// find returns the raw value at the path in the record being looked at; ok is
// false if the path leads nowhere.
func (p *path) find(r *record) (raw []byte, ok bool) {
	raw, ok = r.slot(p.slot)
	for i := 0; ok && i < len(p.steps); i++ {
		raw, ok = p.steps[i].in(raw)
	}
	return raw, ok
}

func (s *step) in(raw []byte) ([]byte, bool) {
	c := cursor{data: raw}
	if s.index >= 0 {
		if len(raw) == 0 || raw[0] != '[' || !c.open('[') {
			return nil, false
		}
		for i := 0; ; i++ {
			value, ok := c.element()
			if !ok || i == s.index {
				return raw[value.from:value.to], ok
			}
		}
	}
	if len(raw) == 0 || raw[0] != '{' || !c.open('{') {
		return nil, false
	}
	for {
		key, value, ok := c.field()
		if !ok {
			return nil, false
		}
		if string(text(raw[key.from:key.to])) == s.name {
			return raw[value.from:value.to], true
		}
	}
}
