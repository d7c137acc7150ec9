package gaplesstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	w.push(w.puts(0, handful)...)
	w.sync()
	w.has("after the first Sync", w.now())
	w.push(w.next(name(1)), w.gone(name(2)), w.next(name(handful)), w.gone(name(3)), w.next(name(3)))
	w.sync()
	w.has("after changes were synced", w.now())
	w.restart()
	w.has("in the next process", w.now())
	if !w.status().Holds {
		t.Error("Status.Holds is false, and there are records")
	}
	w.exit()
}

// checkReplay: batches that are pushed again, in order, change nothing.
func checkReplay(t testing.TB, w *inside) {
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
		w.push(history[2]...)
		w.sync()
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
	_ = t
}

// checkDelete: deleting what is not there is no error.
func checkDelete(t testing.TB, w *inside) {
	w.begin()
	w.push(w.puts(0, 5)...)
	w.push(w.gone(name(0)), w.gone(name(0)), w.gone(name(7)))
	w.sync()
	w.has("after deletes", w.now())
	w.push(w.gone(name(0)), w.gone(name(8)), w.gone(name(1)))
	w.sync()
	w.has("after the same deletes again", w.now())
	w.exit()
	_ = t
}

// checkPushOrder: of several changes of a key in one batch the last one counts.
func checkPushOrder(t testing.TB, w *inside) {
	w.begin()
	w.push(w.puts(4, 8)...)
	w.push(
		w.next(name(0)), w.gone(name(0)), w.next(name(0)),
		w.next(name(1)), w.next(name(1)),
		w.next(name(2)), w.gone(name(2)),
		w.gone(name(4)), w.next(name(4)),
		w.next(name(5)), w.gone(name(5)),
		w.gone(name(6)), w.next(name(6)), w.gone(name(6)),
	)
	w.sync()
	w.has("after one batch with several changes of a key", w.now())
	w.exit()
	_ = t
}

// checkPatch: a patch changes the fields that it names and keeps the others, or
// is rejected by name.
func checkPatch(t testing.TB, w *inside) {
	w.begin()
	w.push(w.puts(0, 3)...)
	e := edit{name(1), int(w.now()) + 1}
	c, p := w.change(e), w.partition(e.name)
	getter, gets := w.session.(gapless.Getter)
	plain := gets && w.plain(p)
	b := &gapless.Batch{Partition: p}
	if plain {
		before := w.change(edit{e.name, e.revision - 1})
		before.Data = []byte(`{"n":1,"kept":{"a":[2]},"gone":3}`)
		b.Append(before)
		c.Data = fmt.Appendf(nil, `{"n":%d,"gone":null,"new":"x"}`, e.revision)
	}
	c.Op, c.Parts = gapless.OpPatch, nil
	b.Append(c)
	receipt, err := w.session.Push(t.Context(), b)
	if err != nil {
		t.Fatalf("Push of a patch: %v", err)
	}
	if rejected(receipt, c.Key) {
		w.exit()
		t.Skipf("patches are rejected: %v", receipt.Rejected[0].Err)
	}
	w.next(e.name)
	w.sync()
	w.has("after a patch", w.now())
	if plain {
		r, err := getter.Get(t.Context(), p, c.Key)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
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

func rejected(receipt gapless.Receipt, key string) bool {
	return slices.ContainsFunc(receipt.Rejected, func(r gapless.Rejection) bool { return r.Key == key && r.Err != nil })
}

// oddKeys are keys that are text, and that careless code trips over.
func oddKeys() []string {
	return []string{
		" ", "a b", "a ", "a", "A", "a/b", "/", "a//b", "../a", ".", "..", `"`, "'", `\`, "%", "%2F", "%00", "a?b=c", "a#b", "*", "a,b;c",
		"a\nb", "a\r\nb", "a\tb", "\x00", "a\x00b", "\x7f", "-", "--", "null", "0", "00", "1e0", "true", "<a>&amp;", "$(a)", "{}", "[]",
		"ключ", "日本", "\u00e9", "e\u0301", "\U0001f600", "\u2028", "\ufeffa", "a\u200bb",
		strings.Repeat("k", 1024), strings.Repeat("ü", gapless.MaxKeyBytes/2),
	}
}

// checkOdd: a record with any key is taken and given back, or rejected by name;
// its neighbours are taken whatever becomes of it.
func checkOdd(t testing.TB, w *inside) {
	w.begin()
	_, gets := w.session.(gapless.Getter)
	_, enumerates := w.session.(gapless.Enumerator)
	if !gets && !enumerates {
		t.Skip("the session is neither gapless.Getter nor gapless.Enumerator")
	}
	p := w.Partitions[0]
	b := &gapless.Batch{Partition: p}
	wanted := map[string]int{}
	for i, key := range oddKeys() {
		r := w.Record(p, name(i), i+1)
		r.Key = p.Prefix + key
		if len(r.Key) <= gapless.MaxKeyBytes {
			b.Append(gapless.Change{Record: r})
			wanted[r.Key] = i + 1
		}
	}
	plain := w.Record(p, name(len(wanted)), len(wanted)+1)
	b.Append(gapless.Change{Record: plain})
	wanted[plain.Key] = len(wanted) + 1
	receipt := w.settled(b)
	if rejected(receipt, plain.Key) {
		t.Errorf("the plain key %q was rejected", plain.Key)
	}
	maps.DeleteFunc(wanted, func(key string, _ int) bool { return rejected(receipt, key) })
	for range 2 {
		if gets {
			w.givesBack(p, wanted)
		}
		if enumerates {
			w.lists(p, wanted)
		}
		w.restart()
	}
	w.exit()
}

// givesBack reads records by their keys.
func (w *inside) givesBack(p gapless.Partition, wanted map[string]int) {
	w.t.Helper()
	for key, revision := range wanted {
		r, err := w.session.(gapless.Getter).Get(w.t.Context(), p, key)
		if err != nil {
			w.t.Errorf("key %.40q was accepted; Get: %v", key, err)
			continue
		}
		if _, got := w.Read(p, gapless.Change{Record: r}); got != revision || r.Key != key {
			w.t.Errorf("key %.40q came back as %.40q, with revision %d and not %d", key, r.Key, got, revision)
		}
	}
}

// lists enumerates keys, which are to be those wanted.
func (w *inside) lists(p gapless.Partition, wanted map[string]int) {
	w.t.Helper()
	var listed []string
	err := w.session.(gapless.Enumerator).Enumerate(w.t.Context(), p, func(key, _ []byte) error {
		listed = append(listed, string(key))
		return nil
	})
	if err != nil {
		w.t.Errorf("Enumerate of odd keys: %v", err)
		return
	}
	slices.Sort(listed)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(wanted)), listed); diff != "" {
		w.t.Errorf("odd keys (-accepted +enumerated):\n%s", diff)
	}
}

// settled pushes and syncs a batch and returns what was rejected of it, early
// or late.
func (w *inside) settled(b *gapless.Batch) gapless.Receipt {
	w.t.Helper()
	receipt, err := w.session.Push(w.t.Context(), b)
	if err != nil {
		w.t.Fatalf("Push: what cannot be taken is rejected by name, and does not fail the batch: %v", err)
	}
	late, err := w.session.Sync(w.t.Context(), nil)
	if err != nil {
		w.t.Fatalf("Sync: %v", err)
	}
	receipt.Rejected = append(receipt.Rejected, late.Rejected...)
	return receipt
}

// oddData are objects that careless code changes.
func oddData() []string {
	return []string{
		`{}`, `{"n":1,"":2}`, ` { "n" : 1 } `, `{"n":1,"text":"\u0000\" \\ \/ \u2028 <&> 😀"}`,
		`{"n":12345678901234567890123,"m":0.1000000000000000055511151231257827,"l":-0,"k":1E+2}`,
		`{"n":null,"m":[],"l":{},"k":[null,[{}]],"j":true}`,
		`{"n":1,"deep":` + strings.Repeat(`{"a":[`, 100) + strings.Repeat(`]}`, 100) + `}`,
		`{"n":1,"long":"` + strings.Repeat("0123456789", 1<<17) + `"}`,
		"{\"n\":1,\n\t\"lines\":\"a\\nb\"}",
	}
}

// checkLarge: any JSON object is taken and given back, or rejected by name.
func checkLarge(t testing.TB, w *inside) {
	w.begin()
	getter, ok := w.session.(gapless.Getter)
	if !ok {
		t.Skip("the session is no gapless.Getter")
	}
	p := w.Partitions[0]
	if !w.plain(p) {
		t.Skip("DestinationSystem.Record decides what a record looks like")
	}
	b := &gapless.Batch{Partition: p}
	for i, data := range oddData() {
		b.Append(gapless.Change{Record: gapless.Record{Key: p.Prefix + name(i), Data: []byte(data)}})
	}
	receipt := w.settled(b)
	for i, data := range oddData() {
		key := p.Prefix + name(i)
		if rejected(receipt, key) {
			continue
		}
		r, err := getter.Get(t.Context(), p, key)
		if err != nil {
			t.Errorf("data %.60s was accepted; Get: %v", data, err)
		} else if !sameJSON([]byte(data), r.Data) {
			t.Errorf("data %.60s came back as %.60s", data, r.Data)
		}
	}
	w.exit()
}

// sameJSON reports whether two texts are the same value, numbers digit by
// digit.
func sameJSON(a, b []byte) bool {
	decode := func(text []byte) (value any, err error) {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		return value, d.Decode(&value)
	}
	x, err := decode(a)
	y, other := decode(b)
	return err == nil && other == nil && reflect.DeepEqual(x, y)
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
	w.push(w.gone(name(4)))
	w.sync()
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
	w.push(w.next(name(1)), w.gone(name(2)))
	w.sync()
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
	w.push(w.puts(0, 2)...)
	w.sync()
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

func (w *inside) expectation(n string) gapless.Expectation {
	w.t.Helper()
	p := w.partition(n)
	r, err := w.session.(gapless.Getter).Get(w.t.Context(), p, w.Record(p, n, 1).Key)
	if err != nil {
		w.t.Fatalf("Get: %v", err)
	}
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
