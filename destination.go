package gapless

import "context"

// Destination is an outside system that records are pushed to.
type Destination interface {
	// Open starts a session for one connector. A destination that has seen a
	// higher epoch for this connector refuses with [ErrFenced]; otherwise it
	// remembers this epoch durably, so that older sessions are refused from
	// now on. Epoch 0 opens a session for reading only: it fences nobody, and
	// its Push and Sync return [ErrFenced].
	Open(ctx context.Context, connector string, epoch uint64) (Session, error)
}

// Session is one connector's way into a destination. The engine calls it from
// one goroutine at a time. Once a newer epoch has opened a session, every
// method but Close of an older one returns [ErrFenced]. If the destination
// loses unsynced data while the session is open, Push and Sync return
// [ErrIncarnation] from then on.
type Session interface {
	// Status reads back what the destination holds of this connector.
	Status(ctx context.Context) (Status, error)

	// Push hands over a batch, in order, without waiting for durability. The
	// destination keeps nothing of the batch after it returns. Rows that the
	// destination refuses are named in the receipt; the others are accepted.
	// An error means that none, some or all rows were accepted: the engine
	// pushes the same batch again.
	Push(ctx context.Context, b *Batch) (Receipt, error)

	// Sync makes everything pushed so far durable, together with or followed
	// by the checkpoints, never before it.
	Sync(ctx context.Context, checkpoints []Checkpoint) (Receipt, error)

	// Close ends the session. What was not synced may be lost.
	Close() error
}

// Status is what a destination holds of one connector.
type Status struct {
	// ID identifies the store itself; a replaced one has another. Empty if the
	// destination has no such notion.
	ID string
	// Incarnation changes whenever unsynced data may have been lost.
	Incarnation string
	// Holds reports whether the destination holds any record or checkpoint of
	// this connector.
	Holds bool
	// Checkpoints that are synced, by partition id.
	Checkpoints map[string]Checkpoint
}

// Receipt says what became of pushed rows.
type Receipt struct {
	// Serial is the destination's number of the last change accepted; 0 if it
	// numbers none.
	Serial uint64
	// Rejected rows, by key; all others were accepted. A destination that
	// finds out late may name rows of earlier batches, with their partitions.
	Rejected []Rejection
}

// Enumerator is a session that can list what the destination holds.
type Enumerator interface {
	// Enumerate calls fn once for every synced record of p, in any order. The
	// slices are valid until fn returns. An error from fn ends the enumeration
	// and is returned.
	Enumerate(ctx context.Context, p Partition, fn func(key, version []byte) error) error
}

// Getter is a session that can read a record back.
type Getter interface {
	// Get returns the synced record of key, or [ErrNotFound].
	Get(ctx context.Context, p Partition, key string) (Record, error)
}

// ConditionalPusher is a session that can tell whether a record is still what
// it was read as. It is how a record that somebody else writes as well is
// changed without losing their change.
type ConditionalPusher interface {
	// PushIf is Push for rows whose record is still as expected: expect[i] is
	// what the record of row i looked like, as the rows before it leave it. A
	// row that finds something else, synced or not, is not applied, and comes
	// back in the receipt's Rejected with an error that wraps [ErrChanged].
	// Nothing comes between the comparison and the push of a row. To find what
	// an upsert or a delete leaves is no change: pushing a batch again is
	// harmless.
	PushIf(ctx context.Context, b *Batch, expect []Expectation) (Receipt, error)
}

// Expectation is what a record was read as. Parts are not compared.
type Expectation struct {
	// Exists says whether there is a record at all; the rest is of no meaning
	// if there is none.
	Exists bool
	// Version and Data are as the destination gives them back, byte for byte.
	Version, Data []byte
}

// Successor is a session that knows who came before it. A runner that is handed
// an epoch that it never gave out is looking at the work of a run that it has no
// memory of: what it remembers is of an older backup, or somebody else writes to
// the destination in its name.
type Successor interface {
	// Predecessor returns the highest epoch that a session of the connector had
	// been opened with before this one was; 0 if there was none.
	Predecessor() uint64
}

// Searchable is a session that knows whether readers see what was pushed.
type Searchable interface {
	// Searchable reports whether everything up to serial is visible to
	// readers.
	Searchable(ctx context.Context, serial uint64) (bool, error)
}

// FullRunner is a session whose destination retires on its own what a full
// run did not contain.
type FullRunner interface {
	// BeginFull is called before the first Push of a run that reads every
	// partition of the connector in full, and with resumed when a run goes on
	// with such a run that was broken off. A session that cannot go on with it
	// returns [Expired], and the run begins anew.
	BeginFull(ctx context.Context, resumed bool) error
	// EndFull is called when every partition has been read to its end, nothing
	// was rejected and all is synced, before the checkpoint of the last one:
	// what was not pushed since BeginFull does not exist at the source.
	EndFull(ctx context.Context) error
}
