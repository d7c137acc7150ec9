package delta_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
)

const benchRecords = 1_000_000

// benchMemory is what an engine would allow.
const benchMemory = 64 << 20

// rows is an enumeration in the order of a source, which is not that of hashes.
type rows struct {
	keys   [][]byte
	hashes []gapless.Hash128
}

func newRows(n int, key func(i int, random *rand.Rand) []byte) rows {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same keys every time
	r := rows{keys: make([][]byte, n), hashes: make([]gapless.Hash128, n)}
	for i := range n {
		r.keys[i] = key(i, random)
		r.hashes[i] = gapless.Hash128{Hi: random.Uint64(), Lo: random.Uint64()}
	}
	return r
}

func shortKey(i int, _ *rand.Rand) []byte { return fmt.Appendf(nil, "asset-%06d", i) }

func longKey(_ int, random *rand.Rand) []byte {
	var key []byte
	for range 8 {
		key = binary.BigEndian.AppendUint64(key, random.Uint64())
	}
	return key
}

func create(b *testing.B, name string) *os.File {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), name))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return f
}

func openTable(b *testing.B, f *os.File) *delta.Table {
	b.Helper()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		b.Fatal(err)
	}
	t, err := delta.OpenTable(f, size)
	if err != nil {
		b.Fatal(err)
	}
	return t
}

// meter measures the processor time and heap of what is between start and
// stop.
type meter struct {
	floor, peak uint64
	began       time.Duration
	spent       time.Duration
	runs        int
}

func (m *meter) start() {
	debug.FreeOSMemory()
	m.floor, m.peak = 0, 0
	m.sample()
	m.floor = m.peak
	m.began = processorTime()
}

func (m *meter) sample() {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m.peak = max(m.peak, s.HeapInuse)
}

func (m *meter) stop(b *testing.B, records int) {
	b.Helper()
	m.spent += processorTime() - m.began
	m.runs++
	m.sample()
	b.ReportMetric(float64(m.spent.Nanoseconds())/float64(m.runs)/float64(records), "cpu-ns/record")
	b.ReportMetric(float64(m.peak-m.floor)/(1<<20), "peak-MiB")
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func run(b *testing.B, base *delta.Table, r rows, changed int, m *meter, table io.Writer) {
	b.Helper()
	c := delta.New(base, create(b, "log"), benchMemory)
	for i := range r.keys {
		content := uint64(i) + 1
		if changed > 0 && i%100 < changed {
			content++
		}
		if _, err := c.Add(r.keys[i], r.hashes[i], content, uint64(i)); err != nil {
			b.Fatal(err)
		}
		if i%200_000 == 0 {
			m.sample()
		}
	}
	if err := c.Finish(func() (delta.File, error) { return create(b, "scratch"), nil }); err != nil {
		b.Fatal(err)
	}
	m.sample()
	if err := c.Absent(func(key []byte) error { return fmt.Errorf("%s is absent", key) }); err != nil {
		b.Fatal(err)
	}
	if table != nil {
		if err := c.WriteTable(table, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkComparison(b *testing.B) {
	for _, keys := range []struct {
		name string
		key  func(int, *rand.Rand) []byte
	}{{"short", shortKey}, {"random64", longKey}} {
		r := newRows(benchRecords, keys.key)
		base := create(b, "base")
		var m meter
		b.Run(keys.name+"/first", func(b *testing.B) {
			m = meter{}
			for b.Loop() {
				m.start()
				run(b, nil, r, 0, &m, create(b, "table"))
				m.stop(b, benchRecords)
			}
		})
		run(b, nil, r, 0, &m, base)
		for _, changed := range []int{0, 1, 100} {
			b.Run(fmt.Sprintf("%s/changed=%d%%", keys.name, changed), func(b *testing.B) {
				m = meter{}
				for b.Loop() {
					m.start()
					run(b, openTable(b, base), r, changed, &m, nil)
					m.stop(b, benchRecords)
				}
			})
		}
		b.Run(keys.name+"/changed=1%/table", func(b *testing.B) {
			m = meter{}
			for b.Loop() {
				m.start()
				run(b, openTable(b, base), r, 1, &m, create(b, "table"))
				m.stop(b, benchRecords)
			}
		})
	}
}
