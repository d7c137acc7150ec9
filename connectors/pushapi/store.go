package pushapi

import (
	"context"
	"errors"
	"io"

	"github.com/gapless-sync/gapless"
)

// Store is where a [Server] keeps documents. A document becomes one record:
// its URI is the key, its stamp the version, its metas and directives are the
// fields of the data (see [RecordData]), and its parts are the record's.
//
// Every error that is not named here is the store's own: a recoverable one is
// answered as "unavailable", any other as "unknown error".
type Store interface {
	// Incarnation is a decimal number of at least 63 bits that changes
	// whenever pushed data may have been lost.
	Incarnation() string

	// Corpus returns the documents of one connector. Asking for one that holds
	// nothing is no error and leaves no trace.
	Corpus(ctx context.Context, connector string) (Corpus, error)

	// Searchable reports whether queries find everything up to serial. It
	// returns [gapless.ErrNotFound] for a serial that the store does not hold.
	Searchable(ctx context.Context, serial uint64) (bool, error)
}

// Corpus is the documents and checkpoints of one connector. Its methods are
// safe for concurrent use.
type Corpus interface {
	// Begin begins a write, which ends with Commit or Discard. It returns
	// [gapless.ErrFenced] if somebody else owns the connector.
	Begin(ctx context.Context) (StoreWrite, error)

	// Snapshot returns what is synced at this moment or, with pushed,
	// everything that has been accepted.
	Snapshot(ctx context.Context, pushed bool) (StoreSnapshot, error)

	// Changes calls fn for every synced change after a serial, in order, and
	// returns the serial at which to go on. It returns [gapless.Expired] for a
	// serial that it cannot go on from. An error from fn ends it and is
	// returned.
	Changes(ctx context.Context, after uint64, fn func(StoreChange) error) (through uint64, err error)

	// Standing says how far a document has come.
	Standing(ctx context.Context, uri string) (Standing, error)
}

// StoreWrite is one write. It is used by one goroutine.
type StoreWrite interface {
	// Part keeps content, which it reads to the end, and returns a part that
	// fits once into the batch of this write. After an error the write can
	// only be discarded; an error of content itself is returned as it is.
	Part(ctx context.Context, content io.Reader) (gapless.Part, error)

	// Commit applies all of c or nothing. Patches of documents that are not
	// there are refused with [gapless.ErrNotFound]. The store keeps nothing of
	// c after it returns.
	Commit(ctx context.Context, c StoreCommit) (gapless.Receipt, error)

	// Discard ends a write that is not to be committed; after Commit it does
	// nothing.
	Discard() error
}

// StoreCommit is what a write does, in this order.
type StoreCommit struct {
	// If has to hold, on what has been accepted, or the answer is
	// [ErrCheckpointMismatch]. It may be nil.
	If *Expectation
	// Batch of changes, whose partition the store sets; it may be nil.
	Batch *gapless.Batch
	// Each accepts and refuses rows one by one, as the receipt tells. Without
	// it one refused row refuses all: [ErrRowRefused], and the receipt tells
	// which.
	Each bool
	// ClearCheckpoints forgets all checkpoints.
	ClearCheckpoints bool
	// Checkpoint is set behind all that; it may be nil.
	Checkpoint *CheckpointInfo
	// Sync makes all of it, and everything before it, durable.
	Sync bool
}

// Expectation is what a checkpoint has to be.
type Expectation struct {
	Name string
	// Set says whether there has to be a checkpoint at all, and Value what it
	// has to be then.
	Set   bool
	Value string
}

// ErrRowRefused means that a row of a commit cannot be applied, and with it
// none.
var ErrRowRefused = errors.New("a document was refused")

// StoreSnapshot is a corpus at one moment.
type StoreSnapshot interface {
	// Serial is that of the last change that the snapshot has.
	Serial() uint64

	// Entries calls fn for every document whose URI begins with prefix and
	// stands behind after, in ascending order of URI bytes. fn may return the
	// URI at which to go on: everything before it is left out unread. The
	// slices are valid until fn returns. An error from fn ends the enumeration
	// and is returned.
	Entries(ctx context.Context, prefix, after string, fn func(uri, stamp []byte) (to []byte, err error)) error

	// Stamp returns the stamp of a document, or [gapless.ErrNotFound].
	Stamp(ctx context.Context, uri string) (string, error)

	// Checkpoints returns the checkpoints by name.
	Checkpoints(ctx context.Context) (map[string]string, error)

	// Close releases the snapshot.
	Close() error
}

// StoreChange is one entry of the change feed.
type StoreChange struct {
	Serial uint64
	Op     gapless.Op
	// URI is valid until the callback returns.
	URI []byte
}

// Stage is how far a document has come.
type Stage uint8

// The stages, each of which includes those before it.
const (
	// StageAbsent: there is no such document.
	StageAbsent Stage = iota
	StagePushed
	StageSynced
	StageSearchable
)

// String returns "absent", "pushed", "synced" or "searchable".
func (s Stage) String() string {
	return [...]string{"absent", "pushed", "synced", "searchable"}[s]
}

// Standing says how far a document has come, and what is in its way.
type Standing struct {
	Stage Stage
	// Reason says why the document has not come further; empty if it is
	// searchable.
	Reason string
	// Parts that queries do not find anything of, with the reason.
	Parts []UnreadPart
}

// UnreadPart is a part without text for queries.
type UnreadPart struct{ Name, Reason string }
