package framework

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state"
)

// adopting is a destination whose model state id is believed when nothing is
// remembered of the source here: the disk of a pod may be new with every run,
// and a connector on another framework may have imported until now. Such a run
// is incremental, from where the service says that the source stands.
type adopting struct {
	gapless.Destination
	store state.Store
	log   *slog.Logger
}

// Open implements [gapless.Destination].
func (d adopting) Open(ctx context.Context, connector string, epoch uint64) (gapless.Session, error) {
	session, err := d.Destination.Open(ctx, connector, epoch)
	if err != nil || epoch == 0 {
		return session, err
	}
	s := &adoptingSession{Session: session, adopting: d, connector: connector, epoch: epoch}
	if runner, ok := session.(gapless.FullRunner); ok {
		return struct {
			*adoptingSession
			gapless.FullRunner
		}{s, runner}, nil
	}
	return s, nil
}

type adoptingSession struct {
	gapless.Session
	adopting  adopting
	connector string
	epoch     uint64
}

// Status implements [gapless.Session].
func (s *adoptingSession) Status(ctx context.Context) (gapless.Status, error) {
	status, err := s.Session.Status(ctx)
	if err != nil {
		return status, err
	}
	held := status.Checkpoints[car.Model]
	known, err := s.adopting.store.Partitions(ctx, s.connector)
	if err != nil {
		return status, fmt.Errorf("read state: %w", err)
	}
	if held.Position == "" || slices.ContainsFunc(known, func(p state.Partition) bool { return p.ID == car.Model }) {
		return status, nil
	}
	s.adopting.log.Info("Nothing is remembered here of this source; going on from the model state of the service.", "model_state_id", string(held.Position))
	if err := s.adopt(ctx, status, held); err != nil {
		return status, fmt.Errorf("adopt the model state of the service: %w", err)
	}
	return status, nil
}

// adopt remembers a checkpoint as if a run here had ended with it.
func (s *adoptingSession) adopt(ctx context.Context, status gapless.Status, held gapless.Checkpoint) error {
	c, err := s.adopting.store.Connector(ctx, s.connector)
	if err != nil {
		return err
	}
	if c.Lease.Epoch != s.epoch {
		return gapless.ErrFenced
	}
	return s.adopting.store.Commit(ctx, c.Lease, state.Commit{Partitions: []state.Partition{{
		Connector: s.connector, ID: car.Model, Collection: car.Model, Checkpoint: held, Outcome: plan.OutcomeComplete,
		Fingerprint: fingerprint(), DestinationID: status.ID, Incarnation: status.Incarnation, Seq: held.Seq, Updated: time.Now().UTC(),
	}}})
}

// fingerprint is what the engine makes of the description of an importer,
// without a mapping.
func fingerprint() string {
	d := description()
	sum := sha256.Sum256([]byte(string(d.Model) + "\x00" + d.Schema + "\x00"))
	return hex.EncodeToString(sum[:8])
}
