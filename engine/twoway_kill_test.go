package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// notes is whose records the two hubs share, and notesCollection where they
// stand.
const (
	notes           = "notes"
	notesCollection = "note"
)

// syncHubs is one run between the hubs dir/this and dir/other.
func syncHubs(ctx context.Context, dir string, step func(string)) (engine.Summary, error) {
	var sides []engine.Side
	var hubs []*hub.Hub
	closeHubs := func() (err error) {
		for _, h := range hubs {
			err = errors.Join(err, h.Close())
		}
		return err
	}
	for _, name := range []string{"this", "other"} {
		h, err := hub.Open(ctx, hub.Options{Dir: filepath.Join(dir, name)})
		if err != nil {
			return engine.Summary{}, errors.Join(err, closeHubs())
		}
		hubs = append(hubs, h)
		sides = append(sides, engine.Side{Name: name, Source: h.Source(notes), Destination: h.Shared(notes)})
	}
	store, err := sqlite.Open(ctx, filepath.Join(dir, "state"))
	if err != nil {
		return engine.Summary{}, errors.Join(err, closeHubs())
	}
	e, err := engine.New(engine.Config{
		Connector: connector, Sides: sides, Policy: resolve.Policy{Resolution: resolve.Newer}, Store: store,
		Dir: filepath.Join(dir, "fingerprints"), Settings: engine.Settings{BatchRows: 4, GuardRecords: 1000},
	})
	if err != nil {
		return engine.Summary{}, err
	}
	e.OnStep(step)
	s, err := e.Run(ctx, engine.RunOptions{})
	report, proveErr := e.Prove(ctx)
	if err == nil && proveErr == nil && !report.OK {
		proveErr = errors.New(report.Text())
	}
	return s, errors.Join(err, proveErr, closeHubs(), store.Close())
}

// TestTwoWayKilledAtEveryDurableStep edits two hubs and syncs them, dying again
// and again. In the end they are equal, and no edit is gone without a trace.
func TestTwoWayKilledAtEveryDurableStep(t *testing.T) {
	t.Parallel()
	seeds := 30
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			story := hubStory{T: t, r: rand.New(rand.NewPCG(uint64(seed), 2)), dir: t.TempDir(), superseded: map[string]bool{}, edits: map[string]string{}}
			story.edit(10)
			for round := range 3 {
				at := 1 + (seed+round*11)%40
				for range 2 {
					runChild(t, story.dir, at)
					story.edit(2)
					at = 1 + story.r.IntN(25)
				}
				runChild(t, story.dir, -1)
				story.compare()
			}
		})
	}
}

type hubStory struct {
	*testing.T
	r     *rand.Rand
	dir   string
	epoch uint64
	count int
	// edits are keys by the unique value that was given to them, superseded
	// the values that somebody has replaced who saw them.
	edits      map[string]string
	superseded map[string]bool
}

// with opens one of the hubs as somebody else who writes there.
func (s *hubStory) with(name string, fn func(gapless.Session)) {
	s.Helper()
	h, err := hub.Open(s.Context(), hub.Options{Dir: filepath.Join(s.dir, name)})
	if err != nil {
		s.Fatal(err)
	}
	s.epoch++
	session, err := h.Shared(notes).Open(s.Context(), "somebody", s.epoch)
	if err != nil {
		s.Fatal(err)
	}
	fn(session)
	if err := errors.Join(session.Close(), h.Close()); err != nil {
		s.Fatal(err)
	}
}

var notesPartition = gapless.Partition{ID: notesCollection, Collection: notesCollection}

// edit writes and removes records at both hubs.
func (s *hubStory) edit(n int) {
	s.Helper()
	for _, name := range []string{"this", "other"} {
		s.with(name, func(session gapless.Session) {
			had := s.read(session)
			b := &gapless.Batch{Partition: notesPartition}
			for range n {
				key := fmt.Sprintf("k%d", s.r.IntN(12))
				if value, there := had[key]; there {
					s.superseded[value] = true
				}
				delete(had, key)
				if s.r.IntN(5) == 0 {
					b.Append(gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key}})
					continue
				}
				s.count++
				value := fmt.Sprintf(`{"v":"e%d"}`, s.count)
				s.edits[value], had[key] = key, value
				b.Append(gapless.Change{Record: gapless.Record{Key: key, Data: []byte(value)}})
			}
			if _, err := session.Push(s.Context(), b); err != nil {
				s.Fatal(err)
			}
			if _, err := session.Sync(s.Context(), nil); err != nil {
				s.Fatal(err)
			}
		})
	}
}

func (s *hubStory) read(session gapless.Session) map[string]string {
	s.Helper()
	all := map[string]string{}
	err := session.(gapless.Enumerator).Enumerate(s.Context(), notesPartition, func(key, _ []byte) error {
		record, err := session.(gapless.Getter).Get(s.Context(), notesPartition, string(key))
		all[string(key)] = string(record.Data)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return all
}

func (s *hubStory) compare() {
	s.Helper()
	sides := map[string]map[string]string{}
	for _, name := range []string{"this", "other"} {
		s.with(name, func(session gapless.Session) { sides[name] = s.read(session) })
	}
	if diff := cmp.Diff(sides["this"], sides["other"]); diff != "" {
		s.Fatalf("the hubs differ (-this +other):\n%s", diff)
	}
	store, err := sqlite.Open(s.Context(), filepath.Join(s.dir, "state"))
	if err != nil {
		s.Fatal(err)
	}
	list, err := store.Conflicts(s.Context(), state.ConflictFilter{})
	if err := errors.Join(err, store.Close()); err != nil {
		s.Fatal(err)
	}
	var lost strings.Builder
	for _, x := range list {
		fmt.Fprintf(&lost, "%s %s ", x.This, x.Other)
	}
	for value, key := range s.edits {
		name := strings.TrimSuffix(strings.TrimPrefix(value, `{"v":`), "}")
		if sides["this"][key] != value && !s.superseded[value] && !strings.Contains(lost.String(), name) {
			s.Fatalf("edit %s of %s is gone without a trace; now it is %s", value, key, sides["this"][key])
		}
	}
}
