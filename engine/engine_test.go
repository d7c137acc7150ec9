package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/mapping"
	"github.com/gapless-sync/gapless/proof"
)

func TestRunsStayInStep(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model)
			w.fill(20)
			first := w.mustRun()
			if first.Counts.Read != 20 || first.Counts.Created != 20 || first.Counts.Synced != 20 {
				t.Errorf("first run: %+v", first.Counts)
			}
			w.source.Put("r", "k0003", `{"n":"new"}`)
			w.source.Put("r", "k0100", `{}`)
			w.source.Remove("r", "k0007")
			second := w.mustRun()
			if got := second.Counts.Changed(); got != 3 {
				t.Errorf("second run changed %d records, want 3: %+v", got, second.Counts)
			}
			third := w.mustRun()
			if got := third.Counts.Changed(); got != 0 {
				t.Errorf("third run changed %d records, want none: %+v", got, third.Counts)
			}
			rules := []string{first.Partitions[0].Rule, second.Partitions[0].Rule}
			want := map[gapless.ChangeModel][]string{
				gapless.ModelFull: {"P1", "P7"}, gapless.ModelModified: {"P1", "P11"}, gapless.ModelLog: {"P1", "P11"},
			}[model]
			if diff := cmp.Diff(want, rules); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			if first.Partitions[0].Certificate == "" || third.Partitions[0].Certificate == "" {
				t.Error("a partition has no certificate")
			}
		})
	}
}

func TestGuardStopsMassDeletesUntilApproved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.settings.GuardRecords, w.settings.GuardPercent = 5, 10
	w.fill(40)
	w.mustRun()
	for _, k := range []string{"k0000", "k0001", "k0002", "k0003", "k0004", "k0005"} {
		w.source.Remove("r", k)
	}
	s, err := w.run(engine.RunOptions{})
	if gapless.ExitCode(err) != gapless.ExitGuard {
		t.Fatalf("exit %d, want 7: %v", gapless.ExitCode(err), err)
	}
	if n := len(w.dest.Records(connector, "r")); n != 40 {
		t.Fatalf("%d records left, want all 40", n)
	}
	e, store := w.open()
	p, err := e.Plan(t.Context(), engine.PlanOptions{Count: true})
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	if p.ID != s.Plan || len(p.Approvals) != 1 || p.Changes[0].Deletes != 6 {
		t.Fatalf("plan %s (%+v), the run proposed %s", p.ID, p.Changes, s.Plan)
	}
	w.source.Remove("r", "k0006") // the world moves on: the approval covers six deletes, not seven
	if s, err = w.run(engine.RunOptions{Approve: p.ID}); gapless.ExitCode(err) != gapless.ExitGuard || s.Code != gapless.CodeApproval.String() {
		t.Fatalf("stale approval: exit %d, code %s: %v", gapless.ExitCode(err), s.Code, err)
	}
	if _, err = w.run(engine.RunOptions{Approve: s.Plan}); err != nil {
		t.Fatal(err)
	}
	w.inStep()
}

func TestEmptyEnumerationIsAStop(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		w := newWorld(t, model)
		w.fill(3) // fewer than the guard would ever mind
		w.mustRun()
		for k := range w.source.Records("r") {
			w.source.Remove("r", k)
		}
		_, err := w.run(engine.RunOptions{Full: true})
		e, ok := errors.AsType[*gapless.Error](err)
		if !ok || e.Code != gapless.CodeEmptySource {
			t.Errorf("%s: %v", model, err)
		}
		if n := len(w.dest.Records(connector, "r")); n != 3 {
			t.Errorf("%s: %d records left, want 3", model, n)
		}
	}
}

func TestRefusedRecordsBecomeDeadLettersAndComeBack(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model)
			w.fill(7)
			w.source.Put("r", "bad", `{"x":"refuse"}`)
			_, err := w.run(engine.RunOptions{})
			if got := gapless.ExitCode(err); got != 55 {
				t.Fatalf("exit %d, want 55: %v", got, err)
			}
			letters := w.letters()
			if len(letters) != 1 || letters[0].Key != "bad" || !strings.Contains(letters[0].Reason, "refused on request") {
				t.Fatalf("letters: %+v", letters)
			}
			e, store := w.open()
			report, err := e.Prove(t.Context())
			if err != nil || report.OK || len(report.Gaps) != 1 || report.Gaps[0].Kind != proof.GapRejected {
				t.Fatalf("proved with a record that is not synced: %v\n%s", err, report.Text())
			}
			// Nothing has changed at the source; a retry reads the record again.
			_, err = e.Redrive(t.Context(), []string{letters[0].ID}, engine.RunOptions{})
			if got := gapless.ExitCode(errors.Join(err, store.Close())); got != 55 {
				t.Fatalf("retry: exit %d, want 55: %v", got, err)
			}
			w.source.Put("r", "bad", `{"x":"mended"}`)
			w.mustRun()
			if model != gapless.ModelFull {
				e, store = w.open()
				_, err = e.Redrive(t.Context(), []string{letters[0].ID}, engine.RunOptions{})
				if err := errors.Join(err, store.Close()); err != nil {
					t.Fatal(err)
				}
			}
			if left := w.letters(); len(left) != 0 {
				t.Errorf("letters left: %+v", left)
			}
		})
	}
}

func TestInterruptedFullRunResumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.fill(60)
	w.source.MarkEvery(4)
	stop := make(chan struct{})
	w.source.Faults.Set(func(call string, nth, _ int) error {
		if call == "read" && nth == 40 {
			close(stop)
		}
		return nil
	})
	w.settings.SyncRecords = 4
	s, err := w.run(engine.RunOptions{Stop: stop})
	if !errors.Is(err, gapless.ErrInterrupted) || s.Exit != gapless.ExitInterrupted {
		t.Fatalf("exit %d: %v", s.Exit, err)
	}
	if got := s.Partitions[0].Outcome; got != "interrupted" {
		t.Errorf("the partition ended %s", got)
	}
	if c := w.dest.Checkpoint(connector, "r"); c.Mark == "" || c.Position != "" {
		t.Fatalf("checkpoint %+v, want a mark and no position", c)
	}
	w.source.Faults.Set(nil)
	w.source.Put("r", "k0001", `{"changed":"behind the mark"}`)
	w.source.Remove("r", "k0002")
	resumed, err := w.run(engine.RunOptions{})
	if err != nil || resumed.Partitions[0].Rule != "P4" {
		t.Fatalf("rule %s: %v", resumed.Partitions[0].Rule, err)
	}
	if resumed.Counts.Read >= 60 {
		t.Errorf("resumed run read %d records again", resumed.Counts.Read)
	}
	w.mustRun() // what changed behind the mark comes from the log
}

func TestCheckpointStaysBeforeABatchThatFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.settings.BatchRows = 100 // so that a mark comes in one batch with what is before it
	w.mustRun()
	w.fill(30)
	pushes := 0
	w.dest.Faults.Set(func(call string, nth, _ int) error {
		if call == "push" {
			pushes = nth
		}
		if call == "push" && nth == 4 {
			return gapless.Recoverable(errFault)
		}
		return nil
	})
	if _, err := w.run(engine.RunOptions{}); gapless.ExitCode(err) != gapless.ExitRecoverable || pushes != 4 {
		t.Fatalf("after %d pushes: %v", pushes, err)
	}
	w.dest.Faults.Set(nil)
	c := w.dest.Checkpoint(connector, "r")
	reached, err := strconv.Atoi(string(c.Position))
	if err != nil || reached == 0 {
		t.Fatalf("checkpoint %+v, want one behind the batches that were pushed", c)
	}
	if got := len(w.dest.Records(connector, "r")); got < reached {
		t.Errorf("checkpoint at %d, but only %d records are synced", reached, got)
	}
	w.mustRun()
}

func TestPositionIsTakenBeforeReading(t *testing.T) {
	t.Parallel()
	for _, model := range []gapless.ChangeModel{gapless.ModelModified, gapless.ModelLog} {
		w := newWorld(t, model)
		w.fill(20)
		w.source.Faults.Set(func(call string, nth, _ int) error {
			if call == "read" && nth == 10 {
				w.source.Put("r", "k0001", `{"changed":"behind the reader"}`)
				w.source.Put("r", "k0005x", `{"created":"behind the reader"}`)
			}
			return nil
		})
		if _, err := w.run(engine.RunOptions{}); err != nil {
			t.Fatal(err)
		}
		w.source.Faults.Set(nil)
		w.mustRun()
	}
}

func TestGapStaysRememberedUntilAFullRunHasEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.fill(20)
	w.mustRun()
	w.source.Put("r", "k0001", `{}`)
	w.source.Faults.Set(failing("end", 0, errFault)) // unclassified: there may be a gap
	if _, err := w.run(engine.RunOptions{}); err == nil {
		t.Fatal("the run says complete")
	}
	w.source.Faults.Set(nil)
	// The run that follows fails before it could remember that it is a full
	// one, the next after it, both before they wrote any checkpoint.
	w.state.Set(failing("commit", 2, gapless.Recoverable(errFault)))
	if _, err := w.run(engine.RunOptions{}); err == nil {
		t.Fatal("the run says complete")
	}
	w.state.Set(nil)
	w.failAt(&w.dest.Faults, "push")
	s := w.mustRun()
	if s.Partitions[0].Mode != "full" {
		t.Errorf("rule %s, mode %s, want full", s.Partitions[0].Rule, s.Partitions[0].Mode)
	}
}

func TestReasonOfAFullRunOutlivesItsInterruption(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		w := newWorld(t, model)
		w.fill(10)
		w.mustRun()
		w.source.SetSchema("another")
		w.failAt(&w.dest.Faults, "push")
		if s := w.mustRun(); s.Partitions[0].Mode != "full" {
			t.Errorf("%s: rule %s, mode %s, want full", model, s.Partitions[0].Rule, s.Partitions[0].Mode)
		}
	}
}

func TestFingerprintsOfALaterTimeAreNotUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.fill(6)
	w.mustRun()
	backup, state := w.dest.Snapshot(), w.copyState()
	w.source.Put("r", "k0001", `{"n":"new"}`)
	w.mustRun()
	// Destination and state come back from the same backup, the fingerprints
	// stay: compared with them, the record would count as unchanged.
	w.dest.Restore(backup)
	if err := errors.Join(os.RemoveAll(filepath.Join(w.dir, "state")),
		os.CopyFS(filepath.Join(w.dir, "state"), os.DirFS(filepath.Join(state, "state")))); err != nil {
		t.Fatal(err)
	}
	w.mustRun()
}

func TestAccountOfADeadRunIsNotLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.mustRun()
	w.fill(30)
	if !w.diesAt("push", 5) {
		t.Fatal("a dead run says complete")
	}
	s := w.mustRun()
	if p := s.Partitions[0]; p.Mode != "incremental" || p.Counts.Read >= 30 {
		t.Errorf("mode %s, %d records read, want an incremental run from the dead run's checkpoint", p.Mode, p.Counts.Read)
	}
}

// TestAccountOfADeadRunIsNotLostAfterAResume: a run that goes on with an
// enumeration reads the changes since at once, under a second certificate. It
// dies anywhere in both.
func TestAccountOfADeadRunIsNotLostAfterAResume(t *testing.T) {
	t.Parallel()
	for n, died := 1, true; died; n++ {
		w := newWorld(t, gapless.ModelLog)
		w.source.MarkEvery(2)
		w.fill(20)
		w.failNth(&w.dest.Faults, "push", 4)
		for i := range 12 {
			w.source.Put("r", fmt.Sprintf("k%04d", i), `{"n":"new"}`)
		}
		died = w.diesAt("push", n)
		w.mustRun()
		if !died && n < 8 {
			t.Errorf("the run made %d pushes", n-1)
		}
	}
}

// diesAt is a run whose process is not there any more from its n-th call of a
// name on, or of any name if that is empty. It reports false if there were fewer.
func (w *world) diesAt(name string, n int) bool {
	w.Helper()
	var dead atomic.Bool
	var calls atomic.Int64
	ends := []*gaplesstest.Faults{&w.source.Faults, &w.dest.Faults, &w.state}
	for _, f := range ends {
		f.Set(func(call string, _, _ int) error {
			if name == "" || call == name {
				if calls.Add(1) >= int64(n) {
					dead.Store(true)
				}
			}
			if dead.Load() {
				return errFault
			}
			return nil
		})
	}
	_, err := w.run(engine.RunOptions{})
	for _, f := range ends {
		f.Set(nil)
	}
	if dead.Load() && err == nil {
		w.Fatalf("dead at call %d, and complete", n)
	}
	return dead.Load()
}

// TestReplacedDestinationIsNotForgotten: the run that finds another store, which
// has a history of its own, fails before it has begun to read.
func TestReplacedDestinationIsNotForgotten(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		w, other := newWorld(t, model), newWorld(t, model)
		w.fill(5)
		w.mustRun()
		other.fill(20)
		other.mustRun()
		w.dest = other.dest
		w.dest.Rename("d2")
		w.failNth(&w.state, "commit", 2)
		if s := w.mustRun(); s.Partitions[0].Rule != "P1" {
			t.Errorf("%s: rule %s, want P1", model, s.Partitions[0].Rule)
		}
	}
}

func TestOtherDestinationIsSeenBeforeTheFirstWrite(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		w := newWorld(t, model)
		w.fill(10)
		w.mustRun()
		backup := w.dest.Snapshot()
		w.source.Put("r", "k0001", `{"changed":true}`)
		w.mustRun()
		w.dest.Restore(backup)
		if s := w.mustRun(); s.Partitions[0].Rule == "P9" {
			t.Errorf("%s: an older destination went unseen", model)
		}
		w.dest.Rename("another")
		if s := w.mustRun(); s.Partitions[0].Rule != "P1" {
			t.Errorf("%s: rule %s for another store, want P1", model, s.Partitions[0].Rule)
		}
	}
}

func TestPositionThatNothingAccountsForIsNotContinuedFrom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.fill(10)
	w.mustRun()
	backup := w.dest.Snapshot()
	w.source.Put("r", "k0001", `{}`)
	if _, err := w.run(engine.RunOptions{Full: true}); err != nil {
		t.Fatal(err)
	}
	w.dest.Restore(backup) // older than the last enumeration
	if s := w.mustRun(); s.Partitions[0].Mode != "full" {
		t.Errorf("rule %s, mode %s, want full", s.Partitions[0].Rule, s.Partitions[0].Mode)
	}
}

// TestOlderDestinationIsLeftAgain: a destination comes back from a backup, and
// the run that brings the changes since dies when a sync on the way has taken
// effect and nothing else. The next run must not go on behind what is missing.
func TestOlderDestinationIsLeftAgain(t *testing.T) {
	t.Parallel()
	for _, model := range []gapless.ChangeModel{gapless.ModelLog, gapless.ModelModified} {
		for n := 2; n <= 8; n++ {
			w := newWorld(t, model)
			w.source.MarkEvery(1)
			w.settings.BatchRows, w.settings.SyncRecords = 1, 1
			w.mustRun()
			backup := w.dest.Snapshot()
			w.fill(5)
			w.mustRun()
			w.dest.Restore(backup)
			dead := false
			w.dest.Faults.Set(func(call string, nth, _ int) error {
				if last := call == "sync" && nth == n; last {
					dead = true
					return gaplesstest.Ambiguous(gapless.Recoverable(errFault))
				}
				return isDead(dead)
			})
			w.state.Set(func(string, int, int) error { return isDead(dead) })
			if _, err := w.run(engine.RunOptions{}); err == nil && n < 6 {
				t.Errorf("%s: sync %d did not fail", model, n)
			}
			w.dest.Faults.Set(nil)
			w.state.Set(nil)
			w.source.Put("r", "k0009", `{}`)
			w.mustRun()
		}
	}
}

// isDead is the fault of every call of a process that is dead.
func isDead(dead bool) error {
	if dead {
		return gapless.Recoverable(errFault)
	}
	return nil
}

// TestPositionInTheMiddleOfAnAccount: the run ends at the destination, and its
// certificate says so, but state stays at a checkpoint in between.
func TestPositionInTheMiddleOfAnAccount(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 8; n++ {
		w := newWorld(t, gapless.ModelLog)
		w.mustRun()
		w.fill(14)
		w.state.Set(func(call string, nth, _ int) error {
			if call == "commit" && nth == n {
				return gapless.Recoverable(errFault)
			}
			return nil
		})
		_, err := w.run(engine.RunOptions{})
		if n <= 4 && err == nil {
			t.Errorf("commit %d did not fail", n)
		}
		w.state.Set(nil)
		w.source.Put("r", "k0001", `{"n":"new"}`)
		w.mustRun()
	}
}

func TestKeyEnumerationStaysDueUntilItHasEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelModified)
	w.settings.Reconcile = 1e6 * time.Hour // due only because the ends disagree
	w.fill(10)
	w.mustRun()
	backup := w.dest.Snapshot()
	for i := range 7 {
		w.source.Put("r", fmt.Sprintf("k%04d", i), `{"changed":true}`)
	}
	w.mustRun()
	w.dest.Restore(backup)
	w.source.Remove("r", "k0009")
	w.failAt(&w.source.Faults, "keys")
	w.mustRun()
}

// TestKeyEnumerationStaysDueWhereNoneIsPeriodic: it was decided because the ends
// disagree, which they no longer do once the run has begun.
func TestKeyEnumerationStaysDueWhereNoneIsPeriodic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelModified)
	w.fill(10)
	w.mustRun()
	backup := w.dest.Snapshot()
	w.source.Remove("r", "k0009")
	w.mustRun()
	w.settings.Reconcile = -1
	w.dest.Restore(backup)
	w.source.Put("r", "k0001", `{"changed":true}`)
	w.failAtCall("read", 1)
	if _, err := w.run(engine.RunOptions{}); err == nil {
		t.Fatal("the run says complete")
	}
	w.source.Faults.Set(nil)
	w.mustRun()
}

func TestRecordThatCannotBeReadIsNotDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.fill(6)
	w.mustRun()
	w.source.Forbid("r", "k0002")
	if _, err := w.run(engine.RunOptions{}); gapless.ExitCode(err) != 55 {
		t.Fatalf("a record that cannot be read: %v", err)
	}
	if _, there := w.dest.Records(connector, "r")["k0002"]; !there {
		t.Error("the record was deleted")
	}
	w.source.Put("r", "k0002", `{"n":2}`)
	w.source.Garble("r", "k0003") // and which record this is nobody can say
	_, err := w.run(engine.RunOptions{})
	if gapless.ExitCode(err) != 55 || !strings.Contains(err.Error(), "nothing was deleted") {
		t.Fatalf("a record that cannot be identified: %v", err)
	}
	if _, there := w.dest.Records(connector, "r")["k0003"]; !there {
		t.Error("the record was deleted")
	}
	w.source.Put("r", "k0003", `{"n":3}`)
	w.mustRun()
}

// TestRetryComesWhenItIsTold: no sooner, and not in this run if that takes too
// long, whatever else there is to do.
func TestRetryComesWhenItIsTold(t *testing.T) {
	t.Parallel()
	for asked, exit := range map[time.Duration]int{20 * time.Millisecond: gapless.ExitComplete, time.Hour: gapless.ExitRecoverable} {
		w := newWorld(t, gapless.ModelFull)
		w.source = gaplesstest.NewSource("q", "r", "s")
		for _, collection := range []string{"q", "r", "s"} {
			w.source.Put(collection, "k", `{}`)
		}
		w.settings.Attempts, w.settings.MaxWait, w.settings.Parallel = 2, 30*time.Millisecond, 1
		var told time.Time
		w.dest.Faults.Set(func(call string, _, _ int) error {
			if !told.IsZero() && time.Since(told) < asked {
				t.Errorf("asked to wait for %s, it is called after %s: %s", asked, time.Since(told), call)
			}
			if call != "push" || !told.IsZero() {
				return nil
			}
			told = time.Now()
			return gapless.Later(asked, gapless.Recoverable(errFault))
		})
		if _, err := w.run(engine.RunOptions{}); gapless.ExitCode(err) != exit {
			t.Errorf("asked to wait for %s the run ends with %d: %v", asked, gapless.ExitCode(err), err)
		}
	}
}

func TestReadIsTriedAgainOnlyIfNothingIsReadTwice(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		model gapless.ChangeModel
		at    int // read call that fails; batches have three rows
		marks int
		want  int // exit code
	}{
		{"before the first batch", gapless.ModelFull, 2, 0, gapless.ExitComplete},
		{"behind a batch", gapless.ModelFull, 5, 0, gapless.ExitRecoverable},
		{"behind a mark", gapless.ModelFull, 5, 2, gapless.ExitComplete},
		{"with changes", gapless.ModelLog, 8, 0, gapless.ExitComplete},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, test.model)
			w.settings.Attempts = 2
			w.source.MarkEvery(test.marks)
			if test.model == gapless.ModelLog {
				w.mustRun()
			}
			w.fill(12)
			w.source.Faults.Set(failing("read", test.at, gapless.Recoverable(errFault)))
			_, err := w.run(engine.RunOptions{})
			if got := gapless.ExitCode(err); got != test.want {
				t.Errorf("exit %d, want %d: %v", got, test.want, err)
			}
			retried := slices.ContainsFunc(w.events, func(e engine.Event) bool { return e.Type == engine.EventRetry })
			if want := test.want == gapless.ExitComplete; retried != want {
				t.Errorf("tried again: %t, want %t", retried, want)
			}
			w.source.Faults.Set(nil)
			w.mustRun()
		})
	}
}

func TestVanishedPartitionIsKeptAndSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.fill(3)
	w.mustRun()
	w.source = gaplesstest.NewSource("other")
	s, err := w.run(engine.RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "partition r is no longer listed") {
		t.Errorf("notes: %q", s.Notes)
	}
	if n := len(w.dest.Records(connector, "r")); n != 3 {
		t.Errorf("%d records left, want 3", n)
	}
}

func TestRepeatedKeysAreReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.fill(5)
	w.source.Repeat("r", "k0002", `{"n":"again"}`)
	for range 2 { // unknown and known to the fingerprints
		if _, err := w.run(engine.RunOptions{}); gapless.ExitCode(err) != 55 {
			t.Fatalf("exit %d, want 55: %v", gapless.ExitCode(err), err)
		}
		letters := w.letters()
		if len(letters) != 1 || letters[0].Key != "k0002" || !strings.Contains(letters[0].Reason, "more than once") {
			t.Fatalf("letters: %+v", letters)
		}
	}
	w.source.Put("r", "k0002", `{"n":2}`)
	w.mustRun()
}

func TestLateAndBackdatedRecordsAreFoundByKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelModified)
	w.fill(10)
	w.mustRun()
	w.source.Slip("r", "k0100", `{"late":true}`) // not in the change log
	w.source.Slip("r", "k0003", `{"late":true}`)
	w.source.Remove("r", "k0004")
	w.mustRun()
}

func TestMappingAndFilterKeepTheDestinationInScope(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model)
			program, err := mapping.Compile(mapping.Spec{Filter: "n < 5"})
			if err != nil {
				t.Fatal(err)
			}
			w.mapping = program
			w.fill(10)
			if _, err := w.run(engine.RunOptions{}); err != nil {
				t.Fatal(err)
			}
			if n := len(w.dest.Records(connector, "r")); n != 5 {
				t.Fatalf("%d records, want 5", n)
			}
			w.source.Put("r", "k0001", `{"n":50}`) // leaves the filter
			w.source.Put("r", "k0008", `{"n":0}`)  // enters it
			if _, err := w.run(engine.RunOptions{}); err != nil {
				t.Fatal(err)
			}
			got := w.dest.Records(connector, "r")
			if _, left := got["k0001"]; left || got["k0008"] != `{"n":0}` || len(got) != 5 {
				t.Errorf("records: %v", got)
			}
			w.mapping = nil // another mapping: everything is read again
			s := w.mustRun()
			if s.Partitions[0].Rule != "P6" {
				t.Errorf("rule %s, want P6", s.Partitions[0].Rule)
			}
		})
	}
}

func TestSecondRunnerIsRefusedAndFencedRunnerStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.fill(30)
	w.source.Faults.Set(func(call string, nth, _ int) error {
		if call != "read" || nth != 10 {
			return nil
		}
		e, store := w.open()
		if _, err := e.Run(context.Background(), engine.RunOptions{}); !isCode(err, gapless.CodeLeaseHeld) {
			t.Errorf("second runner: %v", err)
		}
		// The first runner is taken for dead and another takes over.
		session, err := w.dest.Open(context.Background(), connector, 1<<62)
		if err := errors.Join(err, session.Close(), store.Close()); err != nil {
			t.Error(err)
		}
		return nil
	})
	_, err := w.run(engine.RunOptions{})
	if !errors.Is(err, gapless.ErrFenced) {
		t.Fatalf("fenced runner: %v", err)
	}
	if c := w.dest.Checkpoint(connector, "r"); c.Position != "" {
		t.Errorf("fenced runner left checkpoint %+v", c)
	}
}

// failAt is a run whose first call of a kind fails recoverably.
func (w *world) failAt(faults *gaplesstest.Faults, call string) {
	w.Helper()
	w.failNth(faults, call, 1)
}

// failNth is a run whose n-th call of a kind fails recoverably.
func (w *world) failNth(faults *gaplesstest.Faults, call string, n int) {
	w.Helper()
	faults.Set(failing(call, n, gapless.Recoverable(errFault)))
	defer faults.Set(nil)
	if _, err := w.run(engine.RunOptions{}); gapless.ExitCode(err) != gapless.ExitRecoverable {
		w.Fatalf("fault at %s %d: %v", call, n, err)
	}
}

func isCode(err error, code gapless.Code) bool {
	e, ok := errors.AsType[*gapless.Error](err)
	return ok && e.Code == code
}
