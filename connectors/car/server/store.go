package server

import (
	"context"

	"github.com/gapless-sync/gapless"
)

// Store is where the service keeps what it is sent. Its methods may be called
// from any goroutine.
type Store interface {
	// ID identifies the store itself, for as long as it exists: at least eight
	// characters without commas.
	ID() string
	// Sources returns the names of all sources that were opened to be written.
	Sources(ctx context.Context) ([]string, error)
	// Open returns the corpus of a source, or that of the service's own facts
	// for "". Without create one that nobody has opened to be written is
	// [gapless.ErrNotFound]; one that belongs to somebody else is
	// [gapless.ErrFenced].
	Open(ctx context.Context, source string, create bool) (Corpus, error)
	// Synced reports whether everything up to a serial is durable. A serial
	// that a crash took back, or that never was, is [gapless.ErrNotFound].
	Synced(ctx context.Context, serial uint64) (bool, error)
}

// Corpus is what a store holds of one source.
type Corpus interface {
	// Collections returns the names of those that have ever had a record.
	Collections(ctx context.Context) ([]string, error)
	// Get returns a record as it was committed last, synced or not, or
	// [gapless.ErrNotFound].
	Get(ctx context.Context, collection, key string) (gapless.Record, error)
	// Snapshot returns what is synced at this moment or, with pushed,
	// everything that was committed.
	Snapshot(ctx context.Context, pushed bool) (Snapshot, error)
	// Commit applies batches, each of its partition's collection, all or
	// nothing, without waiting for durability. It returns the serial of the
	// last change. Commits become durable in their order, those of all
	// corpora.
	Commit(ctx context.Context, batches []*gapless.Batch) (serial uint64, err error)
	// Sync makes everything committed before durable, in all corpora.
	Sync(ctx context.Context) error
}

// Snapshot is a corpus at one moment; later commits do not disturb it.
type Snapshot interface {
	// Get returns a record, or [gapless.ErrNotFound].
	Get(ctx context.Context, collection, key string) (gapless.Record, error)
	// Records calls fn for the records whose keys begin with prefix and are
	// greater than after, in ascending order of key bytes. Data is valid until
	// fn returns. An error from fn ends the call and is returned.
	Records(ctx context.Context, collection, prefix, after string, fn func(gapless.Record) error) error
	Close() error
}
