package server_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless/connectors/pacifica/server"
	"github.com/gapless-sync/gapless/transfer"
)

func sha1Of(content string) string {
	sum := sha1.Sum([]byte(content))
	return hex.EncodeToString(sum[:])
}

// archived is where a Pacifica keeps the file of a number of two bytes.
func archived(id int) string { return fmt.Sprintf("%02x/%x", id&255, id) }

// tree returns the files below a folder.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		files[filepath.ToSlash(rel)] = string(content)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// untar returns the names and contents of an archive, and why it is none.
func untar(archive io.Reader) (names []string, contents map[string]string, err error) {
	contents = map[string]string{}
	r := tar.NewReader(archive)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, contents, nil
		}
		if err != nil {
			return names, contents, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return names, contents, err
		}
		names = append(names, header.Name)
		contents[header.Name] = string(content)
	}
}

// stream hides from the server that files can be read from anywhere.
type stream struct{ server.Files }

func (s stream) Open(ctx context.Context, wanted transfer.File) (server.Content, error) {
	c, err := s.Files.Open(ctx, wanted)
	if err == nil {
		c.Body = struct{ io.ReadCloser }{c.Body}
	}
	return c, err
}

func TestArchive(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{})
	deep := strings.Repeat("deep/", 40) + "é"
	contents := map[string]string{"a": "A", "b/empty": "", "b/block": strings.Repeat("x", 512), deep: strings.Repeat("y", 70_000), "z z": "Z"}
	var files, reversed []ordered
	for path, content := range contents {
		f.write(t, path, content)
		files = append(files, wants(path, content))
	}
	slices.SortFunc(files, func(a, b ordered) int { return strings.Compare(a.Path, b.Path) })
	reversed = slices.Clone(files)
	slices.Reverse(reversed)
	f.ready(t, "one", files...)
	f.ready(t, "two", append(reversed, files[0])...)
	response, one := f.do(t, "GET", "one?filename=top.tar", "")
	if response.StatusCode != http.StatusOK || response.ContentLength != int64(len(one)) || response.Header.Get("Content-Encoding") != "" {
		t.Fatal(response)
	}
	want := map[string]string{}
	for path, content := range contents {
		want["top/"+path] = content
	}
	names, got, err := untar(strings.NewReader(one))
	if diff := cmp.Diff(want, got); diff != "" || err != nil || !slices.IsSorted(names) {
		t.Errorf("%v %q (-want +got):\n%s", err, names, diff)
	}
	if !strings.HasSuffix(one, string(make([]byte, 1024))) || len(one)%512 != 0 {
		t.Error("the archive has no end")
	}
	again, two := f.do(t, "GET", "two?filename=top", "")
	if one != two || response.Header.Get("ETag") != again.Header.Get("ETag") {
		t.Error("the same files are not the same archive")
	}
	if other, text := f.do(t, "GET", "two?filename=pot", ""); text == one || other.Header.Get("ETag") == again.Header.Get("ETag") {
		t.Error("another folder has the same ETag")
	}
}

// TestETagKnowsContents replaces a file by another of the same size and time.
func TestETagKnowsContents(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{})
	etag := func(content string) string {
		f.write(t, "a", content)
		f.ready(t, "cart", wants("a", content))
		r, _ := f.do(t, "GET", "cart?filename=x", "")
		return r.Header.Get("ETag")
	}
	if first, second := etag("one"), etag("two"); first == second || !strings.HasPrefix(first, `"`) {
		t.Errorf("%s and %s", first, second)
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{})
	f.write(t, "a", strings.Repeat("0123456789", 1000))
	f.write(t, "b", "B")
	f.ready(t, "cart", wants("a", strings.Repeat("0123456789", 1000)), wants("b", "B"))
	full, all := f.do(t, "GET", "cart", "")
	etag, size := full.Header.Get("ETag"), len(all)
	for _, tt := range []struct {
		name    string
		headers []string
		status  int
		body    string
		about   string // Content-Range
	}{
		{"the first header", []string{"Range", "bytes=0-511"}, 206, all[:512], fmt.Sprintf("bytes 0-511/%d", size)},
		{"inside a file", []string{"Range", "bytes=600-700"}, 206, all[600:701], fmt.Sprintf("bytes 600-700/%d", size)},
		{"from inside a file to the end", []string{"Range", "bytes=5000-"}, 206, all[5000:], fmt.Sprintf("bytes 5000-%d/%d", size-1, size)},
		{"the end", []string{"Range", "bytes=-100"}, 206, all[size-100:], fmt.Sprintf("bytes %d-%d/%d", size-100, size-1, size)},
		{"beyond the end", []string{"Range", fmt.Sprintf("bytes=%d-", size)}, 416, "", fmt.Sprintf("bytes */%d", size)},
		{"several at once", []string{"Range", "bytes=0-1,5-6"}, 200, all, ""},
		{"what cannot be read", []string{"Range", "bytes=x"}, 416, "", ""},
		{"of this archive", []string{"Range", "bytes=9-", "If-Range", etag}, 206, all[9:], fmt.Sprintf("bytes 9-%d/%d", size-1, size)},
		{"of another archive", []string{"Range", "bytes=9-", "If-Range", `"other"`}, 200, all, ""},
		{"of this archive, weakly", []string{"Range", "bytes=9-", "If-Range", "W/" + etag}, 200, all, ""},
		{"unless this archive", []string{"If-None-Match", etag}, 304, "", ""},
		{"only another archive", []string{"If-Match", `"other"`}, 412, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, text := f.do(t, "GET", "cart", "", tt.headers...)
			if r.StatusCode != tt.status || r.StatusCode < 300 && text != tt.body || r.Header.Get("Content-Range") != tt.about {
				t.Errorf("%s, %d bytes, %q", r.Status, len(text), r.Header.Get("Content-Range"))
			}
			if r.StatusCode < 300 && (r.ContentLength != int64(len(tt.body)) || r.Header.Get("Accept-Ranges") != "bytes") {
				t.Errorf("%d, %v", r.ContentLength, r.Header)
			}
		})
	}
}

// TestAnyRange compares ranges with what they are of, whether or not the files
// can be read from anywhere.
func TestAnyRange(t *testing.T) {
	t.Parallel()
	for _, sought := range []bool{true, false} {
		t.Run(fmt.Sprintf("seekable=%v", sought), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			folder, err := server.OpenFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer folder.Close()
			files := server.Files(folder)
			if !sought {
				files = stream{folder}
			}
			f := serve(t, server.Options{Files: files})
			f.root = dir
			var list []ordered
			for i, size := range []int{0, 1, 511, 512, 513, 0, 300_000, 2, 1024} {
				path, content := fmt.Sprintf("%d/%s", i, strings.Repeat("n", 1+20*i)), strings.Repeat(fmt.Sprint(i), size)
				f.write(t, path, content)
				list = append(list, wants(path, content))
			}
			f.ready(t, "cart", list...)
			_, all := f.do(t, "GET", "cart?filename=x", "")
			rapid.Check(t, func(rt *rapid.T) {
				from := rapid.IntRange(0, len(all)-1).Draw(rt, "from")
				to := rapid.IntRange(from, len(all)-1).Draw(rt, "to")
				r, text := f.do(t, "GET", "cart?filename=x", "", "Range", fmt.Sprintf("bytes=%d-%d", from, to))
				if r.StatusCode != http.StatusPartialContent || text != all[from:to+1] {
					rt.Fatalf("%s, %d bytes of %d", r.Status, len(text), to+1-from)
				}
			})
		})
	}
}

func TestBundle(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{})
	f.write(t, "a", "A")
	for _, tt := range []struct{ name, bundle, member string }{
		{"asked for", `true`, "uid/a"},
		{"by a text", `"yes"`, "uid/a"},
		{"by a number", `1`, "uid/a"},
		{"not asked for", `false`, "x/a"},
		{"by nothing", `null`, "x/a"},
		{"by an empty text", `""`, "x/a"},
		{"by an empty list", `[]`, "x/a"},
	} {
		order := strings.TrimSuffix(body(wants("a", "A")), "}") + `, "bundle": ` + tt.bundle + `, "more": {"of": ["this"]}}`
		if r, text := f.do(t, "POST", "uid", order); r.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s %s", tt.name, r.Status, text)
		}
		f.settled(t, "uid")
		_, archive := f.do(t, "GET", "uid?filename=x", "")
		if names, _, err := untar(strings.NewReader(archive)); !slices.Equal(names, []string{tt.member}) || err != nil {
			t.Errorf("%s: %q %v", tt.name, names, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{})
	f.write(t, "a", "A")
	f.ready(t, "cart", wants("a", "A"))
	for _, tt := range []struct {
		query       string
		status      int
		member      string
		disposition string
	}{
		{"", 200, "data_2026_11_01_12_00_00/a", "attachment; filename=data_2026_11_01_12_00_00.tar"},
		{"?other=x", 200, "data_2026_11_01_12_00_00/a", "attachment; filename=data_2026_11_01_12_00_00.tar"},
		{"?filename=data", 200, "data/a", "attachment; filename=data"},
		{"?filename=my.tar", 200, "my/a", "attachment; filename=my.tar"},
		{"?filename=x.tar.gz", 200, "x.gz/a", "attachment; filename=x.tar.gz"},
		{"?filename=", 200, "a", "attachment; filename=\"\""},
		{"?filename=.tar", 200, "a", "attachment; filename=.tar"},
		{"?filename=/x/y", 200, "x/y/a", `attachment; filename="/x/y"`},
		{"?filename=a%20%22b%22", 200, `a "b"/a`, `attachment; filename="a \"b\""`},
		{"?filename=%C3%A9", 200, "é/a", "attachment; filename*=utf-8''%C3%A9"},
		{"?filename=x%0d%0aX-Evil:%201", 200, "x\r\nX-Evil: 1/a", "attachment; filename*=utf-8''x%0D%0AX-Evil%3A%201"},
		{"?filename=..", 400, "", ""},
		{"?filename=../../up", 400, "", ""},
		{"?filename=a/../../up", 400, "", ""},
		{"?filename=..tar.", 400, "", ""},
		{"?filename=...tar.", 200, ".../a", "attachment; filename=...tar."},
		{"?filename=a%00b", 400, "", ""},
		{"?filename=%ff", 400, "", ""},
		{"?filename=a&filename=b", 400, "", ""},
		{"?filename=%zz", 400, "", ""},
		{"?filename=" + strings.Repeat("x", 300), 400, "", ""},
	} {
		r, archive := f.do(t, "GET", "cart"+tt.query, "")
		if r.StatusCode != tt.status || r.Header.Get("X-Evil") != "" {
			t.Errorf("%s: %s %s", tt.query, r.Status, archive)
			continue
		}
		if tt.status != 200 {
			continue
		}
		names, _, err := untar(strings.NewReader(archive))
		if !slices.Equal(names, []string{tt.member}) || err != nil || r.Header.Get("Content-Disposition") != tt.disposition {
			t.Errorf("%s: %q %v %s", tt.query, names, err, r.Header.Get("Content-Disposition"))
		}
	}
}

// TestParallelDownloads has many clients fetch one cart at once, whole and in
// pieces.
func TestParallelDownloads(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{})
	var list []ordered
	for i := range 50 {
		path, content := fmt.Sprintf("%d", i), strings.Repeat(fmt.Sprint(i), 10_000)
		f.write(t, path, content)
		list = append(list, wants(path, content))
	}
	f.ready(t, "cart", list...)
	_, all := f.do(t, "GET", "cart?filename=0", "")
	got := make(chan string)
	for i := range 16 {
		go func() {
			const pieces = 4
			var whole bytes.Buffer
			for p := range pieces {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.address+"cart?filename="+fmt.Sprint(i%2), nil)
				if err != nil {
					panic(err)
				}
				r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", p*len(all)/pieces, (p+1)*len(all)/pieces-1))
				response, err := f.client.Do(r)
				if err == nil {
					_, err = io.Copy(&whole, response.Body)
					_ = response.Body.Close()
				}
				if err != nil {
					got <- err.Error()
					return
				}
			}
			got <- whole.String()
		}()
	}
	_, other := f.do(t, "GET", "cart?filename=1", "")
	for range 16 {
		if text := <-got; text != all && text != other {
			t.Errorf("%d bytes: %.100q", len(text), text)
		}
	}
}
