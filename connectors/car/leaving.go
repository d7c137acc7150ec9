package car

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// maxLeaving bounds the deletes that are collected.
const maxLeaving = 10_000

// leaving is what is to be deleted once everything before it is settled.
type leaving struct {
	vertices map[*collection][]string
	edges    map[*collection][]string
	places   map[gapless.Hash128]struct{}
}

func (l *leaving) reset() {
	*l = leaving{vertices: map[*collection][]string{}, edges: map[*collection][]string{}, places: map[gapless.Hash128]struct{}{}}
}

func (l *leaving) any() bool { return len(l.places) > 0 }

func (l *leaving) has(at gapless.Hash128) bool {
	_, ok := l.places[at]
	return ok
}

// remove collects a delete.
func (s *session) remove(c *collection, id string) error {
	list := s.leaving.vertices
	if c.edge {
		if _, _, ok := wire.SplitEdgeKey(id); !ok {
			return fmt.Errorf("the key %s is not that of an edge, FROM|TO", clip(id))
		}
		list = s.leaving.edges
	}
	at := c.place(id)
	if s.leaving.has(at) {
		return nil
	}
	s.leaving.places[at] = struct{}{}
	list[c] = append(list[c], id)
	s.deleted[c.name]++
	if len(s.leaving.places) >= maxLeaving {
		s.rotate()
	}
	return nil
}

// retire sends deletes, several at once.
func (s *session) retire(ctx context.Context, l *leaving) error {
	source := s.destination.opts.Source
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.inFlight)
	for _, c := range slices.SortedFunc(maps.Keys(l.edges), vertexFirst) {
		for _, key := range l.edges[c] {
			g.Go(func() error { return s.patchEdge(ctx, c, key, map[string]any{"active": false}) })
		}
	}
	for _, c := range slices.SortedFunc(maps.Keys(l.vertices), vertexFirst) {
		g.Go(func() error { return s.client.DeleteVertices(ctx, source, c.name, l.vertices[c]) })
	}
	return g.Wait()
}

// patchEdge changes fields of an edge. What it joins is known better here than
// by the collection's name.
func (s *session) patchEdge(ctx context.Context, c *collection, key string, fields map[string]any) error {
	from, to, _ := wire.SplitEdgeKey(key)
	end := func(collection, id string) string { return wire.ExternalID(collection, wire.VertexID(collection, id)) }
	return s.client.PatchEdge(ctx, c.name, s.destination.opts.Source, end(c.from, from), end(c.to, to), fields)
}
