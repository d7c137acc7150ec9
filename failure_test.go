package gapless_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
)

func TestClassAndExitCode(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	tests := []struct {
		name string
		err  error
		kind gapless.Kind
		exit int
	}{
		{"unclassified is unrecoverable", cause, gapless.KindUnrecoverable, gapless.ExitUnknown},
		{"recoverable", gapless.Recoverable(cause), gapless.KindRecoverable, gapless.ExitRecoverable},
		{"unrecoverable", gapless.Unrecoverable(cause, "p"), gapless.KindUnrecoverable, gapless.ExitUnrecoverable},
		{"rejected", gapless.Reject("k", cause), gapless.KindRejected, 55},
		{"misconfigured", gapless.Misconfigured(cause), gapless.KindMisconfigured, gapless.ExitUsage},
		{"expired", gapless.Expired(cause), gapless.KindExpired, gapless.ExitRecoverable},
		{"unreachable", gapless.Because(gapless.CauseUnreachable, cause), gapless.KindRecoverable, 51},
		{"authentication", gapless.Because(gapless.CauseAuthentication, cause), gapless.KindRecoverable, 52},
		{"forbidden", gapless.Because(gapless.CauseForbidden, cause), gapless.KindRecoverable, 53},
		{"invalid parameter", gapless.Because(gapless.CauseInvalidParameter, cause), gapless.KindRecoverable, 54},
		{"unreadable", gapless.Because(gapless.CauseUnreadable, cause), gapless.KindRecoverable, 55},
		{"wrapped", fmt.Errorf("read: %w", gapless.Recoverable(cause)), gapless.KindRecoverable, gapless.ExitRecoverable},
		{"cancelled", context.Canceled, gapless.KindRecoverable, gapless.ExitRecoverable},
		{"interrupted", fmt.Errorf("read: %w", gapless.ErrInterrupted), gapless.KindRecoverable, gapless.ExitInterrupted},
		{"fenced", gapless.ErrFenced, gapless.KindRecoverable, gapless.ExitRecoverable},
		{"guard", gapless.Errorf(gapless.CodeGuard, "c", "too many"), gapless.KindRecoverable, gapless.ExitGuard},
		{"usage", gapless.Errorf(gapless.CodeUsage, "", "no"), gapless.KindMisconfigured, gapless.ExitUsage},
		{"code without exit", gapless.Errorf(gapless.CodeRunFailed, "c", "%w", gapless.Recoverable(cause)), gapless.KindRecoverable, gapless.ExitRecoverable},
		{"nothing", nil, gapless.KindUnrecoverable, gapless.ExitComplete},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := gapless.KindOf(test.err); test.err != nil && got != test.kind {
				t.Errorf("kind %s, want %s", got, test.kind)
			}
			if got := gapless.ExitCode(test.err); got != test.exit {
				t.Errorf("exit %d, want %d", got, test.exit)
			}
		})
	}
}

func TestLater(t *testing.T) {
	err := gapless.Later(time.Minute, gapless.Because(gapless.CauseUnreachable, errors.New("busy")))
	wrapped := fmt.Errorf("push: %w", err)
	if gapless.WaitOf(wrapped) != time.Minute || gapless.KindOf(wrapped) != gapless.KindRecoverable || wrapped.Error() != "push: busy" {
		t.Errorf("%v is to be tried again in %s and %s", wrapped, gapless.WaitOf(wrapped), gapless.KindOf(wrapped))
	}
	if gapless.Later(time.Minute, nil) != nil || gapless.WaitOf(gapless.Later(0, wrapped)) != time.Minute || gapless.WaitOf(errors.New("x")) != 0 {
		t.Error("no error, no time and no word of one")
	}
}

func TestEveryCodeIsDocumented(t *testing.T) {
	t.Parallel()
	for _, c := range gapless.Codes() {
		if c.Title == "" || c.Hint == "" {
			t.Errorf("%s has no title or no hint", c.Code)
		}
		if e := gapless.Errorf(c.Code, "s", "x"); gapless.HintFor(e) != c.Hint || gapless.HintFor(e.WithHint("own")) != "own" {
			t.Errorf("%s: hint %q", c.Code, gapless.HintFor(e))
		}
	}
}

func TestDidYouMean(t *testing.T) {
	t.Parallel()
	names := []string{"path", "include", "exclude"}
	for name, want := range map[string]string{"pth": "did you mean path?", "includes": "did you mean include?", "zzz": "", "": ""} {
		if got := gapless.DidYouMean(name, names); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
