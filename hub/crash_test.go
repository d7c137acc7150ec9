package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// crash returns what the disk holds if the machine stops now; percent of what
// was not synced happens to be there.
func crash(fs *vfs.MemFS, percent int, seed uint64) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1))})
}

// history is what a crash may leave behind: the state synced last, or any
// that followed it.
type history struct {
	mu     sync.Mutex
	states []map[string]string // the checkpoint is under "@"
	serial uint64
	taken  map[string]bool // incarnations
}

// next announces a state that the call about to be made leads to.
func (hs *history) next(change func(state map[string]string)) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	state := maps.Clone(hs.states[len(hs.states)-1])
	change(state)
	hs.states = append(hs.states, state)
}

// synced says that nothing before the latest state can come back.
func (hs *history) synced() {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.states = hs.states[len(hs.states)-1:]
}

// used says that a serial has been given out.
func (hs *history) used(serial uint64) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.serial = serial
}

// script is a run of steps that touches every kind of write. It calls after
// behind each step and returns the first error.
func script(t *testing.T, h *Hub, hs *history, after func(step string)) error {
	ctx := t.Context()
	s, err := h.Session(ctx, "docs", 2)
	if err != nil {
		return err
	}
	push := func(b *gapless.Batch) (gapless.Receipt, error) { return s.Push(ctx, b) }
	put := func(key, state string, changes ...gapless.Change) {
		if err != nil {
			return
		}
		hs.next(func(m map[string]string) {
			if m[key] = state; state == "" {
				delete(m, key)
			}
		})
		var r gapless.Receipt
		if r, err = push(batch(changes...)); err == nil {
			hs.used(r.Serial)
			after("push " + key)
		}
	}
	sync := func(position string) {
		if err != nil {
			return
		}
		hs.next(func(m map[string]string) { m["@"] = position })
		if _, err = s.Sync(ctx, []gapless.Checkpoint{{Partition: "items", Position: gapless.Position(position)}}); err == nil {
			hs.synced()
			after("sync " + position)
		}
	}
	flush := func() {
		if err == nil {
			err = h.store.await(h.store.db.Flush)
			after("flush")
		}
	}
	big := strings.Repeat("0123456789abcdef", (testStageBytes+chunkBytes)/16)
	put("a", `{"n":1}`, upsert("a", `{"n":1}`))
	put("b", `{"n":1}`, upsert("b", `{"n":1}`))
	sync("1")
	put("a", `{"n":1,"m":2}`, patch("a", `{"m":2}`))
	put("b", "", remove("b"))
	flush()
	put("c", `{} +p=small`, upsert("c", `{}`, part("p", "", "small")))
	sync("2")
	put("c", `{} +p=`+big, upsert("c", `{}`, part("p", "", big)))
	put("d", `{}`, upsert("d", `{}`))
	sync("3")
	flush()
	push = func(b *gapless.Batch) (gapless.Receipt, error) {
		return s.PushIf(ctx, b, []gapless.Expectation{{Exists: true, Version: []byte("vd"), Data: []byte(`{}`)}, {Exists: true}})
	}
	put("d", `{"n":2}`, upsert("d", `{"n":2}`), upsert("e", `{"somebody":"else's"}`, part("p", "", big)))
	push = func(b *gapless.Batch) (gapless.Receipt, error) { return s.Push(ctx, b) }
	put("c", "", remove("c"))
	return err
}

// verify opens what a crash left behind and returns what is wrong with it.
func (hs *history) verify(ctx context.Context, fs vfs.FS) (err error) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h, err := Open(ctx, Options{Dir: "hub", stageBytes: testStageBytes, fs: fs})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if hs.taken[h.Incarnation()] {
		return fmt.Errorf("incarnation %s again", h.Incarnation())
	}
	hs.taken[h.Incarnation()] = true
	s, err := h.Session(ctx, "docs", 2)
	if err != nil {
		return err
	}
	got, chunks, err := stateOf(ctx, s)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(hs.states, func(m map[string]string) bool { return maps.Equal(m, got) }) {
		return fmt.Errorf("state %s is none of %s", short(got), short(hs.states...))
	}
	have := 0
	if err := scan(h.store.db, []byte{spaceChunk}, func(_, _ []byte) error { have++; return nil }); err != nil || have != chunks {
		return fmt.Errorf("%d chunks, want %d: an unfinished push left some, %w", have, chunks, err)
	}
	r, err := s.Push(ctx, batch(upsert("z", `{}`)))
	if err == nil && r.Serial <= hs.serial {
		err = fmt.Errorf("serial %d again", r.Serial)
	}
	return err
}

// short writes states without the middle of long values.
func short(states ...map[string]string) (text string) {
	for _, m := range states {
		text += "{"
		for _, k := range slices.Sorted(maps.Keys(m)) {
			text += fmt.Sprintf(" %s=%.20s", k, m[k])
		}
		text += " }"
	}
	return text
}

// stateOf reads everything that the synced view holds, and counts the chunks
// that it needs.
func stateOf(ctx context.Context, s *Session) (state map[string]string, chunks int, err error) {
	st, err := s.Status(ctx)
	if err != nil {
		return nil, 0, err
	}
	state = map[string]string{}
	for _, cp := range st.Checkpoints {
		state["@"] = string(cp.Position)
	}
	err = s.hub.Records(ctx, "docs", items, "", func(r gapless.Record) error {
		for _, p := range r.Parts {
			chunks += int((p.Size + chunkBytes - 1) / chunkBytes)
		}
		state[r.Key], err = describe(ctx, r)
		return err
	})
	return state, chunks, err
}

func newHistory(incarnation string) *history {
	return &history{states: []map[string]string{{}}, taken: map[string]bool{incarnation: true}}
}

func TestCrashAfterEveryStepKeepsWhatIsSynced(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprintf("%d percent of the unsynced", percent), func(t *testing.T) {
			t.Parallel()
			fs := crashable()
			h := open(t, Options{Dir: "hub", stageBytes: testStageBytes, fs: fs})
			hs := newHistory(h.Incarnation())
			err := script(t, h, hs, func(step string) {
				for seed := range uint64(3) {
					if err := hs.verify(t.Context(), crash(fs, percent, seed)); err != nil {
						t.Errorf("after %s: %v", step, err)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestCrashBeforeEveryWrite stops the machine ahead of each write in turn,
// before the call that it belongs to has returned.
func TestCrashBeforeEveryWrite(t *testing.T) {
	t.Parallel()
	fs := crashable()
	var mu sync.Mutex
	var hs *history
	n := 0
	h := open(t, Options{Dir: "hub", stageBytes: testStageBytes, fs: errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if hs == nil || !isWrite(op) {
			return nil
		}
		n++
		if err := hs.verify(t.Context(), crash(fs, n%3*50, uint64(n))); err != nil {
			t.Errorf("write %d, %s: %v", n, op.Path, err)
		}
		return nil
	}))})
	mu.Lock()
	hs = newHistory(h.Incarnation())
	mu.Unlock()
	if err := script(t, h, hs, func(string) {}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	hs = nil
	mu.Unlock()
	if n < 15 {
		t.Errorf("only %d writes were seen", n)
	}
}

// TestViewHasNothingThatCameDuringTheFsync pushes through another session
// while a sync waits for the disk.
func TestViewHasNothingThatCameDuringTheFsync(t *testing.T) {
	t.Parallel()
	var during atomic.Pointer[func()]
	h := open(t, Options{Dir: "hub", fs: errorfs.Wrap(crashable(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && isLog(op.Path) {
			if call := during.Swap(nil); call != nil {
				(*call)()
			}
		}
		return nil
	}))})
	s, other := session(t, h, "docs", 1), session(t, h, "other", 1)
	push(t, s, upsert("a", `{}`))
	var late gapless.Receipt
	call := func() {
		var err error
		if late, err = other.Push(context.Background(), batch(upsert("b", `{}`))); err != nil {
			t.Error(err)
		}
	}
	during.Store(&call)
	synced := syncNow(t, s)
	if late.Serial != synced.Serial+1 {
		t.Fatalf("serial %d was pushed during the sync up to %d", late.Serial, synced.Serial)
	}
	if got := contents(t, h, "other"); len(got) != 0 || h.Watermarks().Synced != synced.Serial {
		t.Errorf("%v is seen, watermarks %+v", got, h.Watermarks())
	}
	syncNow(t, other)
	if got := contents(t, h, "other"); len(got) != 1 {
		t.Errorf("%v after its own sync", got)
	}
}

func TestTornLogTail(t *testing.T) {
	t.Parallel()
	fs := crashable()
	h := open(t, Options{Dir: "hub", stageBytes: testStageBytes, fs: fs})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{}`))
	syncNow(t, s, "1")
	before := crash(fs, 0, 0)
	push(t, s, upsert("b", strings.Repeat(" ", 100_000)+`{}`))
	syncNow(t, s, "2")
	logs := logSizes(t, fs)
	small := logSizes(t, before)
	for name, full := range logs {
		for _, size := range []int64{small[name], small[name] + 1, small[name] + 7, (small[name] + full) / 2, full - 1, full} {
			for _, garbage := range []string{"", strings.Repeat("\xff", 50), strings.Repeat("\x00", 500)} {
				torn := crash(fs, 100, 0)
				truncate(t, torn, name, size, garbage)
				h, err := Open(t.Context(), Options{Dir: "hub", stageBytes: testStageBytes, fs: torn})
				if err != nil {
					t.Fatalf("log of %d bytes and %d of garbage: %v", size, len(garbage), err)
				}
				if got := contents(t, h, "docs"); got["a"] != `{}` {
					t.Errorf("log of %d bytes: %v", size, got)
				}
				if err := h.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func logSizes(t *testing.T, fs vfs.FS) map[string]int64 {
	t.Helper()
	names, err := fs.List("hub/records")
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{}
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			info, err := fs.Stat("hub/records/" + name)
			if err != nil {
				t.Fatal(err)
			}
			sizes["hub/records/"+name] = info.Size()
		}
	}
	return sizes
}

func truncate(t *testing.T, fs vfs.FS, name string, size int64, garbage string) {
	t.Helper()
	in, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, size)
	if _, err := in.ReadAt(content, 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(in.Close(), writeFile(fs, name, string(content)+garbage)); err != nil {
		t.Fatal(err)
	}
}

// TestDiskFullAtEveryWrite fills the disk at each write in turn, for good or
// just for one write.
func TestDiskFullAtEveryWrite(t *testing.T) {
	t.Parallel()
	for _, forGood := range []bool{true, false} {
		t.Run(fmt.Sprintf("for good %t", forGood), func(t *testing.T) {
			t.Parallel()
			for n := 0; ; n++ {
				if !diskFullAt(t, n, forGood) {
					if n < 15 {
						t.Errorf("only %d writes were seen", n)
					}
					return
				}
			}
		})
	}
}

func diskFullAt(t *testing.T, n int, forGood bool) (reached bool) {
	fs := crashable()
	full := &fullDisk{forGood: forGood}
	full.at.Store(int64(n))
	hs := newHistory("")
	h, err := Open(t.Context(), Options{Dir: "hub", stageBytes: testStageBytes, fs: errorfs.Wrap(fs, full)})
	if err == nil {
		err = script(t, h, hs, func(string) {})
		if err != nil {
			if _, again := h.Session(t.Context(), "docs", 9); again == nil {
				t.Errorf("write %d: the hub goes on after %v", n, err)
			}
		}
		if closed := h.Close(); err == nil {
			err = closed
		}
	}
	if full.count.Load() <= int64(n) {
		if err != nil {
			t.Errorf("without a full disk: %v", err)
		}
		return false
	}
	if err != nil {
		coded, ok := errors.AsType[*gapless.Error](err)
		if !ok || coded.Code != gapless.CodeStoreFull || gapless.KindOf(err) != gapless.KindRecoverable {
			t.Errorf("write %d: %v, want %s", n, err, gapless.CodeStoreFull)
		}
	}
	for _, percent := range []int{100, 50, 0} {
		if err := hs.verify(t.Context(), crash(fs, percent, uint64(n))); err != nil {
			t.Errorf("write %d, %d percent: %v", n, percent, err)
		}
	}
	return true
}

func TestStuckWritersAreReleasedWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	full := &fullDisk{forGood: true}
	full.at.Store(1 << 60)
	h, err := Open(t.Context(), Options{Dir: "hub", stageBytes: testStageBytes, fs: errorfs.Wrap(crashable(), full)})
	if err != nil {
		t.Fatal(err)
	}
	s := session(t, h, "docs", 1)
	// Flushes fail from now on; pushes go on until memory is full and would
	// then wait for ever.
	ending := ".sst"
	full.only.Store(&ending)
	full.at.Store(0)
	for i := 0; err == nil; i++ {
		if i > 1000 {
			t.Fatal("nothing fails")
		}
		_, err = s.Push(t.Context(), batch(upsert(fmt.Sprint(i), `{"x":"`+strings.Repeat("x", 1<<20)+`"}`)))
	}
	if coded, ok := errors.AsType[*gapless.Error](err); !ok || coded.Code != gapless.CodeStoreFull {
		t.Errorf("push: %v", err)
	}
	_ = h.Close() // may leave goroutines behind the gate, but returns
}

func TestGateStaysShut(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	g := gate{fs, newLatch()}
	f, err := g.Create("a", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("before")); err != nil {
		t.Fatal(err)
	}
	g.trip(syscall.ENOSPC)
	_, w := f.Write([]byte("after"))
	_, wa := f.WriteAt([]byte("after"), 0)
	_, to := f.SyncTo(1)
	_, c := g.Create("b", vfs.WriteCategoryUnspecified)
	_, o := g.OpenReadWrite("a", vfs.WriteCategoryUnspecified)
	_, ru := g.ReuseForWrite("a", "b", vfs.WriteCategoryUnspecified)
	for i, err := range []error{w, wa, to, c, o, ru, f.Sync(), f.SyncData(), g.Rename("a", "b"), g.Link("a", "b"), g.Remove("a"), g.RemoveAll("a")} {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	names, err := fs.List("")
	if diff := cmp.Diff([]string{"a"}, names); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_ = f.Close()
}

func TestFatalErrorsOfTheStoreStopTheHub(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable()})
	s := session(t, h, "docs", 1)
	pebbleLog{h.store}.Fatalf("MANIFEST sync failed: %v", error(syscall.EIO))
	if _, err := s.Push(t.Context(), batch(upsert("a", `{}`))); !errors.Is(err, syscall.EIO) || gapless.KindOf(err) != gapless.KindRecoverable {
		t.Errorf("push: %v", err)
	}
	if err := h.Err(); !errors.Is(err, syscall.EIO) {
		t.Errorf("err: %v", err)
	}
	if _, err := h.Get(context.Background(), "docs", "items", "a"); !errors.Is(err, syscall.EIO) {
		t.Errorf("get: %v", err)
	}
}

func TestChunksOfAnUnfinishedPushAreDropped(t *testing.T) {
	t.Parallel()
	fs := crashable()
	h := open(t, Options{Dir: "hub", stageBytes: testStageBytes, fs: fs})
	s := session(t, h, "docs", 1)
	var left *vfs.MemFS
	late := gapless.Part{Name: "late", Open: func(context.Context) (io.ReadCloser, error) {
		if n := chunksOf(t, h); n != 1 {
			t.Errorf("%d chunks are ahead of the batch", n)
		}
		err := h.store.flushLog()
		left = crash(fs, 0, 0)
		return io.NopCloser(strings.NewReader("")), err
	}}
	push(t, s, upsert("a", `{}`, part("p", "", strings.Repeat("x", testStageBytes+1)), late))
	h = open(t, Options{Dir: "hub", fs: left})
	if n, got := chunksOf(t, h), contents(t, h, "docs"); n != 0 || len(got) != 0 {
		t.Errorf("%d chunks and %v are left", n, got)
	}
	if ok, err := holdsAny(h.store.db, []byte{spaceOrphan}); ok || err != nil {
		t.Errorf("an orphan marker is left: %v", err)
	}
}

func TestLostSerialsAreUnknown(t *testing.T) {
	if testing.Short() {
		t.Skip("crashes a hub very often")
	}
	t.Parallel()
	fs := crashable()
	h := open(t, Options{Dir: "hub", stageBytes: testStageBytes, fs: fs})
	s := session(t, h, "docs", 1)
	kept := push(t, s, upsert("a", `{}`)).Serial
	syncNow(t, s)
	lost := push(t, s, upsert("b", `{}`)).Serial
	for range maxLost + 10 { // more crashes than are remembered one by one
		fs = crash(fs, 0, 0)
		h = open(t, Options{Dir: "hub", stageBytes: testStageBytes, fs: fs})
	}
	later := push(t, session(t, h, "docs", 1), upsert("c", `{}`)).Serial
	if err := h.known(kept); err != nil {
		t.Errorf("serial %d: %v", kept, err)
	}
	if err := h.known(later); err != nil {
		t.Errorf("serial %d: %v", later, err)
	}
	if err := h.known(later - 1); err != nil { // what a checkpoint before any change would have got
		t.Errorf("serial %d: %v", later-1, err)
	}
	for _, serial := range []uint64{lost, later - 2, later + 1} {
		if err := h.known(serial); !errors.Is(err, gapless.ErrNotFound) {
			t.Errorf("serial %d: %v", serial, err)
		}
	}
	if len(h.serials.lost) > maxLost {
		t.Errorf("%d intervals", len(h.serials.lost))
	}
}

func TestSerialsAreReservedBeforeUse(t *testing.T) {
	t.Parallel()
	fs := crashable()
	h := open(t, Options{Dir: "hub", stageBytes: testStageBytes, fs: fs})
	s := session(t, h, "docs", 1)
	h.serials.last = h.serials.reserved - 1 // as after a million changes
	last := push(t, s, upsert("a", `{}`), upsert("b", `{}`), upsert("c", `{}`)).Serial
	h2 := open(t, Options{Dir: "hub", stageBytes: testStageBytes, fs: crash(fs, 0, 0)})
	if next := push(t, session(t, h2, "docs", 1), upsert("d", `{}`)).Serial; next <= last {
		t.Errorf("serial %d after %d", next, last)
	}
	before := h.serials.reserved
	h.serials.last = before - 10
	push(t, s, upsert("a", `{}`))
	syncNow(t, s)
	if h.serials.reserved <= before {
		t.Error("sync does not reserve more")
	}
	h.serials.last = before + 10
	last = push(t, s, upsert("e", `{}`)).Serial
	h3 := open(t, Options{Dir: "hub", stageBytes: testStageBytes, fs: crash(fs, 0, 0)})
	if next := push(t, session(t, h3, "docs", 1), upsert("d", `{}`)).Serial; next <= last {
		t.Errorf("serial %d after %d", next, last)
	}
}
