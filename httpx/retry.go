package httpx

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
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
