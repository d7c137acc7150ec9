package hub

import (
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
)

// BenchmarkKeep pushes new records, and others in place of those that are
// there, with and without keeping what was before.
func BenchmarkKeep(b *testing.B) {
	for _, replace := range []bool{false, true} {
		what := map[bool]string{false: "new", true: "replaced"}[replace]
		for _, keys := range []string{"ordered", "random"} {
			for _, keep := range []string{"off", "on", "off-again"} {
				b.Run(what+"/"+keys+"/"+keep, func(b *testing.B) { benchKeep(b, keys == "random", replace, keep == "on") })
			}
		}
	}
}

func benchKeep(b *testing.B, random, replace, keep bool) {
	h := open(b, Options{})
	s := session(b, h, "bench", 1)
	changed := &gapless.Batch{}
	push := func(batch *gapless.Batch) error {
		_, err := s.Push(b.Context(), batch)
		return err
	}
	sync := func() error {
		_, err := s.Sync(b.Context(), nil)
		return err
	}
	if replace {
		for n := 0; n < b.N; n += benchRows {
			benchBatch(changed, n, random)
			if err := push(changed); err != nil {
				b.Fatal(err)
			}
		}
		if err := h.store.db.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	if keep {
		if err := s.Keep(b.Context(), "run", time.Hour); err != nil {
			b.Fatal(err)
		}
	}
	benchLoop(b, random, func(batch *gapless.Batch) error {
		for i := range batch.Rows { // the same length, something else
			batch.Data(i)[5] = '7'
		}
		return push(batch)
	}, sync)
}
