package engine

import (
	"context"
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// sweep deletes what a complete enumeration did not contain, if the guard
// allows it.
func (t *task) sweep(ctx context.Context) error {
	if err := t.endEnumeration(); err != nil {
		return err
	}
	count, err := t.countAbsent()
	if err != nil || count.Deletes == 0 {
		return err
	}
	if err := t.guard(ctx, count, t.seen.Len()); err != nil {
		return err
	}
	return t.deleteAbsent(ctx)
}

// endEnumeration closes the comparison, reports keys that stood twice, and
// writes the fingerprints that the final checkpoint will bring into force.
func (t *task) endEnumeration() error {
	if err := t.compare.Finish(t.base.scratchFile); err != nil {
		return fmt.Errorf("sort fingerprints: %w", err)
	}
	err := t.compare.Repeated(func(key []byte, line uint64) error {
		t.raise(state.DeadLetter{
			Key: string(key), Origin: t.origins[line&^lineMask], Line: int(line & lineMask), Stage: state.StageRead,
			Reason: "the key stands more than once in the same enumeration; the last one was kept",
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("find repeated keys: %w", err)
	}
	if t.dry || !t.keepsTable() {
		t.seen, err = t.base.scratchTable(t.compare)
		return err
	}
	t.final, t.tabled = t.finalCheckpoint(), t.books.counts.Rejected
	t.seen, err = t.base.prepare(t.compare, t.final)
	return err
}

// A line in the log of fingerprints has a mark of the file that it counts in in
// its upper bits, so that repeated keys can be traced to the right one.
const (
	lineBits = 40
	lineMask = 1<<lineBits - 1
)

// origin is what the lines of a batch count in.
type origin struct {
	name string
	mark uint64
}

// comesFrom notes what the lines of the next rows count in.
func (t *task) comesFrom(name string) {
	if name == t.origin.name && t.origins != nil {
		return
	}
	t.origin = origin{name, proof.KeyHash([]byte(name)).Lo &^ lineMask}
	if t.origins == nil {
		t.origins = map[uint64]string{}
		if t.decision.Mode != plan.ModeResume {
			t.origin.mark = 0 // the only file, as a rule
		}
	}
	t.origins[t.origin.mark] = name
}

// keepsTable reports whether the enumeration leaves fingerprints for the next
// run to compare with.
func (t *task) keepsTable() bool {
	return t.decision.Sweep && t.survey.description.Model == gapless.ModelFull
}

// absent calls fn once for every key that the destination holds, or may hold,
// and the enumeration lacks.
func (t *task) absent(fn func(key []byte) error) error {
	switch {
	case t.decision.Mode == plan.ModeCompare || t.decision.Keys:
		if err := t.compare.Absent(fn); err != nil {
			return fmt.Errorf("find absent keys: %w", err)
		}
	case t.base.table != nil:
		err := t.base.table.Keys(func(key []byte) error {
			_, there, err := t.seen.Lookup(proof.KeyHash(key))
			if err != nil || there {
				return err
			}
			return fn(key)
		})
		if err != nil {
			return fmt.Errorf("find absent keys: %w", err)
		}
	}
	for _, key := range t.base.doubted {
		listed, err := t.isListed(key)
		if err != nil {
			return fmt.Errorf("find absent keys: %w", err)
		}
		if listed {
			continue
		}
		if err := fn(key); err != nil {
			return err
		}
	}
	return nil
}

// isListed reports whether a key stands in the old or in the new table.
func (t *task) isListed(key []byte) (bool, error) {
	hash := proof.KeyHash(key)
	for _, table := range []*delta.Table{t.seen, t.base.table} {
		if table == nil {
			continue
		}
		if _, there, err := table.Lookup(hash); err != nil || there {
			return there, err
		}
	}
	return false, nil
}

func (t *task) countAbsent() (plan.Count, error) {
	c := plan.Count{Partition: t.partition.ID, Known: true, Total: t.base.held()}
	c.Creates, c.Updates, c.Unchanged = t.books.counts.Created, t.books.counts.Updated, t.books.counts.Unchanged
	var digest proof.Digest
	err := t.absent(func(key []byte) error {
		digest.Add(proof.KeyHash(key))
		return nil
	})
	c.Deletes = digest.Count
	c.Total = max(c.Total, c.Deletes) // keys in doubt may stand in no table
	if digest.Count == 0 || err != nil {
		return c, err
	}
	c.Absent = digest.String()
	c.Canaries, err = t.missingCanaries()
	return c, err
}

// guard refuses to delete more than an operator would expect, unless exactly
// these deletes were approved. seen is how many records the enumeration
// contained.
func (t *task) guard(ctx context.Context, c plan.Count, seen uint64) error {
	if t.books.unidentified > 0 {
		return gapless.Because(gapless.CauseUnreadable, gapless.Errorf(gapless.CodeRejectedRecords, t.Connector,
			"%d records of %s are missing, but %d could not be identified and may be among them; nothing was deleted",
			c.Deletes, t.partition.ID, t.books.unidentified).WithHint("correct the records that gapless deadletters list shows, then run again"))
	}
	code, reason := guarded(t.Settings, c, seen)
	if code == 0 {
		return nil
	}
	if t.approved != nil && t.approved.Approves(c) {
		return nil
	}
	return t.refuse(ctx, code, c, reason)
}

// refuse proposes a plan with the deletes that were found, and returns the
// error that asks to approve it.
func (t *task) refuse(ctx context.Context, code gapless.Code, c plan.Count, reason string) error {
	id, err := t.proposePlan(ctx, c, reason)
	if err != nil {
		return err
	}
	if t.approved != nil {
		return gapless.Errorf(gapless.CodeApproval, t.Connector, "plan %s does not cover this: %s", t.approved.ID, reason).
			WithHint("look at gapless plan, then run again with --approve %s", id)
	}
	return gapless.Errorf(code, t.Connector, "%s", reason).
		WithHint("look at gapless plan; if that is right, run again with --approve %s", id)
}

// guarded says whether the guard stops deletes as counted, with the code and a
// sentence; the code is 0 if it does not. seen is how many records the
// enumeration contained.
func guarded(s Settings, c plan.Count, seen uint64) (gapless.Code, string) {
	switch {
	case c.Deletes == 0:
		return 0, ""
	case seen == 0:
		return gapless.CodeEmptySource, fmt.Sprintf("partition %s came back empty, the destination holds %d records", c.Partition, c.Total)
	case len(c.Canaries) > 0:
		return gapless.CodeCanary, fmt.Sprintf("%s, and %d of %d records would be deleted", lostCanaries(c, "is missing at the source"), c.Deletes, c.Total)
	case c.Deletes > uint64(s.GuardRecords) && float64(c.Deletes)*100 > s.GuardPercent*float64(c.Total):
		return gapless.CodeGuard, fmt.Sprintf("%d of %d records of %s would be deleted; the guard allows %g %% or %d",
			c.Deletes, c.Total, c.Partition, s.GuardPercent, s.GuardRecords)
	}
	return 0, ""
}

// proposePlan saves the plan with the deletes found and returns its id.
func (t *task) proposePlan(ctx context.Context, c plan.Count, reason string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan.Changes = append(t.plan.Changes, c)
	t.plan.Approvals = append(t.plan.Approvals, plan.Approval{Partition: c.Partition, Reason: reason})
	t.plan.Seal()
	if err := t.Store.SavePlan(ctx, t.plan); err != nil {
		return "", fmt.Errorf("save plan: %w", err)
	}
	return t.plan.ID, nil
}

// deleteAbsent pushes the deletes in batches.
func (t *task) deleteAbsent(ctx context.Context) error {
	if err := t.base.forsake(t.absent); err != nil {
		return err
	}
	b := &gapless.Batch{Partition: t.partition}
	flush := func() error {
		if b.Len() == 0 {
			return nil
		}
		err := t.pushDeletes(ctx, b)
		b.Reset()
		b.Partition = t.partition
		return err
	}
	err := t.absent(func(key []byte) error {
		b.AppendRow(gapless.Row{Op: gapless.OpDelete, Key: b.AppendBytes(key)})
		if b.Len() < t.Settings.BatchRows {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	return t.syncWith(ctx) // what is refused as late as that must not be passed by the checkpoint
}

// pushDeletes pushes deletes that no row of the source stands for.
func (t *task) pushDeletes(ctx context.Context, b *gapless.Batch) error {
	receipt, err := t.push(ctx, b)
	if err != nil {
		return fmt.Errorf("push deletes: %w", err)
	}
	if len(receipt.Rejected) > 0 {
		r := receipt.Rejected[0]
		return gapless.Recoverable(fmt.Errorf("the destination refuses %d deletes, the first of %q: %w", len(receipt.Rejected), r.Key, r.Err))
	}
	for i := range b.Rows {
		key, content := proof.RowHash(b, i)
		t.books.deleting.Add(proof.Delivery(key, content))
	}
	swept := Counts{Deleted: uint64(b.Len()), Pushed: uint64(b.Len())}
	t.books.counts.add(swept)
	t.advance(swept, 0)
	return nil
}
