package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/server"
	"github.com/gapless-sync/gapless/hub"
)

const (
	// carConnector of the hub holds the CAR service's own facts; those of its
	// sources are named after it.
	carConnector = "car"
	carPrefix    = carConnector + ":"
	// carEpoch is that of every session of the CAR service; see papiEpoch.
	carEpoch = 1
)

// CARStore returns a hub as the store of a CAR server: each source is a
// connector.
func CARStore(h *hub.Hub) server.Store { return carStore{h} }

type carStore struct{ hub *hub.Hub }

func (s carStore) ID() string { return s.hub.ID() }

func (s carStore) Sources(context.Context) ([]string, error) {
	names, err := s.hub.Connectors()
	var list []string
	for _, name := range names {
		if source, ok := strings.CutPrefix(name, carPrefix); ok {
			list = append(list, source)
		}
	}
	return list, err
}

func (s carStore) Open(ctx context.Context, source string, create bool) (server.Corpus, error) {
	name := carConnector
	if source != "" {
		name = carPrefix + source
	}
	if !create {
		names, err := s.hub.Connectors()
		if err != nil {
			return nil, err
		}
		if _, found := slices.BinarySearch(names, name); !found {
			return nil, fmt.Errorf("source %q: %w", source, gapless.ErrNotFound)
		}
	}
	session, err := s.hub.Session(ctx, name, carEpoch)
	if err != nil {
		return nil, err
	}
	return carCorpus{session}, nil
}

func (s carStore) Synced(_ context.Context, serial uint64) (bool, error) { return s.hub.Synced(serial) }

// carCorpus is one connector of a hub.
type carCorpus struct{ session *hub.Session }

func carPartition(collection string) gapless.Partition {
	return gapless.Partition{ID: collection, Collection: collection}
}

func (c carCorpus) Collections(context.Context) ([]string, error) { return c.session.Collections() }

func (c carCorpus) Get(ctx context.Context, collection, key string) (gapless.Record, error) {
	return c.session.GetPushed(ctx, carPartition(collection), key)
}

func (c carCorpus) Snapshot(ctx context.Context, pushed bool) (server.Snapshot, error) {
	n, err := c.session.Snapshot(ctx, pushed)
	if err != nil {
		return nil, err
	}
	return carSnapshot{n}, nil
}

func (c carCorpus) Commit(ctx context.Context, batches []*gapless.Batch) (uint64, error) {
	receipt, err := c.session.Commit(ctx, hub.Commit{Whole: true, More: batches})
	if errors.Is(err, hub.ErrRefused) {
		err = fmt.Errorf("%w: %w", err, receipt.Rejected[0].Err)
	}
	return receipt.Serial, err
}

func (c carCorpus) Sync(ctx context.Context) error {
	_, err := c.session.Sync(ctx, nil)
	return err
}

// carSnapshot is one connector of a hub at one moment; the Sahana service reads
// its own the same way.
type carSnapshot struct{ *hub.Snapshot }

func (n carSnapshot) Get(ctx context.Context, collection, key string) (gapless.Record, error) {
	return n.Snapshot.Get(ctx, carPartition(collection), key)
}

func (n carSnapshot) Records(ctx context.Context, collection, prefix, after string, fn func(gapless.Record) error) error {
	p := carPartition(collection)
	p.Prefix = prefix
	return n.Snapshot.Records(ctx, p, after, fn)
}
