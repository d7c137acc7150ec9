package httpx

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gapless-sync/gapless"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	for attempt := range 100 {
		if d := Backoff(attempt); d < 100*time.Millisecond || d > 5*time.Second {
			t.Errorf("%d: %s", attempt, d)
		}
	}
	for attempt := range 8 {
		if wait, limit := Backoff(attempt), min(200*time.Millisecond<<attempt, 5*time.Second); wait < limit/2 || wait > limit {
			t.Errorf("attempt %d waits %s", attempt, wait)
		}
	}
}

func TestTransient(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{200: false, 302: false, 400: false, 401: false, 404: false, 408: true, 409: false, 429: true, 500: true, 501: false, 502: true, 503: true, 504: true} {
		if Transient(status) != want {
			t.Errorf("%d: %v", status, !want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-1": 0, "soon": 0, "86400": 24 * time.Hour,
		"Thu, 01 Jan 2026 00:00:09 GMT": 9 * time.Second, "Mon, 01 Jan 2001 00:00:00 GMT": 0, "Fri, 02 Jan 2026 00:00:00 GMT": 24 * time.Hour,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {header}}, now); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if err := Sleep(t.Context(), time.Minute); err != nil || time.Since(begin) != time.Minute {
			t.Error(time.Since(begin), err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gapless.ErrInterrupted)
		if err := Sleep(ctx, time.Minute); err != gapless.ErrInterrupted { //nolint:errorlint // the cause itself
			t.Error(err)
		}
	})
}

func TestAgain(t *testing.T) {
	t.Parallel()
	busy := errors.New("busy")
	type attempt struct {
		wait  time.Duration
		again bool
		err   error
	}
	try := attempt{time.Second, true, busy}
	for name, tt := range map[string]struct {
		attempts []attempt
		waits    []time.Duration // the last of all attempts has none
		err      error
		asks     time.Duration
	}{
		"at once":         {[]attempt{{}}, nil, nil, 0},
		"after a while":   {[]attempt{try, {2 * time.Second, true, busy}, {}}, []time.Duration{time.Second, 2 * time.Second}, nil, 0},
		"no longer":       {[]attempt{try, try, {3 * time.Second, true, busy}}, []time.Duration{time.Second, time.Second}, busy, 3 * time.Second},
		"of no use":       {[]attempt{{0, false, busy}}, nil, busy, 0},
		"a day from here": {[]attempt{{24 * time.Hour, true, busy}}, nil, busy, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var waits []time.Duration
			calls := 0
			err := Again(t.Context(), "call", 2, func(_ context.Context, d time.Duration) error {
				waits = append(waits, d)
				return nil
			}, func() (time.Duration, bool, error) {
				a := tt.attempts[calls]
				calls++
				return a.wait, a.again, a.err
			})
			if !errors.Is(err, tt.err) || gapless.WaitOf(err) != tt.asks || calls != len(tt.attempts) || !slices.Equal(waits, tt.waits) {
				t.Errorf("%d calls, waits %v, %s asked for at the end: %v", calls, waits, gapless.WaitOf(err), err)
			}
		})
	}
}

func TestAgainEndsWithItsContext(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	for name, during := range map[string]bool{"during a call": true, "between two": false} {
		ctx, cancel := context.WithCancelCause(t.Context())
		calls := 0
		err := Again(ctx, "call", 9, func(ctx context.Context, _ time.Duration) error {
			cancel(stop)
			return context.Cause(ctx)
		}, func() (time.Duration, bool, error) {
			calls++
			if during {
				cancel(stop)
			}
			return time.Minute, true, errors.New("busy")
		})
		if !errors.Is(err, stop) || err.Error() != "call: stop" || calls != 1 {
			t.Errorf("%s: %d calls: %v", name, calls, err)
		}
	}
}
