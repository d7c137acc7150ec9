package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// Collections beside those of the tables. Names that begin with sync_ belong to
// the server: clients can read some of them, and write none.
const (
	ownPrefix       = "sync_"
	tableLog        = "sync_log"
	tableConflict   = "sync_conflict"
	tableRepository = "sync_repository"
	// collectionIndex has an entry for every record, by table and number.
	collectionIndex = "sync_index"
	// collectionState has the numbers that were given last, under keyNumbers.
	collectionState = "sync_state"
	keyNumbers      = "numbers"
	// collectionCursor has what repositories have got, by uuid and table.
	collectionCursor = "sync_cursor"
	// collectionMerged has what was merged into others, by table and uuid, with
	// the uuid of the survivor.
	collectionMerged = "sync_merged"
	// deletedSuffix follows the name of a table in that of its tombstones.
	deletedSuffix = "@deleted"
)

// defaultMCI is that of records which are sent without.
const defaultMCI = 2

// readable reports whether clients may read a table.
func readable(table string) bool {
	switch table {
	case tableLog, tableConflict, tableRepository:
		return true
	}
	return !strings.HasPrefix(table, ownPrefix)
}

func isTableName(name string) bool {
	prefix, rest, ok := strings.Cut(name, "_")
	if !ok || prefix == "" || rest == "" || len(name) > 128 {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// ident names a record.
type ident struct{ table, uuid string }

// entry is what the index knows of a record.
type entry struct {
	uuid string
	// sequence is the number of the last change.
	sequence uint64
	// arrived is when it came, by this server's clock, and modified what the
	// record says; in seconds.
	arrived, modified int64
	deleted           bool
	// from is the repository whose version this is, whole and unchanged; empty
	// if there is none.
	from string
}

func (e *entry) append(b []byte) []byte {
	b = appendString(append(b, `{"uuid":`...), e.uuid)
	b = strconv.AppendUint(append(b, `,"sequence":`...), e.sequence, 10)
	b = strconv.AppendInt(append(b, `,"arrived":`...), e.arrived, 10)
	b = strconv.AppendInt(append(b, `,"modified":`...), e.modified, 10)
	if e.deleted {
		b = append(b, `,"deleted":true`...)
	}
	if e.from != "" {
		b = appendString(append(b, `,"from":`...), e.from)
	}
	return append(b, '}')
}

func readEntry(data []byte) (e entry) {
	gjson.ParseBytes(data).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "uuid":
			e.uuid = strings.Clone(value.String())
		case "sequence":
			e.sequence = value.Uint()
		case "arrived":
			e.arrived = value.Int()
		case "modified":
			e.modified = value.Int()
		case "deleted":
			e.deleted = value.Bool()
		case "from":
			e.from = strings.Clone(value.String())
		}
		return true
	})
	return e
}

// indexPrefix begins the keys of a table's entries.
func indexPrefix(table string) string { return table + " " }

func indexKey(table string, id uint64) string {
	const digits = "0123456789abcdef"
	b := append(make([]byte, 0, len(table)+17), table...)
	b = append(b, ' ')
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[id>>shift&15])
	}
	return string(b)
}

func idOfKey(key string) (uint64, error) {
	_, digits, _ := strings.Cut(key, " ")
	return strconv.ParseUint(digits, 16, 64)
}

// stored is a record of the store.
type stored struct {
	// id is its number, in the order of creation.
	id       uint64
	resource s3.Resource
}

// view reads a snapshot.
type view struct{ Snapshot }

// find returns a record, or its tombstone with the data that it had last; nil
// if there never was one.
func (v view) find(ctx context.Context, id ident) (*stored, error) {
	for _, collection := range [...]string{id.table, id.table + deletedSuffix} {
		record, err := v.Get(ctx, collection, id.uuid)
		if errors.Is(err, gapless.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s %s: %w", id.table, clip(id.uuid), err)
		}
		return readStored(id.table, record)
	}
	return nil, nil //nolint:nilnil // there is none, and that is no mistake
}

// load returns the record of an entry.
func (v view) load(ctx context.Context, table string, e *entry) (*stored, error) {
	collection := table
	if e.deleted {
		collection += deletedSuffix
	}
	record, err := v.Get(ctx, collection, e.uuid)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", table, clip(e.uuid), err)
	}
	return readStored(table, record)
}

func readStored(table string, record gapless.Record) (*stored, error) {
	digits, _, _ := strings.Cut(record.Version, ".")
	id, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: its version %q has no number", table, clip(record.Key), clip(record.Version))
	}
	r, err := s3.FromRecord(table, record)
	if err != nil {
		return nil, fmt.Errorf("read what is stored: %w", err)
	}
	return &stored{id: id, resource: r}, nil
}

// entry returns the entry of a number, or [gapless.ErrNotFound].
func (v view) entry(ctx context.Context, table string, id uint64) (entry, error) {
	record, err := v.Get(ctx, collectionIndex, indexKey(table, id))
	if err != nil {
		return entry{}, fmt.Errorf("read the entry of %s %d: %w", table, id, err)
	}
	return readEntry(record.Data), nil
}

// numbers are those given last: of a change and of a record.
type numbers struct{ sequence, id uint64 }

func (v view) numbers(ctx context.Context) (numbers, error) {
	record, err := v.Get(ctx, collectionState, keyNumbers)
	if errors.Is(err, gapless.ErrNotFound) {
		return numbers{}, nil
	}
	if err != nil {
		return numbers{}, fmt.Errorf("read the numbers of the Sahana service: %w", err)
	}
	state := gjson.ParseBytes(record.Data)
	return numbers{state.Get("sequence").Uint(), state.Get("id").Uint()}, nil
}

// writing gathers changes of one batch. It holds the server's only permission
// to write until it is closed.
type writing struct {
	s    *Server
	view view
	numbers
	now     time.Time
	batches map[string]*gapless.Batch
	order   []*gapless.Batch
	pending map[ident]*stored
	bytes   int
}

// A batch is committed when it has this much.
const (
	writeRows  = 2000
	writeBytes = 4 << 20
)

// write waits until nobody else writes.
func (s *Server) write(ctx context.Context) (*writing, error) {
	s.writer.Lock()
	w := &writing{s: s}
	if err := w.begin(ctx); err != nil {
		s.writer.Unlock()
		return nil, err
	}
	return w, nil
}

func (w *writing) begin(ctx context.Context) error {
	w.now = w.s.opts.Now()
	snapshot, err := w.s.opts.Store.Snapshot(ctx, true)
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	w.view = view{snapshot}
	if w.numbers, err = w.view.numbers(ctx); err != nil {
		return errors.Join(err, snapshot.Close())
	}
	w.sequence++
	w.batches, w.order, w.pending, w.bytes = map[string]*gapless.Batch{}, nil, map[ident]*stored{}, 0
	return nil
}

// close gives up what was not committed.
func (w *writing) close() {
	if w.view.Snapshot != nil {
		if err := w.view.Close(); err != nil {
			w.s.opts.Logger.Warn("close a snapshot of the Sahana service", "error", err)
		}
	}
	w.s.writer.Unlock()
}

// find returns a record as this writing has left it.
func (w *writing) find(ctx context.Context, id ident) (*stored, error) {
	if r, ok := w.pending[id]; ok {
		return r, nil
	}
	return w.view.find(ctx, id)
}

func (w *writing) change(collection string, c gapless.Change) {
	b := w.batches[collection]
	if b == nil {
		b = &gapless.Batch{Partition: gapless.Partition{ID: collection, Collection: collection}}
		w.batches[collection] = b
		w.order = append(w.order, b)
	}
	b.Append(c)
	w.bytes += len(c.Key) + len(c.Data)
}

// put stores a record in place of old, which is nil if it is new, and returns
// its number. from is the repository that has just this version.
func (w *writing) put(r s3.Resource, old *stored, from string) (uint64, error) {
	record, err := r.Record()
	if err != nil {
		return 0, err
	}
	now := &stored{resource: r}
	if old != nil {
		now.id = old.id
	} else {
		w.id++
		now.id = w.id
	}
	collection, other := r.Name, r.Name+deletedSuffix
	if r.Deleted {
		collection, other = other, collection
	}
	if old != nil && old.resource.Deleted != r.Deleted {
		w.change(other, gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: record.Key}})
	}
	record.Version = strconv.FormatUint(now.id, 10) + "." + record.Version
	w.change(collection, gapless.Change{Op: gapless.OpUpsert, Record: record})
	e := entry{
		uuid: r.UUID, sequence: w.sequence, arrived: w.now.Unix(), modified: r.ModifiedOn.Unix(), deleted: r.Deleted, from: from,
	}
	w.change(collectionIndex, gapless.Change{Op: gapless.OpUpsert, Record: gapless.Record{Key: indexKey(r.Name, now.id), Data: e.append(nil)}})
	w.pending[ident{r.Name, r.UUID}] = now
	w.merge(&r, old)
	return now.id, nil
}

// full reports whether it is time to commit.
func (w *writing) full() bool { return len(w.pending) >= writeRows || w.bytes >= writeBytes }

// commit applies what was gathered, lets others write, and begins anew.
func (w *writing) commit(ctx context.Context) error {
	if len(w.order) == 0 {
		return nil
	}
	data := strconv.AppendUint([]byte(`{"sequence":`), w.sequence, 10)
	data = append(strconv.AppendUint(append(data, `,"id":`...), w.id, 10), '}')
	w.change(collectionState, gapless.Change{Op: gapless.OpUpsert, Record: gapless.Record{Key: keyNumbers, Data: data}})
	err := w.view.Close()
	w.view.Snapshot = nil
	if err == nil {
		err = w.s.opts.Store.Commit(ctx, w.order)
	}
	if err != nil {
		return fmt.Errorf("store what was sent: %w", err)
	}
	w.s.writer.Unlock()
	w.s.writer.Lock()
	return w.begin(ctx)
}
