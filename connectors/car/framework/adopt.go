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
	s := &adoptingSession{Session: session, adopting: d, lease: state.Lease{Connector: connector, Epoch: epoch}}
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
	adopting adopting
	lease    state.Lease
}

// Status implements [gapless.Session].
func (s *adoptingSession) Status(ctx context.Context) (gapless.Status, error) {
	status, err := s.Session.Status(ctx)
	if err != nil {
		return status, err
	}
	held := status.Checkpoints[car.Model]
	known, err := s.adopting.store.Partitions(ctx, s.lease.Connector)
	if err != nil {
		return status, fmt.Errorf("read state: %w", err)
	}
	if held.Position == "" || slices.ContainsFunc(known, func(p state.Partition) bool { return p.ID == car.Model }) {
		return status, nil
	}
	s.adopting.log.Info("Nothing is remembered here of this source; going on from the model state of the service.", "model_state_id", string(held.Position))
	row := state.Partition{
		Connector: s.lease.Connector, ID: car.Model, Collection: car.Model, Checkpoint: held, Outcome: plan.OutcomeComplete,
		Fingerprint: fingerprint(), DestinationID: status.ID, Incarnation: status.Incarnation, Seq: held.Seq, Updated: time.Now().UTC(),
	}
	if err := s.adopting.store.Commit(ctx, s.lease, state.Commit{Partitions: []state.Partition{row}}); err != nil {
		return status, fmt.Errorf("adopt the model state of the service: %w", err)
	}
	return status, nil
}

// fingerprint is what the engine makes of the description of an importer,
// without a mapping.
func fingerprint() string {
	d := description()
	sum := sha256.Sum256([]byte(string(d.Model) + "\x00" + d.Schema + "\x00"))
	return hex.EncodeToString(sum[:8])
}
