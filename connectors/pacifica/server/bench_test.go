package server_test

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/connectors/pacifica/server"
)

// BenchmarkDownload fetches the archive of a cart and, in turns with it, a
// ready archive of the same bytes by http.ServeContent, which neither opens
// files nor hashes anything. A client that throws away what it reads is on the
// same machine.
func BenchmarkDownload(b *testing.B) {
	for _, tt := range []struct {
		name     string
		files    int
		fileSize int
	}{{"1x1GiB", 1, 1 << 30}, {"10000x4KiB", 10_000, 4 << 10}} {
		b.Run(tt.name, func(b *testing.B) {
			f := serve(b, server.Options{})
			list := fill(b, f.root, tt.files, tt.fileSize)
			start := time.Now()
			f.ready(b, "cart", list...)
			staging := time.Since(start)
			ready := filepath.Join(b.TempDir(), "ready.tar")
			save(b, f, "cart?filename=x", ready)
			bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				file, err := os.Open(ready)
				if err != nil {
					panic(http.ErrAbortHandler)
				}
				defer file.Close()
				http.ServeContent(w, r, "", time.Time{}, file)
			}))
			defer bare.Close()
			var ours, theirs time.Duration
			var size int64
			for b.Loop() {
				start := time.Now()
				size = fetch(b, f.client, f.address+"cart?filename=x")
				ours += time.Since(start)
				start = time.Now()
				if n := fetch(b, f.client, bare.URL); n != size {
					b.Fatal(n, size)
				}
				theirs += time.Since(start)
			}
			b.ReportMetric(float64(size)*float64(b.N)/ours.Seconds()/1e6, "MB/s")
			b.ReportMetric(float64(tt.files)*float64(b.N)/ours.Seconds(), "files/s")
			b.ReportMetric(float64(size)*float64(b.N)/theirs.Seconds()/1e6, "bare-MB/s")
			b.ReportMetric(float64(tt.files*tt.fileSize)/staging.Seconds()/1e6, "staged-MB/s")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
		})
	}
}

// fill writes files of pseudo-random bytes and returns the order for them.
func fill(b *testing.B, dir string, files, size int) (list []ordered) {
	b.Helper()
	content := make([]byte, size)
	for i := range files {
		for j := 0; j < size; j += 97 {
			content[j] = byte(i*31 + j*7)
		}
		path := fmt.Sprintf("%02d/%05d", i%100, i)
		if err := os.MkdirAll(filepath.Join(dir, path[:2]), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), content, 0o600); err != nil {
			b.Fatal(err)
		}
		sum := sha1.Sum(content)
		list = append(list, ordered{path, path, "sha1", hex.EncodeToString(sum[:])})
	}
	return list
}

func save(b *testing.B, f *fixture, path, name string) {
	b.Helper()
	file, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	response := f.open(b, "GET", path, "")
	_, err = io.Copy(file, response.Body)
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
	if err != nil || response.Body.Close() != nil {
		b.Fatal(err)
	}
}

// fetch reads an answer to its end and returns its size.
func fetch(b *testing.B, client *http.Client, address string) int64 {
	b.Helper()
	response, err := client.Get(address)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, response.Body, make([]byte, 256<<10))
	if err != nil || response.StatusCode != http.StatusOK {
		b.Fatal(response.Status, err)
	}
	return n
}
