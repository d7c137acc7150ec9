package engine_test

import (
	"testing"

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
