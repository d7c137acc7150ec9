package hub

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/gapless-sync/gapless"
)

// Snapshot is what a connector had at one moment. Later writes do not disturb
// it; the store keeps what it needs until Close. It may be used from several
// goroutines.
type Snapshot struct {
	session *Session
	view    *view
	pushed  bool
	closed  atomic.Bool
}

// Snapshot returns the synced view of this moment or, with pushed, everything
// that has been accepted, synced or not.
func (s *Session) Snapshot(_ context.Context, pushed bool) (*Snapshot, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	h := s.hub
	defer h.end()
	if !pushed {
		return &Snapshot{session: s, view: h.views.acquire()}, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return &Snapshot{session: s, pushed: true, view: h.views.hold(&view{snap: h.store.db.NewSnapshot(), serial: h.serials.last})}, nil
}

// Close releases the snapshot.
func (n *Snapshot) Close() error {
	if !n.closed.Swap(true) {
		n.session.hub.views.release(n.view)
	}
	return nil
}

func (n *Snapshot) begin() error {
	if n.closed.Load() {
		return errClosed
	}
	return n.session.begin()
}

// Serial returns the serial of the last change that the snapshot has, of
// whichever connector.
func (n *Snapshot) Serial() uint64 { return n.view.serial }

// Entries calls fn for the records of p in ascending order of key bytes,
// behind the key after unless that is empty. fn may return the key at which to
// go on: records before it are left out unread. The slices are valid until fn
// returns. An error from fn ends the enumeration and is returned.
func (n *Snapshot) Entries(ctx context.Context, p gapless.Partition, after string, fn func(key, version []byte) (to []byte, err error)) error {
	if err := n.begin(); err != nil {
		return err
	}
	h := n.session.hub
	defer h.end()
	c := h.names.collection(n.session.connector.name, p.Collection)
	if c == nil {
		return context.Cause(ctx)
	}
	return h.store.classifyRead(leap(ctx, n.view.snap, c.id, p.Prefix, after, func(key []byte, s *stored) ([]byte, error) { return fn(key, s.version) }))
}

// Get returns a record, or [gapless.ErrNotFound]. Its parts are read when
// opened, and not from the snapshot.
func (n *Snapshot) Get(_ context.Context, p gapless.Partition, key string) (gapless.Record, error) {
	if err := n.begin(); err != nil {
		return gapless.Record{}, err
	}
	h := n.session.hub
	defer h.end()
	return h.record(n.view.snap, h.names.collection(n.session.connector.name, p.Collection), key, n.pushed)
}

// Checkpoints returns the connector's checkpoints by partition.
func (n *Snapshot) Checkpoints(_ context.Context) (map[string]gapless.Checkpoint, error) {
	if err := n.begin(); err != nil {
		return nil, err
	}
	h := n.session.hub
	defer h.end()
	list, err := checkpoints(n.view.snap, n.session.writer)
	if err != nil {
		return nil, h.store.classifyRead(fmt.Errorf("read the checkpoints: %w", err))
	}
	return list, nil
}
