package statetest

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state"
)

func leaseEpochsGrow(t *testing.T, s state.Store) {
	var last uint64
	for _, now := range []time.Time{at(0), at(0), at(9), at(5), at(0)} { // the clock may even be set back
		l := acquire(t, s, "c", now)
		if l.Epoch <= last || l.Epoch < uint64(now.UnixMilli()) {
			t.Errorf("epoch %d at %s, after %d", l.Epoch, now, last)
		}
		equal(t, "lease", state.Lease{Connector: "c", Holder: "host/c", Epoch: l.Epoch, Until: now.Add(ttl)}, l)
		c, err := s.Connector(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "connector", state.Connector{Name: "c", Epoch: l.Epoch, Lease: l}, c)
		if err := s.Release(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		last = l.Epoch
	}
	c, err := s.Connector(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "connector without lease", state.Connector{Name: "c", Epoch: last}, c)
}

func leaseHeld(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	for _, holder := range []string{"host/other", l.Holder} {
		_, err := s.Acquire(t.Context(), "c", holder, ttl, at(59))
		held, ok := errors.AsType[*state.HeldError](err)
		if !ok {
			t.Fatalf("acquired by %s: %v", holder, err)
		}
		equal(t, "held", state.HeldError{Connector: "c", Holder: l.Holder, Until: l.Until}, *held)
		wantCode(t, "held", gapless.CodeLeaseHeld, err)
		if gapless.KindOf(err) != gapless.KindRecoverable || !strings.Contains(err.Error(), l.Holder) {
			t.Errorf("held: %v is %s", err, gapless.KindOf(err))
		}
	}
	acquire(t, s, "another", at(1))
	commit(t, s, l, state.Commit{}) // being asked for does not disturb the holder
}

func leaseTakeover(t *testing.T, s state.Store) {
	old := acquire(t, s, "c", at(0))
	old, err := s.Renew(t.Context(), old, ttl, at(30))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "renewed until", at(90), old.Until)
	if _, err := s.Acquire(t.Context(), "c", "b", ttl, at(89)); err == nil {
		t.Fatal("taken over before it expired")
	}
	next, err := s.Acquire(t.Context(), "c", "b", ttl, at(90))
	if err != nil {
		t.Fatal(err)
	}
	if next.Epoch <= old.Epoch {
		t.Errorf("epoch %d after %d", next.Epoch, old.Epoch)
	}
	wantAllFenced(t, s, old)
	commit(t, s, next, state.Commit{})
}

func wantAllFenced(t *testing.T, s state.Store, l state.Lease) {
	t.Helper()
	_, err := s.Renew(t.Context(), l, ttl, at(91))
	wantFenced(t, "renew", err)
	wantFenced(t, "release", s.Release(t.Context(), l))
	wantFenced(t, "empty commit", s.Commit(t.Context(), l, state.Commit{}))
}

func leaseExpired(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	commit(t, s, l, state.Commit{})
	l, err := s.Renew(t.Context(), l, ttl, at(3600))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Acquire(t.Context(), "c", "b", ttl, at(3601)); err == nil {
		t.Error("renewed after it expired, and taken over nevertheless")
	}
	if err := s.Release(t.Context(), l); err != nil {
		t.Error(err)
	}
}

func leaseReleased(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	c, err := s.Connector(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Release(t.Context(), c.Lease); err != nil { // in place of its holder
		t.Fatal(err)
	}
	wantAllFenced(t, s, l)
	next := acquire(t, s, "c", at(1))
	wantAllFenced(t, s, l)
	commit(t, s, next, state.Commit{})
}

func leaseForged(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	acquire(t, s, "d", at(0))
	for name, forged := range map[string]state.Lease{
		"nothing":           {},
		"no holder":         {Connector: "c", Epoch: l.Epoch},
		"another holder":    {Connector: "c", Holder: "x", Epoch: l.Epoch},
		"an older epoch":    {Connector: "c", Holder: l.Holder, Epoch: l.Epoch - 1},
		"a newer epoch":     {Connector: "c", Holder: l.Holder, Epoch: l.Epoch + 1},
		"another connector": {Connector: "d", Holder: l.Holder, Epoch: l.Epoch},
		"no such connector": {Connector: "x", Holder: l.Holder, Epoch: l.Epoch},
	} {
		t.Run(name, func(t *testing.T) { wantAllFenced(t, s, forged) })
	}
	commit(t, s, l, state.Commit{})
}

func leaseNonsense(t *testing.T, s state.Store) {
	for _, test := range []struct {
		name, connector, holder string
		ttl                     time.Duration
		now                     time.Time
	}{
		{"no connector", "", "h", ttl, at(0)},
		{"a connector that is not text", "c\x00", "h", ttl, at(0)},
		{"no holder", "c", "", ttl, at(0)},
		{"a holder that is not text", "c", "\xff", ttl, at(0)},
		{"no time to hold it", "c", "h", 0, at(0)},
		{"no now", "c", "h", ttl, time.Time{}},
	} {
		if l, err := s.Acquire(t.Context(), test.connector, test.holder, test.ttl, test.now); err == nil {
			t.Errorf("%s: acquired %v", test.name, l)
		}
	}
	equal(t, "connectors", remembered{}, remember(t, s))
}

func leaseRace(t *testing.T, s state.Store) {
	var last uint64
	for round := range 10 {
		const runners = 8
		won := make([]state.Lease, runners)
		lost := make([]error, runners)
		var group sync.WaitGroup
		for i := range runners {
			group.Go(func() {
				won[i], lost[i] = s.Acquire(t.Context(), "c", "host/"+string(rune('a'+i)), ttl, at(120*round))
			})
		}
		group.Wait()
		var winners []state.Lease
		for i := range runners {
			if lost[i] == nil {
				winners = append(winners, won[i])
				continue
			}
			wantCode(t, "loser", gapless.CodeLeaseHeld, lost[i])
		}
		if len(winners) != 1 {
			t.Fatalf("round %d was won by %v", round, winners)
		}
		if winners[0].Epoch <= last {
			t.Errorf("round %d: epoch %d after %d", round, winners[0].Epoch, last)
		}
		last = winners[0].Epoch
		commit(t, s, winners[0], state.Commit{})
	}
}

func takeoverMarksCrashedRuns(t *testing.T, s state.Store) {
	l, other := acquire(t, s, "c", at(0)), acquire(t, s, "other", at(0))
	running := func(l state.Lease, id string) *state.Run {
		r := sampleRun(l, id, at(1))
		r.Status, r.Finished, r.Exit, r.Error = state.StatusRunning, time.Time{}, 0, ""
		return &r
	}
	done := sampleRun(l, "r-done", at(0))
	commit(t, s, l, state.Commit{Run: &done})
	commit(t, s, l, state.Commit{Run: running(l, "r-crashed")})
	commit(t, s, other, state.Commit{Run: running(other, "r-other")})

	next, err := s.Acquire(t.Context(), "c", "b", ttl, at(100))
	if err != nil {
		t.Fatal(err)
	}
	statuses := func() map[string]string {
		runs, err := s.Runs(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, r := range runs {
			all[r.ID] = r.Status
		}
		return all
	}
	want := map[string]string{"r-done": string(plan.OutcomeComplete), "r-crashed": state.StatusCrashed, "r-other": state.StatusRunning}
	equal(t, "statuses", want, statuses())
	crashed, err := s.Run(t.Context(), "r-crashed")
	if err != nil || !crashed.Finished.Equal(at(100)) || crashed.Error == "" {
		t.Errorf("crashed run: %+v, %v", crashed, err)
	}
	// The runner turns out to live. It cannot claim that its run ended well.
	late := sampleRun(l, "r-crashed", at(1))
	wantFenced(t, "late end", s.Commit(t.Context(), l, state.Commit{Run: &late}))
	equal(t, "statuses", want, statuses())
	commit(t, s, next, state.Commit{Run: running(next, "r-next")})
}
