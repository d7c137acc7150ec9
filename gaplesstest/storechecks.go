package gaplesstest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// checkCheckpoints: checkpoints are read back as they were synced, each until
// the next of its partition, and never before.
func checkCheckpoints(t testing.TB, w *inside) {
	w.begin()
	want := map[string]gapless.Checkpoint{}
	sync := func(list ...gapless.Checkpoint) {
		t.Helper()
		if _, err := w.session.Sync(t.Context(), list); err != nil {
			t.Fatalf("Sync: %v", err)
		}
		for _, c := range list {
			want[c.Partition] = c
		}
	}
	agree := func(what string) {
		t.Helper()
		if diff := cmp.Diff(want, w.status().Checkpoints); diff != "" {
			t.Errorf("%s (-synced +read back):\n%s", what, diff)
		}
	}
	w.push(w.puts(0, 4)...)
	if n := len(w.status().Checkpoints); n > 0 {
		t.Errorf("%d checkpoints are there before any was synced", n)
	}
	first := w.Partitions[0]
	sync(gapless.Checkpoint{Partition: first.ID, Mark: "half \"way\"\n", Target: "a/b 1", Run: "r1", Seq: 1, Epoch: w.epoch})
	agree("the checkpoint of an unfinished run")
	sync(w.checkpoints(w.now())...)
	agree("checkpoints of all partitions")
	w.push(w.puts(0, 4)...)
	agree("checkpoints, with records pushed behind them")
	sync(w.checkpoint(first, w.now()))
	agree("a newer checkpoint of one partition")
	w.restart()
	agree("checkpoints in the next process")
	w.exit()
}

// checkManyPartitions: a destination serves as many partitions as a source has.
func checkManyPartitions(t testing.TB, w *inside) {
	base := w.Partitions[0]
	w.Partitions = nil
	for i := range w.some(100, 20) {
		p := base
		p.ID = fmt.Sprintf("%s:%03d", base.ID, i)
		w.Partitions = append(w.Partitions, p)
	}
	w.begin()
	w.save(w.puts(0, 2*len(w.Partitions))...)
	w.restart()
	if n := len(w.status().Checkpoints); n != len(w.Partitions) {
		t.Errorf("%d checkpoints are there of %d partitions", n, len(w.Partitions))
	}
	w.save(w.next(name(1)), w.gone(name(2)))
	w.has("records of many partitions", w.now())
	w.exit()
}

// checkDataFirst: whatever breaks a Sync off, a checkpoint that can be read has
// its data.
func checkDataFirst(t testing.TB, w *inside) {
	w.begin()
	w.save(w.puts(0, 6)...)
	calls := w.callsOf(func() { w.save(w.puts(0, 4)...) })
	if calls == 0 && w.Crash == nil {
		t.Skip("no outside call passes the Breaker, and DestinationSystem.Crash is nil")
	}
	faults := w.breaker.makeable(t, Unavailable, Lost)
	if calls == 0 {
		faults = []Fault{Unavailable} // which nothing meets: the crash counts
	}
	for _, n := range points(max(calls, 1), w.some(12, 4)) {
		for _, fault := range faults {
			w.brokenSync(n, fault)
		}
	}
	w.exit()
}

// callsOf counts the outside calls of fn.
func (w *inside) callsOf(fn func()) int {
	w.breaker.arm(0, "")
	fn()
	n, _ := w.breaker.disarm()
	return n
}

// brokenSync has an outside call of a push and a sync fail, after which the
// process dies.
func (w *inside) brokenSync(n int, fault Fault) {
	w.t.Helper()
	before, edits := w.now(), w.puts(0, 4)
	w.breaker.arm(n, fault)
	list, pushed := w.checkpoints(w.now()), true
	for _, b := range w.batches(edits) {
		pushed = pushed && accepted(w.session.Push(w.t.Context(), b)) == nil
	}
	if pushed {
		_ = accepted(w.session.Sync(w.t.Context(), list)) // what is there afterwards tells
	}
	w.breaker.disarm()
	if w.Crash != nil {
		w.crash()
	}
	w.dies()
	w.begin()
	since := before
	for _, c := range w.status().Checkpoints {
		if c.Position == list[0].Position {
			since = w.now()
		}
	}
	w.has(fmt.Sprintf("a Sync broken off by call %d (%s), checkpoint of edit %d", n, string(fault), since), since)
	w.save(edits...)
}

// checkCrash: a crash loses nothing that is synced, and shows.
func checkCrash(t testing.TB, w *inside) {
	if w.Crash == nil {
		t.Skip("DestinationSystem.Crash is nil")
	}
	w.begin()
	for round := range 3 {
		w.push(w.puts(round, 8+round)...)
		w.save(w.gone(name(round)))
		before := w.status()
		w.push(w.puts(round, 12+round)...)
		w.push(w.gone(name(round + 3)))
		w.crash()
		w.begin()
		w.has("after a crash", w.synced)
		after := w.status()
		if diff := cmp.Diff(before.Checkpoints, after.Checkpoints); diff != "" {
			t.Errorf("checkpoints after a crash (-synced +read back):\n%s", diff)
		}
		held, err := w.holds()
		if err != nil {
			t.Fatal(err)
		}
		told := before.Incarnation == "" || after.Incarnation != before.Incarnation // with none, sessions are all that can tell
		if !told && len(w.differences(held, w.now(), true)) > 0 {
			t.Error("a crash lost what was pushed, and the incarnation is the same: the engine cannot know")
		}
		w.save(w.history[w.synced:]...)
		w.has("what was lost, pushed again", w.now())
	}
	w.exit()
}

// checkIncarnation: a session whose destination lost something behind its back
// says so, and goes on saying it.
func checkIncarnation(t testing.TB, w *inside) {
	if w.Crash == nil || !w.Server {
		t.Skip("DestinationSystem.Crash is nil, or sessions do not outlive it (Server)")
	}
	w.begin()
	w.save(w.puts(0, 4)...)
	w.push(w.puts(0, 8)...)
	w.breaker.aside(w.Crash)
	batch := w.batches(w.puts(8, 9))[0]
	var errs []error
	for range 2 {
		errs = append(errs, accepted(w.session.Push(t.Context(), batch)), accepted(w.session.Sync(t.Context(), w.checkpoints(w.now()))))
	}
	old := w.session
	w.session = nil
	w.begin()
	held, err := w.holds()
	if err != nil {
		t.Skip(err.Error())
	}
	lost := len(w.differences(held, w.now(), true)) > 0
	for i, err := range errs {
		if !errors.Is(err, gapless.ErrIncarnation) && (err != nil || lost) {
			t.Errorf("%s after a crash returned %v, and not gapless.ErrIncarnation", []string{"Push", "Sync", "the next Push", "the next Sync"}[i], err)
		}
	}
	_ = old.Close() // it may say once more what it said
	w.save(w.history...)
	w.has("what was lost, pushed again", w.now())
	w.exit()
}

// checkFencing: once a newer runner has come, an older one does nothing.
func checkFencing(t testing.TB, w *inside) {
	w.begin()
	w.save(w.puts(0, 4)...)
	old := w.session
	w.session = nil
	oldEpoch := w.epoch
	w.epoch++
	w.session = w.with(w.epoch)
	w.succeeds(w.session, oldEpoch)
	late := w.batches([]edit{{name(0), 1000}, {name(20), 1001}})
	for range 2 {
		for _, b := range late {
			w.fenced("Push of an older session", accepted(old.Push(t.Context(), b)))
		}
		w.fenced("Sync of an older session", accepted(old.Sync(t.Context(), w.checkpoints(1000))))
		_, err := old.Status(t.Context())
		w.fenced("Status of an older session", err)
		w.refuses(oldEpoch)
	}
	if err := old.Close(); err != nil && !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("close an older session: %v", err)
	}
	w.save(w.puts(1, 6)...)
	w.has("after an older session had tried to write", w.now())
	w.exit()
	w.refuses(oldEpoch)
	w.session = w.with(w.epoch) // the same epoch may come back
	w.save(w.puts(2, 7)...)
	w.has("a session of the same epoch in the next process", w.now())
	w.exit()
}

// succeeds sees that a session that can tell knows the epoch before its own.
func (w *inside) succeeds(s gapless.Session, epoch uint64) {
	w.t.Helper()
	if s, ok := s.(gapless.Successor); ok && s.Predecessor() != epoch {
		w.t.Errorf("Predecessor of a session after epoch %d is %d", epoch, s.Predecessor())
	}
}

// fenced sees that a call was refused with [gapless.ErrFenced].
func (w *inside) fenced(what string, err error) {
	w.t.Helper()
	if !errors.Is(err, gapless.ErrFenced) {
		w.t.Errorf("%s returned %v, and not gapless.ErrFenced", what, err)
	}
}

// refuses sees a session of an epoch refused.
func (w *inside) refuses(epoch uint64) {
	w.t.Helper()
	s, err := w.destination().Open(w.t.Context(), connectorName, epoch)
	if err == nil {
		err = errors.Join(errors.New("a session"), s.Close())
	}
	w.fenced(fmt.Sprintf("Open with epoch %d after %d", epoch, w.epoch), err)
}

// checkReadOnly: a session of epoch 0 reads, writes nothing and fences nobody.
func checkReadOnly(t testing.TB, w *inside) {
	early := w.with(0)
	if st, err := early.Status(t.Context()); err != nil || st.Holds || len(st.Checkpoints) > 0 {
		t.Errorf("Status of what was never written: %+v, %v", st, err)
	}
	w.succeeds(early, 0)
	if err := early.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	w.begin()
	w.save(w.puts(0, 4)...)
	reader := w.with(0)
	w.succeeds(reader, w.epoch)
	for _, b := range w.batches([]edit{{name(0), 1000}}) {
		w.fenced("Push of a session of epoch 0", accepted(reader.Push(t.Context(), b)))
	}
	w.fenced("Sync of a session of epoch 0", accepted(reader.Sync(t.Context(), w.checkpoints(1000))))
	st, err := reader.Status(t.Context())
	if err != nil {
		t.Errorf("Status of a session of epoch 0: %v", err)
	}
	if diff := cmp.Diff(w.status(), st); diff != "" {
		t.Errorf("Status (-writer +reader):\n%s", diff)
	}
	if err := reader.Close(); err != nil && !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("close: %v", err)
	}
	w.save(w.puts(2, 8)...)
	w.has("after a session of epoch 0", w.now())
	w.exit()
}

// checkIdentity: the id is that of the store, not of the process.
func checkIdentity(t testing.TB, w *inside) {
	w.begin()
	w.save(w.puts(0, 3)...)
	id := w.status().ID
	if w.restart(); w.status().ID != id {
		t.Errorf("the store's id was %q and is %q for the next process: every run would be full", id, w.status().ID)
	}
	if w.Replace == nil {
		w.exit()
		t.Skip("DestinationSystem.Replace is nil")
	}
	w.exit()
	w.breaker.aside(w.Replace)
	w.begin()
	st := w.status()
	if id != "" && st.ID == id {
		t.Errorf("an empty store in the place of another has its id %q", id)
	}
	if st.Holds || len(st.Checkpoints) > 0 {
		t.Errorf("an empty store says: %+v", st)
	}
	w.exit()
}
