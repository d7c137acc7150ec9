package sahana

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// TestTombstonesFillPages: tombstones have no numbers, so that pages of nothing
// else are counted.
func TestTombstonesFillPages(t *testing.T) {
	t.Parallel()
	e := newEden(t)
	s := newSource(e, viaREST)
	from, err := s.Position(t.Context(), organisation)
	must(t, err)
	var want []string
	for i := range 12 {
		uuid := fmt.Sprintf("urn:x:%02d", i)
		e.put(organisations, uuid, "a")
		if i == 0 || i == 6 {
			want = append(want, "+"+uuid+" a")
			continue
		}
		e.remove(organisations, uuid, "")
		want = append(want, "-"+uuid)
	}
	to, err := s.Position(t.Context(), organisation)
	must(t, err)
	var got []string
	out := output(t, &got)
	finish(t, out, s.ReadChanges(t.Context(), organisation, from, to, out))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRecent: what was handed over behind a position is not handed over again
// from there, unless it has changed or anything is in doubt.
func TestRecent(t *testing.T) {
	t.Parallel()
	e, folder := newEden(t), t.TempDir()
	position := func() gapless.Position {
		s := newSource(e, viaREST)
		p, err := s.Position(t.Context(), organisation)
		must(t, err)
		return p
	}
	read := func(from, to gapless.Position) (got []string) {
		s := newSource(e, viaREST)
		s.recent = recent{folder: folder, connector: "c"}
		out := output(t, &got)
		finish(t, out, s.ReadChanges(t.Context(), organisation, from, to, out))
		return got
	}
	future := time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	e.put(organisations, "urn:x:1", "a")
	e.put(organisations, "urn:x:2", "a")
	e.put(organisations, "urn:x:2040", "a", future)
	first, second := position(), position()
	all := []string{"+urn:x:1 a", "+urn:x:2 a", "+urn:x:2040 a"}
	expect := func(about string, want, got []string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", about, diff)
		}
	}
	expect("first", all, read(first, second))
	third := position()
	expect("nothing new", nil, read(second, third))
	expect("from elsewhere", all, read(first, third))
	e.put(organisations, "urn:x:1", "b")
	e.put(organisations, "urn:x:2040", "b", future)
	e.remove(organisations, "urn:x:2", "")
	fourth := position()
	expect("changes", []string{"+urn:x:1 b", "-urn:x:2", "+urn:x:2040 b"}, read(third, fourth))
	fifth := position()
	expect("nothing new again", nil, read(fourth, fifth))
	files, err := filepath.Glob(filepath.Join(folder, "*recent*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	must(t, os.WriteFile(files[0], []byte(`{"position":`), 0o600))
	expect("damaged", []string{"+urn:x:1 b", "-urn:x:2", "+urn:x:2040 b"}, read(fifth, position()))
}
