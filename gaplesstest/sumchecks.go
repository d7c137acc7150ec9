package gaplesstest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// contents are the hashes of what there is, by key.
type contents map[string]gapless.Hash128

// checkSums: the sums of a source are those of the records that it emits.
func checkSums(t testing.TB, o *outside) {
	if _, ok := o.open().(gapless.RangeSummer); !ok {
		t.Skip("the source is no gapless.RangeSummer")
	}
	o.fill(0, handful)
	for range 2 {
		s := o.open()
		for _, p := range o.partitions(s) {
			summed(t, "partition "+p.ID, s.(gapless.RangeSummer), p, o.contents(s, p))
		}
		o.put(name(3))
		o.put(name(handful))
		o.remove(name(4))
	}
	o.close()
}

// contents reads what a partition holds.
func (o *outside) contents(s gapless.Source, p gapless.Partition) contents {
	o.t.Helper()
	found := contents{}
	o.rows(p, everything(s), func(b *gapless.Batch, i int) {
		_, found[string(b.Key(i))] = proof.RowHash(b, i)
	})
	return found
}

// checkHeldSums: the sums of a session are those of the records that are synced.
func checkHeldSums(t testing.TB, w *inside) {
	w.begin()
	if _, ok := w.session.(gapless.RangeSummer); !ok {
		w.exit()
		t.Skip("the session is no gapless.RangeSummer")
	}
	w.save(w.puts(0, handful)...)
	agree := func(what string) {
		t.Helper()
		held := w.at(w.synced)
		for _, p := range w.Partitions {
			want := contents{}
			for n, revision := range held {
				if w.partition(n).ID == p.ID {
					r := w.Record(p, n, revision)
					want[r.Key] = proof.RecordHash([]byte(r.Version), r.Data, r.Parts)
				}
			}
			summed(t, what+", partition "+p.ID, w.session.(gapless.RangeSummer), p, want)
		}
	}
	agree("at first")
	w.save(w.next(name(3)), w.next(name(handful)), w.gone(name(4)))
	agree("after changes")
	w.push(w.next(name(5)), w.next(name(handful+1)), w.gone(name(6)))
	agree("with changes that are not synced")
	w.sync()
	w.restart()
	agree("in the next process")
	w.exit()
}

// summed sees that s says of a partition, and of the middle of it, what want
// says: in the ranges that s cuts, and in others.
func summed(t testing.TB, what string, s gapless.RangeSummer, p gapless.Partition, want contents) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(want))
	ranges := []gapless.KeyRange{{}}
	if n := len(keys); n > 4 {
		ranges = append(ranges, gapless.KeyRange{From: keys[n/4], To: keys[n/2]}, gapless.KeyRange{From: keys[n/2] + "\x00"})
	}
	for _, r := range ranges {
		what := fmt.Sprintf("%s, keys from %q to %q", what, r.From, r.To)
		cuts, err := s.Split(t.Context(), p, r, 4)
		if err != nil {
			t.Fatalf("%s: Split: %v", what, err)
		}
		var own []string
		for i, key := range keys {
			if i%3 == 1 && key > r.From && r.Holds(key) {
				own = append(own, key)
			}
		}
		sumsAgree(t, what+", in the ranges of Split", s, p, r, cuts, want)
		sumsAgree(t, what+", in ranges of our own", s, p, r, own, want)
		contentsAgree(t, what, s, p, r, want)
	}
}

func sumsAgree(t testing.TB, what string, s gapless.RangeSummer, p gapless.Partition, r gapless.KeyRange, cuts []string, want contents) {
	t.Helper()
	sums, err := proof.NewSums(r, cuts)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	for key, content := range want {
		sums.Add([]byte(key), content)
	}
	got, err := s.Sum(t.Context(), p, r, cuts)
	if err != nil {
		t.Fatalf("%s: Sum: %v", what, err)
	}
	if diff := cmp.Diff(sums.Ranges(), got); diff != "" {
		t.Errorf("%s (-records +Sum):\n%s", what, diff)
	}
}

func contentsAgree(t testing.TB, what string, s gapless.RangeSummer, p gapless.Partition, r gapless.KeyRange, want contents) {
	t.Helper()
	inside := contents{}
	for key, content := range want {
		if r.Holds(key) {
			inside[key] = content
		}
	}
	got, last := contents{}, ""
	err := s.Contents(t.Context(), p, r, func(key []byte, content gapless.Hash128) error {
		if string(key) <= last {
			t.Errorf("%s: Contents: %q comes after %q", what, key, last)
		}
		last = string(key)
		got[last] = content
		return nil
	})
	if err != nil {
		t.Fatalf("%s: Contents: %v", what, err)
	}
	if diff := cmp.Diff(inside, got); diff != "" {
		t.Errorf("%s (-records +Contents):\n%s", what, diff)
	}
	calls := 0
	err = s.Contents(t.Context(), p, r, func([]byte, gapless.Hash128) error { calls++; return errStop })
	if len(inside) > 0 && (!errors.Is(err, errStop) || calls != 1) {
		t.Errorf("%s: Contents returned %v, and not the error of fn, which it called %d times", what, err, calls)
	}
}
