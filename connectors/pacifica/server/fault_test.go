package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pacifica/server"
	"github.com/gapless-sync/gapless/transfer"
)

// changes are what may become of a file between its verification and a
// download.
func changes() []struct {
	name   string
	change func(f *fixture, path, content string) error
} {
	overwrite := func(f *fixture, path, content string) error {
		return os.WriteFile(filepath.Join(f.root, path), []byte(content), 0o600)
	}
	return []struct {
		name   string
		change func(f *fixture, path, content string) error
	}{
		{"other bytes", func(f *fixture, path, content string) error {
			name := filepath.Join(f.root, path)
			info, err := os.Stat(name)
			last := []byte(content)
			last[len(last)-1] ^= 1
			// Neither size nor time betray it.
			return errors.Join(err, overwrite(f, path, string(last)), os.Chtimes(name, info.ModTime(), info.ModTime()))
		}},
		{"shorter", func(f *fixture, path, content string) error { return overwrite(f, path, content[1:]) }},
		{"longer", func(f *fixture, path, content string) error { return overwrite(f, path, content+"x") }},
		{"gone", func(f *fixture, path, _ string) error { return os.Remove(filepath.Join(f.root, path)) }},
		{"a folder", func(f *fixture, path, _ string) error {
			return errors.Join(os.Remove(filepath.Join(f.root, path)), os.Mkdir(filepath.Join(f.root, path), 0o700))
		}},
		{"a pipe", func(f *fixture, path, _ string) error {
			return errors.Join(os.Remove(filepath.Join(f.root, path)), syscall.Mkfifo(filepath.Join(f.root, path), 0o600))
		}},
		{"a link to elsewhere", func(f *fixture, path, content string) error {
			other := filepath.Join(filepath.Dir(f.root), "elsewhere-"+filepath.Base(f.root))
			return errors.Join(os.WriteFile(other, []byte(content), 0o600), os.Remove(filepath.Join(f.root, path)), os.Symlink(other, filepath.Join(f.root, path)))
		}},
	}
}

// TestChangedFiles changes a file after its verification. No download of it
// ends as if it were whole, the bytes that are wrong are not sent to their end,
// and the cart tells what has happened.
func TestChangedFiles(t *testing.T) {
	t.Parallel()
	contents := map[string]string{"a": "AAA", "b": strings.Repeat("b", 3_000_000), "c": strings.Repeat("c", 512)}
	for path, content := range contents {
		for _, tt := range changes() {
			for _, from := range []int{0, 600} {
				if from > len(content) {
					continue
				}
				t.Run(fmt.Sprintf("%s is %s, from %d", path, tt.name, from), func(t *testing.T) {
					t.Parallel()
					f := serve(t, server.Options{})
					var list []ordered
					for p, c := range contents {
						f.write(t, p, c)
						list = append(list, wants(p, c))
					}
					f.ready(t, "cart", list...)
					_, all := f.do(t, "GET", "cart?filename=x", "")
					if err := tt.change(f, path, content); err != nil {
						t.Fatal(err)
					}
					response := f.open(t, "GET", "cart?filename=x", "", "Range", fmt.Sprintf("bytes=%d-", from))
					text, err := io.ReadAll(response.Body)
					_ = response.Body.Close()
					end := strings.Index(all, content) + len(content)
					if err == nil || from+len(text) >= end || string(text) != all[from:from+len(text)] {
						t.Errorf("%v behind %d bytes; the file ends at %d", err, from+len(text), end)
					}
					if status, message := f.settled(t, "cart"); status != "error" || !strings.HasPrefix(message, "file "+path+" ("+path+"): ") && !strings.Contains(message, "cannot work") {
						t.Errorf("%s %s", status, message)
					}
				})
			}
		}
	}
}

// TestTouchedFiles changes what does not matter.
func TestTouchedFiles(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{})
	content := strings.Repeat("0123456789", 100_000)
	f.write(t, "a", content)
	f.ready(t, "cart", wants("a", content))
	_, all := f.do(t, "GET", "cart?filename=x", "")
	f.write(t, "a", content) // another version, the same bytes and time
	for _, from := range []int{0, 700_000} {
		if r, text := f.do(t, "GET", "cart?filename=x", "", "Range", fmt.Sprintf("bytes=%d-", from)); r.StatusCode != http.StatusPartialContent || text != all[from:] {
			t.Errorf("from %d: %s, %d bytes", from, r.Status, len(text))
		}
	}
}

// turncoat gives out other contents once it is told to.
type turncoat struct {
	server.Files
	turned atomic.Bool
	id     string
	with   func(server.Content) (server.Content, error)
}

func (f *turncoat) Open(ctx context.Context, wanted transfer.File) (server.Content, error) {
	c, err := f.Files.Open(ctx, wanted)
	if err == nil && wanted.Origin == f.id && f.turned.Load() {
		return f.with(c)
	}
	return c, err
}

// cut ends a body in the middle with an error.
type cut struct {
	io.ReadCloser
	left int
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errors.New("the disk is broken")
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// TestOriginalSeesCuts has the original's way of downloading meet a file that
// changes between the verification and the download, wherever it is in the
// archive and however large: it never ends with success.
func TestOriginalSeesCuts(t *testing.T) {
	t.Parallel()
	interpreters := pythons(t)
	contents := map[string]string{}
	data := []map[string]any{{"destinationTable": "Transactions._id", "value": 1}}
	for i, size := range []int{0, 3, 512, 2_000_000, 0} {
		path := fmt.Sprintf("f%d", i)
		contents[path] = strings.Repeat(fmt.Sprint(i), size)
		data = append(data, map[string]any{"destinationTable": "Files", "_id": path, "name": path, "subdir": "d", "hashtype": "sha1", "hashsum": sha1Of(contents[path])})
	}
	for i := range len(contents) {
		path, interpreter := fmt.Sprintf("f%d", i), interpreters[i%len(interpreters)]
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			folder, err := server.OpenFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer folder.Close()
			files := &turncoat{Files: folder, id: path}
			files.with = func(c server.Content) (server.Content, error) {
				c.Body = &cut{c.Body, len(contents[path]) / 2}
				if c.Size == 0 {
					return c, errors.Join(errors.New("the disk is broken"), c.Body.Close())
				}
				return c, nil
			}
			// The file turns when the client sees that the cart is ready.
			f := serve(t, server.Options{Files: files, Admit: func(r *http.Request) (string, bool) {
				if r.Method == http.MethodGet {
					files.turned.Store(true)
				}
				return "", true
			}})
			f.root = dir
			for p, c := range contents {
				f.write(t, p, c)
			}
			j := job(t, f, "data")
			j["event"] = map[string]any{"data": data}
			printed := python(t, interpreter, j)
			if printed == "ok" || strings.Contains(printed, "AssertionError") {
				t.Errorf("the original ends with %s", printed)
			}
		})
	}
}

// TestAbortOverTLS looks whether a connection that is broken off inside TLS
// ends without a goodbye.
func TestAbortOverTLS(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", http2), func(t *testing.T) {
			t.Parallel()
			f := serve(t, server.Options{})
			f.write(t, "a", strings.Repeat("a", 100_000))
			f.ready(t, "cart", wants("a", strings.Repeat("a", 100_000)))
			f.write(t, "a", strings.Repeat("b", 100_000))
			listener := httptest.NewUnstartedServer(f.Server)
			listener.EnableHTTP2 = http2
			listener.StartTLS()
			defer listener.Close()
			f.client = listener.Client()
			f.address = listener.URL + "/"
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.address+"cart", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := f.client.Do(r)
			if err == nil {
				_, err = io.ReadAll(response.Body)
				_ = response.Body.Close()
			}
			if err == nil {
				t.Error("the download ended as if it were whole")
			}
		})
	}
}

// flaky cannot be read for a while.
type flaky struct {
	server.Files
	left atomic.Int32
	err  error
}

func (f *flaky) Open(ctx context.Context, wanted transfer.File) (server.Content, error) {
	if f.left.Add(-1) >= 0 {
		return server.Content{}, f.err
	}
	return f.Files.Open(ctx, wanted)
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		times  int32
		err    error
		status string
	}{
		{"for a moment", 1, gapless.Recoverable(errors.New("the tape is being fetched")), "ready"},
		{"at all", 1, errors.New("secret reason"), "error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			folder, err := server.OpenFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer folder.Close()
			files := &flaky{Files: folder, err: tt.err}
			files.left.Store(tt.times)
			f := serve(t, server.Options{Files: files})
			f.root = dir
			f.write(t, "a", "A")
			f.order(t, "cart", wants("a", "A"))
			if status, message := f.settled(t, "cart"); status != tt.status || strings.Contains(message, "secret") {
				t.Errorf("%s %s", status, message)
			}
		})
	}
}

// slow is a download that the test reads by and by. The file is larger than
// what connections hold.
type slow struct {
	response *http.Response
	want     string
}

const large = 48 << 20

func (f *fixture) slowly(t *testing.T, uid string) *slow {
	t.Helper()
	content := strings.Repeat("0123456789abcdef", large/16)
	f.write(t, "large", content)
	f.ready(t, uid, wants("large", content))
	s := &slow{f.open(t, "GET", uid+"?filename=x", ""), content}
	t.Cleanup(func() { _ = s.response.Body.Close() })
	return s
}

// finish reads the rest.
func (s *slow) finish(t *testing.T) {
	t.Helper()
	_, got, err := untar(s.response.Body)
	if err != nil || got["x/large"] != s.want {
		t.Errorf("the download was disturbed: %v", err)
	}
}

// TestChangedMeanwhile changes a file while it is being downloaded, behind what
// has been sent.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, from := range []int64{0, 1 << 20} {
		t.Run(fmt.Sprintf("from %d", from), func(t *testing.T) {
			t.Parallel()
			f := serve(t, server.Options{})
			content := strings.Repeat("0123456789abcdef", large/16)
			f.write(t, "large", content)
			for fresh := true; fresh; { // until its version can be told
				f.ready(t, "cart", wants("large", content))
				fresh = !strings.Contains(tree(t, f.carts)[filepath.Base(only(t, f.carts, `"uid":"cart"`))], `"version"`)
			}
			response := f.open(t, "GET", "cart?filename=x", "", "Range", fmt.Sprintf("bytes=%d-", from))
			defer response.Body.Close()
			if _, err := io.CopyN(io.Discard, response.Body, 1<<20); err != nil {
				t.Fatal(err)
			}
			file, err := os.OpenFile(filepath.Join(f.root, "large"), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = file.WriteAt([]byte("x"), large-10)
			if err := errors.Join(err, file.Close(), os.Chtimes(file.Name(), noon, noon)); err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, response.Body); err == nil || n+from+1<<20 > 512+large {
				t.Errorf("%d bytes, %v", n, err)
			}
			if status, _ := f.settled(t, "cart"); status != "error" {
				t.Errorf("the cart is %s", status)
			}
		})
	}
}

// TestPinned has a cart meet everything that takes carts away while it is being
// downloaded.
func TestPinned(t *testing.T) {
	t.Parallel()
	statuses := func(f *fixture, t *testing.T, uid string) []int {
		head, _ := f.do(t, "HEAD", uid, "")
		get, _ := f.do(t, "GET", uid, "", "Range", "bytes=0-0")
		return []int{head.StatusCode, get.StatusCode}
	}
	t.Run("deletion", func(t *testing.T) {
		t.Parallel()
		f := serve(t, server.Options{})
		s := f.slowly(t, "cart")
		if r, text := f.do(t, "DELETE", "cart", ""); r.StatusCode != http.StatusOK || text != `{"message":"Cart Deleted Successfully"}` {
			t.Errorf("%s %s", r.Status, text)
		}
		if diff := cmp.Diff([]int{404, 404}, statuses(f, t, "cart")); diff != "" {
			t.Error(diff)
		}
		s.finish(t)
		if r, _ := f.do(t, "DELETE", "cart", ""); r.StatusCode != http.StatusNotFound {
			t.Error(r.Status)
		}
	})
	t.Run("replacement", func(t *testing.T) {
		t.Parallel()
		f := serve(t, server.Options{})
		s := f.slowly(t, "cart")
		f.write(t, "b", "B")
		f.ready(t, "cart", wants("b", "B"))
		_, archive := f.do(t, "GET", "cart?filename=x", "")
		if _, got, err := untar(strings.NewReader(archive)); err != nil || got["x/b"] != "B" || len(got) != 1 {
			t.Errorf("%v %v", got, err)
		}
		s.finish(t)
	})
	t.Run("expiry", func(t *testing.T) {
		t.Parallel()
		f := serve(t, server.Options{})
		f.write(t, "b", "B")
		f.ready(t, "idle", wants("b", "B"))
		s := f.slowly(t, "cart")
		f.clock.advance(25 * 60 * 60 * 1e9)
		f.ready(t, "other", wants("b", "B"))
		if diff := cmp.Diff([][]int{{204, 206}, {404, 404}}, [][]int{statuses(f, t, "cart"), statuses(f, t, "idle")}); diff != "" {
			t.Error(diff)
		}
		s.finish(t)
	})
	t.Run("quota", func(t *testing.T) {
		t.Parallel()
		f := serve(t, server.Options{Limits: server.Limits{Carts: 1}})
		s := f.slowly(t, "cart")
		f.write(t, "b", "B")
		f.do(t, "GET", "cart", "", "Range", "bytes=-1") // delivered, as far as this client is concerned
		if r, text := f.do(t, "POST", "other", body(wants("b", "B"))); r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s", r.Status, text)
		}
		s.finish(t)
		for released := false; !released; { // the server sees the end a little later
			_, text := f.do(t, "GET", "cart/status", "")
			released = strings.Contains(text, `"downloads":0`)
		}
		f.ready(t, "other", wants("b", "B"))
		if diff := cmp.Diff([]int{404, 404}, statuses(f, t, "cart")); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("stop", func(t *testing.T) {
		t.Parallel()
		f := serve(t, server.Options{})
		s := f.slowly(t, "cart")
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := untar(s.response.Body); err == nil {
			t.Error("a download ended as if it were whole")
		}
	})
}

// TestRace lets clients do everything at once to a few carts. What they
// download is whole or an error.
func TestRace(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{Limits: server.Limits{Carts: 3}})
	contents := []string{strings.Repeat("a", 100), strings.Repeat("b", 5000), strings.Repeat("c", 200_000)}
	var files []ordered
	for i, content := range contents {
		f.write(t, fmt.Sprint(i), content)
		files = append(files, wants(fmt.Sprint(i), content))
	}
	var clients sync.WaitGroup
	var whole atomic.Int32
	for n := range 8 {
		clients.Go(func() {
			for i := range 60 {
				uid := fmt.Sprint((n + i) % 4)
				switch (n + i*7) % 6 {
				case 0:
					f.do(t, "POST", uid, body(files[:1+i%3]...))
				case 1:
					if i%5 == 0 {
						f.do(t, "DELETE", uid, "")
					}
					f.do(t, "GET", uid+"/status", "")
				case 2:
					f.do(t, "GET", "", "")
				default:
					f.settled(t, uid)
					r := f.open(t, "GET", uid+"?filename=x", "")
					if r.StatusCode == http.StatusOK {
						_, got, err := untar(r.Body)
						for name, content := range got {
							if content != contents[name[2]-'0'] {
								t.Errorf("%s has %d bytes", name, len(content))
							}
						}
						if err != nil || len(got) == 0 {
							t.Error(err, len(got))
						}
						whole.Add(1)
					}
					_ = r.Body.Close()
				}
			}
		})
	}
	clients.Wait()
	if whole.Load() == 0 {
		t.Error("nobody downloaded anything")
	}
}
