package state

import (
	"context"
	"fmt"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// Side is one of the two ends of a two-way connector.
type Side uint8

// The sides, in the order in which they are configured.
const (
	This Side = iota
	Other
)

// String returns the side's word: this or other.
func (s Side) String() string {
	switch s {
	case This:
		return "this"
	case Other:
		return "other"
	}
	return fmt.Sprintf("side(%d)", uint8(s))
}

// MarshalText returns the side's word and fails for a side that has none.
func (s Side) MarshalText() ([]byte, error) {
	if s > Other {
		return nil, fmt.Errorf("there is no %s", s)
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads the words of [Side.String].
func (s *Side) UnmarshalText(text []byte) error {
	for _, side := range []Side{This, Other} {
		if string(text) == side.String() {
			*s = side
			return nil
		}
	}
	return fmt.Errorf("side is %q, want this or other", text)
}

// Ledger is what a store knows of the sides of two-way connectors: what they
// were last seen to hold, and what a run has read of them since. Keys are
// ordered by their bytes; all methods that page start behind a key, with ""
// at the beginning, and take a limit of 1 or more.
type Ledger interface {
	Stager
	LedgerReader
}

// Stager writes what a run reads, until a [Commit] settles it.
type Stager interface {
	// Stage stores all of news in one transaction, or nothing. It returns
	// [gapless.ErrFenced] if the lease was released or its epoch is no longer
	// current. What is staged survives a crash of the process; of the machine
	// it need not.
	Stage(ctx context.Context, l Lease, news []News) error
	// Unstage forgets all news of the connector; fenced like Stage.
	Unstage(ctx context.Context, l Lease) error
}

// LedgerReader reads entries and news. What a connector that is not known
// holds is nothing.
type LedgerReader interface {
	// Entries returns the entries of those keys that have one.
	Entries(ctx context.Context, connector, collection string, keys []string) (map[string]Entry, error)
	// Unsettled returns, in order and after a key, at most limit keys of a
	// collection that have news which are not just seen, or an open entry;
	// with all, every key that has news or an entry.
	Unsettled(ctx context.Context, connector, collection, after string, all bool, limit int) ([]Unsettled, error)
	// Unseen returns, in order and after a key, at most limit keys that begin
	// with prefix, have an entry which is live on the side, and no news of it.
	Unseen(ctx context.Context, connector, collection string, side Side, prefix, after string, limit int) ([]string, error)
	// CountUnseen counts the keys that Unseen would return without a limit,
	// and all that begin with prefix and are live on the side.
	CountUnseen(ctx context.Context, connector, collection string, side Side, prefix string) (unseen, live uint64, err error)
	// Ledgered returns, in order, the collections that have entries.
	Ledgered(ctx context.Context, connector string) ([]string, error)
}

// News is what a run has read of one key at one side and not settled yet.
type News struct {
	Side            Side
	Collection, Key string
	// Seen says that the record is there and nothing more is known. Op,
	// Version, Modified and Data are empty then.
	Seen bool
	// Op is [gapless.OpUpsert] or [gapless.OpDelete].
	Op       gapless.Op
	Version  string
	Modified time.Time
	Data     []byte
	// Digest of the rows that stand behind it. Later news of the same side
	// and key replace all but the digest, which is added. News that are just
	// seen replace nothing, only their digest counts.
	Digest proof.Digest
}

// Entry is what the sides of a two-way connector were last seen to hold of one
// key.
type Entry struct {
	Collection, Key string
	// Live tells by [Side] which of them holds the record now.
	Live [2]bool
	// Open says that the key is not settled: every run looks at it again.
	Open bool
	// Value is the engine's, the store does not look into it. To commit an
	// entry without one deletes what is stored.
	Value []byte
}

// Unsettled is a key that a run has to look at.
type Unsettled struct {
	Key string
	// Entry is the value of the key's entry; nil if it has none.
	Entry []byte
	// News by [Side]; nil where there are none.
	News [2]*News
}
