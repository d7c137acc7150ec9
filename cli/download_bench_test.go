package cli_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/connectors/pacifica/server"
)

// BenchmarkDownload has the command bring files from a cart server in this
// process and, in turns with it, a bare loop order the same files in one cart,
// read the stream of it, hash and write them, and make each large file durable.
// Nothing is removed in between: ext4 spares what was used by files that were
// removed a moment ago, and is many times slower in looking for something else.
func BenchmarkDownload(b *testing.B) {
	for _, tt := range []struct {
		name        string
		files, size int
	}{{"10000x4KiB", 10_000, 4 << 10}, {"1x1GiB", 1, 1 << 30}} {
		b.Run(tt.name, func(b *testing.B) {
			dir := b.TempDir()
			event, order := shelve(b, dir, tt.files, tt.size)
			files, err := server.OpenFolder(filepath.Join(dir, "shelf"))
			if err != nil {
				b.Fatal(err)
			}
			defer files.Close()
			s, err := server.New(server.Options{Files: files, Dir: filepath.Join(dir, "carts")})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			web := httptest.NewServer(s)
			defer web.Close()
			var ours, bare, ourCPU time.Duration
			for run := 0; b.Loop(); run++ {
				to := filepath.Join(dir, fmt.Sprint("to", run))
				start := time.Now()
				cmd := exec.Command("gapless", "download", "--event", event, "--cart", web.URL, "--to", to)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				ours += time.Since(start)
				ourCPU += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
				start = time.Now()
				bareLoop(b, web.URL+fmt.Sprintf("/cart%d", run), order, to+"bare")
				bare += time.Since(start)
			}
			n := float64(b.N)
			b.ReportMetric(float64(tt.files)*n/ours.Seconds(), "files/s")
			b.ReportMetric(float64(tt.files*tt.size)*n/ours.Seconds()/1e6, "MB/s")
			b.ReportMetric(float64(tt.files*tt.size)*n/bare.Seconds()/1e6, "bare-MB/s")
			b.ReportMetric(bare.Seconds()/ours.Seconds(), "ratio")
			b.ReportMetric(ourCPU.Seconds()/n, "CPU-s")
		})
	}
}

// shelve makes files, and returns the name of the event about them and the order
// of a cart of them all.
func shelve(b *testing.B, dir string, files, size int) (event string, order []byte) {
	b.Helper()
	var list, ordered []any
	content := make([]byte, size)
	for i := range files {
		for j := 0; j < size; j += 97 {
			content[j] = byte(i*31 + j*7)
		}
		subdir, name := fmt.Sprintf("%02d", i%100), fmt.Sprintf("%05d", i)
		if err := os.MkdirAll(filepath.Join(dir, "shelf", subdir), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "shelf", subdir, name), content, 0o600); err != nil {
			b.Fatal(err)
		}
		sum := sha1.Sum(content)
		hash := hex.EncodeToString(sum[:])
		list = append(list, map[string]any{
			"destinationTable": "Files", "_id": i + 1, "subdir": subdir, "name": name, "size": size, "hashtype": "sha1", "hashsum": hash,
		})
		ordered = append(ordered, map[string]any{"id": i + 1, "path": subdir + "/" + name, "hashtype": "sha1", "hashsum": hash})
	}
	doc, err := json.Marshal(map[string]any{"specversion": "1.0", "type": "ingest", "source": "bench", "id": "1", "data": list})
	if err != nil {
		b.Fatal(err)
	}
	event = filepath.Join(dir, "event.json")
	if err := os.WriteFile(event, doc, 0o600); err != nil {
		b.Fatal(err)
	}
	order, err = json.Marshal(map[string]any{"fileids": ordered})
	if err != nil {
		b.Fatal(err)
	}
	return event, order
}

// bareLoop orders a cart, waits for it, and unpacks it.
func bareLoop(b *testing.B, cart string, order []byte, to string) {
	b.Helper()
	ask := func(method, query string, body []byte, status int) *http.Response {
		request, err := http.NewRequestWithContext(b.Context(), method, cart+query, bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil || response.StatusCode != status {
			b.Fatal(method, response, err)
		}
		return response
	}
	_ = ask(http.MethodPost, "", order, http.StatusCreated).Body.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for state := ""; state != "ready"; <-tick.C {
		response := ask(http.MethodHead, "", nil, http.StatusNoContent)
		state = response.Header.Get("X-Pacifica-Status")
		_ = response.Body.Close()
	}
	response := ask(http.MethodGet, "?filename=x", nil, http.StatusOK)
	defer response.Body.Close()
	buf := make([]byte, 256<<10)
	h := sha1.New()
	for r := tar.NewReader(response.Body); ; {
		header, err := r.Next()
		if err == io.EOF { //nolint:errorlint // it is returned as it is
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		name := filepath.Join(to, filepath.FromSlash(header.Name))
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o700)
		} else {
			err = unpack(name, r, h, buf, header.Size >= 1<<20)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func unpack(name string, r io.Reader, h io.Writer, buf []byte, durable bool) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.CopyBuffer(io.MultiWriter(file, h), struct{ io.Reader }{r}, buf); err != nil || !durable {
		return err
	}
	return file.Sync()
}
