package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/durable"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state"
)

// epochFile holds, beside the fingerprints, the epoch of the last run that could
// push and that they know of. Whoever restores an older backup restores an older
// epoch with it, and the destination has seen a higher one.
func (b baselines) epochFile() string { return filepath.Join(b.dir, "epoch") }

// know reports whether the fingerprints know of everybody who could push before
// a session was opened. A destination that cannot tell is believed.
func (b baselines) know(session gapless.Session) (bool, error) {
	s, ok := session.(gapless.Successor)
	if !ok || s.Predecessor() == 0 {
		return true, nil
	}
	text, err := os.ReadFile(b.epochFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("read the epoch of the fingerprints: %w", err)
	}
	last, err := strconv.ParseUint(string(text), 10, 64)
	return err == nil && s.Predecessor() <= last, nil
}

// succeed comes first in a session that may push: from now on what is remembered
// has to know of it. What does not know of those before it is forgotten. A run
// that dies in between leaves the same question to the next one.
func (r *run) succeed(ctx context.Context) error {
	known, err := r.baselines.know(r.session)
	if err == nil && !known {
		err = r.forgetContent(ctx)
	}
	if err != nil {
		return err
	}
	return durable.WriteBytes(r.baselines.epochFile(), strconv.AppendUint(nil, r.lease.Epoch, 10))
}

// forgetContent forgets what the destination was known to hold, and that it was
// in step.
func (r *run) forgetContent(ctx context.Context) error {
	partitions, err := r.Store.Partitions(ctx, r.Connector)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if len(partitions) == 0 {
		return nil
	}
	if err := r.baselines.forget(); err != nil {
		return err
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

// forget removes the fingerprints of all partitions, durably.
func (b baselines) forget() error {
	b.step("before forgetting fingerprints")
	entries, err := os.ReadDir(b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list fingerprints: %w", err)
	}
	for _, e := range entries {
		for _, kind := range baselineFiles {
			if strings.HasSuffix(e.Name(), kind) {
				if err := removeIfThere(filepath.Join(b.dir, e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return durable.SyncFolder(b.dir)
}
