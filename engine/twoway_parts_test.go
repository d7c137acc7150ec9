package engine_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// hubs are two hubs with a two-way connector between them.
type hubs struct {
	*testing.T
	dir   string
	sides [2]*hub.Hub
	store *sqlite.Store
	epoch uint64
}

func newHubs(t *testing.T) *hubs {
	t.Helper()
	h := &hubs{T: t, dir: t.TempDir()}
	var err error
	for i := range h.sides {
		if h.sides[i], err = hub.Open(t.Context(), hub.Options{Dir: filepath.Join(h.dir, state.Side(i).String())}); err != nil {
			t.Fatal(err)
		}
	}
	if h.store, err = sqlite.Open(t.Context(), filepath.Join(h.dir, "state")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.sides[0].Close(), h.sides[1].Close(), h.store.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *hubs) run() engine.Summary {
	h.Helper()
	c := engine.Config{
		Connector: connector, Policy: resolve.Policy{Resolution: resolve.Newer}, Store: h.store, Dir: filepath.Join(h.dir, "fingerprints"),
		Settings: engine.Settings{GuardRecords: 1000},
	}
	for _, side := range h.sides {
		c.Sides = append(c.Sides, engine.Side{Name: "hub", Source: side.Source(notes), Destination: side.Shared(notes)})
	}
	e, err := engine.New(c)
	if err != nil {
		h.Fatal(err)
	}
	s, err := e.Run(h.Context(), engine.RunOptions{})
	if err != nil {
		h.Fatal(err)
	}
	return s
}

// put writes a record with parts, by name and content, at one side.
func (h *hubs) put(side state.Side, key, data string, at time.Time, parts ...string) {
	h.Helper()
	h.epoch++
	session, err := h.sides[side].Shared(notes).Open(h.Context(), "somebody", h.epoch)
	if err != nil {
		h.Fatal(err)
	}
	b := &gapless.Batch{Partition: notesPartition}
	r := gapless.Record{Key: key, Data: []byte(data), Modified: at}
	for i := 0; i < len(parts); i += 2 {
		content := parts[i+1]
		r.Parts = append(r.Parts, gapless.Part{
			Name: parts[i], Type: "text/plain", Size: -1,
			Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
		})
	}
	b.Append(gapless.Change{Record: r})
	if _, err = session.Push(h.Context(), b); err == nil {
		_, err = session.Sync(h.Context(), nil)
	}
	if err := errors.Join(err, session.Close()); err != nil {
		h.Fatal(err)
	}
}

// get returns data and parts of a record at a side.
func (h *hubs) get(side state.Side, key string) map[string]string {
	h.Helper()
	r, err := h.sides[side].Get(h.Context(), notes, notesCollection, key)
	if err != nil {
		h.Fatal(err)
	}
	all := map[string]string{"": string(r.Data)}
	for _, p := range r.Parts {
		if all[p.Name], err = readPart(h.Context(), p); err != nil {
			h.Fatal(err)
		}
	}
	return all
}

// TestTwoWayParts: parts travel with their records, and are decided on like a
// field.
func TestTwoWayParts(t *testing.T) {
	t.Parallel()
	h := newHubs(t)
	h.put(state.This, "k", `{"v": 1, "w":1 }`, noon, "a", "first", "b", "second")
	h.put(state.Other, "bare", `{ }`, noon, "only", "a part")
	h.run()
	both := func(key string, want map[string]string) {
		t.Helper()
		for _, side := range []state.Side{state.This, state.Other} {
			if diff := cmp.Diff(want, h.get(side, key)); diff != "" {
				t.Fatalf("%s at %s:\n%s", key, side, diff)
			}
		}
	}
	both("k", map[string]string{"": `{"v": 1, "w":1 }`, "a": "first", "b": "second"})
	both("bare", map[string]string{"": `{ }`, "only": "a part"})
	for range 2 {
		if s := h.run(); s.Counts.Pushed != 0 {
			t.Errorf("pushed %d records at rest", s.Counts.Pushed)
		}
	}
	// One side edits a field, the other a part.
	h.put(state.This, "k", `{"v":2,"w":1}`, noon.Add(time.Hour), "a", "first", "b", "second")
	h.put(state.Other, "k", `{"v": 1, "w":1 }`, noon.Add(2*time.Hour), "a", "changed")
	h.run()
	both("k", map[string]string{"": `{"v":2,"w":1}`, "a": "changed"})
	list, err := h.store.Conflicts(t.Context(), state.ConflictFilter{})
	if err != nil || len(list) != 0 {
		t.Errorf("nothing is lost, but %+v, %v", list, err)
	}
	// Both edit parts; then a record loses its parts.
	h.put(state.This, "k", `{"v":2,"w":1}`, noon.Add(3*time.Hour), "a", "lost")
	h.put(state.Other, "k", `{"v":2,"w":1}`, noon.Add(4*time.Hour), "a", "kept")
	h.run()
	both("k", map[string]string{"": `{"v":2,"w":1}`, "a": "kept"})
	if list, err = h.store.Conflicts(t.Context(), state.ConflictFilter{}); err != nil || len(list) != 1 || list[0].Loser != state.This {
		t.Errorf("the inbox has %+v, %v", list, err)
	}
	h.put(state.This, "k", `{"v":2,"w":1}`, noon.Add(5*time.Hour))
	h.run()
	both("k", map[string]string{"": `{"v":2,"w":1}`})
	for range 2 {
		if s := h.run(); s.Counts.Pushed != 0 {
			t.Errorf("pushed %d records at rest", s.Counts.Pushed)
		}
	}
}
