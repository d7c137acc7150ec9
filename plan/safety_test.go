package plan_test

import (
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
)

// TestEachFactAlone changes one fact of a partition that has nothing to do, or
// of one whose full run can be resumed: that alone decides.
func TestEachFactAlone(t *testing.T) {
	t.Parallel()
	at := gapless.Checkpoint{Partition: "p", Position: "7", Run: "r1", Seq: 1, Epoch: 1}
	marked := gapless.Checkpoint{Partition: "p", Mark: "k", Target: "7", Run: "r1", Seq: 1, Epoch: 1}
	tests := []struct {
		name   string
		marked bool
		change func(f *plan.Facts)
		rule   string
		mode   plan.Mode
	}{
		{"nothing", false, func(*plan.Facts) {}, "P9", plan.ModeNothing},
		{"empty", false, func(f *plan.Facts) { f.DestinationEmpty = true }, "P1", plan.ModeFull},
		{"one difference", false, func(f *plan.Facts) { f.Differences = 1 }, "P8", plan.ModeRepair},
		{"disagreement", false, func(f *plan.Facts) { f.State.Seq = 0 }, "P10", plan.ModeIncremental},
		{"unaccounted", false, func(f *plan.Facts) { f.State.Seq, f.Unaccounted = 0, true }, "P10", plan.ModeFull},
		{"a gap", false, func(f *plan.Facts) { f.LastOutcome = plan.OutcomeUnrecoverable }, "P3", plan.ModeFull},
		{"resumed", true, func(*plan.Facts) {}, "P4", plan.ModeResume},
		{"no progress", true, func(f *plan.Facts) { f.ProgressIntact = false }, "P4", plan.ModeFull},
		{"not honoured", true, func(f *plan.Facts) { f.ProgressHonoured = false }, "P4", plan.ModeFull},
		{"of another kind", true, func(f *plan.Facts) { f.FingerprintChanged = true }, "P4", plan.ModeFull},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := plan.Facts{
				Partition: "p", Model: gapless.ModelLog, Destination: at, State: at, LastOutcome: plan.OutcomeComplete, SourcePosition: "7",
				CanFetch: true,
			}
			if tt.marked {
				f.Destination, f.State, f.LastOutcome = marked, marked, plan.OutcomeInterrupted
				f.ProgressIntact, f.ProgressHonoured = true, true
			}
			tt.change(&f)
			if d := plan.Decide(f); d.Rule != tt.rule || d.Mode != tt.mode {
				t.Errorf("%s, want %s by %s", d.Text(), tt.mode, tt.rule)
			}
		})
	}
}
