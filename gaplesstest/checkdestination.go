package gaplesstest

import (
	"fmt"
	"testing"

	"github.com/gapless-sync/gapless"
)

// DestinationCase is a destination and how to make an outside system for it.
type DestinationCase struct {
	// New makes an outside system without records. It is called for every check,
	// with the test of that check: hooks fail it by t.Fatal, and what is to be
	// cleaned up is left to t.Cleanup. Small pages and short waits between
	// attempts make the checks thorough and quick. Required.
	New func(t testing.TB, b *Breaker) DestinationSystem
	// Except names checks that cannot hold for this destination, each with the
	// reason; they are skipped with it.
	Except map[string]string
}

// DestinationSystem is an outside system as a check looks at it, and the
// destination that writes into it. Of its hooks only Open is required; a check
// that needs another one which is nil is skipped.
type DestinationSystem struct {
	// Open returns the destination as a new process has it: nothing is known
	// from before but what the outside system holds. The check closes it if it
	// is a [gapless.Closer], always before it opens the next.
	Open func() gapless.Destination
	// Partitions are those that records are pushed into. Defaults to two
	// collections, r and s.
	Partitions []gapless.Partition
	// Record makes the record of a name, which is like "r-0001", as the outside
	// system takes it. The revision is to be found in it again. If nil, the key
	// is the name behind the partition's prefix, and the data are {"n":REVISION}.
	Record func(p gapless.Partition, name string, revision int) gapless.Record
	// Read returns the name and the revision of a record that a
	// [gapless.Getter] has given back. If nil, they are found where Record puts
	// them if it is nil.
	Read func(p gapless.Partition, c gapless.Change) (name string, revision int)
	// Holds returns what readers of the outside system see, revisions by name,
	// without the destination's help. If nil, the session is asked, which has to
	// be an [gapless.Enumerator] and a [gapless.Getter].
	Holds func() map[string]int
	// Refused makes the record of a name in a way that the outside system
	// refuses.
	Refused func(p gapless.Partition, name string) gapless.Record
	// Crash has the outside system die and come back without what was not
	// durable, or without some of it. What was opened before is not used again,
	// nor closed, unless Server says so.
	Crash func()
	// Server says that sessions outlive a Crash, as those of a client of a
	// server do; it may come while calls are under way. Otherwise they are dead
	// with it.
	Server bool
	// Replace puts an empty outside system in the place of this one.
	Replace func()
}

// CheckDestination checks that a destination survives what happens in the
// field, as one subtest for each way in which destinations are known to lose
// records. What cannot be checked, because a hook is nil or the session lacks an
// interface, is skipped with the reason.
func CheckDestination(t *testing.T, c DestinationCase) {
	t.Helper()
	runChecks(t, destinationChecks(), c.Except, c.world)
}

func (c DestinationCase) world(t testing.TB) *inside {
	b := newBreaker()
	w := &inside{DestinationSystem: c.New(t, b), t: t, breaker: b, brief: brief(testing.Short())}
	t.Cleanup(b.release) // before servers that wait for what is stalled are closed
	if w.Open == nil {
		t.Fatal("DestinationSystem.Open is required")
	}
	if len(w.Partitions) == 0 {
		w.Partitions = []gapless.Partition{{ID: "r", Collection: "r"}, {ID: "s", Collection: "s"}}
	}
	if w.Record == nil {
		w.Record = plainRecord
	}
	if w.Read == nil {
		w.Read = func(p gapless.Partition, c gapless.Change) (string, int) {
			_, revision := readPlain(p, c)
			return c.Key[len(p.Prefix):], revision
		}
	}
	return w
}

// plainRecord is [DestinationSystem.Record] for systems that take anything.
func plainRecord(p gapless.Partition, name string, revision int) gapless.Record {
	return gapless.Record{
		Key: p.Prefix + name, Version: fmt.Sprint(revision), Data: fmt.Appendf(nil, `{"n":%d}`, revision),
	}
}

func destinationChecks() []check[*inside] {
	checks := []check[*inside]{
		{"read-back", checkReadBack},
		{"replay", checkReplay},
		{"delete", checkDelete},
		{"order", checkPushOrder},
		{"patch", checkPatch},
		{"odd", checkOdd},
		{"large", checkLarge},
		{"empty", checkEmpty},
		{"borrowed", checkBorrowed},
		{"rejects", checkRejects},
		{"enumerate", checkEnumerate},
		{"get", checkGet},
		{"conditional", checkConditional},
		{"sums", checkHeldSums},
		{"searchable", checkSearchable},
		{"full-run", checkFullRun},
		{"checkpoints", checkCheckpoints},
		{"many-partitions", checkManyPartitions},
		{"data-first", checkDataFirst},
		{"crash", checkCrash},
		{"incarnation", checkIncarnation},
		{"fencing", checkFencing},
		{"read-only", checkReadOnly},
		{"identity", checkIdentity},
	}
	for _, fault := range []Fault{Throttled, Unavailable, Unauthorized, Forbidden, Cut, Lost, Truncated, Blank} {
		checks = append(checks, check[*inside]{string(fault), func(_ testing.TB, w *inside) { checkPushFault(w, fault) }})
	}
	return append(checks, check[*inside]{"retry-after", checkPushRetryAfter}, check[*inside]{"cancel", checkPushCancel}, check[*inside]{"leaks", checkDestinationLeaks},
		check[*inside]{"engine", checkDestinationEngine})
}
