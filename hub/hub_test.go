package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

func TestRecordsAreKeptVerbatim(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "docs", 1)
	want := gapless.Record{
		Key: "a/ü b", Version: "rev 7\n stamp", Modified: time.Unix(0, 1234567890123456789).UTC(),
		Data: []byte("{ \"x\" : [1, 2.50,\t\"y\"] }"),
	}
	push(t, s, gapless.Change{Record: want})
	syncNow(t, s, "p1")
	got, err := s.Get(t.Context(), items, want.Key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := s.Get(t.Context(), items, "missing"); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("missing record: %v", err)
	}
	if _, err := s.Get(t.Context(), gapless.Partition{Collection: "none"}, "a"); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("missing collection: %v", err)
	}
}

func TestChangesAreIdempotentAndInOrder(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		changes []gapless.Change
		want    map[string]string
	}{
		{"upsert replaces", []gapless.Change{upsert("a", `{"x":1}`), upsert("a", `{"y":2}`)}, map[string]string{"a": `{"y":2}`}},
		{"delete of nothing", []gapless.Change{remove("a")}, map[string]string{}},
		{"delete twice", []gapless.Change{upsert("a", `{}`), remove("a"), remove("a")}, map[string]string{}},
		{"patch merges top-level fields", []gapless.Change{upsert("a", `{"x":1,"y":{"z":2}, "k":3}`), patch("a", `{"y":[4],"new":"n","k":null}`)}, map[string]string{"a": `{"x":1,"y":[4],"new":"n"}`}},
		{"patch in the same batch sees the upsert", []gapless.Change{upsert("a", `{"x":1}`), patch("a", `{"y":2}`), patch("a", `{"x":null}`)}, map[string]string{"a": `{"y":2}`}},
		{"patch with an escaped name", []gapless.Change{upsert("a", `{"ab":1}`), patch("a", `{"\u0061b":2}`)}, map[string]string{"a": `{"ab":2}`}},
		{"patch names a field twice", []gapless.Change{upsert("a", `{"x":1}`), patch("a", `{"x":2,"x":3}`)}, map[string]string{"a": `{"x":3}`}},
		{"upsert drops parts", []gapless.Change{upsert("a", `{}`, part("p", "", "old")), upsert("a", `{}`)}, map[string]string{"a": `{}`}},
		{"patch keeps parts", []gapless.Change{upsert("a", `{}`, part("p", "", "one"), part("q", "", "two")), patch("a", `{"x":1}`, part("q", "", "2"), part("r", "", ""))}, map[string]string{"a": `{"x":1} +p=one +q=2 +r=`}},
		{"parts after delete", []gapless.Change{upsert("a", `{}`, part("p", "", "one")), remove("a"), upsert("a", `{}`, part("p", "", "new"))}, map[string]string{"a": `{} +p=new`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, Options{fs: crashable()})
			s := session(t, h, "docs", 1)
			for round := range 3 { // at once, again, and one by one
				if round < 2 {
					push(t, s, tt.changes...)
				} else {
					for _, c := range tt.changes {
						push(t, s, c)
					}
				}
				syncNow(t, s)
				if diff := cmp.Diff(tt.want, contents(t, h, "docs")); diff != "" {
					t.Errorf("round %d (-want +got):\n%s", round, diff)
				}
			}
			if n := chunksOf(t, h); n > 4 {
				t.Errorf("%d chunks are left of replaced parts", n)
			}
		})
	}
}

func chunksOf(t *testing.T, h *Hub) (n int) {
	t.Helper()
	if err := scan(h.store.db, []byte{spaceChunk}, func(_, _ []byte) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestBadRowsAreRejectedAndOthersKept(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken pipe")
	failing := func(err error) gapless.Part {
		return gapless.Part{Name: "p", Size: -1, Open: func(context.Context) (io.ReadCloser, error) { return nil, err }}
	}
	truncated := gapless.Part{Name: "p", Size: -1, Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("half"), errReader{io.ErrUnexpectedEOF})), nil
	}}
	wrong := part("p", "", "four")
	wrong.Size = 5
	tests := []struct {
		name string
		bad  gapless.Change
		want string
	}{
		{"empty key", upsert("", `{}`), "the key is empty"},
		{"long key", upsert(strings.Repeat("k", gapless.MaxKeyBytes+1), `{}`), "4097 bytes"},
		{"key is not UTF-8", upsert("\xff", `{}`), "UTF-8"},
		{"no data", upsert("bad", ""), "no data"},
		{"unknown operation", gapless.Change{Op: 9, Record: gapless.Record{Key: "bad"}}, "unknown kind"},
		{"patch of nothing", patch("bad", `{"x":1}`), "not found"},
		{"patch of nothing with parts", patch("bad", `{"x":1}`, part("p", "", "x")), "not found"},
		{"patch is no object", patch("good", `[1]`), "not a JSON object"},
		{"patch is invalid", patch("good", `{"x":}`), "not a JSON object"},
		{"part cannot be opened", upsert("bad", `{}`, part("first", "", "kept?"), failing(broken)), "broken pipe"},
		{"part without Open", upsert("bad", `{}`, gapless.Part{Name: "p"}), "cannot be opened"},
		{"part is cut short", upsert("bad", `{}`, truncated), "unexpected EOF"},
		{"part has another size", upsert("bad", `{}`, wrong), "5 bytes were announced and 4 came"},
		{"part is too large", upsert("bad", `{}`, part("p", "", strings.Repeat("x", 3000))), "larger than 2048"},
		{"part named twice", upsert("bad", `{}`, part("p", "", "x"), part("p", "", "y")), "not unique"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, Options{fs: crashable(), MaxPartBytes: 2048})
			s := session(t, h, "docs", 1)
			receipt := push(t, s, upsert("good", `{"x":1}`), tt.bad, upsert("later", `{"y":2}`, part("p", "", "content")))
			syncNow(t, s)
			if len(receipt.Rejected) != 1 || receipt.Rejected[0].Key != tt.bad.Key || !strings.Contains(receipt.Rejected[0].Err.Error(), tt.want) {
				t.Errorf("rejected %+v, want key %q and %q", receipt.Rejected, tt.bad.Key, tt.want)
			}
			for _, r := range receipt.Rejected {
				if gapless.KindOf(r.Err) != gapless.KindRejected || r.Origin != "test" {
					t.Errorf("rejection %+v", r)
				}
			}
			want := map[string]string{"good": `{"x":1}`, "later": `{"y":2} +p=content`}
			if diff := cmp.Diff(want, contents(t, h, "docs")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n := chunksOf(t, h); n != 1 {
				t.Errorf("%d chunks, want 1", n)
			}
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestRecoverablePartErrorFailsThePush(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable()})
	s := session(t, h, "docs", 1)
	away := gapless.Part{Name: "p", Open: func(context.Context) (io.ReadCloser, error) {
		return nil, gapless.Because(gapless.CauseUnreachable, errors.New("connection refused"))
	}}
	_, err := s.Push(t.Context(), batch(upsert("a", `{}`), upsert("b", `{}`, away)))
	if err == nil || gapless.KindOf(err) != gapless.KindRecoverable || gapless.ExitCode(err) != 51 {
		t.Fatalf("push: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopping := gapless.Part{Name: "p", Open: func(context.Context) (io.ReadCloser, error) {
		cancel(gapless.ErrInterrupted)
		return nil, context.Canceled
	}}
	if _, err := s.Push(ctx, batch(upsert("a", `{}`, stopping))); !errors.Is(err, gapless.ErrInterrupted) {
		t.Fatalf("push: %v", err)
	}
	syncNow(t, s)
	if got := contents(t, h, "docs"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestLargePartsAreStreamed(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable(), stageBytes: testStageBytes})
	s := session(t, h, "docs", 1)
	sizes := []int{0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, testStageBytes + 12345}
	var c gapless.Change
	want := map[string]string{}
	for i, n := range sizes {
		name := fmt.Sprint(i)
		want[name] = strings.Repeat(name, n)
		c.Parts = append(c.Parts, part(name, "text/plain", want[name]))
	}
	c.Key, c.Data = "big", []byte(`{}`)
	push(t, s, c, upsert("other", `{}`))
	syncNow(t, s)
	r, err := s.Get(t.Context(), items, "big")
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range r.Parts {
		got, err := readPart(t.Context(), p)
		if err != nil || got != want[p.Name] || p.Size != int64(sizes[i]) || p.Type != "text/plain" {
			t.Errorf("part %s of %d bytes: %d bytes, %v", p.Name, sizes[i], len(got), err)
		}
	}
	if ok, err := holdsAny(h.store.db, []byte{spaceOrphan}); ok || err != nil {
		t.Errorf("an orphan marker is left: %v", err)
	}
	// A reader keeps its view; opening after the change tells that it is gone.
	reader, err := r.Parts[5].Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	push(t, s, remove("big"))
	syncNow(t, s)
	content, err := io.ReadAll(reader)
	if err != nil || !bytes.Equal(content, []byte(want["5"])) {
		t.Errorf("read on: %d bytes, %v", len(content), err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Parts[5].Open(t.Context()); !errors.Is(err, gapless.ErrNotFound) || gapless.KindOf(err) != gapless.KindRecoverable {
		t.Errorf("open after the delete: %v", err)
	}
	if n := chunksOf(t, h); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
}

func TestPushedSyncedAndTheirReaders(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable()})
	s := session(t, h, "docs", 1)
	pushed := push(t, s, upsert("a", `{"n":1}`, part("p", "", "content")))
	if _, err := s.PushCheckpoints(t.Context(), []gapless.Checkpoint{{Partition: "named", Position: "x"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), items, "a"); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("get sees what is not synced: %v", err)
	}
	r, err := s.GetPushed(t.Context(), items, "a")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := describe(t.Context(), r); err != nil || text != `{"n":1} +p=content` {
		t.Errorf("pushed record %s, %v", text, err)
	}
	checkpointsAre := func(pushed bool, want string) {
		t.Helper()
		list, err := s.Checkpoints(t.Context(), pushed)
		if err != nil || string(list["named"].Position) != want {
			t.Errorf("checkpoints with pushed %t: %v, %v", pushed, list, err)
		}
	}
	checkpointsAre(true, "x")
	checkpointsAre(false, "")
	if st, err := s.Status(t.Context()); err != nil || st.Holds || len(st.Checkpoints) != 0 {
		t.Errorf("status before sync: %+v, %v", st, err)
	}
	if w := h.Watermarks(); w.Pushed != pushed.Serial || w.Synced >= w.Pushed {
		t.Errorf("watermarks before sync: %+v", w)
	}
	synced := syncNow(t, s)
	if w := h.Watermarks(); synced.Serial != pushed.Serial || w.Synced != w.Pushed || w.Synced != synced.Serial {
		t.Errorf("watermarks after sync: %+v", w)
	}
	checkpointsAre(false, "x")
	if st, err := s.Status(t.Context()); err != nil || !st.Holds || st.ID != h.ID() || st.Incarnation != h.Incarnation() {
		t.Errorf("status after sync: %+v, %v", st, err)
	}
	if _, err := s.ClearCheckpoints(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkpointsAre(true, "")
	checkpointsAre(false, "x")
	syncNow(t, s)
	checkpointsAre(false, "")
}

func TestEnumerationSeesOneViewWhileWriting(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable()})
	s := session(t, h, "docs", 1)
	want := []string{}
	for i := range 500 {
		key := fmt.Sprintf("k%04d", i)
		push(t, s, upsert(key, `{}`))
		want = append(want, key+" v"+key)
	}
	syncNow(t, s)
	var got []string
	err := s.Enumerate(t.Context(), items, func(key, version []byte) error {
		got = append(got, string(key)+" "+string(version))
		push(t, s, remove(fmt.Sprintf("k%04d", 499-len(got)/2)), upsert(fmt.Sprintf("k%04da", len(got)), `{}`))
		if len(got)%100 == 0 {
			syncNow(t, s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEnumerationByPrefix(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable()})
	s := session(t, h, "docs", 1)
	for _, key := range []string{"a", "a/", "a/1", "a/2", "a0", "b", "\U0010ffff", "ÿ"} {
		push(t, s, upsert(key, `{}`))
	}
	syncNow(t, s)
	tests := []struct{ name, prefix, after, want string }{
		{"all", "", "", "a a/ a/1 a/2 a0 b ÿ \U0010ffff"},
		{"folder", "a/", "", "a/ a/1 a/2"},
		{"resumed", "a/", "a/1", "a/2"},
		{"resumed before the prefix", "a/", "a", "a/ a/1 a/2"},
		{"resumed behind the prefix", "a/", "b", ""},
		{"nothing", "zz", "", ""},
		{"last", "\U0010ffff", "", "\U0010ffff"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			p := gapless.Partition{Collection: "items", Prefix: tt.prefix}
			err := h.Records(t.Context(), "docs", p, tt.after, func(r gapless.Record) error {
				got = append(got, r.Key)
				return nil
			})
			if err != nil || strings.Join(got, " ") != tt.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	stop := errors.New("stop")
	if err := s.Enumerate(t.Context(), items, func(_, _ []byte) error { return stop }); err != stop { //nolint:errorlint // it is to be returned as it is
		t.Errorf("callback's error: %v", err)
	}
}

func TestConnectorsAndCollectionsAreApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := open(t, Options{Dir: dir})
	// Names that would run into each other if keys were just joined.
	names := []string{"a", "aa", "a\x00", "a/items", "\xff"}
	for i, name := range names {
		s := session(t, h, name, uint64(i+1))
		push(t, s, upsert("k", fmt.Sprintf(`{"c":%d}`, i)))
		other := batch(upsert("k", `{"other":true}`))
		other.Partition.Collection = "items\x00"
		if _, err := s.Push(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		syncNow(t, s, name)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, Options{Dir: dir})
	for i, name := range names {
		want := map[string]string{"k": fmt.Sprintf(`{"c":%d}`, i)}
		if diff := cmp.Diff(want, contents(t, h, name)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
		st, err := session(t, h, name, 0).Status(t.Context())
		if err != nil || len(st.Checkpoints) != 1 || string(st.Checkpoints["items"].Position) != name {
			t.Errorf("%q: status %+v, %v", name, st, err)
		}
	}
	st, err := h.Stats(t.Context())
	if err != nil || len(st.Connectors) != len(names) {
		t.Fatalf("stats %+v, %v", st, err)
	}
	for _, c := range st.Connectors {
		if len(c.Collections) != 2 || c.Collections[0].Records != 1 {
			t.Errorf("stats %+v", c)
		}
	}
}

func TestEpochsFence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := open(t, Options{Dir: dir, Search: true})
	old, same := session(t, h, "docs", 3), session(t, h, "docs", 3)
	other := session(t, h, "other", 1)
	push(t, old, upsert("a", `{}`))
	push(t, same, upsert("b", `{}`))
	newer, err := h.Open(t.Context(), "docs", 4)
	if err != nil {
		t.Fatal(err)
	}
	fenced := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, gapless.ErrFenced) {
			t.Errorf("%s: %v, want ErrFenced", name, err)
		}
	}
	for _, s := range []*Session{old, same} {
		_, err = s.Push(t.Context(), batch(upsert("c", `{}`)))
		fenced("push", err)
		_, err = s.Sync(t.Context(), []gapless.Checkpoint{{Partition: "items"}})
		fenced("sync", err)
		_, err = s.Status(t.Context())
		fenced("status", err)
		_, err = s.Get(t.Context(), items, "a")
		fenced("get", err)
		_, err = s.GetPushed(t.Context(), items, "a")
		fenced("get pushed", err)
		_, err = s.PushCheckpoints(t.Context(), nil)
		fenced("push checkpoints", err)
		_, err = s.ClearCheckpoints(t.Context())
		fenced("clear checkpoints", err)
		_, err = s.Checkpoints(t.Context(), true)
		fenced("checkpoints", err)
		_, err = searchSession{s}.Searchable(t.Context(), 1)
		fenced("searchable", err)
		fenced("enumerate", s.Enumerate(t.Context(), items, func(_, _ []byte) error { return nil }))
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	_, err = h.Open(t.Context(), "docs", 3)
	fenced("open", err)
	push(t, newer, upsert("d", `{}`))
	push(t, other, upsert("e", `{}`))
	// The epoch is durable, whatever happens next.
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, Options{Dir: dir})
	_, err = h.Open(t.Context(), "docs", 3)
	fenced("open after a restart", err)
	if _, err := newer.Push(t.Context(), batch(upsert("f", `{}`))); err == nil {
		t.Error("a session outlives its hub")
	}
}

func TestFencingDuringAPush(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable(), stageBytes: testStageBytes})
	s := session(t, h, "docs", 1)
	taken := gapless.Part{Name: "p", Open: func(context.Context) (io.ReadCloser, error) {
		session(t, h, "docs", 2) // a newer runner opens while this one reads
		return io.NopCloser(strings.NewReader(strings.Repeat("x", testStageBytes+1))), nil
	}}
	if _, err := s.Push(t.Context(), batch(upsert("a", `{}`, taken))); !errors.Is(err, gapless.ErrFenced) {
		t.Fatalf("push: %v", err)
	}
	newer := session(t, h, "docs", 2)
	syncNow(t, newer)
	if got := contents(t, h, "docs"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if n := chunksOf(t, h); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	used := func(t *testing.T) string {
		dir := t.TempDir()
		h, err := Open(t.Context(), Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		push(t, session(t, h, "docs", 1), upsert("a", `{}`))
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	write := func(t *testing.T, dir, name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		spoil func(t *testing.T, dir string)
		code  gapless.Code
	}{
		{"open elsewhere", func(t *testing.T, dir string) { open(t, Options{Dir: dir}) }, gapless.CodeStoreLocked},
		{"newer format", func(t *testing.T, dir string) { write(t, dir, formatFile, fmt.Sprintf(formatText, formatVersion+1)) }, gapless.CodeStoreVersion},
		{"no format", func(t *testing.T, dir string) { write(t, dir, formatFile, "what?") }, gapless.CodeStoreDamaged},
		{"format missing", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, formatFile)); err != nil {
				t.Fatal(err)
			}
		}, gapless.CodeStoreDamaged},
		{"manifest damaged", func(t *testing.T, dir string) {
			files, _ := filepath.Glob(filepath.Join(dir, recordsDir, "MANIFEST-*"))
			for _, f := range files {
				if err := os.Truncate(f, 0); err != nil {
					t.Fatal(err)
				}
			}
		}, gapless.CodeStoreDamaged},
		{"manifest missing", func(t *testing.T, dir string) {
			files, _ := filepath.Glob(filepath.Join(dir, recordsDir, "MANIFEST-*"))
			for _, f := range files {
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
		}, gapless.CodeStoreDamaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := used(t)
			tt.spoil(t, dir)
			_, err := Open(t.Context(), Options{Dir: dir})
			coded, ok := errors.AsType[*gapless.Error](err)
			if !ok || coded.Code != tt.code {
				t.Fatalf("open: %v, want %s", err, tt.code)
			}
			// What a refusal leaves behind does not lock the folder.
			if _, again := Open(t.Context(), Options{Dir: dir}); again == nil || again.Error() != err.Error() {
				t.Errorf("open again: %v, want %v", again, err)
			}
		})
	}
	if _, err := Open(t.Context(), Options{}); gapless.KindOf(err) != gapless.KindMisconfigured {
		t.Errorf("open without a folder: %v", err)
	}
}

func TestIncarnationsAndIdentity(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	seen := map[string]bool{}
	id := ""
	for range 4 {
		h, err := Open(t.Context(), Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if id == "" {
			id = h.ID()
		}
		if len(h.ID()) != 32 || h.ID() != id || seen[h.Incarnation()] || len(h.Incarnation()) != 19 {
			t.Errorf("id %s, incarnation %s after %v", h.ID(), h.Incarnation(), seen)
		}
		seen[h.Incarnation()] = true
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		if _, err := h.Get(t.Context(), "docs", "items", "a"); err == nil {
			t.Error("a closed hub answers")
		}
	}
}
