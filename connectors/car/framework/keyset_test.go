package framework

import (
	"testing"

	"pgregory.net/rapid"
)

// TestKeySetIsASet compares the set with a map.
func TestKeySetIsASet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s keySet
		model := map[uint64]uint16{}
		// Keys that differ above the bits that choose shard and slot.
		key := rapid.Custom(func(t *rapid.T) uint64 {
			return rapid.Uint64Range(1, 300).Draw(t, "low") | rapid.Uint64Range(0, 3).Draw(t, "high")<<62
		})
		for range rapid.IntRange(0, 3000).Draw(t, "rows") {
			k, content := key.Draw(t, "key"), rapid.Uint16Range(0, 2).Draw(t, "content")
			want := seenNot
			if old, ok := model[k]; ok {
				want = seenOther
				if old == content {
					want = seenSame
				}
			} else {
				model[k] = content
			}
			if s.has(k) != (want != seenNot) {
				t.Fatalf("has %x: %v", k, s.has(k))
			}
			if got := s.add(k, content); got != want {
				t.Fatalf("add %x: got %v, want %v", k, got, want)
			}
		}
		for k := range model {
			if !s.has(k) {
				t.Fatalf("%x is lost", k)
			}
		}
	})
}

func TestKeyHashesOfCollectionsDiffer(t *testing.T) {
	t.Parallel()
	all := map[uint64]string{}
	for _, c := range []string{"asset", "asset_ipaddress", "ipaddress", "a", "b"} {
		for _, k := range []string{"", "1", "a", "asset", "1|2"} {
			h := keyHash(c, k)
			if other, ok := all[h]; ok {
				t.Errorf("%s/%s has the hash of %s", c, k, other)
			}
			all[h] = c + "/" + k
		}
	}
}

func BenchmarkKeySet(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var s keySet
		for i := range uint64(2_500_000) {
			s.add(i*0x9E3779B97F4A7C15|1, 1)
		}
		size := 0
		for i := range s.shards {
			size += 10 * len(s.shards[i].keys)
		}
		b.ReportMetric(float64(size)/(1<<20), "MiB")
	}
}
