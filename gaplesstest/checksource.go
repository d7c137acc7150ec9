package gaplesstest

import (
	"encoding/json"
	"testing"

	"github.com/gapless-sync/gapless"
)

// SourceCase is a source and how to make an outside system for it.
type SourceCase struct {
	// New makes an outside system without records. It is called for every check,
	// with the test of that check: hooks fail it by t.Fatal, and what is to be
	// cleaned up is left to t.Cleanup. Small pages and short waits between
	// attempts make the checks thorough and quick. Required.
	New func(t testing.TB, b *Breaker) SourceSystem
	// Except names checks that cannot hold for this source, each with the
	// reason; they are skipped with it.
	Except map[string]string
}

// SourceSystem is an outside system as a check edits it, and the source that
// reads it. Of its hooks Open and Put are required; a check that needs another
// one which is nil is skipped.
type SourceSystem struct {
	// Open returns the source as a new process has it: nothing is known from
	// before but what lies on disk. The check closes it if it is a
	// [gapless.Closer], always before it opens the next.
	Open func() gapless.Source
	// Put creates or replaces the record of a name, which is like "r-0001". The
	// revision is to be found in what the source emits; it grows from one Put
	// to the next, whatever the name.
	Put func(name string, revision int)
	// Remove deletes the record of a name.
	Remove func(name string)
	// Read returns the name and the revision of the record that a source has
	// emitted; of a delete and of a key alone the revision does not matter. An
	// empty name says that the record is not one of the check's. If nil, the key
	// is the name, and the revision stands in the field "n" of the data.
	Read func(p gapless.Partition, c gapless.Change) (name string, revision int)
	// Clock sets the outside system's clock so many seconds away from where it
	// stood at first, and stops it there.
	Clock func(seconds int)
	// Expire makes the outside system forget what has changed so far: no
	// position taken before can be read from.
	Expire func()
	// Split has the partitions be others from now on, as they are split, merged
	// and added in the field. Records stay.
	Split func()
	// Vanish takes away a partition with its records, and returns their names.
	Vanish func() []string
}

// CheckSource checks that a source survives what happens in the field, as one
// subtest for each way in which sources are known to lose records. What cannot
// be checked, because a hook is nil or the source lacks an interface, is
// skipped with the reason.
func CheckSource(t *testing.T, c SourceCase) {
	t.Helper()
	runChecks(t, sourceChecks(), c.Except, c.world)
}

func (c SourceCase) world(t testing.TB) *outside {
	b := newBreaker()
	o := &outside{SourceSystem: c.New(t, b), t: t, breaker: b, brief: brief(testing.Short())}
	t.Cleanup(b.release) // before servers that wait for what is stalled are closed
	if o.Open == nil || o.Put == nil {
		t.Fatal("SourceSystem.Open and Put are required")
	}
	if o.Read == nil {
		o.Read = readPlain
	}
	return o
}

// readPlain is [SourceSystem.Read] for records that are stored as they are put.
func readPlain(_ gapless.Partition, c gapless.Change) (name string, revision int) {
	var data struct {
		N int `json:"n"`
	}
	if c.Op != gapless.OpDelete && len(c.Data) > 0 && json.Unmarshal(c.Data, &data) != nil {
		return c.Key, -1
	}
	return c.Key, data.N
}

func sourceChecks() []check[*outside] {
	checks := []check[*outside]{
		{"describe", checkDescribe},
		{"complete", checkComplete},
		{"bounds", checkBounds},
		{"stop", checkStop},
		{"resume", checkResume},
		{"concurrent", checkConcurrent},
		{"position", checkPosition},
		{"changes", checkChanges},
		{"order", checkOrder},
		{"while-changing", checkWhileChanging},
		{"resume-changes", checkResumeChanges},
		{"ties", checkTies},
		{"clock-skew", checkClockSkew},
		{"deletes", checkDeletes},
		{"keys", checkKeys},
		{"fetch", checkFetch},
		{"expired", checkExpired},
		{"partitions", checkPartitions},
		{"vanished", checkVanished},
		{"sums", checkSums},
	}
	for _, fault := range []Fault{Throttled, Unavailable, Unauthorized, Forbidden, Cut, Truncated, Blank, Emptied} {
		checks = append(checks, check[*outside]{string(fault), func(_ testing.TB, o *outside) { checkFault(o, fault) }})
	}
	return append(checks, check[*outside]{"retry-after", checkRetryAfter}, check[*outside]{"cancel", checkCancel}, check[*outside]{"leaks", checkSourceLeaks},
		check[*outside]{"engine", checkSourceEngine})
}
