package engine_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// endless is a source that never comes to its end, nor to a place to continue
// from: nothing of it is ever committed.
type endless struct{ begun func() }

func (endless) Describe(context.Context) (gapless.Description, error) {
	return gapless.Description{Model: gapless.ModelFull, Collections: []string{"r"}}, nil
}

func (s endless) ReadAll(_ context.Context, _ gapless.Partition, _ gapless.Mark, out *gapless.Output) error {
	s.begun()
	for i := 0; ; i++ {
		if err := out.Upsert(gapless.Record{Key: fmt.Sprint(i), Data: []byte(`{}`)}); err != nil {
			return err
		}
	}
}

// TestLostLeaseEndsTheRun: a runner whose lease somebody else has taken notices
// it, although neither state nor destination refuses anything.
func TestLostLeaseEndsTheRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelFull)
	store, err := sqlite.Open(t.Context(), filepath.Join(w.dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	taken := func() {
		for {
			_, err := store.Acquire(t.Context(), connector, "somebody else", time.Hour, w.later(time.Hour))
			if _, held := errors.AsType[*state.HeldError](err); held {
				continue // it was renewed in that hour
			}
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
	e, err := engine.New(engine.Config{
		Connector: connector, Source: endless{taken}, Destination: w.dest, Store: store, Dir: filepath.Join(w.dir, "fingerprints"),
		Settings: engine.Settings{LeaseTTL: 30 * time.Millisecond}, Now: func() time.Time { return w.later(time.Microsecond) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = e.Run(ctx, engine.RunOptions{})
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if !errors.Is(err, gapless.ErrFenced) || ctx.Err() != nil {
		t.Errorf("without a lease the run ended with %v", err)
	}
}

// thirty is a source of 30 records that can be resumed behind every second one;
// at is called before each.
type thirty struct {
	at   func(n int) error
	data string // of the records from the eleventh on
}

func (thirty) Describe(context.Context) (gapless.Description, error) {
	return gapless.Description{Model: gapless.ModelFull, Collections: []string{"r"}}, nil
}

func (thirty) CanResume(context.Context, gapless.Partition, gapless.Mark, gapless.Position) (bool, error) {
	return true, nil
}

func (s thirty) ReadAll(_ context.Context, _ gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	for n := 1; n <= 30; n++ {
		key := fmt.Sprintf("k%02d", n)
		if key <= string(after) {
			continue
		}
		data := "{}"
		if n >= 11 {
			data = s.data
		}
		if err := errors.Join(s.at(n), out.Upsert(gapless.Record{Key: key, Data: []byte(data)})); err != nil {
			return err
		}
		if n%2 == 0 {
			if err := out.Mark(gapless.Mark(key)); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestFencedRunnerLeavesFingerprintsAlone: a runner falls asleep in the middle of
// an enumeration, as one does whose machine is suspended, and wakes up in the
// middle of that of another one which has taken over.
func TestFencedRunnerLeavesFingerprintsAlone(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(n int) error{
		"both begin": func(int) error { return nil },
		"both resume": func(n int) error {
			if n == 8 {
				return gapless.Recoverable(errFault)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gapless.ModelFull)
			run := func(s thirty, o engine.RunOptions) (engine.Summary, error) {
				w.later(time.Hour)
				e, store := w.open()
				e.Source = s
				summary, err := e.Run(context.Background(), o)
				return summary, errors.Join(err, store.Close())
			}
			_, broken := run(thirty{at: before, data: "{}"}, engine.RunOptions{})
			asleep, wake, gone := make(chan bool), make(chan bool), make(chan bool)
			go func() {
				defer close(gone)
				_, err := run(thirty{data: `{"n":"old"}`, at: func(n int) error {
					if n == 11 {
						close(asleep)
						<-wake
					}
					return nil
				}}, engine.RunOptions{})
				if !errors.Is(err, gapless.ErrFenced) {
					t.Errorf("the sleeper ended with %v", err)
				}
			}()
			<-asleep
			s, err := run(thirty{data: "{}", at: func(n int) error {
				if n == 21 {
					close(wake)
					<-gone
				}
				return nil
			}}, engine.RunOptions{Full: broken == nil})
			if err != nil || s.Counts.Deleted > 0 || len(w.dest.Records(connector, "r")) != 30 {
				t.Errorf("%d records were deleted: %v", s.Counts.Deleted, err)
			}
			s, err = run(thirty{data: "{}", at: func(int) error { return nil }}, engine.RunOptions{})
			if err != nil || s.Partitions[0].Mode != "compare" || s.Counts.Unchanged != 30 {
				t.Errorf("afterwards %+v: %v", s.Partitions, err)
			}
		})
	}
}
