package hub

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// view is a snapshot of what was synced at one moment.
type view struct {
	snap   *pebble.Snapshot
	serial uint64 // of the last change in it
	order  uint64 // later snapshots have higher numbers
	refs   int
}

// views holds the current view and closes those that nobody reads any more.
// The zero value is ready for use.
type views struct {
	mu      sync.Mutex // guards everything
	current *view
	live    map[*view]struct{}
	wake    chan struct{} // closed when the current view changes
	closed  bool
}

// publish makes v the current view unless a later one is there already.
func (vs *views) publish(v *view) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.live == nil {
		vs.live = map[*view]struct{}{}
	}
	v.refs = 1
	vs.live[v] = struct{}{}
	if vs.closed || vs.current != nil && vs.current.order > v.order {
		vs.drop(v)
		return
	}
	if vs.current != nil {
		vs.drop(vs.current)
	}
	vs.current = v
	if vs.wake != nil {
		close(vs.wake)
		vs.wake = nil
	}
}

// changed returns a channel that is closed when the current view changes.
func (vs *views) changed() <-chan struct{} {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.wake == nil {
		vs.wake = make(chan struct{})
	}
	return vs.wake
}

// acquire returns the current view, which stays as it is until it is
// released.
func (vs *views) acquire() *view {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.current.refs++
	return vs.current
}

// hold adds a view that is never the current one; it is released as any other.
func (vs *views) hold(v *view) *view {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v.refs = 1
	vs.live[v] = struct{}{}
	return v
}

// retain adds a reference to a view that is held.
func (vs *views) retain(v *view) *view {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v.refs++
	return v
}

func (vs *views) release(v *view) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.drop(v)
}

func (vs *views) drop(v *view) {
	if v.refs--; v.refs > 0 {
		return
	}
	if _, ok := vs.live[v]; ok {
		delete(vs.live, v)
		_ = v.snap.Close() // fails only if it was closed before
	}
}

// serial returns the last synced serial.
func (vs *views) serial() uint64 {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return vs.current.serial
}

// order returns the number of the current snapshot.
func (vs *views) order() uint64 {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return vs.current.order
}

// close closes all snapshots, also those still held.
func (vs *views) close() {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.closed = true
	for v := range vs.live {
		_ = v.snap.Close() // as above
	}
	clear(vs.live)
}
