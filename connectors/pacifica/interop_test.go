package pacifica

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	service "github.com/gapless-sync/gapless/connectors/pacifica/server"
	"github.com/gapless-sync/gapless/transfer"
)

// fuse fails what a server writes, all of it together, beyond so many bytes.
type fuse struct {
	http.ResponseWriter
	left *atomic.Int64
}

func (f fuse) Write(p []byte) (int, error) {
	if f.left.Add(-int64(len(p))) < 0 {
		return 0, io.ErrClosedPipe
	}
	return f.ResponseWriter.Write(p)
}

func (f fuse) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// meter counts what comes by a connection. What a server has sent and a broken
// connection has lost is not in it.
type meter struct {
	net.Conn
	came *atomic.Int64
}

func (m meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.came.Add(int64(n))
	return n, err
}

// ownServer is our cart server over a folder of files.
type ownServer struct {
	*httptest.Server
	left atomic.Int64 // bytes that it may send
}

func newOwnServer(t testing.TB, root string) *ownServer {
	t.Helper()
	folder, err := service.OpenFolder(root)
	if err != nil {
		t.Fatal(err)
	}
	carts, err := service.New(service.Options{Files: folder, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := &ownServer{}
	s.left.Store(math.MaxInt64)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		carts.ServeHTTP(fuse{w, &s.left}, r)
	}))
	t.Cleanup(func() {
		s.Close()
		_ = carts.Close()
		_ = folder.Close()
	})
	return s
}

// fill writes files and returns the list of them, with their paths as ids.
func fill(t testing.TB, root string, files, size int) (list []transfer.File, contents map[string]string) {
	t.Helper()
	contents = map[string]string{}
	noise := rand.NewChaCha8([32]byte{7})
	text := make([]byte, size)
	for i := range files {
		path := fmt.Sprintf("d%d/f%d.bin", i%10, i)
		_, _ = noise.Read(text)
		must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o700))
		must(t, os.WriteFile(filepath.Join(root, path), text, 0o600))
		contents[path] = string(text)
		list = append(list, transfer.File{Path: path, Size: int64(size), Algorithm: "sha1", Hash: sha1Of(contents[path]), Origin: path})
	}
	return list, contents
}

// TestOwnServer downloads from our own server, by several carts at a time.
func TestOwnServer(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	files, contents := fill(t, root, 40, 1000)
	s := newOwnServer(t, root)
	d, dir := newDownloader(t, CartOptions{URL: s.URL, Access: Access{getenv: noEnv}})
	report, err := d.Files(t.Context(), seqOf(files), DownloadOptions{Job: transfer.Job{Group: 7}})
	must(t, err)
	check(t, dir, contents)
	if report.Fetched != 40 || report.Unexpected != 0 {
		t.Errorf("%+v", report)
	}
	must(t, os.WriteFile(filepath.Join(root, "d3/f3.bin"), []byte("changed"), 0o600))
	must(t, os.RemoveAll(dir))
	report, err = d.Files(t.Context(), seqOf(files), DownloadOptions{Job: transfer.Job{Attempts: 1}})
	if gapless.ExitCode(err) != gapless.ExitRecoverable || report.Failed != 1 || report.Failures[0].Path != "d3/f3.bin" {
		t.Errorf("%+v, %v", report, err)
	}
	delete(contents, "d3/f3.bin")
	check(t, dir, contents)
}

// TestBrokenOffAndContinued breaks a download off at several places and begins it
// anew: a twentieth of the bytes at most comes twice.
func TestBrokenOffAndContinued(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	files, contents := fill(t, root, 3, 12<<20)
	s := newOwnServer(t, root)
	whole := int64(36 << 20)
	for _, at := range []int64{1 << 20, 13 << 20, 20 << 20, 35 << 20} {
		s.left.Store(at)
		d, dir := newDownloader(t, CartOptions{URL: s.URL, Access: Access{Retries: -1, Timeout: 20 * time.Second, getenv: noEnv}})
		var came atomic.Int64
		d.carts.server.door.home.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return meter{c, &came}, err
		}
		_, err := d.Files(t.Context(), seqOf(files), DownloadOptions{Job: transfer.Job{Attempts: 1, Streams: 1}})
		if gapless.ExitCode(err) != gapless.ExitRecoverable {
			t.Errorf("broken off at %d: %v", at, err)
		}
		s.left.Store(math.MaxInt64)
		_, err = d.Files(t.Context(), seqOf(files), DownloadOptions{Job: transfer.Job{Streams: 1}})
		must(t, err)
		check(t, dir, contents)
		if n := came.Load(); n > whole+whole/20 || n < whole {
			t.Errorf("broken off at %d: %d bytes came for %d", at, n, whole)
		}
	}
}

// BenchmarkDownload brings 10,000 files of 4 KiB from our own server on the same
// machine: ordered, staged, verified at both ends and durable.
func BenchmarkDownload(b *testing.B) {
	root := b.TempDir()
	files, _ := fill(b, root, 10_000, 4<<10)
	s := newOwnServer(b, root)
	for b.Loop() {
		d, err := NewDownloader(b.TempDir(), CartOptions{URL: s.URL})
		must(b, err)
		report, err := d.Files(b.Context(), seqOf(files), DownloadOptions{})
		must(b, err)
		must(b, d.Close())
		b.ReportMetric(float64(report.Fetched)/report.Duration.Seconds(), "files/s")
	}
}
