package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/mapping"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// TestGuardByDefault: who says nothing about the guard has 20 records and 10 %.
func TestGuardByDefault(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ records, removed, exit int }{
		{100, 20, gapless.ExitComplete}, {100, 21, gapless.ExitGuard}, {300, 30, gapless.ExitComplete}, {300, 31, gapless.ExitGuard},
	} {
		t.Run(fmt.Sprintf("%d of %d", tt.removed, tt.records), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gapless.ModelFull)
			w.settings = engine.Settings{}
			w.fill(tt.records)
			w.mustRun()
			for i := range tt.removed {
				w.source.Remove("r", fmt.Sprintf("k%04d", i))
			}
			if _, err := w.run(engine.RunOptions{}); gapless.ExitCode(err) != tt.exit {
				t.Errorf("exit %d, want %d: %v", gapless.ExitCode(err), tt.exit, err)
			}
		})
	}
}

func TestApprovalOfAnotherConnector(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.fill(3)
	foreign := plan.Plan{Connector: "another", Created: w.later(time.Second)}
	foreign.Seal()
	_, store := w.open()
	if err := errors.Join(store.SavePlan(t.Context(), foreign), store.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.run(engine.RunOptions{Approve: foreign.ID}); !isCode(err, gapless.CodeNotFound) {
		t.Errorf("a plan of another connector: %v", err)
	}
}

// clinging is a destination that deletes nothing.
type clinging struct{ gapless.Destination }

func (d clinging) Open(ctx context.Context, name string, epoch uint64) (gapless.Session, error) {
	s, err := d.Destination.Open(ctx, name, epoch)
	if err != nil {
		return nil, err
	}
	return clingingSession{s, s.(gapless.Enumerator)}, nil
}

type clingingSession struct {
	gapless.Session
	gapless.Enumerator
}

func (s clingingSession) Push(ctx context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	var refused []gapless.Rejection
	kept := &gapless.Batch{Partition: b.Partition}
	for i := range b.Rows {
		if c := b.Change(i); c.Op == gapless.OpDelete {
			refused = append(refused, gapless.Rejection{Key: c.Key, Err: errFault})
		} else {
			kept.Append(c)
		}
	}
	receipt, err := s.Session.Push(ctx, kept)
	receipt.Rejected = append(receipt.Rejected, refused...)
	return receipt, err
}

// TestRefusedSweepIsNoEnd: a delete by absence that the destination refuses is
// neither done nor forgotten.
func TestRefusedSweepIsNoEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.fill(6)
	w.mustRun()
	w.source.Remove("r", "k0002")
	_, err := w.runWith(engine.RunOptions{}, func(e *engine.Engine) { e.Destination = clinging{w.dest} })
	if gapless.ExitCode(err) != gapless.ExitRecoverable {
		t.Errorf("exit %d: %v", gapless.ExitCode(err), err)
	}
	w.mustRun()
}

// resumable is a source that can only be enumerated, and can do so from a mark.
type resumable struct{ gapless.Source }

func (resumable) CanResume(context.Context, gapless.Partition, gapless.Mark, gapless.Position) (bool, error) {
	return true, nil
}

// TestLostLogIsNotResumed: without the fingerprints of its first part a full
// run begins anew.
func TestLostLogIsNotResumed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, mode string
		spoil      func(path string) error
	}{
		{"as it was", "resume", func(string) error { return nil }},
		{"gone", "full", os.Remove},
		{"cut", "full", func(path string) error { return os.Truncate(path, 3) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gapless.ModelFull)
			w.source.MarkEvery(3)
			w.fill(20)
			resuming := func(e *engine.Engine) { e.Source = resumable{w.source.As(gapless.ModelFull)} }
			w.failAtCall("read", 16)
			if _, err := w.runWith(engine.RunOptions{}, resuming); err == nil || w.dest.Checkpoint(connector, "r").Mark == "" {
				t.Fatalf("no full run was broken off: %v", err)
			}
			w.source.Faults.Set(nil)
			logs, err := filepath.Glob(filepath.Join(w.dir, "fingerprints", "*", "*.log"))
			if err != nil || len(logs) != 1 {
				t.Fatalf("logs %q: %v", logs, err)
			}
			if err := tt.spoil(logs[0]); err != nil {
				t.Fatal(err)
			}
			s, err := w.runWith(engine.RunOptions{}, resuming)
			if err != nil || s.Partitions[0].Mode != tt.mode {
				t.Fatalf("mode %s, want %s: %v", s.Partitions[0].Mode, tt.mode, err)
			}
			w.inStep()
		})
	}
}

// obliging is a source that ends in order when it is told to stop, as if there
// were no more.
type obliging struct {
	gapless.Source
	stop chan struct{}
}

func (o obliging) ReadAll(ctx context.Context, _ gapless.Partition, _ gapless.Mark, out *gapless.Output) error {
	for i := range 4 { // a batch, and one that is not handed over yet
		if err := out.Upsert(gapless.Record{Key: fmt.Sprintf("k%04d", i), Data: fmt.Appendf(nil, `{"n":%d}`, i)}); err != nil {
			return err
		}
	}
	close(o.stop)
	<-ctx.Done()
	return nil
}

// TestStoppedReadIsNoEnd: what a source did not emit because it was stopped is
// not absent. Whether its last rows are still taken is left to chance.
func TestStoppedReadIsNoEnd(t *testing.T) {
	t.Parallel()
	for range 8 {
		w := newWorld(t, gapless.ModelFull)
		w.fill(6)
		w.mustRun()
		stop := make(chan struct{})
		_, err := w.runWith(engine.RunOptions{Stop: stop}, func(e *engine.Engine) { e.Source = obliging{e.Source, stop} })
		if !errors.Is(err, gapless.ErrInterrupted) {
			t.Errorf("a run that was stopped: %v", err)
		}
		if n := len(w.dest.Records(connector, "r")); n != 6 {
			t.Fatalf("%d records left, want all 6", n)
		}
		w.mustRun()
	}
}

// TestInterruptedAccountIsSealedOnce: a run that ended in order has one
// certificate, although its progress is still there.
func TestInterruptedAccountIsSealedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.source.MarkEvery(3)
	w.fill(20)
	w.failAtCall("read", 16)
	s, err := w.run(engine.RunOptions{})
	if err == nil || s.Partitions[0].Certificate == "" {
		t.Fatalf("no run that failed in order: %+v, %v", s.Partitions, err)
	}
	w.source.Faults.Set(nil)
	w.mustRun()
	_, store := w.open()
	defer store.Close() // only read
	count := 0
	for c, err := range store.Certificates(t.Context(), connector) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Run == s.Run {
			count++
		}
	}
	if count != 1 {
		t.Errorf("the run has %d certificates", count)
	}
}

// TestContentThatComesBackAfterAPush: a run pushes changes and fails before its
// checkpoint; then the source is as the fingerprints have it. Between may lie
// another run that fails before it has pushed anything.
func TestContentThatComesBackAfterAPush(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		again bool
		sync  int // that fails; the first one is of leftovers, the third has the checkpoint
	}{{false, 2}, {true, 2}, {false, 3}, {true, 3}} {
		t.Run(fmt.Sprintf("%+v", tt), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gapless.ModelFull)
			w.fill(6)
			w.mustRun()
			w.source.Put("r", "k0001", `{"n":"new"}`)
			w.source.Put("r", "k0100", `{}`)
			w.failNth(&w.dest.Faults, "sync", tt.sync)
			w.dest.Crash(100) // nothing pushed is lost: the destination has both
			w.source.Put("r", "k0001", `{"n":1}`)
			w.source.Remove("r", "k0100")
			if tt.again {
				w.failAt(&w.source.Faults, "read")
			}
			if p := w.mustRun().Partitions[0]; p.Mode != "compare" || !tt.again && p.Rule != "P7" {
				t.Errorf("rule %s, mode %s, want a comparison", p.Rule, p.Mode)
			}
		})
	}
}

func TestGapOfAnUnknownScopeIsEverywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.source = gaplesstest.NewSource("a", "b")
	w.source.Put("a", "x", "{}")
	w.source.Put("b", "y", "{}")
	fail := false
	unscoped := func(e *engine.Engine) {
		in := w.source.As(gapless.ModelLog)
		e.Source = scopedSource{in, in.(gapless.Positioner), in.(gapless.ChangeReader), &fail, "nobody knows"}
	}
	if _, err := w.runWith(engine.RunOptions{}, unscoped); err != nil {
		t.Fatal(err)
	}
	w.source.Put("a", "x", `{"n":1}`)
	fail = true
	if _, err := w.runWith(engine.RunOptions{}, unscoped); gapless.ExitCode(err) != gapless.ExitUnrecoverable {
		t.Fatalf("a gap: %v", err)
	}
	s, err := w.runWith(engine.RunOptions{}, unscoped)
	if err != nil || s.Partitions[0].Mode != "full" || s.Partitions[1].Mode != "full" {
		t.Errorf("partitions %+v, want that both are read in full: %v", s.Partitions, err)
	}
}

// recorder keeps what was committed to a state that stays open.
type recorder struct {
	state.Store
	commits *[]state.Commit
}

func (r recorder) Commit(ctx context.Context, l state.Lease, c state.Commit) error {
	*r.commits = append(*r.commits, c)
	return r.Store.Commit(ctx, l, c)
}

// record has the state of a pair kept open, and its commits listed.
func (p *pair) record(t *testing.T) *[]state.Commit {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(p.dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // everything was looked at
	var commits []state.Commit
	p.kept = recorder{store, &commits}
	return &commits
}

// TestTwoWayBothCheckpointsInOneCommit: there is no moment in which state
// remembers that one side was read to the end and not the other.
func TestTwoWayBothCheckpointsInOneCommit(t *testing.T) {
	t.Parallel()
	a, b := gaplesstest.NewReplica("a", "r"), gaplesstest.NewReplica("b", "r")
	p := newPair(t, a, b)
	commits := p.record(t)
	a.Edit("r", "k", `{"v":1}`, noon)
	b.Edit("r", "l", `{"v":1}`, noon)
	p.mustRun()
	var certified [][]string
	for _, c := range *commits {
		var names []string
		for _, certificate := range c.Certificates {
			if slices.ContainsFunc(c.Partitions, func(row state.Partition) bool { return row.Checkpoint.Same(certificate.Checkpoint) }) {
				names = append(names, certificate.Partition)
			}
		}
		if len(names) > 0 {
			certified = append(certified, names)
		}
	}
	if len(certified) != 1 || len(certified[0]) != 2 {
		t.Errorf("certified with their checkpoints: %q, want both sides at once", certified)
	}
}

// TestTwoWayLeftoversOfADeadRunAreSeen: what a run pushed that died before it
// synced becomes durable with the next one, which has to know of it.
func TestTwoWayLeftoversOfADeadRunAreSeen(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		a, b := gaplesstest.NewReplica("a", "r"), gaplesstest.NewReplica("b", "r")
		if plain {
			b.Plain()
		}
		p := newPair(t, a, b)
		p.mustRun()
		a.Edit("r", "k", `{"v":1}`, noon)
		dead := false
		b.Faults.Set(func(call string, nth, _ int) error {
			if dead = dead || call == "sync" && nth == 2; dead { // the first one is of leftovers
				return errFault
			}
			return nil
		})
		if _, err := p.run(); err == nil {
			t.Fatal("the run was not killed")
		}
		b.Faults.Set(nil)
		a.Remove("r", "k", noon.Add(2*time.Hour))
		p.mustRun()
		got := p.both() // who deleted it knew nothing of the other side
		p.mustRun()
		if diff := cmp.Diff(got, p.both()); diff != "" || len(got) != 1 {
			t.Errorf("plain %t: %v, and one run later:\n%s", plain, got, diff)
		}
	}
}

// deletedBy returns what the last run read at the first side says it deleted by
// absence.
func (p *pair) deletedBy() proof.Digest {
	p.Helper()
	_, store := p.open()
	c, err := store.LastCertificate(context.Background(), p.name, "this/r")
	if err != nil {
		p.Fatal(err)
	}
	p.close(store)
	return c.Deleted
}

// TestTwoWayDeletionsAreAccountedFor: the account has exactly the deletes by
// absence that the other side was given.
func TestTwoWayDeletionsAreAccountedFor(t *testing.T) {
	t.Parallel()
	a, b := gaplesstest.NewReplica("a", "r"), gaplesstest.NewReplica("b", "r").Plain("v")
	p := newPair(t, a, b)
	p.models[0] = gapless.ModelFull
	a.Edit("r", "k", `{"v":1,"w":1}`, noon)
	a.Edit("r", "l", `{"v":1}`, noon)
	a.Edit("r", "m", `{"v":1}`, noon)
	p.mustRun()
	if got := p.deletedBy(); got != (proof.Digest{}) {
		t.Errorf("deleted %s before anything was gone", got)
	}
	// k is edited where it has not yet shown all that it was given, and is given
	// that once more; l is deleted.
	a.Remove("r", "k", noon.Add(time.Hour))
	a.Remove("r", "l", noon.Add(time.Hour))
	b.Edit("r", "k", `{"v":2}`, noon.Add(10*time.Hour))
	p.mustRun()
	if got := slices.Sorted(maps.Keys(b.Records("r"))); !slices.Equal(got, []string{"k", "m"}) {
		t.Errorf("got %q, want k and m", got)
	}
	var want proof.Digest
	want.Add(proof.KeyHash([]byte("l")))
	if got := p.deletedBy(); got != want {
		t.Errorf("deleted %s, want %s, which is l alone", got, want)
	}
}

// TestRestoredFingerprintsAreNotBelieved: a run pushes changes and dies, the
// source goes back to the old content, and all that is remembered comes from a
// backup of before. Checkpoints agree, and nothing but the epoch that the
// destination has seen tells of the run in between, however often the runs after
// it fail.
func TestRestoredFingerprintsAreNotBelieved(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(w *world){
		"":                           func(*world) {},
		"before it is remembered":    func(w *world) { w.failNth(&w.state, "commit", 2) },
		"before anything is written": func(w *world) { w.failAt(&w.dest.Faults, "sync") },
		"while it is read":           func(w *world) { w.failAt(&w.source.Faults, "read") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gapless.ModelFull)
			w.fill(6)
			w.mustRun()
			backup := w.copyState()
			w.source.Put("r", "k0001", `{"n":"new"}`)
			w.failNth(&w.dest.Faults, "sync", 2) // the first one is of leftovers
			w.dest.Crash(100)                    // nothing pushed is lost
			w.source.Put("r", "k0001", `{"n":1}`)
			w.dir = backup
			e, store := w.open()
			report, err := e.Prove(t.Context())
			if err != nil || len(report.Gaps) != 1 || report.Gaps[0].Kind != proof.GapUnknownRun {
				t.Errorf("%v\n%s", err, report.Text())
			}
			p, err := e.Plan(t.Context(), engine.PlanOptions{})
			if err := errors.Join(err, store.Close()); err != nil || p.Decisions[0].Mode != plan.ModeFull {
				t.Errorf("%v\n%+v", err, p.Decisions)
			}
			fail(w)
			if p := w.mustRun().Partitions[0]; p.Mode != "full" {
				t.Errorf("rule %s, mode %s, want full", p.Rule, p.Mode)
			}
		})
	}
}

// TestOlderDestinationIsBroughtWhatLaterRunsBrought: since the backup that the
// destination comes back from, a full run or a repair has brought what no change
// tells of.
func TestOlderDestinationIsBroughtWhatLaterRunsBrought(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		model  gapless.ChangeModel
		brings engine.RunOptions
	}{
		{gapless.ModelLog, engine.RunOptions{Full: true}},
		{gapless.ModelModified, engine.RunOptions{Full: true}},
		{gapless.ModelModified, engine.RunOptions{Keys: []string{"k0001"}}},
	} {
		t.Run(fmt.Sprintf("%s %+v", c.model, c.brings), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.model)
			w.fill(6)
			w.mustRun()
			backup := w.dest.Snapshot()
			w.source.Slip("r", "k0001", `{"n":"slipped"}`)
			if _, err := w.run(c.brings); err != nil {
				t.Fatal(err)
			}
			w.inStep()
			w.source.Put("r", "k0002", `{"n":"new"}`)
			w.mustRun()
			w.dest.Restore(backup)
			if p := w.mustRun().Partitions[0]; p.Rule != "P10" || p.Mode != "full" {
				t.Errorf("rule %s, mode %s, want a full run by P10", p.Rule, p.Mode)
			}
		})
	}
}

// TestNewerDestinationMayStandForOtherRules: state comes back from a backup of
// before a filter was tried, and the filter is gone again.
func TestNewerDestinationMayStandForOtherRules(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model)
			w.fill(6)
			w.mustRun()
			backup := w.copyState()
			program, err := mapping.Compile(mapping.Spec{Filter: "n < 3"})
			if err != nil {
				t.Fatal(err)
			}
			w.mapping = program
			if _, err := w.run(engine.RunOptions{}); err != nil {
				t.Fatal(err)
			}
			w.mapping, w.dir = nil, backup
			if p := w.mustRun().Partitions[0]; p.Mode != "full" {
				t.Errorf("rule %s, mode %s, want full", p.Rule, p.Mode)
			}
		})
	}
}
