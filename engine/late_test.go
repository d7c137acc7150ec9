package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// tardyDestination refuses a key at the first sync after it was pushed,
// whichever partition asks for it.
type tardyDestination struct {
	*gaplesstest.Destination
	key    string
	pushed chan struct{}
	armed  bool
	// by, if not empty, is the partition whose checkpoint has to be synced for
	// it to be found out.
	by string
}

func (d *tardyDestination) Open(ctx context.Context, name string, epoch uint64) (gapless.Session, error) {
	s, err := d.Destination.Open(ctx, name, epoch)
	return &tardySession{s, d}, err
}

type tardySession struct {
	gapless.Session
	d *tardyDestination
}

func (s *tardySession) Push(ctx context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	kept := &gapless.Batch{Partition: b.Partition}
	for i := range b.Rows {
		if s.d.key != "" && string(b.Key(i)) == s.d.key {
			s.d.armed = true
			close(s.d.pushed)
			continue
		}
		kept.Append(b.Change(i))
	}
	return s.Session.Push(ctx, kept)
}

func (s *tardySession) Sync(ctx context.Context, list []gapless.Checkpoint) (gapless.Receipt, error) {
	receipt, err := s.Session.Sync(ctx, list)
	told := s.d.by == "" || slices.ContainsFunc(list, func(c gapless.Checkpoint) bool { return c.Partition == s.d.by })
	if s.d.armed && told {
		receipt.Rejected = append(receipt.Rejected, gapless.Rejection{Key: s.d.key, Partition: "q", Err: errFault})
		s.d.armed = false
	}
	return receipt, err
}

// TestLateRefusalOfAnotherPartition: the sync of one partition finds out what
// became of the records of all.
func TestLateRefusalOfAnotherPartition(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.source = gaplesstest.NewSource("q", "r")
	w.settings.Parallel, w.settings.SyncRecords = 2, 1000
	d := &tardyDestination{Destination: w.dest, key: "q0", pushed: make(chan struct{})}
	w.fill(4)
	for i := range 8 {
		w.source.Put("q", fmt.Sprint("q", i), `{}`)
	}
	// r is read when q0 was pushed, q to its end when r is done.
	run := func() (engine.Summary, error) {
		return w.runWith(engine.RunOptions{}, func(e *engine.Engine) {
			e.Destination = d
			if d.key == "" {
				return
			}
			done := make(chan struct{})
			e.Source = &gated{Source: e.Source, r: d.pushed, q: done}
			e.Events = func(ev engine.Event) {
				if ev.Type == engine.EventPartition && ev.Partition == "r" {
					close(done)
				}
			}
		})
	}
	s, err := run()
	if letters := w.letters(); s.Exit != 55 || len(letters) != 1 || letters[0].Partition != "q" {
		t.Errorf("exit %d, letters %+v: %v", s.Exit, letters, err)
	}
	d.key = ""
	if s, err = run(); err != nil {
		t.Error(err)
	}
	if _, ok := w.dest.Records(connector, "q")["q0"]; !ok {
		t.Errorf("exit %d without q0", s.Exit)
	}
}

// TestRefusedAfterItsPartitionWasComplete: nothing of the partition is synced
// any more when it turns out that a record of it was refused.
func TestRefusedAfterItsPartitionWasComplete(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model)
			w.source = gaplesstest.NewSource("q", "r")
			w.settings.Parallel = 1
			d := &tardyDestination{Destination: w.dest, key: "q0", pushed: make(chan struct{}), by: "r"}
			w.fill(4)
			for i := range 4 {
				w.source.Put("q", fmt.Sprint("q", i), `{}`)
			}
			run := func() (engine.Summary, error) {
				return w.runWith(engine.RunOptions{}, func(e *engine.Engine) { e.Destination = d })
			}
			s, err := run()
			if letters := w.letters(); s.Exit != 55 || len(letters) != 1 || letters[0].Partition != "q" || letters[0].Key != "q0" {
				t.Errorf("exit %d, letters %+v: %v", s.Exit, letters, err)
			}
			d.key = ""
			if s, err = run(); err != nil {
				t.Error(err)
			}
			if _, ok := w.dest.Records(connector, "q")["q0"]; !ok {
				t.Errorf("exit %d without q0", s.Exit)
			}
			if open := w.letters(); len(open) != 0 {
				t.Errorf("letters are still open: %+v", open)
			}
		})
	}
}

// gated reads r when its channel is closed, and q to its end when that is.
type gated struct {
	gapless.Source
	q, r chan struct{}
}

func (g *gated) ReadAll(ctx context.Context, p gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	if p.ID == "r" {
		<-g.r
		return g.Source.ReadAll(ctx, p, after, out)
	}
	if err := g.Source.ReadAll(ctx, p, after, out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	<-g.q
	return nil
}

// TestLateRefusalOfAPushThatFailed: the row was never counted as accepted, so
// nothing is taken off, and how the run ended is remembered.
func TestLateRefusalOfAPushThatFailed(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model)
			w.source = gaplesstest.NewSource("q")
			d := &tardyDestination{Destination: w.dest, key: "q0", pushed: make(chan struct{})}
			w.source.Put("q", "q0", `{}`)
			w.dest.Faults.Set(func(call string, nth, _ int) error {
				if call != "push" || nth != 1 {
					return nil
				}
				return gaplesstest.Ambiguous(errFault)
			})
			s, err := w.runWith(engine.RunOptions{}, func(e *engine.Engine) { e.Destination = d })
			if s.Counts.Pushed != 0 || s.Counts.Synced != 0 || s.Partitions[0].Counts.Pushed != 0 {
				t.Errorf("counts are %+v, of the partition %+v", s.Counts, s.Partitions[0].Counts)
			}
			if letters := w.letters(); len(letters) != 1 || gapless.KindOf(err) != gapless.KindUnrecoverable {
				t.Errorf("%d letters: %v", len(letters), err)
			}
			s, err = w.run(engine.RunOptions{})
			if err != nil || s.Partitions[0].Mode != "full" {
				t.Errorf("the next run is %+v: %v", s.Partitions, err)
			}
		})
	}
}

// tardyWorld has records q0 to q7 in batches of one, a mark and a checkpoint every
// so many of them, and a destination that refuses one late.
func tardyWorld(t *testing.T, model gapless.ChangeModel, mark, sync int, key string) (*world, *tardyDestination) {
	t.Helper()
	w := newWorld(t, model)
	w.source = gaplesstest.NewSource("q")
	w.source.MarkEvery(mark)
	w.settings.BatchRows, w.settings.SyncRecords = 1, sync
	for i := range 8 {
		w.source.Put("q", fmt.Sprint("q", i), `{}`)
	}
	return w, &tardyDestination{Destination: w.dest, key: key, pushed: make(chan struct{})}
}

// TestLateRefusalBeforeAResume: one of the records pushed is refused when the
// checkpoint of a mark is written. The runs that go on from there account for it
// as refused if it lies before the mark, even if it is all that was pushed, and
// read it again if it lies behind.
func TestLateRefusalBeforeAResume(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mark, sync int // every so many records
		key        string
		rejected   uint64
	}{
		"before the mark": {3, 4, "q0", 1},
		"behind the mark": {3, 4, "q3", 0},
		"all":             {1, 1, "q0", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, d := tardyWorld(t, gapless.ModelLog, c.mark, c.sync, c.key)
			w.failAtCall("read", c.sync+1)
			for _, rule := range []string{"P1", "P4"} {
				s, err := w.runWith(engine.RunOptions{}, func(e *engine.Engine) { e.Destination = d })
				if s.Partitions[0].Rule != rule || gapless.KindOf(err) != gapless.KindRecoverable {
					t.Fatalf("the run is %+v: %v", s.Partitions, err)
				}
				d.key = ""
				w.failAtCall("read", 1)
			}
			w.source.Faults.Set(nil)
			if s, err := w.run(engine.RunOptions{}); s.Partitions[0].Rule != "P4" || s.Partitions[0].Counts.Rejected != c.rejected {
				t.Errorf("the last run is %+v: %v", s, err)
			}
			list := w.certificates()
			if last := list[len(list)-1]; !last.Complete || last.Read.Count != 8 || last.Rejected.Count != c.rejected {
				t.Errorf("the account is %+v", last)
			}
		})
	}
}

// TestLateRefusalIsForgottenByNoResume: a record before the mark is refused when
// the checkpoint of the mark is written, behind the place where the log of
// fingerprints is cut. It is not held, whoever goes on from there, and comes with
// the next comparison.
func TestLateRefusalIsForgottenByNoResume(t *testing.T) {
	t.Parallel()
	w, d := tardyWorld(t, gapless.ModelFull, 3, 4, "q0")
	w.failAtCall("read", 5)
	for _, rule := range []string{"P1", "P4", "P7"} {
		s, err := w.runWith(engine.RunOptions{}, func(e *engine.Engine) {
			e.Destination, e.Source = d, resumable{e.Source}
		})
		if s.Partitions[0].Rule != rule {
			t.Fatalf("the run is %+v: %v", s.Partitions, err)
		}
		d.key = ""
		w.source.Faults.Set(nil)
	}
	if _, there := w.dest.Records(connector, "q")["q0"]; !there || len(w.letters()) > 0 {
		t.Errorf("q0 is at the destination: %t, and %d letters are open", there, len(w.letters()))
	}
}

// TestLateRefusalBehindTheMark: what a push that failed has left at the
// destination is refused by the sync that follows. It was not counted before the
// mark, and is read again.
func TestLateRefusalBehindTheMark(t *testing.T) {
	t.Parallel()
	w, d := tardyWorld(t, gapless.ModelLog, 1, 1000, "q3")
	w.dest.Faults.Set(failing("push", 4, gaplesstest.Ambiguous(gapless.Recoverable(errFault))))
	run := func() (engine.Summary, error) {
		return w.runWith(engine.RunOptions{}, func(e *engine.Engine) { e.Destination = d })
	}
	if _, err := run(); gapless.KindOf(err) != gapless.KindRecoverable || w.dest.Checkpoint(connector, "q").Mark == "" {
		t.Fatalf("the run was not broken off behind a mark: %v", err)
	}
	d.key = ""
	w.dest.Faults.Set(nil)
	s, err := run()
	list := w.certificates()
	if last := list[len(list)-1]; s.Partitions[0].Rule != "P4" || last.Read.Count != 8 || last.Rejected.Count != 0 {
		t.Errorf("the account of %+v is %+v: %v", s.Partitions, last, err)
	}
}

// TestLateRefusalWhileDeleting: the fingerprints are written before the sync
// that follows the deletes finds out, and must not count the record as held.
func TestLateRefusalWhileDeleting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.source = gaplesstest.NewSource("q")
	for i := range 4 {
		w.source.Put("q", fmt.Sprint("q", i), `{}`)
	}
	run := func(refuse string) (engine.Summary, error) {
		d := &tardyDestination{Destination: w.dest, key: refuse, pushed: make(chan struct{})}
		return w.runWith(engine.RunOptions{}, func(e *engine.Engine) { e.Destination = d })
	}
	if _, err := run(""); err != nil {
		t.Fatal(err)
	}
	w.source.Put("q", "q0", `{"n":1}`)
	w.source.Remove("q", "q3")
	if s, err := run("q0"); s.Exit != 55 || len(w.letters()) != 1 {
		t.Errorf("exit %d: %v", s.Exit, err)
	}
	if _, err := run(""); err != nil {
		t.Error(err)
	}
	if got := w.dest.Records(connector, "q")["q0"]; got != `{"n":1}` {
		t.Errorf("q0 is %s", got)
	}
}

// TestRefusedRecordStaysRefused: what a destination refused is not unchanged, as
// long as the source has it.
func TestRefusedRecordStaysRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	w.fill(3)
	w.source.Put("r", "bad", `{"x":"refuse"}`)
	for range 3 {
		if _, err := w.run(engine.RunOptions{}); gapless.ExitCode(err) != 55 {
			t.Fatalf("a record is not synced, but the run ended with %v", err)
		}
		if n := len(w.letters()); n != 1 {
			t.Fatalf("%d letters are open", n)
		}
	}
}

// TestDestinationIsToldTheEpoch: a runner of before is refused after a run.
func TestDestinationIsToldTheEpoch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.fill(3)
	w.mustRun()
	epoch := w.dest.Checkpoint(connector, "r").Epoch
	if _, err := w.dest.Open(t.Context(), connector, epoch-1); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("a session of an epoch before %d is opened: %v", epoch, err)
	}
}

// TestKeysAreComparedWithWhatIsSynced: what a run has pushed is synced before the
// keys are listed, so that nothing is read twice.
func TestKeysAreComparedWithWhatIsSynced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelModified)
	w.fill(3)
	w.mustRun()
	w.source.Put("r", "new", `{}`)
	if s := w.mustRun(); s.Counts.Read != 1 {
		t.Errorf("one record has changed, %d were read", s.Counts.Read)
	}
}
