package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// TestUnbalancedAccountIsAGap: a run whose account does not balance did not
// complete, whatever else it says.
func TestUnbalancedAccountIsAGap(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() // nothing is written
	for _, tt := range []struct {
		name         string
		read, pushed uint64
		ok           bool
	}{{"balanced", 2, 2, true}, {"one is lost", 2, 1, false}, {"one is invented", 2, 3, false}} {
		ended := &task{run: &run{Engine: &Engine{Config: Config{Connector: "c", Store: store, Now: time.Now}}}}
		ended.partition.ID = "p"
		ended.books = &books{certificate: proof.Certificate{
			Connector: "c", Partition: "p", Run: "r", Mode: proof.ModeFull,
			Read: proof.Digest{Count: tt.read, Lo: 1}, Pushed: proof.Digest{Count: tt.pushed, Lo: 1}, Synced: proof.Digest{Count: tt.pushed, Lo: 1},
		}}
		_, err := ended.sealed(t.Context(), nil)
		if coded, _ := errors.AsType[*gapless.Error](err); (err == nil) != tt.ok || err != nil && (coded.Code != gapless.CodeGap || gapless.KindOf(err) != gapless.KindUnrecoverable) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

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
