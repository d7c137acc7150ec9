package delta_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
)

// model does in maps what a comparison does in files.
type model struct {
	hash func(string) gapless.Hash128
	base map[string]uint64 // content by key; nil before the first table

	// Of the enumeration under way: contents in order, 0 for a kept record.
	stood      map[string][]uint64
	lines      map[string][]uint64
	distrusted map[string]bool
	doubted    map[string]bool
	last       uint64
}

func (m *model) begin() {
	m.stood, m.lines = map[string][]uint64{}, map[string][]uint64{}
	m.distrusted, m.doubted = map[string]bool{}, map[string]bool{}
}

// stand notes that key stood, and returns the verdict of the first time.
func (m *model) stand(key string, content uint64) delta.Verdict {
	m.last++
	m.stood[key] = append(m.stood[key], content)
	m.lines[key] = append(m.lines[key], m.last)
	before, inBase := m.base[key]
	switch {
	case !inBase:
		return delta.Created
	case len(m.stood[key]) > 1:
		return delta.Repeated
	case before == content && content != 0 && !m.doubted[key]:
		return delta.Unchanged
	}
	return delta.Updated
}

// order sorts keys as tables do.
func (m *model) order(keys []string) []string {
	slices.SortFunc(keys, func(a, b string) int {
		x, y := m.hash(a), m.hash(b)
		return cmp.Or(cmp.Compare(x.Hi, y.Hi), cmp.Compare(x.Lo, y.Lo))
	})
	return keys
}

func (m *model) absent() (keys []string) {
	for key := range m.base {
		if len(m.stood[key]) == 0 {
			keys = append(keys, key)
		}
	}
	return m.order(keys)
}

func (m *model) repeated() (list []string) {
	for _, key := range m.order(slices.Collect(maps.Keys(m.stood))) {
		for _, line := range m.lines[key][1:] {
			list = append(list, fmt.Sprint(key, line))
		}
	}
	return list
}

func (m *model) sums() (t delta.Totals) {
	for key, contents := range m.stood {
		before, inBase := m.base[key]
		t.Repeated += uint64(len(contents) - 1)
		switch {
		case contents[0] == 0:
			t.Kept++
		case !inBase:
			t.Created++
		case before == contents[0] && !m.doubted[key]:
			t.Unchanged++
		default:
			t.Updated++
		}
	}
	t.Absent = uint64(len(m.absent()))
	return t
}

// next returns what the next table has to say.
func (m *model) next() map[string]uint64 {
	next := map[string]uint64{}
	for key, contents := range m.stood {
		next[key] = contents[0]
		if m.distrusted[key] || slices.ContainsFunc(contents, func(c uint64) bool { return c != contents[0] }) {
			next[key] = 0
		}
	}
	for _, key := range m.absent() {
		if m.distrusted[key] {
			next[key] = 0
		}
	}
	return next
}

// system is the model beside the real thing.
type system struct {
	model
	table  *memory
	log    *memory
	memory int
	c      *delta.Comparison
}

func (s *system) begin(t *rapid.T) {
	s.model.begin()
	s.log = &memory{}
	s.memory = rapid.SampledFrom([]int{-1, 0, 1, 100, 300, 2000, 1 << 20}).Draw(t, "memory")
	var base *delta.Table
	if s.table != nil {
		var err error
		if base, err = s.table.table(); err != nil {
			t.Fatal(err)
		}
	}
	s.c = delta.New(base, s.log, s.memory)
	for _, n := range rapid.SliceOfN(rapid.IntRange(0, 300), 0, 5).Draw(t, "doubted") {
		key := fmt.Sprintf("key-%d", n)
		s.doubted[key] = true
		s.c.Doubt(s.hash(key))
	}
}

// enumerate adds, keeps and distrusts a few records.
func (s *system) enumerate(t *rapid.T) {
	keys := rapid.IntRange(1, 300).Draw(t, "keys")
	contents := rapid.IntRange(1, 3).Draw(t, "contents")
	odd := rapid.Bool().Draw(t, "odd")
	size := rapid.SampledFrom([]int{0, 3, 60, 500}).Draw(t, "size")
	list := rapid.SliceOfN(rapid.IntRange(0, keys), size/2, size).Draw(t, "records")
	variants := rapid.IntRange(1, 2).Draw(t, "variants")
	for i, n := range list {
		key := fmt.Sprintf("key-%d", n)
		switch {
		case odd && n%7 == 1:
			s.stand(key, 0)
			if err := s.c.Keep([]byte(key), s.hash(key), s.last); err != nil {
				t.Fatal(err)
			}
		case odd && n%7 == 2:
			s.distrust(key)
		default:
			content := uint64((n + i%variants) % contents) // 0 is a content like any other
			want := s.stand(key, max(content, 1))
			got, err := s.c.Add([]byte(key), s.hash(key), content, s.last)
			if err != nil || got != want {
				t.Fatalf("%s is %v, want %v, error %v", key, got, want, err)
			}
		}
	}
}

func (s *system) distrust(key string) {
	s.distrusted[key] = true
	s.c.Distrust(s.hash(key))
}

func (s *system) finish(t *rapid.T) {
	if err := s.c.Finish(scratch); err != nil {
		t.Fatal(err)
	}
	var absent, repeated []string
	var sum gapless.Hash128
	if err := s.c.Absent(func(key []byte) error { absent = append(absent, string(key)); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, key := range absent {
		var carry uint64
		sum.Lo, carry = bits.Add64(sum.Lo, s.hash(key).Lo, 0)
		sum.Hi, _ = bits.Add64(sum.Hi, s.hash(key).Hi, carry)
	}
	count, gotSum, err := s.c.AbsentDigest()
	if err != nil || count != uint64(len(absent)) || gotSum != sum {
		t.Fatalf("digest of absent keys %d %v, want %d %v, error %v", count, gotSum, len(absent), sum, err)
	}
	if err := s.c.Repeated(func(key []byte, line uint64) error {
		repeated = append(repeated, fmt.Sprint(string(key), line))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	got := []any{absent, repeated, s.c.Totals()}
	if diff := gocmp.Diff([]any{s.absent(), s.repeated(), s.sums()}, got); diff != "" {
		t.Fatalf("absent, repeated, totals (-want +got):\n%s", diff)
	}
}

// write writes the next table and checks every record of it.
func (s *system) write(t *rapid.T) {
	want := s.next()
	out := &memory{}
	if err := s.c.WriteTable(out, []byte("label")); err != nil {
		t.Fatal(err)
	}
	table, err := out.table()
	if err != nil {
		t.Fatal(err)
	}
	if table.Len() != uint64(len(want)) || string(table.Label()) != "label" {
		t.Fatalf("%d records, label %q, want %d", table.Len(), table.Label(), len(want))
	}
	var keys []string
	if err := table.Keys(func(key []byte) error { keys = append(keys, string(key)); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(s.order(slices.Collect(maps.Keys(want))), keys, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("keys of the table (-want +got):\n%s", diff)
	}
	for key, content := range want {
		if got, found, err := table.Lookup(s.hash(key)); err != nil || !found || got != content {
			t.Fatalf("%s has content %d, found %t, want %d, error %v", key, got, found, content, err)
		}
	}
	if !s.c.Changed() && !maps.Equal(want, s.base) {
		t.Fatal("the table has changed without saying so")
	}
	s.table, s.base = out, want
}

func TestComparisonAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := &system{model: model{hash: hashOf}}
		if rapid.Bool().Draw(t, "crowded") {
			s.hash = crowdedHashOf
		}
		for range rapid.IntRange(1, 6).Draw(t, "enumerations") {
			s.begin(t)
			s.enumerate(t)
			if s.table == nil && rapid.Bool().Draw(t, "interrupted") {
				s.resume(t)
				s.enumerate(t)
			}
			if rapid.IntRange(0, 4).Draw(t, "given up early") == 0 {
				continue
			}
			s.finish(t)
			for _, n := range rapid.SliceOfN(rapid.IntRange(0, 300), 0, 5).Draw(t, "refused at the end") {
				s.distrust(fmt.Sprintf("key-%d", n))
			}
			if rapid.IntRange(0, 4).Draw(t, "given up late") == 0 {
				continue
			}
			s.write(t)
		}
	})
}

// resume crashes the first enumeration, loses what was not flushed, and goes
// on from there.
func (s *system) resume(t *rapid.T) {
	size, err := s.c.Flush()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = s.c.Add([]byte("lost"), s.hash("lost"), 1, 0)
	_, _ = s.c.Flush()
	s.log.data = s.log.data[:size]
	if s.c, err = delta.Resume(s.log, size, s.memory); err != nil {
		t.Fatal(err)
	}
}
