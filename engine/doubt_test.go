package engine_test

import (
	"errors"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// TestDeletedByADeadRunComesBack kills a run at any call after which its
// deletes may be durable; what it deleted is then at the source again, with the
// content that the fingerprints know.
func TestDeletedByADeadRunComesBack(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			for n := 1; n < 40; n++ {
				w := newWorld(t, model)
				w.fill(4)
				w.mustRun()
				w.source.Remove("r", "k0002")
				targets := []*gaplesstest.Faults{&w.source.Faults, &w.dest.Faults, &w.state}
				(&history{world: w}).die(targets, n)
				_, err := w.run(engine.RunOptions{})
				for _, f := range targets {
					f.Set(nil)
				}
				w.dest.Crash(n % 3)
				w.source.Put("r", "k0002", `{"n":2}`)
				w.mustRun()
				if err == nil {
					return
				}
			}
			t.Error("there are more calls than were tried")
		})
	}
}

// TestKilledRunLeavesNoScratchFiles: while something is read, none has a name.
func TestKilledRunLeavesNoScratchFiles(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("an open file keeps its name")
	}
	w := newWorld(t, gapless.ModelFull)
	w.fill(3)
	w.mustRun()
	w.source.Faults.Set(func(string, int, int) error {
		if names, err := filepath.Glob(filepath.Join(w.dir, "fingerprints", ".scratch*")); len(names) > 0 || err != nil {
			t.Errorf("there are %q: %v", names, err)
		}
		return nil
	})
	e, store := w.open()
	_, err := e.Plan(t.Context(), engine.PlanOptions{Count: true})
	if err := errors.Join(err, store.Close()); err != nil || w.source.Faults.Calls() == 0 {
		t.Errorf("%d calls: %v", w.source.Faults.Calls(), err)
	}
}

// TestDestinationIsReplacedAndComesBack: a run dies that has pushed more than
// the fingerprints know, and so does the next one, which finds another, empty
// destination. When the first one is back, what it was given is not forgotten.
func TestDestinationIsReplacedAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.settings.BatchRows, w.settings.SyncRecords = 1, 1
	first, second := w.dest, gaplesstest.NewDestination("d2")
	w.fill(2)
	w.mustRun()
	w.source.Put("r", "k0008", `{}`)
	w.source.Put("r", "k0009", `{}`)
	for _, w.dest = range []*gaplesstest.Destination{first, second} {
		w.failAtCall("read", len(w.source.Records("r")))
		if _, err := w.run(engine.RunOptions{}); err == nil {
			t.Fatal("the run says complete")
		}
		w.source.Remove("r", "k0008")
	}
	w.source.Faults.Set(nil)
	w.dest = first
	w.mustRun()
}
