package state_test

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/state"
)

func TestNewRunIDSortsByTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		millis := rapid.Int64Range(0, 1<<48-1)
		a, b := millis.Draw(t, "a"), millis.Draw(t, "b")
		random := rapid.SliceOfN(rapid.Byte(), 4, 4)
		idA := state.NewRunID(time.UnixMilli(a), bytes.NewReader(random.Draw(t, "random a")))
		idB := state.NewRunID(time.UnixMilli(b), bytes.NewReader(random.Draw(t, "random b")))
		if a != b && (a < b) != (idA < idB) {
			t.Errorf("%d is %s, %d is %s", a, idA, b, idB)
		}
		if len(idA) != 18 || !strings.HasPrefix(idA, "r-") {
			t.Errorf("id is %s", idA)
		}
	})
}

func TestNewRunIDIsUnique(t *testing.T) {
	t.Parallel()
	now, seen := time.Now(), map[string]bool{}
	for range 1000 {
		seen[state.NewRunID(now, rand.Reader)] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d of 1000 ids differ", len(seen))
	}
	if got := state.NewRunID(time.Time{}, bytes.NewReader(make([]byte, 4))); got != "r-0000000000000000" {
		t.Errorf("before 1970: %s", got)
	}
}

func TestHeldErrorSaysWhoAndWhatNext(t *testing.T) {
	t.Parallel()
	err := state.NewHeldError(state.Lease{Connector: "docs", Holder: "host/4711", Until: time.Unix(0, 0)})
	want := "docs: acquire the lease: being run by host/4711 until 1970-01-01T00:00:00Z"
	if err.Error() != want || gapless.ExitCode(err) != gapless.ExitRecoverable {
		t.Errorf("%v with exit code %d", err, gapless.ExitCode(err))
	}
}
