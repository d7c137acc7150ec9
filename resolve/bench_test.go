package resolve_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/resolve"
)

// BenchmarkResolve measures one record of ten fields and about 300 bytes.
func BenchmarkResolve(b *testing.B) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	data := func(changed ...int) []byte {
		var s strings.Builder
		s.WriteString(`{"f0":0`)
		for i := 1; i < 10; i++ {
			fmt.Fprintf(&s, `,"field_%d":"some text of a field %d"`, i, i)
		}
		text := s.String() + "}"
		for _, i := range changed {
			text = strings.Replace(text, fmt.Sprintf("field %d", i), fmt.Sprintf("edit %d", i), 1)
		}
		return []byte(text)
	}
	side := func(d []byte, age time.Duration) resolve.Side {
		return resolve.Side{Data: d, Modified: resolve.At(now.Add(-age))}
	}
	timed := func(d []byte, age time.Duration, node string) resolve.Side {
		s, err := resolve.Edit(resolve.Side{}, d, now.Add(-age), node)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	all := []int{1, 2, 3, 4, 5, 6, 7, 8, 9}
	for _, bench := range []struct {
		name string
		in   resolve.Input
	}{
		{"equal", resolve.Input{Local: side(data(), time.Hour), Remote: side(data(), time.Minute)}},
		{"newer", resolve.Input{Local: side(data(), time.Hour), Remote: side(data(3), time.Minute), LastSync: now.Add(-time.Hour / 2)}},
		{"newer, every field", resolve.Input{Local: side(data(), time.Hour), Remote: side(data(all...), time.Minute), LastSync: now.Add(-time.Hour / 2)}},
		{"three ways", resolve.Input{Base: data(), Local: side(data(1, 2), time.Hour), Remote: side(data(2, 3), time.Minute)}},
		{"times of fields", resolve.Input{Local: timed(data(1, 2), time.Hour, "a"), Remote: timed(data(2, 3), time.Minute, "b")}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			r := compile(b, resolve.Policy{Resolution: resolve.Newer})
			bench.in.Now = now
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Resolve(&bench.in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
