package engine

import (
	"context"
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state"
)

// fullRun is a run that reads every partition in full into a destination that
// retires on its own what such a run did not contain.
type fullRun struct {
	runner gapless.FullRunner
	left   int  // partitions that have not come to their end
	kept   bool // something was rejected: it exists, but was not pushed
}

// beginFull tells the destination if the decisions add up to a full run of
// everything it holds of this connector.
func (r *run) beginFull(ctx context.Context, decisions []plan.Decision) error {
	runner, ok := r.session.(gapless.FullRunner)
	if !ok || len(decisions) == 0 || len(r.scope.vanished) > 0 {
		return nil
	}
	resumed := false
	for _, d := range decisions {
		switch d.Mode {
		case plan.ModeResume:
			resumed = true
		case plan.ModeFull:
		default:
			return nil
		}
	}
	err := r.retry(ctx, &r.quiet[state.Other], "", "begin the full run", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		return runner.BeginFull(ctx, resumed)
	})
	if err != nil {
		return fmt.Errorf("begin the full run: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full = &fullRun{runner: runner, left: len(decisions)}
	return nil
}

// beginPlanned is beginFull for what was planned. If the destination cannot go
// on with a full run that was broken off, the plan changes.
func (r *run) beginPlanned(ctx context.Context) error {
	err := r.beginFull(ctx, r.plan.Decisions)
	if err == nil || gapless.KindOf(err) != gapless.KindExpired {
		return err
	}
	for i := range r.scope.partitions {
		r.scope.partitions[i].facts.ProgressHonoured = false
	}
	r.plan = r.decide(r.scope)
	r.plan.Seal()
	if err := r.Store.SavePlan(ctx, r.plan); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	return r.beginFull(ctx, r.plan.Decisions)
}

// beginAgain is beginFull for a partition that has to be read otherwise than
// planned. Of several partitions, others may have been pushed already: then
// nothing is retired by this run.
func (r *run) beginAgain(ctx context.Context, d plan.Decision) error {
	r.mu.Lock()
	r.full = nil
	r.mu.Unlock()
	if len(r.scope.partitions) > 1 {
		return nil
	}
	return r.beginFull(ctx, []plan.Decision{d})
}

// endFull lets the destination retire, once the last partition is at its end.
func (t *task) endFull(ctx context.Context) error {
	runner := t.lastOfFull()
	if runner == nil {
		return nil
	}
	if err := t.syncWith(ctx); err != nil {
		return err
	}
	if t.books.counts.Rejected > 0 {
		return nil
	}
	err := t.retry(ctx, &t.quiet[state.Other], t.partition.ID, "end the full run", func() error {
		t.mu.Lock()
		defer t.mu.Unlock()
		return runner.EndFull(ctx)
	})
	if err != nil {
		return fmt.Errorf("end the full run: %w", err)
	}
	return nil
}

// lastOfFull returns what ends the full run once everything of it has been
// pushed, and nil before, or if it is not to end. The changes that follow a
// continued enumeration are no part of it.
func (t *task) lastOfFull() gapless.FullRunner {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.full == nil || t.decision.Mode != plan.ModeFull && t.decision.Mode != plan.ModeResume {
		return nil
	}
	t.full.left--
	t.full.kept = t.full.kept || t.books.counts.Rejected > 0 || t.books.unidentified > 0
	switch {
	case t.full.left > 0:
		return nil
	case t.full.kept:
		t.notes = append(t.notes, "records were rejected, so the destination keeps what this full run did not contain; run with --full once they are resolved")
		return nil
	}
	return t.full.runner
}
