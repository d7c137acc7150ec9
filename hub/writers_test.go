package hub

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// shared returns a session of a writer of the records of "docs".
func shared(t *testing.T, h *Hub, writer string, epoch uint64) gapless.Session {
	t.Helper()
	s, err := h.Shared("docs").Open(t.Context(), writer, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func positionOf(t *testing.T, s gapless.Session) string {
	t.Helper()
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(st.Checkpoints["items"].Position)
}

func TestWritersShareRecordsAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := open(t, Options{Dir: dir})
	first := shared(t, h, "relief", 7) // ahead of the connector itself
	owner, second := session(t, h, "docs", 1), shared(t, h, "other", 3)
	push(t, first, upsert("a", `{"n":1}`))
	push(t, owner, upsert("b", `{"n":2}`))
	push(t, second, patch("a", `{"m":3}`), remove("b"))
	syncNow(t, first, "first")
	syncNow(t, second, "second")
	syncNow(t, owner, "owner")
	check := func(h *Hub) {
		t.Helper()
		if diff := cmp.Diff(map[string]string{"a": `{"n":1,"m":3}`}, contents(t, h, "docs")); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		list, _, err := changes(t, h, "docs", 0)
		want := []string{"1 upsert items/a", "2 upsert items/b", "3 patch items/a", "4 delete items/b"}
		if diff := cmp.Diff(want, list); diff != "" || err != nil {
			t.Errorf("feed: %v (-want +got):\n%s", err, diff)
		}
		names, err := h.Connectors()
		if diff := cmp.Diff([]string{"docs"}, names); diff != "" || err != nil {
			t.Errorf("connectors: %v (-want +got):\n%s", err, diff)
		}
		st, err := h.Stats(t.Context())
		if err != nil || len(st.Connectors) != 1 || st.Connectors[0].Epoch != 1 {
			t.Errorf("stats: %+v, %v", st.Connectors, err)
		}
	}
	check(h)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, Options{Dir: dir})
	check(h)
	late := session(t, h, "late", 1) // its id is nobody else's
	syncNow(t, late, "late")
	for writer, want := range map[string]string{"relief": "first", "other": "second", "docs": "owner", "nobody": ""} {
		if got := positionOf(t, shared(t, h, writer, 0)); got != want {
			t.Errorf("%s has checkpoint %q, want %q", writer, got, want)
		}
	}
	if got := positionOf(t, session(t, h, "relief", 0)); got != "" {
		t.Errorf("the writer's name as a connector has checkpoint %q", got)
	}
	if _, err := session(t, h, "docs", 1).ClearCheckpoints(t.Context()); err != nil {
		t.Fatal(err)
	}
	syncNow(t, shared(t, h, "relief", 7))
	if a, b := positionOf(t, shared(t, h, "relief", 0)), positionOf(t, session(t, h, "docs", 0)); a != "first" || b != "" {
		t.Errorf("after the owner cleared its own: %q and %q", a, b)
	}
}

func TestWritersFenceThemselvesAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := open(t, Options{Dir: dir, Search: true})
	owner, old, other := session(t, h, "docs", 1), shared(t, h, "relief", 5), shared(t, h, "other", 2)
	shared(t, h, "relief", 6)
	if _, err := old.Push(t.Context(), batch(upsert("a", `{}`))); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("push of the old epoch: %v", err)
	}
	if _, err := old.Sync(t.Context(), nil); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("sync of the old epoch: %v", err)
	}
	if _, err := shared(t, h, "relief", 0).Push(t.Context(), batch()); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("push of a reader: %v", err)
	}
	push(t, owner, upsert("b", `{}`))
	push(t, other, upsert("c", `{}`))
	push(t, session(t, h, "relief", 1), upsert("d", `{}`)) // a connector, not the writer
	if _, ok := other.(gapless.Searchable); !ok {
		t.Error("the session does not tell what is searchable")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, Options{Dir: dir})
	if _, err := h.Shared("docs").Open(t.Context(), "relief", 5); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := h.Shared("new").Open(t.Context(), "", 1); gapless.KindOf(err) != gapless.KindMisconfigured {
		t.Errorf("writer without a name: %v", err)
	}
	push(t, session(t, h, "new", 1), upsert("a", `{}`))
	syncNow(t, session(t, h, "new", 1))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, Options{Dir: dir})
	if got := contents(t, h, "new"); len(got) != 1 {
		t.Errorf("a connector that a refused writer had named holds %v", got)
	}
}

// TestFirstFormatIsTakenOver checks that a program of the first format, which
// knows no writers, cannot open a hub that may have some.
func TestFirstFormatIsTakenOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := open(t, Options{Dir: dir})
	push(t, session(t, h, "docs", 1), upsert("a", `{}`), remove("b"))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	format := filepath.Join(dir, formatFile)
	if err := os.WriteFile(format, []byte("gapless hub 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h = open(t, Options{Dir: dir})
	if got := contents(t, h, "docs"); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	if text, err := os.ReadFile(format); err != nil || string(text) != "gapless hub 2\n" {
		t.Errorf("format %q, %v", text, err)
	}
}
