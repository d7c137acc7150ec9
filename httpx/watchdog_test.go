package httpx

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errSilent = errors.New("silent")

// stalled delivers a text, then nothing until the context ends.
type stalled struct {
	ctx  context.Context
	text io.Reader
}

func (s stalled) Read(p []byte) (int, error) {
	if n, err := s.text.Read(p); err == nil {
		return n, nil
	}
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// pass lets time pass in a bubble.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	if err := Sleep(t.Context(), d); err != nil {
		t.Error(err)
	}
}

func TestWatchdog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, w := Watch(t.Context(), time.Minute, errSilent)
		defer w.End()
		pass(t, time.Hour) // nobody is waited for
		body := w.Reader(stalled{ctx, strings.NewReader("abc")})
		if _, err := io.ReadFull(body, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		pass(t, time.Hour) // this side consumes
		begun := time.Now()
		if _, err := body.Read(make([]byte, 1)); !errors.Is(err, errSilent) || time.Since(begun) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}

func TestWatchdogOfARequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, w := Watch(t.Context(), time.Minute, errSilent)
		defer w.End()
		w.Start()
		slow := w.Feeder(readerFunc(func([]byte) (int, error) {
			pass(t, time.Hour) // this side produces
			return 1, nil
		}))
		if _, err := slow.Read(make([]byte, 1)); err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		pass(t, 61*time.Second) // the other side does not take it
		if !errors.Is(context.Cause(ctx), errSilent) {
			t.Errorf("%v", context.Cause(ctx))
		}
	})
}

// TestWatchdogOfWhatEnds: neither the end of a body nor the end of the exchange
// is silence.
func TestWatchdogOfWhatEnds(t *testing.T) {
	t.Parallel()
	cause := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	ctx, w := Watch(ctx, time.Minute, errSilent)
	defer w.End()
	if _, err := w.Reader(strings.NewReader("")).Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
	cancel(cause)
	if _, err := w.Reader(stalled{ctx, strings.NewReader("")}).Read(make([]byte, 1)); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
}
