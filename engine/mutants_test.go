package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/mapping"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state"
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

// TestDeadAtAnyCall has the process be gone from any call of source, destination
// and state on, in the first, the second and the third run. A record that cannot
// be read at first is a dead letter as long as the destination lacks it.
func TestDeadAtAnyCall(t *testing.T) {
	t.Parallel()
	for name, world := range map[string]func() *world{
		"full":     func() *world { return newWorld(t, gapless.ModelFull) },
		"modified": func() *world { return newWorld(t, gapless.ModelModified) },
		"log":      func() *world { return newWorld(t, gapless.ModelLog) },
		"full that is resumed": func() *world {
			w := newWorld(t, gapless.ModelFull)
			w.as = func(s gapless.Source) gapless.Source { return resumable{s} }
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; deadRuns(t, world(), n); n++ {
			}
		})
	}
}

// deadRuns is false if there are fewer calls.
func deadRuns(t *testing.T, w *world, n int) (reached bool) {
	t.Helper()
	w.source.MarkEvery(2)
	w.fill(16)
	w.source.Forbid("r", "k0002")
	for round := range 3 {
		reached = w.diesAt("", n) || reached
		w.dest.Crash(round) // what was not synced is lost, in part
		if _, err := w.run(engine.RunOptions{}); err != nil && !isCode(err, gapless.CodeRejectedRecords) {
			t.Fatalf("after a death at call %d in round %d: %v", n, round, err)
		}
		want, got := w.source.Records("r"), w.dest.Records(connector, "r")
		if l := w.letters(); got["k0002"] == "" && (len(l) != 1 || l[0].Key != "k0002") {
			t.Fatalf("after a death at call %d in round %d: letters %+v", n, round, l)
		}
		delete(want, "k0002")
		delete(got, "k0002")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("after a death at call %d in round %d (-source +destination):\n%s", n, round, diff)
		}
		w.source.Put("r", "k0001", fmt.Sprintf(`{"round":%d}`, round))
		w.source.Put("r", fmt.Sprintf("new%d", round), `{}`)
		w.source.Remove("r", fmt.Sprintf("k%04d", 3+round))
	}
	return reached
}

// TestOnlyRecoverableIsRetried: what is not known to be recoverable is not tried
// a second time.
func TestOnlyRecoverableIsRetried(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"push", "sync"} {
		for _, fault := range []error{errFault, gapless.Unrecoverable(errFault)} {
			w := newWorld(t, gapless.ModelLog)
			w.settings.Attempts = 3
			w.mustRun()
			w.fill(2)
			n := map[string]int{"push": 1, "sync": 2}[call] // the first sync is of leftovers
			w.dest.Faults.Set(failing(call, n, fault))
			if _, err := w.run(engine.RunOptions{}); err == nil || gapless.KindOf(err) != gapless.KindUnrecoverable {
				t.Errorf("%s was tried again after %v: %v", call, fault, err)
			}
			w.dest.Faults.Set(nil)
			w.mustRun()
		}
	}
}

// TestMiddleOfAFullRunIsNotComplete: who dies in the middle of a full run leaves
// no complete partition behind.
func TestMiddleOfAFullRunIsNotComplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.source.MarkEvery(2)
	w.fill(20)
	w.diesAt("push", 5)
	_, store := w.open()
	defer store.Close() // only read
	known, err := store.Partitions(t.Context(), connector)
	if err != nil || len(known) != 1 || known[0].Checkpoint.Mark == "" || known[0].Outcome == plan.OutcomeComplete {
		t.Errorf("%+v: %v", known, err)
	}
}

// dishonouring is a source that goes on behind no mark.
type dishonouring struct{ gapless.Source }

func (dishonouring) CanResume(context.Context, gapless.Partition, gapless.Mark, gapless.Position) (bool, error) {
	return false, nil
}

func TestMarkThatIsNotHonouredIsNotResumed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.source.MarkEvery(2)
	w.fill(20)
	w.diesAt("push", 5)
	s, err := w.runWith(engine.RunOptions{}, func(e *engine.Engine) { e.Source = dishonouring{w.source.As(gapless.ModelFull)} })
	if err != nil || s.Partitions[0].Mode != "full" {
		t.Errorf("%+v: %v", s.Partitions, err)
	}
	w.inStep()
}

// expiring is a source that says of any position that it has expired, when asked.
type expiring struct {
	gapless.Source
	gapless.Positioner
	gapless.ChangeReader
}

func (expiring) CheckPosition(context.Context, gapless.Partition, gapless.Position) error {
	return gapless.Expired(errFault)
}

func TestExpiredPositionIsNotContinuedFrom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.fill(5)
	w.mustRun()
	w.source.Put("r", "k0001", `{"n":"new"}`)
	w.as = func(s gapless.Source) gapless.Source {
		return expiring{s, s.(gapless.Positioner), s.(gapless.ChangeReader)}
	}
	if s := w.mustRun(); s.Partitions[0].Rule != "P5" || s.Partitions[0].Mode != "full" {
		t.Errorf("%+v", s.Partitions)
	}
}

// watched is a store that is looked at with every commit.
type watched struct {
	state.Store
	before func(c state.Commit)
	after  func(c state.Commit)
}

func (s watched) Commit(ctx context.Context, l state.Lease, c state.Commit) error {
	s.before(c)
	err := s.Store.Commit(ctx, l, c)
	if err == nil {
		s.after(c)
	}
	return err
}

// TestOrderOfDurableSteps: whichever sync fails, a dead letter is in state before
// the destination has a checkpoint behind its record, and the destination has a
// checkpoint before state remembers it.
func TestOrderOfDurableSteps(t *testing.T) {
	t.Parallel()
	positive, err := mapping.Compile(mapping.Spec{Filter: "n >= 0"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"k0001", "k0011", "k0012, told as a change"} {
		for n := range 8 {
			w := newWorld(t, gapless.ModelLog)
			w.source.MarkEvery(2)
			key, changes := strings.CutSuffix(key, ", told as a change")
			if changes {
				w.mapping = positive
				if _, err := w.run(engine.RunOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			w.fill(12)
			if changes {
				w.source.Put("r", key, `{`) // no mapping can be made of it
			} else {
				w.source.Forbid("r", key)
			}
			letters := 0
			passed := func(where string) {
				c := w.dest.Checkpoint(connector, "r")
				if behind := c.Position == w.source.Now() || string(c.Mark) >= key; behind && letters == 0 {
					t.Errorf("%s, sync %d fails: %s, the destination is at %+v, and there is no dead letter", key, n, where, c)
				}
			}
			w.kept = func(s state.Store) state.Store {
				return watched{s, func(c state.Commit) {
					passed("at a commit")
					for _, p := range c.Partitions {
						if w.dest.Checkpoint(connector, "r").Before(p.Checkpoint) {
							t.Errorf("%s, sync %d fails: state remembers %+v, which the destination has not", key, n, p.Checkpoint)
						}
					}
				}, func(c state.Commit) { letters += len(c.DeadLetters) }}
			}
			w.dest.Faults.Set(failing("sync", n+1, gapless.Recoverable(errFault)))
			if _, err := w.run(engine.RunOptions{}); err == nil {
				t.Error("a record that cannot be read is no failure")
			}
			passed("at the end")
		}
	}
}

// TestFullRunThatFailedIsStillDue: what was asked for once is done, although the
// fingerprints would do for a comparison.
func TestFullRunThatFailedIsStillDue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.fill(6)
	w.mustRun()
	w.source.Faults.Set(failing("read", 2, gapless.Recoverable(errFault)))
	if _, err := w.run(engine.RunOptions{Full: true}); err == nil {
		t.Fatal("the full run did not fail")
	}
	w.source.Faults.Set(nil)
	if p := w.mustRun().Partitions[0]; p.Rule != "P4" || p.Mode != "full" {
		t.Errorf("rule %s, mode %s, want a full run by P4", p.Rule, p.Mode)
	}
}
