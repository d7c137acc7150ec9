package sim_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/internal/sim"
)

// TestMain lets garbage lie: worlds are small, many, and soon gone, and to
// collect them costs more than to play in them.
func TestMain(m *testing.M) {
	debug.SetGCPercent(1000)
	os.Exit(m.Run())
}

// TestOneSeed plays the seed that GAPLESS_SIM_SEED names and shows every call.
func TestOneSeed(t *testing.T) {
	t.Parallel()
	text := os.Getenv("GAPLESS_SIM_SEED")
	if text == "" {
		t.Skip("set GAPLESS_SIM_SEED to a seed")
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	result := sim.PlaySeed(t, seed, sim.Nothing, true)
	t.Logf("%d runs, %d calls\n%s", result.Runs, result.Calls, result.Trace)
	for _, v := range result.Violations {
		t.Error(v)
	}
}

// TestSeeds plays the seeds from GAPLESS_SIM_FROM on, GAPLESS_SIM_SEEDS of
// them, and stops at the first that breaks an invariant.
func TestSeeds(t *testing.T) {
	t.Parallel()
	seeds := number(t, "GAPLESS_SIM_SEEDS", 20_000)
	if testing.Short() {
		seeds = min(seeds, 300)
	}
	playSeeds(t, number(t, "GAPLESS_SIM_FROM", 1), seeds)
}

func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// playSeeds plays seeds on all processors and stops at the first that fails.
func playSeeds(t *testing.T, from, seeds uint64) {
	t.Helper()
	began := time.Now()
	var next, runs, calls atomic.Uint64
	var failed atomic.Bool
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run("worker "+strconv.Itoa(worker), func(t *testing.T) {
			t.Parallel()
			for !failed.Load() {
				n := next.Add(1)
				if n > seeds {
					break
				}
				seed := from + n - 1
				result := sim.PlaySeed(t, seed, sim.Nothing, false)
				runs.Add(uint64(result.Runs))
				calls.Add(uint64(result.Calls))
				if len(result.Violations) > 0 {
					failed.Store(true)
					again := sim.PlaySeed(t, seed, sim.Nothing, true)
					t.Fatalf("seed %d: %v\n%s\nplay it again: %s", seed, result.Violations[0], again.Trace, sim.Command(seed))
				}
				if n%5000 == 0 {
					t.Logf("%d seeds, %.0f a second, %d runs, %d calls", n, float64(n)/time.Since(began).Seconds(), runs.Load(), calls.Load())
				}
			}
		})
	}
}
