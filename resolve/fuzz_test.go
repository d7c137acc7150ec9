package resolve_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/resolve"
)

// FuzzResolve gives foreign bytes to every resolution: the result is always a
// JSON object, and resolving it with itself changes nothing.
func FuzzResolve(f *testing.F) {
	var resolvers []*resolve.Resolver
	for _, name := range []resolve.Resolution{
		resolve.Newer, resolve.Older, resolve.Min, resolve.Max, resolve.Union, resolve.Counter, resolve.Longest, resolve.Other, resolve.MasterCopy,
		"expr: local == nil ? remote : [local, base]",
	} {
		resolver, err := resolve.Compile(resolve.Policy{Resolution: name})
		if err != nil {
			f.Fatal(err)
		}
		resolvers = append(resolvers, resolver)
	}
	for _, compat := range []resolve.Compat{resolve.Eden, resolve.Eden21} {
		resolver, err := resolve.Compile(resolve.Policy{Compat: compat, Resolution: resolve.Newer})
		if err != nil {
			f.Fatal(err)
		}
		resolvers = append(resolvers, resolver)
	}
	for _, seed := range []string{
		`{}`, `{"a":1}`, `{"a":1,"a":2}`, `{"a":[1,2,[3]]}`, `{"a":{"b":{"c":null}}}`, `{"a":1e999999999999999999999,"b":-0.0}`, `{"a":"\ud800","\u0061":1}`,
		`{"a":"2026-01-01","b":[]}`, ` {"":""} `, `[`, strings.Repeat(`{"a":`, 3000) + "1" + strings.Repeat("}", 3000), `{"a":123456789012345678901234567890.5}`,
	} {
		f.Add([]byte(seed), []byte(`{"a":2,"b":"x"}`), []byte(`{"a":0}`), int64(5), false)
		f.Add([]byte(`{"a":[2]}`), []byte(seed), []byte(seed), int64(-5), true)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, local, remote, base []byte, shift int64, deleted bool) {
		for i, r := range resolvers {
			in := resolve.Input{
				Local:  resolve.Side{Data: local, Modified: resolve.At(now)},
				Remote: resolve.Side{Data: remote, Modified: resolve.At(now.Add(time.Duration(shift))), Deleted: deleted, MCI: 2},
				Base:   base, Now: now,
			}
			got, err := r.Resolve(&in)
			if err != nil {
				continue
			}
			if len(got.Data) > 0 && (!gjson.ValidBytes(got.Data) || !gjson.ParseBytes(got.Data).IsObject()) {
				t.Fatalf("%d: %s and %s gave %s", i, local, remote, got.Data)
			}
			if again, err := r.Resolve(&resolve.Input{Local: sideOf(got), Remote: sideOf(got), Base: got.Data, BaseDeleted: got.Deleted, Now: now}); err != nil || !bytes.Equal(again.Data, got.Data) {
				t.Fatalf("%d: again: %v, %s", i, err, again.Data)
			}
		}
	})
}
