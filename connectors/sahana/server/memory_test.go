package server_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/server"
)

// memory is a disk that power can be cut from: a log of commits, of which what
// was synced stays, and of the rest as much as chance has it.
type memory struct {
	mu     sync.Mutex // guards what follows
	rng    *rand.Rand
	log    [][]*gapless.Batch
	synced int // entries of the log that are
	boots  int
	// left are the calls to go until the power is cut; never if negative.
	left int
}

var errPower = errors.New("the power was cut")

// boot returns the store as it is after the power was cut, which ends those
// that were returned before.
func (m *memory) boot() server.Store {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.synced + m.rng.IntN(len(m.log)-m.synced+1)
	m.log, m.synced, m.left = m.log[:kept], kept, -1
	m.boots++
	return memoryStore{m, m.boots}
}

// cutAfter cuts the power after so many calls.
func (m *memory) cutAfter(calls int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = calls
}

// memoryStore is the disk between two cuts.
type memoryStore struct {
	*memory
	boot int
}

// use counts a call. The caller holds mu.
func (s memoryStore) use() error {
	if s.boot != s.boots || s.left == 0 {
		return errPower
	}
	if s.left > 0 {
		s.left--
	}
	return nil
}

func (s memoryStore) ID() string { return "0123456789abcdef0123456789abcdef" }

func (s memoryStore) Snapshot(_ context.Context, pushed bool) (server.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.use(); err != nil {
		return nil, err
	}
	n := s.synced
	if pushed {
		n = len(s.log)
	}
	rows := memorySnapshot{}
	for _, batches := range s.log[:n] {
		for _, b := range batches {
			for i := range b.Len() {
				c := b.Change(i)
				key := b.Partition.Collection + "\x00" + c.Key
				if c.Op == gapless.OpDelete {
					delete(rows, key)
				} else {
					rows[key] = c.Record
				}
			}
		}
	}
	return rows, nil
}

func (s memoryStore) Commit(_ context.Context, batches []*gapless.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.use(); err != nil {
		return err
	}
	s.log = append(s.log, slices.Clone(batches))
	return nil
}

func (s memoryStore) Sync(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.use(); err != nil {
		return err
	}
	s.synced = len(s.log)
	return nil
}

// memorySnapshot holds records by collection and key.
type memorySnapshot map[string]gapless.Record

func (n memorySnapshot) Get(_ context.Context, collection, key string) (gapless.Record, error) {
	if r, ok := n[collection+"\x00"+key]; ok {
		return r, nil
	}
	return gapless.Record{}, gapless.ErrNotFound
}

func (n memorySnapshot) Records(_ context.Context, collection, prefix, after string, fn func(gapless.Record) error) error {
	for _, key := range slices.Sorted(maps.Keys(n)) {
		rest, ok := strings.CutPrefix(key, collection+"\x00")
		if !ok || !strings.HasPrefix(rest, prefix) || rest <= after {
			continue
		}
		if err := fn(n[key]); err != nil {
			return err
		}
	}
	return nil
}

func (n memorySnapshot) Close() error { return nil }
