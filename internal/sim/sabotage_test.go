package sim_test

import (
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/internal/sim"
)

// TestSaboteursAreFound lets each saboteur break its invariant in a history
// that is in order without it: what the auditor finds first is that invariant.
func TestSaboteursAreFound(t *testing.T) {
	t.Parallel()
	fault := func(e sim.Endpoint, nth int, k sim.Kind) sim.Run {
		return sim.Run{Faults: []sim.Fault{{Endpoint: e, Nth: nth, Kind: k}}}
	}
	for _, test := range []struct {
		name      string
		sabotage  sim.Sabotage
		invariant string
		model     gapless.ChangeModel
		story     func(*sim.World)
	}{
		{"checkpoints before data", sim.CheckpointFirst, "I1", gapless.ModelLog, func(w *sim.World) { w.Run(sim.Run{}) }},
		{"position after reading", sim.LatePosition, "I2", gapless.ModelLog, func(w *sim.World) {
			run := w.Start(sim.Run{})
			for range 30 {
				w.Wait(time.Millisecond)
				w.Put(0, 0, 1)
			}
			run.Wait()
		}},
		{"unrecoverable taken for recoverable", sim.MildOutcome, "I3", gapless.ModelLog, func(w *sim.World) {
			w.Run(sim.Run{})
			w.Put(0, 1, 2)
			w.Run(fault(sim.Source, 5, sim.Unclassified)) // the first record
			w.Run(sim.Run{})
		}},
		{"enumeration that claims to be complete", sim.FalseEnd, "I4", gapless.ModelFull, func(w *sim.World) {
			w.Run(sim.Run{})
			w.Run(fault(sim.Source, 5, sim.Recoverable)) // the second record
		}},
		{"replaced destination that is not seen", sim.BlindStatus, "I5", gapless.ModelLog, func(w *sim.World) {
			w.Run(sim.Run{})
			w.Replace()
			w.Put(0, 1, 2)
			w.Run(sim.Run{})
		}},
		{"destination without epochs", sim.NoFence, "I6", gapless.ModelLog, func(w *sim.World) {
			run := w.Start(fault(sim.Destination, 4, sim.PauseBefore)) // the first push
			w.Wait(400 * time.Millisecond)
			w.Run(sim.Run{})
			run.Wait()
		}},
		{"sync that does nothing", sim.EmptySync, "I7", gapless.ModelLog, func(w *sim.World) { w.Run(sim.Run{}) }},
		{"failed push that claims success", sim.SkippedBatch, "I8", gapless.ModelLog, func(w *sim.World) {
			w.Run(fault(sim.Destination, 4, sim.Recoverable)) // the first push
		}},
		{"dead letters that are lost", sim.LostLetters, "I9", gapless.ModelLog, func(w *sim.World) {
			w.Put(0, 0, 9)
			w.Run(sim.Run{})
			w.Mend(false)
		}},
		{"dead letters that are not shown", sim.HiddenLetters, "I10", gapless.ModelLog, func(w *sim.World) {
			w.Put(0, 0, 9)
			w.Run(sim.Run{})
			w.Mend(false)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			play := func(s sim.Sabotage) sim.Result {
				setup := sim.Setup{Seed: 1, Model: test.model, Partitions: 1, Keys: 5, Settings: sim.DefaultSettings(), Sabotage: s, Trace: true}
				setup.Settings.BatchRows = 1
				return sim.Play(t, setup, func(w *sim.World) {
					for key := range 5 {
						w.Put(0, key, 0)
					}
					test.story(w)
					if s == sim.Nothing {
						w.Settle()
					}
				})
			}
			if result := play(sim.Nothing); len(result.Violations) > 0 {
				t.Fatalf("without sabotage: %v\n%s", result.Violations, result.Trace)
			}
			result := play(test.sabotage)
			if len(result.Violations) == 0 || result.Violations[0].Invariant != test.invariant {
				t.Errorf("found %v, want %s\n%s", result.Violations, test.invariant, result.Trace)
			}
		})
	}
}
