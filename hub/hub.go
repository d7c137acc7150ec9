package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gapless-sync/gapless"
)

// Options say where a hub is and what it may use.
type Options struct {
	// Dir is the hub's folder; created if missing. Required.
	Dir string
	// Search keeps a full-text index of all synced records.
	Search bool
	// Logger receives what nobody asked for; nothing if nil.
	Logger *slog.Logger
	// CacheBytes bounds the cache of stored blocks. Defaults to 16 MiB.
	CacheBytes int64
	// MaxPartBytes is the size above which a part, and with it its record, is
	// rejected. Defaults to 64 MiB.
	MaxPartBytes int64
	// FeedChanges is how many of the latest changes of each connector the feed
	// keeps at least. Defaults to 1,048,576.
	FeedChanges int

	fs         vfs.FS           // the default file system unless a test says otherwise
	now        func() time.Time // the clock of this machine unless a test says otherwise
	stageBytes int              // of a push's parts that wait in memory for its batch
	purge      int              // former states and chunks that one sync looks at
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.fs == nil {
		o.fs = vfs.Default
	}
	if o.now == nil {
		o.now = time.Now
	}
	o.CacheBytes = cmp.Or(o.CacheBytes, defaultCacheBytes)
	o.MaxPartBytes = cmp.Or(o.MaxPartBytes, defaultMaxPartBytes)
	o.stageBytes = cmp.Or(o.stageBytes, 4<<20)
	o.purge = cmp.Or(o.purge, 1<<14)
	o.FeedChanges = cmp.Or(o.FeedChanges, 1<<20)
}

// Hub is an open hub. It belongs to one process; its methods may be called
// from any goroutine.
type Hub struct {
	opts        Options
	store       *store
	id          string
	incarnation string
	pushes      pushIDs
	activity    activity
	views       views
	names       names

	mu      sync.Mutex // serialises writes; guards serials, buffer and kept
	serials serials
	buffer  writeBuffer
	kept    keptRuns

	searchMu sync.Mutex // guards search
	search   *indexer

	counts countCache
}

// Open opens or creates the hub in o.Dir. The errors carry
// [gapless.CodeStoreLocked] if it is open already, [gapless.CodeStoreVersion]
// if a newer program wrote it, [gapless.CodeStoreDamaged] if it cannot be
// read, [gapless.CodeStoreFull] if the disk is full.
func Open(ctx context.Context, o Options) (*Hub, error) {
	o.setDefaults()
	if o.Dir == "" {
		return nil, gapless.Misconfigured(errors.New("a hub needs a folder"))
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	store, err := openStore(&o)
	if err != nil {
		return nil, err
	}
	h := &Hub{opts: o, store: store}
	if err := h.start(); err != nil {
		return nil, errors.Join(store.classify(fmt.Errorf("start the hub: %w", err)), store.close())
	}
	if o.Search {
		if err := h.EnableSearch(); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	return h, nil
}

// start reads what the store remembers and begins a new incarnation. All of
// it is synced before anything else happens.
func (h *Hub) start() error {
	b := h.store.db.NewBatch()
	if err := h.identify(b); err != nil {
		return err
	}
	if err := h.names.load(h.store.db); err != nil {
		return err
	}
	if err := h.serials.load(h.store.db, h.names.lastSerial(), b); err != nil {
		return err
	}
	if err := dropOrphans(h.store.db, b); err != nil {
		return err
	}
	if err := h.kept.load(h.store.db); err != nil {
		return err
	}
	if err := h.purgeKept(b); err != nil {
		return err
	}
	if err := h.store.commit(b, pebble.Sync); err != nil {
		return err
	}
	if err := finishFormat(h.opts.fs, h.opts.Dir); err != nil {
		return err
	}
	h.buffer.snapshots = 1
	h.views.publish(&view{snap: h.store.db.NewSnapshot(), serial: h.serials.last, order: 1})
	return nil
}

// ID identifies the store itself: 32 hexadecimal digits, drawn once.
func (h *Hub) ID() string { return h.id }

// Incarnation is a decimal number of 63 bits that is new at every Open, for
// that is when pushed data may have been lost.
func (h *Hub) Incarnation() string { return h.incarnation }

// Err returns why the hub has stopped, or nil. A hub that has stopped stays
// so until it is closed and opened again.
func (h *Hub) Err() error { return h.store.check() }

// Close waits for calls under way, syncs everything pushed, and releases the
// folder. Every later call fails, also on sessions and open parts.
func (h *Hub) Close() error {
	if !h.activity.stop(h.store.failed) {
		return nil
	}
	h.searchMu.Lock()
	search := h.search
	h.searchMu.Unlock()
	var errs []error
	if search != nil {
		errs = append(errs, search.close())
	}
	if h.Err() != nil {
		return errors.Join(append(errs, h.store.close())...)
	}
	b := h.store.db.NewBatch()
	errs = append(errs, h.serials.settle(b), h.store.commit(b, pebble.Sync))
	h.views.close()
	return errors.Join(append(errs, h.store.close())...)
}

// begin admits a call to an open, working hub; end follows.
func (h *Hub) begin() error {
	if err := h.store.check(); err != nil {
		return err
	}
	if !h.activity.begin() {
		return gapless.Recoverable(errClosed)
	}
	return nil
}

func (h *Hub) end() { h.activity.end() }

var errClosed = errors.New("the hub is closed")

// activity counts calls under way, so that Close can wait for them. The zero
// value is ready for use.
type activity struct {
	mu      sync.Mutex // guards what follows
	calls   int
	stopped bool
	idle    chan struct{} // closed when the last call of a stopped activity ends
}

func (a *activity) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return false
	}
	a.calls++
	return true
}

func (a *activity) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls--; a.calls == 0 && a.stopped {
		close(a.idle)
	}
}

// abandonAfter is how long Close waits for calls into a store that has failed.
const abandonAfter = 2 * time.Second

// stop refuses new calls and waits for the others, but not for ever once the
// store has failed. It reports false if that has been done before.
func (a *activity) stop(failed <-chan struct{}) bool {
	a.mu.Lock()
	if a.stopped {
		a.mu.Unlock()
		return false
	}
	a.stopped, a.idle = true, make(chan struct{})
	if a.calls == 0 {
		close(a.idle)
	}
	a.mu.Unlock()
	select {
	case <-a.idle:
	case <-failed:
		select {
		case <-a.idle:
		case <-time.After(abandonAfter):
		}
	}
	return true
}
