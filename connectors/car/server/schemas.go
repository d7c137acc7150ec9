package server

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gapless-sync/gapless/connectors/car/server/query"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// schemas holds the collections that there are.
type schemas struct {
	changes sync.Mutex // held while an extension is stored
	now     atomic.Pointer[schema]
}

func (s *schemas) current() *schema { return s.now.Load() }

// schema is the core collections and those of the extensions.
type schema struct {
	extensions      map[string]*extension
	vertices, edges map[string]bool
	added           []string // vertices that are not core
}

func newSchema(extensions map[string]*extension) *schema {
	s := &schema{extensions: extensions, vertices: map[string]bool{}, edges: map[string]bool{}}
	for _, name := range wire.Vertices() {
		s.vertices[name] = true
	}
	for _, name := range wire.Edges() {
		s.edges[name] = true
	}
	for _, e := range extensions {
		for _, v := range e.declared.Vertices {
			if !s.vertices[v.Name] {
				s.vertices[v.Name] = true
				s.added = append(s.added, v.Name)
			}
		}
		for _, edge := range e.declared.Edges {
			s.edges[edge.name()] = true
		}
	}
	slices.Sort(s.added)
	return s
}

// conflict returns what is wrong with extensions that give one name two
// meanings: rows that are stored would not be what they were.
func (s *schema) conflict() error {
	ends := map[string]edgeType{}
	for _, key := range sortedKeys(s.extensions) {
		for _, edge := range s.extensions[key].declared.Edges {
			name := edge.name()
			if other, twice := ends[name]; twice && other.End1 != edge.End1 {
				return refuse(http.StatusConflict, codeConflict, "%s would join %s and %s, or %s and %s", name, other.End1, other.End2, edge.End1, edge.End2)
			}
			ends[name] = edge
		}
	}
	for _, name := range s.added {
		tagged, isTag := strings.CutPrefix(name, "tag_")
		if s.edges[name] || isTag && s.vertices[tagged] {
			return refuse(http.StatusConflict, codeConflict, "%s would be a collection of vertices and one of edges", name)
		}
	}
	return nil
}

// collections returns the names of all collections, sorted.
func (s *schema) collections() (vertices, edges []string) {
	return slices.Sorted(maps.Keys(s.vertices)), slices.Sorted(maps.Keys(s.edges))
}

// isEdge reports whether the rows of a collection that is imported are edges;
// ok says whether there is such a collection.
func (s *schema) isEdge(name string) (edge, ok bool) {
	switch tagged, isTag := strings.CutPrefix(name, "tag_"); {
	case s.vertices[name]:
		return false, true
	case s.edges[name], isTag && s.vertices[tagged]:
		return true, true
	}
	return false, false
}

// ends returns the collections that an edge collection joins.
func (s *schema) ends(name string) (from, to string, ok bool) {
	for _, e := range s.extensions {
		for _, edge := range e.declared.Edges {
			if edge.name() == name {
				return edge.End1, edge.End2, true
			}
		}
	}
	return wire.Ends(name, s.added...)
}

// joins reports whether the edges of a collection may leave vertices of
// another, and whether they may lead to them. If the extension that declared
// the edges is gone, its name has to do, which can be read in several ways.
func (s *schema) joins(edge, vertices string) (leaves, leads bool) {
	if _, known := s.isEdge(edge); known {
		from, to, _ := s.ends(edge)
		return from == vertices, to == vertices
	}
	return strings.HasPrefix(edge, vertices+"_"), strings.HasSuffix(edge, "_"+vertices)
}

// rows splits the collections that a corpus has into those of vertices and of
// edges; others hold no active rows. An extension may be gone since.
func (s *schema) rows(present []string) (vertices, edges []string) {
	for _, name := range present {
		if name == wire.SourceField || !wire.IsName(name) || strings.HasSuffix(name, query.HistorySuffix) {
			continue
		}
		if edge, known := s.isEdge(name); known && !edge {
			vertices = append(vertices, name)
		} else if _, _, ok := s.ends(name); ok {
			edges = append(edges, name)
		} else {
			vertices = append(vertices, name)
		}
	}
	return vertices, edges
}
