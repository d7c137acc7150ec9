package sim_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless/internal/sim"
)

// TestSeedsPlayTheSame plays seeds again, by one and by two processors, and
// compares every call. It is not parallel: the number of processors is that of
// all tests.
func TestSeedsPlayTheSame(t *testing.T) { //nolint:paralleltest // see above
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	play := func() []string {
		var traces []string
		for seed := range seeds {
			traces = append(traces, sim.PlaySeed(t, 1_000_000+seed, sim.Nothing, true).Trace)
		}
		return traces
	}
	want := play()
	for _, processors := range []int{1, 2, 4} {
		t.Run(strconv.Itoa(processors), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
			for i, got := range play() {
				if got != want[i] {
					t.Fatalf("seed %d: %s", 1_000_000+i, firstDifference(want[i], got))
				}
				if len(got) == 0 {
					t.Fatalf("seed %d has no trace", i)
				}
			}
		})
	}
}

// firstDifference shows where two traces part, after what they have in common.
func firstDifference(before, now string) string {
	a, b := strings.Split(before, "\n"), strings.Split(now, "\n")
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	from := max(0, same-8)
	return fmt.Sprintf("\n%s\nbefore:\n%s\nnow:\n%s", strings.Join(a[from:same], "\n"),
		strings.Join(a[same:min(same+4, len(a))], "\n"), strings.Join(b[same:min(same+4, len(b))], "\n"))
}
