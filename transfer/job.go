package transfer

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/gapless-sync/gapless"
)

// Job says what to bring where, and how.
type Job struct {
	// Dir is the target folder. It is made if it is not there.
	Dir string
	// Files are the wanted files. An error ends the job before anything is
	// fetched.
	Files iter.Seq2[File, error]
	// Supplier brings them.
	Supplier Supplier
	// Group is how many files one call of the supplier is for. Defaults to 1.
	Group int
	// Streams is how many calls run at a time. Defaults to 4.
	Streams int
	// Attempts is how many calls in a row may pass for a group without any
	// progress. Defaults to 5.
	Attempts int
	// Idle is how long a supplier may be silent in the middle of a content.
	// Defaults to one minute.
	Idle time.Duration
	// Total bounds the whole job; 0 is no bound.
	Total time.Duration
	// Bandwidth bounds the bytes per second of all streams together; 0 is no
	// bound.
	Bandwidth gapless.ByteSize
	// AllowUnverified takes files that have no hash.
	AllowUnverified bool
	// VerifyOnly fetches and writes nothing: every file is read and compared.
	VerifyOnly bool
	// DryRun fetches and writes nothing: it tells what would be fetched.
	DryRun bool
	// Events receives what happens, one event at a time, from several
	// goroutines. May be nil.
	Events func(Event)

	sleep   func(ctx context.Context, d time.Duration) error
	through func(io.Writer) io.Writer
}

// EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	// EventPlanned comes first: Files and Bytes are what is wanted.
	EventPlanned EventKind = iota
	// EventReceived: Bytes more of the file came.
	EventReceived
	// EventRetry: the supplier is called again after Wait, because of Err.
	EventRetry
	// EventUnexpected: a file came that nobody wants; it was dropped.
	EventUnexpected
	// EventPresent: the file was here already and is right.
	EventPresent
	// EventFetched: the file came, is right and durable under its name.
	EventFetched
	// EventMissing: a dry run would fetch Bytes of the file.
	EventMissing
	// EventFailed: the file is missing or wrong because of Err.
	EventFailed
)

// String returns the kind in lower case.
func (k EventKind) String() string {
	return [...]string{"planned", "received", "retry", "unexpected", "present", "fetched", "missing", "failed"}[k]
}

// Event is something that happened to a file, or to all.
type Event struct {
	Kind EventKind
	// Path of the file, "" for all.
	Path string
	// Files is set when the files are planned.
	Files int64
	// Bytes as the kind says; the file's size for verdicts. -1 if not known.
	Bytes int64
	// Verified says of a present or fetched file that its content has the hash
	// that was promised; false where none was.
	Verified bool
	// Wait before a retry.
	Wait time.Duration
	// Err of a retry or failure.
	Err error
}

// Report is the account of a job.
type Report struct {
	// Files wanted; Present, Fetched, Missing and Failed of them add up to it
	// when the job came to its end.
	Files int64
	// Bytes wanted, as far as sizes are known.
	Bytes int64
	// Present were here already.
	Present int64
	// Fetched came, are right and durable.
	Fetched int64
	// Unverified of the present and fetched had no hash to compare with.
	Unverified int64
	// Missing is what a dry run would fetch.
	Missing int64
	// Failed are missing or wrong.
	Failed int64
	// Unexpected files came and were dropped.
	Unexpected int64
	// Received is how many bytes of contents came.
	Received int64
	// Failures are the first of those that failed.
	Failures []Failure
	// Duration of the job.
	Duration time.Duration
}

// maxFailures bounds the failures that a report names.
const maxFailures = 100

// Failure is a file that is missing or wrong.
type Failure struct {
	Path string
	Err  error
}
