package hub

import (
	"fmt"
	"testing"

	"github.com/gapless-sync/gapless"
)

// BenchmarkRanges measures a million records of about 200 bytes: what sums of
// ranges cost the first time, behind some scattered changes, and with nothing
// new.
func BenchmarkRanges(b *testing.B) {
	const records, changes = 1 << 20, 100
	h, err := Open(b.Context(), Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	s := session(b, h, "bench", 1)
	in := &gapless.Batch{Partition: items}
	row := func(i, n int) {
		in.Append(gapless.Change{Record: gapless.Record{
			Key:  fmt.Sprintf("key-%016x", uint64(i)*0x9E3779B97F4A7C15),
			Data: fmt.Appendf(nil, `{"id":%d,"n":%d,"note":"%0150d"}`, i, n, i),
		}})
	}
	send := func() {
		if _, err := s.Push(b.Context(), in); err != nil {
			b.Fatal(err)
		}
		in.Reset()
		in.Partition = items
	}
	for i := range records {
		if row(i, 0); i%benchRows == benchRows-1 {
			send()
		}
	}
	syncNow(b, s)
	of := h.names.collection("bench", items.Collection)
	measure := func(name string, prepare func(n int), run func() error) {
		b.Run(name, func(b *testing.B) {
			read, n := uint64(0), 0
			for b.Loop() {
				b.StopTimer()
				prepare(n)
				before := of.sums.read.Load()
				b.StartTimer()
				if err := run(); err != nil {
					b.Fatal(err)
				}
				read += of.sums.read.Load() - before
				n++
			}
			b.ReportMetric(float64(read)/float64(n), "records/op")
		})
	}
	nothing := func(int) {}
	sum := func() error {
		_, err := s.Sum(b.Context(), items, gapless.KeyRange{}, nil)
		return err
	}
	splitAndSum := func(n int) func() error {
		return func() error {
			cuts, err := s.Split(b.Context(), items, gapless.KeyRange{}, n)
			if err == nil {
				_, err = s.Sum(b.Context(), items, gapless.KeyRange{}, cuts)
			}
			return err
		}
	}
	measure("enumerate", nothing, func() error {
		return s.Enumerate(b.Context(), items, func(_, _ []byte) error { return nil })
	})
	measure("contents", nothing, func() error {
		return s.Contents(b.Context(), items, gapless.KeyRange{}, func([]byte, gapless.Hash128) error { return nil })
	})
	measure("first", nothing, func() error { return h.Recount(b.Context(), "bench", items.Collection) })
	measure("changed", func(n int) {
		for i := range changes {
			row(i*(records/changes)+n%(records/changes), n+1)
		}
		send()
		syncNow(b, s)
	}, sum)
	measure("nothing new", nothing, sum)
	measure("split in 100", nothing, splitAndSum(100))
	measure("split in 8192", nothing, splitAndSum(8192))
}
