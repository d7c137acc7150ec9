package statetest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// Run tests the store that open returns. open is called once per test, from
// several goroutines, and gives an empty store each time; it closes the store
// when its test ends.
func Run(t *testing.T, open func(t *testing.T) state.Store) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, state.Store)
	}{
		{"lease epochs only grow", leaseEpochsGrow},
		{"lease is refused while it is held", leaseHeld},
		{"lease expires and is taken over", leaseTakeover},
		{"lease that expired unnoticed still counts", leaseExpired},
		{"lease released is fenced", leaseReleased},
		{"lease forged is fenced", leaseForged},
		{"lease without sense is refused", leaseNonsense},
		{"lease is won by one of many", leaseRace},
		{"takeover marks crashed runs", takeoverMarksCrashedRuns},
		{"commit comes back unchanged", commitRoundTrip},
		{"commit replaces by id and leaves the rest", commitReplaces},
		{"commit is all or nothing", commitAtomic},
		{"commit of an old epoch changes nothing", commitFenced},
		{"commit repeated is harmless", commitRepeated},
		{"commit of another connector is refused", commitForeign},
		{"commit cancelled changes nothing", commitCancelled},
		{"commit of 10,000 partitions", commitLarge},
		{"commits of many connectors at once", commitParallel},
		{"certificates come in order", certificatesOrdered},
		{"certificates are never replaced", certificatesKept},
		{"runs come newest first", runsOrdered},
		{"plans are kept and pruned", plansPruned},
		{"dead letters are updated, not multiplied", lettersDeduplicated},
		{"dead letters are resolved", lettersResolved},
		{"dead letters are filtered", lettersFiltered},
		{"dead letters keep bodies within bounds", lettersBounded},
		{"ledger gives back what was staged", stageRoundTrip},
		{"ledger merges news of one key", stageMerges},
		{"ledger refuses news without sense", stageNonsense},
		{"ledger is fenced", stageFenced},
		{"ledger settles what is committed", entriesSettle},
		{"ledger finds the unseen", unseenKeys},
		{"ledger agrees with a model", ledgerModel},
		{"large ledger is paged", ledgerLarge},
		{"conflicts are stored once", conflictsKept},
		{"conflicts are decided and carried out", conflictsDecided},
		{"conflicts without sense are refused", conflictsNonsense},
		{"conflicts are filtered", conflictsFiltered},
		{"what is missing is not found", missing},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

const ttl = time.Minute

// at returns the time some seconds into the test.
func at(seconds int) time.Time {
	return time.Date(2026, 11, 21, 12, 0, seconds, 123456789, time.UTC)
}

func acquire(t *testing.T, s state.Store, connector string, now time.Time) state.Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), connector, "host/"+connector, ttl, now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func commit(t *testing.T, s state.Store, l state.Lease, c state.Commit) {
	t.Helper()
	if err := s.Commit(t.Context(), l, c); err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if reflect.DeepEqual(want, got) { // quick, where there is much to compare
		return
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func wantFenced(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, gapless.ErrFenced) || gapless.KindOf(err) != gapless.KindRecoverable {
		t.Errorf("%s: %v, want it fenced", what, err)
	}
	wantCode(t, what, gapless.CodeFenced, err)
}

func wantCode(t *testing.T, what string, code gapless.Code, err error) {
	t.Helper()
	if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != code {
		t.Errorf("%s: %v, want an error of code %s", what, err, code)
	}
}

// odd holds what breaks stores that think keys are text.
const odd = "a\x00b/ключ/\xff\xfe'\"%_;--\n"

func sampleRun(l state.Lease, id string, started time.Time) state.Run {
	return state.Run{
		ID: id, Connector: l.Connector, Holder: l.Holder, Epoch: l.Epoch, Started: started,
		Finished: started.Add(time.Second), Status: string(plan.OutcomeComplete), Exit: 3, Error: "ошибка", Hint: "run it again",
		PlanID: "p-1", Summary: []byte(`{"read": 1}`),
	}
}

func samplePartition(l state.Lease, id string) state.Partition {
	return state.Partition{
		Connector: l.Connector, ID: id, Collection: "assets" + odd, Prefix: odd,
		Checkpoint: gapless.Checkpoint{Partition: id, Position: odd, Mark: "m" + odd, Target: "t" + odd, Run: "r-1", Seq: 7, Epoch: l.Epoch},
		Outcome:    plan.OutcomeRecoverable, Error: "unreachable", ErrorCode: gapless.CodeRunFailed.String(), Fingerprint: "f1",
		DestinationID: "d" + odd, Incarnation: "i" + odd, Started: "s" + odd, Records: 1 << 62, LogSize: 1 << 40,
		Repair: []string{odd, "", "k"}, Reconciled: at(1), Updated: at(2), Rule: "P11", LastRun: "r-1", Seq: 9,
		Unfinished: true, Progress: []byte(odd),
	}
}

func sampleCertificate(l state.Lease, partition string, previous *proof.Certificate) proof.Certificate {
	c := proof.Certificate{
		Connector: l.Connector, Partition: partition, Run: "r-1", Rule: "P1", Mode: proof.ModeFull, To: "5", Complete: true,
		DestinationID: "d", Incarnation: "i", Epoch: l.Epoch, Fingerprint: "f",
		Checkpoint: gapless.Checkpoint{Partition: partition, Position: "5", Run: "r-1", Seq: 1, Epoch: l.Epoch},
		Started:    at(1), Finished: at(2),
	}
	c.Seal(previous)
	return c
}

func sampleLetter(l state.Lease, key string) state.DeadLetter {
	return state.DeadLetter{
		Connector: l.Connector, Partition: "p" + odd, Run: "r-1", Key: key, Origin: "dir/" + odd, Line: 1 << 40, Op: gapless.OpPatch,
		Version: "v" + odd, Body: []byte(odd), HasBody: true, HasParts: true, Stage: state.StagePush, Reason: "too large", At: at(3),
	}
}

// sampleEntry is of collection "assets" with odd.
func sampleEntry(key string) state.Entry {
	return state.Entry{Collection: "assets" + odd, Key: key, Live: [2]bool{false, true}, Open: true, Value: []byte(odd)}
}

func sampleConflict(l state.Lease, id string) state.Conflict {
	return state.Conflict{
		ID: id, Connector: l.Connector, Run: "r-1", Collection: "assets" + odd, Key: odd, Field: "f" + odd, Loser: state.Other, Held: true,
		Rule: "newer", Reason: "ключ was edited by both", This: []byte(`"a"`), Other: []byte(`null`), Edited: at(1), At: at(2),
	}
}

// remembered is everything a store shows of its connectors.
type remembered struct {
	Connectors   []state.Connector
	Partitions   []state.Partition
	Runs         []state.Run
	Certificates []proof.Certificate
	Letters      []state.DeadLetter
	Ledger       []state.Unsettled
	Conflicts    []state.Conflict
}

func remember(t *testing.T, s state.Store) remembered {
	t.Helper()
	var all remembered
	var err, failed error
	all.Connectors, err = s.Connectors(t.Context())
	failed = errors.Join(failed, err)
	for _, c := range all.Connectors {
		partitions, e := s.Partitions(t.Context(), c.Name)
		all.Partitions = append(all.Partitions, partitions...)
		failed = errors.Join(failed, e)
		for certificate, e := range s.Certificates(t.Context(), c.Name) {
			all.Certificates = append(all.Certificates, certificate)
			failed = errors.Join(failed, e)
		}
		collections, e := s.Ledgered(t.Context(), c.Name)
		failed = errors.Join(failed, e)
		for _, collection := range collections {
			ledger, e := s.Unsettled(t.Context(), c.Name, collection, "", true, 1000)
			all.Ledger = append(all.Ledger, ledger...)
			failed = errors.Join(failed, e)
		}
	}
	all.Conflicts, err = s.Conflicts(t.Context(), state.ConflictFilter{})
	failed = errors.Join(failed, err)
	all.Runs, err = s.Runs(t.Context(), "", 0)
	failed = errors.Join(failed, err)
	letters, err := s.DeadLetters(t.Context(), state.DeadLetterFilter{})
	failed = errors.Join(failed, err)
	for _, d := range letters {
		letter, err := s.DeadLetter(t.Context(), d.ID)
		all.Letters = append(all.Letters, letter)
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		t.Fatal(failed)
	}
	return all
}
