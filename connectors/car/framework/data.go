package framework

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/tidwall/gjson"
	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// DataHandler takes the rows of one import. Its methods may be called by
// several goroutines at once. Once one of them has failed the import fails,
// even if the hook does not pass the error on.
//
// Of rows with the same key the first one counts. A row that does not satisfy
// the import schema of the service, or has no key, is not sent: the run
// exits with 55, and the row is kept in the state with its reason.
type DataHandler struct {
	journal  *journal
	rules    *rules
	log      *slog.Logger
	service  Querier
	source   string
	vertices []string // of the schema extension
	full     bool
	encoders sync.Pool

	mu     sync.Mutex // guards what follows
	rows   keySet
	counts map[string]*counts
	ends   map[string]ends
	late   bool // the lane of vertices has ended
	failed error
}

// counts is what became of the rows of one collection.
type counts struct {
	Rows       int `json:"rows"`
	Duplicates int `json:"duplicates,omitempty"`
	Conflicts  int `json:"conflicts,omitempty"`
	Invalid    int `json:"invalid,omitempty"`
	Deleted    int `json:"deleted,omitempty"`
	// Edges tells them from vertices.
	Edges bool `json:"edges,omitempty"`
}

// AddCollection hands over one vertex. row is anything that encoding/json
// makes an object of, or the object itself as a [json.RawMessage]. keyField
// names the field that identifies it within its collection: _key for
// ipaddress, hostname and macaddress, external_id for all others; empty means
// that one.
func (h *DataHandler) AddCollection(name string, row any, keyField string) error {
	if !wire.IsName(name) {
		return h.fail(gapless.Unrecoverable(fmt.Errorf("%.80q cannot be the name of a collection", name)))
	}
	if keyField == "" {
		keyField = wire.KeyField(name)
	}
	return h.encoded(name, row, func(data []byte) error {
		id := idOf(gjson.GetBytes(data, gjson.Escape(keyField)))
		if id == "" {
			return h.reject(laneVertices, name, "", data, fmt.Errorf("the row has no %s", keyField))
		}
		if err := h.rules.check(name, data); err != nil {
			return h.reject(laneVertices, name, id, data, err)
		}
		return h.add(laneVertices, name, id, data)
	})
}

// AddEdge hands over one edge. Its ends are in _from_external_id or _from, and
// in _to_external_id or _to; the source, the report, the time and that it is
// active are added on the way.
func (h *DataHandler) AddEdge(name string, row any) error {
	e, err := h.endsOf(name)
	if err != nil {
		return h.fail(gapless.Unrecoverable(err))
	}
	return h.encoded(name, row, func(data []byte) error {
		edge, err := e.edgeOf(data)
		if err != nil {
			return h.reject(laneEdges, name, "", data, err)
		}
		return h.add(laneEdges, name, edge.key(), data)
	})
}

// DeleteVertices says that vertices are gone from the data source, by their
// external_id, or by their _key where the collection has keys. Their edges go
// with them. Only an incremental import calls it: a full one lets the service
// find out.
func (h *DataHandler) DeleteVertices(collection string, ids ...string) error {
	if !wire.IsName(collection) {
		return h.fail(gapless.Unrecoverable(fmt.Errorf("%.80q cannot be the name of a collection", collection)))
	}
	if collection == "ipaddress" { // queries name them with their region
		ids = slices.Clone(ids)
		for i := range ids {
			ids[i] = wire.EndID(collection, ids[i])
		}
	}
	return h.remove(laneVertices, collection, ids)
}

// DisableEdges says that edges are gone although both of their ends may stay.
// Only an incremental import calls it.
func (h *DataHandler) DisableEdges(collection string, edges ...Edge) error {
	e, err := h.endsOf(collection)
	if err != nil {
		return h.fail(gapless.Unrecoverable(err))
	}
	keys := make([]string, len(edges))
	for i, edge := range edges {
		keys[i] = e.edge(edge.From, edge.To).key()
	}
	return h.remove(laneEdges, collection, keys)
}

// DisableVanished disables the edges that the service has of the given owners
// and this import has not added. An incremental import calls it when it has
// added every edge of a collection that these owners now have; owner is the
// collection that they are vertices of.
func (h *DataHandler) DisableVanished(ctx context.Context, collection, owner string, owners ...string) error {
	if len(owners) == 0 {
		return nil
	}
	q := EdgeQuery{Source: h.source, Collection: collection, Owner: owner, Owners: owners, Vertices: h.vertices}
	vanished, err := VanishedEdges(ctx, h.service, q, func(e Edge) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.rows.has(keyHash(collection, e.key()))
	})
	if err != nil {
		return h.fail(err)
	}
	return h.DisableEdges(collection, vanished...)
}

// fail remembers the first error.
func (h *DataHandler) fail(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed == nil {
		h.failed = err
	}
	return err
}

// failure returns the first error.
func (h *DataHandler) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

func (h *DataHandler) endsOf(collection string) (ends, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e, ok := h.ends[collection]; ok {
		return e, nil
	}
	e, err := endsOf(collection, h.vertices)
	if err == nil {
		h.ends[collection] = e
	}
	return e, err
}

// encoded calls add with the row as JSON, which is valid until add returns.
func (h *DataHandler) encoded(collection string, row any, add func(data []byte) error) error {
	if raw, ok := row.(json.RawMessage); ok {
		data := bytes.TrimSpace(raw)
		if !isObject(data) || !json.Valid(data) {
			return h.fail(gapless.Unrecoverable(fmt.Errorf("a row of %s is no JSON object", collection)))
		}
		return add(data)
	}
	e, ok := h.encoders.Get().(*rowEncoder)
	if !ok {
		e = &rowEncoder{}
		e.json = json.NewEncoder(&e.buffer)
		e.json.SetEscapeHTML(false)
	}
	defer h.encoders.Put(e)
	e.buffer.Reset()
	if err := e.json.Encode(row); err != nil {
		return h.fail(gapless.Unrecoverable(fmt.Errorf("encode a row of %s: %w", collection, err)))
	}
	data := bytes.TrimSuffix(e.buffer.Bytes(), []byte{'\n'})
	if !isObject(data) {
		return h.fail(gapless.Unrecoverable(fmt.Errorf("a row of %s is no JSON object", collection)))
	}
	return add(data)
}

type rowEncoder struct {
	buffer bytes.Buffer
	json   *json.Encoder
}

func isObject(data []byte) bool { return len(data) > 0 && data[0] == '{' }

// add writes a row to the journal unless it was there before.
func (h *DataHandler) add(l lane, collection, key string, data []byte) error {
	hash, content := keyHash(collection, key), uint16(xxh3.Hash(data))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed != nil {
		return h.failed
	}
	c := h.count(l, collection)
	switch h.rows.add(hash, content) {
	case seenSame:
		c.Duplicates++
		return nil
	case seenOther:
		if c.Conflicts++; c.Conflicts <= maxWarnings {
			h.log.Warn("A row has the key of an earlier one and another content; the first one counts.", "collection", collection, "key", key)
		}
		return nil
	}
	c.Rows++
	return h.write(l, frame{kind: frameUpsert, key: car.ModelKey(collection, key), data: data})
}

// write appends to the journal. The lock is held.
func (h *DataHandler) write(l lane, f frame) error {
	if l == laneVertices && h.late {
		l = laneRest
	}
	h.failed = h.journal.append(l, f)
	return h.failed
}

// maxWarnings bounds the warnings about single rows, by collection.
const maxWarnings = 20

// reject writes down a row that is not sent, with its reason. Without a key
// nobody knows what it is.
func (h *DataHandler) reject(l lane, collection, key string, data []byte, reason error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed != nil {
		return h.failed
	}
	c := h.count(l, collection)
	if c.Invalid++; c.Invalid <= maxWarnings {
		h.log.Warn("A row is not sent: "+reason.Error(), "collection", collection, "key", key)
	}
	name := ""
	if key != "" {
		name = car.ModelKey(collection, key)
	}
	text, err := json.Marshal(rejection{Reason: collection + ": " + reason.Error(), Row: data[:min(len(data), gapless.MaxRejectBytes)]})
	if err != nil {
		h.failed = fmt.Errorf("encode a rejected row: %w", err)
		return h.failed
	}
	return h.write(l, frame{kind: frameReject, key: name, data: text})
}

// rejection is the data of a frame that holds a rejected row.
type rejection struct {
	Reason string `json:"reason"`
	Row    []byte `json:"row"`
}

// remove writes deletes of what stands in a lane.
func (h *DataHandler) remove(of lane, collection string, keys []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed != nil {
		return h.failed
	}
	if h.full {
		h.failed = gapless.Unrecoverable(errors.New("a full import deletes nothing: the service retires what it is not sent"))
		return h.failed
	}
	for _, key := range keys {
		if key == "" {
			h.failed = gapless.Unrecoverable(fmt.Errorf("delete from %s: one of the ids is empty", collection))
			return h.failed
		}
		h.count(of, collection).Deleted++
		if err := h.write(laneRest, frame{kind: frameDelete, key: car.ModelKey(collection, key)}); err != nil {
			return err
		}
	}
	return nil
}

// count returns the counts of a collection whose rows stand in a lane. The lock
// is held.
func (h *DataHandler) count(l lane, collection string) *counts {
	c, ok := h.counts[collection]
	if !ok {
		c = &counts{Edges: l == laneEdges}
		h.counts[collection] = c
	}
	return c
}

// endVertices ends the lane of vertices: later ones come behind the edges.
func (h *DataHandler) endVertices() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.late = true
	return h.journal.end(laneVertices)
}

// totals returns a copy of the counts.
func (h *DataHandler) totals() map[string]*counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.counts)
}
