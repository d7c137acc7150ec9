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

// failing returns the names of the checks that fail, with what they say.
func failing[W any](t testing.TB, checks []check[W], world func(testing.TB) W) (names []string, log string) {
	for _, c := range checks {
		if r := verdict(t, c, world); r.failed {
			names = append(names, c.name)
			log += fmt.Sprintf("%s: %s\n", c.name, r.log[0])
		}
	}
	return names, log
}

// flawed is a flaw and the checks that it is found by.
type flawed struct {
	flaw string
	// found by each of these; anything but that and also would be beside the
	// point. A star stands for all others: records are lost all over.
	found, also string
}

func (f flawed) judge(t *testing.T, names []string, log string) {
	t.Helper()
	allowed := strings.Fields(f.found + " " + f.also)
	for name := range strings.FieldsSeq(f.found) {
		if !slices.Contains(names, name) {
			t.Errorf("the check %s does not find it", name)
		}
	}
	for _, name := range names {
		if !slices.Contains(allowed, name) && f.also != "*" {
			t.Errorf("the check %s fails, too:\n%s", name, log)
		}
	}
}
