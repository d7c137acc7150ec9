package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// UndoOptions say how to undo a run.
type UndoOptions struct {
	// DryRun only tells what would be done.
	DryRun bool
	// DeletedOnly brings back what the run deleted and leaves the rest.
	DeletedOnly bool
	// Force also puts back what has been changed since the run.
	Force bool
	// Each, if not nil, is called with every key that something is, or would
	// be, done about, and with every conflict.
	Each func(UndoStep)
}

// UndoAction is what undoing a run does with one record.
type UndoAction string

// The actions.
const (
	// UndoCreate brings back a record that the run deleted.
	UndoCreate UndoAction = "create"
	// UndoOverwrite brings back what the run replaced.
	UndoOverwrite UndoAction = "overwrite"
	// UndoDelete deletes a record that the run created.
	UndoDelete UndoAction = "delete"
	// UndoConflict leaves a record that a later run or somebody else has
	// changed since.
	UndoConflict UndoAction = "conflict"
	// undoNothing: the record is what it was before the run.
	undoNothing UndoAction = ""
)

// UndoStep is what is done with one record.
type UndoStep struct {
	Partition string     `json:"partition"`
	Key       string     `json:"key"`
	Action    UndoAction `json:"action"`
}

// UndoReport is the account of an undo.
type UndoReport struct {
	Connector string `json:"connector"`
	// Undone is the run that was undone, Run the one that did it; empty for a
	// dry run.
	Undone string `json:"undone"`
	Run    string `json:"run,omitempty"`
	// Created, Overwritten and Deleted count records by what was, or in a dry
	// run would be, done with them.
	Created     uint64 `json:"created"`
	Overwritten uint64 `json:"overwritten"`
	Deleted     uint64 `json:"deleted"`
	// Already counts records that are what they were before the run, Conflicts
	// those that are left because they have been changed since.
	Already   uint64 `json:"already"`
	Conflicts uint64 `json:"conflicts"`
	// Partitions that are no longer in step with the source.
	Partitions []string `json:"partitions,omitempty"`
	// Serial is the destination's number of the last change pushed.
	Serial  uint64  `json:"serial,omitempty"`
	Seconds float64 `json:"seconds"`
}

func (r *UndoReport) add(action UndoAction, n int) {
	for a, count := range map[UndoAction]*uint64{
		UndoCreate: &r.Created, UndoOverwrite: &r.Overwritten, UndoDelete: &r.Deleted, UndoConflict: &r.Conflicts, undoNothing: &r.Already,
	} {
		if a == action {
			*count += uint64(n)
		}
	}
}

// KeptRuns lists the runs that can be undone, the oldest first.
func (e *Engine) KeptRuns(ctx context.Context) ([]gapless.KeptRun, error) {
	session, undoer, err := e.openUndoer(ctx, 0)
	if err != nil {
		return nil, err
	}
	list, err := undoer.KeptRuns(ctx)
	return list, errors.Join(err, session.Close())
}

// openUndoer opens a session of a destination that can undo runs.
func (e *Engine) openUndoer(ctx context.Context, epoch uint64) (gapless.Session, gapless.Undoer, error) {
	if len(e.Sides) > 0 {
		return nil, nil, gapless.Misconfigured(gapless.Errorf(gapless.CodeCannotKeep, e.Connector, "a run between two sides cannot be undone").
			WithHint("gapless conflicts shows what lost against the other side"))
	}
	session, err := e.Destination.Open(ctx, e.Connector, epoch)
	if err != nil {
		return nil, nil, fmt.Errorf("open destination: %w", err)
	}
	undoer, ok := session.(gapless.Undoer)
	if !ok {
		return nil, nil, errors.Join(gapless.Misconfigured(gapless.Errorf(gapless.CodeCannotKeep, e.Connector, "the destination keeps nothing of what runs replace and delete")), session.Close())
	}
	return session, undoer, nil
}

// keepFormer has the session keep what the run replaces and deletes, if that is
// configured. A session for reading only is just asked whether it could.
func (e *Engine) keepFormer(ctx context.Context, session gapless.Session, run string) error {
	if e.Settings.Keep <= 0 {
		return nil
	}
	keeper, ok := session.(gapless.Keeper)
	if !ok {
		return gapless.Misconfigured(gapless.Errorf(gapless.CodeCannotKeep, e.Connector, "deletes.keep is set, but the destination cannot keep what a run replaces and deletes"))
	}
	if run == "" {
		return nil
	}
	if err := keeper.Keep(ctx, run, e.Settings.Keep); err != nil {
		return fmt.Errorf("keep what is replaced and deleted: %w", err)
	}
	return nil
}

// Undo puts back what a run replaced and deleted and deletes what it created,
// as far as the destination has kept it and nobody has changed it since. It
// is a run itself, under the connector's lease, that can be undone as well. The
// partitions concerned are not in step with the source afterwards: the next run
// reads and compares all of them. Undoing again goes on where it was broken
// off.
//
// Records that have been changed since are left and counted as conflicts; the
// error then has [gapless.CodeChangedSince].
func (e *Engine) Undo(ctx context.Context, run string, o UndoOptions) (UndoReport, error) {
	started := e.Now()
	u := &undo{options: o, report: UndoReport{Connector: e.Connector, Undone: run}}
	var err error
	if o.DryRun {
		err = u.dry(ctx, e)
	} else {
		err = u.locked(ctx, e, started)
	}
	u.report.Seconds = e.Now().Sub(started).Seconds()
	return u.report, err
}

// undo is one execution.
type undo struct {
	*run
	options UndoOptions
	report  UndoReport
	undoer  gapless.Undoer
	known   []state.Partition
	batch   gapless.Batch
	actions []UndoAction // of the rows of batch
	expect  []gapless.Expectation
	unsaved int // rows pushed since the last sync
}

func (u *undo) dry(ctx context.Context, e *Engine) error {
	u.run = &run{Engine: e}
	session, undoer, err := e.openUndoer(ctx, 0)
	if err != nil {
		return err
	}
	u.undoer = undoer
	err = errors.Join(u.survey(ctx, u.options.Each), session.Close())
	if err != nil {
		return err
	}
	return u.conflicts()
}

// conflicts returns an error if records are left because of some.
func (u *undo) conflicts() error {
	switch n := u.report.Conflicts; n {
	case 0:
		return nil
	case 1:
		return gapless.Errorf(gapless.CodeChangedSince, u.Connector, "1 record has been changed since run %s and stays as it is", u.report.Undone)
	default:
		return gapless.Errorf(gapless.CodeChangedSince, u.Connector, "%d records have been changed since run %s and stay as they are", n, u.report.Undone)
	}
}

// locked undoes under the connector's lease and records how that ended.
func (u *undo) locked(ctx context.Context, e *Engine, started time.Time) error {
	ctx, l, err := e.acquire(ctx)
	if err != nil {
		return err
	}
	u.run = &run{Engine: e, id: newRunID(started), lease: l, started: started, reading: ctx}
	u.report.Run = u.id
	if err = u.perform(ctx); err == nil {
		err = u.conflicts()
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	summary := Summary{Connector: e.Connector, Run: u.id, Started: started.UTC(), Serial: u.report.Serial}
	u.summarize(&summary)
	summary, err = e.close(summary, started, err)
	return errors.Join(err, u.record(ctx, summary), l.release(ctx))
}

func (u *undo) perform(ctx context.Context) error {
	if err := u.commit(ctx, state.Commit{Run: u.row(state.StatusRunning)}); err != nil {
		return fmt.Errorf("record the start of the undo: %w", err)
	}
	var err error
	if u.session, u.undoer, err = u.openUndoer(ctx, u.lease.Epoch); err != nil {
		return err
	}
	return errors.Join(u.putBack(ctx), u.session.Close())
}

// putBack counts what there is to do, makes durable that the destination will
// no longer be in step, and only then touches it.
func (u *undo) putBack(ctx context.Context) error {
	if err := u.succeed(ctx); err != nil {
		return err
	}
	if _, err := u.sync(ctx, ""); err != nil {
		return fmt.Errorf("sync what is left of an earlier run: %w", err)
	}
	if err := u.survey(ctx, nil); err != nil {
		return err
	}
	concerned := u.report.Partitions
	u.report = UndoReport{Connector: u.Connector, Undone: u.report.Undone, Run: u.id, Partitions: concerned}
	if len(concerned) > 0 {
		if err := u.renounce(ctx); err != nil {
			return err
		}
		if err := u.keepFormer(ctx, u.session, u.id); err != nil {
			return err
		}
	}
	err := u.each(ctx, func(p gapless.Partition, k *gapless.KeptRecord, action UndoAction) error {
		if action == undoNothing || action == UndoConflict {
			u.did(UndoStep{p.ID, k.Before.Key, action})
			return nil
		}
		return u.add(ctx, p, k, action)
	})
	if err == nil {
		err = u.flush(ctx)
	}
	if err != nil {
		return err
	}
	if _, err := u.sync(ctx, ""); err != nil {
		return fmt.Errorf("sync destination: %w", err)
	}
	u.report.Serial = u.serial
	return nil
}

// survey counts what there is to do, and by partition.
func (u *undo) survey(ctx context.Context, each func(UndoStep)) error {
	var err error
	if u.known, err = u.Store.Partitions(ctx, u.Connector); err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	return u.each(ctx, func(p gapless.Partition, k *gapless.KeptRecord, action UndoAction) error {
		u.report.add(action, 1)
		if action != undoNothing && action != UndoConflict && !slices.Contains(u.report.Partitions, p.ID) {
			u.report.Partitions = append(u.report.Partitions, p.ID)
		}
		if each != nil && action != undoNothing {
			each(UndoStep{p.ID, k.Before.Key, action})
		}
		return nil
	})
}

// each calls fn for the records that the run has changed, with the partition
// that they are of and what is to be done with them.
func (u *undo) each(ctx context.Context, fn func(gapless.Partition, *gapless.KeptRecord, UndoAction) error) error {
	err := u.undoer.Kept(ctx, u.report.Undone, func(k gapless.KeptRecord) error {
		if u.options.DeletedOnly && (k.Left || !k.Existed) {
			return nil
		}
		return fn(u.partitionOf(k.Collection, k.Before.Key), &k, u.action(&k))
	})
	if errors.Is(err, gapless.ErrNotFound) {
		return gapless.Errorf(gapless.CodeNotFound, u.Connector, "nothing is kept of run %s: %w", u.report.Undone, err).
			WithHint("gapless undo --list shows the runs that can be undone; deletes.keep says for how long")
	}
	if err != nil {
		return fmt.Errorf("read what run %s replaced: %w", u.report.Undone, err)
	}
	return nil
}

func (u *undo) action(k *gapless.KeptRecord) UndoAction {
	switch {
	case k.Standing == gapless.StandsAsBefore:
		return undoNothing
	case k.Standing == gapless.StandsChanged && !u.options.Force:
		return UndoConflict
	case !k.Existed:
		return UndoDelete
	case k.Current.Exists:
		return UndoOverwrite
	}
	return UndoCreate
}

// partitionOf returns the partition of a key that state remembers: the
// narrowest one. A collection that state knows nothing of is a partition of its
// own.
func (u *undo) partitionOf(collection, key string) gapless.Partition {
	best := -1
	for i, p := range u.known {
		if p.Collection == collection && strings.HasPrefix(key, p.Prefix) && (best < 0 || len(p.Prefix) > len(u.known[best].Prefix)) {
			best = i
		}
	}
	if best < 0 {
		return gapless.Partition{ID: collection, Collection: collection}
	}
	p := u.known[best]
	return gapless.Partition{ID: p.ID, Collection: p.Collection, Prefix: p.Prefix}
}

// renounce remembers, before anything is touched, that the partitions are not
// in step any more: in their outcome, which makes the next run full, in the
// chain of certificates, and by forgetting the fingerprints.
func (u *undo) renounce(ctx context.Context) error {
	status, err := u.session.Status(ctx)
	if err != nil {
		return fmt.Errorf("read back destination: %w", err)
	}
	var c state.Commit
	for _, p := range u.known {
		if !slices.Contains(u.report.Partitions, p.ID) {
			continue
		}
		p.Outcome, p.Error, p.ErrorCode = plan.OutcomeUnrecoverable, fmt.Sprintf("run %s was undone", u.report.Undone), gapless.CodeUndone.String()
		p.Progress, p.LogSize, p.LastRun, p.Updated = nil, 0, u.id, u.Now().UTC()
		certificate, err := u.certificate(ctx, &p, status)
		if err != nil {
			return err
		}
		c.Partitions, c.Certificates = append(c.Partitions, p), append(c.Certificates, certificate)
		u.results = append(u.results, PartitionSummary{
			Partition: p.ID, Rule: "operator", Mode: certificate.Mode, Reason: p.Error, Outcome: string(plan.OutcomeComplete), Certificate: certificate.ID,
		})
	}
	if err := u.commit(ctx, c); err != nil {
		return fmt.Errorf("remember what is undone: %w", err)
	}
	for _, id := range u.report.Partitions { // also such as state does not know
		if err := u.baselines.of(id).forget(); err != nil {
			return err
		}
	}
	return nil
}

// certificate returns the account that says that a partition is not in step.
func (u *undo) certificate(ctx context.Context, p *state.Partition, status gapless.Status) (proof.Certificate, error) {
	previous, err := u.Store.LastCertificate(ctx, u.Connector, p.ID)
	last := &previous
	if errors.Is(err, gapless.ErrNotFound) {
		last = nil
	} else if err != nil {
		return proof.Certificate{}, fmt.Errorf("read the last certificate: %w", err)
	}
	c := proof.Certificate{
		Connector: u.Connector, Partition: p.ID, Run: u.id, Mode: proof.ModeUndo, Undone: u.report.Undone,
		Failure: gapless.KindUnrecoverable.String(), DestinationID: status.ID, Incarnation: status.Incarnation,
		Epoch: u.lease.Epoch, Fingerprint: p.Fingerprint, Checkpoint: p.Checkpoint, Started: u.started, Finished: u.Now(),
	}
	c.Seal(last)
	return c, nil
}

// add adds what puts a record back to the batch, and pushes it when it is full.
func (u *undo) add(ctx context.Context, p gapless.Partition, k *gapless.KeptRecord, action UndoAction) error {
	if u.batch.Partition.ID != p.ID {
		if err := u.flush(ctx); err != nil {
			return err
		}
		u.batch.Partition = p
	}
	change := gapless.Change{Record: k.Before}
	if action == UndoDelete {
		change = gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: k.Before.Key}}
	}
	u.batch.Append(change)
	expect := k.Current
	expect.Version, expect.Data = slices.Clone(expect.Version), slices.Clone(expect.Data)
	u.actions, u.expect = append(u.actions, action), append(u.expect, expect)
	if u.batch.Len() < u.Settings.BatchRows && len(u.batch.Buf) < u.Settings.BatchBytes {
		return nil
	}
	return u.flush(ctx)
}

// flush pushes the batch. A record that somebody changes at this moment is a
// conflict like any other.
func (u *undo) flush(ctx context.Context) error {
	if u.batch.Len() == 0 {
		return nil
	}
	receipt, err := u.pushBack(ctx)
	if err != nil {
		return fmt.Errorf("push to destination: %w", err)
	}
	changed := map[string]bool{}
	for _, r := range receipt.Rejected {
		if !errors.Is(r.Err, gapless.ErrChanged) {
			return gapless.Recoverable(fmt.Errorf("the destination refuses to put back %d records, the first of %q: %w", len(receipt.Rejected), r.Key, r.Err))
		}
		changed[r.Key] = true
	}
	var done Counts
	for i, action := range u.actions {
		key := string(u.batch.Key(i))
		if changed[key] {
			action = UndoConflict
		}
		u.did(UndoStep{u.batch.Partition.ID, key, action})
		done.add(action.counts())
	}
	u.unsaved += u.batch.Len()
	p := u.batch.Partition
	u.batch.Reset()
	u.batch.Partition, u.actions, u.expect = p, u.actions[:0], u.expect[:0]
	u.advance(done, 0)
	if u.unsaved < u.Settings.SyncRecords {
		return nil
	}
	u.unsaved = 0
	if _, err := u.sync(ctx, ""); err != nil {
		return fmt.Errorf("sync destination: %w", err)
	}
	return nil
}

// counts is what an action adds to the counts of a run.
func (a UndoAction) counts() Counts {
	switch a {
	case UndoCreate:
		return Counts{Created: 1, Pushed: 1, Synced: 1}
	case UndoOverwrite:
		return Counts{Updated: 1, Pushed: 1, Synced: 1}
	case UndoDelete:
		return Counts{Deleted: 1, Pushed: 1, Synced: 1}
	case UndoConflict, undoNothing:
	}
	return Counts{}
}

// pushBack pushes the batch on the condition that every record is still what it
// was when that was decided, if the destination can compare.
func (u *undo) pushBack(ctx context.Context) (gapless.Receipt, error) {
	conditional, ok := u.session.(gapless.ConditionalPusher)
	if !ok {
		return u.push(ctx, &u.batch)
	}
	var receipt gapless.Receipt
	err := u.retry(ctx, &u.quiet[state.Other], u.batch.Partition.ID, "push", func() error {
		u.mu.Lock()
		defer u.mu.Unlock()
		var err error
		u.step("before push")
		receipt, err = conditional.PushIf(ctx, &u.batch, u.expect)
		u.pushed = true
		u.step("after push")
		u.serial = max(u.serial, receipt.Serial)
		return err
	})
	return receipt, err
}

// did accounts for one record.
func (u *undo) did(s UndoStep) {
	u.report.add(s.Action, 1)
	if u.options.Each != nil && s.Action != undoNothing {
		u.options.Each(s)
	}
}
