package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gapless-sync/gapless"
)

// firstWait is the wait before the first retry; it doubles each time.
const firstWait = 200 * time.Millisecond

// retry calls attempt again after recoverable failures, with exponential
// backoff and full jitter, but not before the time that the outside system asks
// to wait for; if that is longer than the longest wait, a later run tries. What
// it returns is the last error.
func (e *Engine) retry(ctx context.Context, partition, what string, attempt func() error) error {
	wait := firstWait
	for n := 1; ; n++ {
		err := attempt()
		asked := gapless.WaitOf(err)
		if err == nil || n >= e.Settings.Attempts || asked > e.Settings.MaxWait || !retryable(err) || ctx.Err() != nil {
			return err
		}
		pause := asked + time.Duration(rand.Int64N(int64(min(wait, e.Settings.MaxWait)))) + time.Millisecond
		wait *= 2
		e.emit(Event{
			Type: EventRetry, Partition: partition, Wait: pause.Seconds(),
			Message: fmt.Sprintf("%s: %v; attempt %d of %d follows", what, err, n+1, e.Settings.Attempts),
		})
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
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
