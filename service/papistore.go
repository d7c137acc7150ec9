package service

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/hub"
)

// papiEpoch is that of every session of the Push API: its clients do not fence
// each other. A connector that the engine runs has a higher one by then.
const papiEpoch = 1

// papiDocuments is where the documents of a connector are.
var papiDocuments = gapless.Partition{ID: "document", Collection: "document"}

// PushAPIStore returns a hub as the store of a Push API server. Documents are
// records of the collection "document".
func PushAPIStore(h *hub.Hub) pushapi.Store { return hubStore{h} }

type hubStore struct{ hub *hub.Hub }

func (s hubStore) Incarnation() string { return s.hub.Incarnation() }

func (s hubStore) Corpus(ctx context.Context, connector string) (pushapi.Corpus, error) {
	reader, err := s.hub.Session(ctx, connector, 0)
	if err != nil {
		return nil, err
	}
	return &hubCorpus{hub: s.hub, name: connector, reader: reader}, nil
}

// Searchable knows no serial where nothing is ever searchable, so that nobody
// waits for it.
func (s hubStore) Searchable(ctx context.Context, serial uint64) (bool, error) {
	found, err := s.hub.Searchable(ctx, serial)
	if errors.Is(err, hub.ErrNoSearch) {
		err = fmt.Errorf("%w: %w", err, gapless.ErrNotFound)
	}
	return found, err
}

// hubCorpus is one connector of a hub.
type hubCorpus struct {
	hub    *hub.Hub
	name   string
	reader *hub.Session
}

func (c *hubCorpus) Begin(ctx context.Context) (pushapi.StoreWrite, error) {
	session, err := c.hub.Session(ctx, c.name, papiEpoch)
	if err != nil {
		return nil, err
	}
	return &hubWrite{Upload: session.Upload(), session: session}, nil
}

func (c *hubCorpus) Snapshot(ctx context.Context, pushed bool) (pushapi.StoreSnapshot, error) {
	snapshot, err := c.reader.Snapshot(ctx, pushed)
	if err != nil {
		return nil, err
	}
	return hubSnapshot{snapshot}, nil
}

func (c *hubCorpus) Changes(ctx context.Context, after uint64, fn func(pushapi.StoreChange) error) (uint64, error) {
	return c.hub.Changes(ctx, c.name, after, func(change hub.FeedChange) error {
		if change.Collection != papiDocuments.Collection {
			return nil
		}
		return fn(pushapi.StoreChange{Serial: change.Serial, Op: change.Op, URI: change.Key})
	})
}

func (c *hubCorpus) Standing(ctx context.Context, uri string) (pushapi.Standing, error) {
	st, err := c.reader.Standing(ctx, papiDocuments, uri)
	if err != nil {
		return pushapi.Standing{}, err
	}
	standing := pushapi.Standing{Stage: pushapi.Stage(st.Stage), Reason: st.Reason}
	for _, p := range st.Unread {
		standing.Parts = append(standing.Parts, pushapi.UnreadPart(p))
	}
	return standing, nil
}

// hubWrite is one write into a hub.
type hubWrite struct {
	*hub.Upload
	session *hub.Session
}

func (w *hubWrite) Commit(ctx context.Context, c pushapi.StoreCommit) (gapless.Receipt, error) {
	commit := hub.Commit{Batch: c.Batch, Whole: !c.Each, ClearCheckpoints: c.ClearCheckpoints}
	if c.Batch != nil {
		c.Batch.Partition = papiDocuments
	}
	if c.If != nil {
		commit.If = []hub.Condition{{Partition: c.If.Name, Set: c.If.Set, Position: gapless.Position(c.If.Value)}}
	}
	if c.Checkpoint != nil {
		commit.Checkpoints = []gapless.Checkpoint{{Partition: c.Checkpoint.Name, Position: gapless.Position(c.Checkpoint.Value), Epoch: papiEpoch}}
	}
	receipt, err := w.Upload.Commit(ctx, commit)
	switch {
	case errors.Is(err, hub.ErrConflict):
		return receipt, fmt.Errorf("%w: %w", pushapi.ErrCheckpointMismatch, err)
	case errors.Is(err, hub.ErrRefused):
		return receipt, fmt.Errorf("%w: %w", pushapi.ErrRowRefused, err)
	case err != nil || !c.Sync:
		return receipt, err
	}
	if _, err := w.session.Sync(ctx, nil); err != nil {
		return gapless.Receipt{}, err
	}
	return receipt, nil
}

func (w *hubWrite) Part(ctx context.Context, content io.Reader) (gapless.Part, error) {
	return w.Upload.Part(ctx, content)
}

// hubSnapshot is one connector of a hub at one moment.
type hubSnapshot struct{ *hub.Snapshot }

func (n hubSnapshot) Entries(ctx context.Context, prefix, after string, fn func(uri, stamp []byte) ([]byte, error)) error {
	p := papiDocuments
	p.Prefix = prefix
	return n.Snapshot.Entries(ctx, p, after, fn)
}

func (n hubSnapshot) Stamp(ctx context.Context, uri string) (string, error) {
	record, err := n.Snapshot.Get(ctx, papiDocuments, uri)
	return record.Version, err
}

func (n hubSnapshot) Checkpoints(ctx context.Context) (map[string]string, error) {
	list, err := n.Snapshot.Checkpoints(ctx)
	values := make(map[string]string, len(list))
	for name, c := range list {
		values[name] = string(c.Position)
	}
	return values, err
}
