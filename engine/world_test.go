package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/mapping"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

const connector = "c"

// world is a source, a destination and a state, over several runs of engines
// that share nothing else, as processes would.
type world struct {
	tester
	source   *gaplesstest.Source
	dest     *gaplesstest.Destination
	dir      string
	model    gapless.ChangeModel
	as       func(gapless.Source) gapless.Source // what the engine gets for a source; nil for the source
	kept     func(state.Store) state.Store       // and for state
	mu       sync.Mutex
	now      time.Time // guarded by mu
	mapping  *mapping.Program
	settings engine.Settings
	state    gaplesstest.Faults // consulted before each commit
	events   []engine.Event     // guarded by mu: two runners may be under way
}

// tester is what [testing.TB] and a property test have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	TempDir() string
}

var models = []gapless.ChangeModel{gapless.ModelFull, gapless.ModelModified, gapless.ModelLog}

// emptyState is a folder with a new state, made once: every world begins with
// a copy of it.
var emptyState = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gapless-empty-state-*")
	if err != nil {
		return "", err
	}
	store, err := sqlite.Open(context.Background(), filepath.Join(dir, "state"))
	if err != nil {
		return "", err
	}
	return dir, store.Close()
})

// newDir returns a folder as a process finds it that never ran before.
func newDir(t tester) string {
	t.Helper()
	dir := t.TempDir()
	template, err := emptyState()
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(template))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func newWorld(t tester, model gapless.ChangeModel) *world {
	t.Helper()
	return &world{
		tester: t, source: gaplesstest.NewSource("r"), dest: gaplesstest.NewDestination("d1"), dir: newDir(t), model: model,
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		// Small numbers, so that a handful of records crosses every boundary.
		settings: engine.Settings{BatchRows: 3, SyncRecords: 5, Attempts: 1, GuardRecords: 1000},
	}
}

// faultyStore fails commits on request.
type faultyStore struct {
	state.Store
	faults *gaplesstest.Faults
}

func (s faultyStore) Commit(ctx context.Context, l state.Lease, c state.Commit) error {
	fault := s.faults.Check("commit")
	if fault != nil && !gaplesstest.IsAmbiguous(fault) {
		return fault
	}
	return errors.Join(s.Store.Commit(ctx, l, c), fault)
}

func (w *world) open() (*engine.Engine, state.Store) {
	w.Helper()
	store, err := sqlite.Open(context.Background(), filepath.Join(w.dir, "state"))
	if err != nil {
		w.Fatal(err)
	}
	source, kept := w.source.As(w.model), state.Store(faultyStore{store, &w.state})
	if w.as != nil {
		source = w.as(source)
	}
	if w.kept != nil {
		kept = w.kept(kept)
	}
	e, err := engine.New(engine.Config{
		Connector: connector, Source: source, Destination: w.dest, Store: kept,
		Dir: filepath.Join(w.dir, "fingerprints"), Settings: w.settings, Mapping: w.mapping,
		Now:    func() time.Time { return w.later(time.Millisecond) },
		Events: w.happened,
	})
	if err != nil {
		w.Fatal(err)
	}
	return e, store
}

// later moves the clock on.
func (w *world) later(d time.Duration) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
	return w.now
}

func (w *world) happened(ev engine.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, ev)
}

// run performs one run in a process of its own. Leases of earlier, dead
// processes have expired.
func (w *world) run(o engine.RunOptions) (engine.Summary, error) {
	w.Helper()
	w.later(time.Hour)
	w.events = nil
	e, store := w.open()
	s, err := e.Run(context.Background(), o)
	if closing := store.Close(); closing != nil {
		w.Fatal(closing)
	}
	return s, err
}

// mustRun is a run that has to complete; the destination then equals the
// source and the proof holds.
func (w *world) mustRun() engine.Summary {
	w.Helper()
	s, err := w.run(engine.RunOptions{})
	if err != nil {
		w.Fatalf("run: %v", err)
	}
	w.inStep()
	return s
}

func (w *world) inStep() {
	w.Helper()
	if diff := cmp.Diff(w.source.Records("r"), w.dest.Records(connector, "r")); diff != "" {
		w.Fatalf("destination is not in step (-source +destination):\n%s", diff)
	}
	e, store := w.open()
	defer store.Close() // only read
	report, err := e.Prove(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	if !report.OK {
		w.Fatalf("in step, but not proved:\n%s", report.Text())
	}
}

func (w *world) certificates() []proof.Certificate {
	w.Helper()
	_, store := w.open()
	defer store.Close() // only read
	var list []proof.Certificate
	for c, err := range store.Certificates(context.Background(), connector) {
		if err != nil {
			w.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

func (w *world) letters() []state.DeadLetter {
	w.Helper()
	_, store := w.open()
	defer store.Close() // only read
	list, err := store.DeadLetters(context.Background(), state.DeadLetterFilter{Connector: connector, Open: true})
	if err != nil {
		w.Fatal(err)
	}
	return list
}

// fill puts records k0000 to k<n-1>.
func (w *world) fill(n int) {
	for i := range n {
		w.source.Put("r", fmt.Sprintf("k%04d", i), fmt.Sprintf(`{"n":%d}`, i))
	}
}

// copyState copies everything the engine remembers, for a later rollback.
func (w *world) copyState() string {
	w.Helper()
	to := w.TempDir()
	if err := os.CopyFS(to, os.DirFS(w.dir)); err != nil {
		w.Fatal(err)
	}
	return to
}
