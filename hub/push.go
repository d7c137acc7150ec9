package hub

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gapless-sync/gapless"
)

// writeBuffer is what writes reuse; the hub's mu guards it.
type writeBuffer struct {
	feed      []byte
	accepted  []int32
	unsynced  bool   // something was applied since the last snapshot
	snapshots uint64 // taken so far
}

// Push implements [gapless.Session]. The rows accepted are applied as one
// batch, all or none, and take consecutive serials. Rejected are keys and
// versions out of bounds, an upsert without data, a patch that is not a JSON
// object or whose record is not there, and a part that cannot be read or is
// too large. A part whose error is recoverable fails the push instead.
func (s *Session) Push(ctx context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	return s.commit(ctx, nil, &Commit{Batch: b})
}

// PushIf implements [gapless.ConditionalPusher] as one step: no other push
// comes between the comparisons and the rows. It is compared to what has been
// pushed, synced or not.
func (s *Session) PushIf(ctx context.Context, b *gapless.Batch, expect []gapless.Expectation) (gapless.Receipt, error) {
	if len(expect) != len(b.Rows) {
		return gapless.Receipt{}, fmt.Errorf("hub: push %d rows with %d expectations", len(b.Rows), len(expect))
	}
	return s.commit(ctx, nil, &Commit{Batch: b, expect: expect})
}

// commit applies c, whose parts may be in a stage already.
func (s *Session) commit(ctx context.Context, parts *stage, c *Commit) (gapless.Receipt, error) {
	h := s.hub
	if c.Batch == nil {
		c.Batch = &gapless.Batch{}
	}
	if err := h.begin(); err != nil {
		return gapless.Receipt{}, err
	}
	defer h.end()
	if err := errors.Join(s.checkWrite(), context.Cause(ctx)); err != nil {
		return gapless.Receipt{}, errors.Join(err, parts.discard())
	}
	parts, err := h.stageParts(ctx, parts, c.Batch)
	if err != nil {
		return gapless.Receipt{}, h.store.classifyRead(err)
	}
	if c.empty() {
		return gapless.Receipt{Serial: h.pushed()}, parts.discard()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	receipt, err := s.apply(c, parts)
	if err != nil {
		return receipt, errors.Join(h.store.classifyRead(err), parts.discard())
	}
	return receipt, nil
}

// apply writes all of c as one batch of the store; the caller holds mu.
func (s *Session) apply(c *Commit, parts *stage) (gapless.Receipt, error) {
	if err := errors.Join(s.checkWrite(), parts.unclaimed()); err != nil {
		return gapless.Receipt{}, err
	}
	if err := s.holds(c.If); err != nil {
		return gapless.Receipt{}, err
	}
	if c.rows() == 0 {
		return s.fill(func(b *pebble.Batch) error { return s.moveCheckpoints(b, c) })
	}
	w, err := s.newWriter(c, parts)
	if err != nil {
		return gapless.Receipt{}, err
	}
	receipt, err := s.writeAll(w, c)
	if err != nil {
		err = errors.Join(err, w.former.discard())
	}
	return receipt, err
}

// writeAll writes and commits all of c.
func (s *Session) writeAll(w *writer, c *Commit) (gapless.Receipt, error) {
	if err := w.write(c.Batch); err != nil {
		return gapless.Receipt{}, err
	}
	w.parts, w.expect = nil, nil
	for _, b := range c.More {
		if err := w.write(b); err != nil {
			return gapless.Receipt{}, err
		}
	}
	if c.Whole && len(w.rejected) > 0 {
		return gapless.Receipt{Rejected: w.rejected}, errors.Join(ErrRefused, w.out.Close())
	}
	if err := s.moveCheckpoints(w.out, c); err != nil {
		return gapless.Receipt{}, err
	}
	if err := w.commit(); err != nil {
		return gapless.Receipt{}, err
	}
	return gapless.Receipt{Serial: s.hub.serials.last, Rejected: w.rejected}, nil
}

// writer turns the batches of one commit into one batch of the store.
type writer struct {
	hub       *Hub
	connector *connector
	out       *pebble.Batch
	reads     bool // out can be read: what a record was is needed
	next      uint64
	now       int64   // when the commit came, in Unix nanoseconds
	former    *former // nil if nothing is kept
	rejected  []gapless.Rejection
	written   []*collection
	// Of the batch being written:
	in         *gapless.Batch
	parts      *stage                // may be nil
	expect     []gapless.Expectation // may be nil
	collection *collection
	key        []byte
	accepted   []int32
}

func (s *Session) newWriter(commit *Commit, parts *stage) (*writer, error) {
	h, c := s.hub, s.connector
	if err := h.serials.reserve(h.store, uint64(commit.rows())); err != nil {
		return nil, err
	}
	w := &writer{
		hub: h, connector: c, parts: parts, expect: commit.expect,
		next: h.serials.last + 1, now: h.opts.now().UnixNano(), accepted: h.buffer.accepted,
	}
	w.former = s.newFormer(w)
	w.reads = parts != nil || w.former != nil || commit.expect != nil || h.reads(c, commit.Batch)
	size := batchSize(commit.Batch)
	for _, b := range commit.More {
		w.reads = w.reads || h.reads(c, b)
		size += batchSize(b)
	}
	if w.reads {
		w.out = h.store.db.NewIndexedBatch()
	} else {
		w.out = h.store.db.NewBatchWithSize(size)
	}
	return w, parts.into(w.out)
}

// reads reports whether to write in depends on what is there.
func (h *Hub) reads(c *connector, in *gapless.Batch) bool {
	if known := h.names.collection(c.name, in.Partition.Collection); known != nil && known.parts {
		return true
	}
	for i := range in.Rows {
		if in.Rows[i].Op == gapless.OpPatch {
			return true
		}
	}
	return false
}

func batchSize(in *gapless.Batch) int { return len(in.Buf) + len(in.Buf)/8 + 64*len(in.Rows) }

// write writes one batch and its part of the feed.
func (w *writer) write(in *gapless.Batch) (err error) {
	if len(in.Rows) == 0 {
		return nil
	}
	w.in, w.accepted = in, w.accepted[:0]
	w.collection, err = w.hub.names.adoptCollection(w.connector, in.Partition.Collection, w.parts != nil, w.out)
	if err != nil {
		return err
	}
	w.key = idKey(spaceRecord, w.collection.id, "")
	for i := range in.Rows {
		if err := w.row(i); err != nil {
			return err
		}
	}
	w.written = append(w.written, w.collection)
	return w.feed()
}

// commit applies what was written and makes its serials the latest.
func (w *writer) commit() error {
	h := w.hub
	h.buffer.accepted = w.accepted
	if err := w.former.finish(w.out); err != nil || w.out.Empty() {
		return err
	}
	if err := h.store.commit(w.out, pebble.NoSync); err != nil {
		return err
	}
	h.buffer.unsynced = true
	w.former.applied()
	n := w.next - 1 - h.serials.last
	h.serials.last += n
	for _, c := range w.written {
		c.registered = true
		if n > 0 {
			c.changed.Store(h.serials.last)
		}
	}
	if n > 0 {
		w.connector.feed.last = h.serials.last
		w.connector.feed.count += n
	}
	return nil
}

// row writes row i or rejects it.
func (w *writer) row(i int) error {
	r := &w.in.Rows[i]
	key := w.in.Key(i)
	w.key = append(w.key[:5], key...)
	s := stored{serial: w.next, modified: r.Modified, version: w.in.Version(i), data: w.in.Data(i)}
	refused, err := w.unfit(i, key), error(nil)
	if refused == nil && w.reads {
		refused, err = w.merge(i, &s)
	}
	if err != nil {
		return err
	}
	if refused != nil {
		w.refuse(i, refused)
		return dropStaged(w.out, w.staged(i))
	}
	w.accepted = append(w.accepted, int32(i))
	w.next++
	if r.Op == gapless.OpDelete {
		return w.out.Delete(w.key, nil)
	}
	op := w.out.SetDeferred(len(w.key), s.size())
	copy(op.Key, w.key)
	s.append(op.Value[:0])
	return op.Finish()
}

// unfit returns why a row cannot be stored, or nil.
func (w *writer) unfit(i int, key []byte) error {
	r := &w.in.Rows[i]
	switch {
	case len(key) == 0:
		return errors.New("the key is empty")
	case len(key) > gapless.MaxKeyBytes:
		return fmt.Errorf("the key has %d bytes, more than %d", len(key), gapless.MaxKeyBytes)
	case !utf8.Valid(key):
		return errors.New("the key is not UTF-8")
	case r.Op > gapless.OpDelete:
		return fmt.Errorf("the change is of an unknown kind, %d", r.Op)
	case r.Op == gapless.OpUpsert && r.Data.Len == 0:
		return errors.New("the record has no data")
	case r.Data.Len > gapless.MaxDataBytes:
		return fmt.Errorf("the record has %d bytes, more than %d", r.Data.Len, gapless.MaxDataBytes)
	}
	if w.parts != nil {
		return w.parts.reject[i]
	}
	if len(w.in.Parts(i)) > 0 {
		return errors.New("the record has parts, which this commit cannot take")
	}
	return nil
}

// merge completes s with what the row keeps of the record as it was, and
// drops the parts that it does not keep. It returns why the row does not fit
// that record, or nil.
func (w *writer) merge(i int, s *stored) (refused, err error) {
	old, found, err := w.old()
	if err != nil {
		return nil, err
	}
	if w.expect != nil && !w.expected(i, &old, found) {
		return gapless.ErrChanged, nil
	}
	had, err := decodeManifest(old.manifest)
	if err != nil {
		return nil, err
	}
	now, dropped := w.staged(i), had
	if w.in.Rows[i].Op == gapless.OpPatch {
		if refused := patchRecord(s, &old, found); refused != nil {
			return refused, nil
		}
		now, dropped = patchParts(had, now)
	}
	s.manifest = encodeManifest(now)
	if w.former != nil {
		before, after := state{&old, had, found}, state{s, now, w.in.Rows[i].Op != gapless.OpDelete}
		if kept, err := w.former.keep(w, before, after, dropped); err != nil || kept {
			return nil, err
		}
	}
	return nil, dropParts(w.out, dropped)
}

// expected reports whether the record is what row i expects, or what the row
// leaves: a push that is repeated finds that.
func (w *writer) expected(i int, old *stored, found bool) bool {
	e := &w.expect[i]
	if !e.Exists && !found || e.Exists && found && isRecord(old, e.Version, e.Data) {
		return true
	}
	switch w.in.Rows[i].Op {
	case gapless.OpUpsert:
		return found && isRecord(old, w.in.Version(i), w.in.Data(i))
	case gapless.OpDelete:
		return !found
	}
	return false
}

func isRecord(s *stored, version, data []byte) bool {
	return bytes.Equal(s.version, version) && bytes.Equal(s.data, data)
}

// staged returns the parts of row i.
func (w *writer) staged(i int) []storedPart {
	if w.parts == nil {
		return nil
	}
	return w.parts.staged[i]
}

// old returns the record of w.key as it is behind the rows written so far.
func (w *writer) old() (stored, bool, error) {
	value, err := get(w.out, w.key)
	if err != nil || value == nil {
		return stored{}, false, err
	}
	s, err := decodeStored(value)
	return s, true, err
}

func (w *writer) refuse(i int, err error) {
	key := string(w.in.Key(i))
	w.rejected = append(w.rejected, gapless.Rejection{
		Key: key, Origin: w.in.Origin, Line: int(w.in.Rows[i].Line),
		Raw: append([]byte(nil), w.in.Data(i)[:min(int(w.in.Rows[i].Data.Len), gapless.MaxRejectBytes)]...),
		Err: gapless.Reject(key, err),
	})
}

// feed writes the accepted rows to the connector's feed.
func (w *writer) feed() error {
	serial := w.next - uint64(len(w.accepted))
	ordinal := w.connector.feed.count + serial - w.hub.serials.last - 1
	for rows := w.accepted; len(rows) > 0; {
		block, n := w.hub.buffer.feed[:0], 0
		for n < len(rows) && len(block) < feedBlockBytes {
			entry := w.entry(int(rows[n]))
			block = entry.append(block)
			n++
		}
		w.hub.buffer.feed = block
		head := binary.AppendUvarint(nil, ordinal)
		head = binary.AppendUvarint(head, uint64(w.collection.id))
		head = binary.AppendUvarint(head, uint64(n))
		op := w.out.SetDeferred(13, len(head)+len(block))
		copy(op.Key, feedKey(w.connector.id, serial))
		copy(op.Value[copy(op.Value, head):], block)
		if err := op.Finish(); err != nil {
			return err
		}
		rows, serial, ordinal = rows[n:], serial+uint64(n), ordinal+uint64(n)
	}
	return nil
}

// entry returns what the feed keeps of an accepted row. A delete that does not
// say when it happened happened when it was pushed: nothing else will tell.
func (w *writer) entry(i int) feedEntry {
	r := &w.in.Rows[i]
	e := feedEntry{op: r.Op, key: w.in.Key(i)}
	if r.Op == gapless.OpDelete {
		e.modified, e.version = cmp.Or(r.Modified, w.now), w.in.Version(i)
	}
	return e
}
