package gaplesstest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// checkReadBack: what was synced is what readers see, also those of the next
// process.
func checkReadBack(t testing.TB, w *inside) {
	w.begin()
	if st := w.status(); st.Holds || len(st.Checkpoints) > 0 {
		t.Errorf("a destination that nothing was pushed into says: %+v", st)
	}
	w.save(w.puts(0, handful)...)
	w.has("after the first Sync", w.now())
	w.save(w.next(name(1)), w.gone(name(2)), w.next(name(handful)), w.gone(name(3)), w.next(name(3)))
	w.has("after changes were synced", w.now())
	w.restart()
	w.has("in the next process", w.now())
	if !w.status().Holds {
		t.Error("Status.Holds is false, and there are records")
	}
	w.exit()
}

// checkReplay: batches that are pushed again, in order, change nothing.
func checkReplay(_ testing.TB, w *inside) {
	w.begin()
	history := [][]edit{
		w.puts(0, 9),
		{w.next(name(0)), w.gone(name(1)), w.next(name(2)), w.gone(name(9))},
		{w.next(name(1)), w.gone(name(2)), w.next(name(0))},
	}
	for from := range history {
		for _, edits := range history[len(history)-1-from:] {
			w.push(edits...)
		}
		w.sync()
		if from == len(history)-1 {
			w.has("batches pushed again", w.now())
		}
	}
	for range 2 {
		w.save(history[2]...)
		w.has("a batch pushed again and again", w.now())
	}
	w.restart()
	for _, edits := range history {
		w.push(edits...)
		w.push(edits...)
	}
	w.sync()
	w.has("batches pushed twice each, by the next process", w.now())
	w.exit()
}

// checkDelete: deleting what is not there is no error.
func checkDelete(_ testing.TB, w *inside) {
	w.begin()
	w.push(w.puts(0, 5)...)
	w.save(w.gone(name(0)), w.gone(name(0)), w.gone(name(7)))
	w.has("after deletes", w.now())
	w.save(w.gone(name(0)), w.gone(name(8)), w.gone(name(1)))
	w.has("after the same deletes again", w.now())
	w.exit()
}

// checkPushOrder: of several changes of a key in one batch the last one counts.
func checkPushOrder(_ testing.TB, w *inside) {
	w.begin()
	w.push(w.puts(4, 8)...)
	w.save(
		w.next(name(0)), w.gone(name(0)), w.next(name(0)),
		w.next(name(1)), w.next(name(1)),
		w.next(name(2)), w.gone(name(2)),
		w.gone(name(4)), w.next(name(4)),
		w.next(name(5)), w.gone(name(5)),
		w.gone(name(6)), w.next(name(6)), w.gone(name(6)),
	)
	w.has("after one batch with several changes of a key", w.now())
	w.exit()
}

// checkPatch: a patch changes the fields that it names and keeps the others, or
// is rejected by name.
func checkPatch(t testing.TB, w *inside) {
	w.begin()
	w.push(w.puts(0, 3)...)
	e := edit{name(1), int(w.now()) + 1}
	c, p := w.change(e), w.partition(e.name)
	_, gets := w.session.(gapless.Getter)
	plain := gets && w.plain(p)
	b := &gapless.Batch{Partition: p}
	if plain {
		before := w.change(edit{e.name, e.revision - 1})
		before.Data = []byte(`{"n":1,"kept":{"a":[2]},"gone":3}`)
		b.Append(before)
		c.Data = fmt.Appendf(nil, `{"n":%d,"gone":null,"new":"x"}`, e.revision)
	}
	if !plain {
		unchecked(t, "which fields a patch leaves: the session is no gapless.Getter, or DestinationSystem.Record decides what a record looks like")
	}
	c.Op, c.Parts = gapless.OpPatch, nil
	b.Append(c)
	receipt := w.settled(b)
	if reason := refusal(receipt, c.Key); reason != nil {
		w.exit()
		t.Skipf("patches are rejected: %v", reason)
	}
	w.took(receipt)
	w.next(e.name)
	w.sync()
	w.has("after a patch", w.now())
	if plain {
		r := w.get(e.name)
		if want := fmt.Sprintf(`{"n":%d,"kept":{"a":[2]},"new":"x"}`, e.revision); !sameJSON([]byte(want), r.Data) {
			t.Errorf("a patched record is %s and not %s", r.Data, want)
		}
	}
	w.exit()
}

// plain reports whether the outside system takes any record.
func (w *inside) plain(p gapless.Partition) bool {
	return reflect.DeepEqual(w.Record(p, "x", 1), plainRecord(p, "x", 1))
}

func rejected(receipt gapless.Receipt, key string) bool { return refusal(receipt, key) != nil }

// refusal returns why a record was rejected, and nil if it was not.
func refusal(receipt gapless.Receipt, key string) error {
	for _, r := range receipt.Rejected {
		if r.Key == key && r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// checkEmpty: nothing is nothing.
func checkEmpty(t testing.TB, w *inside) {
	w.begin()
	for range 2 {
		if _, err := w.session.Push(t.Context(), &gapless.Batch{Partition: w.Partitions[0]}); err != nil {
			t.Errorf("Push of an empty batch: %v", err)
		}
		if _, err := w.session.Sync(t.Context(), nil); err != nil {
			t.Errorf("Sync without checkpoints: %v", err)
		}
	}
	w.sync()
	if st := w.status(); len(st.Checkpoints) != len(w.Partitions) || !st.Holds {
		t.Errorf("after a Sync of %d checkpoints without records Status is %+v", len(w.Partitions), st)
	}
	w.has("after nothing was pushed", w.now())
	w.exit()
}

// checkBorrowed: a batch is the caller's again when Push returns.
func checkBorrowed(t testing.TB, w *inside) {
	w.begin()
	edits := w.puts(0, handful)
	for _, b := range w.batches(edits) {
		if _, err := w.session.Push(t.Context(), b); err != nil {
			t.Fatalf("Push: %v", err)
		}
		for i := range b.Buf {
			b.Buf[i] = '!'
		}
		clear(b.Rows)
		b.Reset()
	}
	w.sync()
	w.has("after the pushed batches were filled with something else", w.now())
	w.exit()
}

// checkRejects: what is refused is named, and nothing else is missing.
func checkRejects(t testing.TB, w *inside) {
	if w.Refused == nil {
		t.Skip("DestinationSystem.Refused is nil")
	}
	w.begin()
	edits := w.puts(0, 8)
	b := &gapless.Batch{Partition: w.Partitions[0]}
	bad := w.Refused(b.Partition, name(8*len(w.Partitions)))
	for i, e := range edits {
		if w.partition(e.name).ID == b.Partition.ID {
			b.Append(w.change(e))
		}
		if i == 3 {
			b.Append(gapless.Change{Record: bad})
		}
	}
	receipt, err := w.session.Push(t.Context(), b)
	if err != nil {
		t.Fatalf("Push of a batch with a bad record: reject it, by name: %v", err)
	}
	var rest []edit
	for _, e := range edits {
		if w.partition(e.name).ID != b.Partition.ID {
			rest = append(rest, e)
		}
	}
	w.push(rest...)
	late, err := w.session.Sync(t.Context(), w.checkpoints(w.now()))
	if err != nil {
		t.Fatalf("Sync: %v", err)
	}
	receipt.Rejected = append(receipt.Rejected, late.Rejected...)
	if !rejected(receipt, bad.Key) {
		t.Errorf("the receipts do not name %q with its reason: it is lost without a trace", bad.Key)
	}
	for _, r := range receipt.Rejected {
		if r.Key != bad.Key {
			t.Errorf("the receipts name %q, which is a good record: %v", r.Key, r.Err)
		}
	}
	w.has("after one record was refused", w.now())
	w.exit()
}

// checkEnumerate: the session lists every synced record once, of a slice those
// whose keys begin with its prefix.
func checkEnumerate(t testing.TB, w *inside) {
	w.begin()
	if _, ok := w.session.(gapless.Enumerator); !ok {
		t.Skip("the session is no gapless.Enumerator")
	}
	w.push(w.puts(0, handful)...)
	w.save(w.gone(name(4)))
	w.listed("")
	w.listed("r-001")
	w.restart()
	w.listed("r-000")
	w.listed("no such prefix")
	stop := errors.New("enough")
	calls := 0
	err := w.session.(gapless.Enumerator).Enumerate(t.Context(), w.Partitions[0], func([]byte, []byte) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("the error of the function was returned as %v, after %d calls: it ends the enumeration and is returned", err, calls)
	}
	w.exit()
}

// listed compares an enumeration with what there is, if keys are the names.
func (w *inside) listed(prefix string) {
	w.t.Helper()
	for _, p := range w.Partitions {
		var want, got []string
		slice := p
		slice.Prefix += prefix
		for n := range w.at(w.now()) {
			key := w.Record(p, n, 1).Key
			if w.partition(n).ID == p.ID && strings.HasPrefix(key, slice.Prefix) {
				want = append(want, key)
			}
		}
		err := w.session.(gapless.Enumerator).Enumerate(w.t.Context(), slice, func(key, _ []byte) error {
			got = append(got, string(key))
			return nil
		})
		if err != nil {
			w.t.Fatalf("Enumerate: %v", err)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			w.t.Errorf("Enumerate of %s, prefix %q (-synced +enumerated):\n%s", p.ID, slice.Prefix, diff)
		}
	}
}

// checkGet: a synced record is given back, any other is not found.
func checkGet(t testing.TB, w *inside) {
	w.begin()
	if _, ok := w.session.(gapless.Getter); !ok {
		t.Skip("the session is no gapless.Getter")
	}
	w.push(w.puts(0, 6)...)
	w.save(w.next(name(1)), w.gone(name(2)))
	for range 2 {
		for i := range 8 {
			n := name(i)
			p := w.partition(n)
			key, want := w.Record(p, n, 1).Key, w.at(w.now())[n]
			r, err := w.session.(gapless.Getter).Get(t.Context(), p, key)
			switch {
			case want == 0 && !errors.Is(err, gapless.ErrNotFound):
				t.Errorf("Get of %s, which does not exist, returned %v and not gapless.ErrNotFound", key, err)
			case want != 0 && err != nil:
				t.Errorf("Get of %s: %v", key, err)
			case want != 0:
				if _, got := w.Read(p, gapless.Change{Record: r}); got != want || r.Key != key {
					t.Errorf("Get of %s returned %s with revision %d and not %d", key, r.Key, got, want)
				}
			}
		}
		w.restart()
	}
	w.exit()
}

// checkConditional: a record that is not as expected is left alone, and named.
func checkConditional(t testing.TB, w *inside) {
	w.begin()
	_, pushes := w.session.(gapless.ConditionalPusher)
	_, gets := w.session.(gapless.Getter)
	if !pushes || !gets {
		t.Skip("the session is not both gapless.ConditionalPusher and gapless.Getter")
	}
	w.save(w.puts(0, 2)...)
	n := name(0)
	stale := w.expectation(n)
	w.pushIf("as it was read", w.next(n), stale, false)
	w.sync()
	w.pushIf("as it was read once", edit{n, 1000}, stale, true)
	w.pushIf("missing, which it is not", edit{n, 1001}, gapless.Expectation{}, true)
	w.pushIf("missing, which it is", w.next(name(2)), gapless.Expectation{}, false)
	w.pushIf("there, which it is not", edit{name(3), 1002}, gapless.Expectation{Exists: true, Version: stale.Version, Data: stale.Data}, true)
	w.sync()
	w.has("after conditional pushes", w.now())
	w.exit()
}

// get returns a record that is there.
func (w *inside) get(n string) gapless.Record {
	w.t.Helper()
	p := w.partition(n)
	r, err := w.session.(gapless.Getter).Get(w.t.Context(), p, w.Record(p, n, 1).Key)
	if err != nil {
		w.t.Fatalf("Get: %v", err)
	}
	return r
}

func (w *inside) expectation(n string) gapless.Expectation {
	w.t.Helper()
	r := w.get(n)
	return gapless.Expectation{Exists: true, Version: []byte(r.Version), Data: r.Data}
}

func (w *inside) pushIf(what string, e edit, expect gapless.Expectation, refused bool) {
	w.t.Helper()
	b := w.batches([]edit{e})[0]
	receipt, err := w.session.(gapless.ConditionalPusher).PushIf(w.t.Context(), b, []gapless.Expectation{expect})
	if err != nil {
		w.t.Fatalf("PushIf: %v", err)
	}
	changed := slices.ContainsFunc(receipt.Rejected, func(r gapless.Rejection) bool { return errors.Is(r.Err, gapless.ErrChanged) })
	if changed != refused || len(receipt.Rejected) > 1 || !refused && len(receipt.Rejected) > 0 {
		w.t.Errorf("PushIf of a record expected to be %s: %s", what, fmt.Sprint(receipt.Rejected))
	}
}
