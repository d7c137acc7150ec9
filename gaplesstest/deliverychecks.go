package gaplesstest

import (
	"context"
	"fmt"
	"testing"
)

// checkPushFault: whichever outside call fails in this way, tried again it ends
// in the same state, and the error is classified.
func checkPushFault(w *inside, fault Fault) {
	calls := w.makeable(fault)
	for _, n := range points(calls, w.some(10, 6)) {
		w.underAt(fault, n, calls)
	}
	w.exit()
}

// checkPushRetryAfter: a destination that is told to come back in a second does
// not do so before; it waits, or leaves it to a later run.
func checkPushRetryAfter(_ testing.TB, w *inside) {
	calls := w.makeable(Postponed)
	w.underAt(Postponed, calls/2+1, calls)
	w.exit()
}

// makeable returns how many calls a delivery makes, and skips the test if no
// fault of the kind can meet them.
func (w *inside) makeable(fault Fault) (calls int) {
	w.t.Helper()
	calls = w.callsOf(func() {
		if err := w.deliver(w.t.Context(), w.puts(0, 8)); err != nil {
			w.t.Fatal(err)
		}
	})
	if calls == 0 {
		w.t.Skip("no outside call passes the Breaker")
	}
	if missing := w.breaker.missing(fault); missing != "" {
		w.t.Skip(missing)
	}
	return calls
}

// underAt delivers with one of the outside calls failing, and once more if that
// was an error.
func (w *inside) underAt(fault Fault, n, calls int) {
	w.t.Helper()
	edits := append(w.puts(n, n+8), w.gone(name(n)), w.next(name(n+3)))
	w.breaker.arm(n, fault)
	err := w.deliver(w.t.Context(), edits)
	_, broken := w.breaker.disarm()
	what := fmt.Sprintf("call %d of %d %s", n, calls, string(fault))
	switch {
	case err == nil && broken > 0 && fault.lasting():
		w.t.Errorf("%s: everything returned nil, as if it had been allowed", what)
	case err != nil:
		classifiedAs(w.t, what, fault, err)
		w.dies()
		if err := w.deliver(w.t.Context(), edits); err != nil {
			w.t.Fatalf("the next process after one with %s: %v", what, err)
		}
	default:
		w.breaker.waited(w.t, what)
	}
	w.has("after a delivery with "+what, w.now())
}

// dies ends the process without caring how its session closes.
func (w *inside) dies() {
	w.t.Helper()
	if w.session != nil {
		_ = w.session.Close() // it may repeat what went wrong
		w.session = nil
	}
	w.exit()
}

// checkPushCancel: calls whose context is cancelled end soon, and what they left
// half done is done by the next process.
func checkPushCancel(t testing.TB, w *inside) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	edits := w.puts(0, 8)
	w.destination() // here, for the hook may end the test
	err := ends(ctx, t, "a delivery", func() error { return w.deliver(ctx, edits) })
	classified(t, "a delivery, cancelled", err)
	w.redeliver(edits)
	if missing := w.breaker.missing(Stalled); missing != "" {
		unchecked(t, "calls that get no answer: "+missing)
	} else {
		calls := w.callsOf(func() { w.redeliver(edits) })
		for _, n := range points(calls, 6) {
			edits = w.puts(n, n+8)
			ctx, cancel := context.WithCancel(t.Context())
			w.breaker.arm(n, Stalled)
			go func() {
				settles(lag, func() bool { return w.breaker.hit() || ctx.Err() != nil })
				cancel()
			}()
			err := ends(ctx, t, fmt.Sprintf("a delivery, with no answer to call %d,", n), func() error { return w.deliver(ctx, edits) })
			cancel()
			w.breaker.disarm()
			classified(t, "a delivery, cancelled", err)
			w.redeliver(edits)
		}
	}
	w.exit()
}

// redeliver delivers edits from a new process.
func (w *inside) redeliver(edits []edit) {
	w.t.Helper()
	w.dies()
	if err := w.deliver(w.t.Context(), edits); err != nil {
		w.t.Fatalf("a delivery after a cancelled one: %v", err)
	}
	w.has("a delivery after a cancelled one", w.now())
}

// checkDestinationLeaks: a destination that is closed leaves nothing behind.
func checkDestinationLeaks(t testing.TB, w *inside) {
	leaks(t, func(ctx context.Context) {
		if err := w.deliver(ctx, w.puts(0, 4)); err != nil {
			t.Fatal(err)
		}
		w.push(w.puts(0, 4)...)
		w.exit()
	})
}
