package statetest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/state"
)

func decide(t *testing.T, s state.Store, id, take string) state.Decision {
	t.Helper()
	d := state.Decision{Take: take, By: "me", At: at(30)}
	if err := s.Decide(t.Context(), id, d); err != nil {
		t.Fatal(err)
	}
	return d
}

func wantConflict(t *testing.T, s state.Store, what string, want state.Conflict) {
	t.Helper()
	got, err := s.Conflict(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, what, want, got)
}

func conflictsKept(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	c := sampleConflict(l, "x-1")
	commit(t, s, l, state.Commit{Conflicts: []state.Conflict{c}})
	wantConflict(t, s, "first", c)

	again := state.Conflict{ID: "x-1", Connector: "c", Run: "r-2", Reason: "another", Deletion: true, This: []byte("1"), At: at(9)}
	commit(t, s, l, state.Commit{Conflicts: []state.Conflict{again}})
	c.Run, c.At, c.Held, c.Rule, c.Reason = "r-2", at(9), false, "", "another"
	wantConflict(t, s, "found again", c)

	commit(t, s, l, state.Commit{Settled: []state.Conflict{c}, At: at(10)})
	c.ResolvedAt, c.ResolvedBy = at(10), l.Holder
	wantConflict(t, s, "settled by itself", c)
	commit(t, s, l, state.Commit{Conflicts: []state.Conflict{again}})
	c.ResolvedAt, c.ResolvedBy = time.Time{}, ""
	wantConflict(t, s, "found again after nobody decided", c)

	c.Decision = decide(t, s, "x-1", state.TakeThis)
	again.Run, again.At = "r-3", at(10)
	commit(t, s, l, state.Commit{Conflicts: []state.Conflict{again}})
	wantConflict(t, s, "found again after it was decided", c)

	commit(t, s, l, state.Commit{Settled: []state.Conflict{c}, At: at(31)})
	c.ResolvedAt, c.ResolvedBy = at(31), l.Holder
	commit(t, s, l, state.Commit{Conflicts: []state.Conflict{again}})
	wantConflict(t, s, "found again after it was resolved", c)

	deletion := state.Conflict{ID: "x-2", Connector: "c", Deletion: true, Loser: state.This, Reason: "a\x00b\xff"}
	commit(t, s, l, state.Commit{Conflicts: []state.Conflict{deletion}})
	deletion.Reason = "a\uFFFDb\uFFFD"
	wantConflict(t, s, "deletion", deletion)
}

func conflictsDecided(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	open, decided, dismissed := sampleConflict(l, "x-1"), sampleConflict(l, "x-2"), sampleConflict(l, "x-3")
	commit(t, s, l, state.Commit{Conflicts: []state.Conflict{open, decided, dismissed}})

	decide(t, s, "x-2", state.TakeOther)
	decided.Decision = state.Decision{Take: state.TakeValue, Value: []byte(`{"a": [1]}`), By: "Анна", At: at(40)}
	if err := s.Decide(t.Context(), "x-2", decided.Decision); err != nil {
		t.Fatal(err)
	}
	wantConflict(t, s, "decided anew", decided)
	decided.Decision.Value = nil // no value is not an empty one
	if err := s.Decide(t.Context(), "x-2", decided.Decision); err != nil {
		t.Fatal(err)
	}
	got, err := s.Conflict(t.Context(), "x-2")
	if err != nil || got.Decision.Value != nil {
		t.Errorf("value %q, %v, want none", got.Decision.Value, err)
	}

	dismissed.Decision = decide(t, s, "x-3", state.TakeNothing)
	dismissed.ResolvedAt, dismissed.ResolvedBy = dismissed.Decision.At, "me"
	wantConflict(t, s, "dismissed", dismissed)

	run := sampleRun(l, "r-2", at(50))
	otherwise := open
	otherwise.Decision.At = at(39)
	commit(t, s, l, state.Commit{Run: &run, Settled: []state.Conflict{otherwise, decided, dismissed}, At: at(51)})
	decided.ResolvedAt, decided.ResolvedBy = at(51), "r-2"
	wantConflict(t, s, "carried out", decided)
	wantConflict(t, s, "carried out after it was dismissed", dismissed)
	wantConflict(t, s, "decided otherwise meanwhile", open)

	for _, id := range []string{"x-2", "x-3"} {
		err := s.Decide(t.Context(), id, state.Decision{Take: state.TakeThis, By: "me", At: at(60)})
		if !errors.Is(err, gapless.ErrNotFound) {
			t.Errorf("%s was decided after it had been resolved: %v", id, err)
		}
		wantCode(t, id, gapless.CodeNotFound, err)
	}
	wantConflict(t, s, "decided too late", decided)
	wantConflict(t, s, "decided after it was dismissed", dismissed)
}

func conflictsNonsense(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	c := sampleConflict(l, "x-1")
	commit(t, s, l, state.Commit{Conflicts: []state.Conflict{c}})
	for name, d := range map[string]state.Decision{
		"nothing":           {By: "me", At: at(1)},
		"an unknown word":   {Take: "both", By: "me", At: at(1)},
		"nobody":            {Take: state.TakeThis, At: at(1)},
		"never":             {Take: state.TakeThis, By: "me"},
		"a value for this":  {Take: state.TakeThis, Value: []byte("1"), By: "me", At: at(1)},
		"a value not JSON":  {Take: state.TakeValue, Value: []byte("{"), By: "me", At: at(1)},
		"a value not there": {Take: state.TakeValue, Value: []byte{}, By: "me", At: at(1)},
	} {
		if err := s.Decide(t.Context(), "x-1", d); err == nil {
			t.Errorf("decided: %s", name)
		}
	}
	wantConflict(t, s, "after nonsense", c)
}

func conflictsFiltered(t *testing.T, s state.Store) {
	c, d := acquire(t, s, "c", at(0)), acquire(t, s, "d", at(0))
	for i, id := range []string{"1", "2", "3", "4", "5", "6"} {
		l := []state.Lease{c, d}[i%2]
		conflict := sampleConflict(l, id)
		conflict.At, conflict.Run, conflict.Key = at(i/2), []string{"r-0", "r-1"}[i/3], "k"+odd
		if i == 5 {
			conflict.Collection, conflict.Key = "l"+odd, odd
		}
		commit(t, s, l, state.Commit{Conflicts: []state.Conflict{conflict}})
	}
	decide(t, s, "2", state.TakeThis)
	decide(t, s, "3", state.TakeThis)
	decide(t, s, "4", state.TakeNothing)
	third, err := s.Conflict(t.Context(), "3")
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, c, state.Commit{Settled: []state.Conflict{third}, At: time.Unix(1, 0)})
	for _, test := range []struct {
		name   string
		filter state.ConflictFilter
		want   string
	}{
		{"all", state.ConflictFilter{}, "654321"},
		{"limit", state.ConflictFilter{Limit: 2}, "65"},
		{"connector", state.ConflictFilter{Connector: "c"}, "531"},
		{"collection", state.ConflictFilter{Collection: "l" + odd}, "6"},
		{"key", state.ConflictFilter{Key: "k" + odd}, "54321"},
		{"run", state.ConflictFilter{Run: "r-0"}, "321"},
		{"open", state.ConflictFilter{Open: true}, "6521"},
		{"decided", state.ConflictFilter{Decided: true}, "2"},
		{"open and decided", state.ConflictFilter{Open: true, Decided: true}, "2"},
		{"everything", state.ConflictFilter{
			Connector: "d", Collection: "assets" + odd, Key: "k" + odd, Run: "r-0", Open: true, Decided: true, Limit: 5,
		}, "2"},
		{"nothing", state.ConflictFilter{Connector: "x"}, ""},
	} {
		all, err := s.Conflicts(t.Context(), test.filter)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, c := range all {
			got.WriteString(c.ID)
		}
		equal(t, test.name, test.want, got.String())
	}
}
