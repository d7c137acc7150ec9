package hub

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
)

func filters(t testing.TB, texts ...string) (list []Filter) {
	t.Helper()
	for _, text := range texts {
		f, err := ParseFilter(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

func facets(t testing.TB, texts ...string) (list []FacetOf) {
	t.Helper()
	for _, text := range texts {
		f, err := ParseFacet(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

// tally writes a facet on one line.
func tally(f Facet) string {
	text := f.Field + ":"
	for _, b := range f.Values {
		text += fmt.Sprintf(" %s=%d", b.Value, b.Count)
	}
	return fmt.Sprintf("%s other=%d missing=%d", text, f.Other, f.Missing)
}

// library opens a hub of a few books.
func library(t *testing.T, dir string) *Hub {
	t.Helper()
	h := open(t, Options{Dir: dir, Search: true})
	s, other := session(t, h, "docs", 1), session(t, h, "other", 1)
	push(t, s,
		upsert("a", `{"title":"memory one","author":["ann","bob"],"size":9,"date":"2026-01-31T23:59:59Z","draft":true}`),
		upsert("b", `{"title":"memory two","author":["ann","ann"],"size":10.5,"date":"2026-02-01","tag":""}`),
		upsert("c", `{"title":"model","author":"eve","size":"100","date":"2026-02-01T01:00:00+02:00","deep":{"author":"ann"}}`),
		upsert("d", `{"title":"memory model","author":null,"size":-3e2,"long":"`+strings.Repeat("x", maxFieldBytes+1)+`"}`),
		upsert("e", `{"a\u0000=b":"1","author":"Ann","size":"many","big":9007199254740993,"list":[[1],{"x":2},3]}`),
	)
	push(t, other, upsert("f", `{"title":"memory","author":"ann"}`))
	searchable(t, h, s)
	searchable(t, h, other)
	return h
}

func TestFilters(t *testing.T) {
	t.Parallel()
	h := library(t, "")
	for _, test := range []struct {
		name    string
		query   Query
		filters []string
		want    string
	}{
		{"one value", Query{}, []string{"author=ann"}, "a b f"},
		{"and words", Query{Text: "memory"}, []string{"author=ann"}, "a b f"},
		{"and a word that is nowhere", Query{Text: "nowhere"}, []string{"author=ann"}, ""},
		{"and a phrase that is nowhere", Query{Text: `"nowhere at all"`, Connector: "docs"}, []string{"author=ann"}, ""},
		{"and an excluded word", Query{Text: "-two"}, []string{"author=ann"}, "a f"},
		{"and a connector", Query{Connector: "docs"}, []string{"author=ann"}, "a b"},
		{"any value of a field", Query{}, []string{"author=bob", "author=eve"}, "a c"},
		{"every field", Query{}, []string{"author=ann", "draft=true"}, "a"},
		{"nothing has it", Query{}, []string{"author=nobody"}, ""},
		{"no such field", Query{}, []string{"writer=ann"}, ""},
		{"not what is nested", Query{}, []string{"x=2"}, ""},
		{"empty", Query{}, []string{"tag="}, "b"},
		{"long text is no value", Query{}, []string{"long=" + strings.Repeat("x", maxFieldBytes+1)}, ""},
		{"numbers as they are written", Query{}, []string{"size=10.5"}, "b"},
		{"above", Query{}, []string{"size>10"}, "b c"},
		{"at least", Query{}, []string{"size>=100"}, "c"},
		{"below", Query{}, []string{"size<9"}, "d"},
		{"at most", Query{}, []string{"size<=9"}, "a d"},
		{"between", Query{}, []string{"size>=9", "size<100"}, "a b"},
		{"within and among", Query{}, []string{"size>=9", "size=100", "size=9"}, "a c"},
		{"negative", Query{}, []string{"size<=-299.5", "size>-300.5"}, "d"},
		{"exact beyond floats", Query{}, []string{"big>9007199254740992"}, "e"},
		{"dates", Query{}, []string{"date>=2026-02-01"}, "b"},
		{"dates of another zone", Query{}, []string{"date<2026-02-01"}, "a c"},
		{"no date is a number", Query{}, []string{"date>0"}, ""},
		{"elements", Query{}, []string{"list>=3"}, "e"},
		{"value with signs", Query{}, []string{"author=a=b<c"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.query.Filters = filters(t, test.filters...)
			if got := find(t, h, test.query); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFacets(t *testing.T) {
	t.Parallel()
	h := library(t, "")
	for _, test := range []struct {
		name   string
		query  Query
		facets []string
		want   string
	}{
		{"everything", Query{}, []string{"author"}, "author: ann=3 Ann=1 bob=1 eve=1 other=0 missing=1"},
		{"the top", Query{}, []string{"author:1"}, "author: ann=3 other=3 missing=1"},
		{"all matches, one hit", Query{Text: "memory", Limit: 1}, []string{"author"}, "author: ann=3 bob=1 other=0 missing=1"},
		{"all matches, another page", Query{Text: "memory", Limit: 1, Offset: 2}, []string{"author"}, "author: ann=3 bob=1 other=0 missing=1"},
		{"filtered", Query{Filters: filters(t, "author=ann", "size>0")}, []string{"author", "draft"}, "author: ann=2 bob=1 other=0 missing=0, draft: true=1 other=0 missing=1"},
		{"nothing matches", Query{Text: "nowhere"}, []string{"author"}, "author: other=0 missing=0"},
		{"no such field", Query{Connector: "docs"}, []string{"writer"}, "writer: other=0 missing=5"},
		{"name with a colon", Query{}, []string{"$directive:lang"}, "$directive:lang: other=0 missing=6"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.query.Facets = facets(t, test.facets...)
			r, err := h.Search(t.Context(), test.query)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range r.Facets {
				got = append(got, tally(f))
			}
			if diff := cmp.Diff(test.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFacetsFollowChanges(t *testing.T) {
	t.Parallel()
	h := open(t, Options{Search: true})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{"author":"ann"}`), upsert("b", `{"author":"bob"}`), upsert("c", `{"author":"ann"}`))
	searchable(t, h, s)
	push(t, s, upsert("a", `{"author":"eve"}`), remove("c"))
	searchable(t, h, s)
	r, err := h.Search(t.Context(), Query{Facets: facets(t, "author")})
	if err != nil {
		t.Fatal(err)
	}
	if got := tally(r.Facets[0]); got != "author: bob=1 eve=1 other=0 missing=0" {
		t.Error(got)
	}
}

func TestFiltersAndFacetsAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "author", "=ann", "size>", "size<=many", "date>2026-13-01", "size>Inf", "size>0x10", "size>NaN"} {
		if f, err := ParseFilter(text); gapless.ExitCode(err) != gapless.ExitUsage {
			t.Errorf("filter %q: %+v, %v", text, f, err)
		}
	}
	for _, text := range []string{"", ":3", "author:-1", "author:0", "author:1001"} {
		if f, err := ParseFacet(text); gapless.ExitCode(err) != gapless.ExitUsage {
			t.Errorf("facet %q: %+v, %v", text, f, err)
		}
	}
	h := open(t, Options{Search: true})
	for _, q := range []Query{
		{Filters: []Filter{{"size", "~", "1"}}},
		{Filters: make([]Filter, maxFilters+1)},
		{Facets: []FacetOf{{"a", 1}, {"a", 2}}},
		{Facets: []FacetOf{{"", 1}}},
		{Facets: make([]FacetOf, maxFacets+1)},
	} {
		if _, err := h.Search(t.Context(), q); gapless.ExitCode(err) != gapless.ExitUsage {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

func TestFacetsAreBounded(t *testing.T) {
	t.Parallel()
	c := counter{FacetOf: FacetOf{Field: "id"}, counts: map[string]*uint64{}}
	room := maxFacetValues
	for i := range maxFacetValues {
		if err := c.add(strconv.AppendInt(nil, int64(i), 10), &room); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.add([]byte("7"), &room); err != nil {
		t.Error(err)
	}
	if err := c.add([]byte("one more"), &room); gapless.ExitCode(err) != gapless.ExitUsage {
		t.Error(err)
	}
	var data strings.Builder
	for i := range 2 * maxFieldValues {
		fmt.Fprintf(&data, `,"f%d":[%d,%d,%d]`, i, i, i, i+1)
	}
	var names []string
	if err := eachField(fieldValues([]byte("{"+data.String()[1:]+"}")), func(name, value []byte) {
		names = append(names, string(name)+"="+string(value))
	}); err != nil {
		t.Fatal(err)
	}
	if len(names) != maxFieldValues || names[2] != "f1=1" || names[3] != "f1=2" {
		t.Errorf("%d values: %v", len(names), names[:4])
	}
}

// TestIndexOfAnOlderLayoutIsBuiltAnew opens an index as an older program would
// have left it.
func TestIndexOfAnOlderLayoutIsBuiltAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := library(t, dir)
	x := h.indexer()
	if err := x.index.SetInternal(indexOwner, []byte(h.id+" 1")); err != nil {
		t.Fatal(err)
	}
	b := x.newBatch()
	b.remove(h.names.collection("docs", "items").id, []byte("a")) // tells whether the index is another
	if err := x.index.Batch(b.batch); err != nil {
		t.Fatal(err)
	}
	if got := find(t, h, Query{Filters: filters(t, "author=ann")}); got != "b f" {
		t.Fatal(got)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, Options{Dir: dir, Search: true})
	if err := h.WaitSearchable(t.Context(), h.Watermarks().Synced); err != nil {
		t.Fatal(err)
	}
	if got := find(t, h, Query{Filters: filters(t, "author=ann")}); got != "a b f" {
		t.Error(got)
	}
}

// TestMagnitudesCompare compares what can be written as an integer and as a
// fraction with what it is.
func TestMagnitudesCompare(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		a, b := rapid.Float64().Draw(r, "a"), rapid.Float64().Draw(r, "b")
		switch rapid.IntRange(0, 2).Draw(r, "near") {
		case 1:
			a, b = float64(rapid.Int8().Draw(r, "a4"))/4, float64(rapid.Int8().Draw(r, "b4"))/4
		case 2: // on both sides of zero, and closer to it than to one
			a, b = a*1e-200/max(1, math.Abs(a)), b*1e-200/max(1, math.Abs(b))
		}
		format := rapid.SampledFrom([]byte("efg")).Draw(r, "format")
		m, ok := magnitudeOf(strconv.FormatFloat(a, format, -1, 64))
		if !ok {
			return // longer than a value
		}
		for op, want := range map[string]bool{"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b} {
			limit, err := Filter{"x", op, strconv.FormatFloat(b, 'g', -1, 64)}.bound()
			if err != nil {
				r.Fatal(err)
			}
			if limit.accepts(m) != want {
				r.Errorf("%g %s %g: %t", a, op, b, !want)
			}
		}
	})
}

func FuzzEachField(f *testing.F) {
	f.Add(fieldValues([]byte(`{"a":["b",1],"c":true}`)))
	f.Fuzz(func(t *testing.T, pairs []byte) {
		var again []byte
		if eachField(pairs, func(name, value []byte) { again = appendSized(appendSized(again, name), value) }) == nil && len(again) > len(pairs) {
			t.Errorf("%q became %q", pairs, again)
		}
	})
}

// BenchmarkFacets counts 100,000 matches.
func BenchmarkFacets(b *testing.B) {
	const records = 100_000
	h := open(b, Options{Search: true})
	s := session(b, h, "bench", 1)
	for block := range slices.Chunk(make([]gapless.Change, records), 1000) {
		for i := range block {
			block[i] = upsert(fmt.Sprintf("%p", &block[i]), fmt.Sprintf(`{"title":"a page","author":["author%d","author%d"],"size":%d,"date":"2026-01-%02d"}`, i%300, i%7, i, 1+i%28))
		}
		push(b, s, block...)
	}
	if err := h.WaitSearchable(b.Context(), syncNow(b, s).Serial); err != nil {
		b.Fatal(err)
	}
	for name, q := range map[string]Query{
		"plain": {}, "facet": {Facets: facets(b, "author")}, "filter": {Filters: filters(b, "author=author3")}, "range": {Filters: filters(b, "date>=2026-01-20")},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Search(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/match")
		})
	}
}
