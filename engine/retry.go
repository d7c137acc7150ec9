package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

// firstWait is the wait before the first retry; it doubles each time.
const firstWait = 200 * time.Millisecond

// retry calls attempt again after recoverable failures, with exponential
// backoff and full jitter, but never before the time that q has been asked to
// wait for; if that is longer than the longest wait, this run calls it no more.
// What retry returns is the last error.
func (e *Engine) retry(ctx context.Context, q *quiet, partition, what string, attempt func() error) error {
	wait := firstWait
	for n := 1; ; n++ {
		if err := q.wait(ctx, e.Settings.MaxWait); err != nil {
			return err
		}
		err := attempt()
		asked := q.note(err)
		if asked > e.Settings.MaxWait {
			return fmt.Errorf("%w (it asks to be left alone for %s, longer than the longest wait)", err, asked)
		}
		if err == nil || n >= e.Settings.Attempts || !retryable(err) || ctx.Err() != nil {
			return err
		}
		pause := time.Duration(rand.Int64N(int64(min(wait, e.Settings.MaxWait)))) + time.Millisecond
		pause = max(asked, min(asked+pause, e.Settings.MaxWait))
		wait *= 2
		e.emit(Event{
			Type: EventRetry, Partition: partition, Wait: pause.Seconds(),
			Message: fmt.Sprintf("%s: %v; attempt %d of %d follows", what, err, n+1, e.Settings.Attempts),
		})
		if httpx.Sleep(ctx, pause) != nil {
			return err
		}
	}
}

// quiet is an outside system as far as it asks to be left alone; see
// [gapless.Later].
type quiet struct {
	mu    sync.Mutex
	until time.Time
	why   error
}

// note remembers and returns how long err asks to wait.
func (q *quiet) note(err error) time.Duration {
	asked := gapless.WaitOf(err)
	if asked > 0 && gapless.KindOf(err) == gapless.KindRecoverable {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.until, q.why = time.Now().Add(asked), err
	}
	return asked
}

// wait waits until the system may be called. If that takes longer than limit, it
// returns why.
func (q *quiet) wait(ctx context.Context, limit time.Duration) error {
	q.mu.Lock()
	rest, why := time.Until(q.until), q.why
	q.mu.Unlock()
	switch {
	case rest <= 0:
		return nil
	case rest > limit:
		return fmt.Errorf("it has asked to be left alone for another %s: %w", rest.Round(time.Second), why)
	}
	return httpx.Sleep(ctx, rest)
}

// retryable reports whether trying the same again can help.
func retryable(err error) bool {
	if gapless.KindOf(err) != gapless.KindRecoverable || errors.Is(err, context.Canceled) ||
		errors.Is(err, gapless.ErrFenced) || errors.Is(err, gapless.ErrIncarnation) || errors.Is(err, gapless.ErrInterrupted) {
		return false
	}
	if _, isFinal := errors.AsType[*final](err); isFinal {
		return false
	}
	f, ok := errors.AsType[*gapless.Failure](err)
	return ok && f.Cause != gapless.CauseAuthentication && f.Cause != gapless.CauseForbidden
}

// final marks an error that must not be retried although its class allows it.
type final struct{ error }

func (f *final) Unwrap() error { return f.error }
