package gapless

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
)

// ChangeModel says how much of what happened a source can tell.
type ChangeModel string

// The three change models.
const (
	// ModelFull sources can only be enumerated; the engine finds the
	// differences by comparing fingerprints.
	ModelFull ChangeModel = "full"
	// ModelModified sources tell creates and updates since a position, not
	// deletes; those come from key enumerations.
	ModelModified ChangeModel = "modified"
	// ModelLog sources tell every change since a position.
	ModelLog ChangeModel = "log"
)

// Description is what a source says about itself.
type Description struct {
	Model ChangeModel
	// Collections in the order in which they should be read. A source that is
	// no [Partitioner] gets one partition per collection, with the
	// collection's name as its id.
	Collections []string
	// Schema is a fingerprint of everything in the source's configuration or
	// structure that changes existing records when it changes, such as the
	// key field; a different one means that the next run is full.
	Schema string
}

// Source reads records of an outside system. The engine calls methods of one
// source concurrently for different partitions, never for the same.
//
// An error that is none of the five failures counts as unrecoverable.
type Source interface {
	// Describe is cheap, is called before anything else, and fails if the
	// outside system cannot be reached at all.
	Describe(ctx context.Context) (Description, error)

	// ReadAll enumerates partition p into out. Returning nil is the proof that
	// the enumeration was complete: whatever was not emitted does not exist.
	// If something could not be listed, ReadAll emits what it can and returns
	// an error; what it did emit is kept and nothing is deleted. A record that
	// exists but cannot be read is rejected by [Output.Reject].
	//
	// after is empty, or a mark that this source gave to [Output.Mark] during
	// an earlier, interrupted ReadAll of p, to continue behind it. If the mark
	// is no longer honoured, ReadAll returns [Expired] before emitting.
	ReadAll(ctx context.Context, p Partition, after Mark, out *Output) error
}

// Partitioner is a source whose partitions are not just its collections.
type Partitioner interface {
	// Partitions lists all partitions there are now; ids are unique.
	Partitions(ctx context.Context) ([]Partition, error)
}

// Positioner is a source that can say where it is. Every source of model
// [ModelModified] or [ModelLog] is one.
type Positioner interface {
	// Position returns the current position of p. Everything that happened
	// before the call is covered by it. For a source of model [ModelFull] an
	// equal position means that nothing at all has changed.
	Position(ctx context.Context, p Partition) (Position, error)
}

// ChangeReader is a source of model [ModelModified] or [ModelLog].
type ChangeReader interface {
	// ReadChanges emits what changed in p after from and up to to, at least
	// once and in order per key. It returns [Expired] before emitting if from
	// is too old or unknown. It may emit changes beyond to, and may pass
	// positions to [Output.Mark] on the way.
	ReadChanges(ctx context.Context, p Partition, from, to Position, out *Output) error
}

// PositionChecker is a source that knows, without reading, whether it can
// still read changes after a position. Without it the question is answered by
// ReadChanges itself.
type PositionChecker interface {
	// CheckPosition returns nil, or [Expired] if p cannot be read from there.
	CheckPosition(ctx context.Context, p Partition, from Position) error
}

// KeyReader is a source of model [ModelModified] that can enumerate just keys
// and versions, so that deletes and late changes are found.
type KeyReader interface {
	// ReadKeys emits every record of p by [Output.Key]. Returning nil is the
	// proof that the enumeration was complete.
	ReadKeys(ctx context.Context, p Partition, out *Output) error
}

// Fetcher is a source that can read single records.
type Fetcher interface {
	// Fetch emits the records of keys as upserts, and a delete for each key
	// that does not exist.
	Fetch(ctx context.Context, p Partition, keys []string, out *Output) error
}

// Resumer is a source whose ReadAll marks can be checked before planning.
type Resumer interface {
	// CanResume reports whether ReadAll would honour the mark, given the
	// position taken before that enumeration began.
	CanResume(ctx context.Context, p Partition, after Mark, started Position) (bool, error)
}

// Contenter is a source whose records also say what differs from copy to copy:
// when and by whom this one was written, say. Two-way connectors compare, and
// hand on, nothing but the content; a destination gives its copy the rest.
type Contenter interface {
	// Content returns the part of the data of a record of a collection that is
	// the same in all its copies, a JSON object. An error rejects the record.
	Content(collection string, data []byte) ([]byte, error)
}

// Estimator is a source that can guess how much there is to read, for
// progress.
type Estimator interface {
	// Estimate returns the number of records and of bytes of p that a full
	// enumeration would read; -1 for what is not known. It is cheap.
	Estimate(ctx context.Context, p Partition) (records, bytes int64, err error)
}

// Closer is a source or destination that holds resources.
type Closer interface {
	// Close releases them; it is called once, after the last other call.
	Close() error
}

// Emit takes a full batch and returns an empty one to fill next. It blocks
// while the destination is slower than the source.
type Emit func(ctx context.Context, full *Batch) (empty *Batch, err error)

// Default size of a batch: whichever is reached first.
const (
	DefaultBatchRows  = 4096
	DefaultBatchBytes = 1 << 20
)

// Output receives what a source reads. Its methods block while the
// destination is slower, and return an error only when the run is over: the
// source then returns that error at once. An Output is used by one goroutine.
type Output struct {
	ctx       context.Context //nolint:containedctx // an Output lives for one read call and blocks on its behalf
	emit      Emit
	batch     *Batch
	partition Partition
	rows      int
	bytes     int
}

// NewOutput returns an output for partition p that hands batches to emit. rows
// and bytes bound a batch; 0 means the default. Engines and tests build
// outputs; sources only use them.
func NewOutput(ctx context.Context, p Partition, rows, bytes int, emit Emit) *Output {
	if rows <= 0 {
		rows = DefaultBatchRows
	}
	if bytes <= 0 {
		bytes = DefaultBatchBytes
	}
	return &Output{ctx: ctx, emit: emit, partition: p, rows: rows, bytes: bytes, batch: &Batch{Partition: p}}
}

// Upsert emits the current state of a record.
func (o *Output) Upsert(r Record) error { return o.Change(Change{Op: OpUpsert, Record: r}) }

// Delete emits that the record of key no longer exists.
func (o *Output) Delete(key string) error {
	return o.Change(Change{Op: OpDelete, Record: Record{Key: key}})
}

// Key emits that a record exists, in [KeyReader.ReadKeys]. version is empty if
// keys are all that is known.
func (o *Output) Key(key, version string) error {
	o.batch.Append(Change{Record: Record{Key: key, Version: version}})
	return o.FlushIfFull()
}

// Change emits a change. Data that is not one JSON object is rejected; sources
// that fill [Output.Batch] themselves see to that on their own.
func (o *Output) Change(c Change) error {
	if c.Op != OpDelete && !isObject(c.Data) {
		return o.Reject(Rejection{Key: c.Key, Origin: o.batch.Origin, Line: c.Line, Raw: c.Data, Err: errNotObject})
	}
	o.batch.Append(c)
	return o.FlushIfFull()
}

var errNotObject = errors.New("data is not one JSON object")

func isObject(data []byte) bool {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(data)
}

// Reject reports a record that exists but cannot be delivered. The run goes
// on; the record becomes a dead letter.
func (o *Output) Reject(r Rejection) error {
	r.Raw = bytes.Clone(r.Raw[:min(len(r.Raw), MaxRejectBytes)])
	o.batch.Rejects = append(o.batch.Rejects, r)
	if len(o.batch.Rejects) >= o.rows {
		return o.Flush()
	}
	return nil
}

// Mark says that everything up to here has been emitted. In ReadAll m is a
// token to resume behind; in ReadChanges it is a position that is as good a
// checkpoint as the final one. Marking costs a batch boundary: once per page,
// not per record.
func (o *Output) Mark(m Mark) error {
	o.batch.Mark = m
	return o.Flush()
}

// Batch returns the batch being filled, for sources that append to its buffer
// directly; they call FlushIfFull after each row or group of rows. It is never
// nil and changes with every flush.
func (o *Output) Batch() *Batch { return o.batch }

// FlushIfFull emits the batch if it has reached a bound.
func (o *Output) FlushIfFull() error {
	if len(o.batch.Rows) < o.rows && len(o.batch.Buf) < o.bytes {
		return nil
	}
	return o.Flush()
}

// Flush emits the batch even if it is small. The engine flushes after a read
// method has returned nil.
func (o *Output) Flush() error {
	if len(o.batch.Rows) == 0 && len(o.batch.Rejects) == 0 && o.batch.Mark == "" {
		return context.Cause(o.ctx)
	}
	origin := o.batch.Origin
	empty, err := o.emit(o.ctx, o.batch)
	if err != nil {
		return err
	}
	empty.Reset()
	empty.Partition, empty.Origin = o.partition, origin
	o.batch = empty
	return nil
}
