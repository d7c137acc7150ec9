package delta_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
)

func keyOf(i int) string { return fmt.Sprintf("key-%d", i) }

// addAll adds the records from to to with content i+1.
func addAll(tb testing.TB, c *delta.Comparison, from, to int) {
	tb.Helper()
	for i := from; i < to; i++ {
		if _, err := c.Add([]byte(keyOf(i)), hashOf(keyOf(i)), uint64(i)+1, uint64(i)); err != nil {
			tb.Fatal(err)
		}
	}
}

// smallTable has n records and a label.
func smallTable(tb testing.TB, n int) *memory {
	tb.Helper()
	c, out := delta.New(nil, &memory{}, 1<<20), &memory{}
	addAll(tb, c, 0, n)
	if err := errors.Join(c.Finish(scratch), c.WriteTable(out, []byte("label"))); err != nil {
		tb.Fatal(err)
	}
	return out
}

// use does with a table whatever can be done, and returns the first error.
func use(file *memory, size int64, allowed int) error {
	t, err := delta.OpenTable(file, size)
	if err != nil {
		return err
	}
	c := delta.New(t, &memory{}, allowed)
	for i := range 3 {
		if _, _, err := t.Lookup(hashOf(keyOf(i))); err != nil {
			return err
		}
		if _, err := c.Add([]byte(keyOf(i)), hashOf(keyOf(i)), 9, 0); err != nil {
			return err
		}
	}
	if err := c.Finish(scratch); err != nil {
		return err
	}
	if err := c.Absent(func([]byte) error { return nil }); err != nil {
		return err
	}
	return c.WriteTable(io.Discard, nil)
}

func isDamage(err error) bool {
	e, ok := errors.AsType[*gapless.Error](err)
	return ok && (e.Code == gapless.CodeStoreDamaged && errors.Is(err, delta.ErrDamaged) || e.Code == gapless.CodeStoreVersion)
}

func TestEveryFlippedBitOfATableIsDetected(t *testing.T) {
	t.Parallel()
	good := smallTable(t, 100)
	if err := use(good, int64(len(good.data)), 0); err != nil {
		t.Fatal(err)
	}
	for at := range good.data {
		for _, allowed := range []int{0, 1 << 20} {
			bad := &memory{data: slices.Clone(good.data)}
			bad.data[at] ^= 1 << (at % 8)
			if err := use(bad, int64(len(bad.data)), allowed); !isDamage(err) {
				t.Errorf("flipped bit in byte %d with %d bytes of memory: error %v", at, allowed, err)
			}
		}
	}
}

func TestTruncatedTablesAreDetected(t *testing.T) {
	t.Parallel()
	good := smallTable(t, 100)
	for n := range good.data {
		if _, err := delta.OpenTable(&memory{data: good.data[:n]}, int64(n)); !isDamage(err) {
			t.Errorf("%d bytes are left: error %v", n, err)
		}
		if _, err := delta.OpenTable(&memory{data: good.data[:n]}, int64(len(good.data))); !isDamage(err) {
			t.Errorf("%d bytes are left, but more were promised: error %v", n, err)
		}
	}
	if _, err := delta.OpenTable(&memory{data: append(good.data, 0)}, int64(len(good.data)+1)); !isDamage(err) {
		t.Errorf("one byte too many: error %v", err)
	}
}

func TestLookupDetectsDamage(t *testing.T) {
	t.Parallel()
	file := smallTable(t, 1)
	table, err := file.table()
	if err != nil {
		t.Fatal(err)
	}
	for at := 8; at < 8+24+4; at++ { // the only record and its checksum
		file.data[at] ^= 1
		if _, _, err := table.Lookup(hashOf(keyOf(0))); !isDamage(err) {
			t.Errorf("flipped bit in byte %d: error %v", at, err)
		}
		file.data[at] ^= 1
	}
}

// indexOf returns where the index of a table begins.
func indexOf(data []byte) int { return int(binary.LittleEndian.Uint64(data[len(data)-28:])) }

// Tables whose checksums are right, but which nobody wrote.
func TestForgedTablesAreDetected(t *testing.T) {
	t.Parallel()
	good := smallTable(t, 65)
	tests := []struct {
		name  string
		forge func(data []byte)
	}{
		{"key beyond its block", func(data []byte) { data[8+64*24+4] = 0x7f }},
		{"endless length of a key", func(data []byte) {
			for i := range 12 {
				data[8+64*24+4+i] = 0xff
			}
		}},
		{"records out of order", func(data []byte) { copy(data[8+24:8+48], data[8+48:8+72]) }},
		{"block cut short", func(data []byte) { copy(data[indexOf(data)+24+16:], []byte{18, 0, 0, 0, 0, 0, 0, 0}) }},
		{"blocks that overlap", func(data []byte) {
			copy(data[indexOf(data)+24:], data[8+24:8+24+16])
			second := binary.LittleEndian.Uint64(data[indexOf(data)+24+16:])
			copy(data[second:], data[8+24:8+24+16])
		}},
		{"blocks out of order", func(data []byte) { copy(data[indexOf(data)+24:], data[indexOf(data):indexOf(data)+16]) }},
		{"another first record", func(data []byte) { data[8]++ }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, allowed := range []int{0, 1 << 20} {
				bad := &memory{data: slices.Clone(good.data)}
				tt.forge(bad.data)
				reseal(bad.data)
				if err := use(bad, int64(len(bad.data)), allowed); !isDamage(err) {
					t.Errorf("with %d bytes of memory: error %v", allowed, err)
				}
			}
		})
	}
}

func TestResumeRefusesTheLogOfALaterEnumeration(t *testing.T) {
	t.Parallel()
	table, err := smallTable(t, 1).table()
	if err != nil {
		t.Fatal(err)
	}
	log := &memory{}
	c := delta.New(table, log, 0)
	_, failed := c.Add([]byte(keyOf(0)), hashOf(keyOf(0)), 9, 0)
	size, err := c.Flush()
	if err := errors.Join(failed, err); err != nil {
		t.Fatal(err)
	}
	if _, err := delta.Resume(log, size, 0); !isDamage(err) {
		t.Errorf("error %v", err)
	}
}

func TestNewerTablesAreRefused(t *testing.T) {
	t.Parallel()
	file := smallTable(t, 1)
	file.data[7], file.data[len(file.data)-1] = 2, 2
	_, err := file.table()
	if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeStoreVersion {
		t.Errorf("error %v", err)
	}
}

func TestEveryFlippedBitOfALogIsDetected(t *testing.T) {
	t.Parallel()
	log := &memory{}
	c := delta.New(nil, log, 1<<20)
	addAll(t, c, 0, 10)
	size, err := c.Flush()
	if err != nil {
		t.Fatal(err)
	}
	for at := range log.data {
		log.data[at] ^= 1 << (at % 8)
		if _, err := delta.Resume(log, size, 0); !isDamage(err) {
			t.Errorf("flipped bit in byte %d: error %v", at, err)
		}
		log.data[at] ^= 1 << (at % 8)
		if _, err := delta.Resume(&memory{data: log.data[:at]}, size, 0); !isDamage(err) {
			t.Errorf("%d bytes are left: error %v", at, err)
		}
	}
	if _, err := delta.Resume(log, size, 0); err != nil {
		t.Error(err)
	}
}

// A log cut off anywhere gives the keys that were written whole; a log altered
// anywhere is damaged, unless it looks cut off.
func TestLogKeysOfAKilledProcess(t *testing.T) {
	t.Parallel()
	log := &memory{}
	c := delta.New(nil, log, 0)
	var ends []int
	for i := range 5 {
		addAll(t, c, i, i+1)
		c.Distrust(hashOf(keyOf(i)))
		size, err := c.Flush()
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, int(size))
	}
	read := func(data []byte) (keys []string, err error) {
		err = delta.LogKeys(&memory{data: data}, int64(len(data)), func(key []byte) error {
			keys = append(keys, string(key))
			return nil
		})
		return keys, err
	}
	for n := range len(log.data) + 1 {
		var want []string
		for i, end := range ends {
			if end <= n {
				want = append(want, keyOf(i))
			}
		}
		if keys, err := read(log.data[:n]); err != nil || !slices.Equal(keys, want) {
			t.Errorf("%d bytes are left: keys %v, want %v, error %v", n, keys, want, err)
		}
	}
	for at := range ends[3] {
		frame := 8 // where the frame that byte at is in begins
		for _, end := range ends {
			if end <= at {
				frame = end
			}
		}
		if at == frame+1 || at == frame+2 {
			continue // a greater length looks cut off
		}
		bad := slices.Clone(log.data)
		bad[at] ^= 1
		if keys, err := read(bad); !isDamage(err) {
			t.Errorf("flipped bit in byte %d: keys %v, error %v", at, keys, err)
		}
	}
}

func TestDamagedScratchSpaceIsDetected(t *testing.T) {
	t.Parallel()
	c, runs := delta.New(nil, &memory{}, 1000), &memory{}
	addAll(t, c, 0, 100)
	if err := c.Finish(func() (delta.File, error) { return runs, nil }); err != nil {
		t.Fatal(err)
	}
	if len(runs.data) == 0 {
		t.Fatal("sorted without scratch space")
	}
	for at := range runs.data {
		runs.data[at] ^= 1 << (at % 8)
		if err := c.WriteTable(io.Discard, nil); !isDamage(err) {
			t.Errorf("flipped bit in byte %d: error %v", at, err)
		}
		runs.data[at] ^= 1 << (at % 8)
	}
	if err := c.WriteTable(io.Discard, nil); err != nil {
		t.Error(err)
	}
}

func TestBoastfulFootersAllocateLittle(t *testing.T) {
	good := smallTable(t, 3)
	footer := len(good.data) - 36
	for _, n := range []uint64{1 << 20, 1 << 40, math.MaxInt64, math.MaxUint64} {
		for field := range 3 {
			bad := &memory{data: slices.Clone(good.data)}
			binary.LittleEndian.PutUint64(bad.data[footer+8*field:], n)
			reseal(bad.data)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := bad.table()
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; !isDamage(err) || used > 1<<20 {
				t.Errorf("field %d is %d: %d bytes allocated, error %v", field, n, used, err)
			}
		}
	}
}

// reseal makes the checksums of a table right, as far as it can be understood.
func reseal(data []byte) {
	const footerBytes = 36
	end := uint64(len(data)) - footerBytes
	footer := data[end:]
	records, indexAt := binary.LittleEndian.Uint64(footer), binary.LittleEndian.Uint64(footer[8:])
	if indexAt > end {
		return
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	put := func(at uint64, p []byte) { binary.LittleEndian.PutUint32(data[at:], crc32.Checksum(p, table)) }
	put(end+24, slices.Clone(data[indexAt:end+24]))
	for at := indexAt; at+24 <= end && records > 0; at += 24 {
		from, to := binary.LittleEndian.Uint64(data[at+16:]), indexAt
		if records > 64 && at+48 <= end {
			to = binary.LittleEndian.Uint64(data[at+40:])
		}
		rows := min(records, 64)
		keys := from + rows*24 + 4
		if from > indexAt || to > indexAt || keys+4 > to {
			return
		}
		put(keys-4, data[from:keys-4])
		put(to-4, data[keys:to-4])
		records -= rows
	}
}

func FuzzOpenTable(f *testing.F) {
	for _, n := range []int{0, 1, 64, 65, 130} {
		f.Add(smallTable(f, n).data, false)
		f.Add(smallTable(f, n).data, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		data = slices.Clone(data)
		if sealed && len(data) >= 44 {
			reseal(data)
		}
		for _, allowed := range []int{0, 1 << 20} {
			if err := use(&memory{data: data}, int64(len(data)), allowed); err != nil && !isDamage(err) {
				t.Errorf("error %v", err)
			}
		}
	})
}

func FuzzResume(f *testing.F) {
	log := &memory{}
	c := delta.New(nil, log, 0)
	addAll(f, c, 0, 3)
	c.Distrust(hashOf(keyOf(1)))
	if _, err := c.Flush(); err != nil {
		f.Fatal(err)
	}
	f.Add(log.data, false)
	f.Add(log.data, true)
	long := slices.Clone(log.data)
	long[16+25+1] = 0x7f // the length of the first key
	f.Add(long, true)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		data = slices.Clone(data)
		if sealed && len(data) > 16 {
			binary.LittleEndian.PutUint32(data[8:], uint32(len(data)-16))
			binary.LittleEndian.PutUint32(data[12:], crc32.Checksum(data[16:], crc32.MakeTable(crc32.Castagnoli)))
		}
		for _, allowed := range []int{0, 1 << 20} {
			c, err := delta.Resume(&memory{data: data}, int64(len(data)), allowed)
			if err != nil {
				if !isDamage(err) {
					t.Errorf("error %v", err)
				}
				continue
			}
			var out bytes.Buffer
			if err := errors.Join(c.Finish(scratch), c.WriteTable(&out, nil)); err != nil {
				t.Fatal(err)
			}
			if _, err := delta.OpenTable(bytes.NewReader(out.Bytes()), int64(out.Len())); err != nil {
				t.Errorf("what was resumed cannot be opened: %v", err)
			}
		}
	})
}
