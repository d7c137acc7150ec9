package gaplesstest

import (
	"errors"
	"sync"
)

// Faults decides which call of an outside system fails. The zero value lets
// everything succeed. It is safe for concurrent use.
type Faults struct {
	mu    sync.Mutex
	calls map[string]int
	total int
	plan  func(call string, nth, total int) error
}

// Set installs plan, which is asked before every call: nth counts calls of
// that name, total all calls, both from 1. Counting starts anew. What calls
// there are is told by the system that the faults belong to. Calls wait while
// plan is asked, which therefore must not use these Faults. A nil plan lets
// everything succeed.
func (f *Faults) Set(plan func(call string, nth, total int) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.total, f.plan = nil, 0, plan
}

// Calls returns how many calls there were since Set.
func (f *Faults) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// Check counts a call and returns the fault planned for it. It is what an
// outside system in memory begins each call with.
func (f *Faults) Check(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[call]++
	f.total++
	if f.plan == nil {
		return nil
	}
	return f.plan(call, f.calls[call], f.total)
}

// Ambiguous makes a push or sync take effect and still report err, as if the
// answer had been lost.
func Ambiguous(err error) error { return &ambiguous{err} }

// IsAmbiguous reports whether a fault takes effect nevertheless.
func IsAmbiguous(err error) bool {
	_, ok := errors.AsType[*ambiguous](err)
	return ok
}

type ambiguous struct{ err error }

func (a *ambiguous) Error() string { return a.err.Error() + " (but it took effect)" }
func (a *ambiguous) Unwrap() error { return a.err }
