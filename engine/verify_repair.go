package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// RepairOptions say how to repair.
type RepairOptions struct {
	// Verify says how differences are looked for.
	Verify VerifyOptions
	// Approve is the id of a plan whose deletes an operator has looked at.
	Approve string
	// Full repairs by a full run, whatever the number of differences.
	Full bool
	// DryRun changes nothing: what a repair would do is told, and planned if the
	// guard would stop it.
	DryRun bool
}

// RepairReport is the account of a repair.
type RepairReport struct {
	// Before is what was found.
	Before VerifyReport `json:"before"`
	// Run is the run that brought it; nil if there was nothing to bring.
	Run *Summary `json:"run,omitempty"`
	// After is what is left of it; nil if nothing was brought.
	After *VerifyReport `json:"after,omitempty"`
}

// Bounds of what is repaired key by key. Above them a full run is the better
// cure: more than maxRepair keys, or more than half of a partition of some size.
const (
	maxRepair  = 1 << 20
	fewRecords = 1000
)

// repair collects the gaps of every partition.
type repair struct {
	*Engine
	options RepairOptions
	keys    map[string][]string // gaps by partition
	absent  map[string]*proof.Digest
	count   int
}

// Repair verifies, and then brings what no run would: it has the run that
// follows read just the records that differ, and delete what is extra under the
// guard. What is pending comes with that run. At the end it looks at the same
// records once more.
func (e *Engine) Repair(ctx context.Context, o RepairOptions) (RepairReport, error) {
	r := &repair{Engine: e, options: o, keys: map[string][]string{}, absent: map[string]*proof.Digest{}}
	var report RepairReport
	var found error
	report.Before, found = e.verifyWith(ctx, o.Verify, r.collect)
	if !repairable(found) {
		return report, found
	}
	if len(r.keys) == 0 && !o.Full && o.Approve == "" {
		return report, found
	}
	switch err := r.allowed(ctx, &report.Before); {
	case o.DryRun:
		return report, errors.Join(err, found)
	case err != nil:
		return report, err
	}
	if err := r.remember(ctx); err != nil {
		return report, err
	}
	if report.Before.Complete { // otherwise verifications go on where this one was
		if err := e.dropPass(); err != nil {
			return report, err
		}
	}
	summary, err := e.Run(ctx, RunOptions{Full: o.Full, Approve: o.Approve, Stop: o.Verify.Stop})
	report.Run = &summary
	if err != nil && outcomeOf(err) != plan.OutcomeComplete {
		return report, err
	}
	after, left := e.verifyAgain(ctx, o, r.keys)
	report.After = &after
	if left == nil && err == nil && !report.Before.Complete && !o.Full {
		left = gapless.Errorf(gapless.CodeUnfinished, e.Connector, "what was found is repaired; the rest was not looked at yet").
			WithHint("%s", report.Before.goingOn("repair"))
	}
	return report, errors.Join(left, err)
}

// repairable reports whether what a verification returned leaves something that
// can be repaired.
func repairable(found error) bool {
	e, coded := errors.AsType[*gapless.Error](found)
	return found == nil || coded && (e.Code == gapless.CodeDiffer || e.Code == gapless.CodeUnfinished || e.Code == gapless.CodeRejectedRecords)
}

func (r *repair) collect(d Difference) error {
	if r.count++; r.count > maxRepair {
		return nil // counted, for what is said then
	}
	r.keys[d.Partition] = append(r.keys[d.Partition], d.Key)
	if d.Kind == proof.Extra {
		digest := r.absent[d.Partition]
		if digest == nil {
			digest = &proof.Digest{}
			r.absent[d.Partition] = digest
		}
		digest.Add(proof.KeyHash([]byte(d.Key)))
	}
	return nil
}

// allowed says whether so much may be repaired, and so much deleted.
func (r *repair) allowed(ctx context.Context, found *VerifyReport) error {
	for i := range found.Partitions {
		p := &found.Partitions[i]
		few := p.Gaps() <= fewRecords || p.Gaps()*2 <= max(p.Had, p.Held)
		if !r.options.Full && (!few || r.count > maxRepair) {
			return gapless.Errorf(gapless.CodeNotRepaired, r.Connector, "%d of %d records of %s differ", p.Gaps(), max(p.Had, p.Held), p.Partition).
				WithHint("gapless repair %s --full reads everything and pushes all of it", r.Connector)
		}
	}
	if _, fetches := r.Source.(gapless.Fetcher); !fetches || r.options.Full {
		return nil // everything is read, and the guard of the run looks at what is absent
	}
	proposed := plan.Plan{Connector: r.Connector, Created: r.Now().UTC()}
	var refused error
	for i := range found.Partitions {
		p := &found.Partitions[i]
		digest := r.absent[p.Partition]
		proposed.Decisions = append(proposed.Decisions, plan.Decision{
			Partition: p.Partition, Rule: "P8", Mode: plan.ModeRepair, From: p.Checkpoint, To: p.Checkpoint, Repair: true,
			Reason: amountOf(p.Gaps(), "record") + " differ",
		})
		if digest == nil {
			continue
		}
		count := plan.Count{
			Partition: p.Partition, Known: true, Creates: p.Missing, Updates: p.Differs, Deletes: digest.Count,
			Total: max(p.Held, digest.Count), Absent: digest.String(),
		}
		proposed.Changes = append(proposed.Changes, count)
		code, reason := guarded(r.Settings, count, p.Had)
		if code == 0 {
			continue
		}
		proposed.Approvals = append(proposed.Approvals, plan.Approval{Partition: p.Partition, Reason: reason})
		if refused == nil {
			refused = gapless.Errorf(code, r.Connector, "%s", reason)
		}
	}
	if refused == nil {
		return nil
	}
	return r.ask(ctx, &proposed, refused)
}

// ask saves a plan that the guard has to be asked for, and returns why it was
// refused, unless exactly these deletes were approved.
func (r *repair) ask(ctx context.Context, proposed *plan.Plan, refused error) error {
	if r.options.Approve != "" {
		approved, err := r.Store.Plan(ctx, r.options.Approve)
		if err != nil || approved.Connector != r.Connector {
			return gapless.Errorf(gapless.CodeNotFound, r.Connector, "plan %s: %w", r.options.Approve, errors.Join(err, gapless.ErrNotFound))
		}
		if !slices.ContainsFunc(proposed.Changes, func(c plan.Count) bool { return !approved.Approves(c) }) {
			return nil
		}
	}
	proposed.Seal()
	if err := r.Store.SavePlan(ctx, *proposed); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	hint := fmt.Sprintf("look at what gapless verify names; if that is right, gapless repair %s --approve %s", r.Connector, proposed.ID)
	if e, ok := errors.AsType[*gapless.Error](refused); ok {
		if r.options.Approve != "" {
			e = gapless.Errorf(gapless.CodeApproval, r.Connector, "plan %s does not cover this: %w", r.options.Approve, e.Err)
		}
		return e.WithHint("%s", hint)
	}
	return refused
}

// remember has the next run repair the keys, under the lease.
func (r *repair) remember(ctx context.Context) error {
	ctx, l, err := r.acquire(ctx)
	if err != nil {
		return err
	}
	partitions, err := r.Store.Partitions(ctx, r.Connector)
	if err != nil {
		return errors.Join(fmt.Errorf("read state: %w", err), l.release(ctx))
	}
	var changed []state.Partition
	for _, p := range partitions {
		if keys := r.keys[p.ID]; len(keys) > 0 {
			p.Repair = append(p.Repair, keys...)
			slices.Sort(p.Repair)
			p.Repair = slices.Compact(p.Repair)
			changed = append(changed, p)
		}
	}
	err = r.Store.Commit(ctx, l.Lease, state.Commit{At: r.Now(), Partitions: changed})
	if err != nil {
		err = fmt.Errorf("remember what is to be repaired: %w", err)
	}
	return errors.Join(err, l.release(ctx))
}
