package gaplesstest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gapless-sync/gapless"
)

// memorySource is a source of this package under check: its records lie in two
// collections.
func memorySource(model gapless.ChangeModel) SourceCase {
	return SourceCase{New: func(_ testing.TB, b *Breaker) SourceSystem {
		s := NewSource("r", "s")
		s.MarkEvery(4)
		s.Faults.Set(func(string, int, int) error { return mean(b.Call(context.Background())) })
		collection := func(name string) string {
			if name[len(name)-1]%2 == 0 {
				return "r"
			}
			return "s"
		}
		return SourceSystem{
			Open:   func() gapless.Source { return s.As(model) },
			Put:    func(name string, revision int) { s.Put(collection(name), name, fmt.Sprintf(`{"n":%d}`, revision)) },
			Remove: func(name string) { s.Remove(collection(name), name) },
			Expire: s.Prune,
		}
	}}
}

// mean classifies a fault as a connector should.
func mean(err error) error {
	switch {
	case errors.Is(err, Unauthorized):
		return gapless.Because(gapless.CauseAuthentication, err)
	case errors.Is(err, Forbidden):
		return gapless.Because(gapless.CauseForbidden, err)
	}
	return gapless.Recoverable(err)
}

func TestMemorySources(t *testing.T) {
	t.Parallel()
	for _, model := range []gapless.ChangeModel{gapless.ModelFull, gapless.ModelModified, gapless.ModelLog} {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			CheckSource(t, memorySource(model))
		})
	}
}
