package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
)

// count reads what the plan's decisions would read and counts what would
// change. Nothing is pushed or stored.
func (e *Engine) count(ctx context.Context, session gapless.Session, s *survey, p *plan.Plan) error {
	r := &run{Engine: e, scope: s, plan: *p, reading: ctx, started: e.Now(), session: session, lease: &lease{}}
	for i := range s.partitions {
		c, reason, err := r.countPartition(ctx, &s.partitions[i], p.Decisions[i])
		if err != nil {
			return fmt.Errorf("count %s: %w", p.Decisions[i].Partition, err)
		}
		p.Changes = append(p.Changes, c)
		if reason != "" {
			p.Approvals = append(p.Approvals, plan.Approval{Partition: c.Partition, Reason: reason})
		}
	}
	return nil
}

// countPartition also returns why the guard would stop the deletes, if it
// would.
func (r *run) countPartition(ctx context.Context, s *surveyed, d plan.Decision) (c plan.Count, guard string, err error) {
	c.Partition = s.partition.ID
	if d.Mode == plan.ModeNothing {
		c.Known = true
		return c, "", nil
	}
	if d.Mode == plan.ModeRepair || d.Mode == plan.ModeResume || d.Keys {
		return c, "", nil
	}
	t := &task{run: r, surveyed: *s, decision: d, base: s.survey.baselines.of(s.partition.ID), dry: true}
	t.books = newBooks(t)
	c, err = t.dryRun(ctx)
	switch {
	case err != nil:
	case t.seen != nil:
		_, guard = guarded(t.Settings, c, t.seen.Len())
	case len(c.Canaries) > 0:
		guard = lostCanaries(c, "would be deleted")
	}
	return c, guard, errors.Join(err, t.base.close())
}

func (t *task) dryRun(ctx context.Context) (plan.Count, error) {
	if err := t.begin(ctx); err != nil {
		return plan.Count{}, err
	}
	if err := t.readAndPush(ctx); err != nil {
		return plan.Count{}, err
	}
	if t.compare == nil {
		n := t.books.counts
		return plan.Count{Partition: t.partition.ID, Known: true, Updates: n.Created + n.Updated, Deletes: n.Deleted, Canaries: slices.Sorted(slices.Values(t.lost))}, nil
	}
	if err := t.endEnumeration(); err != nil {
		return plan.Count{}, err
	}
	return t.countAbsent()
}
