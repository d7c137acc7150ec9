package hub

import (
	"context"
	"fmt"
	"math/bits"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

var (
	_ gapless.RangeSummer = (*source)(nil)
	_ gapless.RangeSummer = (*Session)(nil)
)

// Split implements [gapless.RangeSummer]; see [Session.Split].
func (s *source) Split(ctx context.Context, p gapless.Partition, r gapless.KeyRange, n int) ([]string, error) {
	return s.hub.split(ctx, s.connector, p, r, n)
}

// Sum implements [gapless.RangeSummer]; see [Session.Sum].
func (s *source) Sum(ctx context.Context, p gapless.Partition, r gapless.KeyRange, cuts []string) ([]gapless.RangeSum, error) {
	return s.hub.sum(ctx, s.connector, p, r, cuts)
}

// Contents implements [gapless.RangeSummer] on the synced view, with the
// content of what ReadAll emits.
func (s *source) Contents(ctx context.Context, p gapless.Partition, r gapless.KeyRange, fn func(key []byte, content gapless.Hash128) error) error {
	return s.hub.contents(ctx, s.connector, p, r, fn)
}

// Split implements [gapless.RangeSummer] on the synced view. Which keys are
// cuts follows from the keys alone: hubs that hold the same ones return the
// same, whatever happened to them before. There are at most [proof.MaxCuts].
func (s *Session) Split(ctx context.Context, p gapless.Partition, r gapless.KeyRange, n int) ([]string, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.hub.end()
	return s.hub.split(ctx, s.connector.name, p, r, n)
}

// Sum implements [gapless.RangeSummer] on the synced view. It reads the
// records of ranges that have changed since the hub was last asked, all of them
// the first time, and where cuts are none that Split would return. Cuts that
// are not in order are [proof.ErrCuts].
func (s *Session) Sum(ctx context.Context, p gapless.Partition, r gapless.KeyRange, cuts []string) ([]gapless.RangeSum, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.hub.end()
	return s.hub.sum(ctx, s.connector.name, p, r, cuts)
}

// Contents implements [gapless.RangeSummer] on the synced view. It reads the
// records themselves.
func (s *Session) Contents(ctx context.Context, p gapless.Partition, r gapless.KeyRange, fn func(key []byte, content gapless.Hash128) error) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.hub.end()
	return s.hub.contents(ctx, s.connector.name, p, r, fn)
}

// Recount forgets the sums that are kept of a collection and computes them
// anew from its records, so that they hold also for records that were altered
// without a change in the feed, which only damage does.
func (h *Hub) Recount(ctx context.Context, connector, collection string) error {
	if err := h.begin(); err != nil {
		return err
	}
	defer h.end()
	c := h.names.collection(connector, collection)
	if c == nil {
		return context.Cause(ctx)
	}
	m, err := h.moment(ctx, c, true)
	if err == nil {
		m.close()
	}
	return h.store.classifyRead(err)
}

func (h *Hub) split(ctx context.Context, connector string, p gapless.Partition, r gapless.KeyRange, n int) ([]string, error) {
	if err := h.begin(); err != nil {
		return nil, err
	}
	defer h.end()
	c := h.names.collection(connector, p.Collection)
	r, some := clip(r, p.Prefix)
	if c == nil || !some || n < 2 {
		return nil, context.Cause(ctx)
	}
	m, err := h.moment(ctx, c, false)
	if err != nil {
		return nil, h.store.classifyRead(err)
	}
	defer m.close()
	cuts, err := m.split(ctx, r, min(n, proof.MaxCuts+1))
	return cuts, h.store.classifyRead(err)
}

func (h *Hub) sum(ctx context.Context, connector string, p gapless.Partition, r gapless.KeyRange, cuts []string) ([]gapless.RangeSum, error) {
	sums, err := proof.NewSums(r, cuts)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if err := h.begin(); err != nil {
		return nil, err
	}
	defer h.end()
	c := h.names.collection(connector, p.Collection)
	r, some := clip(r, p.Prefix)
	if c == nil || !some {
		return sums.Ranges(), context.Cause(ctx)
	}
	m, err := h.moment(ctx, c, false)
	if err != nil {
		return nil, h.store.classifyRead(err)
	}
	defer m.close()
	if err := m.sum(ctx, r, cuts, sums); err != nil {
		return nil, h.store.classifyRead(err)
	}
	return sums.Ranges(), nil
}

func (h *Hub) contents(ctx context.Context, connector string, p gapless.Partition, r gapless.KeyRange, fn func(key []byte, content gapless.Hash128) error) error {
	if err := h.begin(); err != nil {
		return err
	}
	defer h.end()
	c := h.names.collection(connector, p.Collection)
	r, some := clip(r, p.Prefix)
	if c == nil || !some {
		return context.Cause(ctx)
	}
	v := h.views.acquire()
	defer h.views.release(v)
	return h.store.classifyRead(h.eachContent(ctx, v, c, r, fn))
}

// clip returns the part of r in which keys can begin with prefix, and whether
// there is any.
func clip(r gapless.KeyRange, prefix string) (gapless.KeyRange, bool) {
	return intersect(r, gapless.KeyRange{From: prefix, To: string(prefixEnd([]byte(prefix)))})
}

// intersect returns what is in both ranges, and whether that is anything.
func intersect(r, o gapless.KeyRange) (gapless.KeyRange, bool) {
	r.From = max(r.From, o.From)
	if r.To == "" || o.To != "" && o.To < r.To {
		r.To = o.To
	}
	return r, r.To == "" || r.From < r.To
}

// eachContent calls fn for the records of c in r, with the hash of what
// [emitRecord] emits for them.
func (h *Hub) eachContent(ctx context.Context, v *view, c *collection, r gapless.KeyRange, fn func(key []byte, content gapless.Hash128) error) error {
	lower, upper := idKey(spaceRecord, c.id, r.From), prefixEnd(idKey(spaceRecord, c.id, ""))
	if r.To != "" {
		upper = idKey(spaceRecord, c.id, r.To)
	}
	var parts []gapless.Part
	read := uint64(0)
	defer func() { c.sums.read.Add(read) }()
	return leapBetween(ctx, v.snap, lower, upper, func(key []byte, s *stored) ([]byte, error) {
		read++
		manifest, err := decodeManifest(s.manifest)
		if err != nil {
			return nil, err
		}
		parts = parts[:0]
		for _, p := range manifest {
			parts = append(parts, h.part(p, false))
		}
		return nil, fn(key, proof.RecordHash(s.version, s.data, parts))
	})
}

// moment is what questions about ranges are answered from: the synced records,
// and the stored sums of exactly these.
type moment struct {
	hub        *Hub
	collection *collection
	records    *view
	sums       *view
}

// moment brings the stored sums of c up to the synced view; with anew all of
// them are computed.
func (h *Hub) moment(ctx context.Context, c *collection, anew bool) (*moment, error) {
	select {
	case c.sums.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-c.sums.turn }()
	m := &moment{hub: h, collection: c, records: h.views.acquire()}
	if err := h.followSums(ctx, m.records, c, anew); err != nil {
		h.views.release(m.records)
		return nil, fmt.Errorf("sums of collection %s: %w", c.name, err)
	}
	m.sums = h.views.hold(&view{snap: h.store.db.NewSnapshot()})
	return m, nil
}

func (m *moment) close() {
	m.hub.views.release(m.sums)
	m.hub.views.release(m.records)
}

// maxLevel is the level of a key whose hash is as rare as can be.
const maxLevel = 64

// hashLevel returns the level of a key, given its hash: keys of a level are
// half as many as those of the level below.
func hashLevel(key gapless.Hash128) int { return bits.TrailingZeros64(key.Lo) }

// split returns the keys in r at which stretches begin, of the highest level
// of which there are n-1 of them, or of the lowest.
func (m *moment) split(ctx context.Context, r gapless.KeyRange, n int) (cuts []string, err error) {
	var counts [maxLevel + 1]int
	if err := m.beginnings(ctx, r, func(_ []byte, level int) { counts[level]++ }); err != nil {
		return nil, err
	}
	lowest, count := maxLevel+1, 0
	for lowest > boundaryBits && count < n-1 && count+counts[lowest-1] <= proof.MaxCuts {
		lowest--
		count += counts[lowest]
	}
	cuts = make([]string, 0, count)
	return cuts, m.beginnings(ctx, r, func(key []byte, level int) {
		if level >= lowest {
			cuts = append(cuts, string(key))
		}
	})
}

// beginnings calls fn for the keys inside of r at which stretches begin.
func (m *moment) beginnings(ctx context.Context, r gapless.KeyRange, fn func(key []byte, level int)) (err error) {
	lower, upper := stretchKey(m.collection.id, r.From+"\x00"), prefixEnd(stretchKey(m.collection.id, ""))
	if r.To != "" {
		upper = stretchKey(m.collection.id, r.To)
	}
	it, err := m.sums.snap.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer closing(it, &err)
	for ok := it.First(); ok; ok = it.Next() {
		key := stretchFrom(it.Key())
		fn(key, hashLevel(proof.KeyHash(key)))
	}
	return context.Cause(ctx)
}

// sum adds up r, which is cut by cuts: stretches as a whole where that can be,
// else record by record.
func (m *moment) sum(ctx context.Context, r gapless.KeyRange, cuts []string, sums *proof.Sums) error {
	var partial *gapless.KeyRange // stretches side by side that are added up by record
	flush := func() error {
		if partial == nil {
			return nil
		}
		within, _ := intersect(*partial, r)
		partial = nil
		return m.hub.eachContent(ctx, m.records, m.collection, within, func(key []byte, content gapless.Hash128) error {
			sums.Add(key, content)
			return nil
		})
	}
	err := m.stretches(ctx, r, func(s stretch) error {
		for len(cuts) > 0 && cuts[0] <= s.From {
			cuts = cuts[1:]
		}
		inside, _ := intersect(s.KeyRange, r)
		if inside == s.KeyRange && (len(cuts) == 0 || !s.Holds(cuts[0])) {
			sums.AddDigest([]byte(s.From), s.Digest)
			return flush()
		}
		if partial == nil {
			partial = &gapless.KeyRange{From: s.From}
		}
		partial.To = s.To
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}
