package state

import (
	"context"
	"time"
)

// ConflictKeeper keeps the conflict inbox: edits that were not taken, and
// what people decided about them.
type ConflictKeeper interface {
	// Conflicts returns the newest conflicts first.
	Conflicts(ctx context.Context, f ConflictFilter) ([]Conflict, error)
	// Conflict returns one conflict, or [gapless.ErrNotFound].
	Conflict(ctx context.Context, id string) (Conflict, error)
	// Decide stores what is to become of a conflict. It needs no lease,
	// because a decision changes no side: the next run carries it out. Until
	// then it can be replaced. [TakeNothing] resolves the conflict at once.
	//
	// It returns [gapless.ErrNotFound] if there is no such conflict or if it
	// is resolved.
	Decide(ctx context.Context, id string, d Decision) error
}

// Conflict is an edit that was not taken, or one that waits for a person.
type Conflict struct {
	// ID is given by whoever commits the conflict; the same loss has the same
	// id whenever it is found.
	ID        string
	Connector string
	// Run that found it last.
	Run        string
	Collection string
	Key        string
	// Field that was edited; empty if Deletion.
	Field string
	// Deletion says that the deletion of the record was not taken.
	Deletion bool
	// Loser is the side whose edit it was.
	Loser Side
	// Held says that neither side was changed: the edit waits for a decision.
	Held bool
	// Rule is the id of the rule of package resolve that decided.
	Rule string
	// Reason is a sentence for people.
	Reason string
	// This and Other are the values of both sides as JSON; nil where a side
	// has none.
	This, Other []byte
	// Edited is when the edit was made; zero if that is not known.
	Edited time.Time
	// At is when it was last found.
	At time.Time
	// Decision is zero while nobody has decided.
	Decision Decision
	// ResolvedAt is zero and ResolvedBy empty while the conflict is open;
	// ResolvedBy is the run that carried the decision out, or the holder of
	// its lease if there was none, or whoever dismissed the conflict.
	ResolvedAt time.Time
	ResolvedBy string
}

// What a [Decision] takes.
const (
	TakeThis  = "this"
	TakeOther = "other"
	// TakeValue takes a value that was typed in, neither side's.
	TakeValue = "value"
	// TakeNothing leaves both sides as they are and closes the conflict.
	TakeNothing = "dismiss"
)

// Decision is what a person decided about a conflict.
type Decision struct {
	// Take is one of TakeThis, TakeOther, TakeValue, TakeNothing.
	Take string
	// Value is JSON and belongs to TakeValue alone; nil removes the field.
	Value []byte
	// By names who decided, At says when. Both are required.
	By string
	At time.Time
}

// ConflictFilter selects conflicts; empty fields select all.
type ConflictFilter struct {
	Connector, Collection, Key, Run string
	// Open selects conflicts that are not resolved, Decided those of them that
	// wait for a run to carry out what was decided.
	Open, Decided bool
	// Held selects conflicts that wait for a decision with both sides as they
	// were.
	Held bool
	// Limit bounds how many are returned; 0 or less means no bound.
	Limit int
}
