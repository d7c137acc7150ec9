package gaplesstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
)

// check is one row of the table of subtests.
type check[W any] struct {
	name string
	// run fails t, or skips it with what is missing.
	run func(t testing.TB, w W)
}

// runChecks runs each check as a subtest in a world of its own.
func runChecks[W any](t *testing.T, checks []check[W], except map[string]string, world func(t testing.TB) W) {
	t.Helper()
	for name := range except {
		if !slices.ContainsFunc(checks, func(c check[W]) bool { return c.name == name }) {
			t.Errorf("Except names %q, which is no check", name)
		}
	}
	var skipped []string
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Skipped() {
					skipped = append(skipped, c.name)
				}
			})
			if reason, ok := except[c.name]; ok {
				t.Skip("excepted: " + reason)
			}
			c.run(t, world(t))
		})
	}
	if len(skipped) > 0 {
		t.Logf("%d of %d checks were skipped: %s", len(skipped), len(checks), strings.Join(skipped, ", "))
	}
}

// unchecked says what a check that passes has left out.
func unchecked(t testing.TB, what string) {
	t.Helper()
	t.Logf("not checked: %s", what)
}

// patience is how long a call may go on after it was told to end.
const patience = 5 * time.Second

// ends runs fn and fails t if it does not return within patience after stop is
// done, from which point on it has no reason to go on.
func ends(stop context.Context, t testing.TB, what string, fn func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-stop.Done():
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		t.Fatalf("%s goes on %s after its context was cancelled", what, patience)
		return nil
	}
}

// classified fails t if nobody has said what err means for the next run.
func classified(t testing.TB, what string, err error) {
	t.Helper()
	if _, ok := errors.AsType[*gapless.Failure](err); ok || err == nil || gapless.KindOf(err) != gapless.KindUnrecoverable {
		return
	}
	t.Errorf("%s: the error is not classified, so the next run reads everything: wrap it by gapless.Recoverable, Because, "+
		"Expired, Misconfigured or Unrecoverable: %v", what, err)
}

// classifiedAs is classified for a fault whose meaning is plain.
func classifiedAs(t testing.TB, what string, fault Fault, err error) {
	t.Helper()
	classified(t, what, err)
	failure, _ := errors.AsType[*gapless.Failure](err)
	switch fault {
	case Throttled, Postponed, Unavailable, Cut, Lost:
		if gapless.KindOf(err) != gapless.KindRecoverable {
			t.Errorf("%s: passes by itself, yet the error says %s: %v", what, gapless.KindOf(err), err)
		}
		if fault == Postponed && gapless.WaitOf(err) < postponement {
			t.Errorf("%s: the engine would try again at once: wrap the error by gapless.Later, or wait: %v", what, err)
		}
	case Unauthorized, Forbidden:
		if failure == nil || failure.Cause != gapless.CauseAuthentication && failure.Cause != gapless.CauseForbidden {
			t.Errorf("%s: wrap the error by gapless.Because(gapless.CauseAuthentication or CauseForbidden, err): %v", what, err)
		}
	}
}

// points returns the numbers 1 to n, or about most of them if there are more:
// the first two, the last two, and others between that are the same each time.
func points(n, most int) []int {
	if n <= most {
		all := make([]int, n)
		for i := range all {
			all[i] = i + 1
		}
		return all
	}
	set := map[int]bool{1: true, 2: true, n - 1: true, n: true}
	random := rand.New(rand.NewPCG(uint64(n), uint64(most))) //nolint:gosec // a sample, not a secret
	for len(set) < most {
		set[1+random.IntN(n)] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// brief says that fewer points are tried, as under -short.
type brief bool

// some returns one of two sizes.
func (b brief) some(long, short int) int {
	if b {
		return short
	}
	return long
}

// list joins what is wrong, at most a few of it.
func list(problems []string) string {
	const most = 5
	slices.Sort(problems)
	if more := len(problems) - most; more > 0 {
		problems = append(problems[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(problems, "\n")
}

// closeIt closes a source or destination that holds resources.
func closeIt(t testing.TB, connector any) {
	t.Helper()
	if c, ok := connector.(gapless.Closer); ok {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}
