package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"github.com/blevesearch/bleve/v2"
)

// ErrNoSearch says that the hub was opened without search.
var ErrNoSearch = errors.New("the hub has no search index")

const (
	minIndexPause = 100 * time.Millisecond
	maxIndexPause = 30 * time.Second
)

// indexer keeps the search index in step with the synced view. One goroutine
// writes; close waits for it.
type indexer struct {
	hub     *Hub
	dir     string
	rebuild chan chan error
	cancel  context.CancelFunc
	done    chan struct{}

	handle sync.RWMutex // held for writing while the index is replaced
	index  bleve.Index

	mu         sync.Mutex // guards what follows
	states     map[uint32]indexState
	counts     map[uint32]uint64 // ordinals of the next change, in the view being read
	searchable uint64
	err        error
	wake       chan struct{} // closed when any of this changes
}

// EnableSearch starts the search index of a hub that was opened without; it
// catches up in the background.
func (h *Hub) EnableSearch() error {
	if err := h.begin(); err != nil {
		return err
	}
	defer h.end()
	h.searchMu.Lock()
	defer h.searchMu.Unlock()
	if h.search != nil {
		return nil
	}
	if err := os.MkdirAll(h.opts.Dir, 0o700); err != nil {
		return err
	}
	x := &indexer{hub: h, dir: indexDir(h.opts.Dir), rebuild: make(chan chan error), done: make(chan struct{})}
	if err := x.open(); err != nil {
		return h.store.classify(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	x.cancel = cancel
	go x.run(ctx)
	h.search = x
	return nil
}

func (h *Hub) indexer() *indexer {
	h.searchMu.Lock()
	defer h.searchMu.Unlock()
	return h.search
}

// indexedThrough returns the serial up to which the index has read the feed of
// c. Without an index nothing waits for it.
func (h *Hub) indexedThrough(c *connector) uint64 {
	x := h.indexer()
	if x == nil {
		return math.MaxUint64
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.states[c.id].serial
}

// Rebuild builds the search index anew and returns once it holds everything
// that was synced before the call.
func (h *Hub) Rebuild(ctx context.Context) error {
	x := h.indexer()
	if x == nil {
		return ErrNoSearch
	}
	reply := make(chan error, 1)
	select {
	case x.rebuild <- reply:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-x.done:
		return errClosed
	}
	if err := <-reply; err != nil {
		return err
	}
	return h.WaitSearchable(ctx, h.views.serial())
}

// WaitSearchable returns once queries see everything up to serial, which may
// first have to be synced. It returns [gapless.ErrNotFound] for a serial that
// the hub does not hold, [ErrNoSearch] without search, and what the index
// fails with if it does.
func (h *Hub) WaitSearchable(ctx context.Context, serial uint64) error {
	x := h.indexer()
	if x == nil {
		return ErrNoSearch
	}
	if err := h.known(serial); err != nil {
		return err
	}
	for {
		changed := x.changed()
		searchable, _, err := x.progress()
		if err != nil || searchable >= serial {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-x.done:
			return errClosed
		}
	}
}

func (x *indexer) changed() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.wake == nil {
		x.wake = make(chan struct{})
	}
	return x.wake
}

// update changes what mu guards and wakes those who wait for it.
func (x *indexer) update(change func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	change()
	if x.wake != nil {
		close(x.wake)
		x.wake = nil
	}
}

func (x *indexer) progress() (searchable, pending uint64, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, count := range x.counts {
		st := x.states[id]
		if st.walking {
			st.ordinal = 0
		}
		pending += count - min(count, st.ordinal)
	}
	return x.searchable, pending, x.err
}

func (x *indexer) documents() uint64 {
	x.handle.RLock()
	defer x.handle.RUnlock()
	if x.index == nil {
		return 0
	}
	n, err := x.index.DocCount()
	if err != nil {
		return 0
	}
	return n
}

// open opens or creates the index and reads its states.
func (x *indexer) open() error {
	if err := x.openIndex(); err != nil {
		return err
	}
	states := map[uint32]indexState{}
	for _, c := range x.hub.names.all() {
		value, err := x.index.GetInternal(stateKey(c.id))
		if err != nil {
			return fmt.Errorf("read the search index: %w", err)
		}
		if len(value) == 0 {
			continue
		}
		if states[c.id], err = decodeIndexState(value); err != nil {
			return err
		}
	}
	x.update(func() { x.states = states })
	return nil
}

// replace makes idx the index that queries use.
func (x *indexer) replace(idx bleve.Index) {
	x.handle.Lock()
	defer x.handle.Unlock()
	x.index = idx
}

// shut closes the index; queries find nothing until there is another.
func (x *indexer) shut() error {
	x.handle.Lock()
	defer x.handle.Unlock()
	if x.index == nil {
		return nil
	}
	err := x.index.Close()
	x.index = nil
	return err
}

func (x *indexer) close() error {
	x.cancel()
	<-x.done
	return x.shut()
}

// run follows the synced view until ctx ends. A failure is repeated with a
// growing pause, on the index opened anew.
func (x *indexer) run(ctx context.Context) {
	defer close(x.done)
	pause := minIndexPause
	for {
		next := x.hub.views.changed()
		err := x.pass(ctx)
		if errors.Is(err, errStale) {
			x.hub.opts.Logger.Info("building a new search index", "dir", x.dir, "reason", err)
			if err = x.reopen(true); err == nil {
				continue
			}
		}
		if ctx.Err() != nil {
			return
		}
		var again <-chan time.Time
		if x.update(func() { x.err = err }); err == nil {
			pause = minIndexPause
		} else {
			x.hub.opts.Logger.Warn("the search index does not advance", "dir", x.dir, "error", err)
			again, next = time.After(pause), nil
			pause = min(2*pause, maxIndexPause)
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		case <-again:
			err = x.reopen(false)
		case reply := <-x.rebuild:
			err = x.reopen(true)
			reply <- err
		}
		if err != nil && ctx.Err() == nil {
			x.hub.opts.Logger.Warn("the search index cannot be opened", "dir", x.dir, "error", err)
		}
	}
}

// reopen closes the index and opens it, or with anew builds another.
func (x *indexer) reopen(anew bool) error {
	if err := x.shut(); err != nil {
		x.hub.opts.Logger.Warn("close the search index", "dir", x.dir, "error", err)
	}
	if anew {
		return x.createIndex()
	}
	return x.open()
}

// pass brings the index up to the synced view of this moment.
func (x *indexer) pass(ctx context.Context) error {
	if x.index == nil {
		if err := x.open(); err != nil {
			return err
		}
	}
	if err := x.hub.store.check(); err != nil {
		return err
	}
	v := x.hub.views.acquire()
	defer x.hub.views.release(v)
	connectors := x.hub.names.all()
	ends := make([]feedBounds, len(connectors))
	counts := map[uint32]uint64{}
	for i, c := range connectors {
		var err error
		if ends[i], err = feedEnds(v, c); err != nil {
			return err
		}
		counts[c.id] = ends[i].count
	}
	x.update(func() { x.counts = counts })
	for i, c := range connectors {
		if err := x.follow(ctx, v, c, ends[i]); err != nil {
			return fmt.Errorf("index connector %s: %w", c.name, err)
		}
	}
	x.update(func() { x.searchable = v.serial })
	return nil
}

// follow brings one connector up to the view.
func (x *indexer) follow(ctx context.Context, v *view, c *connector, ends feedBounds) error {
	x.mu.Lock()
	st, known := x.states[c.id]
	x.mu.Unlock()
	switch {
	case known && ends.reaches(st.serial) != nil:
		return fmt.Errorf("%w: it has serial %d: %w", errStale, st.serial, ends.reaches(st.serial))
	case known && !st.walking && st.serial == ends.last, !known && ends.last == 0:
		return nil
	case !known && ends.trimmed > 0:
		st = indexState{serial: ends.last, ordinal: ends.count, walking: true}
	}
	b := x.newBatch()
	if st.walking {
		if err := x.walk(ctx, v, c, &st, b); err != nil {
			return err
		}
	}
	err := x.hub.readLatest(ctx, v, c, st.serial, func(e feedEntry, now *stored) error {
		collection := x.hub.names.byID(e.collection)
		if collection == nil {
			return fmt.Errorf("%w: change of an unknown collection", errDamagedValue)
		}
		if now == nil {
			b.remove(e.collection, e.key)
		} else if err := b.put(ctx, v.snap, collection, e.key, now); err != nil {
			return fmt.Errorf("record %s: %w", printable(e.key), err)
		}
		st.serial, st.ordinal = e.serial, e.ordinal+1
		return x.writeIfFull(c, st, b)
	})
	if err != nil {
		return err
	}
	st.serial, st.ordinal = ends.last, ends.count
	return x.write(c, st, b)
}

// walk indexes the connector's records in key order, from where an earlier
// walk was interrupted.
func (x *indexer) walk(ctx context.Context, v *view, c *connector, st *indexState, b *indexBatch) error {
	for _, collection := range x.hub.names.byIDOf(c) {
		if collection.id < st.walkCollection {
			continue
		}
		after := ""
		if collection.id == st.walkCollection {
			after = string(st.walkKey)
		}
		err := walk(ctx, v.snap, collection.id, "", after, func(key []byte, s *stored) error {
			if err := b.put(ctx, v.snap, collection, key, s); err != nil {
				return fmt.Errorf("record %s: %w", printable(key), err)
			}
			st.walkCollection, st.walkKey = collection.id, append(st.walkKey[:0], key...)
			return x.writeIfFull(c, *st, b)
		})
		if err != nil {
			return err
		}
	}
	*st = indexState{serial: st.serial, ordinal: st.ordinal}
	return x.write(c, *st, b)
}

func (x *indexer) writeIfFull(c *connector, st indexState, b *indexBatch) error {
	if !b.full() {
		return nil
	}
	return x.write(c, st, b)
}

func (x *indexer) write(c *connector, st indexState, b *indexBatch) error {
	if err := b.write(c.id, st); err != nil {
		return err
	}
	st.walkKey = bytes.Clone(st.walkKey)
	x.update(func() { x.states[c.id] = st })
	return nil
}
