package state

import (
	"encoding/json"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
)

// Connector is what is remembered of one configured connector.
type Connector struct {
	Name string
	Destination
	// Epoch of the last lease ever acquired.
	Epoch uint64
	// Lease that was acquired last and not released; it may have expired. Its
	// holder is empty if there is none.
	Lease Lease
}

// Destination is what a run saw of the destination, from [gapless.Status].
type Destination struct {
	// DestinationID identifies the destination's store.
	DestinationID string
	// Incarnation changes whenever unsynced data may have been lost.
	Incarnation string
}

// Partition is what is remembered of one partition.
type Partition struct {
	// Connector and ID identify it.
	Connector, ID      string
	Collection, Prefix string
	// Checkpoint is the last one known to be synced: a complete position, a
	// mark within an unfinished full run, or both.
	Checkpoint gapless.Checkpoint
	// Outcome of the last run that covered the partition.
	Outcome plan.Outcome
	// Error and ErrorCode say why that outcome was not complete; the code is
	// the printed form, such as GAP-2003.
	Error, ErrorCode string
	// Fingerprint of filter, mapping, key and schema under which the records
	// at the destination were written.
	Fingerprint string
	// DestinationID and Incarnation of the destination that holds the
	// checkpoint.
	DestinationID, Incarnation string
	// Started is the position that was taken before the unfinished full run
	// began.
	Started gapless.Position
	// Records known to be at the destination.
	Records uint64
	// LogSize is how many bytes of the delta log of an unfinished full run
	// count.
	LogSize int64
	// Repair lists the keys that the next run has to repair.
	Repair []string
	// Reconciled is when the last complete enumeration of keys ended.
	Reconciled time.Time
	// Updated is when any of this was last stored.
	Updated time.Time
	// Rule of the plan that the last run followed.
	Rule string
	// LastRun is the id of the last run that covered the partition.
	LastRun string
	// Seq counts the checkpoints that the connector has written.
	Seq uint64
	// Unfinished says that a full run began and its end has not been stored.
	Unfinished bool
	// Progress is what the engine wants back to continue an unfinished run,
	// such as its account so far. The store does not look into it.
	Progress []byte
}

// Statuses of a run besides the outcomes of package plan.
const (
	// StatusRunning runs are under way, or their runner has died and nobody
	// has acquired the lease since.
	StatusRunning = "running"
	// StatusCrashed runs ended without saying so.
	StatusCrashed = "crashed"
)

// Run is one execution of a connector.
type Run struct {
	// ID is from [NewRunID].
	ID        string
	Connector string
	// Holder and Epoch of the lease it ran under.
	Holder string
	Epoch  uint64
	// Started and Finished; Finished is zero while it runs. For a crashed run
	// it is when the crash was found.
	Started, Finished time.Time
	// Status is StatusRunning, StatusCrashed or a plan.Outcome.
	Status string
	// Exit code of the run.
	Exit int
	// Error and Hint say what went wrong and what to do next.
	Error, Hint string
	PlanID      string
	// Summary is a JSON document for people and pages; nil if there is none.
	Summary json.RawMessage
}

// MaxLetterBytes is how much of a record a dead letter keeps.
const MaxLetterBytes = 1 << 20

// Stages at which a record can fail.
const (
	StageRead = "read"
	StageMap  = "map"
	StagePush = "push"
	StageSync = "sync"
)

// DeadLetter is a record that could not be synced, with its reason.
type DeadLetter struct {
	// ID is given by the store when the letter is first committed; what the
	// caller sets is ignored. It stays the same while the letter is open.
	ID        string
	Connector string
	Partition string
	// Run that failed on it last.
	Run string
	// Key of the record, or Origin and Line where it stood.
	Key, Origin string
	Line        int
	Op          gapless.Op
	Version     string
	// Body is the record's JSON or the offending bytes. The store keeps the
	// first MaxLetterBytes and clears HasBody if there were more.
	Body []byte
	// HasBody means that Body is the whole record, so that it can be pushed
	// again; HasParts that the record has parts, which a letter never keeps.
	HasBody, HasParts bool
	// Stage is one of StageRead, StageMap, StagePush, StageSync.
	Stage string
	// Reason is for people.
	Reason string
	// At is when it last failed.
	At time.Time
	// ResolvedAt is zero and ResolvedBy empty while the letter is open;
	// ResolvedBy is the run that solved it, or the holder if there was none.
	ResolvedAt time.Time
	ResolvedBy string
}

// DeadLetterFilter selects dead letters; empty fields select all.
type DeadLetterFilter struct {
	Connector, Partition, Run string
	// Open selects letters that are not resolved.
	Open bool
	// Limit bounds how many are returned; 0 or less means no bound.
	Limit int
}
