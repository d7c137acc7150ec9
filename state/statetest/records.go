package statetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

func certificatesOrdered(t *testing.T, s state.Store) {
	l, other := acquire(t, s, "c", at(0)), acquire(t, s, "d", at(0))
	partitions := []string{"", "A", "a", "a\x00", "a\x00b", "ab", "б"} // in order of their bytes
	var c state.Commit
	last := map[string]proof.Certificate{}
	for _, p := range slices.Backward(partitions[1:]) {
		var previous *proof.Certificate
		for range 100 {
			certificate := sampleCertificate(l, p, previous)
			c.Certificates = append(c.Certificates, certificate)
			previous = &certificate
		}
		last[p] = *previous
	}
	commit(t, s, l, c)
	commit(t, s, other, state.Commit{Certificates: []proof.Certificate{sampleCertificate(other, "a", nil)}})

	place := map[string]int{}
	for i, p := range partitions {
		place[p] = i
	}
	slices.SortStableFunc(c.Certificates, func(a, b proof.Certificate) int { return place[a.Partition] - place[b.Partition] })
	var got []proof.Certificate
	for certificate, err := range s.Certificates(t.Context(), "c") {
		if err != nil {
			t.Fatal(err)
		}
		if len(got)%50 == 0 { // the store stays usable
			newest, err := s.LastCertificate(t.Context(), "c", certificate.Partition)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "last of "+certificate.Partition, last[certificate.Partition], newest)
			commit(t, s, l, state.Commit{})
		}
		got = append(got, certificate)
	}
	equal(t, "certificates", c.Certificates, got)
	for certificate, err := range s.Certificates(t.Context(), "c") {
		if err != nil {
			t.Error(err)
		}
		equal(t, "first", c.Certificates[0], certificate)
		break
	}
	for certificate, err := range s.Certificates(t.Context(), "unknown") {
		t.Errorf("certificate of nobody: %v, %v", certificate, err)
	}
}

func certificatesKept(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	first := sampleCertificate(l, "p", nil)
	commit(t, s, l, state.Commit{Certificates: []proof.Certificate{first}})
	other := first
	other.Run = "r-2"
	other.Seal(nil)
	if err := s.Commit(t.Context(), l, state.Commit{Certificates: []proof.Certificate{other}}); err == nil {
		t.Error("a certificate was replaced")
	}
	got, err := s.LastCertificate(t.Context(), "c", "p")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "certificate", first, got)
}

func runsOrdered(t *testing.T, s state.Store) {
	c, d := acquire(t, s, "c", at(0)), acquire(t, s, "d", at(0))
	for i, id := range []string{"r-c", "r-a", "r-b", "r-0"} {
		l := []state.Lease{c, d}[i%2]
		run := sampleRun(l, id, at(i/3)) // the first three began together
		commit(t, s, l, state.Commit{Run: &run})
	}
	for _, test := range []struct {
		name, connector string
		limit           int
		want            []string
	}{
		{"all", "", 0, []string{"r-0", "r-c", "r-b", "r-a"}},
		{"newest", "", 2, []string{"r-0", "r-c"}},
		{"of one", "c", 0, []string{"r-c", "r-b"}},
		{"newest of one", "d", 1, []string{"r-0"}},
		{"of nobody", "x", 0, nil},
	} {
		runs, err := s.Runs(t.Context(), test.connector, test.limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range runs {
			got = append(got, r.ID)
		}
		equal(t, test.name, test.want, got)
	}
}

func plansPruned(t *testing.T, s state.Store) {
	sample := func(connector string, i int) plan.Plan {
		return plan.Plan{
			ID: fmt.Sprintf("p-%s-%d", connector, i), Connector: connector, Created: at(i),
			Decisions: []plan.Decision{{Partition: "ключ", Rule: "P1"}}, Changes: []plan.Count{{Partition: "ключ", Known: true, Deletes: 5}},
		}
	}
	save := func(p plan.Plan) {
		t.Helper()
		if err := s.SavePlan(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	save(sample("other", 0))
	for i := range state.KeptPlans {
		save(sample("c", i))
	}
	again := sample("c", 0) // the oldest is planned once more
	again.Created = at(1000)
	for range state.KeptPlans {
		save(again)
	}
	for i := range state.KeptPlans {
		if _, err := s.Plan(t.Context(), sample("c", i).ID); err != nil {
			t.Fatalf("plan %d of %d: %v", i, state.KeptPlans, err)
		}
	}
	save(sample("c", state.KeptPlans))
	for i, kept := range map[int]bool{0: true, 1: false, 2: true, state.KeptPlans: true} {
		got, err := s.Plan(t.Context(), sample("c", i).ID)
		if kept != (err == nil) || !kept && !errors.Is(err, gapless.ErrNotFound) {
			t.Errorf("plan %d: %v", i, err)
		}
		if i == 0 {
			equal(t, "plan saved again", again, got)
		}
	}
	got, err := s.Plan(t.Context(), "p-other-0")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "plan of another connector", sample("other", 0), got)
	for _, p := range []plan.Plan{{Connector: "c"}, {ID: "p-1"}} {
		if err := s.SavePlan(t.Context(), p); err == nil {
			t.Errorf("saved %+v", p)
		}
	}
}

func letters(t *testing.T, s state.Store, f state.DeadLetterFilter) []state.DeadLetter {
	t.Helper()
	all, err := s.DeadLetters(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func lettersDeduplicated(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	byKey, byPlace := sampleLetter(l, "k"), sampleLetter(l, "")
	byPlace.At = at(2)
	commit(t, s, l, state.Commit{DeadLetters: []state.DeadLetter{byKey, byPlace}})
	first := letters(t, s, state.DeadLetterFilter{})
	if len(first) != 2 {
		t.Fatalf("%d letters", len(first))
	}
	for i, d := range []*state.DeadLetter{&byKey, &byPlace} {
		d.Run, d.Reason, d.Op, d.Version, d.Body, d.HasBody, d.HasParts = "r-2", "still", gapless.OpDelete, "2", []byte("b"), false, false
		d.At = at(20 - i)
	}
	byKey.Line, byKey.Origin = 5, "moved" // where it stands is no matter if it has a key
	commit(t, s, l, state.Commit{DeadLetters: []state.DeadLetter{byKey, byPlace}})
	commit(t, s, l, state.Commit{DeadLetters: []state.DeadLetter{byKey, byKey, byPlace}})
	got := remember(t, s).Letters
	byKey.ID, byPlace.ID = first[0].ID, first[1].ID
	equal(t, "letters", []state.DeadLetter{byKey, byPlace}, got)

	for _, differ := range []func(*state.DeadLetter){
		func(d *state.DeadLetter) { d.Stage = state.StageMap },
		func(d *state.DeadLetter) { d.Partition = "q" },
		func(d *state.DeadLetter) { d.Key = "k2" },
		func(d *state.DeadLetter) { d.Key = ""; d.Line++ },
		func(d *state.DeadLetter) { d.Key = ""; d.Origin = "x" },
	} {
		d := sampleLetter(l, "k")
		differ(&d)
		before := len(letters(t, s, state.DeadLetterFilter{}))
		commit(t, s, l, state.Commit{DeadLetters: []state.DeadLetter{d}})
		if after := len(letters(t, s, state.DeadLetterFilter{})); after != before+1 {
			t.Errorf("%d letters after %d and %+v", after, before, d)
		}
	}
}

func lettersResolved(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	d, stays := sampleLetter(l, "k"), sampleLetter(l, "stays")
	commit(t, s, l, state.Commit{DeadLetters: []state.DeadLetter{d, stays}})
	id := ""
	for _, one := range letters(t, s, state.DeadLetterFilter{}) {
		if one.Key == "k" {
			id = one.ID
		}
	}
	run := sampleRun(l, "r-2", at(5))
	commit(t, s, l, state.Commit{Run: &run, Resolved: []string{id}, At: at(6)})
	resolved := func() state.DeadLetter {
		got, err := s.DeadLetter(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := d
	want.ID, want.ResolvedAt, want.ResolvedBy = id, at(6), "r-2"
	equal(t, "resolved", want, resolved())
	commit(t, s, l, state.Commit{Resolved: []string{id}, At: at(7)})
	equal(t, "resolved again", want, resolved())

	// The record fails once more: a new letter, the solved one stays solved.
	d.At = at(8)
	commit(t, s, l, state.Commit{DeadLetters: []state.DeadLetter{d}})
	open := letters(t, s, state.DeadLetterFilter{Open: true})
	if len(open) != 2 || open[0].Key != "k" || open[0].ID == id || len(letters(t, s, state.DeadLetterFilter{})) != 3 {
		t.Errorf("open letters: %+v", open)
	}
	equal(t, "resolved before", want, resolved())

	// Solved and failed in one commit: it is open.
	d.At = at(9)
	before := time.Now().Add(-time.Minute)
	commit(t, s, l, state.Commit{Resolved: []string{open[0].ID, open[1].ID}, DeadLetters: []state.DeadLetter{d}})
	last := letters(t, s, state.DeadLetterFilter{Open: true})
	if len(last) != 1 || last[0].Key != "k" || !last[0].At.Equal(at(9)) {
		t.Errorf("open letters at last: %+v", last)
	}
	got, err := s.DeadLetter(t.Context(), open[1].ID)
	if err != nil || got.ResolvedAt.Before(before) || got.ResolvedBy != l.Holder {
		t.Errorf("resolved without a run: %+v, %v", got, err)
	}
}

func lettersFiltered(t *testing.T, s state.Store) {
	c, d := acquire(t, s, "c", at(0)), acquire(t, s, "d", at(0))
	for i, key := range []string{"1", "2", "3", "4", "5", "6"} {
		l := []state.Lease{c, d}[i%2]
		letter := sampleLetter(l, key)
		letter.At, letter.Run = at(i), fmt.Sprintf("r-%d", i/3)
		if i == 5 {
			letter.Partition = odd
		}
		commit(t, s, l, state.Commit{DeadLetters: []state.DeadLetter{letter}})
	}
	third := letters(t, s, state.DeadLetterFilter{Connector: "c", Run: "r-0"})[0]
	commit(t, s, c, state.Commit{Resolved: []string{third.ID}})
	for _, test := range []struct {
		name   string
		filter state.DeadLetterFilter
		want   string
	}{
		{"all", state.DeadLetterFilter{}, "654321"},
		{"limit", state.DeadLetterFilter{Limit: 2}, "65"},
		{"connector", state.DeadLetterFilter{Connector: "c"}, "531"},
		{"connector and limit", state.DeadLetterFilter{Connector: "c", Limit: 1}, "5"},
		{"partition", state.DeadLetterFilter{Partition: odd}, "6"},
		{"run", state.DeadLetterFilter{Run: "r-0"}, "321"},
		{"open", state.DeadLetterFilter{Open: true}, "65421"},
		{"everything", state.DeadLetterFilter{Connector: "c", Partition: "p" + odd, Run: "r-0", Open: true, Limit: 5}, "1"},
		{"nothing", state.DeadLetterFilter{Connector: "x"}, ""},
	} {
		var got strings.Builder
		for _, d := range letters(t, s, test.filter) {
			got.WriteString(d.Key)
			if d.Body != nil {
				t.Errorf("%s: the list carries a body", test.name)
			}
		}
		equal(t, test.name, test.want, got.String())
	}
}

func lettersBounded(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	body := bytes.Repeat([]byte("x"), state.MaxLetterBytes+1)
	for _, test := range []struct {
		name  string
		size  int
		whole bool
	}{{"none", 0, true}, {"largest", state.MaxLetterBytes, true}, {"too large", state.MaxLetterBytes + 1, false}} {
		d := sampleLetter(l, test.name)
		d.Body = body[:test.size]
		commit(t, s, l, state.Commit{DeadLetters: []state.DeadLetter{d}})
		var got state.DeadLetter
		for _, one := range remember(t, s).Letters {
			if one.Key == test.name {
				got = one
			}
		}
		if got.HasBody != test.whole || len(got.Body) != min(test.size, state.MaxLetterBytes) {
			t.Errorf("%s: %d bytes of %d, whole %t", test.name, len(got.Body), test.size, got.HasBody)
		}
	}
}

func missing(t *testing.T, s state.Store) {
	acquire(t, s, "c", at(0))
	_, connector := s.Connector(t.Context(), "x")
	_, run := s.Run(t.Context(), "x")
	_, savedPlan := s.Plan(t.Context(), "x")
	_, letter := s.DeadLetter(t.Context(), "x")
	_, conflict := s.Conflict(t.Context(), "x")
	_, certificate := s.LastCertificate(t.Context(), "c", "x")
	for name, err := range map[string]error{
		"connector": connector, "run": run, "plan": savedPlan, "dead letter": letter, "certificate": certificate,
		"conflict": conflict, "decision": s.Decide(t.Context(), "x", state.Decision{Take: state.TakeThis, By: "me", At: at(1)}),
	} {
		if !errors.Is(err, gapless.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		wantCode(t, name, gapless.CodeNotFound, err)
	}
	partitions, err := s.Partitions(t.Context(), "x")
	if err != nil || len(partitions) != 0 {
		t.Errorf("partitions of nobody: %v, %v", partitions, err)
	}
}
