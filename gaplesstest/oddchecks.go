package gaplesstest

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

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
