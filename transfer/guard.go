package transfer

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

// guard ends the context of a call of a supplier that is silent for too long.
type guard struct {
	idle  time.Duration
	timer *time.Timer
}

type guardKey struct{}

// withGuard returns a context that its guard can end; stop frees both.
func withGuard(ctx context.Context, idle time.Duration) (guarded context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	g := &guard{idle: idle, timer: time.AfterFunc(idle, func() {
		cancel(gapless.Because(gapless.CauseUnreachable, fmt.Errorf("not a byte came in %s", idle)))
	})}
	g.timer.Stop()
	return context.WithValue(ctx, guardKey{}, g), func() {
		g.timer.Stop()
		cancel(nil)
	}
}

// guardOf returns the guard of a context, which may be nil.
func guardOf(ctx context.Context) *guard {
	g, _ := ctx.Value(guardKey{}).(*guard)
	return g
}

// wait starts the time of silence; the function that it returns ends it.
func (g *guard) wait() (over func()) {
	if g == nil {
		return func() {}
	}
	g.timer.Reset(g.idle)
	return func() { g.timer.Stop() }
}

// guarded is a reader under a guard.
type guarded struct {
	r io.Reader
	g *guard
}

// Read is under the guard.
func (r guarded) Read(p []byte) (int, error) {
	if r.g == nil {
		return r.r.Read(p)
	}
	r.g.timer.Reset(r.g.idle)
	n, err := r.r.Read(p)
	r.g.timer.Stop()
	return n, err
}

// throttle bounds the bytes per second of everything that goes through it.
type throttle struct{ limiter *rate.Limiter }

func newThrottle(bytes gapless.ByteSize) throttle {
	if bytes <= 0 {
		return throttle{}
	}
	return throttle{rate.NewLimiter(rate.Limit(bytes), pieceSize)}
}

// pass waits until n bytes, at most a piece, are allowed.
func (t throttle) pass(ctx context.Context, n int) error {
	if t.limiter == nil {
		return nil
	}
	now := time.Now()
	wait := t.limiter.ReserveN(now, n).DelayFrom(now)
	if wait <= 0 {
		return nil
	}
	return httpx.Sleep(ctx, wait)
}

// inParallel calls do for each, several at a time, and returns the first error.
func inParallel[T any](all []T, do func(T) error) error {
	const most = 32
	var (
		group sync.WaitGroup
		mu    sync.Mutex // guards first
		first error
	)
	workers := min(most, len(all))
	for w := range workers {
		group.Go(func() {
			for i := w; i < len(all); i += workers {
				if err := do(all[i]); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
					return
				}
			}
		})
	}
	group.Wait()
	return first
}
