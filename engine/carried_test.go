package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
)

// TestRepairIsCarriedAlong: a repair that failed is made up for by the next run,
// whatever else that one does, and the proof knows it.
func TestRepairIsCarriedAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelModified)
	w.settings.Reconcile = -1
	w.fill(5)
	w.source.Put("r", "bad", `{"x":"refuse"}`)
	if _, err := w.run(engine.RunOptions{}); gapless.ExitCode(err) != 55 {
		t.Fatalf("a record was refused, but the run ended with %v", err)
	}
	w.source.Slip("r", "bad", `{"x":"mended"}`)
	w.later(time.Hour)
	w.dest.Faults.Set(failing("push", 0, gapless.Recoverable(errFault)))
	e, store := w.open()
	_, err := e.Redrive(t.Context(), []string{w.letters()[0].ID}, engine.RunOptions{})
	if closing := store.Close(); closing != nil || !errors.Is(err, errFault) {
		t.Fatalf("redriving ended with %v, %v", err, closing)
	}
	w.dest.Faults.Set(nil)
	w.source.Put("r", "new", `{}`)
	w.mustRun()
}
