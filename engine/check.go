package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/state"
)

// CheckReport says what both ends look like from here.
type CheckReport struct {
	Connector string `json:"connector"`
	// Source is what the source says about itself; Partitions what it lists.
	Source     gapless.Description `json:"source"`
	Partitions []PartitionCheck    `json:"partitions"`
	// Destination is read back from there.
	Destination gapless.Status `json:"destination"`
	// Back is the way from the second side of a two-way connector to the
	// first; the rest then is the way from the first to the second.
	Back *CheckReport `json:"back,omitempty"`
}

// PartitionCheck is one partition as both ends see it.
type PartitionCheck struct {
	Partition gapless.Partition `json:"partition"`
	// Position of the source now; empty if it issues none.
	Position gapless.Position `json:"position,omitempty"`
	// Records and Bytes that a full read would take; -1 if not known.
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"`
	// Checkpoint at the destination.
	Checkpoint gapless.Checkpoint `json:"checkpoint"`
}

// Check reaches for both ends and reports what it sees. Nothing is written.
func (e *Engine) Check(ctx context.Context) (CheckReport, error) {
	if len(e.Sides) > 0 {
		return e.checkBetween(ctx)
	}
	report := CheckReport{Connector: e.Connector}
	session, err := e.Destination.Open(ctx, e.Connector, 0)
	if err != nil {
		return report, fmt.Errorf("open destination: %w", err)
	}
	if err = e.keepFormer(ctx, session, ""); err == nil {
		err = e.check(ctx, session, &report)
	}
	return report, errors.Join(err, session.Close())
}

func (e *Engine) check(ctx context.Context, session gapless.Session, report *CheckReport) error {
	s, err := e.survey(ctx, session, false)
	if err != nil {
		return err
	}
	return s.report(ctx, report)
}

// report fills in what a survey has found.
func (s *survey) report(ctx context.Context, report *CheckReport) error {
	report.Source, report.Destination = s.description, s.status
	estimator, estimates := s.source.(gapless.Estimator)
	var err error
	for _, p := range s.partitions {
		c := PartitionCheck{
			Partition: p.partition, Position: p.facts.SourcePosition, Records: -1, Bytes: -1, Checkpoint: p.facts.Destination,
		}
		if estimates {
			if c.Records, c.Bytes, err = estimator.Estimate(ctx, p.partition); err != nil {
				return fmt.Errorf("estimate %s: %w", p.partition.ID, err)
			}
		}
		report.Partitions = append(report.Partitions, c)
	}
	return nil
}

// Redrive has the records of dead letters read once more, by the run that
// follows. What a letter kept is for people: pushing it could bring back a
// state that the source has long left.
func (e *Engine) Redrive(ctx context.Context, ids []string, o RunOptions) (Summary, error) {
	if err := e.redrive(ctx, ids); err != nil {
		return e.close(Summary{Connector: e.Connector, Started: e.Now().UTC()}, e.Now(), err)
	}
	return e.Run(ctx, o)
}

func (e *Engine) redrive(ctx context.Context, ids []string) error {
	ctx, l, err := e.acquire(ctx)
	if err != nil {
		return err
	}
	err = e.markForRepair(ctx, l, ids)
	return errors.Join(err, l.release(ctx))
}

func (e *Engine) markForRepair(ctx context.Context, l *lease, ids []string) error {
	partitions, err := e.Store.Partitions(ctx, e.Connector)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	for _, id := range ids {
		letter, err := e.Store.DeadLetter(ctx, id)
		i := slices.IndexFunc(partitions, func(p state.Partition) bool { return p.ID == letter.Partition })
		if err != nil || letter.Connector != e.Connector || i < 0 {
			return gapless.Errorf(gapless.CodeNotFound, e.Connector, "dead letter %s: %w", id, errors.Join(err, gapless.ErrNotFound))
		}
		// A record without a key is read with all others, or not at all.
		if letter.Key != "" && !slices.Contains(partitions[i].Repair, letter.Key) {
			partitions[i].Repair = append(partitions[i].Repair, letter.Key)
		}
	}
	partitions = slices.DeleteFunc(partitions, func(p state.Partition) bool { return len(p.Repair) == 0 })
	return e.Store.Commit(ctx, l.Lease, state.Commit{At: e.Now(), Partitions: partitions})
}
