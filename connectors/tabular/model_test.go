package tabular

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
)

// TestStoreModel drives a store with random changes, syncs, closes, take-overs
// and crashes, and compares it with a map.
func TestStoreModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(memoryDir(t), "model")
		if err != nil {
			rt.Fatal(err)
		}
		file := rapid.SampledFrom([]string{"o.jsonl", "o.jsonl.zst"}).Draw(rt, "file")
		m := &model{values: map[string]any{"path": filepath.Join(dir, file)}, synced: map[uint64]map[string]string{0: {}}, pushed: map[string]string{}}
		m.reopen(t, rt)
		rt.Repeat(map[string]func(*rapid.T){
			"push":     m.push,
			"sync":     m.sync,
			"close":    func(rt *rapid.T) { m.close(rt); m.reopen(t, rt) },
			"takeover": func(rt *rapid.T) { m.reopen(t, rt) },
			"crash":    func(rt *rapid.T) { m.crash(t, rt) },
			"":         m.check,
		})
	})
}

// model knows what the store must hold: pushed is what was accepted, synced
// what it was at each checkpoint.
type model struct {
	values  map[string]any
	store   *store
	session gapless.Session
	epoch   uint64
	version int
	seq     uint64 // of the last checkpoint that was tried
	sure    uint64 // of the last one that succeeded
	synced  map[uint64]map[string]string
	pushed  map[string]string
	crasher *crasher
}

func (m *model) reopen(t *testing.T, rt *rapid.T) {
	m.store = openStore(t, JSONL(), m.values)
	m.crasher = &crasher{at: 1 << 30, err: errCrash, sizes: map[string]int64{}}
	m.store.disk.fault = m.crasher.fault
	m.epoch++
	opened, err := m.store.Open(t.Context(), connector, m.epoch)
	if err != nil {
		rt.Fatal(err)
	}
	m.session = opened
	status, err := opened.Status(t.Context())
	if err != nil {
		rt.Fatal(err)
	}
	at := status.Checkpoints[partition.ID].Seq
	if at != m.sure && at != m.seq {
		rt.Fatalf("checkpoint %d, want %d or %d", at, m.sure, m.seq)
	}
	m.sure, m.seq = at, at
	m.pushed = maps.Clone(m.synced[at])
}

func (m *model) push(rt *rapid.T) {
	var changes []string
	for range rapid.IntRange(1, 6).Draw(rt, "changes") {
		key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(rt, "key")
		m.version++
		switch rapid.SampledFrom([]rune("+++-~")).Draw(rt, "op") {
		case '+':
			changes = append(changes, fmt.Sprintf(`+%s %d {"id":%q,"v":%d}`, key, m.version, key, m.version))
		case '-':
			changes = append(changes, "-"+key)
		case '~':
			changes = append(changes, fmt.Sprintf(`~%s %d {"id":%q,"p":%d}`, key, m.version, key, m.version))
		}
	}
	apply(m.pushed, changes)
	if _, err := m.session.Push(rt.Context(), batch(partition, changes...)); err != nil {
		rt.Fatal(err)
	}
}

func (m *model) sync(rt *rapid.T) {
	m.seq++
	m.synced[m.seq] = maps.Clone(m.pushed)
	c := checkpoint(m.seq)
	if rapid.Bool().Draw(rt, "unfinished") {
		c.Mark = "m"
	}
	if _, err := m.session.Sync(rt.Context(), []gapless.Checkpoint{c}); err != nil {
		rt.Fatal(err)
	}
	m.sure = m.seq
}

func (m *model) close(rt *rapid.T) {
	if err := m.session.Close(); err != nil {
		rt.Fatal(err)
	}
	if text, err := os.ReadFile(m.store.path); err == nil || m.sure > 0 && len(m.synced[m.sure]) > 0 {
		if err != nil || m.store.compression == compressionNone && !holdsKeys(string(text), m.synced[m.sure]) {
			rt.Fatalf("closed at checkpoint %d with %q, want %v, %v", m.sure, text, m.synced[m.sure], err)
		}
	}
}

// crash lets some steps of the next calls succeed, then none.
func (m *model) crash(t *testing.T, rt *rapid.T) {
	m.crasher.at = m.crasher.steps + rapid.IntRange(1, 25).Draw(rt, "steps")
	m.seq++
	m.synced[m.seq] = maps.Clone(m.pushed)
	_, err := m.session.Sync(rt.Context(), []gapless.Checkpoint{checkpoint(m.seq)})
	if err == nil {
		m.sure = m.seq
		err = m.session.Close()
	}
	if err != nil && !errors.Is(err, errCrash) {
		rt.Fatal(err)
	}
	m.crasher.crash(t, m.store.dir, func(n int64) int64 { return rapid.Int64Range(0, n).Draw(rt, "kept") })
	m.reopen(t, rt)
}

func (m *model) check(rt *rapid.T) {
	var got []string
	err := m.session.(gapless.Enumerator).Enumerate(rt.Context(), partition, func(key, version []byte) error {
		got = append(got, string(key)+"="+string(version))
		return nil
	})
	if want := listed(m.synced[m.sure]); err != nil || strings.Join(got, " ") != want {
		rt.Fatalf("at checkpoint %d it holds %v, want %s, %v", m.sure, got, want, err)
	}
}

// TestSorter compares a sorter that has little memory with a plain sort.
func TestSorter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := newSorter(&disk{}, filepath.Join(memoryDir(t), "sort"))
		s.limit = rapid.IntRange(1, 2000).Draw(rt, "limit")
		defer s.close()
		var want, got []string
		show := func(it item) string {
			return fmt.Sprintf("%08x %x %08x %d %d %x", it.collection, it.key, it.ordinal, it.op, it.scope, it.version)
		}
		var items []item
		for i := range rapid.IntRange(0, 60).Draw(rt, "items") {
			it := item{
				collection: uint32(rapid.IntRange(0, 1).Draw(rt, "collection")), scope: uint32(i * 99), ordinal: uint64(i), op: gapless.Op(i % 3),
				key: rapid.SliceOfN(rapid.Byte(), 1, 3).Draw(rt, "key"), version: rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(rt, "version"),
			}
			items = append(items, it)
			if err := s.add(it); err != nil {
				rt.Fatal(err)
			}
		}
		slices.SortFunc(items, item.compare)
		for _, it := range items {
			want = append(want, show(it))
		}
		if err := s.each(func(it item) error { got = append(got, show(it)); return nil }); err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(want, got) {
			rt.Fatalf("%d runs:\n%v\nwant\n%v", len(s.runs), got, want)
		}
	})
}

// TestManyDuplicates merges more than a sorter holds in memory.
func TestManyDuplicates(t *testing.T) {
	t.Parallel()
	const keys, rounds = 40_000, 3
	s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(memoryDir(t), "o.jsonl")})
	for epoch := range uint64(2) {
		opened := begin(t, s, epoch+1)
		for round := range rounds {
			b := &gapless.Batch{Partition: partition}
			for k := range keys {
				key := fmt.Sprintf("%06d", (k*7919)%keys)
				b.Append(gapless.Change{Record: gapless.Record{Key: key, Version: fmt.Sprint(round), Data: fmt.Appendf(nil, `{"id":%q,"v":%d}`, key, round)}})
			}
			if _, err := opened.Push(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		finish(t, opened, epoch+1)
		text := content(t, s)
		if strings.Count(text, "\n") != keys || strings.Count(text, `"v":2`) != keys {
			t.Fatalf("%d lines, %d of the last round", strings.Count(text, "\n"), strings.Count(text, `"v":2`))
		}
	}
	opened := begin(t, s, 9)
	defer opened.Close()
	if got := enumerate(t, opened, partition); len(got) != keys || !slices.IsSorted(got) {
		t.Errorf("%d keys, sorted %t", len(got), slices.IsSorted(got))
	}
}

// FuzzIndex feeds foreign bytes to the reader of indexes.
func FuzzIndex(f *testing.F) {
	good := appendEntry(appendEntry(nil, gapless.OpUpsert, 0, []byte("key"), []byte("version"), 300), gapless.OpDelete, 1, []byte("k"), nil, 0)
	f.Add(good)
	f.Add(good[:len(good)-2])
	f.Add([]byte{0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add(binary.AppendUvarint([]byte{1, 1}, 1<<40))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := newIndexReader(bytes.NewReader(text), int64(len(text)), 2)
		var again []byte
		for {
			e, err := r.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			if e.scope > 1 || len(e.key) == 0 {
				t.Fatalf("accepted %+v", e)
			}
			again = appendEntry(again, e.op, e.scope, e.key, e.version, e.length)
		}
		if len(again) > len(text) {
			t.Errorf("%x became %x", text, again)
		}
	})
}

// FuzzMeta feeds foreign bytes to the reader of the folder's meta data.
func FuzzMeta(f *testing.F) {
	m := newMeta("jsonl/1", connector)
	m.put([]gapless.Checkpoint{checkpoint(1)})
	m.Base = &extent{Name: "1-1", Lines: 100, Index: 100, Ops: 3, Size: 100, Modified: 5}
	m.Segments, m.Scopes = []extent{{Name: "1-2", Index: 50, Ops: 1}}, []scope{{"p", "c"}}
	text, err := encodeMeta(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":1,"id":"x","segments":[{"name":"../x","ops":99999999999}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decodeMeta(text)
		if err != nil {
			return
		}
		for _, e := range m.layers() {
			if filepath.Base(e.Name) != e.Name || e.Ops > uint64(e.Index) {
				t.Errorf("accepted %+v", e)
			}
		}
		again, err := encodeMeta(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeMeta(again); err != nil {
			t.Errorf("%s became %s: %v", text, again, err)
		}
	})
}
