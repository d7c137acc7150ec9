package pushapi

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestRateLimit(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	var waited time.Duration
	r := &rateLimit{
		interval: 100 * time.Millisecond, burst: 500 * time.Millisecond, now: func() time.Time { return now },
		sleep: func(ctx context.Context, d time.Duration) error { now, waited = now.Add(d), waited+d; return ctx.Err() },
	}
	ctx := t.Context()
	sent := 0
	send := func(n int) {
		t.Helper()
		if err := r.pass(ctx, Operation{Command: CommandDelete, URIs: make([]string, n)}, func(context.Context) error { sent += n; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	send(5)
	if waited != 0 {
		t.Errorf("a burst waits for %s", waited)
	}
	for range 100 {
		send(1)
	}
	if waited != 10*time.Second {
		t.Errorf("100 more take %s", waited)
	}
	send(0)
	send(1000)
	if waited != 110*time.Second || sent != 1105 {
		t.Errorf("1,000 at once take %s", waited)
	}
	now = now.Add(time.Hour) // time that was not used is not saved up beyond the burst
	send(5)
	if waited != 110*time.Second {
		t.Errorf("a burst waits for %s", waited)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	err := r.pass(cancelled, Operation{URIs: []string{"a"}}, func(context.Context) error { t.Error("sent"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestBufferingDelay(t *testing.T) {
	t.Parallel()
	server, ctx := NewFakeServer(), t.Context()
	var fire func()
	timers := 0
	api := NewBuffering(server.Connect("wiki"), BufferingOptions{after: func(d time.Duration, f func()) func() bool {
		if d != 5*time.Second {
			t.Error(d)
		}
		fire, timers = f, timers+1
		return func() bool { return true }
	}})
	held := func() int {
		t.Helper()
		n, err := api.Pending(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	add := func() error { return api.AddDocument(ctx, Document{URI: "a"}) }
	if err := errors.Join(add(), add()); err != nil || timers != 1 || held() != 2 {
		t.Error(err, timers)
	}
	fire()
	if held() != 0 {
		t.Error("held after the delay")
	}
	server.Fail(Fault{Times: 2})
	if err := add(); err != nil {
		t.Error(err)
	}
	fire()
	if held() != 1 || timers != 3 {
		t.Errorf("%d held, %d timers", held(), timers)
	}
	if err := add(); !errors.Is(err, ErrServerUnavailable) || held() != 1 {
		t.Errorf("an operation is taken although the one before cannot be sent: %v", err)
	}
	fire()
	if held() != 0 {
		t.Error("held after the second try")
	}
	if err := add(); err != nil || held() != 1 {
		t.Error(err)
	}
	fire()
}
