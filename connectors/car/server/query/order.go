package query

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// ordering is one field of order_by.
type ordering struct {
	attribute attribute
	desc      bool
}

// maxOrderings is how many fields sort a list.
const maxOrderings = 16

func (p *planner) orderings(c *collection, l literal) ([]ordering, error) {
	var list []ordering
	if l.kind == nullLiteral {
		return nil, nil
	}
	for _, object := range l.list() {
		if object.kind != objectLiteral {
			return nil, mistake(l.at, "order_by takes an object such as {name: asc}, or a list of them")
		}
		for _, m := range object.fields {
			if !isName(m.name) || m.value.kind != wordLiteral && m.value.kind != textLiteral || m.value.text != "asc" && m.value.text != "desc" {
				return nil, mistake(l.at, "order_by %s takes asc or desc", m.name)
			}
			list = append(list, ordering{c.attribute(m.name), m.value.text == "desc"})
		}
	}
	if len(list) > maxOrderings {
		return nil, mistake(l.at, "order_by takes at most %d fields", maxOrderings)
	}
	return list, nil
}

// asStored reports whether rows come out of the graph in the order wanted,
// which is that of source and key.
func (l *list) asStored(sources []string) bool {
	if len(l.order) == 0 {
		return true
	}
	first := l.order[0]
	if first.desc || l.c.history {
		return false
	}
	switch first.attribute.kind {
	case idAttribute:
		return !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, "/") })
	case keyAttribute, externalIDAttribute:
		return len(sources) <= 1
	}
	return false
}

// rank orders values of different kinds; what is missing comes last.
func rank(t gjson.Type) int {
	switch t {
	case gjson.Number:
		return 0
	case gjson.String:
		return 1
	case gjson.False, gjson.True:
		return 2
	case gjson.JSON:
		return 3
	}
	return 4
}

func compareValues(a, b gjson.Result) int {
	if a.Type == gjson.Number && b.Type == gjson.Number {
		x, _ := numberOf(a.Raw)
		y, _ := numberOf(b.Raw)
		return x.compare(y)
	}
	if order := cmp.Compare(rank(a.Type), rank(b.Type)); order != 0 {
		return order
	}
	if a.Type == gjson.String {
		return strings.Compare(a.Str, b.Str)
	}
	return strings.Compare(a.Raw, b.Raw)
}

// picker keeps those rows of a list that its limit and offset can mean.
type picker struct {
	list *list
	// sorted says that rows do not come in the order wanted.
	sorted bool
	kept   []picked
	seen   int
}

// picked is a row with the values that sort it.
type picked struct {
	item   *item
	values []gjson.Result
	// at is its place among all rows, which decides between equals.
	at int
}

// end is how many rows from the first are needed; -1 for all.
func (l *list) end() int {
	if l.limit < 0 {
		return -1
	}
	return l.offset + l.limit
}

// full reports whether no further row can be meant.
func (p *picker) full() bool {
	return p.list.limit == 0 || !p.sorted && p.list.limit > 0 && len(p.kept) >= p.list.end()
}

// add takes a row and returns the one that is dropped for it, if any.
func (p *picker) add(it *item) (dropped *item) {
	if p.full() {
		return it
	}
	one := picked{item: it, at: p.seen}
	p.seen++
	if p.sorted {
		one.values = make([]gjson.Result, 0, len(p.list.order))
		for _, o := range p.list.order {
			one.values = append(one.values, it.value(o.attribute))
		}
	}
	end := p.list.end()
	switch {
	case !p.sorted || end < 0:
		p.kept = append(p.kept, one)
	case len(p.kept) < end:
		heap.Push(p, one)
	case p.compare(one, p.kept[0]) >= 0:
		return it
	default:
		dropped = p.kept[0].item
		p.kept[0] = one
		heap.Fix(p, 0)
	}
	return dropped
}

// finish returns the rows in order, and those that the offset leaves out.
func (p *picker) finish() (items, dropped []*item) {
	if p.sorted {
		slices.SortFunc(p.kept, p.compare)
	}
	items = make([]*item, len(p.kept))
	for i, one := range p.kept {
		items[i] = one.item
	}
	p.kept = nil
	skip := min(p.list.offset, len(items))
	return items[skip:], items[:skip]
}

func (p *picker) compare(a, b picked) int {
	for i, o := range p.list.order {
		order := compareValues(a.values[i], b.values[i])
		if o.desc && a.values[i].Type != gjson.Null && b.values[i].Type != gjson.Null {
			order = -order
		}
		if order != 0 {
			return order
		}
	}
	return cmp.Compare(a.at, b.at)
}

// The heap has the last of the kept rows on top.

func (p *picker) Len() int           { return len(p.kept) }
func (p *picker) Less(i, j int) bool { return p.compare(p.kept[i], p.kept[j]) > 0 }
func (p *picker) Swap(i, j int)      { p.kept[i], p.kept[j] = p.kept[j], p.kept[i] }
func (p *picker) Push(x any)         { p.kept = append(p.kept, x.(picked)) }
func (p *picker) Pop() any {
	last := p.kept[len(p.kept)-1]
	p.kept = p.kept[:len(p.kept)-1]
	return last
}
