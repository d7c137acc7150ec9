package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gapless-sync/gapless"
)

var (
	_ gapless.Destination       = (*Hub)(nil)
	_ gapless.Session           = (*Session)(nil)
	_ gapless.Enumerator        = (*Session)(nil)
	_ gapless.Getter            = (*Session)(nil)
	_ gapless.ConditionalPusher = (*Session)(nil)
	_ gapless.Searchable        = searchSession{}
	_ gapless.Keeper            = (*Session)(nil)
	_ gapless.Undoer            = (*Session)(nil)
	_ gapless.Successor         = (*Session)(nil)
)

// Session is one connector's way into the hub. It may be used from several
// goroutines, which servers do; pushes then happen one after the other. A
// session is fenced once a higher epoch has been opened; sessions of the same
// epoch stand side by side.
type Session struct {
	hub       *Hub
	connector *connector // whose records and feed it has
	writer    *holder    // whose epoch and checkpoints it has
	epoch     uint64
	before    uint64 // the writer's epoch until then
	closed    atomic.Bool
	keeping   *keeping // nil if nothing is kept; the hub's mu guards it
}

// searchSession is a session of a hub that has a search index. Without one
// there is no answer to the question, and no method.
type searchSession struct{ *Session }

// Searchable implements [gapless.Searchable]; see [Hub.Searchable].
func (s searchSession) Searchable(ctx context.Context, serial uint64) (bool, error) {
	if err := s.check(); err != nil {
		return false, err
	}
	return s.hub.Searchable(ctx, serial)
}

// Open implements [gapless.Destination]. The session is a [gapless.Searchable]
// exactly if the hub has search.
func (h *Hub) Open(ctx context.Context, connector string, epoch uint64) (gapless.Session, error) {
	return destination{hub: h}.Open(ctx, connector, epoch)
}

// Shared returns a destination whose connectors all write the records of one,
// which is created if need be; if the name is empty, it is h as a destination. Records, change feed and search are that
// connector's; epoch and checkpoints are of each who writes, so that nobody
// fences anybody else.
func (h *Hub) Shared(connector string) gapless.Destination { return destination{h, connector} }

// destination is a hub that its user cannot close.
type destination struct {
	hub     *Hub
	records string // the connector whose records are written; empty for each one's own
}

// Open implements [gapless.Destination].
func (d destination) Open(ctx context.Context, connector string, epoch uint64) (gapless.Session, error) {
	s, err := d.hub.session(ctx, cmp.Or(d.records, connector), connector, epoch)
	if err != nil {
		return nil, err
	}
	if d.hub.indexer() != nil {
		return searchSession{s}, nil
	}
	return s, nil
}

// Session is Open with the hub's own type of session. Epoch 0 is for reading
// only, and knows a connector that nobody has opened yet as an empty one.
func (h *Hub) Session(ctx context.Context, connector string, epoch uint64) (*Session, error) {
	return h.session(ctx, connector, connector, epoch)
}

// session opens a session of a writer of a connector's records.
func (h *Hub) session(ctx context.Context, connector, writer string, epoch uint64) (*Session, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := h.begin(); err != nil {
		return nil, err
	}
	defer h.end()
	if epoch == 0 {
		c, w := h.names.known(connector, writer)
		return &Session{hub: h, connector: c, writer: w, before: w.epoch.Load()}, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.store.db.NewBatch()
	c, w, err := h.names.adopt(connector, writer, b)
	if err != nil {
		return nil, err
	}
	held := w.epoch.Load()
	if epoch < held {
		return nil, fmt.Errorf("hub: open connector %s with epoch %d, which has epoch %d: %w", writer, epoch, held, gapless.ErrFenced)
	} else if epoch > held {
		w.epoch.Store(epoch)
		if err := c.saveWriter(w, b); err != nil {
			return nil, err
		}
	}
	if !b.Empty() {
		if err := h.store.commit(b, pebble.Sync); err != nil {
			return nil, err
		}
	}
	return &Session{hub: h, connector: c, writer: w, epoch: epoch, before: held}, nil
}

// Predecessor implements [gapless.Successor].
func (s *Session) Predecessor() uint64 { return s.before }

// begin admits a call: the hub works, the session is open and not fenced.
func (s *Session) begin() error {
	if err := s.hub.begin(); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		s.hub.end()
		return err
	}
	return nil
}

// checkWrite is check for methods that change something.
func (s *Session) checkWrite() error {
	if s.epoch == 0 {
		return fmt.Errorf("hub: session of connector %s is for reading only: %w", s.writer.name, gapless.ErrFenced)
	}
	return s.check()
}

func (s *Session) check() error {
	if s.closed.Load() {
		return errors.New("hub: the session is closed")
	}
	if held := s.writer.epoch.Load(); s.epoch != 0 && held != s.epoch {
		return fmt.Errorf("hub: session of connector %s has epoch %d, which is now %d: %w", s.writer.name, s.epoch, held, gapless.ErrFenced)
	}
	return nil
}

// Close ends the session. The hub stays open.
func (s *Session) Close() error {
	s.closed.Store(true)
	return nil
}

// Status implements [gapless.Session]: synced checkpoints, and whether the
// synced view holds any of them or of the records that the session writes.
func (s *Session) Status(_ context.Context) (gapless.Status, error) {
	if err := s.begin(); err != nil {
		return gapless.Status{}, err
	}
	defer s.hub.end()
	v := s.hub.views.acquire()
	defer s.hub.views.release(v)
	st := gapless.Status{ID: s.hub.id, Incarnation: s.hub.incarnation}
	var err error
	if st.Checkpoints, err = checkpoints(v.snap, s.writer); err != nil {
		return gapless.Status{}, s.hub.store.classify(err)
	}
	st.Holds = len(st.Checkpoints) > 0
	for _, c := range s.hub.names.collectionsOf(s.connector) {
		if st.Holds {
			break
		}
		if st.Holds, err = holdsAny(v.snap, idKey(spaceRecord, c.id, "")); err != nil {
			return gapless.Status{}, s.hub.store.classify(err)
		}
	}
	return st, nil
}

func holdsAny(r pebble.Reader, prefix []byte) (bool, error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return false, err
	}
	found := it.First()
	return found, errors.Join(it.Error(), it.Close())
}

func checkpoints(r pebble.Reader, w *holder) (map[string]gapless.Checkpoint, error) {
	list := map[string]gapless.Checkpoint{}
	err := scan(r, idKey(spaceCheckpoint, w.id, ""), func(key, value []byte) error {
		cp, err := decodeCheckpoint(value)
		cp.Partition = string(key[5:])
		list[cp.Partition] = cp
		return err
	})
	return list, err
}

// Checkpoints returns the checkpoints as they were synced or, with pushed,
// including those that a crash may take back.
func (s *Session) Checkpoints(_ context.Context, pushed bool) (map[string]gapless.Checkpoint, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.hub.end()
	if pushed {
		list, err := checkpoints(s.hub.store.db, s.writer)
		return list, s.hub.store.classifyRead(err)
	}
	v := s.hub.views.acquire()
	defer s.hub.views.release(v)
	list, err := checkpoints(v.snap, s.writer)
	return list, s.hub.store.classifyRead(err)
}

// PushCheckpoints sets checkpoints in order with what has been pushed, without
// waiting for durability. The receipt's serial is that of the last change
// before them.
func (s *Session) PushCheckpoints(_ context.Context, list []gapless.Checkpoint) (gapless.Receipt, error) {
	return s.write(func(b *pebble.Batch) error { return s.putCheckpoints(b, list) })
}

// ClearCheckpoints removes all checkpoints of the connector, in order with
// what has been pushed. Records stay.
func (s *Session) ClearCheckpoints(_ context.Context) (gapless.Receipt, error) {
	return s.write(s.clearCheckpoints)
}

// write is fill for those who do not hold the hub's mu.
func (s *Session) write(into func(b *pebble.Batch) error) (gapless.Receipt, error) {
	h := s.hub
	if err := h.begin(); err != nil {
		return gapless.Receipt{}, err
	}
	defer h.end()
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := s.checkWrite(); err != nil {
		return gapless.Receipt{}, err
	}
	return s.fill(into)
}

// fill commits what a function puts into a batch, unsynced.
func (s *Session) fill(into func(b *pebble.Batch) error) (gapless.Receipt, error) {
	h := s.hub
	b := h.store.db.NewBatch()
	if err := into(b); err != nil {
		return gapless.Receipt{}, err
	}
	if b.Empty() {
		return gapless.Receipt{Serial: h.serials.last}, b.Close()
	}
	if err := h.store.commit(b, pebble.NoSync); err != nil {
		return gapless.Receipt{}, err
	}
	h.buffer.unsynced = true
	return gapless.Receipt{Serial: h.serials.last}, nil
}

// moveCheckpoints puts into b what c does to checkpoints.
func (s *Session) moveCheckpoints(b *pebble.Batch, c *Commit) error {
	if c.ClearCheckpoints {
		if err := s.clearCheckpoints(b); err != nil {
			return err
		}
	}
	return s.putCheckpoints(b, c.Checkpoints)
}

func (s *Session) clearCheckpoints(b *pebble.Batch) error {
	prefix := idKey(spaceCheckpoint, s.writer.id, "")
	return b.DeleteRange(prefix, prefixEnd(prefix), nil)
}

func (s *Session) putCheckpoints(b *pebble.Batch, list []gapless.Checkpoint) error {
	for i := range list {
		if len(list[i].Partition) > gapless.MaxKeyBytes {
			return gapless.Misconfigured(fmt.Errorf("a checkpoint's partition has up to %d bytes, not %d", gapless.MaxKeyBytes, len(list[i].Partition)))
		}
		if err := b.Set(idKey(spaceCheckpoint, s.writer.id, list[i].Partition), encodeCheckpoint(&list[i]), nil); err != nil {
			return err
		}
	}
	return nil
}

// Sync implements [gapless.Session]: checkpoints go into the log behind all
// that was pushed, one fsync makes both durable, and then both become visible
// together.
func (s *Session) Sync(_ context.Context, list []gapless.Checkpoint) (gapless.Receipt, error) {
	h := s.hub
	if err := h.begin(); err != nil {
		return gapless.Receipt{}, err
	}
	defer h.end()
	next, reserved, err := s.prepareSync(list)
	if err != nil {
		return gapless.Receipt{}, err
	}
	if next == nil {
		return gapless.Receipt{Serial: h.views.serial()}, nil
	}
	if err := h.store.flushLog(); err != nil {
		h.views.release(h.views.hold(next))
		return gapless.Receipt{}, err
	}
	if reserved > 0 {
		h.mu.Lock()
		h.serials.reserved = max(h.serials.reserved, reserved)
		h.mu.Unlock()
	}
	h.views.publish(next)
	return gapless.Receipt{Serial: next.serial}, nil
}

// prepareSync writes what belongs to a sync and takes the snapshot that the
// next view will be; nil if the current view has everything already.
func (s *Session) prepareSync(list []gapless.Checkpoint) (next *view, reserved uint64, err error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := s.checkWrite(); err != nil {
		return nil, 0, err
	}
	if len(list) == 0 && !h.buffer.unsynced && h.buffer.snapshots == h.views.order() && !h.kept.due(h.opts.now()) {
		return nil, 0, nil
	}
	b := h.store.db.NewBatch()
	if err := errors.Join(s.putCheckpoints(b, list), h.trimFeed(s.connector, b), h.purgeKept(b)); err != nil {
		return nil, 0, err
	}
	if h.serials.reserved-h.serials.last < serialBlock/2 {
		reserved = h.serials.last + serialBlock
		if err := h.serials.save(b, reserved); err != nil {
			return nil, 0, err
		}
	}
	if !b.Empty() {
		if err := h.store.commit(b, pebble.NoSync); err != nil {
			return nil, 0, err
		}
	}
	h.buffer.unsynced = false
	h.buffer.snapshots++
	return &view{snap: h.store.db.NewSnapshot(), serial: h.serials.last, order: h.buffer.snapshots}, reserved, nil
}
