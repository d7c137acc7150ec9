package tabular

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

const benchRecords = 200_000

// sample returns n JSON lines of about 300 bytes.
func sample(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `{"id":"rec-%09d","name":"Asset number %d","active":true,"score":%d.25,"tags":["alpha","beta","gamma"],"owner":{"name":"Some Body","mail":"some.body@example.org"},"updated_at":"2026-01-02T03:04:05Z","description":"A line of text that makes the record about three hundred bytes long, no more"}`+"\n", i, i, i%1000)
	}
	return text.String()
}

func sampleFile(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "sample.jsonl")
	if err := os.WriteFile(path, []byte(sample(benchRecords)), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkBareLoop is what reading, validating and finding the key costs at
// least.
func BenchmarkBareLoop(b *testing.B) {
	path := sampleFile(b)
	b.ReportAllocs()
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for r := bufio.NewReaderSize(f, 256<<10); ; n++ {
			line, err := r.ReadSlice('\n')
			if err == io.EOF {
				break
			}
			if err != nil || !gjson.ValidBytes(line) || gjson.GetBytes(line, "id").String() == "" {
				b.Fatal(err)
			}
		}
		f.Close()
		if n != benchRecords {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

func BenchmarkReadJSONL(b *testing.B) {
	benchmarkRead(b, JSONL(), sampleFile(b))
}

func benchmarkRead(b *testing.B, c gapless.Connector, path string) {
	b.Helper()
	s, err := c.Source.Open(b.Context(), map[string]any{"path": path}, gapless.Env{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	spare := &gapless.Batch{}
	for b.Loop() {
		n := 0
		out := gapless.NewOutput(b.Context(), gapless.Partition{}, 0, 0, func(_ context.Context, full *gapless.Batch) (*gapless.Batch, error) {
			n += full.Len()
			empty := spare
			spare = full
			return empty, nil
		})
		if err := s.ReadAll(b.Context(), gapless.Partition{}, "", out); err != nil {
			b.Fatal(err)
		}
		if err := out.Flush(); err != nil || n != benchRecords {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}
