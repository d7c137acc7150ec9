package engine_test

import (
	"errors"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
)

// TestVerifyAfterADeadRun: a record that a dead run has pushed, and that is at
// the source as it was before, comes back with the next run.
func TestVerifyAfterADeadRun(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelFull, "contents")
	v.settings.BatchRows, v.settings.SyncRecords = 1, 1
	v.synced(5)
	v.source.Put("r", "k0001", `{"n":"new"}`)
	v.source.Put("r", "k0002", `{"n":"new"}`)
	v.dest.Faults.Set(failing("push", 2, gapless.Recoverable(errors.New("unreachable"))))
	if err := v.tryNow(); err == nil {
		t.Fatal("the run did not die")
	}
	v.dest.Faults.Set(nil)
	v.source.Put("r", "k0001", `{"n":1}`)
	v.source.Put("r", "k0002", `{"n":2}`)
	r, err := v.verify(engine.VerifyOptions{})
	if got := named(r.Differences); err != nil || got != "k0001 differs pending" {
		t.Errorf("%s: %v", got, err)
	}
	v.runNow()
	v.inStep()
}

// TestVerifyOfAPartIsNotComplete: neither as a whole nor of the partition in
// which the bounds were exhausted.
func TestVerifyOfAPartIsNotComplete(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelLog, "contents")
	v.sums = true
	v.synced(3000)
	v.plant(lose("k0001"), lose("k2900"))
	r, err := v.verify(engine.VerifyOptions{MaxReads: 1})
	if gapless.ExitCode(err) == gapless.ExitComplete || r.Complete || r.Partitions[0].Complete {
		t.Errorf("complete %t, %+v: %v", r.Complete, r.Partitions[0], err)
	}
}

// TestVerifyAfterARepairThatFailed: what a dead run was about to repair is as
// much of a gap as before.
func TestVerifyAfterARepairThatFailed(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelFull, "contents")
	v.synced(10)
	v.plant(alter("k0002", `{}`))
	v.dest.Faults.Set(failing("push", 0, gapless.Recoverable(errors.New("unreachable"))))
	if _, err := v.repair(engine.RepairOptions{}); err == nil {
		t.Fatal("repaired without a destination")
	}
	v.dest.Faults.Set(nil)
	r, err := v.verify(engine.VerifyOptions{})
	if got := named(r.Differences); gapless.ExitCode(err) != gapless.ExitUnrecoverable || got != "k0002 differs" {
		t.Errorf("%s: %v", got, err)
	}
}
