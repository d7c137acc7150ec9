package engine_test

import (
	"context"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/state"
)

// TestSecondFailureDoesNotHideTheFirst lets a read fail in a way that may have
// left a gap, and the sync of what it had emitted in one that may not, and the
// other way round: the next run is full in either case.
func TestSecondFailureDoesNotHideTheFirst(t *testing.T) {
	t.Parallel()
	recoverable := gapless.Recoverable(errFault)
	for _, test := range []struct {
		name       string
		read, sync error
		crash      bool
	}{
		{name: "read and a restart", read: errFault, crash: true},
		{name: "read and a recoverable sync", read: errFault, sync: recoverable},
		{name: "sync", read: recoverable, sync: errFault},
		{name: "interruption and a sync", read: gapless.ErrInterrupted, sync: errFault},
		{name: "sync, with a scope", read: recoverable, sync: gapless.Unrecoverable(errFault, "r")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gapless.ModelLog)
			w.fill(4)
			w.mustRun()
			w.fill(4)
			w.source.Faults.Set(func(call string, nth, _ int) error {
				if call != "read" || nth != 4 {
					return nil
				}
				return test.read
			})
			w.dest.Faults.Set(func(call string, nth, _ int) error {
				if call != "sync" || nth != 2 {
					return nil
				}
				if test.crash {
					w.dest.Crash(0)
				}
				return test.sync
			})
			s, err := w.run(engine.RunOptions{})
			if gapless.KindOf(err) != gapless.KindUnrecoverable || s.Partitions[0].Outcome != "unrecoverable" {
				t.Errorf("ended %s with %d: %v", s.Partitions[0].Outcome, s.Exit, err)
			}
			w.source.Faults.Set(nil)
			w.dest.Faults.Set(nil)
			if s := w.mustRun(); s.Partitions[0].Rule != "P3" {
				t.Errorf("followed by rule %s", s.Partitions[0].Rule)
			}
		})
	}
}

// unreadable is a state whose dead letters cannot be read from the n-th time on.
type unreadable struct {
	state.Store
	n int
}

func (u *unreadable) DeadLetters(ctx context.Context, f state.DeadLetterFilter) ([]state.DeadLetter, error) {
	if u.n--; u.n <= 0 {
		return nil, errFault
	}
	return u.Store.DeadLetters(ctx, f)
}

// TestAccountIsSealedOnce: what fails after a partition was certified changes
// how the run ended, and adds no second account of the same records.
func TestAccountIsSealedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelLog)
	w.fill(4)
	s, err := w.runWith(engine.RunOptions{}, func(e *engine.Engine) { e.Store = &unreadable{e.Store, 3} })
	if err == nil {
		t.Fatal("the run is complete")
	}
	_, store := w.open()
	defer store.Close() // only read
	count := 0
	for c, err := range store.Certificates(t.Context(), connector) {
		if count++; err != nil || !c.Complete || c.Run != s.Run {
			t.Errorf("certificate %+v, %v", c, err)
		}
	}
	if count != 1 {
		t.Errorf("%d certificates", count)
	}
	w.mustRun()
}
