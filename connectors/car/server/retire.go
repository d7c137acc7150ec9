package server

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// retireBlock is how many rows are retired at a time.
const retireBlock = 1000

// retire does what a job of retirement says, from wherever a server before
// this one had come. Rows that are sent meanwhile stay: their version is that
// of the generation by then.
func (s *Server) retire(ctx context.Context, j *job, src *source) error {
	err := s.retireRows(ctx, j, src)
	if errors.Is(err, gapless.ErrFenced) {
		j.Status, j.StatusCode, j.Error = statusError, http.StatusConflict, "the source belongs to a runner of the server itself"
		err = s.save(ctx, j, true)
	}
	return err
}

func (s *Server) retireRows(ctx context.Context, j *job, src *source) error {
	snapshot, err := src.corpus.Snapshot(ctx, true)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	present, err := src.corpus.Collections(ctx)
	if err != nil {
		return err
	}
	vertices, edges := s.schemas.current().rows(present)
	collections := slices.Concat(edges, vertices) // so that no edge is ever seen without its ends
	if !j.Decided {
		shares, err := staleShares(ctx, snapshot, collections, j.Generation)
		if err != nil {
			return err
		}
		refused := maps.Clone(shares)
		maps.DeleteFunc(refused, func(_ string, h share) bool { return !h.refuses() })
		if len(refused) > 0 {
			return s.refuseRetirement(ctx, j, src, refused)
		}
		collections = slices.DeleteFunc(collections, func(name string) bool { return shares[name].Rows == 0 })
		// Durable no later than the first row that is retired.
		j.Decided = true
		if err := s.save(ctx, j, false); err != nil {
			return err
		}
	}
	j.Retired = map[string]int{}
	for _, name := range collections {
		if j.Retired[name], err = s.retireCollection(ctx, j, src, snapshot, name); err != nil {
			return err
		}
	}
	if err := s.closeFull(ctx, j, src); err != nil {
		return err
	}
	j.Status = statusComplete
	return s.save(ctx, j, true)
}

// stale reports whether a row is older than a generation.
func stale(version string, generation uint64) bool {
	n, err := strconv.ParseUint(version, 10, 64)
	return err == nil && n < generation
}

// staleShares returns how much of each collection is stale.
func staleShares(ctx context.Context, snapshot Snapshot, collections []string, generation uint64) (map[string]share, error) {
	shares := map[string]share{}
	for _, name := range collections {
		var h share
		err := snapshot.Records(ctx, name, "", "", func(r gapless.Record) error {
			h.Of++
			if stale(r.Version, generation) {
				h.Rows++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		shares[name] = h
	}
	return shares, nil
}

// refuseRetirement ends the job in an error that says what to approve. The
// full import stays open.
func (s *Server) refuseRetirement(ctx context.Context, j *job, src *source, refused map[string]share) error {
	j.Status, j.StatusCode, j.Code, j.Refused = statusError, http.StatusUnprocessableEntity, gapless.CodeGuard.String(), refused
	j.Error = refusedMessage(j)
	_, err := src.alter(ctx, s.opts.Now(), func(doc *document, _ bool, _ *writing) (*document, error) {
		if doc.state.Generation != j.Generation {
			return nil, nil //nolint:nilnil // another full import has begun since
		}
		doc.state.Refused = &refusal{Job: j.ID, Generation: j.Generation, Retiring: refused}
		return doc, nil
	})
	if err != nil {
		return err
	}
	s.opts.Logger.WarnContext(ctx, "a retirement of car rows was refused", "source", j.Source, "job", j.ID, "reason", j.Error)
	return s.save(ctx, j, true)
}

// retireCollection retires the stale rows of one collection, in blocks, and
// returns how many.
func (s *Server) retireCollection(ctx context.Context, j *job, src *source, snapshot Snapshot, name string) (retired int, err error) {
	reason := reasonFull
	if j.Remove {
		reason = reasonRemoved
	}
	block := make([]string, 0, retireBlock)
	flush := func() error {
		n, err := s.retireBlock(ctx, src, name, block, j.Generation, reason)
		retired, block = retired+n, block[:0]
		return err
	}
	err = snapshot.Records(ctx, name, "", "", func(r gapless.Record) error {
		if !stale(r.Version, j.Generation) {
			return nil
		}
		if block = append(block, r.Key); len(block) < retireBlock {
			return nil
		}
		return flush()
	})
	if err == nil && len(block) > 0 {
		err = flush()
	}
	return retired, err
}

// retireBlock retires those of keys that still are stale.
func (s *Server) retireBlock(ctx context.Context, src *source, name string, keys []string, generation uint64, reason string) (retired int, err error) {
	_, err = src.alter(ctx, s.opts.Now(), func(_ *document, _ bool, w *writing) (*document, error) {
		for _, key := range keys {
			r, err := src.corpus.Get(ctx, name, key)
			if errors.Is(err, gapless.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if stale(r.Version, generation) {
				w.retire(name, key, r.Data, reason)
			}
		}
		retired = w.retired
		return nil, nil //nolint:nilnil // the document stays
	})
	return retired, err
}

// closeFull notes that the full import has ended, unless another has begun
// since, or takes a source away that nobody has sent anything of since.
func (s *Server) closeFull(ctx context.Context, j *job, src *source) error {
	_, err := src.alter(ctx, s.opts.Now(), func(doc *document, exists bool, w *writing) (*document, error) {
		switch {
		case !exists || doc.state.Generation != j.Generation:
			return nil, nil //nolint:nilnil // nothing to note
		case !j.Remove:
			doc.state.Full, doc.state.Since, doc.state.Refused = false, 0, nil
			return doc, nil
		}
		holds, err := s.holdsRows(ctx, src)
		if _, used := doc.fields[fieldModel]; err != nil || holds || used {
			return nil, err
		}
		w.retire(wire.SourceField, src.name, doc.encode(), reasonRemoved)
		src.doc = nil
		return nil, nil //nolint:nilnil // the document is gone
	})
	return err
}

var errFound = errors.New("found")

// holdsRows reports whether a source has any active row.
func (s *Server) holdsRows(ctx context.Context, src *source) (bool, error) {
	present, err := src.corpus.Collections(ctx)
	if err != nil {
		return false, err
	}
	snapshot, err := src.corpus.Snapshot(ctx, true)
	if err != nil {
		return false, err
	}
	defer snapshot.Close()
	vertices, edges := s.schemas.current().rows(present)
	for _, name := range slices.Concat(vertices, edges) {
		err := snapshot.Records(ctx, name, "", "", func(gapless.Record) error { return errFound })
		if errors.Is(err, errFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
