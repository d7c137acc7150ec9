package hub

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// find returns the keys that match, sorted.
func find(t *testing.T, h *Hub, q Query) string {
	t.Helper()
	q.Limit = maxHits
	r, err := h.Search(t.Context(), q)
	if err != nil {
		t.Fatalf("search %q: %v", q.Text, err)
	}
	keys := []string{}
	for _, hit := range r.Hits {
		keys = append(keys, hit.Key)
	}
	if r.Total < uint64(len(keys)) {
		t.Errorf("search %q: %d hits of %d", q.Text, len(keys), r.Total)
	}
	slices.Sort(keys)
	return strings.Join(keys, " ")
}

func searchable(t testing.TB, h *Hub, s gapless.Session) {
	t.Helper()
	r := syncNow(t, s)
	if err := h.WaitSearchable(t.Context(), r.Serial); err != nil {
		t.Fatal(err)
	}
	if ok, err := h.Searchable(t.Context(), r.Serial); !ok || err != nil {
		t.Errorf("searchable %d: %t, %v", r.Serial, ok, err)
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	h := open(t, Options{Search: true})
	s, other := session(t, h, "docs", 1), session(t, h, "other", 1)
	push(t, s,
		upsert("guide", `{"title":"The Go Memory Model","n":1}`, part("text", "text/html; charset=utf-8", `<html><head><title>x</title><script>secret()</script></head><body><p>When reads <b>ob</b>serve &quot;writes&quot;</p><p>caf&eacute;</p></body></html>`)),
		upsert("spec", `{"name":"Specification","tags":["model","memory"],"deep":{"er":[{"text":"goroutine"}]}}`),
		upsert("code", `{"note":"foo_bar(baz)"}`, part("text", "text/x-go", "package memory // model\nfunc ReadAll() {}"), part("image", "image/png", "memory")),
		upsert("cjk", `{"title":"日本語の文章","x":"東京都"}`),
		upsert("broken", "{\"x\":\"a\xffb memory\"}"),
	)
	push(t, other, upsert("else", `{"title":"memory"}`))
	searchable(t, h, s)
	tests := []struct {
		name  string
		query Query
		want  string
	}{
		{"one word", Query{Text: "memory"}, "broken code else guide spec"},
		{"any case", Query{Text: "MEMORY Model"}, "code guide spec"},
		{"phrase", Query{Text: `"memory model"`}, "code guide"},
		{"phrase does not span texts", Query{Text: `"specification model"`}, ""},
		{"phrase in the wrong order", Query{Text: `"model memory"`}, ""},
		{"unclosed quote", Query{Text: `"memory model`}, "code guide"},
		{"excluded", Query{Text: "memory -model"}, "broken else"},
		{"excluded phrase", Query{Text: `memory -"memory model"`}, "broken else spec"},
		{"only excluded", Query{Text: "-memory", Connector: "docs"}, "cjk"},
		{"compound", Query{Text: "foo_bar"}, "code"},
		{"compound in the wrong order", Query{Text: "bar_foo"}, ""},
		{"nested text", Query{Text: "goroutine"}, "spec"},
		{"key", Query{Text: "guide"}, "guide"},
		{"markup within a word", Query{Text: "observe"}, "guide"},
		{"entity", Query{Text: "café writes"}, "guide"},
		{"script", Query{Text: "secret"}, ""},
		{"field name", Query{Text: "tags"}, ""},
		{"ideographs", Query{Text: "文章"}, "cjk"},
		{"ideographs apart", Query{Text: "京東"}, ""},
		{"connector", Query{Text: "memory", Connector: "other"}, "else"},
		{"collection", Query{Text: "memory", Connector: "docs", Collection: "items"}, "broken code guide spec"},
		{"everything", Query{Connector: "docs"}, "broken cjk code guide spec"},
		{"nothing but signs", Query{Text: `"" - !`, Connector: "other"}, "else"},
		{"operators are words", Query{Text: "memory AND model*"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := find(t, h, tt.query); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("hit", func(t *testing.T) {
		t.Parallel()
		r, err := h.Search(t.Context(), Query{Text: "memory model", Limit: 1})
		if err != nil || r.Total != 3 || len(r.Hits) != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		hit := r.Hits[0]
		if hit.Key != "guide" || hit.Title != "The Go Memory Model" || hit.Connector != "docs" || hit.Collection != "items" || hit.Score <= 0 || string(hit.Data) != `{"title":"The Go Memory Model","n":1}` {
			t.Errorf("%+v", hit)
		}
		next, err := h.Search(t.Context(), Query{Text: "memory model", Limit: 1, Offset: 1})
		if err != nil || len(next.Hits) != 1 || next.Hits[0].Key == "guide" || next.Hits[0].Score > hit.Score {
			t.Errorf("next page: %+v, %v", next, err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		for _, q := range []Query{{Connector: "nobody"}, {Connector: "docs", Collection: "none"}, {Collection: "items"}, {Offset: -1}, {Limit: -1}, {Text: strings.Repeat("word ", 100)}} {
			if _, err := h.Search(t.Context(), q); err == nil {
				t.Errorf("%+v is answered", q)
			}
		}
	})
}

func TestScopeDoesNotTouchTheScore(t *testing.T) {
	t.Parallel()
	h := open(t, Options{Search: true})
	s, other := session(t, h, "docs", 1), session(t, h, "other", 1)
	push(t, s, upsert("a", `{"title":"memory model"}`), upsert("b", `{"text":"a model of something, and of memory"}`))
	push(t, other, upsert("c", `{"title":"memory"}`))
	searchable(t, h, s)
	searchable(t, h, other)
	all, err := h.Search(t.Context(), Query{Text: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	scores := map[string]float64{}
	for _, hit := range all.Hits {
		scores[hit.Key] = hit.Score
	}
	for _, q := range []Query{{Text: "memory", Connector: "docs"}, {Text: "memory", Connector: "docs", Collection: "items"}, {Connector: "docs"}} {
		r, err := h.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if r.Total != 2 || len(r.Hits) != 2 || r.Hits[0].Connector != "docs" || r.Hits[1].Connector != "docs" {
			t.Errorf("%+v: %d hits", q, r.Total)
		}
		for _, hit := range r.Hits {
			if q.Text != "" && hit.Score != scores[hit.Key] || math.IsNaN(hit.Score) {
				t.Errorf("%+v: %s scores %g, without scope %g", q, hit.Key, hit.Score, scores[hit.Key])
			}
		}
	}
}

func TestFragments(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("lorem ipsum dolor ", 30)
	tests := []struct {
		name, body, query string
		want              []string
	}{
		{"marks", "a Memory\n\n  model, of memory", "memory model", []string{"a [Memory] [model], of [memory]"}},
		{"nothing", "a b c", "x", nil},
		{"cut at words", long + "needle " + long, "needle", []string{"lorem ipsum dolor lorem ipsum dolor [needle] lorem"}},
		{"two places", "needle " + long + "needle", "needle", []string{"[needle] lorem", "[needle]"}},
		{"other texts stay out", "before\x00a needle b\x00behind", "needle", []string{"a [needle] b"}},
		{"best places", strings.Repeat("one "+long, 6) + "one two " + long + "two one", "one two", []string{"[one] lorem", "[one] [two] lorem", "[two] [one]"}},
		{"runes", strings.Repeat("ü", 300) + " ä " + strings.Repeat("ö", 300), "ä", []string{"[ä]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			terms, err := parseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			got := fragments([]byte(tt.body), wanted(terms))
			if len(got) != len(tt.want) {
				t.Fatalf("got %+v", got)
			}
			for i, f := range got {
				if text := bracket(f); !strings.Contains(text, tt.want[i]) || len(f.Text) > 2*fragmentBytes {
					t.Errorf("got %q, want %q", text, tt.want[i])
				}
			}
		})
	}
}

func bracket(f Fragment) (text string) {
	at := 0
	for _, m := range f.Marks {
		text += f.Text[at:m[0]] + "[" + f.Text[m[0]:m[1]] + "]"
		at = m[1]
	}
	return text + f.Text[at:]
}

func TestSearchSeesWhatIsSyncedOnly(t *testing.T) {
	t.Parallel()
	h := open(t, Options{Search: true})
	s, err := h.Open(t.Context(), "docs", 1)
	if err != nil {
		t.Fatal(err)
	}
	push(t, s, upsert("a", `{"x":"alpha"}`), upsert("b", `{"x":"alpha"}`))
	searchable(t, h, s)
	unsynced := push(t, s, upsert("c", `{"x":"alpha"}`), remove("a")).Serial
	ok, err := s.(gapless.Searchable).Searchable(t.Context(), unsynced)
	if ok || err != nil {
		t.Errorf("searchable before sync: %t, %v", ok, err)
	}
	if got := find(t, h, Query{Text: "alpha"}); got != "a b" {
		t.Errorf("before sync: %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := h.WaitSearchable(ctx, unsynced); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait before sync: %v", err)
	}
	if _, err := h.Searchable(t.Context(), unsynced+1); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("unknown serial: %v", err)
	}
	if err := h.WaitSearchable(t.Context(), unsynced+1); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("wait for an unknown serial: %v", err)
	}
	searchable(t, h, s)
	if got := find(t, h, Query{Text: "alpha"}); got != "b c" {
		t.Errorf("after sync: %q", got)
	}
	push(t, s, patch("b", `{"x":"beta"}`), upsert("c", `{"x":"beta"}`), upsert("c", `{"x":"gamma"}`))
	searchable(t, h, s)
	if got := find(t, h, Query{Text: "alpha"}) + "," + find(t, h, Query{Text: "beta"}) + "," + find(t, h, Query{Text: "gamma"}); got != ",b,c" {
		t.Errorf("after changes: %q", got)
	}
	if w := h.Watermarks(); w.Searchable != w.Synced || w.Pending != 0 || w.SearchErr != nil {
		t.Errorf("watermarks: %+v", w)
	}
	if st, err := h.Stats(t.Context()); err != nil || st.Indexed != 2 {
		t.Errorf("stats: %+v, %v", st, err)
	}
}

func TestWithoutSearch(t *testing.T) {
	t.Parallel()
	h := open(t, Options{fs: crashable()})
	_, searched := h.Search(t.Context(), Query{})
	_, asked := h.Searchable(t.Context(), 0)
	for _, err := range []error{searched, asked, h.Rebuild(t.Context()), h.WaitSearchable(t.Context(), 0)} {
		if !errors.Is(err, ErrNoSearch) {
			t.Errorf("%v, want %v", err, ErrNoSearch)
		}
	}
}

// copyFolder takes a copy as a crash would leave it.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// TestIndexIsInStepAfterACrash combines records and index of different
// moments, as a crash or a restored backup may: every search afterwards finds
// exactly what the records say.
func TestIndexIsInStepAfterACrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	moments := t.TempDir()
	h, err := Open(t.Context(), Options{Dir: dir, Search: true, FeedChanges: 4})
	if err != nil {
		t.Fatal(err)
	}
	s := session(t, h, "docs", 1)
	const rounds = 6
	for i := range rounds {
		for k := range 3 {
			push(t, s, upsert(fmt.Sprint(k), fmt.Sprintf(`{"x":"round%d word"}`, i)))
		}
		push(t, s, upsert(fmt.Sprintf("only%d", i), fmt.Sprintf(`{"x":"round%d word"}`, i)), remove(fmt.Sprintf("only%d", i-1)))
		searchable(t, h, s)
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		copyFolder(t, dir, filepath.Join(moments, fmt.Sprint(i)))
		h, err = Open(t.Context(), Options{Dir: dir, Search: true, FeedChanges: 4})
		if err != nil {
			t.Fatal(err)
		}
		s = session(t, h, "docs", 1)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for records := range rounds {
		for index := -1; index < rounds; index++ {
			mixed := filepath.Join(moments, "mixed")
			copyFolder(t, filepath.Join(moments, fmt.Sprint(records)), mixed)
			if err := os.RemoveAll(filepath.Join(mixed, searchDir)); err != nil {
				t.Fatal(err)
			}
			if index >= 0 {
				copyFolder(t, filepath.Join(moments, fmt.Sprint(index), searchDir), filepath.Join(mixed, searchDir))
			}
			h := open(t, Options{Dir: mixed, Search: true, FeedChanges: 4})
			if err := h.WaitSearchable(t.Context(), h.Watermarks().Synced); err != nil {
				t.Fatalf("records %d, index %d: %v", records, index, err)
			}
			want := fmt.Sprintf("0 1 2 only%d", records)
			for _, word := range []string{"word", fmt.Sprintf("round%d", records)} {
				if got := find(t, h, Query{Text: word}); got != want {
					t.Errorf("records %d, index %d: %q finds %q, want %q", records, index, word, got, want)
				}
			}
			if n := h.indexer().documents(); n != 4 {
				t.Errorf("records %d, index %d: %d documents", records, index, n)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDamagedIndexIsBuiltAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := open(t, Options{Dir: dir, Search: true})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{"x":"alpha"}`))
	searchable(t, h, s)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	spoilers := map[string]func(path string) error{
		"garbage": func(path string) error { return os.WriteFile(path, []byte("garbage"), 0o600) },
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"gone":    os.Remove,
	}
	for name, spoil := range spoilers {
		for _, pattern := range []string{"index_meta.json", "store/root.bolt", "store/*.zap"} {
			files, err := filepath.Glob(filepath.Join(dir, searchDir, pattern))
			if err != nil || len(files) == 0 {
				t.Fatalf("%s: %v, %v", pattern, files, err)
			}
			for _, f := range files {
				if err := spoil(f); err != nil {
					t.Fatal(err)
				}
			}
			h := open(t, Options{Dir: dir, Search: true})
			if err := h.WaitSearchable(t.Context(), h.Watermarks().Synced); err != nil {
				t.Fatalf("%s of %s: %v", name, pattern, err)
			}
			if got := find(t, h, Query{Text: "alpha"}); got != "a" {
				t.Errorf("%s of %s: found %q", name, pattern, got)
			}
			if err := h.Close(); err != nil {
				t.Errorf("%s of %s: %v", name, pattern, err)
			}
		}
	}
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	h := open(t, Options{Search: true, FeedChanges: 2})
	s := session(t, h, "docs", 1)
	for i := range 20 {
		push(t, s, upsert(fmt.Sprintf("%02d", i), `{"x":"alpha"}`))
	}
	searchable(t, h, s)
	syncNow(t, s, "trims the feed")
	want := find(t, h, Query{Text: "alpha"})
	for range 2 {
		if err := h.Rebuild(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, find(t, h, Query{Text: "alpha"})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if st, err := h.Stats(t.Context()); err != nil || st.Connectors[0].FeedFrom == 0 {
		t.Errorf("the feed was not trimmed: %+v, %v", st, err)
	}
}

// TestIndexerReportsAndRetries takes the index away while it is written to.
func TestIndexerReportsAndRetries(t *testing.T) {
	t.Parallel()
	h := open(t, Options{Search: true})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{"x":"alpha"}`))
	searchable(t, h, s)
	x := h.indexer()
	if err := os.RemoveAll(filepath.Join(x.dir, "store")); err != nil {
		t.Fatal(err)
	}
	serial := push(t, s, upsert("b", `{"x":"alpha"}`)).Serial
	syncNow(t, s)
	if err := h.WaitSearchable(t.Context(), serial); err == nil {
		t.Error("an index without files accepts records")
	}
	for h.WaitSearchable(t.Context(), serial) != nil { // it mends itself
		<-x.changed()
	}
	if got := find(t, h, Query{Text: "alpha"}); got != "a b" {
		t.Errorf("found %q", got)
	}
}

func TestIndexWalkIsResumed(t *testing.T) {
	t.Parallel()
	st := indexState{serial: 7, ordinal: 3, walking: true, walkCollection: 9, walkKey: []byte("k\x00y")}
	got, err := decodeIndexState(st.encode())
	if diff := cmp.Diff(st, got, cmp.AllowUnexported(indexState{})); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	dir := t.TempDir()
	h := open(t, Options{Dir: dir, FeedChanges: 2})
	s := session(t, h, "docs", 1)
	for i := range 2500 {
		push(t, s, upsert(fmt.Sprintf("%04d", i), `{"x":"alpha"}`))
	}
	syncNow(t, s)
	// An index that was left in the middle of its walk, and a deletion since.
	last := h.Watermarks().Synced
	x := &indexer{hub: h, dir: indexDir(dir), rebuild: make(chan chan error), done: make(chan struct{})}
	if err := x.open(); err != nil {
		t.Fatal(err)
	}
	c := h.names.collection("docs", "items")
	b := x.newBatch()
	for i := range 1200 {
		if err := b.put(t.Context(), h.store.db, c, fmt.Appendf(nil, "%04d", i), &stored{data: []byte(`{"x":"alpha"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.write(c.connector.id, indexState{serial: last, ordinal: 2500, walking: true, walkCollection: c.id, walkKey: []byte("1199")}); err != nil {
		t.Fatal(err)
	}
	if err := x.shut(); err != nil {
		t.Fatal(err)
	}
	push(t, s, remove("0003"), remove("2000"))
	syncNow(t, s)
	if err := h.EnableSearch(); err != nil {
		t.Fatal(err)
	}
	searchable(t, h, s)
	if n := h.indexer().documents(); n != 2498 {
		t.Errorf("%d documents", n)
	}
}
