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

// Collection is what rows of one name are.
type Collection struct {
	Name string
	// From and To are the collections that an edge joins; empty for vertices.
	From, To string
}

// Collections returns what a graph has, with what every service has, in order
// of their names.
func Collections(ctx context.Context, g Graph) ([]Collection, error) {
	vertices, edges, err := g.Collections(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the collections: %w", err)
	}
	known := map[string]Collection{}
	for _, name := range slices.Concat(wire.Vertices(), vertices) {
		known[name] = Collection{Name: name}
	}
	for _, name := range slices.Concat(wire.Edges(), edges) {
		from, to, ok := wire.Ends(name, vertices...)
		if _, vertex := known[name]; ok && !vertex {
			known[name] = Collection{name, from, to}
		}
	}
	return slices.SortedFunc(maps.Values(known), func(a, b Collection) int { return strings.Compare(a.Name, b.Name) }), nil
}

func readSchema(ctx context.Context, g Graph) (*schema, error) {
	all, err := Collections(ctx, g)
	if err != nil {
		return nil, err
	}
	s := &schema{byName: map[string]*collection{}, edges: map[string][]*collection{}}
	for _, one := range all {
		c := &collection{name: one.Name, from: one.From, to: one.To}
		s.byName[c.name] = c
		if c.edge() {
			s.edges[c.from] = append(s.edges[c.from], c)
			if c.to != c.from {
				s.edges[c.to] = append(s.edges[c.to], c)
			}
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
