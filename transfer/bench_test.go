package transfer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// BenchmarkSmallFiles brings 10,000 files of 4 KiB as tar streams from a server,
// 500 at a time, and compares with a loop that unpacks the same streams one
// after the other and neither verifies anything nor makes it durable.
func BenchmarkSmallFiles(b *testing.B) {
	s := set{}
	for i := range 10_000 {
		path := fmt.Sprintf("folder%02d/file%05d.dat", i%20, i)
		s[path] = content(path, 4096)
	}
	files := s.files("")
	archives := map[string][]byte{}
	for at := 0; at < len(files); at += 500 {
		archives["/"+files[at].Path] = archiveOf(b, s, files[at:at+500])
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data := archives[r.URL.Path]
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data)
	}))
	defer server.Close()
	supplier := supplierFunc(func(ctx context.Context, files []Wanted, deliver Deliver) error {
		response, err := http.Get(server.URL + "/" + files[0].Path)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		return Untar(ctx, response.Body, withoutTop, deliver)
	})
	var bare, ours time.Duration
	for b.Loop() {
		dir := b.TempDir()
		begin := time.Now()
		for at := 0; at < len(files); at += 500 {
			bareUnpack(b, server.URL+"/"+files[at].Path, filepath.Join(dir, "bare"))
		}
		bare += time.Since(begin)
		begin = time.Now()
		report, err := Run(b.Context(), Job{Dir: dir, Files: listOf(files...), Supplier: supplier, Group: 500})
		if err != nil || report.Fetched != 10_000 {
			b.Fatal(report, err)
		}
		ours += time.Since(begin)
	}
	b.ReportMetric(float64(b.N)*10_000/ours.Seconds(), "files/s")
	b.ReportMetric(float64(b.N)*10_000/bare.Seconds(), "bare-files/s")
}

func bareUnpack(b *testing.B, url, dir string) {
	response, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	archive := tar.NewReader(response.Body)
	for {
		header, err := archive.Next()
		if err != nil {
			return
		}
		name := filepath.Join(dir, header.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		f, err := os.Create(name)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(f, archive); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLargeFile brings 1 GiB from a server, and compares with a loop that
// reads the same stream, hashes and writes it.
func BenchmarkLargeFile(b *testing.B) {
	const size = 1 << 30
	piece := content("piece", 1<<20)
	h := sha256.New()
	for range size / len(piece) {
		h.Write(piece)
	}
	file := File{Path: "large", Size: size, Algorithm: "sha256", Hash: fmt.Sprintf("%x", h.Sum(nil))}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		for range size / len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	file.Origin = server.URL
	var bare, ours time.Duration
	for b.Loop() {
		dir := b.TempDir()
		begin := time.Now()
		bareLoop(b, server.URL, filepath.Join(dir, "bare"))
		bare += time.Since(begin)
		if err := os.Remove(filepath.Join(dir, "bare")); err != nil {
			b.Fatal(err)
		}
		web := NewWeb(WebOptions{})
		begin = time.Now()
		if _, err := Run(b.Context(), Job{Dir: dir, Files: listOf(file), Supplier: web}); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(begin)
		_ = web.Close()
	}
	b.ReportMetric(float64(b.N)*size/1e6/ours.Seconds(), "MB/s")
	b.ReportMetric(float64(b.N)*size/1e6/bare.Seconds(), "bare-MB/s")
	b.ReportMetric(100*bare.Seconds()/ours.Seconds(), "%-of-bare")
}

// bareLoop makes what it wrote durable, as the transfer does.
func bareLoop(b *testing.B, url, name string) {
	response, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(io.MultiWriter(h, f), struct{ io.Reader }{response.Body}, make([]byte, pieceSize)); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkMillionFiles brings 1,000,000 small files, looks at them again and
// reports how much memory that took at most. It takes minutes.
func BenchmarkMillionFiles(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(peakOf(b, 1_000_000, 1_000_000))/(1<<20), "peak-MiB")
	}
}

func TestMemoryIsFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	if peak := peakOf(t, 3_000, 150_000); peak > 64<<20 {
		t.Errorf("%d MiB", peak>>20)
	}
}

// peakOf brings files twice, finds out how many of some would have to be
// brought, and returns the most memory that was in use.
func peakOf(t testing.TB, files, some int) uint64 {
	list := func(n int) iter.Seq2[File, error] {
		return func(yield func(File, error) bool) {
			for i := range n {
				path := fmt.Sprintf("folder/with/a/name/%04d/file-%09d.dat", i/1000, i)
				if !yield(fileOf(path, []byte(path)), nil) {
					return
				}
			}
		}
	}
	supplier := supplierFunc(func(_ context.Context, files []Wanted, deliver Deliver) error {
		for _, f := range files {
			if err := deliver(Content{Path: f.Path, Size: f.Size, Body: strings.NewReader(f.Path)}); err != nil {
				return err
			}
		}
		return nil
	})
	peak, seen := uint64(0), 0
	measure := func(Event) {
		if seen++; seen%1000 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.Sys-m.HeapReleased)
		}
	}
	job := Job{Dir: t.TempDir(), Files: list(files), Supplier: supplier, Group: 500, Events: measure}
	if report, err := Run(t.Context(), job); err != nil || report.Fetched != int64(files) {
		t.Fatal(report, err)
	}
	if report, err := Run(t.Context(), job); err != nil || report.Present != int64(files) {
		t.Fatal(report, err)
	}
	job.Files, job.DryRun = list(some), true
	if report, err := Run(t.Context(), job); err != nil || report.Present != int64(files) || report.Missing != int64(some-files) {
		t.Fatal(report, err)
	}
	return peak
}
