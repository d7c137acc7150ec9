package query

import (
	"errors"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// ref identifies a vertex among those of a collection.
type ref struct{ source, key string }

// expand reads what is nested in the rows of one level, which are distinct:
// one pass for each edge collection, whatever the number of rows, or a seek for
// each row where the edges begin at it.
func (x *execution) expand(sel *selection, items []*item) error {
	for _, it := range items {
		it.slots = make([]slot, len(sel.nested))
	}
	if len(sel.nested) > 0 && len(items) > 0 {
		var err error
		if sel.c.edge() {
			err = x.readEnds(sel, items)
		} else {
			err = x.readEdges(sel, items)
		}
		if err != nil {
			return err
		}
		for i, n := range sel.nested {
			if n.list.sel == nil {
				continue
			}
			if err := x.expand(n.list.sel, below(items, i)); err != nil {
				return err
			}
		}
	}
	for _, it := range items {
		it.rows = 1
		for _, s := range it.slots {
			for _, child := range s.items {
				it.rows = min(it.rows+child.rows, x.limits.Rows+1)
			}
		}
	}
	return nil
}

// below returns the distinct rows of one nested field.
func below(items []*item, slot int) []*item {
	var list []*item
	seen := map[*item]bool{}
	for _, it := range items {
		for _, child := range it.slots[slot].items {
			if !seen[child] {
				seen[child] = true
				list = append(list, child)
			}
		}
	}
	return list
}

// vertices are the rows of a collection that were looked up; nil for those
// that are not there.
type vertices struct {
	x     *execution
	c     *collection
	where filter
	known map[ref]*item
}

func (x *execution) vertices(l *list) *vertices {
	return &vertices{x: x, c: l.c, where: l.where, known: map[ref]*item{}}
}

func (s *vertices) get(source, key string) (*item, error) {
	it, known := s.known[ref{source, key}]
	if known {
		return it, nil
	}
	v, err := s.x.lookup(s.c, source, key)
	if err != nil {
		return nil, err
	}
	if v != nil && (s.where == nil || s.where.match(v)) {
		if it, err = s.x.keep(v, 0); err != nil {
			return nil, err
		}
	}
	s.known[ref{source, key}] = it
	return it, s.x.hold(2 * len(key))
}

// readEnds reads the vertices at the ends of edges.
func (x *execution) readEnds(sel *selection, items []*item) error {
	for i, n := range sel.nested {
		ends := x.vertices(n.list)
		for _, it := range items {
			key := it.from()
			if n.kind == toNested {
				key = it.to()
			}
			end, err := ends.get(it.source, key)
			if err != nil {
				return err
			}
			if end != nil {
				it.slots[i].items = []*item{end}
			}
		}
	}
	return nil
}

// readEdges reads the edges of vertices, and with them their neighbours.
func (x *execution) readEdges(sel *selection, items []*item) error {
	for _, it := range items {
		for i, n := range sel.nested {
			it.slots[i].pick = &picker{list: n.list, sorted: len(n.list.order) > 0 && !n.list.asStored(nil)}
		}
	}
	var through []*collection
	for _, n := range sel.nested {
		for _, e := range n.edges {
			if !slices.Contains(through, e) {
				through = append(through, e)
			}
		}
	}
	for _, e := range through {
		if err := x.readThrough(sel, e, items); err != nil {
			return err
		}
	}
	for i, n := range sel.nested {
		if n.kind == neighboursNested {
			if err := x.readNeighbours(n, i, items); err != nil {
				return err
			}
		}
		for _, it := range items {
			s := &it.slots[i]
			var dropped []*item
			s.items, dropped = s.pick.finish()
			if n.kind == edgesNested {
				x.drop(dropped...)
			}
			s.pick = nil
		}
	}
	return nil
}

// readThrough reads the edges of one collection for all fields that need them.
func (x *execution) readThrough(sel *selection, e *collection, items []*item) error {
	var fields []int
	for i, n := range sel.nested {
		if slices.Contains(n.edges, e) {
			fields = append(fields, i)
		}
	}
	r := edgeReader{x: x, sel: sel, e: e, fields: fields}
	if e.to == sel.c.name {
		return r.scan(items)
	}
	for _, it := range items {
		if err := r.seek(it); err != nil {
			return err
		}
	}
	return nil
}

// edgeReader hands the edges of one collection to the nested fields that need
// them.
type edgeReader struct {
	x      *execution
	sel    *selection
	e      *collection
	fields []int
}

// seek reads the edges that begin at a vertex.
func (r *edgeReader) seek(it *item) error {
	err := r.x.rows(r.e, it.source, wire.EdgesFrom(it.key), "", func(v *view) error {
		if r.full(it) {
			return errEnough
		}
		return r.give(it, v, v.to())
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// full reports whether a vertex needs no further edges.
func (r *edgeReader) full(it *item) bool {
	return !slices.ContainsFunc(r.fields, func(i int) bool {
		return r.sel.nested[i].kind != edgesNested || !it.slots[i].pick.full()
	})
}

// scan reads all edges of the sources of the vertices.
func (r *edgeReader) scan(items []*item) error {
	at := make(map[ref]*item, len(items))
	var sources []string
	for _, it := range items {
		at[ref{it.source, it.key}] = it
		if !slices.Contains(sources, it.source) {
			sources = append(sources, it.source)
		}
	}
	for _, source := range sources {
		err := r.x.rows(r.e, source, "", "", func(v *view) error {
			from, to := v.from(), v.to()
			if it := at[ref{source, to}]; it != nil {
				if err := r.give(it, v, from); err != nil {
					return err
				}
			}
			if r.e.from != r.sel.c.name || from == to {
				return nil
			}
			if it := at[ref{source, from}]; it != nil {
				return r.give(it, v, to)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// give hands an edge of a vertex to the fields; other is the id at its other
// end.
func (r *edgeReader) give(it *item, v *view, other string) error {
	for _, i := range r.fields {
		n, s := r.sel.nested[i], &it.slots[i]
		if n.kind == neighboursNested {
			other = strings.Clone(other)
			s.ids = append(s.ids, other)
			if err := r.x.hold(len(other) + 16); err != nil {
				return err
			}
			continue
		}
		if n.list.where != nil && !n.list.where.match(v) {
			continue
		}
		if n.kind == countNested {
			s.count++
			continue
		}
		if s.pick.full() {
			continue
		}
		edge, err := r.x.keep(v, len(n.list.order))
		if err != nil {
			return err
		}
		r.x.drop(s.pick.add(edge))
	}
	return nil
}

// readNeighbours reads the vertices whose ids were found.
func (x *execution) readNeighbours(n *nested, slot int, items []*item) error {
	found := x.vertices(n.list)
	for _, it := range items {
		s := &it.slots[slot]
		slices.Sort(s.ids)
		for _, id := range slices.Compact(s.ids) {
			if s.pick.full() {
				break
			}
			neighbour, err := found.get(it.source, id)
			if err != nil {
				return err
			}
			if neighbour == nil {
				continue
			}
			s.pick.add(neighbour)
			if err := x.hold(16 + len(n.list.order)*valueBytes); err != nil {
				return err
			}
		}
		s.ids = nil
	}
	return nil
}
