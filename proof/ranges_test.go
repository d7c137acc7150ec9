package proof_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// side is the contents of one side: content by key.
type side map[string]uint64

var keys = rapid.StringOfN(rapid.RuneFrom([]rune{'a', 'b', 'é', 0}), 1, 3, -1)

var sides = rapid.MapOf(keys, rapid.Uint64Range(0, 2))

func drawSide(t *rapid.T, label string) side { return sides.Draw(t, label) }

func (s side) contents(r gapless.KeyRange) proof.Contents {
	return func(fn func(key []byte, content gapless.Hash128) error) error {
		buf := make([]byte, 0, 16)
		for _, key := range slices.Sorted(maps.Keys(s)) {
			if !r.Holds(key) {
				continue
			}
			buf = append(buf[:0], key...)
			if err := fn(buf, gapless.Hash128{Lo: s[key]}); err != nil {
				return err
			}
			clear(buf) // keys are not valid any longer
		}
		return nil
	}
}

func (s side) sums(r gapless.KeyRange, cuts []string) ([]gapless.RangeSum, error) {
	sums, err := proof.NewSums(r, cuts)
	if err != nil {
		return nil, err
	}
	for key, content := range s {
		sums.Add([]byte(key), gapless.Hash128{Lo: content})
	}
	return sums.Ranges(), nil
}

// diff is what CompareContents should find.
func diff(source, destination side) map[string]proof.Difference {
	want := map[string]proof.Difference{}
	for key, content := range source {
		if there, ok := destination[key]; !ok {
			want[key] = proof.Missing
		} else if there != content {
			want[key] = proof.Differs
		}
	}
	for key := range destination {
		if _, ok := source[key]; !ok {
			want[key] = proof.Extra
		}
	}
	return want
}

func TestSumsAddUpWhatRangesHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawSide(t, "records")
		edges := rapid.SliceOfDistinct(keys, rapid.ID).Draw(t, "edges")
		slices.Sort(edges)
		r := gapless.KeyRange{}
		if len(edges) > 1 {
			r.From, edges = edges[0], edges[1:]
		}
		if len(edges) > 1 {
			r.To, edges = edges[len(edges)-1], edges[:len(edges)-1]
		}
		got, err := s.sums(r, edges)
		if err != nil || len(got) != len(edges)+1 || got[0].From != r.From || got[len(edges)].To != r.To {
			t.Fatalf("%v of %v at %q: %v", got, r, edges, err)
		}
		for i, sum := range got {
			if i > 0 && (sum.From != edges[i-1] || got[i-1].To != edges[i-1]) {
				t.Errorf("range %d is %+v, the cuts are %q", i, sum.KeyRange, edges)
			}
			var want proof.Digest
			for key, content := range s {
				if sum.Holds(key) {
					want.Add(proof.Delivery(proof.KeyHash([]byte(key)), gapless.Hash128{Lo: content}))
				}
			}
			if proof.DigestOf(sum) != want || want.Over(sum.KeyRange) != sum {
				t.Errorf("%+v, want %s", sum, want)
			}
		}
	})
}

func TestCutsInOrder(t *testing.T) {
	t.Parallel()
	within := gapless.KeyRange{From: "b", To: "y"}
	tests := []struct {
		name string
		r    gapless.KeyRange
		cuts []string
		ok   bool
	}{
		{"none", within, nil, true},
		{"in order", within, []string{"b\x00", "c"}, true},
		{"without an end", gapless.KeyRange{}, []string{"a", "\xff"}, true},
		{"not in order", within, []string{"d", "c"}, false},
		{"twice", within, []string{"d", "d"}, false},
		{"the beginning", within, []string{"b"}, false},
		{"before the beginning", within, []string{"a"}, false},
		{"the end", within, []string{"y"}, false},
		{"behind the end", within, []string{"z"}, false},
		{"empty", gapless.KeyRange{}, []string{""}, false},
		{"longer than keys", within, []string{"c" + strings.Repeat("c", gapless.MaxKeyBytes)}, false},
		{"too many", gapless.KeyRange{}, manyCuts(proof.MaxCuts + 1), false},
		{"as many as can be", gapless.KeyRange{}, manyCuts(proof.MaxCuts), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := proof.NewSums(tt.r, tt.cuts); (err == nil) != tt.ok || err != nil && !errors.Is(err, proof.ErrCuts) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func manyCuts(n int) (cuts []string) {
	for i := range n {
		cuts = append(cuts, fmt.Sprintf("%06d", i))
	}
	return cuts
}

func TestCompareSums(t *testing.T) {
	t.Parallel()
	sum := func(from, to string, count, sum uint64) gapless.RangeSum {
		return gapless.RangeSum{KeyRange: gapless.KeyRange{From: from, To: to}, Count: count, Sum: gapless.Hash128{Lo: sum}}
	}
	here := []gapless.RangeSum{sum("", "b", 3, 1), sum("b", "c", 5, 2), sum("c", "d", 1, 3), sum("d", "e", 0, 0), sum("e", "", 9, 5)}
	there := []gapless.RangeSum{sum("", "b", 4, 9), sum("b", "c", 5, 3), sum("c", "d", 1, 3), sum("d", "e", 1, 4), sum("e", "", 9, 6)}
	unequal := func(from, to string, source, destination uint64) proof.Unequal {
		return proof.Unequal{gapless.KeyRange{From: from, To: to}, source, destination}
	}
	tests := []struct {
		name                string
		source, destination []gapless.RangeSum
		list                uint64
		want                []proof.Unequal
		err                 error
	}{
		{"nothing", nil, nil, 1, nil, nil},
		{"equal", here, here, 100, nil, nil},
		{"each by itself", here, there, 8, []proof.Unequal{unequal("", "b", 3, 4), unequal("b", "c", 5, 5), unequal("d", "e", 0, 1), unequal("e", "", 9, 9)}, nil},
		{"neighbours joined", here, there, 9, []proof.Unequal{unequal("", "c", 8, 9), unequal("d", "e", 0, 1), unequal("e", "", 9, 9)}, nil},
		{"more neighbours joined", here, there, 10, []proof.Unequal{unequal("", "c", 8, 9), unequal("d", "", 9, 10)}, nil},
		{"other ranges", here[1:], there[:4], 1, nil, proof.ErrRanges},
		{"fewer ranges", here, there[:4], 1, nil, proof.ErrRanges},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := proof.CompareSums(tt.source, tt.destination, tt.list)
			if !errors.Is(err, tt.err) {
				t.Errorf("got %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("unequal (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPieces(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                      string
		source, destination, list uint64
		want                      int
	}{
		{"few", 100, 80, 100, 1},
		{"more", 101, 80, 100, 2},
		{"more on the other side", 80, 101, 100, 2},
		{"many", 100_000, 1, 100, 1001},
		{"nothing here", 0, 100_000, 100, 1},
		{"nothing there", 100_000, 0, 100, 1},
		{"more than a range is cut into", 1 << 62, 1, 100, proof.MaxCuts + 1},
		{"no list", 5, 5, 0, 6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := proof.Unequal{Source: tt.source, Destination: tt.destination}
			if got := u.Pieces(tt.list); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

func TestCompareContents(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source, destination := drawSide(t, "source"), drawSide(t, "destination")
		got, last := map[string]proof.Difference{}, ""
		err := proof.CompareContents(source.contents(gapless.KeyRange{}), destination.contents(gapless.KeyRange{}), func(key []byte, d proof.Difference) error {
			if string(key) <= last {
				t.Errorf("key %q after %q", key, last)
			}
			last = string(key)
			got[last] = d
			return nil
		})
		if diff := cmp.Diff(diff(source, destination), got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

// TestDescent finds all differences by sums and lists, however they are cut.
func TestDescent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source, destination := drawSide(t, "source"), drawSide(t, "destination")
		list := rapid.Uint64Range(0, 4).Draw(t, "list")
		got := map[string]proof.Difference{}
		ranges := []proof.Unequal{{Source: uint64(len(source)), Destination: uint64(len(destination))}}
		for len(ranges) > 0 {
			u := ranges[0]
			ranges = ranges[1:]
			cuts := source.split(u.KeyRange, u.Pieces(list))
			if len(cuts) == 0 {
				err := proof.CompareContents(source.contents(u.KeyRange), destination.contents(u.KeyRange), func(key []byte, d proof.Difference) error {
					got[string(key)] = d
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				continue
			}
			left, lerr := source.sums(u.KeyRange, cuts)
			right, rerr := destination.sums(u.KeyRange, cuts)
			next, err := proof.CompareSums(left, right, list)
			if err := errors.Join(lerr, rerr, err); err != nil {
				t.Fatal(err)
			}
			ranges = append(ranges, next...)
		}
		if diff := cmp.Diff(diff(source, destination), got); diff != "" {
			t.Errorf("differences (-want +got):\n%s", diff)
		}
	})
}

// split cuts r into at most n ranges.
func (s side) split(r gapless.KeyRange, n int) (cuts []string) {
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if r.Holds(key) && key != r.From && len(cuts) < n-1 {
			cuts = append(cuts, key)
		}
	}
	return cuts
}

func TestCompareContentsFails(t *testing.T) {
	t.Parallel()
	own := errors.New("own")
	list := func(err error, keys ...string) proof.Contents {
		return func(fn func(key []byte, content gapless.Hash128) error) error {
			for _, key := range keys {
				if err := fn([]byte(key), gapless.Hash128{}); err != nil {
					return err
				}
			}
			return err
		}
	}
	tests := []struct {
		name                string
		source, destination proof.Contents
		fn                  error
		found               []string
		want                error
	}{
		{"the source fails", list(own, "a", "b"), list(nil, "a", "b", "c"), nil, nil, own},
		{"the destination fails", list(nil, "a", "b", "c"), list(own, "a"), nil, nil, own},
		{"the destination fails behind the source", list(nil, "a"), list(own, "a", "b"), nil, []string{"b extra"}, own},
		{"the destination fails at once", list(nil, "a"), list(own), nil, nil, own},
		{"both are empty, the destination fails", list(nil), list(own), nil, nil, own},
		{"the source is not in order", list(nil, "a", "c", "b"), list(nil, "a", "c"), nil, nil, proof.ErrOrder},
		{"the source repeats itself", list(nil, "a", "a"), list(nil, "a"), nil, nil, proof.ErrOrder},
		{"the destination is not in order", list(nil, "a", "b", "c"), list(nil, "a", "c", "b"), nil, []string{"b missing"}, proof.ErrOrder},
		{"the finder fails for a missing key", list(nil, "a", "b"), list(nil, "b"), own, []string{"a missing"}, own},
		{"the finder fails for an extra key", list(nil, "b"), list(nil, "a", "b"), own, []string{"a extra"}, own},
		{"the finder fails behind the source", list(nil, "a"), list(nil, "a", "b"), own, []string{"b extra"}, own},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var found []string
			err := proof.CompareContents(tt.source, tt.destination, func(key []byte, d proof.Difference) error {
				found = append(found, string(key)+" "+string(d))
				return tt.fn
			})
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(tt.found, found); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRecordHash(t *testing.T) {
	t.Parallel()
	parts := []gapless.Part{{Name: "p", Type: "t", Size: 3, Version: "1"}, {Name: "q", Size: -1}}
	for _, record := range []gapless.Record{
		{Key: "k", Data: []byte(`{}`)},
		{Key: "k", Version: "1", Data: []byte(`{"n":1}`)},
		{Key: "k", Version: "1", Data: []byte(`{"n":1}`), Parts: parts},
	} {
		b := &gapless.Batch{}
		b.Append(gapless.Change{Record: record})
		_, want := proof.RowHash(b, 0)
		if got := proof.RecordHash([]byte(record.Version), record.Data, record.Parts); got != want {
			t.Errorf("%+v: %v, want %v", record, got, want)
		}
	}
}
