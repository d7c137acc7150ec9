package transfer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

// content is deterministic and does not compress.
func content(seed string, size int) []byte {
	key := sha256.Sum256([]byte(seed))
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

func fileOf(path string, data []byte) File {
	sum := sha256.Sum256(data)
	return File{Path: path, Size: int64(len(data)), Algorithm: "sha256", Hash: hex.EncodeToString(sum[:]), Origin: path}
}

func listOf(files ...File) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for _, f := range files {
			if !yield(f, nil) {
				return
			}
		}
	}
}

// set is contents by path.
type set map[string][]byte

func (s set) files(base string) []File {
	var files []File
	for path, data := range s {
		f := fileOf(path, data)
		f.Origin = base + path
		files = append(files, f)
	}
	return files
}

// readFolder returns what is below a folder, without what the package keeps for
// itself.
func readFolder(t *testing.T, dir string) set {
	t.Helper()
	got := set{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == stateFolder {
			return fs.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		got[filepath.ToSlash(name)] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantFolder(t *testing.T, dir string, want set) {
	t.Helper()
	got := readFolder(t, dir)
	for path, data := range want {
		if !bytes.Equal(got[path], data) {
			t.Errorf("%s: %d bytes, want %d, or they differ", path, len(got[path]), len(data))
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is there", path)
		}
	}
	parts, err := os.ReadDir(filepath.Join(dir, stateFolder, partsFolder))
	if err != nil || len(parts) > 0 {
		t.Errorf("left over: %v %v", parts, err)
	}
}

// supplierFunc is a supplier that is a function.
type supplierFunc func(ctx context.Context, files []Wanted, deliver Deliver) error

func (f supplierFunc) Supply(ctx context.Context, files []Wanted, deliver Deliver) error {
	return f(ctx, files, deliver)
}

// from supplies contents from memory.
func (s set) supply(_ context.Context, files []Wanted, deliver Deliver) error {
	for _, f := range files {
		data, ok := s[f.Path]
		if !ok {
			continue
		}
		if err := deliver(Content{Path: f.Path, Offset: f.Offset, Size: int64(len(data)), Body: bytes.NewReader(data[f.Offset:])}); err != nil {
			return err
		}
	}
	return nil
}

func noWait(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }

func archiveOf(t testing.TB, s set, files []File) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		data := s[f.Path]
		if err := w.WriteHeader(&tar.Header{Name: "data/" + f.Path, Mode: 0o644, Size: int64(len(data)), ModTime: time.Unix(1e9, 0)}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func withoutTop(member string) (string, error) {
	_, rest, _ := strings.Cut(member, "/")
	return rest, nil
}

// archived supplies contents as one tar stream.
func (s set) archived(t testing.TB) supplierFunc {
	return func(ctx context.Context, files []Wanted, deliver Deliver) error {
		var list []File
		for _, f := range files {
			list = append(list, f.File)
		}
		return Untar(ctx, bytes.NewReader(archiveOf(t, s, list)), withoutTop, deliver)
	}
}

func TestRunBringsAndKeepsFiles(t *testing.T) {
	t.Parallel()
	s := set{"a": content("a", 10), "b/c/d": content("d", 3<<20), "b/e": {}, "ü/ñ": content("u", 70_000)}
	for i := range 200 {
		s[fmt.Sprintf("many/%d/%d", i%7, i)] = content(fmt.Sprint(i), i)
	}
	for name, supplier := range map[string]Supplier{"one by one": supplierFunc(s.supply), "archive": s.archived(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "new", "target")
			job := Job{Dir: dir, Files: listOf(s.files("")...), Supplier: supplier, Group: 50}
			report, err := Run(t.Context(), job)
			if err != nil {
				t.Fatal(err)
			}
			report.Duration = 0
			total := int64(0)
			for _, data := range s {
				total += int64(len(data))
			}
			if diff := cmp.Diff(Report{Files: 204, Bytes: total, Fetched: 204, Received: total}, report); diff != "" {
				t.Error(diff)
			}
			wantFolder(t, dir, s)
			job.Supplier = supplierFunc(func(context.Context, []Wanted, Deliver) error {
				t.Error("asked for what is here")
				return nil
			})
			report, err = Run(t.Context(), job)
			if err != nil || report.Present != 204 || report.Received != 0 {
				t.Errorf("%+v %v", report, err)
			}
			job.VerifyOnly = true
			report, err = Run(t.Context(), job)
			if err != nil || report.Present != 204 {
				t.Errorf("%+v %v", report, err)
			}
		})
	}
}

var _ = io.EOF

func randomFraction() float64 { return rand.Float64() }
