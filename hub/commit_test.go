package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

func named(p gapless.Part, name string) gapless.Part {
	p.Name, p.Type = name, "text/plain"
	return p
}

func TestUploadsKeepContentsAheadOfTheirCommit(t *testing.T) {
	t.Parallel()
	fs := crashable()
	h := open(t, Options{Dir: "hub", stageBytes: testStageBytes, fs: fs})
	s := session(t, h, "docs", 1)
	big := strings.Repeat("0123456789abcdef", (testStageBytes+chunkBytes)/16)
	u := s.Upload()
	a, err := u.Part(t.Context(), strings.NewReader(big))
	if err != nil {
		t.Fatal(err)
	}
	b, err := u.Part(t.Context(), iotest.OneByteReader(strings.NewReader("small")))
	if err != nil {
		t.Fatal(err)
	}
	if chunksOf(t, h) == 0 {
		t.Error("a large content waits in memory")
	}
	if _, err := u.Commit(t.Context(), Commit{Batch: batch(upsert("a", `{}`, named(a, "x")), upsert("b", `{}`, named(b, "y")))}); err != nil {
		t.Fatal(err)
	}
	syncNow(t, s)
	if diff := cmp.Diff(map[string]string{"a": "{} +x=" + big, "b": "{} +y=small"}, contents(t, h, "docs")); diff != "" {
		t.Error(diff)
	}
	if _, err := u.Commit(t.Context(), Commit{}); !errors.Is(err, errUploadDone) {
		t.Errorf("a second commit: %v", err)
	}
	if err := u.Discard(); err != nil {
		t.Errorf("discard after commit: %v", err)
	}
	h = open(t, Options{Dir: "hub", fs: crash(fs, 0, 0)})
	if got := contents(t, h, "docs"); len(got) != 2 {
		t.Errorf("%d records after a crash", len(got))
	}
}

func TestUploadsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", testStageBytes+1)
	tests := []struct {
		name string
		end  func(t *testing.T, s *Session, u *Upload, p gapless.Part) error
		want error
	}{
		{"discarded", func(_ *testing.T, _ *Session, u *Upload, _ gapless.Part) error { return u.Discard() }, nil},
		{"a row refused with all", func(t *testing.T, _ *Session, u *Upload, p gapless.Part) error {
			r, err := u.Commit(t.Context(), Commit{Whole: true, Batch: batch(upsert("a", `{}`, named(p, "x")), patch("missing", `{}`))})
			if len(r.Rejected) != 1 || !errors.Is(r.Rejected[0].Err, gapless.ErrNotFound) {
				t.Errorf("rejected %v", r.Rejected)
			}
			return err
		}, ErrRefused},
		{"its own row refused", func(t *testing.T, _ *Session, u *Upload, p gapless.Part) error {
			_, err := u.Commit(t.Context(), Commit{Batch: batch(patch("missing", `{}`, named(p, "x")))})
			return err
		}, nil},
		{"a key that cannot be", func(t *testing.T, _ *Session, u *Upload, p gapless.Part) error {
			_, err := u.Commit(t.Context(), Commit{Batch: batch(upsert("", `{}`, named(p, "x")))})
			return err
		}, nil},
		{"a condition that does not hold", func(t *testing.T, _ *Session, u *Upload, p gapless.Part) error {
			_, err := u.Commit(t.Context(), Commit{If: []Condition{{Partition: "items", Set: true, Position: "9"}}, Batch: batch(upsert("a", `{}`, named(p, "x")))})
			return err
		}, ErrConflict},
		{"fenced", func(t *testing.T, s *Session, u *Upload, p gapless.Part) error {
			session(t, s.hub, "docs", 2)
			_, err := u.Commit(t.Context(), Commit{Batch: batch(upsert("a", `{}`, named(p, "x")))})
			return err
		}, gapless.ErrFenced},
		{"given up", func(t *testing.T, _ *Session, u *Upload, p gapless.Part) error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := u.Commit(ctx, Commit{Batch: batch(upsert("a", `{}`, named(p, "x")))})
			return err
		}, context.Canceled},
		{"a part in two rows", func(t *testing.T, _ *Session, u *Upload, p gapless.Part) error {
			_, err := u.Commit(t.Context(), Commit{Batch: batch(upsert("a", `{}`, named(p, "x")), upsert("b", `{}`, named(p, "x")))})
			return err
		}, errUploaded},
		{"a content that breaks off", func(t *testing.T, _ *Session, u *Upload, _ gapless.Part) error {
			_, err := u.Part(t.Context(), io.MultiReader(strings.NewReader(big), iotest.ErrReader(io.ErrUnexpectedEOF)))
			return errors.Join(err, u.Discard())
		}, io.ErrUnexpectedEOF},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, Options{Dir: "hub", stageBytes: testStageBytes, fs: crashable()})
			s := session(t, h, "docs", 1)
			u := s.Upload()
			p, err := u.Part(t.Context(), strings.NewReader(big))
			if err != nil {
				t.Fatal(err)
			}
			if err := test.end(t, s, u, p); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if n := chunksOf(t, h); n != 0 {
				t.Errorf("%d chunks are left", n)
			}
			if ok, err := holdsAny(h.store.db, []byte{spaceOrphan}); ok || err != nil {
				t.Errorf("an orphan marker is left: %v", err)
			}
		})
	}
}

func TestCommitLeavesOutNothing(t *testing.T) {
	t.Parallel()
	h := open(t, Options{Dir: "hub", fs: crashable()})
	u := session(t, h, "docs", 1).Upload()
	if _, err := u.Part(t.Context(), strings.NewReader("forgotten")); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Commit(t.Context(), Commit{Batch: batch(upsert("a", `{}`))}); err == nil {
		t.Error("a content that no row has was kept for ever")
	}
}

func TestCommitsAreWholeAndConditional(t *testing.T) {
	t.Parallel()
	h := open(t, Options{Dir: "hub", fs: crashable()})
	s := session(t, h, "docs", 1)
	at := func(position string) []gapless.Checkpoint {
		return []gapless.Checkpoint{{Partition: "items", Position: gapless.Position(position)}}
	}
	commit := func(c Commit, want error) gapless.Receipt {
		t.Helper()
		r, err := s.Upload().Commit(t.Context(), c)
		if !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
		return r
	}
	unset := []Condition{{Partition: "items"}}
	is := func(position string) []Condition {
		return []Condition{{Partition: "items", Set: true, Position: gapless.Position(position)}}
	}
	first := commit(Commit{If: unset, Batch: batch(upsert("a", `{}`)), Checkpoints: at("1")}, nil)
	commit(Commit{If: unset, Batch: batch(upsert("b", `{}`)), Checkpoints: at("2")}, ErrConflict)
	commit(Commit{If: is("0"), Checkpoints: at("2")}, ErrConflict)
	if r := commit(Commit{If: is("1"), Checkpoints: at("2")}, nil); r.Serial != first.Serial {
		t.Errorf("a checkpoint alone has serial %d, not %d", r.Serial, first.Serial)
	}
	if r := commit(Commit{If: is("2")}, nil); r.Serial != first.Serial {
		t.Errorf("a condition alone has serial %d, not %d", r.Serial, first.Serial)
	}
	commit(Commit{Whole: true, Batch: batch(upsert("c", `{}`), patch("d", `{}`)), Checkpoints: at("3")}, ErrRefused)
	syncNow(t, s)
	if diff := cmp.Diff(map[string]string{"a": "{}"}, contents(t, h, "docs")); diff != "" {
		t.Error(diff)
	}
	commit(Commit{ClearCheckpoints: true, Checkpoints: []gapless.Checkpoint{{Partition: "other", Position: "9"}}}, nil)
	list, err := s.Checkpoints(t.Context(), true)
	if err != nil || len(list) != 1 || list["other"].Position != "9" {
		t.Errorf("checkpoints %v, %v", list, err)
	}
	if got := h.names.collectionsOf(s.connector); len(got) != 1 {
		t.Errorf("%d collections: one was made for nothing", len(got))
	}
}

func TestCommitWithItsCheckpointIsOneStep(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		fs := crashable()
		h := open(t, Options{Dir: "hub", fs: fs})
		s := session(t, h, "docs", 1)
		for i := range 10 {
			c := Commit{Batch: batch(upsert(fmt.Sprintf("k%d", i), `{}`)), Checkpoints: []gapless.Checkpoint{{Partition: "items", Position: gapless.Position(fmt.Sprint(i))}}}
			if _, err := s.Upload().Commit(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		h = open(t, Options{Dir: "hub", fs: crash(fs, 50, seed)})
		list, err := session(t, h, "docs", 1).Checkpoints(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if n := len(contents(t, h, "docs")); n > 0 {
			want = fmt.Sprint(n - 1)
		}
		if got := string(list["items"].Position); got != want {
			t.Errorf("seed %d: checkpoint %q, want %q", seed, got, want)
		}
	}
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	h := open(t, Options{Dir: "hub", fs: crashable()})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{}`), upsert("f/1", `{}`), upsert("f/2", `{}`), upsert("g", `{}`))
	synced := syncNow(t, s, "1").Serial
	late := push(t, s, upsert("h", `{}`)).Serial
	read := func(n *Snapshot, prefix, after, skip string) (keys []string) {
		t.Helper()
		p := items
		p.Prefix = prefix
		err := n.Entries(t.Context(), p, after, func(key, version []byte) ([]byte, error) {
			if string(version) != "v"+string(key) {
				t.Errorf("version %s of %s", version, key)
			}
			keys = append(keys, string(key))
			if strings.HasPrefix(string(key), "f/") && skip != "" {
				return []byte(skip), nil
			}
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	now, err := s.Snapshot(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Snapshot(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	push(t, s, upsert("z", `{}`), remove("a"))
	syncNow(t, s, "2")
	tests := []struct {
		name                string
		snapshot            *Snapshot
		prefix, after, skip string
		want                string
	}{
		{"synced", now, "", "", "", "a f/1 f/2 g"},
		{"pushed", all, "", "", "", "a f/1 f/2 g h"},
		{"prefix", all, "f/", "", "", "f/1 f/2"},
		{"after", all, "", "f/1", "", "f/2 g h"},
		{"leap", all, "", "", "f/\xff", "a f/1 g h"},
		{"leap behind the end", all, "", "", "zz", "a f/1"},
		{"leap backwards", all, "", "", "a", "a f/1 f/2 g h"},
	}
	for _, test := range tests {
		if got := strings.Join(read(test.snapshot, test.prefix, test.after, test.skip), " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	if now.Serial() != synced || all.Serial() != late {
		t.Errorf("serials %d and %d, want %d and %d", now.Serial(), all.Serial(), synced, late)
	}
	if list, err := now.Checkpoints(t.Context()); err != nil || list["items"].Position != "1" {
		t.Errorf("checkpoints %v, %v", list, err)
	}
	if _, err := now.Get(t.Context(), items, "h"); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("a later record: %v", err)
	}
	if r, err := all.Get(t.Context(), items, "h"); err != nil || r.Version != "vh" {
		t.Errorf("%v, %v", r, err)
	}
	if err := errors.Join(now.Close(), all.Close(), all.Close()); err != nil {
		t.Error(err)
	}
	if _, err := all.Get(t.Context(), items, "h"); err == nil {
		t.Error("a closed snapshot answers")
	}
}

func TestStanding(t *testing.T) {
	t.Parallel()
	h := open(t, Options{Search: true})
	s := session(t, h, "docs", 1)
	stage := func(key string, want Stage) Standing {
		t.Helper()
		st, err := s.Standing(t.Context(), items, key)
		if err != nil || st.Stage != want || (st.Reason == "") != (want == StageSearchable) {
			t.Fatalf("%+v, %v, want stage %d", st, err, want)
		}
		return st
	}
	stage("a", StageAbsent)
	serial := push(t, s, upsert("a", `{}`, part("x", "application/x-unknown", "?"), part("y", "text/plain", "words"))).Serial
	stage("a", StagePushed)
	syncNow(t, s)
	searchable(t, h, s)
	st := stage("a", StageSearchable)
	if st.Serial != serial || len(st.Unread) != 1 || st.Unread[0].Name != "x" {
		t.Errorf("%+v, want serial %d and one part", st, serial)
	}
	push(t, s, remove("a"))
	stage("a", StageAbsent)

	plain := open(t, Options{})
	s = session(t, plain, "docs", 1)
	push(t, s, upsert("a", `{}`))
	syncNow(t, s)
	stage("a", StageSynced)
}

func TestFeedGoesOnAfterSerialsOfOthers(t *testing.T) {
	t.Parallel()
	fs := crashable()
	h := open(t, Options{Dir: "hub", fs: fs})
	s, other := session(t, h, "docs", 1), session(t, h, "other", 1)
	push(t, s, upsert("a", `{}`))
	serial := push(t, other, upsert("b", `{}`)).Serial
	syncNow(t, s)
	none := func(FeedChange) error { return errors.New("a change") }
	if through, err := h.Changes(t.Context(), "docs", serial, none); err != nil || through != serial {
		t.Errorf("%d, %v", through, err)
	}
	if _, err := h.Changes(t.Context(), "docs", serial+1, none); gapless.KindOf(err) != gapless.KindExpired {
		t.Errorf("a serial that is not there: %v", err)
	}
	lost := push(t, s, upsert("c", `{}`)).Serial
	h = open(t, Options{Dir: "hub", fs: crash(fs, 0, 0)})
	if _, err := h.Changes(t.Context(), "docs", lost, none); gapless.KindOf(err) != gapless.KindExpired {
		t.Errorf("a serial that a crash took back: %v", err)
	}
}
