package query

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// collection is what the rows of one name are.
type collection struct {
	name string
	// from and to are the collections that an edge joins; empty for vertices.
	from, to string
	// history says that these are the retired rows.
	history bool
}

func (c *collection) edge() bool { return c.from != "" }

// stored is the name under which the graph has the rows.
func (c *collection) stored() string {
	if c.history {
		return c.name + HistorySuffix
	}
	return c.name
}

// typename is what __typename answers.
func (c *collection) typename() string {
	if c.history {
		return c.name + historyField
	}
	return c.name
}

// What follows a collection's name in the fields that count its rows and that
// read the retired ones.
const (
	aggregateField = "_aggregate"
	historyField   = "_history"
)

// schema is what collections there are.
type schema struct {
	byName map[string]*collection
	// edges of a vertex collection, in order of their names.
	edges map[string][]*collection
}

func readSchema(ctx context.Context, g Graph) (*schema, error) {
	vertices, edges, err := g.Collections(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the collections: %w", err)
	}
	s := &schema{byName: map[string]*collection{}, edges: map[string][]*collection{}}
	for _, name := range slices.Concat(wire.Vertices(), vertices) {
		s.byName[name] = &collection{name: name}
	}
	edges = slices.Concat(wire.Edges(), edges)
	slices.Sort(edges)
	for _, name := range slices.Compact(edges) {
		from, to, ok := wire.Ends(name, vertices...)
		if !ok || s.byName[name] != nil {
			continue
		}
		c := &collection{name: name, from: from, to: to}
		s.byName[name] = c
		s.edges[from] = append(s.edges[from], c)
		if to != from {
			s.edges[to] = append(s.edges[to], c)
		}
	}
	return s, nil
}

// history returns the retired rows that a field of this name reads, or nil.
func (s *schema) history(field string) *collection {
	name, ok := strings.CutSuffix(field, historyField)
	if c := s.byName[name]; ok && c != nil {
		retired := *c
		retired.history = true
		return &retired
	}
	return nil
}

// counted returns the collection whose rows a field of this name counts, or
// nil.
func (s *schema) counted(field string) *collection {
	name, ok := strings.CutSuffix(field, aggregateField)
	if !ok {
		return nil
	}
	if c := s.byName[name]; c != nil {
		return c
	}
	return s.history(name)
}

// end returns the collection of that name as the end of an edge, although
// there may be no row of it yet.
func (s *schema) end(name string) *collection {
	if c := s.byName[name]; c != nil && !c.edge() {
		return c
	}
	return &collection{name: name}
}

// joins reports whether an edge collection has this vertex collection as an
// end.
func (c *collection) joins(vertices string) bool {
	return c.edge() && (c.from == vertices || c.to == vertices)
}

// between returns the edge collections that join two vertex collections.
func (s *schema) between(one, other string) []*collection {
	var list []*collection
	for _, e := range s.edges[one] {
		if e.from == one && e.to == other || e.from == other && e.to == one {
			list = append(list, e)
		}
	}
	return list
}

func (s *schema) names() []string { return slices.Sorted(maps.Keys(s.byName)) }
