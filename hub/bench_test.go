package hub

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gapless-sync/gapless"
)

const (
	benchRows  = 4096
	benchSync  = 100_000
	benchBytes = 300
)

// benchBatch fills b with rows from n on: keys in order, or spread by a
// bijection of the row's number.
func benchBatch(b *gapless.Batch, n int, random bool) {
	b.Reset()
	b.Partition = gapless.Partition{ID: "items", Collection: "items"}
	for i := n; i < n+benchRows; i++ {
		number := uint64(i)
		if random {
			number *= 0x9E3779B97F4A7C15
		}
		row := gapless.Row{}
		off := len(b.Buf)
		b.Buf = fmt.Appendf(b.Buf, "key-%016x", number)
		row.Key = gapless.Span{Off: uint32(off), Len: uint32(len(b.Buf) - off)}
		off = len(b.Buf)
		b.Buf = fmt.Appendf(b.Buf, `{"id":%d,"name":"item %d","note":"`, i, number)
		for k := 0; len(b.Buf)-off < benchBytes-2; k++ {
			b.Buf = append(b.Buf, 'a'+byte((number>>(k%60))&15))
		}
		b.Buf = append(b.Buf, '"', '}')
		row.Data = gapless.Span{Off: uint32(off), Len: uint32(len(b.Buf) - off)}
		b.AppendRow(row)
	}
}

// BenchmarkPush compares the hub with the bare store under it: the same
// records, batches, syncs and settings.
func BenchmarkPush(b *testing.B) {
	for _, keys := range []string{"ordered", "random"} {
		b.Run("hub/"+keys, func(b *testing.B) { benchHub(b, keys == "random") })
		b.Run("pebble/"+keys, func(b *testing.B) { benchPebble(b, keys == "random") })
		b.Run("pebble-again/"+keys, func(b *testing.B) { benchPebble(b, keys == "random") })
	}
}

func benchHub(b *testing.B, random bool) {
	h, err := Open(b.Context(), Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	s, err := h.Open(b.Context(), "bench", 1)
	if err != nil {
		b.Fatal(err)
	}
	benchLoop(b, random, func(batch *gapless.Batch) error {
		_, err := s.Push(b.Context(), batch)
		return err
	}, func() error {
		_, err := s.Sync(b.Context(), []gapless.Checkpoint{{Partition: "items", Position: "p"}})
		return err
	})
}

func benchPebble(b *testing.B, random bool) {
	o := Options{Dir: b.TempDir()}
	o.setDefaults()
	st, err := openStore(&o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.close() })
	benchLoop(b, random, func(batch *gapless.Batch) error {
		out := st.db.NewBatchWithSize(len(batch.Buf) + 16*len(batch.Rows))
		for i := range batch.Rows {
			key, data := batch.Key(i), batch.Data(i)
			op := out.SetDeferred(len(key), len(data))
			copy(op.Key, key)
			copy(op.Value, data)
			if err := op.Finish(); err != nil {
				return err
			}
		}
		if err := out.Commit(pebble.NoSync); err != nil {
			return err
		}
		return out.Close()
	}, func() error { return st.db.Set([]byte("z"), binary.BigEndian.AppendUint64(nil, 1), pebble.Sync) })
}

// BenchmarkPushIf replaces records that are there already, with and without
// looking at them.
func BenchmarkPushIf(b *testing.B) {
	for _, keys := range []string{"ordered", "random"} {
		b.Run("push/"+keys, func(b *testing.B) { benchReplace(b, keys == "random", false) })
		b.Run("push-if/"+keys, func(b *testing.B) { benchReplace(b, keys == "random", true) })
	}
}

func benchReplace(b *testing.B, random, conditional bool) {
	const records = 50 * benchRows
	h := open(b, Options{})
	s := session(b, h, "bench", 1)
	batch := &gapless.Batch{}
	for n := 0; n < records; n += benchRows {
		benchBatch(batch, n, random)
		if _, err := s.Push(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := h.store.db.Flush(); err != nil {
		b.Fatal(err)
	}
	expect := make([]gapless.Expectation, benchRows)
	turn := 0
	benchLoop(b, random, func(batch *gapless.Batch) error {
		benchBatch(batch, turn%records, random)
		turn += benchRows
		if !conditional {
			_, err := s.Push(b.Context(), batch)
			return err
		}
		for i := range expect {
			expect[i] = gapless.Expectation{Exists: true, Data: batch.Data(i)}
		}
		receipt, err := s.PushIf(b.Context(), batch, expect)
		if len(receipt.Rejected) > 0 {
			b.Fatal(receipt.Rejected[0].Err)
		}
		return err
	}, func() error {
		_, err := s.Sync(b.Context(), nil)
		return err
	})
}

func benchLoop(b *testing.B, random bool, push func(*gapless.Batch) error, sync func() error) {
	batch := &gapless.Batch{}
	b.SetBytes(benchBytes)
	b.ReportAllocs()
	b.ResetTimer()
	since := 0
	for n := 0; n < b.N; n += benchRows {
		b.StopTimer()
		benchBatch(batch, n, random)
		b.StartTimer()
		if err := push(batch); err != nil {
			b.Fatal(err)
		}
		if since += benchRows; since >= benchSync {
			since = 0
			if err := sync(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := sync(); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
