package gaplesstest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
)

// Replica is an outside system in memory that is source and destination at
// once, and that others edit meanwhile. What is pushed is lost by a crash
// unless it was synced; readers see what is synced; edits are synced at once,
// with all that was pushed before.
type Replica struct {
	// Faults is asked before each call, by these names: "open", "status",
	// "push" and "sync" of the destination, of which the last two may be
	// [Ambiguous]; "describe", "position" and "read", before each record and
	// each change, of the source.
	Faults Faults

	mu          sync.Mutex
	id          string
	incarnation int
	restored    int // how often; positions from before have expired
	collections []string
	// plain replicas give records versions of their own, keep no field that is
	// not among fields (if there are any), and cannot push conditionally.
	plain  bool
	fields []string
	// between runs before each row of a conditional push, with the lock held
	// by nobody.
	between func(collection, key string)
	// prefixes of the slices that each collection is read in, if not whole.
	prefixes []string
	// refused are keys that no push, and refusedLate keys that no sync takes.
	refused, refusedLate []string
	late                 []string // keys pushed since the last sync that it will refuse
	lateBy               int      // syncs that say nothing before one tells

	synced, pushed world
	writers        map[string]*writer
}

type world struct {
	records map[string]gapless.Record // collection/key
	log     []touched
	count   int // versions given out
	trimmed int // changes that are forgotten
	// restored is that of the replica, for readers.
	restored int
}

type touched struct {
	name     string // collection/key
	deleted  bool
	version  string
	modified time.Time
}

type writer struct {
	epoch       uint64
	checkpoints map[string]gapless.Checkpoint
}

func (w *world) clone() world {
	return world{maps.Clone(w.records), slices.Clip(slices.Clone(w.log)), w.count, w.trimmed, 0}
}

// NewReplica returns an empty replica that keeps versions verbatim and can
// push conditionally, as the hub does.
func NewReplica(id string, collections ...string) *Replica {
	return &Replica{
		id: id, incarnation: 1, collections: collections, writers: map[string]*writer{},
		synced: world{records: map[string]gapless.Record{}}, pushed: world{records: map[string]gapless.Record{}},
	}
}

// Plain makes the replica one that gives records versions of its own and
// cannot push conditionally, as a system of others does. It keeps no other
// fields than those named, if any are.
func (r *Replica) Plain(fields ...string) *Replica {
	r.plain, r.fields = true, fields
	return r
}

// Between has fn called before each row of a conditional push, as the moment
// in which somebody else may write.
func (r *Replica) Between(fn func(collection, key string)) { r.between = fn }

// Trim forgets what has changed so far: positions from before have expired.
func (r *Replica) Trim() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.synced.trimmed, r.pushed.trimmed = len(r.synced.log)+1, len(r.synced.log)+1
	r.synced.log = append(r.synced.log, touched{})
	r.pushed.log = append(r.pushed.log, touched{})
}

// Split has collections read in slices, one for each prefix of keys.
func (r *Replica) Split(prefixes ...string) *Replica {
	r.prefixes = prefixes
	return r
}

// Refuse makes the replica reject what is pushed of these keys; without keys
// it takes everything again.
func (r *Replica) Refuse(keys ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = keys
}

// RefuseLate makes the replica take what is pushed of these keys, and reject
// it when it is synced, with that sync or so many later.
func (r *Replica) RefuseLate(later int, keys ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusedLate, r.lateBy = keys, later
}

// Edit gives a record new data at a time, which may be zero.
func (r *Replica) Edit(collection, key, data string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mustApply(collection, gapless.Change{Record: gapless.Record{Key: key, Data: []byte(data), Modified: at}})
	r.synced = r.pushed.clone()
}

// Load gives a collection n records at once.
func (r *Replica) Load(collection string, n int, record func(i int) (key, data string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range n {
		key, data := record(i)
		r.mustApply(collection, gapless.Change{Record: gapless.Record{Key: key, Data: []byte(data)}})
	}
	r.synced = r.pushed.clone()
}

// Remove deletes a record at a time, which may be zero.
func (r *Replica) Remove(collection, key string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mustApply(collection, gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key, Modified: at}})
	r.synced = r.pushed.clone()
}

// Crash loses what was pushed and not synced.
func (r *Replica) Crash() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pushed = r.synced.clone()
	r.incarnation++
}

// Backup copies everything durable; Restore puts such a copy back.
func (r *Replica) Backup() *Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := NewReplica(r.id, r.collections...)
	c.synced, c.pushed = r.synced.clone(), r.synced.clone()
	for name, w := range r.writers {
		c.writers[name] = &writer{w.epoch, maps.Clone(w.checkpoints)}
	}
	return c
}

// Restore replaces everything by what a backup holds.
func (r *Replica) Restore(backup *Replica) {
	r.Rewind(backup)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restored++
}

// Rewind is Restore of a replica that does not notice it: once it has gone on
// far enough, positions from before look as if they were its own.
func (r *Replica) Rewind(backup *Replica) {
	c := backup.Backup()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id, r.synced, r.pushed, r.writers = c.id, c.synced, c.pushed, c.writers
	r.incarnation++
}

// Records returns the synced data of a collection by key.
func (r *Replica) Records(collection string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]string{}
	for name, record := range r.synced.records {
		if key, ok := strings.CutPrefix(name, collection+"/"); ok {
			all[key] = string(record.Data)
		}
	}
	return all
}

// Writes returns how many changes the replica has taken.
func (r *Replica) Writes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pushed.log)
}

// mustApply carries out an edit, which nothing can refuse: it is no patch.
func (r *Replica) mustApply(collection string, c gapless.Change) {
	if err := r.apply(&r.pushed, collection, c); err != nil {
		panic(err)
	}
}

// apply carries out a change and returns why it cannot.
func (r *Replica) apply(w *world, collection string, c gapless.Change) error {
	name := collection + "/" + c.Key
	had, exists := w.records[name]
	if c.Op == gapless.OpDelete {
		if exists {
			delete(w.records, name)
			if c.Version == "" && !r.plain {
				c.Version = had.Version
			}
			w.log = append(w.log, touched{name, true, c.Version, c.Modified})
		}
		return nil
	}
	if c.Op == gapless.OpPatch {
		if !exists {
			return errNoRecord
		}
		c.Record = merged(had, c.Record)
	}
	c.Data = r.kept(c.Data)
	if w.count++; r.plain || c.Version == "" {
		c.Version = r.id + "-" + strconv.Itoa(w.count)
	}
	c.Op, c.Data = gapless.OpUpsert, bytes.Clone(c.Data)
	w.records[name] = c.Record
	w.log = append(w.log, touched{name, false, "", time.Time{}})
	return nil
}

// errNoRecord is why a patch of a record that does not exist is rejected.
var errNoRecord = fmt.Errorf("a patch needs the record: %w", gapless.ErrNotFound)

// merged returns a record as a patch leaves it.
func merged(had, patch gapless.Record) gapless.Record {
	patch.Data = patched(had.Data, patch.Data)
	for _, part := range had.Parts {
		if !slices.ContainsFunc(patch.Parts, func(p gapless.Part) bool { return p.Name == part.Name }) {
			patch.Parts = append(patch.Parts, part)
		}
	}
	return patch
}

// patched returns data with the fields of a patch; null removes one.
func patched(data, patch []byte) []byte {
	var fields, changes map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil || json.Unmarshal(patch, &changes) != nil {
		return data
	}
	for name, value := range changes {
		if string(value) == "null" {
			delete(fields, name)
			continue
		}
		fields[name] = value
	}
	text, _ := json.Marshal(fields) // of raw messages that were just read
	return text
}

// kept returns the part of data that the replica keeps.
func (r *Replica) kept(data []byte) []byte {
	var fields map[string]json.RawMessage
	if len(r.fields) == 0 || json.Unmarshal(data, &fields) != nil {
		return data
	}
	maps.DeleteFunc(fields, func(name string, _ json.RawMessage) bool { return !slices.Contains(r.fields, name) })
	text, _ := json.Marshal(fields) // of raw messages that were just read
	return text
}

// Open opens a session of a writer.
func (r *Replica) Open(_ context.Context, name string, epoch uint64) (gapless.Session, error) {
	if err := r.Faults.Check("open"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.writers[name]
	if w == nil {
		w = &writer{checkpoints: map[string]gapless.Checkpoint{}}
		r.writers[name] = w
	}
	if epoch != 0 && epoch < w.epoch {
		return nil, gapless.ErrFenced
	}
	w.epoch = max(w.epoch, epoch)
	s := &plainSession{r, w, epoch, r.incarnation}
	if r.plain {
		return s, nil
	}
	return conditionalSession{s}, nil
}

var errRefused = errors.New("refused on request")

type plainSession struct {
	r           *Replica
	writer      *writer
	epoch       uint64
	incarnation int
}

func (s *plainSession) check(write bool) error {
	switch {
	case s.epoch != 0 && s.epoch != s.writer.epoch, write && s.epoch == 0:
		return gapless.ErrFenced
	case s.incarnation != s.r.incarnation:
		return gapless.ErrIncarnation
	}
	return nil
}

func (s *plainSession) Status(context.Context) (gapless.Status, error) {
	if err := s.r.Faults.Check("status"); err != nil {
		return gapless.Status{}, err
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	return gapless.Status{
		ID: s.r.id, Incarnation: fmt.Sprint(s.r.incarnation), Checkpoints: maps.Clone(s.writer.checkpoints),
		Holds: len(s.r.synced.records) > 0 || len(s.writer.checkpoints) > 0,
	}, s.check(false)
}

func (s *plainSession) Push(_ context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	return s.push(b, nil)
}

func (s *plainSession) push(b *gapless.Batch, expect []gapless.Expectation) (gapless.Receipt, error) {
	fault := s.r.Faults.Check("push")
	if fault != nil && !IsAmbiguous(fault) {
		return gapless.Receipt{}, fault
	}
	var receipt gapless.Receipt
	for i := range b.Rows {
		c := b.Change(i)
		if expect != nil && s.r.between != nil {
			s.r.between(b.Partition.Collection, c.Key)
		}
		err := s.pushRow(b.Partition.Collection, c, expect, i)
		if errors.Is(err, gapless.ErrFenced) || errors.Is(err, gapless.ErrIncarnation) {
			return receipt, err
		}
		if err != nil {
			receipt.Rejected = append(receipt.Rejected, gapless.Rejection{Key: c.Key, Err: err})
		}
	}
	return receipt, fault
}

func (s *plainSession) pushRow(collection string, c gapless.Change, expect []gapless.Expectation, i int) error {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if err := s.check(true); err != nil {
		return err
	}
	if expect != nil {
		had, exists := s.r.pushed.records[collection+"/"+c.Key]
		e := expect[i]
		if e.Exists != exists || exists && (string(e.Version) != had.Version || !bytes.Equal(e.Data, had.Data)) {
			return gapless.ErrChanged
		}
	}
	if strings.Contains(string(c.Data), `"refuse"`) || slices.Contains(s.r.refused, c.Key) {
		return errRefused
	}
	if slices.Contains(s.r.refusedLate, c.Key) {
		s.r.late = append(s.r.late, c.Key)
		return nil
	}
	return s.r.apply(&s.r.pushed, collection, c)
}

func (s *plainSession) Sync(_ context.Context, checkpoints []gapless.Checkpoint) (gapless.Receipt, error) {
	fault := s.r.Faults.Check("sync")
	if fault != nil && !IsAmbiguous(fault) {
		return gapless.Receipt{}, fault
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if err := s.check(true); err != nil {
		return gapless.Receipt{}, err
	}
	s.r.synced = s.r.pushed.clone()
	for _, c := range checkpoints {
		s.writer.checkpoints[c.Partition] = c
	}
	var receipt gapless.Receipt
	if len(s.r.late) == 0 {
		return receipt, fault
	}
	if s.r.lateBy--; s.r.lateBy < 0 {
		for _, key := range s.r.late {
			receipt.Rejected = append(receipt.Rejected, gapless.Rejection{Key: key, Err: errRefused})
		}
		s.r.late = nil
	}
	return receipt, fault
}

func (s *plainSession) Close() error { return nil }

type conditionalSession struct{ *plainSession }

// PushIf implements [gapless.ConditionalPusher].
func (s conditionalSession) PushIf(_ context.Context, b *gapless.Batch, expect []gapless.Expectation) (gapless.Receipt, error) {
	return s.push(b, expect)
}

// As returns the replica as a source of a model, which has no more methods
// than that model needs.
func (r *Replica) As(model gapless.ChangeModel) gapless.Source {
	f := replicaFull{r, model}
	switch model {
	case gapless.ModelModified:
		return replicaModified{replicaLog{f}}
	case gapless.ModelLog:
		return replicaLog{f}
	}
	return f
}

type replicaFull struct {
	r     *Replica
	model gapless.ChangeModel
}

func (s replicaFull) Describe(context.Context) (gapless.Description, error) {
	if err := s.r.Faults.Check("describe"); err != nil {
		return gapless.Description{}, err
	}
	return gapless.Description{Model: s.model, Collections: s.r.collections}, nil
}

// Partitions lists the collections, or their slices.
func (s replicaFull) Partitions(context.Context) ([]gapless.Partition, error) {
	var list []gapless.Partition
	for _, c := range s.r.collections {
		if len(s.r.prefixes) == 0 {
			list = append(list, gapless.Partition{ID: c, Collection: c})
		}
		for _, prefix := range s.r.prefixes {
			list = append(list, gapless.Partition{ID: c + ":" + prefix, Collection: c, Prefix: prefix})
		}
	}
	return list, nil
}

// snapshot returns what readers see.
func (s replicaFull) snapshot() world {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	w := s.r.synced.clone()
	w.restored = s.r.restored
	return w
}

func (s replicaFull) ReadAll(_ context.Context, p gapless.Partition, _ gapless.Mark, out *gapless.Output) error {
	w := s.snapshot()
	for _, name := range slices.Sorted(maps.Keys(w.records)) {
		if !strings.HasPrefix(name, p.Collection+"/"+p.Prefix) {
			continue
		}
		if err := s.r.Faults.Check("read"); err != nil {
			return err
		}
		if err := out.Upsert(w.records[name]); err != nil {
			return err
		}
	}
	return nil
}

type replicaLog struct{ replicaFull }

func (s replicaLog) Position(context.Context, gapless.Partition) (gapless.Position, error) {
	if err := s.r.Faults.Check("position"); err != nil {
		return "", err
	}
	w := s.snapshot()
	return gapless.Position(fmt.Sprintf("%d of %d", len(w.log), w.restored)), nil
}

func (s replicaLog) ReadChanges(_ context.Context, p gapless.Partition, from, _ gapless.Position, out *gapless.Output) error {
	w := s.snapshot()
	var start, restored int
	_, err := fmt.Sscanf(string(from), "%d of %d", &start, &restored)
	if err != nil || restored != w.restored || start > len(w.log) || start < w.trimmed {
		return gapless.Expired(fmt.Errorf("position %q is not known", from))
	}
	for _, l := range w.log[start:] {
		key, ours := strings.CutPrefix(l.name, p.Collection+"/")
		if !ours || !strings.HasPrefix(key, p.Prefix) {
			continue
		}
		if err := s.r.Faults.Check("read"); err != nil {
			return err
		}
		if record, there := w.records[l.name]; there {
			err = out.Upsert(record)
		} else if s.model == gapless.ModelLog {
			err = out.Change(gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key, Version: l.version, Modified: l.modified}})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s replicaLog) Fetch(_ context.Context, p gapless.Partition, keys []string, out *gapless.Output) error {
	w := s.snapshot()
	for _, key := range keys {
		record, there := w.records[p.Collection+"/"+key]
		err := error(nil)
		if there {
			err = out.Upsert(record)
		} else {
			err = out.Delete(key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type replicaModified struct{ replicaLog }

func (s replicaModified) ReadKeys(_ context.Context, p gapless.Partition, out *gapless.Output) error {
	w := s.snapshot()
	for _, name := range slices.Sorted(maps.Keys(w.records)) {
		key, ours := strings.CutPrefix(name, p.Collection+"/")
		if !ours || !strings.HasPrefix(key, p.Prefix) {
			continue
		}
		if err := out.Key(key, w.records[name].Version); err != nil {
			return err
		}
	}
	return nil
}
