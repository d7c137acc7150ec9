package sim_test

import (
	"testing"

	"github.com/gapless-sync/gapless/internal/sim"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/statetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	statetest.Run(t, func(*testing.T) state.Store { return sim.NewStore() })
}
