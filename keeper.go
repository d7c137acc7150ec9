package gapless

import (
	"context"
	"time"
)

// Keeper is a session that can keep what changes replace and delete, so that a
// run can be undone.
type Keeper interface {
	// Keep has the session keep, from the next Push on, what every record was
	// before the first change that run made of it: the record with its parts,
	// or that there was none. It is kept at least until window has passed since
	// the run's last change, and forgotten some time after that. It becomes
	// durable together with the change, never later, and is seen by nobody but
	// an [Undoer]: a deleted record looks deleted. A change that leaves a
	// record as it is is none.
	//
	// Keep may be called again for the same run, by a later session too.
	Keep(ctx context.Context, run string, window time.Duration) error
}

// Undoer is a session that can tell what the runs of its connector have
// changed, as far as it is kept.
type Undoer interface {
	// KeptRuns lists the runs whose changes are kept, the oldest first, as far
	// as they are synced.
	KeptRuns(ctx context.Context) ([]KeptRun, error)

	// Kept calls fn for every record that a run has changed, in the order of
	// collections and keys. What it is handed is valid until fn returns, and the
	// parts of [KeptRecord.Before] can be opened until Kept does; pushes of the
	// same session meanwhile change nothing of that. A run that nothing is kept
	// of is [ErrNotFound]. An error from fn ends the call and is returned.
	Kept(ctx context.Context, run string, fn func(KeptRecord) error) error
}

// KeptRun is a run that can be undone.
type KeptRun struct {
	Run string `json:"run"`
	// Until is when what is kept may be forgotten.
	Until time.Time `json:"until"`
	// Created, Replaced and Deleted count the records that the run changed by
	// what it made of them in the end.
	Created  uint64 `json:"created"`
	Replaced uint64 `json:"replaced"`
	Deleted  uint64 `json:"deleted"`
}

// KeptRecord is a record as it was before a run changed it first, and as it
// stands now.
type KeptRecord struct {
	Collection string
	// Existed says whether there was a record before the run, Left whether the
	// run left one.
	Existed, Left bool
	// Before is the record as it was; only its key if there was none.
	Before Record
	// Standing says whether anybody has changed the record since.
	Standing Standing
	// Current is what the synced record is now; see [ConditionalPusher].
	Current Expectation
}

// Standing is how a record relates to what a run made of it.
type Standing uint8

// The three standings.
const (
	// StandsAsLeft: the record is what the run left.
	StandsAsLeft Standing = iota
	// StandsAsBefore: the record is again what it was before the run.
	StandsAsBefore
	// StandsChanged: the record is something else: a later run or somebody
	// else has changed it.
	StandsChanged
)
