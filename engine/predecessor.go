package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/durable"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state"
)

func (b baselines) dir() string { return filepath.Join(b.root, strconv.FormatUint(b.epoch, 10)) }

// latest returns the fingerprints of the last run that could push.
func (e *Engine) latest() (baselines, error) {
	b := baselines{root: e.Dir, step: func(name string) { e.step(name) }}
	entries, err := os.ReadDir(b.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return b, fmt.Errorf("list fingerprints: %w", err)
	}
	for _, entry := range entries {
		epoch, err := strconv.ParseUint(entry.Name(), 10, 64)
		if err != nil || !entry.IsDir() {
			continue
		}
		b.epochs = append(b.epochs, epoch)
		b.epoch = max(epoch, b.epoch)
	}
	return b, nil
}

// know reports whether the fingerprints know of everybody who could push before
// a session was opened: whoever restores an older backup restores an older epoch
// with it, and the destination has seen a higher one. A destination that cannot
// tell is believed.
func (b baselines) know(session gapless.Session) bool {
	s, ok := session.(gapless.Successor)
	return !ok || s.Predecessor() <= b.epoch
}

// handOver makes the fingerprints those of another epoch, or begins with none.
func (b *baselines) handOver(epoch uint64, forget bool) error {
	before := *b
	b.epoch = epoch
	b.step("before fingerprints are handed over")
	var err error
	if before.epoch == 0 || forget {
		err = os.Mkdir(b.dir(), 0o700)
	} else {
		err = os.Rename(before.dir(), b.dir())
	}
	if err != nil {
		return fmt.Errorf("hand fingerprints over: %w", err)
	}
	b.step("fingerprints are handed over")
	if err := durable.SyncFolder(b.root); err != nil {
		return err
	}
	for _, epoch := range before.epochs { // left by runs that were killed, or to be forgotten
		if err := os.RemoveAll(baselines{root: b.root, epoch: epoch}.dir()); err != nil {
			return fmt.Errorf("remove old fingerprints: %w", err)
		}
	}
	return nil
}

// succeed comes first in a session that may push: from now on what is remembered
// has to know of it. What does not know of those before it is forgotten. A run
// that dies in between leaves the same question to the next one.
func (r *run) succeed(ctx context.Context) error {
	var err error
	if r.baselines, err = r.latest(); err != nil {
		return err
	}
	known := r.baselines.know(r.session)
	if !known {
		if err := r.disbelieveAll(ctx); err != nil {
			return err
		}
	}
	return r.baselines.handOver(r.lease.Epoch, !known)
}

// disbelieveAll forgets that partitions were in step.
func (r *run) disbelieveAll(ctx context.Context) error {
	partitions, err := r.Store.Partitions(ctx, r.Connector)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if len(partitions) == 0 {
		return nil
	}
	for i := range partitions {
		disbelieve(&partitions[i])
	}
	r.notes = append(r.notes, "the destination was opened by a run that is not remembered here: "+
		"state was restored from an older backup, or somebody else writes in the name of this connector")
	return r.commit(ctx, state.Commit{Partitions: partitions})
}

// disbelieve has a partition say no more than that it is not known to be in step.
func disbelieve(p *state.Partition) {
	if p.Outcome == plan.OutcomeComplete {
		p.Outcome = plan.OutcomeNone
	}
}
