package statetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// full returns a commit that uses every field.
func full(l state.Lease) state.Commit {
	run := sampleRun(l, "r-1", at(1))
	first := sampleCertificate(l, "p", nil)
	return state.Commit{
		Run:          &run,
		Destination:  &state.Destination{DestinationID: odd, Incarnation: "i" + odd},
		Partitions:   []state.Partition{samplePartition(l, "p"), samplePartition(l, odd)},
		Certificates: []proof.Certificate{first, sampleCertificate(l, "p", &first)},
		DeadLetters:  []state.DeadLetter{sampleLetter(l, odd), sampleLetter(l, "")},
		Entries:      []state.Entry{sampleEntry("k"), sampleEntry(odd)},
		Conflicts:    []state.Conflict{sampleConflict(l, "x-1"), sampleConflict(l, "x-2")},
		At:           at(4),
	}
}

func commitRoundTrip(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	c := full(l)
	commit(t, s, l, c)
	got := remember(t, s)
	want := remembered{
		Connectors:   []state.Connector{{Name: "c", Destination: *c.Destination, Epoch: l.Epoch, Lease: l}},
		Partitions:   []state.Partition{c.Partitions[1], c.Partitions[0]},
		Runs:         []state.Run{*c.Run},
		Certificates: c.Certificates,
		Letters:      got.Letters,
		Ledger:       []state.Unsettled{{Key: odd, Entry: c.Entries[1].Value}, {Key: "k", Entry: c.Entries[0].Value}},
		Conflicts:    []state.Conflict{c.Conflicts[1], c.Conflicts[0]},
	}
	equal(t, "commit", want, got)
	letters := map[string]state.DeadLetter{}
	for _, d := range got.Letters {
		if d.ID == "" {
			t.Error("letter without an id")
		}
		d.ID = ""
		letters[d.Key] = d
	}
	equal(t, "letters", map[string]state.DeadLetter{odd: c.DeadLetters[0], "": c.DeadLetters[1]}, letters)
	if one, err := s.Run(t.Context(), "r-1"); err != nil {
		t.Error(err)
	} else {
		equal(t, "run", *c.Run, one)
	}
	for _, c := range got.Certificates {
		if err := c.Verify(); err != nil {
			t.Errorf("certificate %s: %v", c.ID, err)
		}
	}
}

func commitReplaces(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	c := full(l)
	commit(t, s, l, c)
	want := remember(t, s)

	commit(t, s, l, state.Commit{})
	equal(t, "after an empty commit", want, remember(t, s))

	run := state.Run{ID: "r-1", Connector: "c", Holder: "h", Epoch: 1, Started: at(5), Status: state.StatusRunning}
	bare := state.Partition{Connector: "c", ID: "p"}
	commit(t, s, l, state.Commit{Run: &run, Partitions: []state.Partition{bare}, Destination: &state.Destination{Incarnation: "2"}})
	want.Connectors[0].Destination = state.Destination{Incarnation: "2"}
	want.Runs[0], want.Partitions[1] = run, bare
	equal(t, "after another", want, remember(t, s))

	damaged := sampleRun(l, "r-2", at(6))
	damaged.Error, damaged.Summary = "a\x00b\xff", nil
	commit(t, s, l, state.Commit{Run: &damaged})
	got, err := s.Run(t.Context(), "r-2")
	if err != nil {
		t.Fatal(err)
	}
	damaged.Error = "a\uFFFDb\uFFFD"
	equal(t, "text for people", damaged, got)
}

func commitAtomic(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	commit(t, s, l, state.Commit{Certificates: []proof.Certificate{sampleCertificate(l, "p0", nil)}})
	other := acquire(t, s, "other", at(0))
	commit(t, s, other, state.Commit{Conflicts: []state.Conflict{sampleConflict(other, "x-other")}})
	before := remember(t, s)
	rewritten := sampleCertificate(l, "p0", nil)
	rewritten.Run = "r-2"
	rewritten.Seal(nil)
	const tooLarge = 1 << 63 // does not fit a signed 64 bit number, which is all that databases have
	for _, test := range []struct {
		name string
		fail func(*state.Commit)
	}{
		{"run", func(c *state.Commit) { c.Run.Epoch = tooLarge }},
		{"first partition", func(c *state.Commit) { c.Partitions[0].Records = tooLarge }},
		{"last partition", func(c *state.Commit) { c.Partitions[1].Seq = tooLarge }},
		{"certificate", func(c *state.Commit) { c.Certificates[1].Seq = tooLarge }},
		{"certificate rewritten", func(c *state.Commit) { c.Certificates = append(c.Certificates, rewritten) }},
		{"dead letter", func(c *state.Commit) { c.DeadLetters[1].Connector = "d" }},
		{"entry without a key", func(c *state.Commit) { c.Entries[1].Key = "" }},
		{"entry with a key too long", func(c *state.Commit) { c.Entries[1].Key = strings.Repeat("k", gapless.MaxKeyBytes+1) }},
		{"entry without a collection", func(c *state.Commit) { c.Entries[1].Collection = "" }},
		{"conflict without an id", func(c *state.Commit) { c.Conflicts[1].ID = "" }},
		{"conflict of a side that is none", func(c *state.Commit) { c.Conflicts[1].Loser = 2 }},
		{"conflict with the id of another connector's", func(c *state.Commit) { c.Conflicts[1].ID = "x-other" }},
		{"partition without id", func(c *state.Commit) { c.Partitions[1].ID = "" }},
		{"checkpoint of another partition", func(c *state.Commit) { c.Partitions[1].Checkpoint.Partition = "x" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := full(l)
			test.fail(&c)
			if err := s.Commit(t.Context(), l, c); err == nil {
				t.Error("a row that cannot be stored was committed")
			}
			equal(t, "after a failed commit", before, remember(t, s))
		})
	}
	commit(t, s, l, full(l))
}

func commitFenced(t *testing.T, s state.Store) {
	old := acquire(t, s, "c", at(0))
	run := sampleRun(old, "r-0", at(0))
	commit(t, s, old, state.Commit{
		Run: &run, DeadLetters: []state.DeadLetter{sampleLetter(old, "k")}, Conflicts: []state.Conflict{sampleConflict(old, "x-0")},
	})
	decide(t, s, "x-0", state.TakeThis)
	next, err := s.Acquire(t.Context(), "c", "b", ttl, at(61))
	if err != nil {
		t.Fatal(err)
	}
	before := remember(t, s)
	all := full(old)
	forged := old
	forged.Epoch = next.Epoch // without the holder the number is worth nothing
	for _, test := range []struct {
		name   string
		commit state.Commit
	}{
		{"everything", all},
		{"nothing", state.Commit{}},
		{"run", state.Commit{Run: all.Run}},
		{"destination", state.Commit{Destination: all.Destination}},
		{"partitions", state.Commit{Partitions: all.Partitions}},
		{"certificates", state.Commit{Certificates: all.Certificates}},
		{"resolved", state.Commit{Resolved: []string{before.Letters[0].ID}}},
		{"dead letters", state.Commit{DeadLetters: all.DeadLetters}},
		{"entries", state.Commit{Entries: all.Entries}},
		{"conflicts", state.Commit{Conflicts: all.Conflicts}},
		{"settled", state.Commit{Settled: []state.Conflict{{ID: "x-0"}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantFenced(t, "old epoch", s.Commit(t.Context(), old, test.commit))
			wantFenced(t, "forged epoch", s.Commit(t.Context(), forged, test.commit))
			equal(t, "after a fenced commit", before, remember(t, s))
		})
	}
}

func commitRepeated(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	commit(t, s, l, state.Commit{DeadLetters: []state.DeadLetter{sampleLetter(l, "solved")}})
	commit(t, s, l, state.Commit{Conflicts: []state.Conflict{sampleConflict(l, "x-0")}})
	decide(t, s, "x-0", state.TakeThis)
	c := full(l)
	c.Resolved, c.Settled = []string{remember(t, s).Letters[0].ID}, []state.Conflict{{ID: "x-0"}}
	commit(t, s, l, c)
	want := remember(t, s)
	commit(t, s, l, c)
	equal(t, "after the repetition", want, remember(t, s))
}

func commitForeign(t *testing.T, s state.Store) {
	l, other := acquire(t, s, "c", at(0)), acquire(t, s, "other", at(0))
	commit(t, s, other, state.Commit{
		DeadLetters: []state.DeadLetter{sampleLetter(other, "k")}, Conflicts: []state.Conflict{sampleConflict(other, "x-0")},
	})
	decide(t, s, "x-0", state.TakeThis)
	before := remember(t, s)
	foreign := full(other)
	for _, test := range []struct {
		name   string
		commit state.Commit
	}{
		{"run", state.Commit{Run: foreign.Run}},
		{"partitions", state.Commit{Partitions: foreign.Partitions}},
		{"certificates", state.Commit{Certificates: foreign.Certificates}},
		{"dead letters", state.Commit{DeadLetters: foreign.DeadLetters}},
		{"conflicts", state.Commit{Conflicts: foreign.Conflicts}},
	} {
		if err := s.Commit(t.Context(), l, test.commit); err == nil {
			t.Errorf("%s of another connector were committed", test.name)
		}
	}
	commit(t, s, l, state.Commit{Resolved: []string{before.Letters[0].ID, "d-unknown"}, Settled: []state.Conflict{{ID: "x-0"}, {ID: "x-unknown"}}}) // passed over
	equal(t, "after foreign commits", before, remember(t, s))
}

func commitCancelled(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	before := remember(t, s)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gapless.ErrInterrupted)
	err := s.Commit(ctx, l, full(l))
	if !errors.Is(err, gapless.ErrInterrupted) || gapless.KindOf(err) != gapless.KindRecoverable {
		t.Errorf("commit: %v", err)
	}
	equal(t, "after a cancelled commit", before, remember(t, s))
	if _, err := s.Run(ctx, "r-1"); !errors.Is(err, gapless.ErrInterrupted) {
		t.Errorf("read: %v", err)
	}
}

func commitLarge(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	run := sampleRun(l, "r-1", at(1))
	c := state.Commit{Run: &run}
	for i := range 10_000 {
		c.Partitions = append(c.Partitions, samplePartition(l, fmt.Sprintf("p%05d", i)))
	}
	start := time.Now()
	commit(t, s, l, c)
	created := time.Since(start)
	for i := range c.Partitions {
		c.Partitions[i].Outcome = plan.OutcomeComplete
	}
	start = time.Now()
	commit(t, s, l, c)
	updated := time.Since(start)
	start = time.Now()
	got, err := s.Partitions(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("10,000 partitions: created in %s, updated in %s, read in %s", created, updated, time.Since(start))
	equal(t, "partitions", c.Partitions, got)
	if slow := 2 * time.Minute; created > slow || updated > slow { // generous: a busy machine under the race detector
		t.Errorf("10,000 partitions took longer than %s", slow)
	}
}

// commitParallel lets writers of different connectors meet readers.
func commitParallel(t *testing.T, s state.Store) {
	const connectors, commits = 6, 25
	var group sync.WaitGroup
	for i := range connectors {
		name := fmt.Sprintf("c%d", i)
		l := acquire(t, s, name, at(0))
		done := make(chan struct{})
		group.Go(func() {
			defer close(done)
			var last *proof.Certificate
			for n := range commits {
				p := samplePartition(l, "p")
				p.Seq = uint64(n + 1)
				certificate := sampleCertificate(l, "p", last)
				last = &certificate
				if err := s.Commit(t.Context(), l, state.Commit{Partitions: []state.Partition{p}, Certificates: []proof.Certificate{certificate}}); err != nil {
					t.Error(err)
				}
			}
		})
		group.Go(func() { watch(t, s, name, done) })
	}
	group.Wait()
	for _, p := range remember(t, s).Partitions {
		if p.Seq != commits {
			t.Errorf("partition of %s is at %d", p.Connector, p.Seq)
		}
	}
}

// watch reads the last certificate until done and sees it only ever advance.
func watch(t *testing.T, s state.Store, connector string, done <-chan struct{}) {
	var seen uint64
	for {
		c, err := s.LastCertificate(t.Context(), connector, "p")
		if err != nil && !errors.Is(err, gapless.ErrNotFound) || c.Seq < seen {
			t.Errorf("%s: certificate %d after %d, %v", connector, c.Seq, seen, err)
			return
		}
		seen = c.Seq
		select {
		case <-done:
			return
		default:
		}
	}
}
