package query

import (
	"slices"
	"strings"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// span is a part of a collection of one source: the row of key if it is one, or
// else the rows that are stored under prefix and behind after, of which those
// of key unless that is empty.
type span struct {
	one           bool
	key           string
	prefix, after string
}

// spans returns the parts of the list's collection that can have rows that the
// list means. Each row in them still has to be matched.
func (l *list) spans(source string) []span {
	whole := span{}
	var narrow []span
	narrowed := false
	for _, t := range conjuncts(l.where, nil) {
		if t.attribute.kind == sourceAttribute && !t.match(&view{c: l.c, source: source}) {
			return nil
		}
		if t.attribute.kind == idAttribute && t.op == opGt && !t.operand.bare && !l.c.history {
			if !whole.behind(l.idPrefix(source), t.operand.text) {
				return nil
			}
		}
		if texts, ok := t.choices(); ok && !narrowed {
			narrow, narrowed = l.narrow(source, t.attribute.kind, texts)
		}
	}
	if !narrowed {
		return []span{whole}
	}
	for i := range narrow {
		narrow[i].after = whole.after
	}
	return narrow
}

// conjuncts returns the tests that every row has to pass.
func conjuncts(f filter, list []*test) []*test {
	switch f := f.(type) {
	case allOf:
		for _, one := range f {
			list = conjuncts(one, list)
		}
	case *test:
		list = append(list, f)
	}
	return list
}

// idPrefix is what the ids of a source begin with; the key follows.
func (l *list) idPrefix(source string) string {
	if l.c.edge() {
		return source + "/"
	}
	return wire.GraphID(source, l.c.name, "")
}

// behind leaves out the rows up to an id; it reports false if none remain.
func (s *span) behind(prefix, id string) bool {
	switch key, ok := strings.CutPrefix(id, prefix); {
	case ok:
		s.after = max(s.after, key)
	case prefix < id:
		return false
	}
	return true
}

// narrow returns the spans in which an attribute has one of these values; ok is
// false if that cannot be told.
func (l *list) narrow(source string, kind attributeKind, texts []string) (spans []span, ok bool) {
	prefix := ""
	switch kind {
	case idAttribute:
		prefix = l.idPrefix(source)
	case externalIDAttribute:
		prefix = wire.ExternalID(l.c.name, "")
	case keyAttribute:
	case fromIDAttribute:
		prefix = wire.GraphID(source, l.c.from, "")
	case fromExternalIDAttribute:
		prefix = wire.ExternalID(l.c.from, "")
	default:
		return nil, false
	}
	for _, text := range texts {
		key, ok := strings.CutPrefix(text, prefix)
		switch {
		case !ok:
		case kind == fromIDAttribute || kind == fromExternalIDAttribute:
			spans = append(spans, span{prefix: wire.EdgesFrom(key)})
		case l.c.history:
			spans = append(spans, span{key: key, prefix: key + "@"})
		default:
			spans = append(spans, span{one: true, key: key})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return strings.Compare(a.key+a.prefix, b.key+b.prefix) })
	return spans, true
}
