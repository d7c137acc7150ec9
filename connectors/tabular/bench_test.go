//go:build unix

package tabular

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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

// cpuTime is the CPU time of this process so far: other than the time of day it
// does not depend on what else the machine is doing.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func report(b *testing.B, started time.Duration, unit string) {
	b.Helper()
	b.ReportMetric(float64(cpuTime(b)-started)/float64(b.N)/benchRecords, unit)
}

// BenchmarkBareLoop is what reading, validating and finding the key costs at
// least.
func BenchmarkBareLoop(b *testing.B) {
	path := sampleFile(b)
	b.ReportAllocs()
	started := cpuTime(b)
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for r := bufio.NewReaderSize(f, 256<<10); ; n++ {
			line, err := r.ReadSlice('\n')
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || !gjson.ValidBytes(line) || gjson.GetBytes(line, "id").String() == "" {
				b.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
		if n != benchRecords {
			b.Fatal(n)
		}
	}
	report(b, started, "cpu-ns/record")
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
	started := cpuTime(b)
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
	report(b, started, "cpu-ns/record")
}

// BenchmarkReadCSV reads the same number of rows of about 150 bytes.
func BenchmarkReadCSV(b *testing.B) {
	var text strings.Builder
	text.WriteString("id,name,active,score,owner,mail,updated_at,description\n")
	for i := range benchRecords {
		fmt.Fprintf(&text, "rec-%09d,Asset number %d,true,%d.25,Some Body,some.body@example.org,2026-01-02T03:04:05Z,\"A line of text, quoted, of some length\"\n", i, i, i%1000)
	}
	path := filepath.Join(b.TempDir(), "sample.csv")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	benchmarkRead(b, CSV(), path)
}

// batches returns the sample as a reader cuts it.
func batches(b *testing.B, path string) []*gapless.Batch {
	b.Helper()
	s, err := JSONL().Source.Open(b.Context(), map[string]any{"path": path}, gapless.Env{})
	if err != nil {
		b.Fatal(err)
	}
	var list []*gapless.Batch
	out := gapless.NewOutput(b.Context(), partition, 0, 0, func(_ context.Context, full *gapless.Batch) (*gapless.Batch, error) {
		list = append(list, full)
		return &gapless.Batch{}, nil
	})
	if err := errors.Join(s.ReadAll(b.Context(), partition, "", out), out.Flush()); err != nil {
		b.Fatal(err)
	}
	return list
}

// BenchmarkWriteOnly writes the sample's bytes, a batch at a time.
func BenchmarkWriteOnly(b *testing.B) {
	list := batches(b, sampleFile(b))
	started := cpuTime(b)
	for b.Loop() {
		f, err := os.Create(filepath.Join(b.TempDir(), "out"))
		if err != nil {
			b.Fatal(err)
		}
		for _, batch := range list {
			if _, err := f.Write(batch.Buf); err != nil {
				b.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, started, "cpu-ns/record")
}

// BenchmarkPush is what the first load costs: pushing, and publishing apart.
func BenchmarkPush(b *testing.B) {
	list := batches(b, sampleFile(b))
	var pushing, syncing time.Duration
	b.ReportAllocs()
	for b.Loop() {
		s := openStore(b, JSONL(), map[string]any{"path": filepath.Join(b.TempDir(), "out.jsonl")})
		opened := begin(b, s, 1)
		started := cpuTime(b)
		for _, batch := range list {
			if _, err := opened.Push(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
		}
		pushing += cpuTime(b) - started
		started = cpuTime(b)
		finish(b, opened, 1)
		syncing += cpuTime(b) - started
	}
	b.ReportMetric(float64(pushing.Nanoseconds())/float64(b.N)/benchRecords, "push-cpu-ns/record")
	b.ReportMetric(float64(syncing.Nanoseconds())/float64(b.N)/benchRecords, "sync-cpu-ns/record")
}

// BenchmarkJudge is the part of publishing that finds out which lines stay.
func BenchmarkJudge(b *testing.B) {
	s := openStore(b, JSONL(), map[string]any{"path": filepath.Join(b.TempDir(), "out.jsonl")})
	opened := begin(b, s, 1)
	for _, batch := range batches(b, sampleFile(b)) {
		if _, err := opened.Push(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := opened.Sync(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	if err := opened.segment.sync(s); err != nil {
		b.Fatal(err)
	}
	m := opened.meta.clone()
	m.hold(opened.segment.extent())
	b.ReportAllocs()
	started := cpuTime(b)
	for b.Loop() {
		if v, err := s.judge(b.Context(), m); err != nil || !v.clean {
			b.Fatal(err)
		}
	}
	report(b, started, "cpu-ns/record")
}

// BenchmarkChangeOnePercent merges 2,000 changes into 200,000 lines.
func BenchmarkChangeOnePercent(b *testing.B) {
	s := openStore(b, JSONL(), map[string]any{"path": filepath.Join(b.TempDir(), "out.jsonl")})
	opened := begin(b, s, 1)
	list := batches(b, sampleFile(b))
	for _, batch := range list {
		if _, err := opened.Push(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	finish(b, opened, 1)
	changes := &gapless.Batch{Partition: partition}
	for i := range 2000 {
		from := list[i%len(list)]
		changes.Append(from.Change(i / len(list) * 50 % from.Len()))
	}
	b.ReportAllocs()
	epoch := uint64(1)
	started := cpuTime(b)
	for b.Loop() {
		epoch++
		opened := begin(b, s, epoch)
		if _, err := opened.Push(b.Context(), changes); err != nil {
			b.Fatal(err)
		}
		finish(b, opened, epoch)
	}
	report(b, started, "cpu-ns/line")
}
