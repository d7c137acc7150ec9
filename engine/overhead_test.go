package engine_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/tabular"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// reportVariable names a file that tables for docs/reliability.md are appended
// to, a line of JSON for each row.
const reportVariable = "GAPLESS_REPORT"

// overheadRecords are of about 300 bytes, as those of make bench.
const overheadRecords = 50_000

// BenchmarkCertificates compares runs into a hub, with their certificates, with
// such as compute no digests. Both, and one more with certificates as a control,
// alternate; what is compared is the processor time of the whole process, which
// others on the machine disturb less than the time that passes.
func BenchmarkCertificates(b *testing.B) {
	lines := filepath.Join(b.TempDir(), "records.jsonl")
	if err := writeLines(lines); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		open func() (gapless.Source, error)
	}{
		{"full run, jsonl to hub", func() (gapless.Source, error) {
			return tabular.JSONL().Source.Open(context.Background(), map[string]any{"path": lines, "key": "id"}, gapless.Env{})
		}},
		{"changes, memory to hub", func() (gapless.Source, error) { return &changesInMemory{}, nil }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var certified, control, bare []time.Duration
			hashing := perRecord(hashingTime(b))
			for i := 0; b.Loop(); i++ {
				for turn := range 3 {
					switch (turn + i) % 3 { // so that each is first, second and third
					case 0:
						certified = append(certified, spentBy(b, c.open, false))
					case 1:
						bare = append(bare, spentBy(b, c.open, true))
					case 2:
						control = append(control, spentBy(b, c.open, false))
					}
				}
			}
			row := overheadRow{
				Table: "certificate-overhead", Case: c.name, Records: overheadRecords, Rounds: len(bare),
				Overhead: more(certified, bare), Control: more(control, certified), Nanoseconds: perRecord(slices.Min(bare)),
			}
			row.Digests = 100 * hashing / row.Nanoseconds
			b.ReportMetric(row.Overhead, "%-overhead")
			b.ReportMetric(row.Control, "%-control")
			b.ReportMetric(row.Digests, "%-digests")
			b.ReportMetric(row.Nanoseconds, "ns/record")
			if err := appendRow(row); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// overheadRow is what certificates cost in one case, in per cent.
type overheadRow struct {
	Table   string `json:"table"`
	Case    string `json:"case"`
	Records int    `json:"records"`
	Rounds  int    `json:"rounds"`
	// Overhead of runs with certificates over those without digests, and
	// Control: what two kinds of runs differ in that are the same.
	Overhead float64 `json:"overhead"`
	Control  float64 `json:"control"`
	// Digests is what hashing and adding up takes by itself, of the run.
	Digests float64 `json:"digests"`
	// Nanoseconds of processor time for a record, without digests.
	Nanoseconds float64 `json:"nanoseconds"`
}

// appendRow adds a row to the report, if one is asked for.
func appendRow(row any) error {
	path := os.Getenv(reportVariable)
	if path == "" {
		return nil
	}
	text, err := json.Marshal(row)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	return errors.Join(err, f.Close())
}

// more returns by how many per cent more some runs took than those of the same
// round, by the median: what the machine does otherwise is much the same within
// a round, and rounds in which it is not do not count.
func more(runs, others []time.Duration) float64 {
	var ratios []float64
	for i := range runs {
		ratios = append(ratios, float64(runs[i])/float64(others[i]))
	}
	slices.Sort(ratios)
	return 100 * (ratios[len(ratios)/2] - 1)
}

func perRecord(d time.Duration) float64 { return float64(d.Nanoseconds()) / overheadRecords }

// hashingTime is the least time that hashing all records and adding their
// hashes to both digests takes.
func hashingTime(b *testing.B) time.Duration {
	b.Helper()
	batch := &gapless.Batch{}
	for i := range 500 {
		line := appendRecord(nil, i)
		batch.Append(gapless.Change{Record: gapless.Record{Key: string(line[7:19]), Data: line}})
	}
	fastest := time.Hour
	for range 20 {
		var read, pushed proof.Digest
		began := time.Now()
		for range overheadRecords / batch.Len() {
			for i := range batch.Rows {
				delivery := proof.Delivery(proof.RowHash(batch, i))
				read.Add(delivery)
				pushed.Add(delivery)
			}
		}
		fastest = min(fastest, time.Since(began))
		if read != pushed || read.Count != overheadRecords {
			b.Fatal("digests differ")
		}
	}
	return fastest
}

// spentBy performs a run into a new hub. A source in memory has a full run of
// nothing before it.
func spentBy(b *testing.B, open func() (gapless.Source, error), undigested bool) time.Duration {
	b.Helper()
	dir, err := os.MkdirTemp(b.TempDir(), "")
	if err != nil {
		b.Fatal(err)
	}
	source, err := open()
	if err != nil {
		b.Fatal(err)
	}
	h, err := hub.Open(b.Context(), hub.Options{Dir: filepath.Join(dir, "hub")})
	if err != nil {
		b.Fatal(err)
	}
	store, err := sqlite.Open(b.Context(), filepath.Join(dir, "state"))
	if err != nil {
		b.Fatal(err)
	}
	e, err := engine.New(engine.Config{Connector: connector, Source: source, Destination: h, Store: store, Dir: filepath.Join(dir, "fingerprints")})
	if err != nil {
		b.Fatal(err)
	}
	if undigested {
		e.Undigested()
	}
	if m, ok := source.(*changesInMemory); ok {
		if _, err := e.Run(b.Context(), engine.RunOptions{}); err != nil {
			b.Fatal(err)
		}
		m.moved = true
	}
	before := processorTime(b)
	s, err := e.Run(b.Context(), engine.RunOptions{})
	spent := processorTime(b) - before
	if err != nil || s.Counts.Synced != overheadRecords {
		b.Fatalf("%d records are synced: %v", s.Counts.Synced, err)
	}
	if err := errors.Join(h.Close(), store.Close(), os.RemoveAll(dir)); err != nil {
		b.Fatal(err)
	}
	return spent
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func appendRecord(line []byte, i int) []byte {
	return fmt.Appendf(line, `{"id":"rec-%08x","name":"Asset number %d","active":true,"score":%d,"tags":["north","delta"],"owner":{"name":"quiet river","mail":"quiet@example.org"},`+
		`"updated_at":"2026-01-02T03:04:05Z","description":"tower glass paper amber field metal ocean alpha stone cloud seven green and so on"}`,
		uint32(i)*0x9e3779b1, i, i%1000)
}

func writeLines(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	var line []byte
	for i := range overheadRecords {
		line = append(appendRecord(line[:0], i), '\n')
		if _, err := w.Write(line); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// changesInMemory is a source that has nothing at first, and then tells all
// records as changes.
type changesInMemory struct{ moved bool }

func (m *changesInMemory) Describe(context.Context) (gapless.Description, error) {
	return gapless.Description{Model: gapless.ModelLog, Collections: []string{"r"}}, nil
}

func (m *changesInMemory) Position(context.Context, gapless.Partition) (gapless.Position, error) {
	return gapless.Position(fmt.Sprint("moved ", m.moved)), nil
}

func (m *changesInMemory) ReadAll(context.Context, gapless.Partition, gapless.Mark, *gapless.Output) error {
	return nil
}

func (m *changesInMemory) ReadChanges(_ context.Context, _ gapless.Partition, _, _ gapless.Position, out *gapless.Output) error {
	var line []byte
	for i := range overheadRecords {
		line = appendRecord(line[:0], i)
		if err := out.Upsert(gapless.Record{Key: string(line[7:19]), Data: line}); err != nil {
			return err
		}
	}
	return nil
}
