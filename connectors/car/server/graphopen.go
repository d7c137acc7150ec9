package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/gapless-sync/gapless"
)

// OpenGraph returns the rows of a store for queries, without a server: it
// writes nothing and goes on with no job. Its extensions are those of this
// moment.
func OpenGraph(ctx context.Context, store Store) (Graph, error) {
	s := &Server{opts: Options{Store: store}, sources: map[string]*source{}}
	s.schemas.now.Store(newSchema(nil))
	facts, err := store.Open(ctx, "", false)
	if errors.Is(err, gapless.ErrNotFound) {
		return Graph{s}, nil
	}
	if err != nil {
		return Graph{}, fmt.Errorf("open the facts of the CAR service: %w", err)
	}
	s.facts = facts
	if err := s.loadExtensions(ctx); err != nil {
		return Graph{}, fmt.Errorf("read the schema extensions: %w", err)
	}
	return Graph{s}, nil
}
