package hub

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

func changes(t *testing.T, h *Hub, connector string, after uint64) (list []string, through uint64, err error) {
	t.Helper()
	through, err = h.Changes(t.Context(), connector, after, func(c FeedChange) error {
		list = append(list, fmt.Sprintf("%d %s %s/%s", c.Serial, c.Op, c.Collection, c.Key))
		return nil
	})
	return list, through, err
}

func TestFeedTellsEverySyncedChangeInOrder(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable()})
	s, other := session(t, h, "docs", 1), session(t, h, "other", 1)
	push(t, s, upsert("a", `{}`), upsert("b", `{}`))
	push(t, other, upsert("x", `{}`))
	push(t, s, patch("a", `{"n":1}`), patch("none", `{}`), remove("b"))
	edges := batch(upsert("a", `{}`))
	edges.Partition.Collection = "edges"
	if _, err := s.Push(t.Context(), edges); err != nil {
		t.Fatal(err)
	}
	if list, through, err := changes(t, h, "docs", 0); len(list) != 0 || through != 0 || err != nil {
		t.Errorf("before sync: %v, %d, %v", list, through, err)
	}
	syncNow(t, s)
	all := []string{"1 upsert items/a", "2 upsert items/b", "4 patch items/a", "5 delete items/b", "6 upsert edges/a"}
	for after := range uint64(7) {
		var want []string
		for _, line := range all {
			if line[0] > byte('0'+after) {
				want = append(want, line)
			}
		}
		list, through, err := changes(t, h, "docs", after)
		if diff := cmp.Diff(want, list); err != nil || through != 6 || diff != "" {
			t.Errorf("after %d: through %d, %v (-want +got):\n%s", after, through, err, diff)
		}
	}
	if _, _, err := changes(t, h, "docs", 7); gapless.KindOf(err) != gapless.KindExpired {
		t.Errorf("after what there is: %v", err)
	}
	if _, _, err := changes(t, h, "unknown", 1); gapless.KindOf(err) != gapless.KindExpired {
		t.Errorf("unknown connector: %v", err)
	}
	stop := errors.New("stop")
	through, err := h.Changes(t.Context(), "docs", 0, func(c FeedChange) error {
		if c.Serial == 4 {
			return stop
		}
		return nil
	})
	if through != 2 || !errors.Is(err, stop) {
		t.Errorf("stopped: %d, %v", through, err)
	}
}

func TestFeedIsTrimmedAndExpires(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := open(t, Options{Dir: dir, FeedChanges: 10})
	s, quiet := session(t, h, "docs", 1), session(t, h, "quiet", 1)
	push(t, quiet, upsert("q", `{}`))
	for i := range 50 {
		push(t, s, upsert(fmt.Sprint(i%5), `{}`))
		syncNow(t, s)
		st, err := h.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		feed := st.Connectors[0]
		list, through, err := changes(t, h, "docs", feed.FeedFrom)
		if want := min(i+1, 10); err != nil || len(list) < want || len(list) > 13 || through != feed.FeedTo || through != uint64(i+2) {
			t.Fatalf("after %d changes: %d kept from %d to %d, %v", i+1, len(list), feed.FeedFrom, through, err)
		}
		if feed.FeedFrom > 0 {
			if _, _, err := changes(t, h, "docs", feed.FeedFrom-1); gapless.KindOf(err) != gapless.KindExpired {
				t.Fatalf("before what is kept: %v", err)
			}
		}
	}
	if list, _, err := changes(t, h, "quiet", 0); len(list) != 1 || err != nil {
		t.Errorf("the quiet connector: %v, %v", list, err)
	}
	before, _, _ := changes(t, h, "docs", 45)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, Options{Dir: dir, FeedChanges: 10})
	after, _, err := changes(t, h, "docs", 45)
	if diff := cmp.Diff(before, after); diff != "" || err != nil || len(after) == 0 {
		t.Errorf("after a restart: %v (-want +got):\n%s", err, diff)
	}
	if _, _, err := changes(t, h, "docs", 1); gapless.KindOf(err) != gapless.KindExpired {
		t.Errorf("after a restart: %v", err)
	}
}

func TestFeedBlocksOfAnySize(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable()})
	s := session(t, h, "docs", 1)
	b := &gapless.Batch{Partition: items}
	const n = 5000
	for i := range n {
		b.Append(upsert(fmt.Sprintf("%s%06d", strings.Repeat("k", 40), i), `{}`))
	}
	if _, err := s.Push(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	syncNow(t, s)
	for _, after := range []uint64{0, 1, 1391, 1392, 1393, n - 1, n} {
		next := after
		through, err := h.Changes(t.Context(), "docs", after, func(c FeedChange) error {
			if next++; c.Serial != next || !strings.HasSuffix(string(c.Key), fmt.Sprintf("%06d", next-1)) {
				t.Errorf("serial %d of key %s, want %d", c.Serial, c.Key, next)
			}
			return nil
		})
		if err != nil || through != n || next != n {
			t.Errorf("after %d: through %d and %d, %v", after, through, next, err)
		}
	}
}

// collect runs a read of a source and returns what it emitted by key; "-" is
// a delete.
func collect(t *testing.T, read func(out *gapless.Output) error) (got map[string]string, marks []gapless.Mark, err error) {
	t.Helper()
	got = map[string]string{}
	out := gapless.NewOutput(t.Context(), items, 3, 0, func(ctx context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Rows {
			c := b.Change(i)
			if got[c.Key] != "" {
				t.Errorf("record %s is emitted twice", c.Key)
			}
			got[c.Key] = "-"
			if c.Op == gapless.OpUpsert {
				text, err := describe(ctx, c.Record)
				if err != nil {
					return nil, err
				}
				got[c.Key] = text
			}
		}
		if b.Mark != "" {
			marks = append(marks, b.Mark)
		}
		return b, nil
	})
	if err := read(out); err != nil {
		return got, marks, err
	}
	return got, marks, out.Flush()
}

func TestSourceFollowsTheHub(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable(), FeedChanges: 10})
	s := session(t, h, "docs", 1)
	source := h.Source("docs")
	positioner, reader := source.(gapless.Positioner), source.(gapless.ChangeReader)
	checker, resumer := source.(gapless.PositionChecker), source.(gapless.Resumer)
	push(t, s, upsert("a", `{"n":1}`, part("p", "", "text")), upsert("b", `{"n":1}`), upsert("c", `{}`))
	syncNow(t, s)
	d, err := source.Describe(t.Context())
	if diff := cmp.Diff([]string{"items"}, d.Collections); err != nil || d.Model != gapless.ModelLog || diff != "" {
		t.Errorf("describe: %+v, %v", d, err)
	}
	start, err := positioner.Position(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": `{"n":1} +p=text`, "b": `{"n":1}`, "c": `{}`}
	got, _, err := collect(t, func(out *gapless.Output) error { return source.ReadAll(t.Context(), items, "", out) })
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("read all: %v (-want +got):\n%s", err, diff)
	}
	push(t, s, patch("a", `{"n":2}`), remove("b"), remove("c"), upsert("c", `{"new":true}`), upsert("d", `{}`))
	syncNow(t, s)
	end, err := positioner.Position(t.Context(), items)
	if err != nil || end == start {
		t.Fatalf("position %s after %s, %v", end, start, err)
	}
	want = map[string]string{"a": `{"n":2} +p=text`, "b": "-", "c": `{"new":true}`, "d": `{}`}
	got, _, err = collect(t, func(out *gapless.Output) error { return reader.ReadChanges(t.Context(), items, start, end, out) })
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("read changes: %v (-want +got):\n%s", err, diff)
	}
	// Fetch, resume, and positions that cannot be read from.
	got, _, err = collect(t, func(out *gapless.Output) error {
		return source.(gapless.Fetcher).Fetch(t.Context(), items, []string{"a", "b"}, out)
	})
	if diff := cmp.Diff(map[string]string{"a": `{"n":2} +p=text`, "b": "-"}, got); err != nil || diff != "" {
		t.Errorf("fetch: %v (-want +got):\n%s", err, diff)
	}
	mark := gapless.Mark(h.ID() + "/a")
	if ok, err := resumer.CanResume(t.Context(), items, mark, start); !ok || err != nil {
		t.Errorf("can resume: %t, %v", ok, err)
	}
	got, _, err = collect(t, func(out *gapless.Output) error { return source.ReadAll(t.Context(), items, mark, out) })
	if diff := cmp.Diff(map[string]string{"c": `{"new":true}`, "d": `{}`}, got); err != nil || diff != "" {
		t.Errorf("resumed: %v (-want +got):\n%s", err, diff)
	}
	for range 30 {
		push(t, s, upsert("e", `{}`))
		syncNow(t, s)
	}
	recent := gapless.Position(fmt.Sprintf("%s/%d", h.ID(), h.Watermarks().Synced-5))
	got, _, err = collect(t, func(out *gapless.Output) error { return reader.ReadChanges(t.Context(), items, recent, "", out) })
	if diff := cmp.Diff(map[string]string{"e": `{}`}, got); err != nil || diff != "" {
		t.Errorf("read changes: %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []gapless.Position{start, "", "elsewhere/3", gapless.Position(h.ID() + "/x"), gapless.Position(h.ID() + "/999")} {
		if err := checker.CheckPosition(t.Context(), items, bad); gapless.KindOf(err) != gapless.KindExpired {
			t.Errorf("check position %q: %v", bad, err)
		}
		_, _, err = collect(t, func(out *gapless.Output) error { return reader.ReadChanges(t.Context(), items, bad, end, out) })
		if gapless.KindOf(err) != gapless.KindExpired {
			t.Errorf("read changes from %q: %v", bad, err)
		}
		if ok, err := resumer.CanResume(t.Context(), items, mark, bad); ok || err != nil {
			t.Errorf("can resume from %q: %t, %v", bad, ok, err)
		}
	}
	if err := source.ReadAll(t.Context(), items, "elsewhere/a", nil); gapless.KindOf(err) != gapless.KindExpired {
		t.Errorf("read all behind a strange mark: %v", err)
	}
	if _, err := h.Source("unknown").Describe(t.Context()); gapless.KindOf(err) != gapless.KindMisconfigured {
		t.Errorf("describe an unknown connector: %v", err)
	}
}

func TestSourceMarksItsWay(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable()})
	s := session(t, h, "docs", 1)
	b := &gapless.Batch{}
	const n = markEvery + 100
	for i := 0; i < n; i += benchRows {
		b.Reset()
		b.Partition = items
		for k := i; k < min(n, i+benchRows); k++ {
			b.Append(upsert(fmt.Sprintf("%08d", k), `{}`))
		}
		if _, err := s.Push(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	syncNow(t, s)
	source := h.Source("docs")
	got, marks, err := collect(t, func(out *gapless.Output) error { return source.ReadAll(t.Context(), items, "", out) })
	if err != nil || len(got) != n || len(marks) != 1 {
		t.Fatalf("%d records, marks %q, %v", len(got), marks, err)
	}
	got, _, err = collect(t, func(out *gapless.Output) error { return source.ReadAll(t.Context(), items, marks[0], out) })
	if err != nil || len(got) != 100 {
		t.Errorf("%d records behind mark %q, %v", len(got), marks[0], err)
	}
	start := gapless.Position(h.ID() + "/0")
	changes := source.(gapless.ChangeReader)
	_, marks, err = collect(t, func(out *gapless.Output) error { return changes.ReadChanges(t.Context(), items, start, "", out) })
	if err != nil || len(marks) != 1 {
		t.Fatalf("marks %q, %v", marks, err)
	}
	got, _, err = collect(t, func(out *gapless.Output) error {
		return changes.ReadChanges(t.Context(), items, gapless.Position(marks[0]), "", out)
	})
	if err != nil || len(got) != 100 {
		t.Errorf("%d changes behind %q, %v", len(got), marks[0], err)
	}
}

func TestConnectorSharesHubsThroughThePool(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	pool := NewPool()
	connector := Connector(pool)
	env := gapless.Env{Connector: "docs", Dir: state, State: filepath.Join(state, "state")}
	to, err := connector.Destination.Open(t.Context(), nil, env)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := to.(gapless.Closer); ok {
		t.Error("a destination's user could close the hub of others")
	}
	s, err := to.Open(t.Context(), "docs", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.(gapless.Searchable); !ok {
		t.Error("search is on by default and the session does not tell what is searchable")
	}
	push(t, s, upsert("a", `{}`))
	r := syncNow(t, s)
	from, err := connector.Source.Open(t.Context(), map[string]any{"connector": "docs", "path": "./state/../state/hub"}, env)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := from.Describe(t.Context()); err != nil || len(d.Collections) != 1 {
		t.Errorf("describe: %+v, %v", d, err)
	}
	plain, err := connector.Destination.Open(t.Context(), map[string]any{"path": "plain", "search": false}, env)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plain.Open(t.Context(), "docs", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.(gapless.Searchable); ok {
		t.Error("a session without search says what is searchable")
	}
	h, err := pool.Open(t.Context(), filepath.Join(state, "plain"), true) // search is added
	if err != nil {
		t.Fatal(err)
	}
	if err := h.WaitSearchable(t.Context(), 0); err != nil {
		t.Error(err)
	}
	h, err = pool.Open(t.Context(), filepath.Join(state, "state", "hub"), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.WaitSearchable(t.Context(), r.Serial); err != nil {
		t.Error(err)
	}
	h.store.fail(errors.New("a fault"))
	again, err := pool.Open(t.Context(), filepath.Join(state, "state", "hub"), false)
	if err != nil {
		t.Fatal(err)
	}
	if again == h || again.Err() != nil {
		t.Error("a hub that has stopped is not opened anew")
	}
	if _, err := again.Get(t.Context(), "docs", "items", "a"); err != nil {
		t.Errorf("what was synced: %v", err)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
	if _, err := pool.Open(t.Context(), state, false); err == nil {
		t.Error("a closed pool opens a hub")
	}
	if mistakes := connector.Source.Check(nil, env); len(mistakes) != 1 || mistakes[0].Code != gapless.CodeMissingOption {
		t.Errorf("check: %v", mistakes)
	}
}
