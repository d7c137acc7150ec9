package hub

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
)

// model is a hub as its contract has it: states that a crash may go back to.
type model struct {
	fs     *vfs.MemFS
	hub    *Hub
	states []modelState // the one synced last, and all that followed
	lost   []uint64     // serials of changes that a crash took back
	top    uint64       // the highest serial ever handed out
	epoch  uint64
	taken  map[string]bool // incarnations
	parts  int
}

// modelState is what a hub holds: records by connector and key, in the form
// that modelRecord gives them, checkpoints by writer.
type modelState struct {
	records     map[string]string
	checkpoints map[string]string
	serial      uint64
}

func (m *model) now() modelState { return m.states[len(m.states)-1] }

func (m *model) open(t *rapid.T) {
	h, err := Open(t.Context(), Options{Dir: "hub", fs: m.fs, stageBytes: testStageBytes, FeedChanges: 20})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if m.taken[h.Incarnation()] {
		t.Fatalf("incarnation %s again", h.Incarnation())
	}
	m.taken[h.Incarnation()] = true
	m.hub = h
	m.epoch++
}

func (m *model) session(t *rapid.T, writer string) *Session {
	s, err := m.hub.session(t.Context(), modelRecords[writer], writer, m.epoch)
	if err != nil {
		t.Fatalf("session: %v", err)
	}
	return s
}

// modelRecords says whose records a writer writes.
var modelRecords = map[string]string{"one": "one", "two": "two", "three": "one"}

var modelWriters = rapid.SampledFrom([]string{"one", "two", "three"})

func (m *model) push(t *rapid.T) {
	writer := modelWriters.Draw(t, "writer")
	state := modelState{maps.Clone(m.now().records), m.now().checkpoints, m.now().serial}
	b := &gapless.Batch{Partition: items}
	var refused []string
	accepted := uint64(0)
	for range rapid.IntRange(1, 8).Draw(t, "rows") {
		c := m.change(t)
		b.Append(c)
		if apply(state.records, modelRecords[writer]+"/"+c.Key, c) {
			accepted++
		} else {
			refused = append(refused, c.Key)
		}
	}
	r, err := m.session(t, writer).Push(t.Context(), b)
	if err != nil {
		t.Fatalf("push: %v", err)
	}
	m.pushed(t, r, refused, accepted, state)
}

// pushed checks the receipt of a push that leads to a state.
func (m *model) pushed(t *rapid.T, r gapless.Receipt, refused []string, accepted uint64, state modelState) {
	var got []string
	for _, rejection := range r.Rejected {
		got = append(got, rejection.Key)
	}
	if diff := cmp.Diff(refused, got); diff != "" {
		t.Fatalf("rejected (-want +got):\n%s", diff)
	}
	if accepted > 0 && (r.Serial < m.top+accepted || r.Serial < m.now().serial+accepted) {
		t.Fatalf("serial %d for %d changes after %d", r.Serial, accepted, m.top)
	}
	m.top = max(m.top, r.Serial)
	state.serial = r.Serial
	m.states = append(m.states, state)
}

// pushIf pushes one change each of some records, and expects of each what it
// is or what it is not.
func (m *model) pushIf(t *rapid.T) {
	writer := modelWriters.Draw(t, "writer")
	s := m.session(t, writer)
	state := modelState{maps.Clone(m.now().records), m.now().checkpoints, m.now().serial}
	b := &gapless.Batch{Partition: items}
	var expect []gapless.Expectation
	var refused []string
	accepted := uint64(0)
	for _, c := range rapid.SliceOfNDistinct(rapid.Custom(m.change), 1, 4, func(c gapless.Change) string { return c.Key }).Draw(t, "rows") {
		b.Append(c)
		now, err := s.GetPushed(t.Context(), items, c.Key)
		e := gapless.Expectation{Exists: err == nil, Data: now.Data}
		met := true
		switch rapid.IntRange(0, 3).Draw(t, "expect") {
		case 0:
			e.Exists, met = !e.Exists, false
		case 1:
			e.Data = append(e.Data, ' ')
			met = !e.Exists
		}
		again := err == nil && c.Op == gapless.OpUpsert && string(c.Data) == string(now.Data) || err != nil && c.Op == gapless.OpDelete
		expect = append(expect, e)
		if (met || again) && apply(state.records, modelRecords[writer]+"/"+c.Key, c) {
			accepted++
		} else {
			refused = append(refused, c.Key)
		}
	}
	r, err := s.PushIf(t.Context(), b, expect)
	if err != nil {
		t.Fatalf("push: %v", err)
	}
	m.pushed(t, r, refused, accepted, state)
}

func (m *model) change(t *rapid.T) gapless.Change {
	c := gapless.Change{Op: gapless.Op(rapid.IntRange(0, 2).Draw(t, "op"))}
	c.Key = rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "key")
	if c.Op == gapless.OpDelete {
		return c
	}
	c.Data = fmt.Appendf(nil, `{"%s":%d}`, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "field"), rapid.IntRange(0, 99).Draw(t, "value"))
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"p", "q"}), 0, 2, rapid.ID).Draw(t, "parts") {
		m.parts++
		size := rapid.SampledFrom([]int{0, 10, 100, chunkBytes + 10}).Draw(t, "size")
		c.Parts = append(c.Parts, part(name, "", strings.Repeat(fmt.Sprint(m.parts%10), size)))
	}
	return c
}

// modelRecord is a record's fields and parts.
type modelRecord struct {
	Fields map[string]int
	Parts  map[string]string
}

// apply is a change as the contract has it; false if it is to be rejected.
func apply(records map[string]string, key string, c gapless.Change) bool {
	r := modelRecord{map[string]int{}, map[string]string{}}
	old, found := records[key]
	switch {
	case c.Op == gapless.OpDelete:
		delete(records, key)
		return true
	case c.Op == gapless.OpPatch && !found:
		return false
	case c.Op == gapless.OpPatch:
		mustJSON(json.Unmarshal([]byte(old), &r))
	}
	mustJSON(json.Unmarshal(c.Data, &r.Fields))
	for _, p := range c.Parts {
		content, _ := readPart(nil, p) //nolint:staticcheck // the test's parts need no context
		r.Parts[p.Name] = summary(content)
	}
	records[key] = encodeModel(r)
	return true
}

func summary(content string) string {
	return fmt.Sprintf("%d of %.1s", len(content), content)
}

func encodeModel(r modelRecord) string {
	text, err := json.Marshal(r)
	mustJSON(err)
	return string(text)
}

func mustJSON(err error) {
	if err != nil {
		panic(err) // the test's own data
	}
}

func (m *model) sync(t *rapid.T) {
	writer := modelWriters.Draw(t, "writer")
	state := modelState{m.now().records, maps.Clone(m.now().checkpoints), m.now().serial}
	var list []gapless.Checkpoint
	if rapid.Bool().Draw(t, "checkpoint") {
		position := fmt.Sprint(len(m.taken), ".", rapid.IntRange(0, 999).Draw(t, "position"))
		list = append(list, gapless.Checkpoint{Partition: "items", Position: gapless.Position(position)})
		state.checkpoints[writer] = position
	}
	s := m.session(t, writer)
	if len(list) > 0 && rapid.Bool().Draw(t, "unsynced") {
		if _, err := s.PushCheckpoints(t.Context(), list); err != nil {
			t.Fatalf("push checkpoints: %v", err)
		}
		m.states = append(m.states, state)
		return
	}
	if _, err := s.Sync(t.Context(), list); err != nil {
		t.Fatalf("sync: %v", err)
	}
	m.states = []modelState{state}
}

// crash stops the machine, and expects one of the states since the last sync.
func (m *model) crash(t *rapid.T) {
	percent := rapid.SampledFrom([]int{0, 20, 50, 100}).Draw(t, "percent")
	fs := crash(m.fs, percent, rapid.Uint64().Draw(t, "seed"))
	if err := m.hub.Close(); err != nil { // of the machine that is gone
		t.Fatalf("close: %v", err)
	}
	m.fs = fs
	m.open(t)
	got := m.read(t)
	var matching []int
	for i, state := range m.states {
		if cmp.Equal(state.records, got.records) && cmp.Equal(state.checkpoints, got.checkpoints) {
			matching = append(matching, i)
		}
	}
	if len(matching) == 0 {
		t.Fatalf("after the crash: %+v, which is none of %+v", got, m.states)
	}
	// The last that matches is the least that can be said to be lost.
	last := matching[len(matching)-1]
	for _, later := range m.states[last+1:] {
		if later.serial > m.states[last].serial {
			m.lost = append(m.lost, later.serial)
		}
	}
	m.states = []modelState{m.states[matching[0]]}
}

// read returns the synced view.
func (m *model) read(t *rapid.T) modelState {
	state := modelState{records: map[string]string{}, checkpoints: map[string]string{}}
	for writer, connector := range modelRecords {
		s, err := m.hub.session(t.Context(), connector, writer, 0)
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.Checkpoints(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		for _, cp := range list {
			state.checkpoints[writer] = string(cp.Position)
		}
		err = m.hub.Records(t.Context(), connector, items, "", func(r gapless.Record) error {
			state.records[connector+"/"+r.Key] = m.encode(t, r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return state
}

func (m *model) encode(t *rapid.T, r gapless.Record) string {
	record := modelRecord{map[string]int{}, map[string]string{}}
	mustJSON(json.Unmarshal(r.Data, &record.Fields))
	for _, p := range r.Parts {
		content, err := readPart(t.Context(), p)
		if err != nil {
			t.Fatalf("part %s of %s: %v", p.Name, r.Key, err)
		}
		record.Parts[p.Name] = summary(content)
	}
	return encodeModel(record)
}

// check compares the views with the model.
func (m *model) check(t *rapid.T) {
	if diff := cmp.Diff(m.states[0].records, m.read(t).records); diff != "" {
		t.Fatalf("synced view (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(m.states[0].checkpoints, m.read(t).checkpoints); diff != "" {
		t.Fatalf("synced checkpoints (-want +got):\n%s", diff)
	}
	for key, want := range m.now().records {
		connector, key, _ := strings.Cut(key, "/")
		r, err := m.session(t, connector).GetPushed(t.Context(), items, key)
		if err != nil {
			t.Fatalf("pushed record %s: %v", key, err)
		}
		if got := m.encode(t, r); got != want {
			t.Fatalf("pushed record %s is %s, want %s", key, got, want)
		}
	}
	for _, serial := range m.lost {
		if m.hub.known(serial) == nil {
			t.Fatalf("serial %d was lost and is known", serial)
		}
	}
	if w := m.hub.Watermarks(); w.Synced > w.Pushed || w.Synced < m.states[0].serial {
		t.Fatalf("watermarks %+v, synced was %d", w, m.states[0].serial)
	}
}

func TestHubMatchesItsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{fs: crashable(), taken: map[string]bool{}}
		m.states = []modelState{{records: map[string]string{}, checkpoints: map[string]string{}}}
		m.open(t)
		defer func() { _ = m.hub.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"push":    m.push,
			"push if": m.pushIf,
			"sync":    m.sync,
			"crash": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
					m.crash(t)
				}
			},
			"restart": func(t *rapid.T) {
				if rapid.IntRange(0, 5).Draw(t, "really") > 0 {
					return
				}
				if err := m.hub.Close(); err != nil {
					t.Fatalf("close: %v", err)
				}
				m.states = m.states[len(m.states)-1:]
				m.open(t)
			},
			"flush": func(t *rapid.T) {
				if err := m.hub.store.db.Flush(); err != nil {
					t.Fatal(err)
				}
			},
			"": m.check,
		})
	})
}
