package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/plan"
)

// refusedBy runs and wants the code of a guard; it returns the plan to approve.
func (w *world) refusedBy(code gapless.Code, o engine.RunOptions) string {
	w.Helper()
	s, err := w.run(o)
	coded, ok := errors.AsType[*gapless.Error](err)
	if !ok || coded.Code != code || gapless.ExitCode(err) != gapless.ExitGuard || !strings.Contains(gapless.HintFor(coded), s.Plan) {
		w.Fatalf("%v, want %s and plan %s to approve", err, code, s.Plan)
	}
	return s.Plan
}

func TestMissingCanaryStopsDeletesUntilApproved(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model)
			w.settings.Canaries = []string{"k0001", "r/k0002"}
			w.fill(9)
			w.mustRun()
			w.source.Remove("r", "k0005")
			w.mustRun() // not a canary
			w.source.Put("r", "k0003", `{"n":"new"}`)
			w.source.Remove("r", "k0001")
			w.source.Remove("r", "k0006")
			first := w.refusedBy(gapless.CodeCanary, engine.RunOptions{})
			if got := w.dest.Records(connector, "r"); got["k0001"] == "" || got["k0006"] == "" {
				t.Errorf("deleted although a canary is missing: %v", got)
			}
			w.refusedBy(gapless.CodeApproval, engine.RunOptions{Approve: w.planOf(plan.Plan{Connector: connector})})
			w.source.Remove("r", "k0002") // the approval covers one canary, not two
			second := w.refusedBy(gapless.CodeApproval, engine.RunOptions{Approve: first})
			if _, err := w.run(engine.RunOptions{Approve: second}); err != nil {
				t.Fatal(err)
			}
			w.inStep()
		})
	}
}

// planOf saves a plan that knows nothing of any canary.
func (w *world) planOf(p plan.Plan) string {
	w.Helper()
	p.Seal()
	_, store := w.open()
	if err := errors.Join(store.SavePlan(context.Background(), p), store.Close()); err != nil {
		w.Fatal(err)
	}
	return p.ID
}

func TestPlanShowsMissingCanaries(t *testing.T) {
	t.Parallel()
	for _, model := range []gapless.ChangeModel{gapless.ModelFull, gapless.ModelLog} {
		w := newWorld(t, model)
		w.settings.Canaries = []string{"k0001", "k0004"}
		w.fill(9)
		w.mustRun()
		w.source.Remove("r", "k0001")
		e, store := w.open()
		p, err := e.Plan(t.Context(), engine.PlanOptions{Count: true})
		if err := errors.Join(err, store.Close()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"k0001"}, p.Changes[0].Canaries); diff != "" || len(p.Approvals) != 1 || !strings.Contains(p.Approvals[0].Reason, `"k0001"`) {
			t.Errorf("%s: approvals %+v, canaries:\n%s", model, p.Approvals, diff)
		}
		if _, err := w.run(engine.RunOptions{Approve: p.ID}); err != nil {
			t.Errorf("%s: approved as it was planned: %v", model, err)
		}
	}
}

// TestCanaryOfAChangeLogStopsItsBatch: what came before the batch is pushed.
func TestCanaryOfAChangeLogStopsItsBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.settings.Canaries = []string{"k0007"}
	w.fill(9)
	w.mustRun()
	for _, key := range []string{"k0001", "k0002", "k0003", "k0007", "k0008"} {
		w.source.Remove("r", key)
	}
	w.refusedBy(gapless.CodeCanary, engine.RunOptions{})
	got := w.dest.Records(connector, "r")
	if _, there := got["k0001"]; there || got["k0007"] == "" || got["k0008"] == "" {
		t.Errorf("the destination holds %v", got)
	}
}

func TestCanaryWithoutCollectionIsAmbiguous(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.source = gaplesstest.NewSource("r", "s")
	w.settings.Canaries = []string{"x/k0001"}
	w.fill(3)
	_, err := w.run(engine.RunOptions{})
	if gapless.ExitCode(err) != gapless.ExitUsage || !strings.Contains(err.Error(), `"x/k0001"`) {
		t.Errorf("exit %d: %v", gapless.ExitCode(err), err)
	}
	w.settings.Canaries = []string{"r/k0001", "s/k0001"}
	w.mustRun() // of s nothing is deleted
}
