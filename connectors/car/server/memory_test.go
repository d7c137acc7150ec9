package server_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/server"
)

// memory is a disk that power can be cut from: a log of commits, of which what
// was synced stays, and of the rest as much as chance has it.
type memory struct {
	mu      sync.Mutex // guards what follows
	rng     *rand.Rand
	log     []commit
	synced  int // entries of the log that are
	serial  uint64
	lost    [][2]uint64 // intervals of serials, both ends included
	sources map[string]bool
	now     map[string]memorySnapshot // what the log makes of each source
	boots   int
	// calls to go until the power is cut; never if negative.
	left int
}

type commit struct {
	source string
	serial uint64
	rows   []memoryRow
}

type memoryRow struct {
	collection string
	op         gapless.Op
	record     gapless.Record
}

func newMemory(seed uint64) *memory {
	return &memory{rng: rand.New(rand.NewPCG(seed, 0)), sources: map[string]bool{}, left: -1}
}

var errPower = gapless.Recoverable(errors.New("the power was cut"))

// boot returns the store as it is after the power was cut, which ends those
// that were returned before.
func (m *memory) boot() server.Store {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.synced + m.rng.IntN(len(m.log)-m.synced+1)
	last := uint64(0)
	if kept > 0 {
		last = m.log[kept-1].serial
	}
	if m.serial > last {
		m.lost = append(m.lost, [2]uint64{last + 1, m.serial})
	}
	m.log, m.synced, m.left = m.log[:kept], kept, -1
	m.boots++
	m.now = m.replay(kept)
	return memoryStore{m, m.boots}
}

// memoryStore is the disk between two cuts.
type memoryStore struct {
	disk *memory
	boot int
}

// begin counts a call; end follows unless it fails.
func (s memoryStore) begin() error {
	m := s.disk
	m.mu.Lock()
	if m.left == 0 || s.boot != m.boots {
		m.mu.Unlock()
		return errPower
	}
	if m.left > 0 {
		m.left--
	}
	return nil
}

func (s memoryStore) end() { s.disk.mu.Unlock() }

func (s memoryStore) ID() string { return "memory00" }

func (s memoryStore) Sources(context.Context) ([]string, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	return slices.Sorted(maps.Keys(s.disk.sources)), nil
}

func (s memoryStore) Open(_ context.Context, source string, create bool) (server.Corpus, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	if source != "" && create {
		s.disk.sources[source] = true
	}
	if source != "" && !s.disk.sources[source] {
		return nil, gapless.ErrNotFound
	}
	return memoryCorpus{s, source}, nil
}

func (s memoryStore) Synced(_ context.Context, serial uint64) (bool, error) {
	if err := s.begin(); err != nil {
		return false, err
	}
	defer s.end()
	m := s.disk
	if serial > m.serial || slices.ContainsFunc(m.lost, func(l [2]uint64) bool { return l[0] <= serial && serial <= l[1] }) {
		return false, gapless.ErrNotFound
	}
	return m.synced > 0 && serial <= m.log[m.synced-1].serial, nil
}

type memoryCorpus struct {
	memoryStore
	source string
}

// replay returns what the first commits of the log make of all sources.
func (m *memory) replay(commits int) map[string]memorySnapshot {
	now := map[string]memorySnapshot{}
	for _, entry := range m.log[:commits] {
		entry.apply(now)
	}
	return now
}

func (c *commit) apply(now map[string]memorySnapshot) {
	if now[c.source] == nil {
		now[c.source] = memorySnapshot{}
	}
	rows := now[c.source]
	for _, r := range c.rows {
		if rows[r.collection] == nil {
			rows[r.collection] = map[string]gapless.Record{}
		}
		if r.op == gapless.OpDelete {
			delete(rows[r.collection], r.record.Key)
		} else {
			rows[r.collection][r.record.Key] = r.record
		}
	}
}

func (n memorySnapshot) clone() memorySnapshot {
	copied := memorySnapshot{}
	for collection, rows := range n {
		copied[collection] = maps.Clone(rows)
	}
	return copied
}

func (c memoryCorpus) Collections(context.Context) ([]string, error) {
	if err := c.begin(); err != nil {
		return nil, err
	}
	defer c.end()
	return slices.Sorted(maps.Keys(c.disk.now[c.source])), nil
}

func (c memoryCorpus) Get(ctx context.Context, collection, key string) (gapless.Record, error) {
	if err := c.begin(); err != nil {
		return gapless.Record{}, err
	}
	defer c.end()
	return c.disk.now[c.source].Get(ctx, collection, key)
}

func (c memoryCorpus) Snapshot(_ context.Context, pushed bool) (server.Snapshot, error) {
	if err := c.begin(); err != nil {
		return nil, err
	}
	defer c.end()
	if pushed {
		return c.disk.now[c.source].clone(), nil
	}
	return c.disk.replay(c.disk.synced)[c.source], nil
}

func (c memoryCorpus) Commit(_ context.Context, batches []*gapless.Batch) (uint64, error) {
	if err := c.begin(); err != nil {
		return 0, err
	}
	defer c.end()
	m := c.disk
	entry := commit{source: c.source}
	for _, b := range batches {
		for i := range b.Rows {
			change := b.Change(i)
			entry.rows = append(entry.rows, memoryRow{b.Partition.Collection, change.Op, change.Record})
			m.serial++
		}
	}
	entry.serial = m.serial
	m.log = append(m.log, entry)
	entry.apply(m.now)
	return m.serial, nil
}

func (c memoryCorpus) Sync(context.Context) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	c.disk.synced = len(c.disk.log)
	return nil
}

// memorySnapshot has records by collection and key.
type memorySnapshot map[string]map[string]gapless.Record

func (n memorySnapshot) Get(_ context.Context, collection, key string) (gapless.Record, error) {
	if r, ok := n[collection][key]; ok {
		return r, nil
	}
	return gapless.Record{}, fmt.Errorf("record %q: %w", key, gapless.ErrNotFound)
}

func (n memorySnapshot) Records(_ context.Context, collection, prefix, after string, fn func(gapless.Record) error) error {
	for _, key := range slices.Sorted(maps.Keys(n[collection])) {
		if !strings.HasPrefix(key, prefix) || key <= after {
			continue
		}
		if err := fn(n[collection][key]); err != nil {
			return err
		}
	}
	return nil
}

func (memorySnapshot) Close() error { return nil }
