package hub

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
)

// undoModel is what the contract of Keep promises: for each run the records
// before its first change of them, and what it made of them last.
type undoModel struct {
	fs     *vfs.MemFS
	hub    *Hub
	epoch  uint64
	now    time.Time
	states []undoState // the one synced last, and all that followed
	pushes int
	days   int // since then every run is another one
}

func (m *undoModel) state() *undoState { return &m.states[len(m.states)-1] }

type undoState struct {
	records map[string]string // as text; nothing under the key of no record
	runs    map[string]undoRun
}

type undoRun struct {
	before, left map[string]string // "" if there is none
	last         time.Time         // change
}

func (s undoState) clone() undoState {
	c := undoState{maps.Clone(s.records), map[string]undoRun{}}
	for name, r := range s.runs {
		c.runs[name] = undoRun{maps.Clone(r.before), maps.Clone(r.left), r.last}
	}
	return c
}

const undoWindow = 8 * time.Hour

func (m *undoModel) open(t *rapid.T) {
	h, err := Open(t.Context(), Options{Dir: "hub", fs: m.fs, stageBytes: testStageBytes, now: func() time.Time { return m.now }, purge: 2})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	m.hub, m.epoch = h, m.epoch+1
}

func (m *undoModel) session(t *rapid.T) *Session {
	s, err := m.hub.Session(t.Context(), "docs", m.epoch)
	if err != nil {
		t.Fatalf("session: %v", err)
	}
	return s
}

var undoKeys = rapid.SampledFrom([]string{"a", "b", "c", "d"})

func undoChange(t *rapid.T) gapless.Change {
	c := gapless.Change{Record: gapless.Record{Key: undoKeys.Draw(t, "key"), Version: rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "version")}}
	c.Op = rapid.SampledFrom([]gapless.Op{gapless.OpUpsert, gapless.OpUpsert, gapless.OpPatch, gapless.OpDelete}).Draw(t, "op")
	if c.Op == gapless.OpDelete {
		return c
	}
	c.Data = fmt.Appendf(nil, `{"n":%d}`, rapid.IntRange(0, 2).Draw(t, "n"))
	c.Modified = time.Unix(int64(rapid.IntRange(1, 2).Draw(t, "modified")), 0).UTC()
	for _, name := range []string{"p", "q"} {
		if size := rapid.SampledFrom([]int{-1, -1, -1, -1, 0, 5, 5, chunkBytes + 1}).Draw(t, name); size >= 0 {
			c.Parts = append(c.Parts, part(name, "", strings.Repeat(string(c.Data[5]), size)))
		}
	}
	return c
}

// push pushes a few changes of a run, or of somebody who keeps nothing.
func (m *undoModel) push(t *rapid.T) {
	s := m.session(t)
	run := rapid.SampledFrom([]string{"", "r1", "r2", "r3"}).Draw(t, "run")
	if run != "" {
		run = fmt.Sprintf("%s of day %d", run, m.days)
		if err := s.Keep(t.Context(), run, undoWindow); err != nil {
			t.Fatal(err)
		}
	}
	for range rapid.IntRange(1, 3).Draw(t, "batches") {
		m.pushes++
		b := batch(upsert("z", fmt.Sprintf(`{"push":%d}`, m.pushes))) // tells states apart
		keys := []string{"z"}
		m.states = append(m.states, m.state().clone())
		for _, c := range rapid.SliceOfNDistinct(rapid.Custom(undoChange), 1, 3, func(c gapless.Change) string { return c.Key }).Draw(t, "rows") {
			b.Append(c)
			keys = append(keys, c.Key)
		}
		if _, err := s.Push(t.Context(), b); err != nil {
			t.Fatalf("push: %v", err)
		}
		m.pushed(t, s, run, keys)
	}
}

// pushed notes what a batch made of records.
func (m *undoModel) pushed(t *rapid.T, s *Session, run string, keys []string) {
	for _, key := range keys {
		now := undoText(t, s, key)
		before := m.state().records[key]
		if m.state().records[key] = now; now == "" {
			delete(m.state().records, key)
		}
		if run == "" || before == now {
			continue
		}
		r, ok := m.state().runs[run]
		if !ok {
			r = undoRun{before: map[string]string{}, left: map[string]string{}}
		}
		if _, known := r.before[key]; !known {
			r.before[key] = before
		}
		r.left[key], r.last = now, m.now
		m.state().runs[run] = r
	}
}

func undoText(t *rapid.T, s *Session, key string) string {
	r, err := s.GetPushed(t.Context(), items, key)
	if errors.Is(err, gapless.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return formerText(t, r)
}

func formerText(t *rapid.T, r gapless.Record) string {
	text, err := describe(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s %d", r.Version, text, r.Modified.Unix())
}

func (m *undoModel) sync(t *rapid.T) {
	if _, err := m.session(t).Sync(t.Context(), nil); err != nil {
		t.Fatalf("sync: %v", err)
	}
	m.states = m.states[len(m.states)-1:]
}

// crash loses what was not synced, or a part of it.
func (m *undoModel) crash(t *rapid.T) {
	m.fs = crash(m.fs, rapid.IntRange(0, 100).Draw(t, "percent"), 1)
	m.open(t)
	z := undoText(t, m.session(t), "z")
	i := slices.IndexFunc(m.states, func(s undoState) bool { return s.records["z"] == z })
	if i < 0 {
		t.Fatalf("z is %s, which it was not since the last sync", z)
	}
	m.states = m.states[i : i+1]
}

func (m *undoModel) later(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 10).Draw(t, "hours")) * time.Hour)
	for _, r := range m.state().runs {
		if m.now.Sub(r.last) > undoWindow {
			m.days++
			return
		}
	}
}

// check compares what is kept with the model. Of a run whose window is over
// anything may be kept, but not nothing before that.
func (m *undoModel) check(t *rapid.T) {
	m.sync(t)
	s := m.session(t)
	listed, err := s.KeptRuns(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range m.state().runs {
		over := m.now.Sub(r.last) > undoWindow
		if gone := !slices.ContainsFunc(listed, func(k gapless.KeptRun) bool { return k.Run == name }); over && gone {
			delete(m.state().runs, name)
			continue
		}
		want, got := map[string]string{}, map[string]string{}
		for key, before := range r.before {
			if before != r.left[key] {
				want[key] = undoStanding(before, r.left[key], m.state().records[key])
			}
		}
		err := s.Kept(t.Context(), name, func(k gapless.KeptRecord) error {
			before, left := "", "(there)"
			if k.Existed {
				before = formerText(t, k.Before)
			}
			if !k.Left {
				left = ""
			}
			got[k.Before.Key] = fmt.Sprintf("%q %t %d", before, left != "", k.Standing)
			return nil
		})
		if err != nil && len(want) > 0 {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", name, diff)
		}
	}
	m.chunks(t)
}

func undoStanding(before, left, now string) string {
	standing := gapless.StandsChanged
	switch now {
	case before:
		standing = gapless.StandsAsBefore
	case left:
		standing = gapless.StandsAsLeft
	}
	return fmt.Sprintf("%q %t %d", before, left != "", standing)
}

// chunks asserts that the chunks of parts are exactly those of the records and
// of what is kept.
func (m *undoModel) chunks(t *rapid.T) {
	want, have := map[string]bool{}, 0
	note := func(manifest []byte) error {
		parts, err := decodeManifest(manifest)
		for _, p := range parts {
			for n := range p.chunkCount() {
				key := string(p.blob.chunk(n))
				if want[key] {
					t.Fatalf("a chunk belongs to two states")
				}
				want[key] = true
			}
		}
		return err
	}
	db := m.hub.store.db
	err := errors.Join(
		scan(db, []byte{spaceRecord}, func(_, value []byte) error {
			s, err := decodeStored(value)
			return errors.Join(err, note(s.manifest))
		}),
		scan(db, []byte{spaceKept}, func(_, value []byte) error {
			f, err := decodeFormer(value)
			if err != nil || !f.existed {
				return err
			}
			s, err := decodeStored(f.before)
			return errors.Join(err, note(s.manifest))
		}),
		scan(db, []byte{spaceChunk}, func(key, _ []byte) error {
			if have++; !want[string(key)] {
				return fmt.Errorf("chunk %x is nobody's", key)
			}
			return nil
		}),
	)
	if err != nil || have != len(want) {
		t.Fatalf("%d chunks, want %d: %v", have, len(want), err)
	}
}

// end lets every window pass: nothing may be left of what was kept.
func (m *undoModel) end(t *rapid.T) {
	m.now = m.now.Add(10 * undoWindow)
	m.sync(t)
	for m.hub.kept.due(m.now) { // a little with each sync
		m.sync(t)
	}
	for _, space := range []byte{spaceKept, spaceKeptRun, spaceOrphan} {
		if left, err := holdsAny(m.hub.store.db, []byte{space}); err != nil || left {
			t.Fatalf("keys are left in space %q (%v)", space, err)
		}
	}
	m.chunks(t)
}

func TestKeepKeepsWhatItPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &undoModel{fs: crashable(), now: time.Unix(1_700_000_000, 0), states: []undoState{{map[string]string{}, map[string]undoRun{}}}}
		m.open(t)
		t.Repeat(map[string]func(*rapid.T){"push": m.push, "sync": m.sync, "crash": m.crash, "later": m.later, "check": m.check})
		m.check(t)
		m.end(t)
		if err := m.hub.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
