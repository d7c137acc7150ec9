package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/server"
	"github.com/gapless-sync/gapless/hub"
)

const (
	// sahanaConnector of the hub holds what the Sahana service keeps.
	sahanaConnector = "sahana"
	// sahanaEpoch is that of its only session; see papiEpoch.
	sahanaEpoch = 1
)

// SahanaStore returns a hub as the store of a Sahana server: each table is a
// collection of one connector.
func SahanaStore(ctx context.Context, h *hub.Hub) (server.Store, error) {
	session, err := h.Session(ctx, sahanaConnector, sahanaEpoch)
	if err != nil {
		return nil, fmt.Errorf("open the hub for the Sahana service: %w", err)
	}
	return sahanaStore{h, session}, nil
}

type sahanaStore struct {
	hub     *hub.Hub
	session *hub.Session
}

func (s sahanaStore) ID() string { return s.hub.ID() }

func (s sahanaStore) Snapshot(ctx context.Context, pushed bool) (server.Snapshot, error) {
	n, err := s.session.Snapshot(ctx, pushed)
	if err != nil {
		return nil, err
	}
	return carSnapshot{n}, nil
}

func (s sahanaStore) Commit(ctx context.Context, batches []*gapless.Batch) error {
	receipt, err := s.session.Commit(ctx, hub.Commit{Whole: true, More: batches})
	if errors.Is(err, hub.ErrRefused) {
		err = fmt.Errorf("%w: %w", err, receipt.Rejected[0].Err)
	}
	return err
}

func (s sahanaStore) Sync(ctx context.Context) error {
	_, err := s.session.Sync(ctx, nil)
	return err
}
