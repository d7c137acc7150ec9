package gaplesstest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder is the test of a check whose verdict is itself under test.
type recorder struct {
	testing.TB
	ctx     context.Context
	mu      sync.Mutex
	failed  bool
	skipped bool
	log     []string
	cleanup []func()
}

func (r *recorder) say(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, text)
}

func (r *recorder) Helper()                   {}
func (r *recorder) Log(a ...any)              { r.say(fmt.Sprint(a...)) }
func (r *recorder) Logf(f string, a ...any)   { r.say(fmt.Sprintf(f, a...)) }
func (r *recorder) Fail()                     { r.failed = true }
func (r *recorder) FailNow()                  { r.failed = true; runtime.Goexit() }
func (r *recorder) Error(a ...any)            { r.say(fmt.Sprint(a...)); r.failed = true }
func (r *recorder) Errorf(f string, a ...any) { r.say(fmt.Sprintf(f, a...)); r.failed = true }
func (r *recorder) Fatal(a ...any)            { r.say(fmt.Sprint(a...)); r.FailNow() }
func (r *recorder) Fatalf(f string, a ...any) { r.say(fmt.Sprintf(f, a...)); r.FailNow() }
func (r *recorder) SkipNow()                  { r.skipped = true; runtime.Goexit() }
func (r *recorder) Skip(a ...any)             { r.say(fmt.Sprint(a...)); r.SkipNow() }
func (r *recorder) Skipf(f string, a ...any)  { r.say(fmt.Sprintf(f, a...)); r.SkipNow() }
func (r *recorder) Failed() bool              { return r.failed }
func (r *recorder) Skipped() bool             { return r.skipped }
func (r *recorder) Context() context.Context  { return r.ctx }
func (r *recorder) Cleanup(fn func())         { r.cleanup = append(r.cleanup, fn) }

// verdict runs a check with a recorder.
func verdict[W any](t testing.TB, c check[W], world func(testing.TB) W) *recorder {
	ctx, cancel := context.WithCancel(t.Context())
	r := &recorder{TB: t, ctx: ctx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(r, world(r))
	}()
	<-done
	cancel()
	for _, fn := range slices.Backward(r.cleanup) {
		fn()
	}
	return r
}

// flawed is a flaw and the checks that it is found by.
type flawed struct {
	flaw string
	// found by each of these; anything but that and also would be beside the
	// point. A star stands for all others: records are lost all over.
	found, also string
}

// judged runs the checks against a flaw, under -short just those that have to
// find it.
func judged[W any](t *testing.T, f flawed, checks []check[W], world func(testing.TB) W) {
	t.Helper()
	found, also := strings.Fields(f.found), strings.Fields(f.also)
	for _, c := range checks {
		finds := slices.Contains(found, c.name)
		if !finds && (testing.Short() || f.also == "*") {
			continue // whatever it says is to the point
		}
		r := verdict(t, c, world)
		switch {
		case finds && !r.failed:
			t.Errorf("the check %s does not find it", c.name)
		case r.failed && !finds && !slices.Contains(also, c.name):
			t.Errorf("the check %s fails, too: %s", c.name, strings.Join(r.log, "\n"))
		}
	}
}

// finds fails t unless each of the checks finds one of the flaws.
func finds[W any](t *testing.T, checks []check[W], flaws []flawed) {
	t.Helper()
	for _, c := range checks {
		if !slices.ContainsFunc(flaws, func(f flawed) bool { return slices.Contains(strings.Fields(f.found), c.name) }) {
			t.Errorf("no flaw shows that the check %s finds anything", c.name)
		}
	}
}
