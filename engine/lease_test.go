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
		if _, err := store.Acquire(t.Context(), connector, "somebody else", time.Hour, w.later(time.Hour)); err != nil {
			t.Error(err)
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
