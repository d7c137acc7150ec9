package engine_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// retiring is a destination that cannot be listed, and retires what a full run
// did not contain.
type retiring struct {
	*gaplesstest.Destination
	calls  []string
	forget bool // it cannot go on with a full run
	seen   map[string]bool
	refuse error
	late   string // refused at the next sync, though accepted before
}

func (d *retiring) Open(ctx context.Context, name string, epoch uint64) (gapless.Session, error) {
	s, err := d.Destination.Open(ctx, name, epoch)
	return &retiringSession{s, d}, err
}

type retiringSession struct {
	gapless.Session
	d *retiring
}

func (s *retiringSession) BeginFull(_ context.Context, resumed bool) error {
	s.d.calls = append(s.d.calls, fmt.Sprintf("begin %t", resumed))
	if resumed && s.d.forget {
		return gapless.Expired(errFault)
	}
	if !resumed {
		s.d.seen = map[string]bool{}
	}
	return nil
}

func (s *retiringSession) Push(ctx context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	for i := range b.Rows {
		s.d.seen[string(b.Key(i))] = true
	}
	return s.Session.Push(ctx, b)
}

func (s *retiringSession) Sync(ctx context.Context, list []gapless.Checkpoint) (gapless.Receipt, error) {
	receipt, err := s.Session.Sync(ctx, list)
	if s.d.seen[s.d.late] {
		receipt.Rejected = append(receipt.Rejected, gapless.Rejection{Key: s.d.late, Err: errFault})
		s.d.late = ""
	}
	return receipt, err
}

func (s *retiringSession) EndFull(ctx context.Context) error {
	s.d.calls = append(s.d.calls, "end")
	if s.d.refuse != nil {
		return s.d.refuse
	}
	b := &gapless.Batch{Partition: gapless.Partition{ID: "r", Collection: "r"}}
	synced := s.d.Records(connector, "r")
	maps.Copy(synced, s.d.Records(connector, "q"))
	for key := range s.d.seen {
		if _, ok := synced[key]; !ok {
			s.d.calls = append(s.d.calls, "not synced: "+key)
		}
	}
	for key := range synced {
		if !s.d.seen[key] {
			b.Append(gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key}})
		}
	}
	_, err := s.Session.Push(ctx, b)
	return err
}

// retire performs a run into d and checks what d was told.
func (w *world) retire(d *retiring, o engine.RunOptions, exit int, calls ...string) engine.Summary {
	w.Helper()
	d.calls = nil
	s, err := w.runWith(o, func(e *engine.Engine) { e.Destination = d })
	if gapless.ExitCode(err) != exit {
		w.Fatalf("exit %d, want %d: %v", gapless.ExitCode(err), exit, err)
	}
	if diff := cmp.Diff(calls, d.calls); diff != "" {
		w.Fatalf("the destination was told (-want +got):\n%s", diff)
	}
	return s
}

// newRetired is a world of ten records after its first run.
func newRetired(t *testing.T) (*world, *retiring) {
	t.Helper()
	w := newWorld(t, gapless.ModelLog)
	d := &retiring{Destination: w.dest}
	w.fill(10)
	w.retire(d, engine.RunOptions{}, 0, "begin false", "end")
	return w, d
}

func TestFullRunLetsTheDestinationRetire(t *testing.T) {
	t.Parallel()
	w, d := newRetired(t)
	w.inStep()
	if s := w.retire(d, engine.RunOptions{Full: true}, 0, "begin false", "end"); len(s.Notes) > 0 {
		t.Errorf("notes of a full run that the destination ends: %q", s.Notes)
	}
	w.source.Put("r", "k0003", `{"n":33}`)
	w.retire(d, engine.RunOptions{}, 0)
	w.inStep()
	w.source.Remove("r", "k0004")
	w.source.Prune()
	s := w.retire(d, engine.RunOptions{}, 0, "begin false", "end")
	w.inStep()
	if s.Partitions[0].Rule != "P5" {
		t.Errorf("rule %s", s.Partitions[0].Rule)
	}
}

func TestPositionThatExpiresWhileReadingBecomesAFullRun(t *testing.T) {
	t.Parallel()
	w, d := newRetired(t)
	w.source.Remove("r", "k0004")
	w.source.Faults.Set(failing("read", 1, gapless.Expired(errFault)))
	w.retire(d, engine.RunOptions{}, 0, "begin false", "end")
	w.source.Faults.Set(nil)
	w.inStep()
}

func TestBrokenFullRunIsContinuedOrBegunAnew(t *testing.T) {
	t.Parallel()
	for _, forget := range []bool{false, true} {
		w := newWorld(t, gapless.ModelLog)
		d := &retiring{Destination: w.dest, forget: forget}
		w.source.MarkEvery(3)
		w.fill(20)
		w.failAtCall("read", 16)
		w.retire(d, engine.RunOptions{}, gapless.ExitRecoverable, "begin false")
		w.source.Faults.Set(nil)
		if forget {
			w.retire(d, engine.RunOptions{}, 0, "begin true", "begin false", "end")
		} else {
			w.retire(d, engine.RunOptions{}, 0, "begin true", "end")
		}
		w.inStep()
	}
}

func TestNothingIsRetiredWhileRecordsAreRejected(t *testing.T) {
	t.Parallel()
	w, d := newRetired(t)
	w.source.Put("r", "k0003", `{"x":"refuse"}`)
	w.source.Remove("r", "k0004")
	s := w.retire(d, engine.RunOptions{Full: true}, 55, "begin false")
	if _, kept := w.dest.Records(connector, "r")["k0003"]; !kept {
		t.Error("a rejected record was retired")
	}
	if !slices.ContainsFunc(s.Notes, func(n string) bool { return strings.Contains(n, "--full") }) {
		t.Errorf("notes %q do not say what to do", s.Notes)
	}
	w.source.Put("r", "k0003", `{"n":3}`)
	w.retire(d, engine.RunOptions{Full: true}, 0, "begin false", "end")
	w.inStep()
}

func TestRefusedRetirementHoldsTheCheckpoint(t *testing.T) {
	t.Parallel()
	w, d := newRetired(t)
	before := w.dest.Checkpoint(connector, "r")
	w.source.Remove("r", "k0004")
	d.refuse = gapless.Errorf(gapless.CodeGuard, connector, "too many")
	w.retire(d, engine.RunOptions{Full: true}, gapless.ExitGuard, "begin false", "end")
	if after := w.dest.Checkpoint(connector, "r"); after != before {
		t.Errorf("checkpoint moved from %+v to %+v", before, after)
	}
	d.refuse = nil
	w.retire(d, engine.RunOptions{Full: true}, 0, "begin false", "end")
	w.inStep()
}

func TestRecordRefusedAtTheLastSyncIsNotRetired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.settings.SyncRecords = 1000
	d := &retiring{Destination: w.dest, late: "k0003"}
	w.fill(10)
	w.retire(d, engine.RunOptions{}, 55, "begin false")
}

func TestOnlyFullRunsOfEverythingRetire(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.source = gaplesstest.NewSource("q", "r")
	w.settings.Parallel = 1
	d := &retiring{Destination: w.dest}
	w.fill(10)
	w.source.Put("q", "q1", `{}`)
	w.retire(d, engine.RunOptions{}, 0, "begin false", "end")

	w.source.Put("q", "q2", `{"x":"refuse"}`)
	w.retire(d, engine.RunOptions{Full: true}, 55, "begin false")
	w.source.Put("q", "q2", `{}`)
	w.retire(d, engine.RunOptions{Full: true}, 0, "begin false", "end")

	w.source.Put("q", "q3", `{}`)
	w.source.Faults.Set(failing("read", 1, gapless.Expired(errFault)))
	s := w.retire(d, engine.RunOptions{}, 0)
	if s.Partitions[0].Mode != "full" || s.Partitions[1].Mode == "full" {
		t.Errorf("modes %s and %s, want that only the first is read in full", s.Partitions[0].Mode, s.Partitions[1].Mode)
	}

	w.source.Faults.Set(nil)
	w.source = gaplesstest.NewSource("r")
	w.fill(10)
	w.retire(d, engine.RunOptions{Full: true}, 0)
}

// newBrokenOff is a world of two partitions in the middle of which, each, the
// first run broke off.
func newBrokenOff(t *testing.T) (*world, *retiring) {
	t.Helper()
	w := newWorld(t, gapless.ModelLog)
	w.source = gaplesstest.NewSource("q", "r")
	w.source.MarkEvery(3)
	w.settings.Parallel = 1
	d := &retiring{Destination: w.dest}
	w.fill(10)
	for i := range 10 {
		w.source.Put("q", fmt.Sprint("q", i), `{}`)
	}
	w.source.Faults.Set(func(call string, nth, _ int) error {
		if call == "read" && (nth == 8 || nth == 16) { // the eighth record of each
			return gapless.Recoverable(errFault)
		}
		return nil
	})
	w.retire(d, engine.RunOptions{}, gapless.ExitRecoverable, "begin false")
	return w, d
}

func TestPartitionReadAnewSpoilsAContinuedFullRun(t *testing.T) {
	t.Parallel()
	w, d := newBrokenOff(t)
	w.source.Faults.Set(failing("read", 1, gapless.Expired(errFault)))
	s := w.retire(d, engine.RunOptions{}, 0, "begin true")
	if s.Partitions[0].Mode != "full" {
		t.Errorf("partition q in mode %s, want it read anew", s.Partitions[0].Mode)
	}
}

// The changes that follow a continued enumeration are no further partition of
// the full run.
func TestChangesBehindAContinuedFullRunDoNotEndItAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	d := &retiring{Destination: w.dest}
	w.source.MarkEvery(3)
	w.fill(20)
	w.failAtCall("read", 16)
	w.retire(d, engine.RunOptions{}, gapless.ExitRecoverable, "begin false")
	w.source.Faults.Set(nil)
	w.source.Put("r", "k0001", `{"n":111}`)
	w.retire(d, engine.RunOptions{}, 0, "begin true", "end")
	w.inStep()
}

func TestOnePartitionContinuedDoesNotEndTheFullRunOfAnother(t *testing.T) {
	t.Parallel()
	w, d := newBrokenOff(t)
	w.source.Put("q", "q1", `{"n":1}`)
	// The second partition fails while it is continued.
	w.failAtCall("read", 7)
	w.retire(d, engine.RunOptions{}, gapless.ExitRecoverable, "begin true")
	w.source.Faults.Set(nil)
	w.retire(d, engine.RunOptions{}, 0)
	w.inStep()
}
