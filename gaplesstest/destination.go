package gaplesstest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/gapless-sync/gapless"
)

// Destination is an outside system in memory with the durability of a real
// one: what was pushed is lost by a crash, in whole or in part, unless it was
// synced.
type Destination struct {
	// Faults is asked before each call, by these names: "open", "status",
	// "push", "sync", "get" and "enumerate". Pushes and syncs may be
	// [Ambiguous].
	Faults Faults

	mu          sync.Mutex
	id          string
	incarnation int
	connectors  map[string]*held
}

type held struct {
	epoch          uint64
	synced, pushed map[string]gapless.Record // collection/key
	checkpoints    map[string]gapless.Checkpoint
	unsynced       []gapless.Change // in order, with collection/key as key
}

// NewDestination returns an empty destination.
func NewDestination(id string) *Destination {
	return &Destination{id: id, incarnation: 1, connectors: map[string]*held{}}
}

// Crash loses unsynced changes: the first keep of them survive, as a page
// cache may have written them. Open sessions end.
func (d *Destination) Crash(keep int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.incarnation++
	for _, h := range d.connectors {
		for _, c := range h.unsynced[:min(keep, len(h.unsynced))] {
			apply(h.synced, c)
		}
		h.pushed, h.unsynced = maps.Clone(h.synced), nil
	}
}

// Snapshot copies everything durable; Restore puts such a copy back, as an
// operator with a backup would.
func (d *Destination) Snapshot() *Destination {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := NewDestination(d.id)
	for name, h := range d.connectors {
		c.connectors[name] = &held{
			epoch: h.epoch, synced: maps.Clone(h.synced), pushed: maps.Clone(h.synced), checkpoints: maps.Clone(h.checkpoints),
		}
	}
	return c
}

// Restore replaces everything by what a snapshot holds.
func (d *Destination) Restore(snapshot *Destination) {
	c := snapshot.Snapshot()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.id, d.connectors = c.id, c.connectors
	d.incarnation++
}

// Rename gives the store another id, as a copy of it elsewhere would have.
func (d *Destination) Rename(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.id = id
}

// Records returns the synced data of a collection by key.
func (d *Destination) Records(connector, collection string) map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[string]string{}
	if h := d.connectors[connector]; h != nil {
		for k, r := range h.synced {
			if key, ok := strings.CutPrefix(k, collection+"/"); ok {
				all[key] = string(r.Data)
			}
		}
	}
	return all
}

// Checkpoint returns the synced checkpoint of a partition.
func (d *Destination) Checkpoint(connector, partition string) gapless.Checkpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.connectors[connector]; h != nil {
		return h.checkpoints[partition]
	}
	return gapless.Checkpoint{}
}

// Open opens a session.
func (d *Destination) Open(_ context.Context, connector string, epoch uint64) (gapless.Session, error) {
	if err := d.Faults.Check("open"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.connectors[connector]
	if h == nil {
		h = &held{synced: map[string]gapless.Record{}, pushed: map[string]gapless.Record{}, checkpoints: map[string]gapless.Checkpoint{}}
		d.connectors[connector] = h
	}
	if epoch != 0 && epoch < h.epoch {
		return nil, gapless.ErrFenced
	}
	before := h.epoch
	h.epoch = max(before, epoch)
	return &session{d: d, held: h, epoch: epoch, before: before, incarnation: d.incarnation}, nil
}

type session struct {
	d           *Destination
	held        *held
	epoch       uint64
	before      uint64 // epoch of the session before this one
	incarnation int
}

// Predecessor implements [gapless.Successor].
func (s *session) Predecessor() uint64 { return s.before }

func (s *session) check(write bool) error {
	switch {
	case s.epoch != 0 && s.epoch != s.held.epoch, write && s.epoch == 0:
		return gapless.ErrFenced
	case s.incarnation != s.d.incarnation:
		return gapless.ErrIncarnation
	}
	return nil
}

func (s *session) Status(context.Context) (gapless.Status, error) {
	if err := s.d.Faults.Check("status"); err != nil {
		return gapless.Status{}, err
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if err := s.check(false); err != nil {
		return gapless.Status{}, err
	}
	return gapless.Status{
		ID: s.d.id, Incarnation: fmt.Sprint(s.d.incarnation), Checkpoints: maps.Clone(s.held.checkpoints),
		Holds: len(s.held.synced) > 0 || len(s.held.checkpoints) > 0,
	}, nil
}

func (s *session) Push(_ context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	fault := s.d.Faults.Check("push")
	if fault != nil && !IsAmbiguous(fault) {
		return gapless.Receipt{}, fault
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if err := s.check(true); err != nil {
		return gapless.Receipt{}, err
	}
	var receipt gapless.Receipt
	for i := range b.Rows {
		c := b.Change(i)
		if strings.Contains(string(c.Data), `"refuse"`) {
			receipt.Rejected = append(receipt.Rejected, gapless.Rejection{Key: c.Key, Err: fmt.Errorf("refused on request")})
			continue
		}
		path := b.Partition.Collection + "/" + c.Key
		if c.Op == gapless.OpPatch {
			had, ok := s.held.pushed[path]
			if !ok {
				receipt.Rejected = append(receipt.Rejected, gapless.Rejection{Key: c.Key, Err: errNoRecord})
				continue
			}
			c.Op, c.Record = gapless.OpUpsert, merged(had, c.Record)
		}
		c.Key = path
		apply(s.held.pushed, c)
		s.held.unsynced = append(s.held.unsynced, c)
	}
	return receipt, fault
}

// apply carries out an upsert or a delete.
func apply(records map[string]gapless.Record, c gapless.Change) {
	if c.Op == gapless.OpDelete {
		delete(records, c.Key)
		return
	}
	records[c.Key] = c.Record
}

func (s *session) Sync(_ context.Context, checkpoints []gapless.Checkpoint) (gapless.Receipt, error) {
	fault := s.d.Faults.Check("sync")
	if fault != nil && !IsAmbiguous(fault) {
		return gapless.Receipt{}, fault
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if err := s.check(true); err != nil {
		return gapless.Receipt{}, err
	}
	s.held.synced, s.held.unsynced = maps.Clone(s.held.pushed), nil
	for _, c := range checkpoints {
		s.held.checkpoints[c.Partition] = c
	}
	return gapless.Receipt{}, fault
}

func (s *session) Close() error { return nil }

// Get implements [gapless.Getter].
func (s *session) Get(_ context.Context, p gapless.Partition, key string) (gapless.Record, error) {
	if err := s.d.Faults.Check("get"); err != nil {
		return gapless.Record{}, err
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	r, ok := s.held.synced[p.Collection+"/"+key]
	if !ok {
		return gapless.Record{}, gapless.ErrNotFound
	}
	r.Key, r.Data = key, bytes.Clone(r.Data)
	return r, nil
}

func (s *session) Enumerate(_ context.Context, p gapless.Partition, fn func(key, version []byte) error) error {
	if err := s.d.Faults.Check("enumerate"); err != nil {
		return err
	}
	s.d.mu.Lock()
	synced := maps.Clone(s.held.synced)
	s.d.mu.Unlock()
	prefix := p.Collection + "/" + p.Prefix
	for _, k := range slices.Sorted(maps.Keys(synced)) {
		if !strings.HasPrefix(k, prefix) {
			continue
		}
		if err := fn([]byte(k[len(p.Collection)+1:]), []byte(synced[k].Version)); err != nil {
			return err
		}
	}
	return nil
}
