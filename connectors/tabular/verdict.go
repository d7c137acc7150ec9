package tabular

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"

	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
)

// verdicts say for each operation, counted over all layers from the oldest,
// what becomes of its line.
type verdicts struct {
	// dropped holds a bit for each superseded operation.
	dropped []uint64
	// patched holds the operations of records that have patches.
	patched map[uint64]*patchedRecord
	// clean: every operation is an upsert that stays.
	clean bool
}

// patchedRecord collects a record while its operations go by.
type patchedRecord struct {
	line []byte
	last uint64 // its last operation: there the line is written
}

func (v *verdicts) drop(ordinal uint64) {
	v.dropped[ordinal/64] |= 1 << (ordinal % 64)
	v.clean = false
}

func (v *verdicts) isDropped(ordinal uint64) bool { return v.dropped[ordinal/64]>>(ordinal%64)&1 != 0 }

// judge finds out which operation is the last of its key. It reads the index of
// the segments twice and that of the base once; only keys that may occur more
// than once are sorted.
func (s *store) judge(ctx context.Context, m *meta) (*verdicts, error) {
	total, changes := uint64(0), uint64(0)
	for _, e := range m.layers() {
		total += e.Ops
	}
	for _, e := range m.Segments {
		changes += e.Ops
	}
	v := &verdicts{dropped: make([]uint64, total/64+1), patched: map[uint64]*patchedRecord{}, clean: true}
	// Few keys occur twice, as a rule; a small set of them stays in the cache.
	once, twice := newFilter(changes), newFilter(changes/8)
	order := newSorter(s.disk, filepath.Join(s.dir, "sort.tmp"))
	defer order.close()
	numbers := collectionNumbers(m.Scopes)
	err := s.scan(ctx, m, m.Segments, total-changes, func(_ uint64, e entry) error {
		h := identity(numbers[e.scope], e.key)
		if e.op != gapless.OpUpsert {
			v.clean = false
		}
		if once.add(h) {
			twice.add(h)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	collect := func(ordinal uint64, e entry) error {
		number := numbers[e.scope]
		h := identity(number, e.key)
		if ordinal < total-changes { // of the base
			if !once.has(h) {
				return nil
			}
			twice.add(h)
		} else if e.op != gapless.OpPatch && !twice.has(h) {
			return nil
		}
		return order.add(item{collection: number, ordinal: ordinal, op: e.op, key: e.key})
	}
	if err := s.scan(ctx, m, m.layers(), 0, collect); err != nil {
		return nil, err
	}
	return v, order.chains(v.drop, v.settle)
}

// settle judges the operations that decide about one key.
func (v *verdicts) settle(chain []item) error {
	if len(chain) == 1 && chain[0].op != gapless.OpPatch {
		return nil
	}
	record := &patchedRecord{last: chain[len(chain)-1].ordinal}
	for _, it := range chain {
		if it.op != gapless.OpDelete {
			v.patched[it.ordinal] = record
		}
	}
	v.clean = false
	return nil
}

// scan calls fn for the entries of layers, counted from first.
func (s *store) scan(ctx context.Context, m *meta, layers []extent, first uint64, fn func(ordinal uint64, e entry) error) error {
	for _, layer := range layers {
		if err := s.scanLayer(ctx, m, layer, first, fn); err != nil {
			return err
		}
		first += layer.Ops
	}
	return nil
}

func (s *store) scanLayer(ctx context.Context, m *meta, layer extent, ordinal uint64, fn func(ordinal uint64, e entry) error) error {
	f, err := os.Open(s.file(layer, indexSuffix))
	if err != nil {
		return damaged(s.dir, err)
	}
	defer f.Close()
	r := newIndexReader(f, layer.Index, len(m.Scopes))
	for end := ordinal + layer.Ops; ; ordinal++ {
		e, err := r.next()
		if errors.Is(err, io.EOF) && ordinal == end {
			return nil
		}
		if err != nil || ordinal == end {
			return damaged(s.dir, fmt.Errorf("index %s, entry %d of %d: %w", layer.Name, ordinal+layer.Ops-end, layer.Ops, err))
		}
		if ordinal%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := fn(ordinal, e); err != nil {
			return err
		}
	}
}

// collectionNumbers numbers the collections of scopes: a key identifies a
// record within its collection, whatever partition it came in.
func collectionNumbers(scopes []scope) []uint32 {
	numbers := make([]uint32, len(scopes))
	seen := map[string]uint32{}
	for i, sc := range scopes {
		n, ok := seen[sc.Collection]
		if !ok {
			n = uint32(len(seen))
			seen[sc.Collection] = n
		}
		numbers[i] = n
	}
	return numbers
}

func identity(collection uint32, key []byte) uint64 { return xxh3.HashSeed(key, uint64(collection)) }

// filter is a set of hashes that may say yes to some it does not contain.
type filter struct {
	words []uint64
	mask  uint64
}

// maxFilterWords bounds a filter to 8 MiB. Beyond some millions of hashes it
// says yes more often, which costs sorting, not correctness.
const maxFilterWords = 1 << 20

// newFilter returns a filter for n hashes at about 16 bits each.
func newFilter(n uint64) *filter {
	words := min(uint64(1)<<bits.Len64(n/4), maxFilterWords)
	return &filter{words: make([]uint64, words), mask: words - 1}
}

// slot returns the word of h and its two bits there.
func (f *filter) slot(h uint64) (*uint64, uint64) {
	return &f.words[h&f.mask], 1<<(h>>52&63) | 1<<(h>>58)
}

// add returns whether h may have been in the set before.
func (f *filter) add(h uint64) bool {
	word, pattern := f.slot(h)
	was := *word&pattern == pattern
	*word |= pattern
	return was
}

func (f *filter) has(h uint64) bool {
	word, pattern := f.slot(h)
	return *word&pattern == pattern
}
