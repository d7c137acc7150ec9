package state

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
)

// Store is everything the engine remembers. All methods may be called by
// several goroutines at once, and several processes may have the same store
// open. A function takes the narrowest of the interfaces below that it uses.
type Store interface {
	Leaser
	Committer
	ProgressReader
	PlanKeeper
	CertificateReader
	DeadLetterReader
	Ledger
	ConflictKeeper
	io.Closer
}

// Leaser decides who may run a connector.
type Leaser interface {
	// Acquire takes the lease of a connector until now plus ttl, and creates
	// the connector if the store has not seen it before. It fails with a
	// [*HeldError] while another lease has not expired by now, even one of the
	// same holder.
	//
	// Every lease has a higher epoch than any before it, durably. The epoch
	// also is never below now in Unix milliseconds, so that a destination
	// which remembers epochs does not refuse a runner whose state was lost.
	// Taking over an expired lease thereby fences its holder. Runs that an
	// earlier holder left in status [StatusRunning] become [StatusCrashed].
	Acquire(ctx context.Context, connector, holder string, ttl time.Duration, now time.Time) (Lease, error)

	// Renew extends a lease to now plus ttl, even one that has expired if
	// nobody took it over. It returns [gapless.ErrFenced] if the lease was
	// released or its epoch is no longer current.
	Renew(ctx context.Context, l Lease, ttl time.Duration, now time.Time) (Lease, error)

	// Release gives a lease back; the connector is free at once. It returns
	// [gapless.ErrFenced] if the lease was released or its epoch is no longer
	// current. Who knows a holder to be dead may release the lease that
	// [ProgressReader.Connector] shows in its place.
	Release(ctx context.Context, l Lease) error
}

// Committer writes what a run did.
type Committer interface {
	// Commit stores all of c in one durable transaction, or nothing. It
	// returns [gapless.ErrFenced] if the lease was released or its epoch is no
	// longer current; a lease that has merely expired still commits.
	//
	// Committing the same again is harmless, so an ambiguous commit is
	// retried. A certificate is never replaced: another one with the same
	// partition and sequence number is an error.
	Commit(ctx context.Context, l Lease, c Commit) error
}

// ProgressReader reads connectors, partitions and runs.
type ProgressReader interface {
	// Connector returns one connector, or [gapless.ErrNotFound].
	Connector(ctx context.Context, name string) (Connector, error)
	// Connectors returns all connectors ordered by name.
	Connectors(ctx context.Context) ([]Connector, error)
	// Partitions returns all partitions of a connector in order of the bytes
	// of their ids; none if the connector is not known.
	Partitions(ctx context.Context, connector string) ([]Partition, error)
	// Runs returns the newest runs first, at most limit (all if limit is 0 or
	// less), of one connector or of all if connector is empty.
	Runs(ctx context.Context, connector string, limit int) ([]Run, error)
	// Run returns one run, or [gapless.ErrNotFound].
	Run(ctx context.Context, id string) (Run, error)
}

// KeptPlans is how many plans are kept per connector.
const KeptPlans = 100

// PlanKeeper keeps decisions so that they can be explained and approved.
type PlanKeeper interface {
	// SavePlan stores a plan as JSON, replacing one with the same id, and forgets all
	// but the last [KeptPlans] saved of that connector. It needs no lease: a
	// plan changes nothing.
	SavePlan(ctx context.Context, p plan.Plan) error
	// Plan returns one plan, or [gapless.ErrNotFound].
	Plan(ctx context.Context, id string) (plan.Plan, error)
}

// CertificateReader reads the account of what was synced.
type CertificateReader interface {
	// Certificates yields all certificates of a connector in order of
	// partition id and sequence number. An error ends the sequence. The caller
	// may use the store while it iterates; certificates committed meanwhile
	// may or may not be seen.
	Certificates(ctx context.Context, connector string) iter.Seq2[proof.Certificate, error]
	// LastCertificate returns the certificate of a partition with the highest
	// sequence number, or [gapless.ErrNotFound].
	LastCertificate(ctx context.Context, connector, partition string) (proof.Certificate, error)
}

// DeadLetterReader reads records that could not be synced.
type DeadLetterReader interface {
	// DeadLetters returns the newest letters first, without their bodies.
	DeadLetters(ctx context.Context, f DeadLetterFilter) ([]DeadLetter, error)
	// DeadLetter returns one letter with its body, or [gapless.ErrNotFound].
	DeadLetter(ctx context.Context, id string) (DeadLetter, error)
}

// Lease is the right to run one connector. It is a value: what it allows is
// decided by the store at every use.
type Lease struct {
	Connector string
	// Holder names who runs it, for people: a host and a process, say.
	Holder string
	// Epoch is the fencing number that destinations compare.
	Epoch uint64
	// Until is when another runner may take over.
	Until time.Time
}

// Commit is everything that one durable step of a run stores. Empty fields
// leave what is remembered as it is. All of it belongs to the connector of the
// lease.
type Commit struct {
	// Run is created or replaced by id.
	Run *Run
	// Destination as it was seen by the run.
	Destination *Destination
	// Partitions are created or replaced by id.
	Partitions []Partition
	// Certificates are appended.
	Certificates []proof.Certificate
	// Resolved lists the ids of dead letters that are solved. They are
	// resolved before DeadLetters are stored; ids that are not open are passed
	// over.
	Resolved []string
	// DeadLetters are opened, or update the open letter about the same record:
	// same partition and stage, and same key or, without a key, same origin
	// and line.
	DeadLetters []DeadLetter
	// Entries are created or replaced by collection and key, or deleted if
	// they have no value. The news of these keys are no longer staged.
	Entries []Entry
	// Conflicts are added. One whose id is there already gets Run, At, Held,
	// Rule and Reason, keeps the rest, and is open again if it was settled; once
	// it was decided it keeps all.
	Conflicts []Conflict
	// Settled lists conflicts, as they were read, that are no more: what was
	// decided has been carried out, or both sides agree. One that was decided
	// otherwise since it was read stays open; ids that are not open are passed
	// over.
	Settled []Conflict
	// At is when letters and conflicts count as resolved; zero means the clock
	// of this machine.
	At time.Time
}

// HeldError says who holds a lease. [Leaser.Acquire] wraps it in a
// [gapless.Error] with [gapless.CodeLeaseHeld], which is recoverable.
type HeldError struct {
	Connector, Holder string
	Until             time.Time
}

// Error names the holder and the time.
func (e *HeldError) Error() string {
	return fmt.Sprintf("being run by %s until %s", e.Holder, e.Until.UTC().Format(time.RFC3339))
}

// NewHeldError returns the error of [Leaser.Acquire] for a lease that another
// runner holds.
func NewHeldError(held Lease) error {
	cause := &HeldError{Connector: held.Connector, Holder: held.Holder, Until: held.Until}
	return gapless.Errorf(gapless.CodeLeaseHeld, held.Connector, "acquire the lease: %w", cause)
}
