package gaplesstest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/httpx"
)

// Fault is one way in which a call of an outside system goes wrong. It is also
// the error that [Breaker.Call] returns.
type Fault string

// The faults. Of HTTP they are what a [Breaker.Handler] answers.
const (
	// Throttled: 429 with Retry-After: 0. The call has no effect.
	Throttled Fault = "throttled"
	// Postponed: 429 with Retry-After: 1. The call has no effect, and is not
	// welcome again until the second is over.
	Postponed Fault = "postponed"
	// Unavailable: 503. The call has no effect.
	Unavailable Fault = "unavailable"
	// Unauthorized: 401, of this call and of all later ones.
	Unauthorized Fault = "unauthorized"
	// Forbidden: 403, of this call and of all later ones.
	Forbidden Fault = "forbidden"
	// Cut: the call takes effect, and the connection breaks in the middle of
	// the answer.
	Cut Fault = "cut"
	// Lost: the call takes effect, and the connection breaks before the answer.
	Lost Fault = "lost"
	// Truncated: 200 with the first half of the body, framed as if it were all.
	Truncated Fault = "truncated"
	// Blank: 200 without a body.
	Blank Fault = "blank"
	// Emptied: 200 with a well-formed page that has no records, as
	// [Breaker.EmptyPage] makes it.
	Emptied Fault = "emptied"
	// Stalled: no answer until the caller gives up.
	Stalled Fault = "stalled"
)

// postponement is how long a call that is [Postponed] is told to wait.
const postponement = time.Second

// NoBackoff waits in the place of a connector under check: for a second or more,
// as a [Breaker] asks for, and not for less, so that hundreds of first and second
// attempts take no time.
func NoBackoff(ctx context.Context, wait time.Duration) error {
	if wait < postponement {
		return context.Cause(ctx)
	}
	return httpx.Sleep(ctx, wait)
}

// Error returns what happened.
func (f Fault) Error() string { return "the outside system was broken on purpose: " + string(f) }

// lasting reports whether the fault stays once it has come.
func (f Fault) lasting() bool { return f == Unauthorized || f == Forbidden }

// Breaker sits between a connector and its outside system, counts the calls,
// and makes the ones fail that a check wants to fail. Whoever makes the
// outside system wires it in once: as a [Breaker.Handler] around an HTTP
// server, or by a [Breaker.Call] before each call of anything else. What the
// author's own hooks do is neither counted nor broken. It is safe for
// concurrent use. A check makes it and hands it to New; the zero value is of no
// use.
type Breaker struct {
	// EmptyPage returns the answer body without its records, as the outside
	// system would send an empty page; the same body if it is no page. Nil
	// leaves out the checks with emptied pages. Set it before the first call.
	EmptyPage func(r *http.Request, body []byte) []byte

	mu       sync.Mutex
	faults   []Fault // that the wiring can make
	called   bool    // Call has been
	armed    bool
	paused   int
	at       int // the call that fails, from 1; 0 none
	fault    Fault
	calls    int
	broken   int           // calls that failed
	told     time.Time     // when a call was postponed
	released chan struct{} // closed when stalled calls may go
}

func newBreaker() *Breaker { return &Breaker{released: make(chan struct{})} }

// Allow says that the system behind [Breaker.Call] can make these faults, too.
// [Stalled] needs nothing but the context that the source passed on; the others
// need the author to look at the error, and to have the call take effect and
// fail, or answer with less.
func (b *Breaker) Allow(faults ...Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, faults...)
}

// Call counts a call of the outside system and returns nil if it is to go
// well, or the [Fault] that it fails with.
func (b *Breaker) Call(ctx context.Context) error {
	b.mu.Lock()
	if !b.called {
		b.called, b.faults = true, append(b.faults, Throttled, Unavailable, Unauthorized, Forbidden)
	}
	b.mu.Unlock()
	switch fault := b.next(); fault {
	case "":
		return nil
	case Stalled:
		return b.stall(ctx)
	default:
		return fault
	}
}

func (b *Breaker) stall(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-b.released:
		return Stalled
	}
}

// Handler returns the handler of an outside system that breaks when a check
// wants it to.
func (b *Breaker) Handler(system http.Handler) http.Handler {
	b.Allow(Throttled, Postponed, Unavailable, Unauthorized, Forbidden, Cut, Lost, Truncated, Blank, Emptied, Stalled)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch fault := b.next(); fault {
		case "":
			system.ServeHTTP(w, r)
		case Throttled, Postponed:
			w.Header().Set("Retry-After", map[Fault]string{Throttled: "0", Postponed: "1"}[fault])
			http.Error(w, "too many requests", http.StatusTooManyRequests)
		case Unavailable:
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
		case Unauthorized:
			http.Error(w, "unauthorized", http.StatusUnauthorized)
		case Forbidden:
			http.Error(w, "forbidden", http.StatusForbidden)
		case Stalled:
			_, _ = io.Copy(io.Discard, r.Body) // a client that leaves is noticed behind its request only
			_ = b.stall(r.Context())           // either way the answer is none
			panic(http.ErrAbortHandler)
		default:
			b.spoil(fault, system, w, r)
		}
	})
}

// spoil has the system answer and passes on less than that.
func (b *Breaker) spoil(fault Fault, system http.Handler, w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	system.ServeHTTP(answer, r)
	body := answer.Body.Bytes()
	if fault == Lost {
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Header() {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	switch fault {
	case Truncated, Cut:
		body = body[:len(body)/2]
	case Blank:
		body = nil
	case Emptied:
		body = b.EmptyPage(r, body)
	}
	w.WriteHeader(answer.Code)
	_, err := w.Write(body)
	if fault == Cut {
		err = errors.Join(err, http.NewResponseController(w).Flush())
	}
	if err != nil || fault == Cut {
		panic(http.ErrAbortHandler)
	}
}

// next counts a call and returns what becomes of it.
func (b *Breaker) next() Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.armed || b.paused > 0 {
		return ""
	}
	b.calls++
	if b.at == 0 || b.calls < b.at || b.calls > b.at && !b.fault.lasting() {
		return ""
	}
	b.broken++
	if b.fault == Postponed {
		b.told = time.Now()
	}
	return b.fault
}

// arm counts calls from now on, and has the call of number at fail, if that is
// not 0.
func (b *Breaker) arm(at int, fault Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed, b.at, b.fault, b.calls, b.broken, b.told = true, at, fault, 0, 0, time.Time{}
}

// disarm lets all calls go well again and returns how many there were, and how
// many of them were broken.
func (b *Breaker) disarm() (calls, broken int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed = false
	return b.calls, b.broken
}

// aside calls fn as a hook of the author's: what it does is not counted.
func (b *Breaker) aside(fn func()) {
	b.mu.Lock()
	b.paused++
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.paused--
		b.mu.Unlock()
	}()
	fn()
}

// release ends the calls that are stalled.
func (b *Breaker) release() { close(b.released) }

// missing returns why the fault cannot be made, or "".
func (b *Breaker) missing(fault Fault) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.faults == nil:
		return "no outside call passes the Breaker"
	case !slices.Contains(b.faults, fault):
		return "the Breaker is wired in a way that cannot make the fault " + string(fault)
	case fault == Emptied && b.EmptyPage == nil:
		return "Breaker.EmptyPage is not set"
	}
	return ""
}

// makeable returns those of the faults that can be made, and says which a check
// goes without.
func (b *Breaker) makeable(t testing.TB, faults ...Fault) []Fault {
	t.Helper()
	var can []Fault
	for _, fault := range faults {
		if missing := b.missing(fault); missing != "" {
			unchecked(t, "calls that are "+string(fault)+": "+missing)
			continue
		}
		can = append(can, fault)
	}
	return can
}

// hit reports whether a call has been broken since arm.
func (b *Breaker) hit() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken > 0
}

// waited fails t if what ended well just now has not waited for the time that
// one of its calls was told to wait.
func (b *Breaker) waited(t testing.TB, what string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.told.IsZero() && time.Since(b.told) < postponement {
		t.Errorf("%s: it was told to wait for %s (Retry-After), and was done before that", what, postponement)
	}
}
