package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state"
)

// RunOptions say how to run.
type RunOptions struct {
	// Full reads every partition in full.
	Full bool
	// Approve is the id of a plan whose deletes an operator has looked at.
	Approve string
	// Keys, if there are any, are all that is read, of every partition that they
	// may be in, as far as the source can read single records. A partition that
	// has to be read in full is, and the position of all others stays. An event
	// that names what has changed narrows a run in this way.
	Keys []string
	// Stop, when closed, ends the run in order: what was read is pushed and
	// synced, a checkpoint is written, and Run returns
	// [gapless.ErrInterrupted]. Cancelling the context stops at once.
	Stop <-chan struct{}
}

// run is one execution. The session is used under the lock by one partition
// at a time.
type run struct {
	*Engine
	id        string
	lease     *lease
	scope     *survey // nil between two sides
	baselines baselines
	plan      plan.Plan
	approved  *plan.Plan
	quiet     [2]quiet        // of the two sides; a source is This, a destination Other
	reading   context.Context //nolint:containedctx // ends when reading has to stop, before the run does
	started   time.Time

	mu       sync.Mutex // guards what follows
	session  gapless.Session
	seq      uint64
	pushed   bool   // something was
	serial   uint64 // of the last change that was
	progress Progress
	results  []PartitionSummary
	notes    []string
	full     *fullRun // nil if this is none
	late     map[string][]gapless.Rejection
}

// Run decides what to do, does it, and accounts for it. The summary is valid
// even if an error is returned; the error classifies the worst thing that
// happened, see [gapless.ExitCode].
func (e *Engine) Run(ctx context.Context, o RunOptions) (Summary, error) {
	started := e.Now()
	summary := Summary{Connector: e.Connector, Started: started.UTC()}
	ctx, l, err := e.acquire(ctx)
	if err != nil {
		return e.close(summary, started, err)
	}
	r := &run{Engine: e, id: newRunID(started), lease: l, started: started}
	summary.Run = r.id
	err = r.perform(ctx, o)
	if cause := context.Cause(ctx); cause != nil && err != nil && !errors.Is(err, gapless.ErrInterrupted) {
		err = cause
	}
	r.summarize(&summary)
	summary, err = e.close(summary, started, err)
	return summary, errors.Join(err, r.record(ctx, summary), l.release(ctx))
}

// perform opens the destination and carries out the plan.
func (r *run) perform(ctx context.Context, o RunOptions) error {
	if err := r.commit(ctx, state.Commit{Run: r.row(state.StatusRunning)}); err != nil {
		return fmt.Errorf("record the start of the run: %w", err)
	}
	if o.Approve != "" {
		p, err := r.Store.Plan(ctx, o.Approve)
		if err != nil || p.Connector != r.Connector {
			return gapless.Errorf(gapless.CodeNotFound, r.Connector, "plan %s: %w", o.Approve, errors.Join(err, gapless.ErrNotFound))
		}
		r.approved = &p
	}
	if len(r.Sides) > 0 {
		return r.performBetween(ctx, o)
	}
	session, err := r.Destination.Open(ctx, r.Connector, r.lease.Epoch)
	if err != nil {
		return fmt.Errorf("open destination: %w", err)
	}
	r.session = session
	if err = r.succeed(ctx); err == nil {
		err = r.keepFormer(ctx, session, r.id)
	}
	if err == nil {
		err = r.execute(ctx, o)
	}
	return errors.Join(err, session.Close())
}

func (r *run) execute(ctx context.Context, o RunOptions) error {
	// What a dead run had pushed and not synced would become durable with this
	// one's first sync: it has to be seen before that.
	if _, err := r.sync(ctx, ""); err != nil {
		return fmt.Errorf("sync what is left of an earlier run: %w", err)
	}
	s, err := r.surveyOf(ctx, &survey{source: r.Source, baselines: r.baselines}, r.session, o.Full)
	if err != nil {
		return err
	}
	r.scope, r.plan = s, r.decide(s)
	for i := range s.partitions {
		narrow(&s.partitions[i], &r.plan.Decisions[i], o.Keys)
	}
	r.plan.Seal()
	if err := r.Store.SavePlan(ctx, r.plan); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	for _, p := range s.partitions {
		r.seq = max(r.seq, p.known.Seq, p.facts.Destination.Seq)
	}
	if err := r.beginPlanned(ctx); err != nil {
		return err
	}
	reading, stopReading := context.WithCancelCause(ctx)
	defer stopReading(nil)
	r.reading = reading
	if o.Stop != nil {
		go func() {
			select {
			case <-o.Stop:
				stopReading(gapless.ErrInterrupted)
			case <-reading.Done():
			}
		}()
	}
	r.expect(ctx)
	stopTicker := r.tickProgress()
	defer stopTicker()
	return r.partitionsInParallel(ctx)
}

// narrow makes a decision one to read just the keys named, unless it is to
// read everything, or the source cannot.
func narrow(s *surveyed, d *plan.Decision, keys []string) {
	if len(keys) == 0 || d.Sweep || !s.facts.CanFetch || s.facts.LastOutcome == plan.OutcomeUnrecoverable {
		return
	}
	f := s.facts
	f.SourcePosition, f.LastOutcome = f.Destination.Position, plan.OutcomeComplete
	f.ReconcileDue = false
	for _, key := range keys {
		if strings.HasPrefix(key, s.partition.Prefix) && !slices.Contains(s.known.Repair, key) {
			s.known.Repair = append(s.known.Repair, key)
		}
	}
	f.Differences = len(s.known.Repair)
	if only := plan.Decide(f); only.Mode == plan.ModeRepair || only.Mode == plan.ModeNothing {
		*d = only
		s.facts = f
	}
}

// partitionsInParallel runs every partition. A failure in one does not stop
// the others, unless the whole run has lost its footing.
func (r *run) partitionsInParallel(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(r.Settings.Parallel)
	errs := make([]error, len(r.scope.partitions))
	for i := range r.scope.partitions {
		g.Go(func() error {
			errs[i] = r.perPartition(ctx, &r.scope.partitions[i], r.plan.Decisions[i])
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return errors.Join(worst(append(errs, r.raiseLate(ctx))), r.spreadGaps(ctx, errs))
}

// raiseLate raises what destinations have refused of partitions that were
// complete already, and has the next run repair it.
func (r *run) raiseLate(ctx context.Context) error {
	r.mu.Lock()
	late := r.late
	r.late = nil
	r.mu.Unlock()
	if len(late) == 0 {
		return nil
	}
	known, err := r.Store.Partitions(context.WithoutCancel(ctx), r.Connector)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	var c state.Commit
	count := 0
	for id, list := range late {
		i := slices.IndexFunc(known, func(p state.Partition) bool { return p.ID == id })
		for _, rejected := range list {
			c.DeadLetters = append(c.DeadLetters, state.DeadLetter{
				Connector: r.Connector, Partition: id, Run: r.id, Key: rejected.Key, Stage: state.StageSync, Reason: rejected.Err.Error(), At: r.Now().UTC(),
			})
			if i >= 0 && !slices.Contains(known[i].Repair, rejected.Key) {
				known[i].Repair = append(known[i].Repair, rejected.Key)
			}
		}
		if i >= 0 {
			c.Partitions = append(c.Partitions, known[i])
		}
		count += len(list)
	}
	if err := r.commit(ctx, c); err != nil {
		return fmt.Errorf("store dead letters: %w", err)
	}
	return gapless.Errorf(gapless.CodeRejectedRecords, r.Connector, "%d records were refused after their partitions were complete", count)
}

// spreadGaps remembers the gaps that failures of one partition may have left
// in others. A scope that names none of them is taken for all.
func (r *run) spreadGaps(ctx context.Context, errs []error) error {
	scope := map[string]bool{}
	for _, err := range errs {
		if f, ok := errors.AsType[*gapless.Failure](err); ok && f.Kind == gapless.KindUnrecoverable {
			for _, id := range f.Scope {
				scope[id] = true
			}
		}
	}
	if len(scope) == 0 {
		return nil
	}
	known, err := r.Store.Partitions(context.WithoutCancel(ctx), r.Connector)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	named := slices.DeleteFunc(slices.Clone(known), func(p state.Partition) bool { return !scope[p.ID] })
	if len(named) < len(scope) {
		named = known
	}
	for i := range named {
		named[i].Outcome, named[i].Error = plan.OutcomeUnrecoverable, "a failure in another partition may have left a gap in this one"
	}
	if err := r.commit(ctx, state.Commit{Partitions: named}); err != nil {
		return fmt.Errorf("remember gaps: %w", err)
	}
	return nil
}

// worst returns the error that decides the exit code: a guard before an
// unrecoverable failure before all others; interruptions last.
func worst(errs []error) error {
	rank := func(err error) int {
		e, coded := errors.AsType[*gapless.Error](err)
		switch {
		case err == nil:
			return 0
		case errors.Is(err, gapless.ErrInterrupted):
			return 1
		case coded && e.Code == gapless.CodeRejectedRecords:
			return 2
		case coded && gapless.ExitCode(err) == gapless.ExitGuard:
			return 5
		case gapless.KindOf(err) == gapless.KindUnrecoverable:
			return 4
		}
		return 3
	}
	if len(errs) == 0 {
		return nil
	}
	return slices.MaxFunc(errs, func(a, b error) int { return rank(a) - rank(b) })
}

// expect asks the source how much there is, for the estimate of the time
// left. Not knowing is no error.
func (r *run) expect(ctx context.Context) {
	estimator, ok := r.Source.(gapless.Estimator)
	if !ok {
		return
	}
	for i, p := range r.scope.partitions {
		if d := r.plan.Decisions[i]; d.Mode != plan.ModeFull && d.Mode != plan.ModeCompare {
			continue
		}
		records, bytes, err := estimator.Estimate(ctx, p.partition)
		if err != nil {
			return
		}
		r.progress.ExpectedRecords += max(records, 0)
		r.progress.ExpectedBytes += max(bytes, 0)
	}
}

func (r *run) tickProgress() (stop func()) {
	if r.Events == nil {
		return func() {}
	}
	done, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				r.emit(Event{Type: EventProgress, Run: r.id, Progress: r.snapshot()})
			}
		}
	}()
	return func() {
		close(done)
		<-finished
		r.emit(Event{Type: EventProgress, Run: r.id, Progress: r.snapshot()})
	}
}

func (r *run) snapshot() *Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.progress
	p.Seconds = r.Now().Sub(r.started).Seconds()
	return &p
}

// advance adds to the run's progress.
func (r *run) advance(c Counts, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress.add(c)
	r.progress.Bytes += bytes
}

// nextCheckpoint returns the checkpoint to write next for a partition.
func (r *run) nextCheckpoint(partition string) gapless.Checkpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	return gapless.Checkpoint{Partition: partition, Run: r.id, Seq: r.seq, Epoch: r.lease.Epoch}
}

// push hands a batch to the destination, again if it failed in a way that
// allows it: pushing a batch twice is harmless, skipping it is not.
func (r *run) push(ctx context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	var receipt gapless.Receipt
	err := r.retry(ctx, &r.quiet[state.Other], b.Partition.ID, "push", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		var err error
		r.step("before push")
		receipt, err = r.session.Push(ctx, b)
		r.pushed = true
		r.step("after push")
		r.serial = max(r.serial, receipt.Serial)
		return err
	})
	return receipt, err
}

// sync makes what was pushed durable, together with the checkpoints.
func (r *run) sync(ctx context.Context, partition string, checkpoints ...gapless.Checkpoint) (gapless.Receipt, error) {
	var receipt gapless.Receipt
	err := r.retry(ctx, &r.quiet[state.Other], partition, "sync", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		var err error
		r.step("before sync")
		receipt, err = r.session.Sync(ctx, checkpoints)
		r.step("after sync")
		if r.pushed {
			r.serial = max(r.serial, receipt.Serial)
		}
		if err == nil {
			receipt.Rejected = r.sortLate(partition, receipt.Rejected)
		}
		return err
	})
	return receipt, err
}

// sortLate returns the rejections that are of a partition, and keeps those of
// others until they sync: each has fingerprints and dead letters of its own. The
// lock is held.
func (r *run) sortLate(partition string, rejected []gapless.Rejection) []gapless.Rejection {
	own := r.late[partition]
	delete(r.late, partition)
	for _, l := range rejected {
		if l.Partition == "" || l.Partition == partition {
			own = append(own, l)
			continue
		}
		if r.late == nil {
			r.late = map[string][]gapless.Rejection{}
		}
		r.late[l.Partition] = append(r.late[l.Partition], l)
	}
	return own
}

// commit stores a durable step in state. It is done even when the run is being
// cancelled: what has happened is remembered.
func (r *run) commit(ctx context.Context, c state.Commit) error {
	ctx = context.WithoutCancel(ctx)
	c.At = r.Now()
	if r.scope != nil {
		c.Destination = &state.Destination{DestinationID: r.scope.status.ID, Incarnation: r.scope.status.Incarnation}
	}
	r.step("before commit")
	defer r.step("after commit")
	return r.Store.Commit(ctx, r.lease.Lease, c)
}

func (r *run) row(status string) *state.Run {
	return &state.Run{
		ID: r.id, Connector: r.Connector, Holder: r.lease.Holder, Epoch: r.lease.Epoch,
		Started: r.started.UTC(), Status: status, PlanID: r.plan.ID,
	}
}

// record stores how the run ended. A fenced runner has no say any more.
func (r *run) record(ctx context.Context, s Summary) error {
	row := r.row(s.Status)
	row.Finished, row.Exit, row.Error, row.Hint, row.PlanID = r.Now().UTC(), s.Exit, s.Error, s.Hint, s.Plan
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode summary: %w", err)
	}
	row.Summary = text
	if err := r.commit(ctx, state.Commit{Run: row}); err != nil && !errors.Is(err, gapless.ErrFenced) {
		return fmt.Errorf("record the end of the run: %w", err)
	}
	return nil
}

func (r *run) summarize(s *Summary) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortFunc(r.results, func(a, b PartitionSummary) int { return strings.Compare(a.Partition, b.Partition) })
	s.Partitions = r.results
	s.Counts, s.Bytes, s.Serial, s.Plan = r.progress.Counts, r.progress.Bytes, r.serial, r.plan.ID
	s.Notes = r.notes
	if r.scope != nil {
		for _, id := range r.scope.vanished {
			s.Notes = append(s.Notes, fmt.Sprintf("partition %s is no longer listed by the source; its records are kept", id))
		}
	}
}

// close fills in how a run ended and announces it.
func (e *Engine) close(s Summary, started time.Time, err error) (Summary, error) {
	s.Seconds = e.Now().Sub(started).Seconds()
	s.Exit = gapless.ExitCode(err)
	s.Status = string(outcomeOf(err))
	if err != nil {
		s.Error = err.Error()
		if coded, ok := errors.AsType[*gapless.Error](err); ok {
			s.Code, s.Hint = coded.Code.String(), gapless.HintFor(coded)
		}
	}
	e.emit(Event{Type: EventDone, Run: s.Run, Summary: &s})
	return s, err
}

// outcomeOf says how a run or a partition ended.
func outcomeOf(err error) plan.Outcome {
	coded, ok := errors.AsType[*gapless.Error](err)
	failure, failed := errors.AsType[*gapless.Failure](err)
	switch {
	case err == nil, ok && coded.Code == gapless.CodeRejectedRecords && !failed:
		return plan.OutcomeComplete
	case failed && failure.Kind == gapless.KindUnrecoverable: // whatever came before it
		return plan.OutcomeUnrecoverable
	case errors.Is(err, gapless.ErrInterrupted):
		return plan.OutcomeInterrupted
	case ok && gapless.ExitCode(err) == gapless.ExitGuard:
		return plan.OutcomeRefused
	case gapless.KindOf(err) == gapless.KindUnrecoverable:
		return plan.OutcomeUnrecoverable
	}
	return plan.OutcomeRecoverable
}
