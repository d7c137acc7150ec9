package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// task is one partition of one run, from decision to certificate.
type task struct {
	*run
	surveyed
	decision plan.Decision
	books    *books
	base     *baseline
	compare  *delta.Comparison // nil unless everything is enumerated
	dry      bool              // count only: nothing is pushed or stored
	marked   marked
	batchState
	undelivered
	// seen is the table of the enumeration once it has ended; final the
	// checkpoint that it is labelled with.
	seen  *delta.Table
	final gapless.Checkpoint
	// sinceSync counts rows pushed since lastSync.
	sinceSync int
	lastSync  time.Time
	// checkpoint in force; certificate of this run, once sealed.
	checkpoint  gapless.Checkpoint
	certificate string
}

// marked is the place up to which everything is pushed and from which a later
// run can continue, with the account and the log of fingerprints as they were
// there.
type marked struct {
	mark    gapless.Mark
	books   books
	logSize int64
	// behind are the keys that were to be pushed behind it, while a sync may
	// still refuse what was pushed before: the lower halves of their hashes.
	behind []uint64
}

// open reports whether rows before the mark wait to be synced.
func (m *marked) open() bool {
	c := &m.books.certificate
	return c.Pushed.Count > c.Synced.Count
}

// passed notes that rows behind the mark are about to be pushed.
func (m *marked) passed(rows []rowHash) {
	if !m.open() {
		return
	}
	for i := range rows {
		m.behind = append(m.behind, rows[i].key.Lo)
	}
}

// batchState is what is known of the batch being processed.
type batchState struct {
	mapped  gapless.Batch
	hashes  []rowHash // of the rows being pushed
	origin  origin
	created uint64   // rows whose keys are new
	leaving uint64   // rows that the filter turned into deletes
	lost    []string // canaries that the changes read so far delete
}

// perPartition brings a partition up to where the source was when the run
// began, and records how that ended. An enumeration that was resumed leads to
// an older position; the changes since then follow at once.
func (r *run) perPartition(ctx context.Context, s *surveyed, d plan.Decision) error {
	t, err := r.carryOut(ctx, s, d)
	if d.Mode != plan.ModeResume || outcomeOf(err) != plan.OutcomeComplete || s.facts.Model == gapless.ModelFull {
		return err
	}
	next := surveyed{survey: s.survey, partition: s.partition, known: t.known, facts: s.facts}
	next.facts.Destination, next.facts.State = t.checkpoint, t.checkpoint
	next.facts.LastOutcome, next.facts.FullUnfinished = plan.OutcomeComplete, false
	_, changesErr := r.carryOut(ctx, &next, plan.Decide(next.facts))
	return worst([]error{err, changesErr})
}

// carryOut carries out one decision. If the source turns out not to honour a
// position or mark, it decides once more with that fact.
func (r *run) carryOut(ctx context.Context, s *surveyed, d plan.Decision) (*task, error) {
	t, err := r.attempt(ctx, s, d)
	if again, ok := reconsider(s.facts, d, t, err); ok {
		if err = r.beginAgain(ctx, again); err == nil {
			t, err = r.attempt(ctx, s, again)
		}
	}
	return t, t.finish(ctx, err)
}

// reconsider decides again after the source refused a position or mark before
// emitting anything.
func reconsider(f plan.Facts, d plan.Decision, t *task, err error) (plan.Decision, bool) {
	if gapless.KindOf(err) != gapless.KindExpired || err == nil || t.books.certificate.Read.Count > t.books.restored {
		return d, false
	}
	switch d.Mode {
	case plan.ModeResume:
		f.ProgressHonoured = false
	case plan.ModeIncremental:
		f.PositionExpired = true
	default:
		return d, false
	}
	return plan.Decide(f), true
}

func (r *run) attempt(ctx context.Context, s *surveyed, d plan.Decision) (*task, error) {
	t := &task{
		run: r, surveyed: *s, decision: d, base: s.survey.baselines.of(s.partition.ID),
		checkpoint: s.facts.Destination, lastSync: r.Now(),
	}
	t.books = newBooks(t)
	r.emit(Event{
		Type: EventPlan, Run: r.id, Partition: d.Partition, Rule: d.Rule, Mode: string(d.Mode), Message: d.Reason,
	})
	if d.Mode == plan.ModeNothing {
		return t, nil
	}
	err := t.perform(ctx)
	return t, errors.Join(err, t.base.close())
}

// perform reads, pushes, sweeps and completes.
func (t *task) perform(ctx context.Context) error {
	if err := t.sealCrashed(ctx); err != nil {
		return err
	}
	if err := t.begin(ctx); err != nil {
		return err
	}
	if err := t.openLetters(ctx); err != nil {
		return err
	}
	err := t.readAndPush(ctx)
	if err != nil {
		return t.abandon(ctx, err)
	}
	if t.decision.Keys {
		err = t.reconcile(ctx)
	}
	if err == nil && t.compare != nil {
		err = t.sweep(ctx)
	}
	if err != nil {
		return t.abandon(ctx, err)
	}
	return t.complete(ctx)
}

// begin makes durable what has to outlive a crash of this run, and prepares the
// comparison.
func (t *task) begin(ctx context.Context) error {
	if p, announced := t.announced(); announced && !t.dry {
		if err := t.commit(ctx, state.Commit{Partitions: []state.Partition{p}}); err != nil {
			return fmt.Errorf("record what has to be completed: %w", err)
		}
		t.known = p
	}
	if !t.decision.Sweep {
		return nil
	}
	return t.beginEnumeration(ctx)
}

// announced returns the row that has to be known should the run die: that a full
// run or a key enumeration has to be completed, and that changes are read once
// more. State then goes back to the destination's checkpoint before the
// destination goes on: what it had lost lies behind the newer one.
func (t *task) announced() (p state.Partition, announced bool) {
	p = t.row()
	switch t.decision.Mode {
	case plan.ModeFull:
		t.inFull(&p, true)
		p.Progress, p.LogSize = nil, 0 // the log of an earlier enumeration is about to be overwritten
		return p, true
	case plan.ModeIncremental:
		if t.facts.Destination.Before(t.facts.State) {
			p.Checkpoint, announced = t.facts.Destination, true
		}
	}
	if t.decision.Keys {
		p.Reconciled, announced = time.Time{}, true
	}
	return p, announced
}

// beginEnumeration opens what the enumeration is compared with: the
// fingerprints that belong to the destination's checkpoint or, where there are
// none, the keys that the destination lists.
func (t *task) beginEnumeration(ctx context.Context) error {
	found := false
	if t.survey.description.Model == gapless.ModelFull && t.decision.Mode != plan.ModeResume {
		var err error
		found, err = t.base.open(t.facts.Destination)
		if err != nil && t.decision.Mode == plan.ModeCompare {
			return err
		}
	}
	if !found && !t.facts.DestinationEmpty {
		if err := t.seed(ctx); err != nil {
			return err
		}
	}
	if t.decision.Repair { // pushed again if they are there, deleted if not
		for _, key := range t.known.Repair {
			t.base.doubted = append(t.base.doubted, []byte(key))
		}
	}
	slices.SortFunc(t.base.doubted, bytes.Compare) // each is counted once
	t.base.doubted = slices.CompactFunc(t.base.doubted, bytes.Equal)
	var err error
	if t.decision.Mode != plan.ModeResume {
		t.compare, err = t.base.start(t.Settings.Memory, t.decision.Mode == plan.ModeCompare, t.dry)
		return err
	}
	if t.compare, err = t.base.resume(t.known.LogSize, t.Settings.Memory); err != nil {
		return err
	}
	if err := t.distrustRefused(ctx); err != nil {
		return err
	}
	if err := t.books.restore(t.known.Progress); err != nil {
		return err
	}
	t.marked = marked{mark: t.decision.Mark, books: *t.books, logSize: t.known.LogSize}
	return nil
}

// inFull remembers that everything is being read, or was: for which store, and by
// which filter, mapping and schema.
func (t *task) inFull(p *state.Partition, unfinished bool) {
	p.Unfinished, p.Fingerprint, p.DestinationID = unfinished, t.survey.fingerprint, t.survey.status.ID
}

// row is what state will remember of the partition if nothing changes. That the
// store is another one stays to be seen until a full run has begun.
func (t *task) row() state.Partition {
	p := t.known
	p.Connector, p.ID = t.Connector, t.partition.ID
	p.Collection, p.Prefix = t.partition.Collection, t.partition.Prefix
	if p.Incarnation = t.survey.status.Incarnation; !t.facts.DestinationReplaced {
		p.DestinationID = t.survey.status.ID
	}
	p.Rule, p.LastRun, p.Updated = t.decision.Rule, t.id, t.Now().UTC()
	p.Seq = max(p.Seq, t.checkpoint.Seq)
	return p
}

// maybeSync writes a checkpoint if it is time for one.
func (t *task) maybeSync(ctx context.Context) error {
	if t.dry || t.sinceSync < t.Settings.SyncRecords && t.Now().Sub(t.lastSync) < t.Settings.SyncInterval {
		return nil
	}
	return t.syncProgress(ctx)
}

// syncProgress makes durable what was pushed so far, with a checkpoint if the
// source has marked a place to continue from.
func (t *task) syncProgress(ctx context.Context) error {
	if err := t.saveLetters(ctx); err != nil {
		return err
	}
	var checkpoints []gapless.Checkpoint
	p := t.row()
	if t.marked.mark != "" {
		c := t.nextCheckpoint(t.partition.ID)
		switch t.decision.Mode {
		case plan.ModeFull, plan.ModeResume:
			c.Mark, c.Target = t.marked.mark, t.decision.To
			if err := t.base.syncLog(); err != nil {
				return err
			}
			p.LogSize = t.marked.logSize
		case plan.ModeIncremental:
			c.Position = gapless.Position(t.marked.mark)
		}
		if c.Position != "" || c.Mark != "" {
			checkpoints = append(checkpoints, c)
		}
	}
	if err := t.syncWith(ctx, checkpoints...); err != nil {
		return err
	}
	if len(checkpoints) == 0 {
		return nil
	}
	p.Checkpoint, p.Seq, p.Started = t.checkpoint, t.checkpoint.Seq, t.decision.To
	if t.checkpoint.Mark != "" {
		p.Outcome = plan.OutcomeInterrupted // until the run says otherwise: nothing was completed
	}
	progress, err := t.marked.books.save()
	if err != nil {
		return err
	}
	p.Progress = progress
	if err := t.commit(ctx, state.Commit{Partitions: []state.Partition{p}}); err != nil {
		return fmt.Errorf("remember checkpoint: %w", err)
	}
	t.known = p
	t.emit(Event{Type: EventCheckpoint, Run: t.id, Partition: t.partition.ID, Progress: t.snapshot()})
	return nil
}

// syncWith syncs the destination and moves pushed to synced in the books.
func (t *task) syncWith(ctx context.Context, checkpoints ...gapless.Checkpoint) error {
	receipt, err := t.sync(ctx, t.partition.ID, checkpoints...)
	if err != nil {
		return fmt.Errorf("sync destination: %w", err)
	}
	refused, err := t.keptDespite(receipt.Rejected)
	if err != nil {
		return err
	}
	before := t.books.counts.Synced
	t.books.synced()
	t.marked.books.synced()
	t.advance(Counts{Synced: t.books.counts.Synced - before}, 0)
	if len(checkpoints) > 0 {
		t.checkpoint = checkpoints[0]
	}
	t.sinceSync, t.lastSync = 0, t.Now()
	return errors.Join(refused, t.saveLetters(ctx))
}

// complete writes the final checkpoint, the next fingerprints and the
// certificate, in the order that the package comment gives.
func (t *task) complete(ctx context.Context) error {
	if err := t.saveLetters(ctx); err != nil {
		return err
	}
	c := t.final
	if c.Run == "" {
		c = t.finalCheckpoint()
	}
	if t.keepsTable() {
		if err := t.settleTable(ctx, c); err != nil {
			return err
		}
	}
	if err := t.endFull(ctx); err != nil {
		return err
	}
	if err := t.syncWith(ctx, c); err != nil {
		return err
	}
	if t.keepsTable() {
		if err := t.base.exchange(); err != nil {
			return err
		}
	}
	p := t.row()
	p.Checkpoint, p.Outcome, p.Error, p.ErrorCode = c, plan.OutcomeComplete, "", ""
	p.Progress, p.LogSize, p.Started = nil, 0, ""
	if t.decision.Sweep {
		t.inFull(&p, false)
	}
	if t.decision.Mode == plan.ModeFull || repairs(t.decision) {
		p.Repair = nil
	}
	if t.compare != nil {
		p.Reconciled = t.Now().UTC()
	}
	if t.compare != nil {
		p.Records = t.seen.Len()
	}
	resolved, err := t.settledLetters(ctx)
	if err != nil {
		return err
	}
	return t.certify(ctx, p, state.Commit{Resolved: resolved}, nil)
}

// settleTable syncs what was pushed before the fingerprints come into force: a
// destination may refuse records as late as that, and those must not count as
// held.
func (t *task) settleTable(ctx context.Context, c gapless.Checkpoint) error {
	if err := t.syncWith(ctx); err != nil {
		return err
	}
	if t.books.counts.Rejected == t.tabled {
		return nil
	}
	err := t.base.next.Close()
	if err == nil {
		t.seen, err = t.base.prepare(t.compare, c)
	}
	if err != nil {
		return fmt.Errorf("write fingerprints anew: %w", err)
	}
	return nil
}

func (t *task) finalCheckpoint() gapless.Checkpoint {
	c := t.nextCheckpoint(t.partition.ID)
	c.Position = t.decision.To
	return c
}

// abandon ends a partition that failed: what was pushed is synced if the
// destination still takes it, so that the next run continues from there.
func (t *task) abandon(ctx context.Context, cause error) error {
	if ctx.Err() != nil || errors.Is(cause, gapless.ErrFenced) || errors.Is(cause, gapless.ErrIncarnation) {
		return cause
	}
	if t.books.certificate.Read.Count == 0 {
		return cause
	}
	if err := t.syncProgress(ctx); err != nil {
		return withSecond(cause, err)
	}
	return cause
}

// withSecond joins a failure with one that it led to. If either may have left
// a gap, so may both: the class of an error joined plainly is that of whichever
// says so first.
func withSecond(cause, second error) error {
	joined := errors.Join(cause, second)
	for _, err := range []error{cause, second} {
		if gapless.KindOf(err) != gapless.KindUnrecoverable || gapless.KindOf(joined) == gapless.KindUnrecoverable {
			continue
		}
		var scope []string
		if f, ok := errors.AsType[*gapless.Failure](err); ok {
			scope = f.Scope
		}
		return gapless.Unrecoverable(joined, scope...)
	}
	return joined
}

// certify seals the certificate and stores it with the partition.
func (t *task) certify(ctx context.Context, p state.Partition, commit state.Commit, cause error) error {
	c, err := t.sealed(ctx, cause)
	if err != nil {
		return err
	}
	commit.Partitions = append(commit.Partitions, p)
	commit.Certificates = append(commit.Certificates, c)
	if err := t.commit(ctx, commit); err != nil {
		return fmt.Errorf("remember certificate: %w", err)
	}
	t.known, t.certificate = p, c.ID
	return nil
}

// sealed returns the certificate of what was done so far.
func (t *task) sealed(ctx context.Context, cause error) (proof.Certificate, error) {
	previous, err := t.Store.LastCertificate(ctx, t.Connector, t.partition.ID)
	last := &previous
	if errors.Is(err, gapless.ErrNotFound) {
		last = nil
	} else if err != nil {
		return proof.Certificate{}, fmt.Errorf("read the last certificate: %w", err)
	}
	c := t.books.close(cause)
	c.Checkpoint, c.Finished = t.checkpoint, t.Now().UTC()
	c.Seal(last)
	if err := c.Verify(); err != nil {
		return c, gapless.Unrecoverable(gapless.Errorf(gapless.CodeGap, t.Connector, "account of partition %s: %w", t.partition.ID, err))
	}
	return c, nil
}

// sealCrashed accounts for a run that wrote checkpoints and then died: the
// books that it saved with the last of them become its certificate.
func (t *task) sealCrashed(ctx context.Context) error {
	if len(t.known.Progress) == 0 {
		return nil
	}
	var saved savedBooks
	if err := json.Unmarshal(t.known.Progress, &saved); err != nil {
		return gapless.Unrecoverable(fmt.Errorf("decode the progress of run %s: %w", t.known.LastRun, err))
	}
	last, err := t.Store.LastCertificate(ctx, t.Connector, t.partition.ID)
	var previous *proof.Certificate
	switch {
	case err == nil:
		previous = &last
	case !errors.Is(err, gapless.ErrNotFound):
		return fmt.Errorf("read the last certificate: %w", err)
	}
	c := saved.Certificate
	if previous != nil && (previous.Epoch > c.Epoch || previous.Epoch == c.Epoch && previous.Checkpoint.Seq >= t.known.Checkpoint.Seq) {
		return nil // it ended in order
	}
	c.Failure = gapless.KindRecoverable.String()
	c.Checkpoint, c.Finished = t.known.Checkpoint, t.known.Updated
	c.Seal(previous)
	return t.commit(ctx, state.Commit{Certificates: []proof.Certificate{c}})
}

// finish records how the partition ended and returns the error of the run.
func (t *task) finish(ctx context.Context, err error) error {
	if err == nil {
		err = t.notSynced(ctx)
	}
	if outcome := outcomeOf(err); outcome != plan.OutcomeComplete {
		if second := t.recordFailure(ctx, outcome, err); second != nil {
			err = withSecond(err, second)
		}
	}
	s := PartitionSummary{
		Partition: t.partition.ID, Rule: t.decision.Rule, Mode: string(t.decision.Mode), Reason: t.decision.Reason,
		Outcome: string(outcomeOf(err)), Counts: t.books.counts, Certificate: t.certificate,
	}
	if err != nil {
		s.Error = err.Error()
	}
	if s.Certificate == "" {
		if last, lastErr := t.Store.LastCertificate(ctx, t.Connector, t.partition.ID); lastErr == nil {
			s.Certificate = last.ID
		}
	}
	t.mu.Lock()
	t.results = append(t.results, s)
	t.mu.Unlock()
	t.emit(Event{
		Type: EventPartition, Run: t.id, Partition: s.Partition, Rule: s.Rule, Mode: s.Mode, Message: s.Error,
		Progress: &Progress{Counts: s.Counts},
	})
	return err
}

// recordFailure remembers an outcome that is not complete, with the account so
// far. A gap stays remembered until a full run has completed.
func (t *task) recordFailure(ctx context.Context, outcome plan.Outcome, cause error) error {
	if errors.Is(cause, gapless.ErrFenced) {
		return nil
	}
	p := t.row()
	p.Outcome, p.Error = outcome, cause.Error()
	if t.seen != nil && (outcome == plan.OutcomeRefused || t.books.unidentified > 0) {
		p.Progress, p.LogSize = nil, 0 // the enumeration came to its end; the next one begins anew
	}
	if t.facts.LastOutcome == plan.OutcomeUnrecoverable && (t.checkpoint.Mark == "" || t.checkpoint.Run != t.id) {
		p.Outcome = plan.OutcomeUnrecoverable
	}
	if coded, ok := errors.AsType[*gapless.Error](cause); ok {
		p.ErrorCode = coded.Code.String()
	}
	if t.certificate != "" || t.books.certificate.Read.Count == 0 && t.checkpoint.Run != t.id { // nothing to account for, or it is
		return t.commit(ctx, state.Commit{Partitions: []state.Partition{p}})
	}
	return t.certify(context.WithoutCancel(ctx), p, state.Commit{}, cause)
}

// books keeps the account of one partition in a certificate that is sealed at
// the end.
type books struct {
	certificate  proof.Certificate
	counts       Counts
	unidentified int          // records that the source could not even name
	restored     uint64       // records read by the runs that this one goes on with
	deleting     proof.Digest // deletes by absence, pushed and not synced yet
}

func newBooks(t *task) *books {
	d := t.decision
	return &books{certificate: proof.Certificate{
		Connector: t.Connector, Partition: t.partition.ID, Run: t.id, Rule: d.Rule, Mode: string(d.Mode),
		From: d.From, To: d.To, Repaired: d.Mode != plan.ModeRepair && repairs(d), Mapped: !t.Mapping.IsIdentity(),
		DestinationID: t.survey.status.ID, Incarnation: t.survey.status.Incarnation, Epoch: t.lease.Epoch,
		Fingerprint: t.survey.fingerprint, Started: t.Now().UTC(), Checkpoint: t.checkpoint,
	}}
}

// repairs reports whether what was found to differ is read once more. A resumed
// enumeration does not read again what lies before its mark.
func repairs(d plan.Decision) bool { return d.Repair && d.Mode != plan.ModeResume }

// savedBooks is the account of an unfinished enumeration, as state keeps it
// with the checkpoint it belongs to.
type savedBooks struct {
	Certificate  proof.Certificate `json:"certificate"`
	Counts       Counts            `json:"counts"`
	Unidentified int               `json:"unidentified,omitempty"`
}

func (b books) save() (json.RawMessage, error) {
	b.synced()
	text, err := json.Marshal(savedBooks{b.certificate, b.counts, b.unidentified})
	if err != nil {
		return nil, fmt.Errorf("encode progress: %w", err)
	}
	return text, nil
}

// restore continues the account of the enumeration that is being resumed.
func (b *books) restore(text json.RawMessage) error {
	var saved savedBooks
	if err := json.Unmarshal(text, &saved); err != nil {
		return gapless.Expired(fmt.Errorf("decode progress: %w", err))
	}
	c := &b.certificate
	c.Read, c.Unchanged, c.Filtered = saved.Certificate.Read, saved.Certificate.Unchanged, saved.Certificate.Filtered
	c.Rejected, c.Pushed, c.Synced = saved.Certificate.Rejected, saved.Certificate.Pushed, saved.Certificate.Synced
	c.Deleted, c.Started = saved.Certificate.Deleted, saved.Certificate.Started
	c.Mapped = c.Mapped || saved.Certificate.Mapped
	b.counts, b.unidentified, b.restored = saved.Counts, saved.Unidentified, c.Read.Count
	return nil
}

// refusedLate says that a row which counts as pushed was not taken after all.
// Its bytes are gone: only the counts of the certificate can balance from here on.
func (b *books) refusedLate() {
	c := &b.certificate
	c.Mapped = true
	c.Pushed.Count--
	c.Rejected.Count++
	b.counts.Rejected++
	if b.counts.Pushed > 0 {
		b.counts.Pushed--
		b.counts.Synced = min(b.counts.Synced, b.counts.Pushed)
	}
}

// synced says that everything pushed is durable.
func (b *books) synced() {
	b.certificate.Synced = b.certificate.Pushed
	b.certificate.Deleted.Merge(b.deleting)
	b.deleting = proof.Digest{}
	b.counts.Synced = b.counts.Pushed
}

// close returns the certificate, ready to be sealed.
func (b *books) close(cause error) proof.Certificate {
	c := b.certificate
	c.Complete = cause == nil
	if cause != nil {
		c.Failure = gapless.KindOf(cause).String()
	}
	return c
}
