package httpx

import (
	"context"
	"io"
	"time"
)

// Watchdog ends an exchange in which the other side is silent for too long.
// The time that this side takes to produce or to consume does not count. It is
// used by one goroutine at a time.
type Watchdog struct {
	ctx    context.Context //nolint:containedctx // a watchdog lives for one exchange
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// Watch returns a context for one exchange, and the watchdog, not started yet,
// that ends it with the cause silent. [Watchdog.End] has to be called.
func Watch(ctx context.Context, limit time.Duration, silent error) (context.Context, *Watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &Watchdog{ctx: ctx, limit: limit, cancel: cancel}
	w.timer = time.AfterFunc(limit, func() { cancel(silent) })
	w.timer.Stop()
	return ctx, w
}

// Start says that it is the other side's turn.
func (w *Watchdog) Start() { w.timer.Reset(w.limit) }

// Stop says that it no longer is.
func (w *Watchdog) Stop() { w.timer.Stop() }

// End releases the context.
func (w *Watchdog) End() {
	w.timer.Stop()
	w.cancel(nil)
}

// Reader watches the body of a reply: the other side has to deliver. What ended
// the context is returned in place of the error that follows from it.
func (w *Watchdog) Reader(r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		w.Start()
		n, err := r.Read(p)
		w.Stop()
		if cause := context.Cause(w.ctx); err != nil && err != io.EOF && cause != nil { //nolint:errorlint // a wrapped io.EOF is not the end but a failure
			err = cause
		}
		return n, err
	})
}

// Feeder watches the body of a request: the other side has to take it.
func (w *Watchdog) Feeder(r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		w.Stop()
		defer w.Start()
		return r.Read(p)
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
