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
)

func (v *verifier) repair(o engine.RepairOptions) (r engine.RepairReport, err error) {
	v.Helper()
	err = v.with(func(e *engine.Engine) error {
		var err error
		r, err = e.Repair(context.Background(), o)
		return err
	})
	return r, err
}

// Every kind of drift is repaired, in every kind of world, and pushes no more
// than that where records can be told apart.
func TestRepairBringsDriftBack(t *testing.T) {
	t.Parallel()
	for _, drift := range []struct {
		name    string
		changes []gapless.Change
	}{
		{"missing", []gapless.Change{lose("k0003")}},
		{"altered", []gapless.Change{alter("k0017", `{"n":"other"}`)}},
		{"extra", []gapless.Change{alter("zzz", `{}`)}},
		{"everything", []gapless.Change{lose("k0003"), lose("k0004"), alter("k0017", `{"n":"other"}`), alter("zzz", `{}`)}},
	} {
		t.Run(drift.name, func(t *testing.T) {
			t.Parallel()
			everyWay(t, func(t *testing.T, v *verifier) {
				v.synced(40)
				v.plant(drift.changes...)
				r, err := v.repair(engine.RepairOptions{})
				if err != nil {
					t.Fatalf("repair: %v", err)
				}
				if r.Run == nil || r.After == nil || !r.After.OK || len(r.Before.Differences) != len(drift.changes) {
					t.Fatalf("report: %+v", r)
				}
				v.inStep()
				if v.model != gapless.ModelLog || v.sums { // the others cannot read single records
					if got := r.Run.Counts.Pushed; got != uint64(len(drift.changes)) {
						t.Errorf("pushed %d records, want %d: %s %+v", got, len(drift.changes), r.Run.Partitions[0].Mode, r.Run.Counts)
					}
				}
				if again, err := v.verify(engine.VerifyOptions{}); err != nil || !again.OK {
					t.Errorf("verified again: %v", err)
				}
				if again, err := v.repair(engine.RepairOptions{}); err != nil || again.Run != nil {
					t.Errorf("nothing to repair: %+v: %v", again, err)
				}
				v.source.Put("r", "later", `{}`)
				v.runNow()
				v.inStep()
			})
		})
	}
}

// A repair brings what is pending as well, and counts it apart.
func TestRepairWithPendingChanges(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, v *verifier) {
		v.synced(40)
		v.plant(lose("k0003"), alter("k0004", `{}`), alter("zzz", `{}`))
		v.source.Put("r", "k0001", `{"n":"new"}`)
		v.source.Put("r", "k0004", `{"n":"new"}`)
		v.source.Remove("r", "k0002")
		r, err := v.repair(engine.RepairOptions{})
		if err != nil || r.Before.Partitions[0].Pending < 3 {
			t.Fatalf("%+v: %v", r.Before.Partitions[0], err)
		}
		v.inStep()
	})
}

// Extra records are deleted under the guard, and what was approved is just
// those.
func TestRepairAsksBeforeItDeletes(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, v *verifier) {
		v.settings.GuardRecords, v.settings.GuardPercent = 3, 5
		v.synced(40)
		for i := range 5 {
			v.plant(alter(fmt.Sprintf("z%d", i), `{}`))
		}
		before := v.dest.Records(connector, "r")
		r, err := v.repair(engine.RepairOptions{})
		if gapless.ExitCode(err) != gapless.ExitGuard {
			t.Fatalf("exit %d: %v", gapless.ExitCode(err), err)
		}
		if len(v.dest.Records(connector, "r")) != len(before) {
			t.Fatal("deleted nevertheless")
		}
		id := planOf(err, r)
		v.plant(alter("z5", `{}`)) // more than was approved
		if r, err = v.repair(engine.RepairOptions{Approve: id}); gapless.ExitCode(err) != gapless.ExitGuard {
			t.Fatalf("other deletes: exit %d: %v", gapless.ExitCode(err), err)
		}
		id = planOf(err, r)
		if r, err = v.repair(engine.RepairOptions{Approve: id}); err != nil || !r.After.OK {
			t.Fatalf("approved %s: %v", id, err)
		}
		v.inStep()
	})
}

// planOf returns the plan to approve.
func planOf(err error, r engine.RepairReport) string {
	e, _ := errors.AsType[*gapless.Error](err)
	hint := gapless.HintFor(e)
	for i := len(hint); i > 1; i-- {
		if hint[i-2:i] == "p-" {
			return hint[i-2:]
		}
	}
	return ""
}

// An extra record that exists at the source by now is brought, not deleted.
func TestRepairLooksBeforeItDeletes(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, v *verifier) {
		v.synced(10)
		v.plant(alter("zzz", `{"planted":true}`))
		v.onEvent = func(ev engine.Event) {
			if ev.Type == engine.EventVerified && ev.Verified.Partitions[0].Extra == 1 {
				v.source.Put("r", "zzz", `{"real":true}`)
			}
		}
		if _, err := v.repair(engine.RepairOptions{}); err != nil {
			t.Error(err)
		}
		v.onEvent = nil
		v.inStep()
	})
}

// An empty source where records are is a stop.
func TestRepairOfAnEmptySource(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelLog, "contents")
	v.sums = true
	v.source.Put("r", "a", `{}`)
	v.runNow()
	v.source.Remove("r", "a")
	v.runNow()
	v.plant(alter("zzz", `{}`))
	_, err := v.repair(engine.RepairOptions{})
	if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeEmptySource {
		t.Errorf("%v", err)
	}
}

// A dry run changes nothing.
func TestRepairDryRun(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelFull, "contents")
	v.synced(10)
	v.plant(lose("k0001"))
	before := v.dest.Records(connector, "r")
	r, err := v.repair(engine.RepairOptions{DryRun: true})
	if gapless.ExitCode(err) != gapless.ExitUnrecoverable || r.Run != nil {
		t.Errorf("%+v: %v", r, err)
	}
	if diff := cmp.Diff(before, v.dest.Records(connector, "r")); diff != "" {
		t.Error(diff)
	}
	v.later(1)
	err = v.with(func(e *engine.Engine) error {
		p, err := e.Plan(t.Context(), engine.PlanOptions{})
		if err == nil && p.Decisions[0].Repair {
			t.Error("the next run would repair")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Too many differences are for a full run, and only when that is asked for.
func TestRepairOfTooMuch(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelLog, "contents")
	v.sums = true
	v.settings.BatchRows = 500
	v.synced(1500)
	var lost []gapless.Change
	for i := range 1100 {
		lost = append(lost, lose(fmt.Sprintf("k%04d", i)))
	}
	v.plant(lost...)
	_, err := v.repair(engine.RepairOptions{})
	if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeNotRepaired || gapless.ExitCode(err) != gapless.ExitGuard {
		t.Fatalf("%v", err)
	}
	if r, err := v.repair(engine.RepairOptions{Full: true}); err != nil || !r.After.Complete || r.Run.Partitions[0].Mode != "full" {
		t.Fatalf("%v", err)
	}
	v.inStep()
}

// A repair that is killed leaves the keys to the next run.
func TestRepairOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, v *verifier) {
		v.synced(10)
		v.plant(lose("k0001"), alter("k0002", `{}`), alter("zzz", `{}`))
		v.dest.Faults.Set(failing("push", 0, gapless.Recoverable(errors.New("unreachable"))))
		if _, err := v.repair(engine.RepairOptions{}); err == nil {
			t.Fatal("repaired without a destination")
		}
		v.dest.Faults.Set(nil)
		v.runNow()
		v.inStep()
	})
}

// What a bounded verification found is repaired, and the rest is said to be
// left.
func TestRepairInSlices(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelLog, "contents")
	v.sums = true
	v.synced(1500)
	v.plant(lose("k0001"), lose("k0700"), lose("k1400"))
	rounds := 0
	for ; rounds < 10; rounds++ {
		_, err := v.repair(engine.RepairOptions{Verify: engine.VerifyOptions{MaxReads: 1}})
		if err == nil {
			break
		}
		if gapless.ExitCode(err) != gapless.ExitRecoverable {
			t.Fatalf("round %d: %v", rounds, err)
		}
		if e, ok := errors.AsType[*gapless.Error](err); !ok || !strings.Contains(e.Hint, "repair c goes on") {
			t.Errorf("round %d: %v", rounds, e)
		}
	}
	if rounds == 0 || rounds == 10 {
		t.Errorf("%d rounds", rounds)
	}
	v.inStep()
}
