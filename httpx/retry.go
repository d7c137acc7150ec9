package httpx

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/gapless-sync/gapless"
)

// MaxRetryAfter is the longest time that a call waits because a server asks for
// it. Whoever is asked for more gives up for now.
const MaxRetryAfter = 5 * time.Minute

// Transient reports whether the same request may be taken later: after 408,
// 429, 500, 502, 503 and 504.
func Transient(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Backoff returns a random wait before the next attempt, counted from 0, that
// may grow from 200 ms to five seconds.
func Backoff(attempt int) time.Duration {
	limit := min(200*time.Millisecond<<min(attempt, 10), 5*time.Second)
	return limit/2 + rand.N(limit/2)
}

// RetryAfter returns how long the server asks to wait, in seconds or until a
// date; 0 if it does not.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return max(wait, 0)
}

// Again calls attempt until it succeeds, and waits in between: at least as long
// as the server asks, by sleep. It ends with the error of the last attempt after
// so many retries, if attempt says that asking again is of no use, or if the
// server asks for more than [MaxRetryAfter]; whoever asks later finds out how long
// to wait by [gapless.WaitOf]. Once ctx has ended, its cause is the error, behind
// what was to be done.
func Again(ctx context.Context, what string, retries int, sleep func(context.Context, time.Duration) error,
	attempt func() (wait time.Duration, again bool, err error),
) error {
	for n := 0; ; n++ {
		wait, again, err := attempt()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
		if !again || n >= retries || wait > MaxRetryAfter {
			return gapless.Later(wait, err)
		}
		if err := sleep(ctx, max(wait, Backoff(n))); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// Sleep waits, and returns the cause if the context ends before that.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
