package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// failAtCall makes the n-th call of a kind fail recoverably.
func (w *world) failAtCall(call string, n int) {
	w.source.Faults.Set(failing(call, n, gapless.Recoverable(errFault)))
}

// runWith performs one run over other ends, in a process of its own.
func (w *world) runWith(o engine.RunOptions, change func(e *engine.Engine)) (engine.Summary, error) {
	w.Helper()
	w.later(time.Hour)
	e, store := w.open()
	change(e)
	s, err := e.Run(context.Background(), o)
	if closing := store.Close(); closing != nil {
		w.Fatal(closing)
	}
	return s, err
}

func TestResumeKeepsTheLettersOfItsFirstPart(t *testing.T) {
	t.Parallel()
	for _, model := range []gapless.ChangeModel{gapless.ModelLog, gapless.ModelModified} {
		w := newWorld(t, model)
		w.settings.Reconcile = -1
		w.source.MarkEvery(3)
		w.fill(20)
		w.source.Put("r", "k0001", `{"x":"refuse"}`)
		w.failAtCall("read", 16)
		if _, err := w.run(engine.RunOptions{}); gapless.ExitCode(err) != gapless.ExitRecoverable {
			t.Fatalf("%s: first part: %v", model, err)
		}
		w.source.Faults.Set(nil)
		s, err := w.run(engine.RunOptions{})
		if s.Partitions[0].Rule != "P4" || gapless.ExitCode(err) != 55 || len(w.letters()) != 1 {
			t.Errorf("%s: rule %s, exit %d, %d letters, want a resumed run with one letter: %v",
				model, s.Partitions[0].Rule, gapless.ExitCode(err), len(w.letters()), err)
		}
	}
}

func TestRecordWithoutNameHoldsTheSweepOfAResumedRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.settings.GuardRecords = 1
	w.source.MarkEvery(3)
	w.fill(21)
	w.mustRun()
	w.source.Garble("r", "k0001")
	for range 2 {
		s, err := w.run(engine.RunOptions{Full: unmarked(w)})
		if gapless.ExitCode(err) != 55 || s.Status != "recoverable" {
			t.Errorf("exit %d, status %s: %v", gapless.ExitCode(err), s.Status, err)
		}
		if n := len(w.dest.Records(connector, "r")); n != 21 {
			t.Fatalf("%d records left, want 21", n)
		}
	}
	w.source.Put("r", "k0001", `{"n":1}`)
	w.mustRun()
	w.source.Garble("r", "k0001")
	w.failAtCall("read", 10)
	if _, err := w.run(engine.RunOptions{Full: true}); err == nil || unmarked(w) {
		t.Fatalf("the full run was not broken off behind a mark: %v", err)
	}
	w.source.Faults.Set(nil)
	s, err := w.run(engine.RunOptions{})
	if gapless.ExitCode(err) != 55 || s.Partitions[0].Mode != "resume" {
		t.Errorf("the run that went on, %s, ended with %v", s.Partitions[0].Mode, err)
	}
	if n := len(w.dest.Records(connector, "r")); n != 21 {
		t.Errorf("%d records left, want 21", n)
	}
}

// unmarked reports whether no full run under way has left a mark.
func unmarked(w *world) bool { return w.dest.Checkpoint(connector, "r").Mark == "" }

func TestRefusedFullRunBeginsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.settings.GuardRecords = 5
	w.source.MarkEvery(3)
	w.fill(42)
	w.mustRun()
	for i := range 21 {
		w.source.Remove("r", fmt.Sprintf("k%04d", i))
	}
	if _, err := w.run(engine.RunOptions{Full: true}); gapless.ExitCode(err) != gapless.ExitGuard {
		t.Fatalf("half of the records are gone: %v", err)
	}
	w.fill(42) // mended
	w.mustRun()
}

func TestResumeDoesNotForgetRepairs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelModified)
	w.settings.Reconcile = -1
	w.source.MarkEvery(3)
	w.fill(20)
	w.source.Put("r", "k0001", `{"x":"refuse"}`)
	w.failAtCall("read", 16)
	if _, err := w.run(engine.RunOptions{}); err == nil {
		t.Fatal("the run says complete")
	}
	w.source.Faults.Set(nil)
	w.source.Slip("r", "k0001", `{"x":"mended"}`)
	id := w.letters()[0].ID
	w.later(time.Hour)
	e, store := w.open()
	_, _ = e.Redrive(context.Background(), []string{id}, engine.RunOptions{}) // its first half still knows the letter
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	w.mustRun()
}

func TestAccountOfADeadRunIsSealedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.fill(5)
	w.mustRun()
	for i := range 9 {
		w.source.Put("r", fmt.Sprintf("k%04d", i), `{"z":1}`)
	}
	for _, at := range []int{8, 2} { // behind a mark, then before any
		w.failAtCall("read", at)
		if _, err := w.run(engine.RunOptions{}); err == nil {
			t.Fatal("the run says complete")
		}
		w.settings.BatchRows = 1
	}
	w.source.Faults.Set(nil)
	w.mustRun()
}

// positionedFull is a source that can only be enumerated, but knows whether it
// has moved.
type positionedFull struct {
	gapless.Source
	source *gaplesstest.Source
}

func (p positionedFull) Position(context.Context, gapless.Partition) (gapless.Position, error) {
	return p.source.Now(), nil
}

func TestStateCatchesUpWithTheDestination(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.fill(3)
	positioned := func(e *engine.Engine) { e.Source = positionedFull{w.source.As(gapless.ModelFull), w.source} }
	if _, err := w.runWith(engine.RunOptions{}, positioned); err != nil {
		t.Fatal(err)
	}
	w.source.Put("r", "k0001", `{"n":"new"}`)
	w.state.Set(func(_ string, nth, _ int) error { // dies once the fingerprints are exchanged
		if nth >= 3 {
			return errFault
		}
		return nil
	})
	if _, err := w.runWith(engine.RunOptions{Full: true}, positioned); err == nil {
		t.Fatal("a dead run says complete")
	}
	w.state.Set(nil)
	if _, err := w.runWith(engine.RunOptions{}, positioned); err != nil {
		t.Fatal(err)
	}
	w.inStep()
}

// lateDestination refuses a record only when it syncs.
type lateDestination struct {
	gapless.Destination
	refuse *int // how often still
}

type lateSession struct {
	gapless.Session
	gapless.Enumerator
	refuse *int
	held   []string
}

func (d lateDestination) Open(ctx context.Context, connector string, epoch uint64) (gapless.Session, error) {
	s, err := d.Destination.Open(ctx, connector, epoch)
	if err != nil {
		return nil, err
	}
	return &lateSession{Session: s, Enumerator: s.(gapless.Enumerator), refuse: d.refuse}, nil
}

func (s *lateSession) Push(ctx context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	kept := &gapless.Batch{Partition: b.Partition}
	for i := range b.Rows {
		if c := b.Change(i); c.Key == "k0001" && *s.refuse > 0 {
			*s.refuse--
			s.held = append(s.held, c.Key)
		} else {
			kept.Append(c)
		}
	}
	return s.Session.Push(ctx, kept)
}

func (s *lateSession) Sync(ctx context.Context, checkpoints []gapless.Checkpoint) (gapless.Receipt, error) {
	r, err := s.Session.Sync(ctx, checkpoints)
	for _, key := range s.held {
		r.Rejected = append(r.Rejected, gapless.Rejection{Key: key, Err: errors.New("refused late")})
	}
	s.held = nil
	return r, err
}

func TestRecordRefusedBySyncIsPushedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.settings.SyncRecords = 1000
	w.fill(6)
	refuse := 1
	late := func(e *engine.Engine) { e.Destination = lateDestination{w.dest, &refuse} }
	if _, err := w.runWith(engine.RunOptions{}, late); gapless.ExitCode(err) != 55 {
		t.Fatalf("a record was refused: %v", err)
	}
	if _, err := w.runWith(engine.RunOptions{}, late); err != nil {
		t.Fatal(err)
	}
	w.inStep()
}

// scopedSource fails in partition a with a gap in scope.
type scopedSource struct {
	gapless.Source
	gapless.Positioner
	gapless.ChangeReader
	fail  *bool
	scope string
}

func (s scopedSource) ReadChanges(ctx context.Context, p gapless.Partition, from, to gapless.Position, out *gapless.Output) error {
	if p.ID == "a" && *s.fail {
		*s.fail = false
		return gapless.Unrecoverable(errFault, s.scope)
	}
	return s.ChangeReader.ReadChanges(ctx, p, from, to, out)
}

func TestGapInAnotherPartitionIsRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.source = gaplesstest.NewSource("a", "b")
	w.source.Put("a", "x", "{}")
	w.source.Put("b", "y", "{}")
	fail := false
	scoped := func(e *engine.Engine) {
		in := w.source.As(gapless.ModelLog)
		e.Source = scopedSource{in, in.(gapless.Positioner), in.(gapless.ChangeReader), &fail, "b"}
	}
	if _, err := w.runWith(engine.RunOptions{}, scoped); err != nil {
		t.Fatal(err)
	}
	w.source.Put("a", "x", `{"n":1}`)
	w.source.Slip("b", "y", `{"n":1}`)
	fail = true
	if _, err := w.runWith(engine.RunOptions{}, scoped); gapless.ExitCode(err) != gapless.ExitUnrecoverable {
		t.Fatalf("a gap: %v", err)
	}
	if _, err := w.runWith(engine.RunOptions{}, scoped); err != nil {
		t.Fatal(err)
	}
	if got := w.dest.Records(connector, "b")["y"]; got != `{"n":1}` {
		t.Errorf("partition b holds %s", got)
	}
}

// keyRejecter cannot name one of its rows when it lists keys.
type keyRejecter struct {
	gapless.Source
	gapless.Positioner
	gapless.ChangeReader
	gapless.Fetcher
	gapless.KeyReader
}

func (k keyRejecter) ReadKeys(ctx context.Context, p gapless.Partition, out *gapless.Output) error {
	if err := out.Reject(gapless.Rejection{Origin: "keys", Line: 7, Err: errFault}); err != nil {
		return err
	}
	return k.KeyReader.ReadKeys(ctx, p, out)
}

func TestRejectedKeysBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelModified)
	w.fill(3)
	w.mustRun()
	_, err := w.runWith(engine.RunOptions{}, func(e *engine.Engine) {
		in := w.source.As(gapless.ModelModified)
		e.Source = keyRejecter{in, in.(gapless.Positioner), in.(gapless.ChangeReader), in.(gapless.Fetcher), in.(gapless.KeyReader)}
	})
	if letters := w.letters(); gapless.ExitCode(err) != 55 || len(letters) != 1 || letters[0].Line != 7 {
		t.Errorf("exit %d, letters %+v: %v", gapless.ExitCode(err), letters, err)
	}
}

// TestPositionsReachedWithoutRecords: marks between changes that leave nothing
// to push move the checkpoint. A run that then fails has to account for that,
// or the next one would begin where nobody has been.
func TestPositionsReachedWithoutRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelModified)
	w.settings.GuardRecords, w.settings.GuardPercent, w.settings.SyncInterval = 1, 1e-9, 1
	w.fill(9)
	w.mustRun()
	for i := range 3 {
		w.source.Remove("r", fmt.Sprintf("k%04d", i))
	}
	s, err := w.run(engine.RunOptions{})
	if gapless.ExitCode(err) != gapless.ExitGuard {
		t.Fatalf("exit %d: %v", s.Exit, err)
	}
	if s, err = w.run(engine.RunOptions{Approve: s.Plan}); err != nil {
		t.Fatalf("exit %d: %v", s.Exit, err)
	}
	w.inStep()
}
