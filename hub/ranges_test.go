package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// held is one record as a source emits it.
type held struct {
	key     string
	content gapless.Hash128
}

// emitted reads all records of a source in order, and hashes them as rows.
func emitted(ctx context.Context, s gapless.Source, p gapless.Partition) ([]held, error) {
	var list []held
	out := gapless.NewOutput(ctx, p, 0, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Rows {
			_, content := proof.RowHash(b, i)
			list = append(list, held{string(b.Key(i)), content})
		}
		b.Reset()
		return b, nil
	})
	if err := s.ReadAll(ctx, p, "", out); err != nil {
		return nil, err
	}
	return list, out.Flush()
}

// naive sums up records over the ranges that cuts make of r.
func naive(records []held, r gapless.KeyRange, cuts []string) []gapless.RangeSum {
	list := make([]gapless.RangeSum, 0, len(cuts)+1)
	for i := range len(cuts) + 1 {
		part := r
		if i > 0 {
			part.From = cuts[i-1]
		}
		if i < len(cuts) {
			part.To = cuts[i]
		}
		var d proof.Digest
		for _, h := range records {
			if part.Holds(h.key) {
				d.Add(proof.Delivery(proof.KeyHash([]byte(h.key)), h.content))
			}
		}
		list = append(list, d.Over(part))
	}
	return list
}

// boundaryKeys returns n keys, every other of which begins a stretch, in the
// order of their bytes.
func boundaryKeys(n int) []string {
	var keys []string
	for i := 0; len(keys) < n; i++ {
		key := fmt.Sprintf("%c/%05x", 'a'+rune(i%3), i)
		if begins := hashLevel(proof.KeyHash([]byte(key))) >= boundaryBits; begins || len(keys)%2 == 1 {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// checkStored compares the sums that are stored of a collection with its
// records, given that they were just brought up to date.
func checkStored(ctx context.Context, h *Hub, connector string) error {
	c := h.names.collection(connector, items.Collection)
	if c == nil {
		return nil
	}
	records, err := emitted(ctx, h.Source(connector), items)
	if err != nil {
		return err
	}
	m, err := h.moment(ctx, c, false)
	if err != nil {
		return err
	}
	defer m.close()
	var cuts []string
	for _, r := range records {
		if hashLevel(proof.KeyHash([]byte(r.key))) >= boundaryBits {
			cuts = append(cuts, r.key)
		}
	}
	var got []gapless.RangeSum
	err = m.stretches(ctx, gapless.KeyRange{}, func(s stretch) error {
		got = append(got, s.Over(s.KeyRange))
		return nil
	})
	if diff := cmp.Diff(naive(records, gapless.KeyRange{}, cuts), got); err != nil || diff != "" {
		return fmt.Errorf("stored sums: %w (-want +got):\n%s", err, diff)
	}
	value, err := get(m.sums.snap, markKey(c.id))
	if mark, ok := decodeMark(value); err != nil || !ok || mark.records != uint64(len(records)) {
		return fmt.Errorf("mark %+v of %d records, %w", mark, len(records), err)
	}
	return nil
}

// rangesModel is a hub whose sums are compared with its records.
type rangesModel struct {
	fs   *vfs.MemFS
	keys []string
	feed int
	hub  *Hub
}

func (m *rangesModel) open(t *rapid.T) {
	h, err := Open(t.Context(), Options{Dir: "hub", fs: m.fs, FeedChanges: m.feed})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	m.hub = h
	if c := h.names.collection("one", items.Collection); c != nil {
		m.bound(t)
	}
}

// bound makes the store's bounds felt.
func (m *rangesModel) bound(t *rapid.T) {
	if c := m.hub.names.collection("one", items.Collection); c != nil {
		c.sums.dirtyBytes = rapid.SampledFrom([]int{1, 200, 1 << 20}).Draw(t, "dirty bytes")
		c.sums.batchBytes = rapid.SampledFrom([]int{1, 100, 1 << 20}).Draw(t, "batch bytes")
	}
}

func (m *rangesModel) session(t *rapid.T) *Session {
	writer := rapid.SampledFrom([]string{"one", "writer"}).Draw(t, "writer")
	s, err := m.hub.session(t.Context(), "one", writer, 1)
	if err != nil {
		t.Fatalf("session: %v", err)
	}
	return s
}

func (m *rangesModel) push(t *rapid.T, s *Session, most int, collection string) {
	b := &gapless.Batch{Partition: gapless.Partition{ID: collection, Collection: collection}}
	for range rapid.IntRange(1, most).Draw(t, "rows") {
		c := gapless.Change{Record: gapless.Record{Key: rapid.SampledFrom(m.keys).Draw(t, "key")}}
		switch rapid.IntRange(0, 5).Draw(t, "op") {
		case 0, 1:
			c.Op = gapless.OpDelete
		case 2:
			c.Op = gapless.OpPatch
			c.Data = fmt.Appendf(nil, `{"p":%d}`, rapid.IntRange(0, 9).Draw(t, "value"))
		default:
			c.Data = fmt.Appendf(nil, `{"n":%d}`, rapid.IntRange(0, 9).Draw(t, "value"))
			c.Version = rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "version")
			if rapid.IntRange(0, 9).Draw(t, "with a part") == 0 {
				c.Parts = []gapless.Part{part("p", "text/plain", "content")}
			}
		}
		b.Append(c)
	}
	if _, err := s.Push(t.Context(), b); err != nil {
		t.Fatalf("push: %v", err)
	}
}

func (m *rangesModel) fill(t *rapid.T) {
	b := &gapless.Batch{Partition: items}
	for _, key := range m.keys[:rapid.IntRange(0, len(m.keys)).Draw(t, "first records")] {
		b.Append(upsert(key, `{}`))
	}
	if _, err := m.session(t).Push(t.Context(), b); err != nil {
		t.Fatalf("push: %v", err)
	}
}

func (m *rangesModel) sync(t *rapid.T) {
	if _, err := m.session(t).Sync(t.Context(), nil); err != nil {
		t.Fatalf("sync: %v", err)
	}
}

// drawRange draws a range and keys that cut it.
func (m *rangesModel) drawRange(t *rapid.T) (r gapless.KeyRange, cuts []string) {
	key := rapid.OneOf(rapid.SampledFrom(m.keys), rapid.Just("b"), rapid.Just("b/"), rapid.Just(m.keys[0]+"\x00"))
	edges := rapid.SliceOfDistinct(key, rapid.ID).Draw(t, "edges")
	slices.Sort(edges)
	if len(edges) > 0 && rapid.Bool().Draw(t, "from") {
		r.From, edges = edges[0], edges[1:]
	}
	if n := len(edges); n > 0 && rapid.Bool().Draw(t, "to") {
		r.To, edges = edges[n-1], edges[:n-1]
	}
	return r, edges
}

// ask compares what the hub says of ranges with its records.
func (m *rangesModel) ask(t *rapid.T) {
	m.bound(t)
	p := gapless.Partition{ID: "p", Collection: items.Collection, Prefix: rapid.SampledFrom([]string{"", "b/", "b", "z"}).Draw(t, "prefix")}
	source := m.hub.Source("one").(*source)
	side := gapless.RangeSummer(source)
	if rapid.Bool().Draw(t, "session") {
		side = m.session(t)
	}
	records, err := emitted(t.Context(), source, p)
	if err != nil {
		t.Fatal(err)
	}
	r, cuts := m.drawRange(t)
	if rapid.Bool().Draw(t, "split") {
		if cuts, err = side.Split(t.Context(), p, r, rapid.IntRange(0, 40).Draw(t, "n")); err != nil {
			t.Fatal(err)
		}
	}
	got, err := side.Sum(t.Context(), p, r, cuts)
	if diff := cmp.Diff(naive(records, r, cuts), got); err != nil || diff != "" {
		t.Fatalf("sum of %+v at %q of %q: %v (-want +got):\n%s", r, cuts, p.Prefix, err, diff)
	}
	want := slices.DeleteFunc(records, func(h held) bool { return !r.Holds(h.key) })
	var listed []held
	err = side.Contents(t.Context(), p, r, func(key []byte, content gapless.Hash128) error {
		listed = append(listed, held{string(key), content})
		return nil
	})
	if err != nil || !slices.Equal(want, listed) {
		t.Fatalf("contents: %v, %v, want %v", err, listed, want)
	}
	if err := checkStored(t.Context(), m.hub, "one"); err != nil {
		t.Fatal(err)
	}
}

// TestSumsFollowTheRecords makes changes, crashes and questions at random.
func TestSumsFollowTheRecords(t *testing.T) {
	t.Parallel()
	keys := boundaryKeys(120)
	rapid.Check(t, func(t *rapid.T) {
		m := &rangesModel{fs: crashable(), keys: keys, feed: rapid.SampledFrom([]int{4, 1 << 20}).Draw(t, "feed")}
		m.open(t)
		m.fill(t)
		t.Repeat(map[string]func(*rapid.T){
			"push":       func(t *rapid.T) { m.push(t, m.session(t), 6, items.Collection) },
			"push other": func(t *rapid.T) { m.push(t, m.session(t), 3, "other") },
			"sync":       m.sync,
			"ask":        m.ask,
			"recount": func(t *rapid.T) {
				if err := m.hub.Recount(t.Context(), "one", items.Collection); err != nil {
					t.Fatal(err)
				}
			},
			"crash": func(t *rapid.T) {
				m.fs = crash(m.fs, rapid.IntRange(0, 100).Draw(t, "percent"), rapid.Uint64().Draw(t, "seed"))
				m.abandon(t)
				m.open(t)
			},
			"reopen": func(t *rapid.T) {
				m.abandon(t)
				m.open(t)
			},
		})
		m.sync(t)
		m.ask(t)
		m.abandon(t)
	})
}

func (m *rangesModel) abandon(t *rapid.T) {
	if err := m.hub.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// TestSumsAreKept says how many records are read for a sum.
func TestSumsAreKept(t *testing.T) {
	t.Parallel()
	const records = 20_000
	h := open(t, Options{FeedChanges: records / 2})
	s := session(t, h, "docs", 1)
	var first []gapless.Change
	for i := range records {
		first = append(first, upsert(fmt.Sprintf("%08x", uint32(i)*2654435761), `{"n":1}`))
	}
	push(t, s, first...)
	syncNow(t, s)
	read := func(most int, what string) {
		t.Helper()
		c := h.names.collection("docs", items.Collection)
		before := c.sums.read.Load()
		sums, err := s.Sum(t.Context(), items, gapless.KeyRange{}, nil)
		if err != nil || len(sums) != 1 || sums[0].Count != records {
			t.Fatalf("%s: %+v, %v", what, sums, err)
		}
		if n := c.sums.read.Load() - before; n > uint64(most) {
			t.Errorf("%s: %d records were read, more than %d", what, n, most)
		}
	}
	read(records, "first")
	read(0, "again")
	for i := range 10 {
		push(t, s, upsert(first[i*records/10].Key, `{"n":2}`))
	}
	read(0, "not synced yet")
	syncNow(t, s)
	read(10*600, "ten changes")
	cuts, err := s.Split(t.Context(), items, gapless.KeyRange{}, 100)
	if err != nil || len(cuts) < 99 || len(cuts) > 400 || !slices.IsSorted(cuts) {
		t.Fatalf("%d cuts, %v", len(cuts), err)
	}
	c := h.names.collection("docs", items.Collection)
	before := c.sums.read.Load()
	if _, err := s.Sum(t.Context(), items, gapless.KeyRange{From: cuts[3], To: cuts[90]}, cuts[4:90]); err != nil {
		t.Fatal(err)
	}
	if n := c.sums.read.Load() - before; n != 0 {
		t.Errorf("%d records were read for cuts that Split returned", n)
	}
	if _, err := s.Sum(t.Context(), items, gapless.KeyRange{}, []string{"8"}); err != nil {
		t.Fatal(err)
	}
	if n := c.sums.read.Load() - before; n == 0 || n > 1000 {
		t.Errorf("%d records were read for another cut", n)
	}
}

// TestSumsOfForgottenChanges has the feed trimmed behind the sums.
func TestSumsOfForgottenChanges(t *testing.T) {
	t.Parallel()
	h := open(t, Options{FeedChanges: 4})
	s := session(t, h, "docs", 1)
	var list []gapless.Change
	for i := range 1000 {
		list = append(list, upsert(fmt.Sprint(i), `{}`))
	}
	push(t, s, list...)
	syncNow(t, s)
	for i := range 20 {
		if err := checkStored(t.Context(), h, "docs"); err != nil {
			t.Fatal(err)
		}
		for k := range i {
			push(t, s, upsert(fmt.Sprint(k*17), fmt.Sprintf(`{"n":%d}`, i)))
			syncNow(t, s)
		}
	}
}

// TestHubsAgree fills two hubs in their own ways with the same records: one
// gets what the other emits.
func TestHubsAgree(t *testing.T) {
	t.Parallel()
	a, b := open(t, Options{}), open(t, Options{})
	from, to := session(t, a, "docs", 1), session(t, b, "copy", 1)
	push(t, from,
		upsert("plain", `{"n":1}`),
		gapless.Change{Record: gapless.Record{Key: "unversioned", Data: []byte(`{ "n": 1 }`)}},
		upsert("parts", `{}`, part("p", "text/plain", "one"), part("q", "", "")),
		gapless.Change{Record: gapless.Record{Key: "versioned parts", Data: []byte(`{}`), Parts: []gapless.Part{versioned(part("p", "", "two"), "7")}}},
		upsert("patched", `{"n":1,"m":2}`, part("p", "", "three"), part("q", "", "four")),
		upsert("gone", `{}`),
	)
	push(t, from, patch("patched", `{"m":3}`, part("q", "image/png", "five")), remove("gone"))
	var many []gapless.Change
	for i := range 3000 {
		many = append(many, upsert(fmt.Sprint("many-", i), fmt.Sprintf(`{"n":%d}`, i)))
	}
	push(t, from, many...)
	syncNow(t, from)
	for i := range many {
		many[i], many[0] = many[0], many[i]
	}
	push(t, to, upsert("gone long ago", `{}`))
	push(t, to, many[:2000]...)
	syncNow(t, to)
	if _, err := to.Sum(t.Context(), items, gapless.KeyRange{}, nil); err != nil {
		t.Fatal(err)
	}
	out := gapless.NewOutput(t.Context(), items, 100, 0, func(ctx context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		_, err := to.Push(ctx, b)
		b.Reset()
		return b, err
	})
	if err := errors.Join(a.Source("docs").ReadAll(t.Context(), items, "", out), out.Flush()); err != nil {
		t.Fatal(err)
	}
	push(t, to, remove("gone long ago"))
	syncNow(t, to)
	left, right := gapless.RangeSummer(a.Source("docs").(*source)), gapless.RangeSummer(to)
	for _, n := range []int{2, 10, 1000} {
		var cuts [2][]string
		var sums [2][]gapless.RangeSum
		for i, side := range []gapless.RangeSummer{left, right} {
			var err error
			if cuts[i], err = side.Split(t.Context(), items, gapless.KeyRange{}, n); err != nil || len(cuts[i]) < min(n-1, 20) {
				t.Fatalf("split: %d cuts, %v", len(cuts[i]), err)
			}
			if sums[i], err = side.Sum(t.Context(), items, gapless.KeyRange{}, cuts[i]); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(cuts[0], cuts[1]) + cmp.Diff(sums[0], sums[1]); diff != "" {
			t.Errorf("%d ranges (-source +copy):\n%s", n, diff)
		}
	}
}

func versioned(p gapless.Part, version string) gapless.Part {
	p.Version = version
	return p
}

// TestDescent finds what differs in two hubs and looks at few records for it.
func TestDescent(t *testing.T) {
	t.Parallel()
	const records, list = 50_000, 128
	hubs := [2]*Hub{open(t, Options{}), open(t, Options{})}
	var sessions [2]*Session
	var all []gapless.Change
	for i := range records {
		all = append(all, upsert(fmt.Sprintf("%06d", i), `{}`))
	}
	for i, h := range hubs {
		sessions[i] = session(t, h, "docs", 1)
		push(t, sessions[i], all...)
	}
	push(t, sessions[1], remove("012345"), upsert("000007", `{"n":1}`), upsert("049999x", `{}`))
	var of [2]*collection
	for i, s := range sessions {
		syncNow(t, s)
		if _, err := s.Sum(t.Context(), items, gapless.KeyRange{}, nil); err != nil {
			t.Fatal(err)
		}
		of[i] = hubs[i].names.collection("docs", items.Collection)
		of[i].sums.read.Store(0)
	}
	var found []string
	var descend func(u proof.Unequal) error
	descend = func(u proof.Unequal) error {
		ctx := t.Context()
		cuts, err := sessions[0].Split(ctx, items, u.KeyRange, min(u.Pieces(list), 16))
		if err != nil {
			return err
		}
		if len(cuts) == 0 {
			side := func(i int) proof.Contents {
				return func(fn func([]byte, gapless.Hash128) error) error {
					return sessions[i].Contents(ctx, items, u.KeyRange, fn)
				}
			}
			return proof.CompareContents(side(0), side(1), func(key []byte, d proof.Difference) error {
				found = append(found, string(key)+" "+string(d))
				return nil
			})
		}
		left, lerr := sessions[0].Sum(ctx, items, u.KeyRange, cuts)
		right, rerr := sessions[1].Sum(ctx, items, u.KeyRange, cuts)
		differ, err := proof.CompareSums(left, right, list)
		if err := errors.Join(lerr, rerr, err); err != nil {
			return err
		}
		for _, next := range differ {
			if err := descend(next); err != nil {
				return err
			}
		}
		return nil
	}
	if err := descend(proof.Unequal{Source: records, Destination: records}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"000007 differs", "012345 missing", "049999x extra"}, found); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	for i := range of {
		if n := of[i].sums.read.Load(); n > 3*6*list {
			t.Errorf("side %d read %d records", i, n)
		}
	}
}

func TestWrongCuts(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{}`), upsert("b", `{}`))
	syncNow(t, s)
	within := gapless.KeyRange{From: "a", To: "m"}
	tests := []struct {
		name string
		cuts []string
		ok   bool
	}{
		{"none", nil, true},
		{"ascending", []string{"a\x00", "b", "b\xff", "c"}, true},
		{"descending", []string{"c", "b"}, false},
		{"twice", []string{"b", "b"}, false},
		{"at the beginning", []string{"a"}, false},
		{"before it", []string{"A"}, false},
		{"at the end", []string{"m"}, false},
		{"behind it", []string{"n"}, false},
		{"empty", []string{""}, false},
		{"too long", []string{"b" + strings.Repeat("x", gapless.MaxKeyBytes)}, false},
		{"too many", make([]string, proof.MaxCuts+1), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, side := range []gapless.RangeSummer{s, h.Source("docs").(*source), h.Source("nobody").(*source)} {
				sums, err := side.Sum(t.Context(), items, within, tt.cuts)
				if tt.ok && (err != nil || len(sums) != len(tt.cuts)+1) || !tt.ok && !errors.Is(err, proof.ErrCuts) {
					t.Errorf("%d sums, %v", len(sums), err)
				}
			}
		})
	}
}

// TestHostileKeys has keys of all lengths and bytes, all of which begin a
// stretch.
func TestHostileKeys(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "docs", 1)
	random := rand.New(rand.NewPCG(1, 2))
	var list []gapless.Change
	for len(list) < 300 {
		key := []rune(strings.Repeat(string([]rune{rune(random.IntN(0x10fff))}), random.IntN(900)))
		text := string(append(key, rune(random.IntN(256)), rune(random.IntN(1<<15))))
		if hashLevel(proof.KeyHash([]byte(text))) >= boundaryBits {
			list = append(list, upsert(strings.ToValidUTF8(text, "?"), `{}`))
		}
	}
	push(t, s, list...)
	syncNow(t, s)
	for range 20 {
		if err := checkStored(t.Context(), h, "docs"); err != nil {
			t.Fatal(err)
		}
		push(t, s, remove(list[random.IntN(len(list))].Key), upsert(list[random.IntN(len(list))].Key, `{"n":1}`))
		syncNow(t, s)
	}
	records, err := emitted(t.Context(), h.Source("docs"), items)
	if err != nil {
		t.Fatal(err)
	}
	cuts, err := s.Split(t.Context(), items, gapless.KeyRange{}, 1<<30)
	if err != nil || len(cuts) < 200 {
		t.Fatalf("%d cuts, %v", len(cuts), err)
	}
	sums, err := s.Sum(t.Context(), items, gapless.KeyRange{}, cuts)
	if diff := cmp.Diff(naive(records, gapless.KeyRange{}, cuts), sums); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestSplitIsBounded has more stretches than cuts are returned.
func TestSplitIsBounded(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "docs", 1)
	var list []gapless.Change
	for i := 0; len(list) <= proof.MaxCuts; i++ {
		if key := fmt.Sprint(i); hashLevel(proof.KeyHash([]byte(key))) >= boundaryBits {
			list = append(list, upsert(key, `{}`))
		}
	}
	push(t, s, list...)
	syncNow(t, s)
	for _, n := range []int{-1, 0, 1, 2, 1000, proof.MaxCuts, 1 << 40} {
		cuts, err := s.Split(t.Context(), items, gapless.KeyRange{}, n)
		if err != nil || len(cuts) < min(n-1, proof.MaxCuts/4) || len(cuts) > min(4*max(n-1, 0), proof.MaxCuts) {
			t.Errorf("%d ranges: %d cuts, %v", n, len(cuts), err)
		}
	}
}

// TestSumsOfOneMoment asks while there are pushes, each of which replaces one
// record by another in some other place.
func TestSumsOfOneMoment(t *testing.T) {
	t.Parallel()
	keys := boundaryKeys(400)
	h := open(t, Options{Dir: "hub", fs: crashable()})
	s := session(t, h, "docs", 1)
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	var list []gapless.Change
	for _, key := range keys[:200] {
		list = append(list, upsert(key, `{}`))
	}
	push(t, s, list...)
	syncNow(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; n < 1000 && ctx.Err() == nil; n++ {
			i, j := random.IntN(200), 200+random.IntN(200)
			push(t, s, remove(keys[i]), upsert(keys[j], `{}`))
			keys[i], keys[j] = keys[j], keys[i]
			syncNow(t, s)
		}
	})
	var asking sync.WaitGroup
	for i := range 3 {
		asking.Go(func() {
			for range 200 {
				sums, err := s.Sum(t.Context(), items, gapless.KeyRange{}, []string{"a/05", "b/1", "c"}[i:])
				total := uint64(0)
				for _, sum := range sums {
					total += sum.Count
				}
				if err != nil || total != 200 {
					t.Errorf("%+v, %v", sums, err)
					return
				}
			}
		})
	}
	asking.Go(func() {
		for range 10 {
			if err := h.Recount(t.Context(), "docs", items.Collection); err != nil {
				t.Error(err)
			}
		}
	})
	asking.Wait()
	cancel()
	wg.Wait()
	if err := checkStored(t.Context(), h, "docs"); err != nil {
		t.Error(err)
	}
}

// TestRecount alters a record beneath the feed, as damage would.
func TestRecount(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{"n":1}`), upsert("b", `{"n":2}`))
	syncNow(t, s)
	ask := func() gapless.RangeSum {
		t.Helper()
		sums, err := s.Sum(t.Context(), items, gapless.KeyRange{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return sums[0]
	}
	before := ask()
	damaged := stored{serial: 1, data: []byte(`{"n":3}`)}
	c := h.names.collection("docs", items.Collection)
	if err := h.store.db.Set(idKey(spaceRecord, c.id, "a"), damaged.append(nil), nil); err != nil {
		t.Fatal(err)
	}
	syncNow(t, s, "1")
	if got := ask(); got != before {
		t.Errorf("%v: what the feed does not know of was seen", got)
	}
	if err := h.Recount(t.Context(), "docs", items.Collection); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got == before {
		t.Error("what was altered has the sum that it had")
	}
	if err := h.Recount(t.Context(), "docs", "nothing"); err != nil {
		t.Error(err)
	}
}

// TestSumsSurviveCrashes ends the log at any place of what bringing the sums
// up to date writes, as a crash would.
func TestSumsSurviveCrashes(t *testing.T) {
	t.Parallel()
	keys := boundaryKeys(800)
	var first, more []gapless.Change
	for i, key := range keys {
		if i%5 > 0 {
			first = append(first, upsert(key, `{}`))
		}
		switch {
		case i%23 == 0:
			more = append(more, remove(key))
		case i%17 == 0, i%40 == 0:
			more = append(more, upsert(key, `{"n":1}`))
		}
	}
	tests := []struct {
		name    string
		changes []gapless.Change
		anew    bool
	}{
		{"what has changed", more, false},
		{"everything", more, true},
		{"everything, nothing has changed", nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fs := crashable()
			h := open(t, Options{Dir: "hub", fs: fs})
			s := session(t, h, "docs", 1)
			push(t, s, first...)
			syncNow(t, s)
			if err := checkStored(t.Context(), h, "docs"); err != nil {
				t.Fatal(err)
			}
			push(t, s, tt.changes...)
			syncNow(t, s)
			if err := h.store.flushLog(); err != nil {
				t.Fatal(err)
			}
			before, _ := logOf(t, fs)
			of := h.names.collection("docs", items.Collection)
			of.sums.batchBytes, of.sums.dirtyBytes = 1, 500
			m, err := h.moment(t.Context(), of, tt.anew)
			if err != nil {
				t.Fatal(err)
			}
			m.close()
			if err := h.store.flushLog(); err != nil {
				t.Fatal(err)
			}
			after, name := logOf(t, fs)
			if len(after)-len(before) < 2000 {
				t.Fatalf("sums took %d bytes of the log", len(after)-len(before))
			}
			for size := len(before); size <= len(after); size += (len(after)-len(before))/60 + 1 {
				left := withLog(t, crash(fs, 0, 0), name, after[:size])
				again, err := Open(t.Context(), Options{Dir: "hub", fs: left})
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(checkStored(t.Context(), again, "docs"), again.Close()); err != nil {
					t.Fatalf("log of %d bytes, between %d and %d: %v", size, len(before), len(after), err)
				}
			}
		})
	}
}

// withLog gives a disk a log with that content.
func withLog(t *testing.T, fs *vfs.MemFS, name string, content []byte) *vfs.MemFS {
	t.Helper()
	file, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = file.Write(content)
		err = errors.Join(err, file.Sync(), file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// logOf returns the log that the store is writing, and its name.
func logOf(t *testing.T, fs *vfs.MemFS) (content []byte, name string) {
	t.Helper()
	names, err := fs.List("hub/" + recordsDir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, n := range names {
		if strings.HasSuffix(n, ".log") {
			name = "hub/" + recordsDir + "/" + n
		}
	}
	file, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	content, err = io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return content, name
}

// TestSumsStop has the caller give up.
func TestSumsStop(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{}`))
	syncNow(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, sum := s.Sum(ctx, items, gapless.KeyRange{}, nil)
	_, split := s.Split(ctx, items, gapless.KeyRange{}, 2)
	contents := s.Contents(ctx, items, gapless.KeyRange{}, func([]byte, gapless.Hash128) error { return nil })
	for _, err := range []error{sum, split, contents, h.Recount(ctx, "docs", "items")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	c := h.names.collection("docs", items.Collection)
	c.sums.turn <- struct{}{}
	late, done := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer done()
	if _, err := s.Sum(late, items, gapless.KeyRange{}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while somebody else brings the sums up to date: %v", err)
	}
	<-c.sums.turn
	own := errors.New("own")
	if err := s.Contents(t.Context(), items, gapless.KeyRange{}, func([]byte, gapless.Hash128) error { return own }); !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
	session(t, h, "docs", 2)
	if _, err := s.Sum(t.Context(), items, gapless.KeyRange{}, nil); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("an old epoch got %v", err)
	}
}

func FuzzDecodeSums(f *testing.F) {
	f.Add(encodeDigest(proof.Digest{Count: 300, Hi: 1, Lo: 1 << 63}))
	mark := sumMark{serial: 1, ordinal: 2, records: 1 << 40}
	f.Add(mark.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, value []byte) {
		if d, err := decodeDigest(value); err == nil {
			if again, err := decodeDigest(encodeDigest(d)); err != nil || again != d {
				t.Errorf("%v became %v, %v", d, again, err)
			}
		} else if !errors.Is(err, errDamagedValue) {
			t.Errorf("got %v", err)
		}
		if m, ok := decodeMark(value); ok {
			if again, ok := decodeMark(m.encode()); !ok || again != m {
				t.Errorf("%v became %v", m, again)
			}
		}
	})
}
