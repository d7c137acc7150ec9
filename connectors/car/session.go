package car

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
	"github.com/gapless-sync/gapless/proof"
)

// session is one way into a source of a service. Upserts are collected on pages
// of their collection; deletes are collected too, and sent when everything
// before them is settled.
type session struct {
	*flight
	destination *Destination
	epoch       uint64
	before      uint64 // epoch of the session before this one
	state       *state
	known       collections
	open        map[*collection]*page
	leaving     leaving
	// held tells which rows are not settled, by their place.
	held   map[gapless.Hash128]holder
	number uint64
	// tallies count rows by partition, deleted by collection.
	tallies map[string]*tally
	deleted map[string]uint64
	late    []gapless.Rejection
	// vertices reports whether some came that no edge has waited for.
	vertices bool
}

// holder is where a row is.
type holder struct {
	number uint64
	page   *page // as long as it is open
	row    int
}

var (
	_ gapless.Session    = (*session)(nil)
	_ gapless.FullRunner = (*session)(nil)
	_ gapless.Successor  = (*session)(nil)
)

func newSession(ctx context.Context, d *Destination, epoch uint64, st *state) (*session, error) {
	e, err := newEnvelope(&d.opts, reportKey(time.Now()))
	if err != nil {
		return nil, gapless.Misconfigured(err)
	}
	s := &session{
		flight: newFlight(ctx, d.client, d.opts.InFlight), destination: d, epoch: epoch, state: st,
		known: collections{maps.Clone(d.collections.byName), d.collections.extra},
		open:  map[*collection]*page{}, held: map[gapless.Hash128]holder{},
		tallies: map[string]*tally{}, deleted: map[string]uint64{},
	}
	s.envelope = e
	s.settled, s.refused = s.release, s.reject
	s.leaving.reset()
	return s, nil
}

// release forgets the rows of a page that is done.
func (s *session) release(p *page) {
	for i := range p.rows {
		if r := &p.rows[i]; s.held[r.place].number == r.number {
			delete(s.held, r.place)
		}
	}
}

func (s *session) reject(p *page, r *row, err error) {
	s.late = append(s.late, p.rejection(r, err))
	if s.state.full != nil {
		s.state.full.Kept++
	}
}

// Push implements [gapless.Session]. What it takes is sent while the next batch
// is made; a failure of that is told by the next call, before it takes
// anything.
func (s *session) Push(ctx context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	if err := s.writable(ctx); err != nil {
		return gapless.Receipt{}, err
	}
	if err := s.advance(ctx, s.roomy); err != nil {
		return gapless.Receipt{}, err
	}
	var receipt gapless.Receipt
	text := string(b.Buf)
	at := func(span gapless.Span) string { return text[span.Off : span.Off+span.Len] }
	for i := range b.Rows {
		r := &b.Rows[i]
		if err := s.take(b, r, at(r.Key), at(r.Data)); err != nil {
			data := b.Data(i)
			receipt.Rejected = append(receipt.Rejected, gapless.Rejection{
				Key: at(r.Key), Origin: b.Origin, Line: int(r.Line), Raw: slices.Clone(data[:min(len(data), gapless.MaxRejectBytes)]), Err: err,
			})
		}
	}
	if n := uint64(len(receipt.Rejected)); n > 0 && s.state.full != nil {
		s.state.full.Kept += n
	}
	if b.Mark != "" {
		s.tallyOf(b.Partition.ID).reach(b.Mark)
	}
	if s.openBytes() >= maxUnsettledBytes {
		s.rotate()
	}
	s.launch()
	return receipt, nil
}

// openBytes is about how much the open pages hold.
func (s *session) openBytes() (n int64) {
	for _, p := range s.open {
		n += p.bytes()
	}
	return n
}

// take takes one row of a batch. An error rejects it.
func (s *session) take(b *gapless.Batch, r *gapless.Row, key, data string) error {
	name, id := b.Partition.Collection, key
	if s.destination.opts.Model {
		var ok bool
		if name, id, ok = SplitModelKey(key); !ok {
			return fmt.Errorf("the key %s is not of the form COLLECTION/ID", clip(key))
		}
	}
	c, err := s.known.of(name, id)
	if err != nil {
		return err
	}
	switch r.Op {
	case gapless.OpUpsert:
		return s.upsert(c, id, data, row{partition: b.Partition.ID, origin: b.Origin, line: r.Line}, key)
	case gapless.OpDelete:
		return s.remove(c, id)
	case gapless.OpPatch:
		return s.patch(c, id, data, gapless.Rejection{Key: key, Partition: b.Partition.ID, Origin: b.Origin, Line: int(r.Line), Raw: []byte(data)})
	}
	return errors.New("unknown operation " + r.Op.String())
}

// upsert puts a row on the open page of its collection. It takes the place of
// one there with the same key; one that is on its way is waited for.
func (s *session) upsert(c *collection, id, data string, r row, key string) error {
	r.collection, r.place = c, c.place(id)
	if s.leaving.any() && s.leaves(c, id, r.place) {
		s.rotate()
	}
	s.wait(c)
	p, start, err := s.write(c, id, data)
	if err != nil {
		return err
	}
	if h, ok := s.held[r.place]; ok {
		if h.page == p {
			p.rows[h.row].number, p.dead = 0, p.dead+1
		} else {
			p.fence = true
		}
	}
	s.number++
	r.number, r.start, r.end = s.number, uint32(start), uint32(len(p.buf))
	p.buf = append(p.buf, key...)
	r.keyEnd = uint32(len(p.buf))
	s.held[r.place] = holder{s.number, p, len(p.rows)}
	p.rows = append(p.rows, r)
	s.tallyOf(r.partition).rows[c.name]++
	if len(p.rows) >= s.destination.opts.PageRows || p.bytes() >= s.destination.opts.PageBytes {
		s.finish(p, c)
	}
	return nil
}

// wait has the edges of a model wait for the vertices before them, as services
// know it from connectors of other makes.
func (s *session) wait(c *collection) {
	switch {
	case !c.edge:
		s.vertices = s.destination.opts.Model
	case s.vertices:
		s.rotate()
		s.queue = append(s.queue, step{act: func(context.Context) error { return nil }})
		s.vertices = false
	}
}

// write appends a row as it is sent to the open page of its collection, or to
// a new one if it has no room there, and returns where it begins.
func (s *session) write(c *collection, id, data string) (p *page, start int, err error) {
	if p = s.open[c]; p == nil {
		p = &page{buf: make([]byte, 0, 64<<10)}
		s.open[c] = p
	}
	start = len(p.buf)
	if p.buf, err = s.envelope.appendRow(p.buf, c, id, data); err != nil {
		p.buf = p.buf[:start]
		return nil, 0, err
	}
	if len(p.rows) == 0 || p.bytes() <= s.destination.opts.PageBytes {
		return p, start, nil
	}
	next := &page{buf: append([]byte(nil), p.buf[start:]...)}
	p.buf = p.buf[:start]
	s.finish(p, c)
	s.open[c] = next
	return next, 0, nil
}

// leaves reports whether a row, or an end of it, is to be deleted first.
func (s *session) leaves(c *collection, id string, at gapless.Hash128) bool {
	if s.leaving.has(at) {
		return true
	}
	from, to, ok := wire.SplitEdgeKey(id)
	return c.edge && ok && (s.leaving.has(newPlace(c.from, from)) || s.leaving.has(newPlace(c.to, to)))
}

func newPlace(name, id string) gapless.Hash128 {
	c := collection{hash: proof.KeyHash([]byte(name))}
	return c.place(id)
}

// finish closes a page and queues it.
func (s *session) finish(p *page, c *collection) {
	delete(s.open, c)
	if len(p.live()) > 0 {
		s.queue = append(s.queue, step{page: p})
	}
}

// rotate queues everything that is open: first the pages, small ones of
// vertices together and so those of edges, then the deletes.
func (s *session) rotate() {
	last := (*page)(nil)
	for _, c := range slices.SortedFunc(maps.Keys(s.open), vertexFirst) {
		p := s.open[c]
		delete(s.open, c)
		if len(p.live()) == 0 {
			continue
		}
		if last != nil && last.rows[0].collection.edge == c.edge && len(last.rows)+len(p.rows) <= s.destination.opts.PageRows && last.bytes()+p.bytes() <= s.destination.opts.PageBytes {
			last.merge(p)
			continue
		}
		s.queue = append(s.queue, step{page: p})
		last = p
	}
	if s.leaving.any() {
		l := s.leaving
		s.leaving.reset()
		s.queue = append(s.queue, step{act: func(ctx context.Context) error { return s.retire(ctx, &l) }})
	}
}

func vertexFirst(a, b *collection) int {
	switch {
	case a.edge == b.edge && a.name < b.name, !a.edge && b.edge:
		return -1
	}
	return 1
}

// patch changes a few fields of a row that is there.
func (s *session) patch(c *collection, id, data string, r gapless.Rejection) error {
	var fields map[string]any
	if err := json.Unmarshal([]byte(data), &fields); err != nil {
		return fmt.Errorf("decode the patch: %w", err)
	}
	if !c.edge {
		for name := range fields {
			if name != "name" && name != "pending_update" {
				return fmt.Errorf("services change no field %s of a vertex on its own; have the source send whole records", clip(name))
			}
		}
	}
	if _, _, ok := wire.SplitEdgeKey(id); c.edge && !ok {
		return fmt.Errorf("the key %s is not that of an edge, FROM|TO", clip(id))
	}
	s.rotate()
	s.queue = append(s.queue, step{act: func(ctx context.Context) error {
		var err error
		if c.edge {
			err = s.patchEdge(ctx, c, id, fields)
		} else {
			err = s.client.PatchVertex(ctx, c.name, id, fields)
		}
		if err != nil && gapless.KindOf(err) == gapless.KindUnrecoverable {
			r.Err = err
			s.late = append(s.late, r)
			return nil
		}
		return err
	}})
	return nil
}

// Close implements [gapless.Session].
func (s *session) Close() error {
	s.flight.close()
	return nil
}
