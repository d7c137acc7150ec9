package server

import (
	"context"

	"github.com/gapless-sync/gapless"
)

// Store is where the server keeps what it is sent. Its methods may be called
// from any goroutine. Nobody else writes to it.
type Store interface {
	// ID identifies the store itself, for as long as it exists: 32 hexadecimal
	// digits.
	ID() string
	// Snapshot returns what is synced at this moment or, with pushed,
	// everything that was committed.
	Snapshot(ctx context.Context, pushed bool) (Snapshot, error)
	// Commit applies batches, each of its partition's collection, all or
	// nothing, without waiting for durability. Commits become durable in their
	// order.
	Commit(ctx context.Context, batches []*gapless.Batch) error
	// Sync makes everything committed before durable.
	Sync(ctx context.Context) error
}

// Snapshot is a store at one moment; later commits do not disturb it.
type Snapshot interface {
	// Get returns a record, or [gapless.ErrNotFound].
	Get(ctx context.Context, collection, key string) (gapless.Record, error)
	// Records calls fn for the records whose keys begin with prefix and are
	// greater than after, in ascending order of key bytes. Data is valid until
	// fn returns. An error from fn ends the call and is returned.
	Records(ctx context.Context, collection, prefix, after string, fn func(gapless.Record) error) error
	Close() error
}
