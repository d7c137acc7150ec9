package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

func TestPushIfAppliesOnlyWhatIsAsExpected(t *testing.T) {
	t.Parallel()
	is := func(version, data string) gapless.Expectation {
		return gapless.Expectation{Exists: true, Version: []byte(version), Data: []byte(data)}
	}
	absent := gapless.Expectation{}
	tests := []struct {
		name   string
		change gapless.Change // of "a", which is {"n":1} at version "va", or of "none"
		expect gapless.Expectation
		want   string // the record afterwards; empty if there is none
		met    bool
	}{
		{"upsert as expected", upsert("a", `{"n":2}`), is("va", `{"n":1}`), `{"n":2}`, true},
		{"upsert, other data", upsert("a", `{"n":2}`), is("va", `{"n":0}`), `{"n":1}`, false},
		{"upsert, same data in other bytes", upsert("a", `{"n":2}`), is("va", `{"n": 1}`), `{"n":1}`, false},
		{"upsert, other version", upsert("a", `{"n":2}`), is("v", `{"n":1}`), `{"n":1}`, false},
		{"upsert, expected to be new", upsert("a", `{"n":2}`), absent, `{"n":1}`, false},
		{"upsert that was applied already", upsert("a", `{"n":1}`), absent, `{"n":1}`, true},
		{"patch as expected", patch("a", `{"m":2}`), is("va", `{"n":1}`), `{"n":1,"m":2}`, true},
		{"patch, other data", patch("a", `{"m":2}`), is("va", `{}`), `{"n":1}`, false},
		{"delete as expected", remove("a"), is("va", `{"n":1}`), "", true},
		{"delete, other data", remove("a"), is("va", `{}`), `{"n":1}`, false},
		{"delete, expected to be absent", remove("a"), absent, `{"n":1}`, false},
		{"create as expected", upsert("none", `{}`), absent, `{}`, true},
		{"create, expected to be there", upsert("none", `{}`), is("", ""), "", false},
		{"delete that was applied already", remove("none"), is("va", `{"n":1}`), "", true},
		{"delete of nothing", remove("none"), absent, "", true},
	}
	for _, synced := range []bool{true, false} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, synced %t", tt.name, synced), func(t *testing.T) {
				t.Parallel()
				h := open(t, Options{fs: crashable()})
				s := session(t, h, "docs", 1)
				push(t, s, upsert("a", `{"n":0}`))
				syncNow(t, s)
				push(t, s, upsert("a", `{"n":1}`))
				if synced {
					syncNow(t, s)
				}
				b := batch(upsert("first", `{}`), tt.change, upsert("last", `{}`))
				receipt, err := s.PushIf(t.Context(), b, []gapless.Expectation{absent, tt.expect, absent})
				if err != nil {
					t.Fatal(err)
				}
				if tt.met != (len(receipt.Rejected) == 0) {
					t.Errorf("rejected %+v, want none: %t", receipt.Rejected, tt.met)
				}
				for _, r := range receipt.Rejected {
					if r.Key != tt.change.Key || r.Origin != "test" || !errors.Is(r.Err, gapless.ErrChanged) || gapless.KindOf(r.Err) != gapless.KindRejected {
						t.Errorf("rejection %+v", r)
					}
				}
				syncNow(t, s)
				got := contents(t, h, "docs")
				if got["first"] == "" || got["last"] == "" || got[tt.change.Key] != tt.want {
					t.Errorf("got %v, want %q", got, tt.want)
				}
			})
		}
	}
}

func TestPushIfSeesTheRowsBefore(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable()})
	s := session(t, h, "docs", 1)
	first := gapless.Expectation{Exists: true, Version: []byte("va"), Data: []byte(`{"n":1}`)}
	b := batch(upsert("a", `{"n":1}`), upsert("a", `{"n":2}`), upsert("a", `{"n":3}`), remove("a"))
	receipt, err := s.PushIf(t.Context(), b, []gapless.Expectation{{}, first, first, {Exists: true, Version: []byte("va"), Data: []byte(`{"n":2}`)}})
	if err != nil || len(receipt.Rejected) != 1 || string(receipt.Rejected[0].Raw) != `{"n":3}` {
		t.Errorf("receipt %+v, %v", receipt, err)
	}
	syncNow(t, s)
	if list, _, err := changes(t, h, "docs", 0); len(list) != 3 || err != nil || len(contents(t, h, "docs")) != 0 {
		t.Errorf("feed %v, %v", list, err)
	}
}

func TestPushIfDropsThePartsOfWhatItRefuses(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable(), stageBytes: testStageBytes})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{}`, part("p", "", "old")))
	big := strings.Repeat("x", testStageBytes+chunkBytes)
	receipt, err := s.PushIf(t.Context(), batch(upsert("a", `{"n":1}`, part("p", "", big))), make([]gapless.Expectation, 1))
	if err != nil || len(receipt.Rejected) != 1 {
		t.Fatalf("receipt %+v, %v", receipt, err)
	}
	syncNow(t, s)
	if diff := cmp.Diff(map[string]string{"a": "{} +p=old"}, contents(t, h, "docs")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := chunksOf(t, h); n != 1 {
		t.Errorf("%d chunks, want 1", n)
	}
}

// TestPushIfLosesNoUpdate has writers that read, change and write the same
// records at the same time.
func TestPushIfLosesNoUpdate(t *testing.T) {
	t.Parallel()
	const writers, rounds = 4, 50
	h := open(t, Options{fs: crashable()})
	push(t, session(t, h, "docs", 1), upsert("a", `{"n":0}`))
	var all sync.WaitGroup
	for i := range writers {
		s := shared(t, h, fmt.Sprint("writer", i), 1).(*Session) //nolint:forcetypeassert // without search it is one
		all.Go(func() {
			for done, tries := 0, 0; done < rounds && tries < 10_000; tries++ {
				r, err := s.GetPushed(t.Context(), items, "a")
				var count struct{ N int }
				if err := errors.Join(err, json.Unmarshal(r.Data, &count)); err != nil {
					t.Error(err)
					return
				}
				expect := []gapless.Expectation{{Exists: true, Version: []byte(r.Version), Data: r.Data}}
				next := upsert("a", fmt.Sprintf(`{"n":%d}`, count.N+1))
				next.Version = fmt.Sprint("of writer ", i) // nobody else leaves the same record
				receipt, err := s.PushIf(t.Context(), batch(next), expect)
				if err != nil {
					t.Error(err)
					return
				}
				if len(receipt.Rejected) == 0 {
					done++
				}
			}
		})
	}
	all.Wait()
	syncNow(t, session(t, h, "docs", 1))
	if got := contents(t, h, "docs")["a"]; got != fmt.Sprintf(`{"n":%d}`, writers*rounds) {
		t.Errorf("%s after %d times one more", got, writers*rounds)
	}
}

func TestPushIfRefuses(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable()})
	s := session(t, h, "docs", 1)
	if _, err := s.PushIf(t.Context(), batch(upsert("a", `{}`)), nil); err == nil {
		t.Error("a row without expectation is accepted")
	}
	if _, err := s.PushIf(t.Context(), batch(), nil); err != nil {
		t.Errorf("nothing at all: %v", err)
	}
	if _, err := session(t, h, "docs", 0).PushIf(t.Context(), batch(upsert("a", `{}`)), make([]gapless.Expectation, 1)); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("reader: %v", err)
	}
	session(t, h, "docs", 2)
	if _, err := s.PushIf(t.Context(), batch(upsert("a", `{}`)), make([]gapless.Expectation, 1)); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("old epoch: %v", err)
	}
	receipt, err := session(t, h, "docs", 2).PushIf(t.Context(), batch(upsert("", `{}`)), make([]gapless.Expectation, 1))
	if err != nil || len(receipt.Rejected) != 1 || errors.Is(receipt.Rejected[0].Err, gapless.ErrChanged) {
		t.Errorf("row that fits nowhere: %+v, %v", receipt, err)
	}
}
