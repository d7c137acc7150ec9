package engine_test

import (
	"fmt"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// TestLeftoversOfADeadRunAreSeen kills a run at any call; a record that it had
// pushed is gone from the source by the next one, and must not stay.
func TestLeftoversOfADeadRunAreSeen(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		for n := 1; n < 40; n++ {
			t.Run(fmt.Sprint(model, " ", n), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, model)
				w.settings.Reconcile = 1
				w.source.MarkEvery(2)
				w.fill(6)
				targets := []*gaplesstest.Faults{&w.source.Faults, &w.dest.Faults, &w.state}
				(&history{world: w}).die(targets, n)
				if _, err := w.run(engine.RunOptions{}); err == nil && model == gapless.ModelLog && n < 5 {
					t.Fatal("the run was not killed")
				}
				for _, f := range targets {
					f.Set(nil)
				}
				w.source.Remove("r", "k0004")
				w.mustRun()
			})
		}
	}
}
