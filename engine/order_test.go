package engine

import (
	"errors"
	"testing"

	"github.com/gapless-sync/gapless"
)

// TestDoubtOfAnotherBoot: the log beside the doubt is not synced, so that after
// a power failure it may have lost keys.
func TestDoubtOfAnotherBoot(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text, boot string
		keys             int
		ok               bool
	}{
		{"of this boot", "a\n\x01k\x02lm", "a", 2, true},
		{"of none", "a\n", "a", 0, true},
		{"of another boot", "b\n\x01k", "a", 0, false},
		{"of a boot that cannot be told", "\n\x01k", "", 0, false},
		{"without an end of the boot", "a", "a", 0, false},
		{"cut within a key", "a\n\x01k\x03lm", "a", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			keys, ok := decodeDoubt([]byte(tt.text), tt.boot)
			if len(keys) != tt.keys || ok != tt.ok {
				t.Errorf("%q, %t", keys, ok)
			}
		})
	}
}

// TestWorstDecidesTheExit: whichever comes first.
func TestWorstDecidesTheExit(t *testing.T) {
	t.Parallel()
	base := errors.New("x")
	ranked := []error{
		nil,
		gapless.ErrInterrupted,
		gapless.Errorf(gapless.CodeRejectedRecords, "c", "rejected"),
		gapless.Recoverable(base),
		gapless.Unrecoverable(base),
		gapless.Errorf(gapless.CodeGuard, "c", "guard"),
	}
	for i, a := range ranked {
		for j, b := range ranked {
			want := ranked[max(i, j)]
			if got := worst([]error{a, b}); !errors.Is(got, want) || (got == nil) != (want == nil) {
				t.Errorf("worst of %v and %v is %v", a, b, got)
			}
		}
	}
	if err := worst(nil); err != nil {
		t.Errorf("worst of nothing is %v", err)
	}
}
