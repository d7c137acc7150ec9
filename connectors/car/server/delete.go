package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// deleteVertices retires vertices and all their edges. What is not there is
// ignored, so that asking again is harmless.
func (s *Server) deleteVertices(c *exchange) error {
	ctx := c.r.Context()
	collection := c.path[2]
	if !wire.IsName(collection) || collection == wire.SourceField {
		return malformed("%q cannot be the name of a collection of vertices", clip(collection))
	}
	list, set, err := c.list("external_ids", "keys")
	if err != nil {
		return err
	}
	if !set {
		return malformed("neither external_ids nor keys says what to delete")
	}
	src, err := s.source(ctx, c.path[1], false)
	if err != nil {
		return err
	}
	vertices, edges := 0, 0
	if src != nil && len(list) > 0 {
		ids := map[string]bool{}
		for _, id := range list {
			ids[wire.VertexID(collection, id)] = true
		}
		if vertices, edges, err = s.retireVertices(ctx, src, collection, ids); err != nil {
			return err
		}
	}
	return c.reply(http.StatusOK, map[string]any{"status": statusComplete, "matched": vertices, "edges": edges})
}

// retireVertices retires the edges of vertices, and then these. A failure
// midway leaves the vertices, so that the same request completes it.
func (s *Server) retireVertices(ctx context.Context, src *source, collection string, ids map[string]bool) (vertices, edges int, err error) {
	doc, _, err := src.begin(ctx)
	if err != nil {
		return 0, 0, err
	}
	vertices, edges, err = s.retireFound(ctx, src, doc, collection, ids)
	src.end()
	if err != nil {
		return 0, 0, err
	}
	return vertices, edges, src.sync(ctx)
}

// retireFound does so for who has the turn, in blocks.
func (s *Server) retireFound(ctx context.Context, src *source, doc *document, collection string, ids map[string]bool) (vertices, edges int, err error) {
	snapshot, err := src.corpus.Snapshot(ctx, true)
	if err != nil {
		return 0, 0, err
	}
	defer snapshot.Close()
	w := src.writing(s.opts.Now(), doc)
	flush := func() error {
		_, err := src.commit(ctx, w, nil)
		w = src.writing(s.opts.Now(), doc)
		return err
	}
	retire := func(name string, r gapless.Record) error {
		w.retire(name, r.Key, r.Data, reasonDeleted)
		if w.retired < retireBlock {
			return nil
		}
		return flush()
	}
	edges, err = s.edgesOf(ctx, src, snapshot, collection, ids, retire)
	if err != nil {
		return 0, 0, err
	}
	for id := range ids {
		r, err := snapshot.Get(ctx, collection, id)
		if errors.Is(err, gapless.ErrNotFound) {
			continue
		}
		if err == nil {
			vertices++
			err = retire(collection, r)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return vertices, edges, flush()
}

// edgesOf calls fn for every edge that has one of these vertices as an end,
// once, and returns how many. Edges are found by the end they come from; those
// that lead to a vertex are looked for among all of their collection.
func (s *Server) edgesOf(ctx context.Context, src *source, n Snapshot, collection string, ids map[string]bool, fn func(edge string, r gapless.Record) error) (count int, err error) {
	present, err := src.corpus.Collections(ctx)
	if err != nil {
		return 0, err
	}
	schema := s.schemas.current()
	_, edges := schema.rows(present)
	for _, edge := range edges {
		leaves, leads := schema.joins(edge, collection)
		each := func(r gapless.Record) error {
			count++
			return fn(edge, r)
		}
		if leaves {
			for id := range ids {
				if err := n.Records(ctx, edge, wire.EdgesFrom(id), "", each); err != nil {
					return count, err
				}
			}
		}
		if !leads {
			continue
		}
		err := n.Records(ctx, edge, "", "", func(r gapless.Record) error {
			from, to, ok := wire.SplitEdgeKey(r.Key)
			if !ok || !ids[to] || leaves && ids[from] {
				return nil
			}
			return each(r)
		})
		if err != nil {
			return count, err
		}
	}
	return count, nil
}
