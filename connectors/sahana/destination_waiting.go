package sahana

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/durable"
)

// Bounds of what waits; what is beyond becomes a dead letter at once.
const (
	maxWaitingRows  = 10_000
	maxWaitingBytes = 64 << 20
	// maxPresent is how many records are remembered to be at the Eden.
	maxPresent = 200_000
	// maxOvers is how many sessions a row waits for others.
	maxOvers = 2
)

// ident names a record of an Eden.
type ident struct{ table, uuid string }

// waiting are rows that refer to records which the Eden does not have, and so
// would drop the reference. They are written when those have come, which
// another partition may bring. A sync makes them durable in a file, because a
// checkpoint may pass them; what waits at the end fails the run.
type waiting struct {
	path string
	// Eden is the address that the rows are for.
	Eden string       `json:"eden"`
	Rows []waitingRow `json:"rows"`

	bytes int
	// saved is how many rows are in the file, dirty that it has others.
	saved int
	dirty bool
	// present are records that the Eden has, opaque tables of which it does not
	// tell, and finished collections of which no more will come.
	present  map[ident]bool
	opaque   map[string]bool
	finished map[string]bool
	domain   string
}

// waitingRow is a change that waits.
type waitingRow struct {
	Partition gapless.Partition `json:"partition"`
	Op        gapless.Op        `json:"op"`
	Key       string            `json:"key"`
	Modified  int64             `json:"modified,omitempty"`
	Data      []byte            `json:"data,omitempty"`
	// Overs counts the sessions that have left the row to the next.
	Overs int `json:"overs,omitempty"`
	// Refused is why the row will not be written; it waits to be told.
	Refused string `json:"refused,omitempty"`

	// wants are the records that it refers to; bare says that it was written
	// without its references, because others refer to it in turn.
	wants []target
	bare  bool
}

// target is a record that a field refers to.
type target struct {
	ident
	field string
}

// openWaiting reads the rows that an earlier session has left.
func openWaiting(folder, connector, eden string) (*waiting, error) {
	w := &waiting{
		path: filepath.Join(folder, "sahana-"+url.PathEscape(connector)+"-waiting.json"),
		Eden: eden, present: map[ident]bool{}, opaque: map[string]bool{}, finished: map[string]bool{},
	}
	body, err := os.ReadFile(w.path)
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err != nil {
		return nil, gapless.Recoverable(fmt.Errorf("read what waits in %s: %w", filepath.Base(w.path), err))
	}
	read := *w
	if err := json.Unmarshal(body, &read); err != nil {
		return nil, gapless.Unrecoverable(fmt.Errorf("read what waits in %s: %w", filepath.Base(w.path), err))
	}
	if read.Eden != eden {
		w.dirty = true
		return w, nil
	}
	w.saved = len(read.Rows)
	for _, r := range read.Rows {
		resource, err := s3.FromRecord(r.Partition.Collection, gapless.Record{Key: r.Key, Data: r.Data})
		if err != nil && r.Op != gapless.OpDelete {
			r.Refused = err.Error()
		}
		r.Overs++
		r.wants = targetsOf(nil, &resource)
		w.add(r)
	}
	w.dirty = w.saved > 0 // the count of sessions
	return w, nil
}

// targetsOf appends the records that a record and its components refer to.
func targetsOf(list []target, r *s3.Resource) []target {
	for i := range r.References {
		f := &r.References[i]
		if f.Resource == "" {
			continue
		}
		for _, uuid := range append([]string{f.UUID}, f.UUIDs...) {
			if uuid != "" && (uuid != r.UUID || f.Resource != r.Name) {
				list = append(list, target{ident{f.Resource, uuid}, f.Field})
			}
		}
	}
	for i := range r.Components {
		list = targetsOf(list, &r.Components[i])
	}
	return list
}

// has reports whether the Eden has a record, or does not tell.
func (w *waiting) has(id ident) bool {
	return w.present[id] || w.opaque[id.table] || w.present[ident{id.table, s3.LocalUUID(id.uuid, w.domain)}]
}

// note remembers that the Eden has a record, or has it no longer.
func (w *waiting) note(id ident, there bool) {
	switch {
	case !there:
		delete(w.present, id)
		delete(w.present, ident{id.table, s3.LocalUUID(id.uuid, w.domain)})
	case len(w.present) >= maxPresent:
		clear(w.present)
		fallthrough
	default:
		w.present[id] = true
	}
}

// keys returns the keys of a collection of which rows wait.
func (w *waiting) keys(collection string) map[string]bool {
	keys := map[string]bool{}
	for i := range w.Rows {
		if r := &w.Rows[i]; r.Partition.Collection == collection {
			keys[r.Key] = true
		}
	}
	return keys
}

// add appends a row, which waits for what earlier ones of its key wait for.
func (w *waiting) add(row waitingRow) {
	for i := range w.Rows {
		if r := &w.Rows[i]; r.Key == row.Key && r.Partition.Collection == row.Partition.Collection {
			row.wants, row.Refused = append(row.wants, r.wants...), r.Refused
		}
	}
	w.Rows = append(w.Rows, row)
	w.bytes += len(row.Data)
}

// refuse notes why the rows of a key will not be written.
func (w *waiting) refuse(collection, key string, reason error) {
	for i := range w.Rows {
		if r := &w.Rows[i]; r.Key == key && r.Partition.Collection == collection {
			r.Refused, w.dirty = reason.Error(), true
		}
	}
}

// drop forgets the rows of a key: newer ones take their place.
func (w *waiting) drop(collection, key string) {
	w.remove(func(r *waitingRow) bool { return r.Key == key && r.Partition.Collection == collection })
}

func (w *waiting) remove(which func(r *waitingRow) bool) {
	kept := w.Rows[:0]
	for i := range w.Rows {
		if which(&w.Rows[i]) {
			w.bytes -= len(w.Rows[i].Data)
			w.dirty = true
			continue
		}
		kept = append(kept, w.Rows[i])
	}
	clear(w.Rows[len(kept):])
	w.Rows = kept
}

// missing returns the first record that a row wants and the Eden does not have.
func (w *waiting) missing(wants []target) (target, bool) {
	for _, one := range wants {
		if !w.has(one.ident) {
			return one, true
		}
	}
	return target{}, false
}

// reason says what a row waits for.
func (one *target) reason() error {
	return fmt.Errorf("%s refers to %s %q, which the Eden does not have", one.field, one.table, clip(one.uuid))
}

// save writes the file if its rows have changed.
func (w *waiting) save() error {
	if !w.dirty {
		return nil
	}
	var err error
	if len(w.Rows) == 0 {
		if err = os.Remove(w.path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		var body []byte
		if body, err = json.Marshal(w); err == nil {
			err = durable.WriteBytes(w.path, body)
		}
	}
	if err != nil {
		return gapless.Recoverable(fmt.Errorf("save what waits for others: %w", err))
	}
	w.dirty, w.saved = false, len(w.Rows)
	return nil
}

// hold takes a row in that has to wait.
func (p *shipment) hold(row int, it *item, wants []target) {
	w, r, data := p.waiting, &p.batch.Rows[row], p.batch.Data(row)
	if len(w.Rows) >= maxWaitingRows || w.bytes+len(data) > maxWaitingBytes {
		err := fmt.Errorf("more than %d records wait for others", maxWaitingRows)
		if one, ok := w.missing(wants); ok {
			err = fmt.Errorf("%w, and %w", one.reason(), err)
		}
		p.reject(row, err)
		return
	}
	w.add(waitingRow{
		Partition: p.batch.Partition, Op: r.Op, Key: it.UUID, Modified: it.ModifiedOn.UnixNano(), Data: slices.Clone(data), wants: wants,
	})
	w.dirty = true
}

// sift holds the items back that have to wait, and returns the others.
func (p *shipment) sift(ctx context.Context, items []item) ([]item, error) {
	w := p.waiting
	if p.client.kin.Load() && len(w.Rows) == 0 {
		return items, nil // references need no target there
	}
	wants, here, held := make([][]target, len(items)), make(map[string]bool, len(items)), w.keys(p.table)
	var ask []ident
	for i := range items {
		it := &items[i]
		if held[it.UUID] && p.batch.Rows[it.row].Op != gapless.OpPatch {
			w.drop(p.table, it.UUID)
			delete(held, it.UUID)
		}
		here[it.UUID] = !it.Deleted
		if !it.Deleted {
			wants[i] = targetsOf(nil, &it.Resource)
		}
	}
	for i := range wants {
		for _, one := range wants[i] {
			if !w.has(one.ident) && !(one.table == p.table && here[one.uuid]) {
				ask = append(ask, one.ident)
			}
		}
	}
	if err := p.learn(ctx, ask); err != nil {
		return nil, err
	}
	if p.client.kin.Load() && len(w.Rows) == 0 {
		return items, nil
	}
	waits := p.waits(items, wants, here, held)
	now := items[:0]
	for i := range items {
		if waits[i] {
			p.hold(items[i].row, &items[i], wants[i])
		} else {
			now = append(now, items[i])
		}
	}
	return now, nil
}

// waits says which items have to wait: those that refer to what is not there,
// or to others of these that wait, and those of keys that are held.
func (p *shipment) waits(items []item, wants [][]target, here, held map[string]bool) []bool {
	waits := make([]bool, len(items))
	for changed := true; changed; {
		changed = false
		for i := range items {
			if waits[i] {
				continue
			}
			waits[i] = held[items[i].UUID] ||
				slices.ContainsFunc(wants[i], func(one target) bool {
					return !p.waiting.has(one.ident) && !(one.table == p.table && here[one.uuid])
				})
			if waits[i] {
				here[items[i].UUID], held[items[i].UUID], changed = false, true, true
			}
		}
	}
	return waits
}

// learn asks the Eden which of some records it has.
func (s *session) learn(ctx context.Context, ids []ident) error {
	w, byTable, tables, seen := s.waiting, map[string][]string{}, []string(nil), map[ident]bool{}
	for _, id := range ids {
		if w.has(id) || seen[id] {
			continue
		}
		seen[id] = true
		if byTable[id.table] == nil {
			tables = append(tables, id.table)
		}
		byTable[id.table] = append(byTable[id.table], id.uuid)
	}
	for _, table := range tables {
		if _, err := tablePath(table); err != nil {
			w.opaque[table] = true
			continue
		}
		err := lists(byTable[table], func(part []string, filter query) error {
			e, err := s.client.page(ctx, table, append(filter, "fields=none", "references=none", "mcomponents=none", "maxdepth=0"))
			if err != nil {
				return err
			}
			w.domain = e.domain
			for i := range e.records {
				if r := &e.records[i]; !r.Deleted {
					w.note(ident{table, s3.LocalUUID(r.UUID, e.domain)}, true)
				}
			}
			return nil
		})
		if e, ok := errors.AsType[*refusal](err); ok && (e.status == http.StatusForbidden || e.status == http.StatusNotFound) {
			w.opaque[table] = true // there are tables without an address, such as super entities
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}
