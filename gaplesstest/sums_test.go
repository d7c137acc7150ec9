package gaplesstest

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// split, sum and each are a [gapless.RangeSummer] of what a system in memory
// holds.
func (c contents) split(r gapless.KeyRange, n int) (cuts []string) {
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(c)), func(key string) bool { return !r.Holds(key) })
	for i := 1; i < n; i++ {
		if at := i * len(keys) / n; at > 0 && (len(cuts) == 0 || keys[at] > cuts[len(cuts)-1]) {
			cuts = append(cuts, keys[at])
		}
	}
	return cuts
}

func (c contents) sum(r gapless.KeyRange, cuts []string) ([]gapless.RangeSum, error) {
	sums, err := proof.NewSums(r, cuts)
	if err != nil {
		return nil, err
	}
	for key, content := range c {
		sums.Add([]byte(key), content)
	}
	return sums.Ranges(), nil
}

func (c contents) each(r gapless.KeyRange, fn func(key []byte, content gapless.Hash128) error) error {
	for _, key := range slices.Sorted(maps.Keys(c)) {
		if !r.Holds(key) {
			continue
		}
		if err := fn([]byte(key), c[key]); err != nil {
			return err
		}
	}
	return nil
}

// held returns what a session speaks for.
func (s *shelfSession) held(p gapless.Partition) contents {
	held, from := contents{}, s.flushed
	if s.flaw == "sums what is not synced" {
		from = s.pushed
	}
	for at, r := range from {
		if at[0] == p.Collection && strings.HasPrefix(at[1], p.Prefix) {
			held[at[1]] = proof.RecordHash([]byte(r.Version), r.Data, r.Parts)
		}
	}
	return held
}

// Split implements [gapless.RangeSummer].
func (s *shelfSession) Split(ctx context.Context, p gapless.Partition, r gapless.KeyRange, n int) (cuts []string, err error) {
	err = s.call(ctx, func() error { cuts = s.held(p).split(r, n); return nil })
	return cuts, err
}

// Sum implements [gapless.RangeSummer].
func (s *shelfSession) Sum(ctx context.Context, p gapless.Partition, r gapless.KeyRange, cuts []string) (sums []gapless.RangeSum, err error) {
	err = s.call(ctx, func() error { sums, err = s.held(p).sum(r, cuts); return err })
	return sums, err
}

// Contents implements [gapless.RangeSummer].
func (s *shelfSession) Contents(ctx context.Context, p gapless.Partition, r gapless.KeyRange, fn func(key []byte, content gapless.Hash128) error) error {
	var held contents
	if err := s.call(ctx, func() error { held = s.held(p); return nil }); err != nil {
		return err
	}
	return held.each(r, fn)
}

// held reads what a source has.
func (s *pagedSource) held(ctx context.Context, p gapless.Partition) (contents, error) {
	held := contents{}
	out := gapless.NewOutput(ctx, p, batchRows, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Rows {
			_, held[string(b.Key(i))] = proof.RowHash(b, i)
			if s.flaw == "sums keys alone" {
				held[string(b.Key(i))] = gapless.Hash128{}
			}
		}
		return &gapless.Batch{}, nil
	})
	err := s.ReadAll(ctx, p, "", out)
	if err == nil {
		err = out.Flush()
	}
	return held, err
}

// Split implements [gapless.RangeSummer].
func (s *pagedSource) Split(ctx context.Context, p gapless.Partition, r gapless.KeyRange, n int) ([]string, error) {
	held, err := s.held(ctx, p)
	return held.split(r, n), err
}

// Sum implements [gapless.RangeSummer].
func (s *pagedSource) Sum(ctx context.Context, p gapless.Partition, r gapless.KeyRange, cuts []string) ([]gapless.RangeSum, error) {
	held, err := s.held(ctx, p)
	if err != nil {
		return nil, err
	}
	return held.sum(r, cuts)
}

// Contents implements [gapless.RangeSummer].
func (s *pagedSource) Contents(ctx context.Context, p gapless.Partition, r gapless.KeyRange, fn func(key []byte, content gapless.Hash128) error) error {
	held, err := s.held(ctx, p)
	if err != nil {
		return err
	}
	return held.each(r, fn)
}
