package hub

import (
	"context"
	"sync"

	"github.com/gapless-sync/gapless"
)

// Watermarks are the serials up to which everything is pushed, synced and
// searchable. They cost nothing to read.
type Watermarks struct {
	Pushed, Synced uint64
	// Searchable is 0 without search.
	Searchable uint64
	// Pending is how many synced changes the search index has not read yet,
	// at most.
	Pending uint64
	// SearchErr is what keeps the index from going on; it is being retried.
	SearchErr error
}

// Stats describe what a hub holds.
type Stats struct {
	ID, Incarnation string
	Watermarks
	// DiskBytes is the size of the record store's files.
	DiskBytes uint64
	// Indexed is how many records the search index holds; 0 without search.
	Indexed    uint64
	Connectors []ConnectorStats
}

// ConnectorStats describe one connector's synced part.
type ConnectorStats struct {
	Name  string
	Epoch uint64
	// FeedFrom and FeedTo are the serials between which the change feed
	// reaches, FeedFrom itself excluded.
	FeedFrom, FeedTo uint64
	Collections      []CollectionStats
}

// CollectionStats describe one collection's synced part.
type CollectionStats struct {
	Name    string
	Records uint64
	// Bytes is the size of the records with their keys, without parts.
	Bytes uint64
	// PartBytes is the size of the parts.
	PartBytes uint64
}

// countCache remembers counts until their collection changes.
type countCache struct {
	mu     sync.Mutex // guards counts
	counts map[uint32]counted
}

type counted struct {
	CollectionStats
	serial uint64 // of the view that was counted
}

func (h *Hub) pushed() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.serials.last
}

// Watermarks returns the watermarks of this moment.
func (h *Hub) Watermarks() Watermarks {
	w := Watermarks{Synced: h.views.serial(), Pushed: h.pushed()}
	if x := h.indexer(); x != nil {
		w.Searchable, w.Pending, w.SearchErr = x.progress()
	}
	return w
}

// Stats counts what the synced view holds. A collection that has changed
// since the last call is counted by reading it, about a second for some
// million records; [Hub.Watermarks] is what to call often.
func (h *Hub) Stats(ctx context.Context) (Stats, error) {
	if err := h.begin(); err != nil {
		return Stats{}, err
	}
	defer h.end()
	st := Stats{ID: h.id, Incarnation: h.incarnation, Watermarks: h.Watermarks(), DiskBytes: h.store.db.Metrics().DiskSpaceUsage()}
	if x := h.indexer(); x != nil {
		st.Indexed = x.documents()
	}
	v := h.views.acquire()
	defer h.views.release(v)
	for _, c := range h.names.all() {
		cs := ConnectorStats{Name: c.name, Epoch: c.epoch.Load()}
		ends, err := feedEnds(v, c)
		if err != nil {
			return Stats{}, h.store.classifyRead(err)
		}
		cs.FeedFrom, cs.FeedTo = ends.trimmed, ends.last
		for _, collection := range h.names.collectionsOf(c) {
			counts, err := h.count(ctx, v, collection)
			if err != nil {
				return Stats{}, h.store.classifyRead(err)
			}
			cs.Collections = append(cs.Collections, counts)
		}
		st.Connectors = append(st.Connectors, cs)
	}
	return st, nil
}

func (h *Hub) count(ctx context.Context, v *view, c *collection) (CollectionStats, error) {
	h.counts.mu.Lock()
	defer h.counts.mu.Unlock()
	if known, ok := h.counts.counts[c.id]; ok && c.changed.Load() <= known.serial {
		return known.CollectionStats, nil
	}
	n := counted{CollectionStats: CollectionStats{Name: c.name}, serial: v.serial}
	err := walk(ctx, v.snap, c.id, "", "", func(key []byte, s *stored) error {
		n.Records++
		n.Bytes += uint64(len(key) + len(s.version) + len(s.data))
		parts, err := decodeManifest(s.manifest)
		for i := range parts {
			n.PartBytes += uint64(parts[i].size)
		}
		return err
	})
	if err != nil {
		return CollectionStats{}, err
	}
	if h.counts.counts == nil {
		h.counts.counts = map[uint32]counted{}
	}
	h.counts.counts[c.id] = n
	return n.CollectionStats, nil
}

// Searchable reports whether a query sees everything up to serial. A serial
// that the hub does not hold, because it was never given out or a crash took
// its change back, is [gapless.ErrNotFound]; without search it is [ErrNoSearch].
func (h *Hub) Searchable(_ context.Context, serial uint64) (bool, error) {
	if err := h.begin(); err != nil {
		return false, err
	}
	defer h.end()
	x := h.indexer()
	if x == nil {
		return false, ErrNoSearch
	}
	if err := h.known(serial); err != nil {
		return false, err
	}
	searchable, _, _ := x.progress()
	return serial <= searchable, nil
}

func (h *Hub) known(serial uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if serial > h.serials.last || h.serials.isLost(serial) {
		return gapless.Errorf(gapless.CodeNotFound, "", "serial %d: %w", serial, gapless.ErrNotFound)
	}
	return nil
}
