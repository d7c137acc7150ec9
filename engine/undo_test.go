package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/files"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// undoWorld is a source in memory, a hub and a state on disk.
type undoWorld struct {
	*testing.T
	source   *gaplesstest.Source
	model    gapless.ChangeModel
	hub      *hub.Hub
	store    state.Store
	dir      string
	settings engine.Settings
}

func newUndoWorld(t *testing.T, model gapless.ChangeModel) *undoWorld {
	t.Helper()
	w := reopen(t, newDir(t), model)
	for i := range 12 {
		w.source.Put("r", fmt.Sprintf("k%02d", i), fmt.Sprintf(`{"n":%d}`, i))
	}
	return w
}

// newEditedWorld is one whose source was edited between two runs. It returns
// what the hub had before the second, and that run.
func newEditedWorld(t *testing.T, model gapless.ChangeModel) (w *undoWorld, before map[string]string, changed string) {
	t.Helper()
	w = newUndoWorld(t, model)
	w.run()
	before = w.records()
	w.edit()
	return w, before, w.run().Run
}

// reopen opens the world in a folder, with a source that has nothing.
func reopen(t *testing.T, dir string, model gapless.ChangeModel) *undoWorld {
	t.Helper()
	w := &undoWorld{T: t, source: gaplesstest.NewSource("r"), model: model, dir: dir}
	w.settings = engine.Settings{BatchRows: 3, SyncRecords: 5, Attempts: 1, GuardRecords: 1000, Keep: time.Hour}
	var err error
	if w.hub, err = hub.Open(t.Context(), hub.Options{Dir: filepath.Join(dir, "hub")}); err != nil {
		t.Fatal(err)
	}
	if w.store, err = sqlite.Open(t.Context(), filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.hub.Close(), w.store.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *undoWorld) engine() *engine.Engine {
	w.Helper()
	e, err := engine.New(engine.Config{
		Connector: connector, Source: w.source.As(w.model), Destination: w.hub, Store: w.store,
		Dir: filepath.Join(w.dir, "fingerprints"), Settings: w.settings,
	})
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// meanwhile returns an engine for which do happens before its first push.
func (w *undoWorld) meanwhile(do func()) *engine.Engine {
	w.Helper()
	e, once := w.engine(), sync.OnceFunc(do)
	e.OnStep(func(name string) {
		if name == "before push" {
			once()
		}
	})
	return e
}

func (w *undoWorld) run() engine.Summary {
	w.Helper()
	s, err := w.engine().Run(w.Context(), engine.RunOptions{})
	if err != nil {
		w.Fatal(err)
	}
	if diff := cmp.Diff(w.source.Records("r"), w.records()); diff != "" {
		w.Fatalf("the hub is not in step (-source +hub):\n%s", diff)
	}
	report, err := w.engine().Prove(w.Context())
	if err != nil || !report.OK {
		w.Fatalf("in step, but not proved (%v):\n%s", err, report.Text())
	}
	return s
}

// edit replaces two records, deletes three, and creates two.
func (w *undoWorld) edit() {
	for _, key := range []string{"k01", "k02", "k20", "k21"} {
		w.source.Put("r", key, `{"n":"new"}`)
	}
	for _, key := range []string{"k05", "k06", "k07"} {
		w.source.Remove("r", key)
	}
}

func (w *undoWorld) records() map[string]string {
	w.Helper()
	return hubRecords(w.T, w.hub)
}

func hubRecords(t *testing.T, h *hub.Hub) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := h.Records(t.Context(), connector, gapless.Partition{ID: "r", Collection: "r"}, "", func(r gapless.Record) error {
		all[r.Key] = string(r.Data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// write writes records behind the back of the connector.
func (w *undoWorld) write(changes ...gapless.Change) {
	w.Helper()
	s, err := w.hub.Shared(connector).Open(w.Context(), "somebody", 1)
	if err != nil {
		w.Fatal(err)
	}
	b := &gapless.Batch{Partition: gapless.Partition{ID: "r", Collection: "r"}}
	for _, c := range changes {
		b.Append(c)
	}
	_, err = s.Push(w.Context(), b)
	_, syncErr := s.Sync(w.Context(), nil)
	if err := errors.Join(err, syncErr, s.Close()); err != nil {
		w.Fatal(err)
	}
}

func TestUndoPutsBackWhatARunChanged(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			w, before, changed := newEditedWorld(t, model)
			report, err := w.engine().Undo(t.Context(), changed, engine.UndoOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if report.Created != 3 || report.Overwritten != 2 || report.Deleted != 2 || report.Conflicts != 0 {
				t.Errorf("report %+v", report)
			}
			if diff := cmp.Diff(before, w.records()); diff != "" {
				t.Fatalf("not as before (-before +now):\n%s", diff)
			}
			p, err := w.engine().Plan(t.Context(), engine.PlanOptions{Count: true})
			if err != nil {
				t.Fatal(err)
			}
			if d := p.Decisions[0]; d.Rule != "P3" || d.Mode != "full" || !strings.Contains(d.Reason, "undone") || p.Changes[0].Deletes != 3 {
				t.Errorf("the next run is %s and deletes %d", d.Text(), p.Changes[0].Deletes)
			}
			proved, err := w.engine().Prove(t.Context())
			if err != nil || len(proved.Gaps) != 1 || proved.Gaps[0].Kind != "undone" || proved.Gaps[0].Run != "gapless run "+connector ||
				!strings.Contains(proved.Gaps[0].What, "run "+changed+" was undone") {
				t.Errorf("proof (%v):\n%s", err, proved.Text())
			}
			if again := w.run(); again.Partitions[0].Rule != "P3" { // what the source lacks is deleted once more
				t.Errorf("rule %s", again.Partitions[0].Rule)
			}
			w.source.Put("r", "k01", `{"n":"newer"}`)
			w.run()
		})
	}
}

func TestUndoLeavesWhatOthersHaveChanged(t *testing.T) {
	t.Parallel()
	w, before, changed := newEditedWorld(t, gapless.ModelFull)
	w.source.Put("r", "k01", `{"n":"newer"}`) // by a later run
	w.run()
	w.write(gapless.Change{Record: gapless.Record{Key: "k05", Data: []byte(`{"by":"somebody"}`)}}) // and by somebody else
	now := w.records()
	want := maps.Clone(before)
	want["k01"], want["k05"] = now["k01"], now["k05"]

	steps := map[string]engine.UndoAction{}
	each := func(s engine.UndoStep) { steps[s.Key] = s.Action }
	planned, err := w.engine().Undo(t.Context(), changed, engine.UndoOptions{DryRun: true, Each: each})
	if gapless.ExitCode(err) != gapless.ExitGuard || planned.Conflicts != 2 || planned.Run != "" {
		t.Errorf("dry run: %+v (%v)", planned, err)
	}
	wantSteps := map[string]engine.UndoAction{
		"k01": engine.UndoConflict, "k02": engine.UndoOverwrite, "k05": engine.UndoConflict, "k06": engine.UndoCreate, "k07": engine.UndoCreate,
		"k20": engine.UndoDelete, "k21": engine.UndoDelete,
	}
	if diff := cmp.Diff(wantSteps, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(now, w.records()); diff != "" {
		t.Fatalf("a dry run changed something:\n%s", diff)
	}
	clear(steps)
	report, err := w.engine().Undo(t.Context(), changed, engine.UndoOptions{Each: each})
	if coded, ok := errors.AsType[*gapless.Error](err); !ok || coded.Code != gapless.CodeChangedSince || report.Conflicts != 2 {
		t.Fatalf("%+v (%v)", report, err)
	}
	if diff := cmp.Diff(wantSteps, steps); diff != "" {
		t.Errorf("steps (-planned +taken):\n%s", diff)
	}
	if diff := cmp.Diff(want, w.records()); diff != "" {
		t.Fatalf("after the undo (-want +got):\n%s", diff)
	}
	report, err = w.engine().Undo(t.Context(), changed, engine.UndoOptions{Force: true})
	if err != nil || report.Already != 5 || report.Overwritten != 2 {
		t.Errorf("forced: %+v (%v)", report, err)
	}
	if diff := cmp.Diff(before, w.records()); diff != "" {
		t.Fatalf("forced, but not as before:\n%s", diff)
	}
	undone, err := w.engine().Undo(t.Context(), report.Run, engine.UndoOptions{}) // an undo is undone like any other run
	if err != nil || undone.Overwritten != 2 || undone.Created+undone.Deleted != 0 {
		t.Errorf("%+v (%v)", undone, err)
	}
	if diff := cmp.Diff(want, w.records()); diff != "" {
		t.Fatalf("undoing the undo (-want +got):\n%s", diff)
	}
	w.run()
}

func TestUndoOfDeletesAlone(t *testing.T) {
	t.Parallel()
	w, before, changed := newEditedWorld(t, gapless.ModelFull)
	want := w.records()
	for _, key := range []string{"k05", "k06", "k07"} {
		want[key] = before[key]
	}
	report, err := w.engine().Undo(t.Context(), changed, engine.UndoOptions{DeletedOnly: true})
	if err != nil || report.Created != 3 || report.Overwritten+report.Deleted+report.Already != 0 {
		t.Fatalf("%+v (%v)", report, err)
	}
	if diff := cmp.Diff(want, w.records()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	w.run()
}

func TestKeptRunsAreListed(t *testing.T) {
	t.Parallel()
	w := newUndoWorld(t, gapless.ModelLog)
	first := w.run()
	w.edit()
	second := w.run()
	w.run() // changes nothing
	w.settings.Keep = 0
	w.source.Put("r", "k03", `{}`)
	w.run() // keeps nothing
	list, err := w.engine().KeptRuns(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v (%v)", list, err)
	}
	for i := range list {
		if left := time.Until(list[i].Until); left < 59*time.Minute {
			t.Errorf("%s is kept for %s only", list[i].Run, left)
		}
		list[i].Until = time.Time{}
	}
	want := []gapless.KeptRun{{Run: first.Run, Created: 12}, {Run: second.Run, Created: 2, Replaced: 2, Deleted: 3}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = w.engine().Undo(t.Context(), "r-0000000000000000", engine.UndoOptions{})
	if coded, ok := errors.AsType[*gapless.Error](err); !ok || coded.Code != gapless.CodeNotFound {
		t.Errorf("an unknown run: %v", err)
	}
}

func TestDestinationThatCannotKeepIsMisconfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.fill(3)
	w.settings.Keep = time.Hour
	e, store := w.open()
	defer store.Close() // only read
	calls := map[string]func() error{
		"run":   func() error { _, err := e.Run(t.Context(), engine.RunOptions{}); return err },
		"plan":  func() error { _, err := e.Plan(t.Context(), engine.PlanOptions{}); return err },
		"check": func() error { _, err := e.Check(t.Context()); return err },
		"undo":  func() error { _, err := e.Undo(t.Context(), "r", engine.UndoOptions{}); return err },
		"list":  func() error { _, err := e.KeptRuns(t.Context()); return err },
	}
	for name, call := range calls {
		err := call()
		coded, ok := errors.AsType[*gapless.Error](err)
		if !ok || coded.Code != gapless.CodeCannotKeep || gapless.ExitCode(err) != gapless.ExitUsage || !strings.Contains(gapless.HintFor(coded), "hub") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(w.dest.Records(connector, "r")); n != 0 {
		t.Errorf("%d records were pushed", n)
	}
}

func TestUndoIsFenced(t *testing.T) {
	t.Parallel()
	w, _, changed := newEditedWorld(t, gapless.ModelLog)
	after := w.records()
	e := w.meanwhile(func() {
		if _, err := w.hub.Open(context.Background(), connector, 1<<60); err != nil {
			t.Error(err)
		}
	})
	if _, err := e.Undo(t.Context(), changed, engine.UndoOptions{}); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("an old epoch: %v", err)
	}
	if diff := cmp.Diff(after, w.records()); diff != "" {
		t.Errorf("an old epoch has written:\n%s", diff)
	}
}

// TestUndoPutsBackParts undoes what happened to files, whose contents are parts.
func TestUndoPutsBackParts(t *testing.T) {
	t.Parallel()
	w := newUndoWorld(t, gapless.ModelFull)
	tree := filepath.Join(w.dir, "tree")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	source, err := files.Connector().Source.Open(t.Context(), map[string]any{"path": tree}, gapless.Env{Dir: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	config := engine.Config{
		Connector: "docs", Source: source, Destination: w.hub, Store: w.store, Dir: filepath.Join(w.dir, "of-files"), Settings: w.settings,
	}
	contents := func() map[string]string {
		t.Helper()
		all := map[string]string{}
		err := w.hub.Records(t.Context(), "docs", gapless.Partition{ID: "file", Collection: "file"}, "", func(r gapless.Record) error {
			text, err := readPart(t.Context(), r.Parts[0])
			all[r.Key] = fmt.Sprint(r.Version, r.Modified, string(r.Data), text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	write("a", "first "+strings.Repeat("long ", 100_000))
	write("b", "first")
	e, err := engine.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(t.Context(), engine.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	before := contents()
	write("b", "changed")
	if err := os.Remove(filepath.Join(tree, "a")); err != nil {
		t.Fatal(err)
	}
	changed, err := e.Run(t.Context(), engine.RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if report, err := e.Undo(t.Context(), changed.Run, engine.UndoOptions{}); err != nil || report.Created != 1 || report.Overwritten != 1 {
		t.Fatalf("%+v (%v)", report, err)
	}
	if diff := cmp.Diff(before, contents()); diff != "" {
		t.Fatalf("not as before (-before +now):\n%s", diff)
	}
	if report, err := e.Undo(t.Context(), changed.Run, engine.UndoOptions{}); err != nil || report.Already != 2 {
		t.Errorf("again: %+v (%v)", report, err)
	}
}

// TestUndoLeavesWhatChangesAtThatMoment has somebody else write between the
// decision and the push.
func TestUndoLeavesWhatChangesAtThatMoment(t *testing.T) {
	t.Parallel()
	w, _, changed := newEditedWorld(t, gapless.ModelLog)
	e := w.meanwhile(func() {
		w.write(gapless.Change{Record: gapless.Record{Key: "k01", Data: []byte(`{"by":"somebody"}`)}})
	})
	report, err := e.Undo(t.Context(), changed, engine.UndoOptions{})
	if gapless.ExitCode(err) != gapless.ExitGuard || report.Conflicts != 1 || report.Overwritten != 1 {
		t.Errorf("%+v (%v)", report, err)
	}
	if got := w.records()["k01"]; got != `{"by":"somebody"}` {
		t.Errorf("k01 is %s", got)
	}
}

// The kill test runs this test again as a child that undoes a run and dies at
// the n-th durable step.
const (
	undoDir = "GAPLESS_TEST_UNDO_DIR"
	undoRun = "GAPLESS_TEST_UNDO_RUN"
)

func TestUndoChild(t *testing.T) {
	dir := os.Getenv(undoDir)
	if dir == "" {
		return // it is only for TestUndoKilledAtEveryStep
	}
	step, err := dying()
	if err != nil {
		t.Fatal(err)
	}
	e := reopen(t, dir, gapless.ModelFull).engine()
	e.OnStep(step)
	if _, err := e.Undo(t.Context(), os.Getenv(undoRun), engine.UndoOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestUndoKilledAtEveryStep kills an undo at each of its steps, then goes on
// with it or runs the connector: at no step is anything lost.
func TestUndoKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	w, before, changed := newEditedWorld(t, gapless.ModelFull)
	if err := errors.Join(w.hub.Close(), w.store.Close()); err != nil {
		t.Fatal(err)
	}
	killed := 0
	for step := 1; ; step++ {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(w.dir)); err != nil {
			t.Fatal(err)
		}
		if !runUndo(t, dir, changed, step) {
			break
		}
		killed++
		t.Run(strconv.Itoa(step), func(t *testing.T) {
			if step%2 == 0 {
				runUndo(t, dir, changed, -1)
				h := reopen(t, dir, gapless.ModelFull)
				if diff := cmp.Diff(before, h.records()); diff != "" {
					t.Errorf("the undo was not completed (-before +now):\n%s", diff)
				}
				return
			}
			h := reopen(t, dir, gapless.ModelFull)
			h.source = w.source
			touched := cmp.Diff(w.source.Records("r"), h.records()) != ""
			report, err := h.engine().Prove(t.Context())
			if err != nil || touched && report.OK {
				t.Errorf("the hub is not in step, but proved (%v)", err)
			}
			h.run()
		})
	}
	if killed < 12 {
		t.Errorf("only %d steps", killed)
	}
}

// runUndo runs a child that dies at a step; it reports whether it did.
func runUndo(t *testing.T, dir, run string, at int) bool {
	t.Helper()
	return runDying(t, at, "TestUndoChild", undoDir+"="+dir, undoRun+"="+run)
}
