package pacifica

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/transfer"
)

// archiveFunc writes the content of a cart.
type archiveFunc = func(w http.ResponseWriter, n int, cart string, files []orderedFile)

// TestMisbehavingServer has a server that does one thing wrong, once or always.
// Either all files come, or the failure has a class and names a file that did
// not. What comes is right, and the carts are deleted.
func TestMisbehavingServer(t *testing.T) {
	t.Parallel()
	raw := func(change func(s *cartServer, files []orderedFile) []byte) func(s *cartServer) archiveFunc {
		return func(s *cartServer) archiveFunc {
			return func(w http.ResponseWriter, _ int, _ string, files []orderedFile) { _, _ = w.Write(change(s, files)) }
		}
	}
	says := func(method string, code int, header ...string) func(*cartServer) actFunc {
		return func(*cartServer) actFunc {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.Method != method {
					return false
				}
				for i := 0; i+1 < len(header); i += 2 {
					w.Header()[header[i]] = []string{header[i+1]}
				}
				w.WriteHeader(code)
				return true
			}
		}
	}
	reset := func(method string) func(*cartServer) actFunc {
		return func(*cartServer) actFunc {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.Method != method {
					return false
				}
				hangUp(w)
				return true
			}
		}
	}
	tests := []struct {
		name string
		// act misbehaves before anything else, archive in the download.
		act     func(s *cartServer) actFunc
		archive func(s *cartServer) archiveFunc
		// once is the outcome if that happens once, always if it does every
		// time: the exit code, and a text of the failure.
		once, always int
		says         string
	}{
		{name: "order answered 200", act: says(http.MethodPost, 200), always: 55, says: "answers 200"},
		{name: "order answered 400", act: says(http.MethodPost, 400), always: 54, says: "answers 400"},
		{name: "order answered 401", act: says(http.MethodPost, 401), once: 52, always: 52, says: "answers 401"},
		{name: "order answered 403", act: says(http.MethodPost, 403), once: 53, always: 53, says: "answers 403"},
		{name: "order answered 415", act: says(http.MethodPost, 415), always: 54, says: "answers 415"},
		{name: "order answered 500", act: says(http.MethodPost, 500), always: 10, says: "answers 500"},
		{name: "order answered 503", act: says(http.MethodPost, 503, "Retry-After", "1"), always: 10, says: "answers 503"},
		{name: "order reset", act: reset(http.MethodPost), always: 51, says: "order cart"},
		{name: "status reset", act: reset(http.MethodHead), always: 51, says: "heard last: ask for cart"},
		{name: "status waiting", act: says(http.MethodHead, 204, headerStatus, "waiting", headerMessage, ""), always: 51, says: "not ready after"},
		{name: "status bundling", act: says(http.MethodHead, 204, headerStatus, "bundling", headerMessage, ""), always: 51, says: "not ready after"},
		{name: "status staging for ever", act: says(http.MethodHead, 204, headerStatus, "staging", headerMessage, ""), always: 51, says: "heard last: staging"},
		{name: "status deleted", act: says(http.MethodHead, 204, headerStatus, "deleted", headerMessage, ""), always: 10, says: "no longer knows"},
		{name: "status error with 204", act: says(http.MethodHead, 204, headerStatus, "error", headerMessage, "No space"), always: 10, says: "No space"},
		{name: "status error with 500", act: says(http.MethodHead, 500, headerStatus, "error", headerMessage, "Not enough space to download file"), always: 10, says: "Not enough space"},
		{name: "status unknown", act: says(http.MethodHead, 204, headerStatus, "resting", headerMessage, ""), always: 55, says: `unknown status "resting"`},
		{name: "status 500 without headers", act: says(http.MethodHead, 500), always: 51, says: "answers 500"},
		{name: "status 404", act: says(http.MethodHead, 404, headerStatus, "error", headerMessage, "No cart"), always: 10, says: "no longer knows"},
		{name: "status 404 without headers", act: says(http.MethodHead, 404), always: 10, says: "no longer knows"},
		{name: "status 401", act: says(http.MethodHead, 401, headerStatus, "staging", headerMessage, ""), once: 52, always: 52, says: "answers 401"},
		{name: "status 503 with headers", act: says(http.MethodHead, 503, headerStatus, "ready", headerMessage, ""), always: 51, says: "answers 503"},
		{name: "status without header", act: says(http.MethodHead, 204), always: 55, says: "is this a cart server?"},
		{name: "status 200 ready", act: says(http.MethodHead, 200, headerStatus, "ready", headerMessage, "")},
		{name: "status without message", act: says(http.MethodHead, 204, headerStatus, "ready")},
		{name: "download 202", act: says(http.MethodGet, 202), always: 10, says: "not ready for download"},
		{name: "download 206", act: says(http.MethodGet, 206, "Content-Range", "bytes 0-9/20480"), always: 55, says: "answers 206"},
		{name: "download 404", act: says(http.MethodGet, 404), always: 10, says: "no longer knows"},
		{name: "download 401", act: says(http.MethodGet, 401), once: 52, always: 52, says: "answers 401"},
		{name: "download 500 with an archive", act: func(s *cartServer) actFunc {
			return func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.Method != http.MethodGet {
					return false
				}
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = w.Write(s.tar("data", nil))
				return true
			}
		}, always: 10, says: "answers 500"},
		{name: "download reset", act: reset(http.MethodGet), always: 51, says: "download cart"},
		{name: "download redirected in circles", act: says(http.MethodGet, 302, "Location", "?filename=data"), always: 51, says: "redirected more than"},

		{name: "a page instead of an archive", archive: raw(func(*cartServer, []orderedFile) []byte { return []byte("<html>maintenance</html>") }), always: -1},
		{name: "no byte at all", archive: raw(func(*cartServer, []orderedFile) []byte { return nil }), always: -1},
		{name: "content encoding gzip", archive: func(s *cartServer) archiveFunc {
			return func(w http.ResponseWriter, _ int, _ string, files []orderedFile) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(gzipped(s.tar("data", files)))
			}
		}, always: 55, says: "compressed"},
		{name: "an archive in gzip", archive: raw(func(s *cartServer, files []orderedFile) []byte { return gzipped(s.tar("data", files)) }), always: -1},
		{name: "GNU archive", archive: raw(func(s *cartServer, files []orderedFile) []byte { return s.tarOf(tar.FormatGNU, "data", files) })},
		{name: "a bundle", archive: func(s *cartServer) archiveFunc {
			return func(w http.ResponseWriter, _ int, cart string, files []orderedFile) {
				_, _ = w.Write(s.tar(cart, files))
			}
		}},
		{name: "another folder at the top", archive: raw(func(s *cartServer, files []orderedFile) []byte { return s.tar("other", files) }), always: -1, says: "is not below"},
		{name: "cut at a member", archive: raw(func(s *cartServer, files []orderedFile) []byte { return s.cut(files, 0) }), always: -1},
		{name: "cut within a member", archive: raw(func(s *cartServer, files []orderedFile) []byte { return s.cut(files, 700) }), always: -1},
		{name: "cut at a member, too long a length", archive: func(s *cartServer) archiveFunc {
			return func(w http.ResponseWriter, _ int, _ string, files []orderedFile) {
				w.Header().Set("Content-Length", strconv.Itoa(len(s.tar("data", files))))
				_, _ = w.Write(s.cut(files, 0))
			}
		}, always: -1},
		{name: "chunks broken off", archive: func(s *cartServer) archiveFunc {
			return func(w http.ResponseWriter, _ int, _ string, files []orderedFile) {
				_, _ = w.Write(s.cut(files, 0))
				panic(http.ErrAbortHandler)
			}
		}, always: -1},
		{name: "no end of the archive", archive: raw(func(s *cartServer, files []orderedFile) []byte {
			return bytes.TrimRight(s.tar("data", files), "\x00")
		})}, // all files are here, and each is verified
		{name: "garbage in the second header", archive: raw(func(s *cartServer, files []orderedFile) []byte {
			return append(s.cut(files, 0), bytes.Repeat([]byte("garbage!"), 1280)...)
		}), always: -1},
		{name: "a flipped bit", archive: raw(func(s *cartServer, files []orderedFile) []byte {
			return bytes.Replace(s.tar("data", files), []byte("xxx"), []byte("xyx"), 1)
		}), always: -1},
		{name: "a file is missing", archive: raw(func(s *cartServer, files []orderedFile) []byte { return s.tar("data", files[:len(files)-1]) }), always: -1, says: "lacks"},
		{name: "all files are missing", archive: raw(func(s *cartServer, files []orderedFile) []byte { return s.tar("data", nil) }), always: -1, says: "lacks"},
		{name: "a file too many", archive: raw(func(s *cartServer, files []orderedFile) []byte {
			return s.tar("data", append([]orderedFile{{ID: []byte("1101"), Path: "extra"}}, files...))
		})},
		{name: "a file twice", archive: raw(func(s *cartServer, files []orderedFile) []byte { return s.tar("data", append(files[:1:1], files...)) })},
		{name: "folders without end", archive: endless(func(*cartServer, []orderedFile) []byte {
			return bare(tar.Header{Typeflag: tar.TypeDir, Name: "data/d/"})
		}), always: 55, says: "brings more than"},
		{name: "the same file without end", archive: endless(func(s *cartServer, files []orderedFile) []byte {
			return bytes.TrimSuffix(s.tar(rootFolder, files[:1]), make([]byte, 1024))
		})},
		{name: "a file too many, without end", archive: endless(func(*cartServer, []orderedFile) []byte {
			return append(bare(tar.Header{Typeflag: tar.TypeReg, Name: "data/extra", Size: 1 << 40}), make([]byte, 1<<20)...)
		}), always: 55, says: "brings more than"},
		{name: "a file of another size, without end", archive: endless(func(_ *cartServer, files []orderedFile) []byte {
			return append(bare(tar.Header{Typeflag: tar.TypeReg, Name: "data/" + files[0].Path, Size: 1 << 40}), make([]byte, 1<<20)...)
		}), always: 55, says: "brings more than"},
		{name: "silence within the body", archive: func(s *cartServer) archiveFunc {
			return func(w http.ResponseWriter, _ int, _ string, files []orderedFile) {
				_, _ = w.Write(s.cut(files, 700))
				_ = http.NewResponseController(w).Flush()
				<-s.stalled
			}
		}, always: -1},

		{name: "absolute member", archive: evil(tar.Header{Typeflag: tar.TypeReg, Name: "/tmp/gapless-evil"}), always: -1},
		{name: "member above", archive: evil(tar.Header{Typeflag: tar.TypeReg, Name: "../gapless-evil"}), always: -1},
		{name: "member above, within", archive: evil(tar.Header{Typeflag: tar.TypeReg, Name: "data/../../gapless-evil"}), always: -1},
		{name: "symbolic link", archive: evil(tar.Header{Typeflag: tar.TypeSymlink, Name: "data/a", Linkname: "/tmp"}), always: -1},
		{name: "hard link", archive: evil(tar.Header{Typeflag: tar.TypeLink, Name: "data/root.txt", Linkname: "/etc/passwd"}), always: -1},
		{name: "pipe", archive: evil(tar.Header{Typeflag: tar.TypeFifo, Name: "data/root.txt"}), always: -1},
		{name: "device", archive: evil(tar.Header{Typeflag: tar.TypeChar, Name: "data/root.txt"}), always: -1},
	}
	for _, tt := range tests {
		for _, always := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, always %t", tt.name, always), func(t *testing.T) {
				t.Parallel()
				s := newCartServer(t)
				s.stalled = make(chan struct{})
				t.Cleanup(func() { close(s.stalled) }) // before the server closes
				var hits atomic.Int64
				if tt.act != nil {
					act := tt.act(s)
					s.act = func(w http.ResponseWriter, r *http.Request, n int) bool {
						if hits.Load() > 0 && !always {
							return false
						}
						took := act(w, r, n)
						if took {
							hits.Add(1)
						}
						return took
					}
				}
				if tt.archive != nil {
					archive := tt.archive(s)
					s.archive = func(w http.ResponseWriter, n int, cart string, files []orderedFile) {
						if hits.Add(1) == 1 || always {
							archive(w, n, cart, files)
							return
						}
						_, _ = w.Write(s.tar(rootFolder, files))
					}
				}
				opts := s.options()
				opts.Retries = 2
				opts.Timeout = 300 * time.Millisecond
				wait := 400 * time.Millisecond
				if strings.Contains(tt.name, "without end") { // silence is not what ends these
					opts.Timeout, wait = 30*time.Second, 30*time.Second
				}
				d, dir := newDownloader(t, opts)
				attempts := 3
				if always {
					attempts = 1
				}
				report, err := d.Files(t.Context(), seqOf(s.files()), DownloadOptions{Wait: wait, Job: transfer.Job{Attempts: attempts, Idle: time.Hour}})
				want := tt.once
				if always {
					want = tt.always
				}
				if want == 0 {
					must(t, err)
					check(t, dir, s.paths())
				} else {
					s.judge(t, dir, want, tt.says, report, err)
				}
				if hits.Load() == 0 {
					t.Error("the server did not misbehave")
				}
				if s.overread.Load() {
					t.Error("a gibibyte was read that nobody wants")
				}
				if n := s.left(); n > 0 {
					t.Errorf("%d carts were left", n)
				}
				if _, err := os.Lstat("/tmp/gapless-evil"); err == nil {
					t.Error("a file was written outside of the target")
				}
				if left, _ := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(dir)), "gapless-evil*")); len(left) > 0 {
					t.Error("a file was written above the target")
				}
			})
		}
	}
}

type actFunc = func(w http.ResponseWriter, r *http.Request, n int) bool

// judge looks at a transfer that failed: with an exit code, or any of a failure
// if that is -1.
func (s *cartServer) judge(t *testing.T, dir string, exit int, says string, report transfer.Report, err error) {
	t.Helper()
	code := gapless.ExitCode(err)
	if err == nil || exit > 0 && code != exit || exit < 0 && code != 10 && code < 50 {
		t.Errorf("exit code %d, want %d: %v", code, exit, err)
	}
	text := fmt.Sprint(err)
	named := false
	for _, f := range report.Failures {
		text += "; " + f.Path + ": " + f.Err.Error()
		named = named || s.paths()[f.Path] != "" || strings.HasPrefix(f.Path, "a/")
	}
	if !named && code != 52 && code != 53 { // those stop everything
		t.Errorf("no file is named: %+v", report)
	}
	if !strings.Contains(text, says) {
		t.Errorf("%q is not in the failure: %s", says, text)
	}
	there := map[string]string{}
	for path, content := range s.paths() {
		if _, err := os.Lstat(filepath.Join(dir, path)); err == nil {
			there[path] = content
		}
	}
	if len(there) == len(s.contents) {
		t.Error("everything is there, and still it failed")
	}
	check(t, dir, there)
}

// paths returns the contents of the server's files by path.
func (s *cartServer) paths() map[string]string {
	paths := map[string]string{}
	for _, f := range s.files() {
		paths[f.Path] = s.contents[f.Origin]
	}
	return paths
}

// cut returns an archive up to a number of bytes behind the header of its first
// file that is not empty.
func (s *cartServer) cut(files []orderedFile, behind int) []byte {
	whole := s.tar(rootFolder, files)
	at := bytes.Index(whole, []byte("xxxx"))
	switch {
	case at < 0:
		return whole[:1024]
	case behind == 0:
		return whole[:at+70144] // the content with its padding
	}
	return whole[:at+behind]
}

// evil puts a member in front of the files.
func evil(h tar.Header) func(s *cartServer) archiveFunc {
	return func(s *cartServer) archiveFunc {
		return func(w http.ResponseWriter, _ int, _ string, files []orderedFile) {
			content := ""
			if h.Typeflag == tar.TypeReg {
				content = "evil"
			}
			var b bytes.Buffer
			_, _ = b.Write(bytes.TrimRight(tarWith(tarMember{h, content}), "\x00"))
			_, _ = b.Write(make([]byte, (512-b.Len()%512)%512))
			_, _ = b.Write(s.tar(rootFolder, files))
			_, _ = io.Copy(w, &b)
		}
	}
}

// endless sends a piece of an archive again and again, for as long as somebody
// reads it.
func endless(piece func(s *cartServer, files []orderedFile) []byte) func(s *cartServer) archiveFunc {
	return func(s *cartServer) archiveFunc {
		return func(w http.ResponseWriter, _ int, _ string, files []orderedFile) {
			text := bytes.Repeat(piece(s, files), 100)
			for sent := 0; sent < 1<<30; sent += len(text) {
				if _, err := w.Write(text); err != nil {
					return
				}
			}
			s.overread.Store(true)
		}
	}
}

// bare is a member without its content.
func bare(h tar.Header) []byte {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func gzipped(text []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(text)
	_ = w.Close()
	return b.Bytes()
}
