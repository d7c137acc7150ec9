package hub

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// TestSerialsOfACrashAreUnknown: what a crash took back, later changes do not
// stand for.
func TestSerialsOfACrashAreUnknown(t *testing.T) {
	t.Parallel()
	fs := crashable()
	h := open(t, Options{Dir: "hub", fs: fs})
	s := session(t, h, "docs", 1)
	kept := push(t, s, upsert("a", `{}`)).Serial
	syncNow(t, s)
	lost := push(t, s, upsert("b", `{}`)).Serial
	for range 2 {
		fs = crash(fs, 0, 0)
		h = open(t, Options{Dir: "hub", fs: fs})
	}
	later := push(t, session(t, h, "docs", 1), upsert("c", `{}`)).Serial
	if err := errors.Join(h.known(kept), h.known(later)); err != nil || later <= lost {
		t.Errorf("serials %d, %d, lost, and %d: %v", kept, lost, later, err)
	}
	if err := h.known(lost); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("lost serial %d: %v", lost, err)
	}
}

// keptOf lists what is kept of run r: the key, and the data it had if it
// existed.
func keptOf(t *testing.T, s *Session) map[string]string {
	t.Helper()
	list := map[string]string{}
	err := s.Kept(t.Context(), "r", func(k gapless.KeptRecord) error {
		list[k.Before.Key] = string(k.Before.Data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestKeepWithinACommit deletes a record and creates it again at once.
func TestKeepWithinACommit(t *testing.T) {
	t.Parallel()
	s := session(t, open(t, Options{}), "docs", 1)
	push(t, s, upsert("a", `{"n":1}`))
	if err := s.Keep(t.Context(), "r", time.Hour); err != nil {
		t.Fatal(err)
	}
	push(t, s, remove("a"), upsert("a", `{"n":2}`))
	syncNow(t, s)
	if diff := cmp.Diff(map[string]string{"a": `{"n":1}`}, keptOf(t, s)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

// TestKeepGoesOnDuringAPurge: what a run replaces after its time was over is
// kept by itself, and not together with the rest of what is being purged.
func TestKeepGoesOnDuringAPurge(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	h := open(t, Options{purge: 1, now: func() time.Time { return now }})
	s := session(t, h, "docs", 1)
	first := func(key string) gapless.Change { return upsert(key, `{"n":1}`, part("p", "", strings.Repeat("x", 10))) }
	push(t, s, first("a"), first("b"), first("c"), first("d"))
	if err := s.Keep(t.Context(), "r", time.Hour); err != nil {
		t.Fatal(err)
	}
	push(t, s, remove("a"), remove("b"), remove("c"))
	syncNow(t, s)
	if n := len(keptOf(t, s)); n != 3 {
		t.Fatalf("%d are kept", n)
	}
	now = now.Add(3 * time.Hour)
	syncNow(t, s)
	push(t, s, remove("d"))
	syncNow(t, s)
	if diff := cmp.Diff(map[string]string{"d": `{"n":1}`}, keptOf(t, s)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	for now = now.Add(3 * time.Hour); h.kept.due(now); {
		syncNow(t, s)
	}
	if left, err := holdsAny(h.store.db, []byte{spaceKept}); err != nil || left {
		t.Errorf("former states are left (%v)", err)
	}
}

// TestKeepLastsFromTheLastChange: all that a run replaced is kept until the
// time of its last change is over.
func TestKeepLastsFromTheLastChange(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	h := open(t, Options{now: func() time.Time { return now }})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{"n":1}`), upsert("b", `{"n":1}`))
	if err := s.Keep(t.Context(), "r", 8*time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b"} {
		push(t, s, remove(key))
		now = now.Add(5 * time.Hour)
		syncNow(t, s)
	}
	if diff := cmp.Diff(map[string]string{"a": `{"n":1}`, "b": `{"n":1}`}, keptOf(t, s)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

// TestGateShutsAtTheFirstFailure: what comes behind a write that failed is not
// even tried.
func TestGateShutsAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	l := newLatch()
	if err := l.try(false, func() error { return syscall.ENOSPC }); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write that fails: %v", err)
	}
	tried := false
	err := l.try(false, func() error { tried = true; return nil })
	if !errors.Is(err, syscall.ENOSPC) || tried || !errors.Is(l.failure(), syscall.ENOSPC) {
		t.Errorf("the next one: tried %t, %v", tried, err)
	}
}

// TestLogEndsAnywhereInACommit: where the log is cut, a commit and its
// checkpoint are both there, or neither.
func TestLogEndsAnywhereInACommit(t *testing.T) {
	t.Parallel()
	fs := crashable()
	h := open(t, Options{Dir: "hub", fs: fs})
	s := session(t, h, "docs", 1)
	commit := func(key string) []byte {
		c := Commit{Batch: batch(upsert(key, `{}`)), Checkpoints: []gapless.Checkpoint{{Partition: "items", Position: gapless.Position(key)}}}
		_, err := s.Upload().Commit(t.Context(), c)
		if err := errors.Join(err, h.store.flushLog()); err != nil {
			t.Fatal(err)
		}
		content, _ := logOf(t, fs)
		return content
	}
	before, after := commit("a"), commit("b")
	_, name := logOf(t, fs)
	for size := len(before); size <= len(after); size++ {
		left := withLog(t, crash(fs, 0, 0), name, after[:size])
		again := open(t, Options{Dir: "hub", fs: left})
		list, err := session(t, again, "docs", 1).Checkpoints(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		_, there := contents(t, again, "docs")["b"]
		if got := list["items"].Position; there != (got == "b") {
			t.Errorf("cut at %d of %d: the record is there: %t, and the checkpoint is %q", size-len(before), len(after)-len(before), there, got)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIncarnationsOfABackup: a backup that comes back counts on from where it
// was made, and has other incarnations all the same.
func TestIncarnationsOfABackup(t *testing.T) {
	t.Parallel()
	fs := crashable()
	first := open(t, Options{Dir: "hub", fs: fs})
	syncNow(t, session(t, first, "docs", 1), "1")
	second := open(t, Options{Dir: "hub", fs: crash(fs, 0, 0)})
	restored := open(t, Options{Dir: "hub", fs: crash(fs, 0, 0)})
	if first.pushes.incarnation+1 != second.pushes.incarnation || second.pushes.incarnation != restored.pushes.incarnation {
		t.Errorf("incarnations %d, %d and %d", first.pushes.incarnation, second.pushes.incarnation, restored.pushes.incarnation)
	}
	if second.Incarnation() == restored.Incarnation() {
		t.Errorf("both are %s", second.Incarnation())
	}
}

// TestReaderWritesNothing asks a session without an epoch for every kind of
// write.
func TestReaderWritesNothing(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	push(t, session(t, h, "docs", 1), upsert("a", `{}`))
	reader := session(t, h, "docs", 0)
	_, pushed := reader.Push(t.Context(), batch(upsert("b", `{}`)))
	_, synced := reader.Sync(t.Context(), nil)
	for _, err := range []error{pushed, synced, reader.Keep(t.Context(), "r", time.Hour)} {
		if !errors.Is(err, gapless.ErrFenced) {
			t.Errorf("got %v", err)
		}
	}
}

// TestSourceOfAnotherHub: positions and marks are those of one hub, also where
// they look like those of another.
func TestSourceOfAnotherHub(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{}`), upsert("b", `{}`))
	syncNow(t, s)
	source := h.Source("docs").(*source)
	here, err := source.Position(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	if err := source.CheckPosition(t.Context(), items, here); err != nil {
		t.Errorf("%s: %v", here, err)
	}
	bare := gapless.Position(strings.TrimPrefix(string(here), h.ID()+"/"))
	if err := source.CheckPosition(t.Context(), items, bare); gapless.KindOf(err) != gapless.KindExpired {
		t.Errorf("%s: %v", bare, err)
	}
	for mark, want := range map[gapless.Mark]bool{gapless.Mark(h.ID() + "/a"): true, "elsewhere/a": false, "a": false} {
		if ok, err := source.CanResume(t.Context(), items, mark, here); ok != want || err != nil {
			t.Errorf("can resume behind %s: %t, %v", mark, ok, err)
		}
	}
}

// TestKeptTellsTimesAndStandings: nothing but the time of one record changes,
// another is as it was once more, and a third is changed by somebody.
func TestKeptTellsTimesAndStandings(t *testing.T) {
	t.Parallel()
	s := session(t, open(t, Options{}), "docs", 1)
	at := func(key string, second int64, data string) gapless.Change {
		c := upsert(key, data)
		c.Modified = time.Unix(second, 0).UTC()
		return c
	}
	push(t, s, at("before", 1, `{}`), at("changed", 1, `{}`), at("left", 1, `{}`))
	if err := s.Keep(t.Context(), "r", time.Hour); err != nil {
		t.Fatal(err)
	}
	push(t, s, at("before", 2, `{}`), at("changed", 2, `{}`), at("left", 2, `{}`))
	if err := s.Keep(t.Context(), "later", time.Hour); err != nil {
		t.Fatal(err)
	}
	push(t, s, at("before", 1, `{}`), at("changed", 3, `{}`))
	syncNow(t, s)
	got := map[string]gapless.Standing{}
	err := s.Kept(t.Context(), "r", func(k gapless.KeptRecord) error {
		got[k.Before.Key] = k.Standing
		return nil
	})
	want := map[string]gapless.Standing{"before": gapless.StandsAsBefore, "changed": gapless.StandsChanged, "left": gapless.StandsAsLeft}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestEarlierViewComesLate: of two syncs at the same time the later one may
// publish first, and what it has synced stays to be seen.
func TestEarlierViewComesLate(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{}`))
	early := &view{snap: h.store.db.NewSnapshot(), order: h.views.order()}
	syncNow(t, s)
	h.views.publish(early)
	if _, err := h.Get(t.Context(), "docs", "items", "a"); err != nil {
		t.Errorf("what was synced: %v", err)
	}
	if h.views.order() <= early.order || h.views.serial() == early.serial {
		t.Error("the earlier view is the current one")
	}
}

// TestKeepWithinARun deletes a record and creates it again in the next commit,
// and replaces another twice.
func TestKeepWithinARun(t *testing.T) {
	t.Parallel()
	s := session(t, open(t, Options{}), "docs", 1)
	push(t, s, upsert("a", `{"n":1}`), upsert("b", `{"n":1}`))
	if err := s.Keep(t.Context(), "r", time.Hour); err != nil {
		t.Fatal(err)
	}
	push(t, s, upsert("b", `{"n":2}`), remove("a"))
	push(t, s, upsert("a", `{"n":2}`), upsert("b", `{"n":3}`))
	syncNow(t, s)
	if diff := cmp.Diff(map[string]string{"a": `{"n":1}`, "b": `{"n":1}`}, keptOf(t, s)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

// TestPurgeLeavesThePartsOfTheRecord: a part that a patch left with the record
// does not go with the former state that had it as well.
func TestPurgeLeavesThePartsOfTheRecord(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	h := open(t, Options{now: func() time.Time { return now }})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{"n":1}`, part("p", "", "text")))
	if err := s.Keep(t.Context(), "r", time.Hour); err != nil {
		t.Fatal(err)
	}
	push(t, s, patch("a", `{"n":2}`))
	syncNow(t, s)
	if n := len(keptOf(t, s)); n != 1 {
		t.Fatalf("%d are kept", n)
	}
	for now = now.Add(3 * time.Hour); h.kept.due(now); {
		syncNow(t, s)
	}
	if got := contents(t, h, "docs")["a"]; !strings.Contains(got, "text") {
		t.Errorf("after the purge: %q", got)
	}
}

// TestSumsOfNeighbours changes the first record of a stretch and deletes the
// first one of the next: both are summed up as one.
func TestSumsOfNeighbours(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "docs", 1)
	var list []gapless.Change
	var first []string // keys that stretches begin at
	for _, key := range boundaryKeys(200) {
		list = append(list, upsert(key, `{}`))
		if hashLevel(proof.KeyHash([]byte(key))) >= boundaryBits {
			first = append(first, key)
		}
	}
	push(t, s, list...)
	syncNow(t, s)
	if err := checkStored(t.Context(), h, "docs"); err != nil {
		t.Fatal(err)
	}
	push(t, s, upsert(first[10], `{"n":1}`), remove(first[11]))
	syncNow(t, s)
	if err := checkStored(t.Context(), h, "docs"); err != nil {
		t.Error(err)
	}
}
