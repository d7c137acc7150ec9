package transfer

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// reply answers the nth request, counted from 0, for the file of data.
type reply func(w http.ResponseWriter, r *http.Request, n int, data []byte)

func right(w http.ResponseWriter, _ *http.Request, _ int, data []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data)
}

// ranged serves as it should be done.
func ranged(tag string) reply {
	return func(w http.ResponseWriter, r *http.Request, _ int, data []byte) {
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(data))
	}
}

// cut ends the connection after n bytes of a complete answer.
func cut(tag string, n int) reply {
	return func(w http.ResponseWriter, _ *http.Request, _ int, data []byte) {
		w.Header().Set("ETag", tag)
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data[:n])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// first answers the first request in one way and all others in another.
func first(one, others reply) reply {
	return func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
		if n == 0 {
			one(w, r, n, data)
		} else {
			others(w, r, n, data)
		}
	}
}

func status(code int, header ...string) reply {
	return func(w http.ResponseWriter, _ *http.Request, _ int, _ []byte) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		fmt.Fprintln(w, "no")
	}
}

func stall(w http.ResponseWriter, r *http.Request, _ int, data []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data[:100_000])
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func flipped(w http.ResponseWriter, r *http.Request, n int, data []byte) {
	wrong := bytes.Clone(data)
	wrong[len(wrong)/2] ^= 1
	right(w, r, n, wrong)
}

func TestMisbehavingServers(t *testing.T) {
	t.Parallel()
	data := content("file", 400_000)
	for _, test := range []struct {
		name  string
		reply reply
		// unhashed wants the file without a hash, unsized without a size.
		unhashed, unsized bool
		// fails is a part of the error; "" if the file comes.
		fails string
		exit  int
		// requests is how many there are; 0 if it does not matter.
		requests int
		// twice bounds the bytes that come more than once.
		twice int64
	}{
		{name: "well-behaved", reply: right, requests: 1},
		{name: "no length", reply: func(w http.ResponseWriter, _ *http.Request, _ int, data []byte) {
			_, _ = w.Write(data[:1000])
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(data[1000:])
		}, requests: 1, unsized: true},
		{name: "cut, then continued", reply: first(cut(`"a"`, 150_000), ranged(`"a"`)), requests: 2},
		{name: "cut, continued without a hash", reply: first(cut(`"a"`, 150_000), ranged(`"a"`)), requests: 2, unhashed: true, unsized: true},
		{name: "cut, then changed", reply: first(func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			cut(`"a"`, 150_000)(w, r, n, bytes.Repeat([]byte{1}, len(data)))
		}, ranged(`"b"`)), requests: 2, twice: 150_000},
		{name: "cut, then changed, without a hash", reply: first(func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			cut(`"a"`, 150_000)(w, r, n, bytes.Repeat([]byte{1}, len(data)))
		}, ranged(`"b"`)), requests: 2, unhashed: true, twice: 150_000},
		{name: "cut without a validator or hash, then from the start", reply: first(func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			cut("", 150_000)(w, r, n, bytes.Repeat([]byte{1}, len(data)))
		}, ranged("")), requests: 2, unhashed: true, twice: 150_000},
		{name: "weak validator, no hash, then from the start", reply: first(cut(`W/"a"`, 150_000), ranged(`W/"a"`)), requests: 2, unhashed: true, twice: 150_000},
		{name: "cut, ranges ignored", reply: first(cut("", 150_000), right), requests: 2, twice: 150_000},
		{name: "cut, the condition of the range ignored", reply: first(func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			cut(`"a"`, 150_000)(w, r, n, bytes.Repeat([]byte{1}, len(data)))
		}, func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			r.Header.Del("If-Range")
			ranged(`"b"`)(w, r, n, data)
		}), requests: 3, twice: 150_000, unhashed: true},
		{name: "cut, then a range that lies", reply: first(cut(`"a"`, 150_000), func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			if r.Header.Get("Range") == "" {
				right(w, r, n, data)
				return
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 149999-%d/%d", len(data)-1, len(data)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data[149_999:])
		}), requests: 3, twice: 150_000},
		{name: "cut, then 416", reply: first(cut(`"a"`, 150_000), func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			if r.Header.Get("Range") == "" {
				right(w, r, n, data)
				return
			}
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		}), requests: 3, twice: 150_000},
		{name: "416 for ever", reply: status(416), fails: `"dir/file": the server answers 416`, exit: 54, requests: 1},
		{name: "206 though not asked for", reply: func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data)
		}, fails: `"dir/file": the server answers 206`, exit: 55},
		{name: "always cut at the same place", reply: cut("", 150_000), fails: `"dir/file": cut after 150000 bytes`, exit: 10, twice: 1 << 40},
		{name: "ends cleanly before the end", reply: func(w http.ResponseWriter, _ *http.Request, _ int, data []byte) {
			_, _ = w.Write(data[:1000])
			_ = http.NewResponseController(w).Flush()
		}, fails: `"dir/file": ended after 1000 of 400000 bytes`, exit: 10, twice: 1 << 40},
		{name: "ends cleanly before the end, size not known", reply: func(w http.ResponseWriter, _ *http.Request, _ int, data []byte) {
			_, _ = w.Write(data[:1000])
			_ = http.NewResponseController(w).Flush()
		}, unsized: true, fails: `"dir/file": its sha256 is `, exit: 55, twice: 1 << 40},
		{name: "length lies: more", reply: func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			right(w, r, n, append(bytes.Clone(data), 0))
		}, fails: `"dir/file": there are 400001 bytes where 400000 were promised`, exit: 55},
		{name: "more than promised, no length", reply: func(w http.ResponseWriter, _ *http.Request, _ int, data []byte) {
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(data)
			_, _ = w.Write(data)
		}, fails: `"dir/file": more than the 400000 bytes that were promised`, exit: 55, twice: 1 << 40},
		{name: "length lies: less comes", reply: first(func(w http.ResponseWriter, _ *http.Request, _ int, data []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data[:200_000])
		}, right), requests: 2, twice: 200_000},
		{name: "flipped once", reply: first(flipped, right), requests: 2, twice: 400_000},
		{name: "flipped in what is continued", reply: func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			wrong := bytes.Clone(data)
			wrong[1000] ^= 1
			switch n {
			case 0:
				cut(`"a"`, 150_000)(w, r, n, wrong)
			default:
				ranged(`"a"`)(w, r, n, data)
			}
		}, requests: 3, twice: 400_000},
		{name: "flipped for ever", reply: flipped, fails: `"dir/file": its sha256 is `, exit: 55, requests: 5, twice: 1 << 40},
		{name: "429 with a time", reply: first(status(429, "Retry-After", "7"), right), requests: 2},
		{name: "503 for ever", reply: status(503), fails: `"dir/file": the server answers 503`, exit: 10, requests: 5},
		{name: "500, then right", reply: first(status(500), right), requests: 2},
		{name: "404", reply: status(404), fails: `"dir/file": the server answers 404`, exit: 54, requests: 1},
		{name: "403", reply: status(403), fails: `"dir/file": the server answers 403`, exit: 53, requests: 1},
		{name: "401", reply: status(401), fails: `fetch "dir/file": the server answers 401`, exit: 52, requests: 1},
		{name: "202", reply: status(202), fails: `"dir/file": the server answers 202`, exit: 55},
		{name: "204", reply: func(w http.ResponseWriter, _ *http.Request, _ int, _ []byte) { w.WriteHeader(http.StatusNoContent) }, fails: `"dir/file": the server answers 204`, exit: 55},
		{name: "304", reply: status(304), fails: `"dir/file": the server answers 304`, exit: 54},
		{name: "redirect loop", reply: func(w http.ResponseWriter, r *http.Request, _ int, _ []byte) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, fails: `"dir/file": redirected more than 10 times`, exit: 54, requests: 11},
		{name: "redirect to elsewhere", reply: first(func(w http.ResponseWriter, r *http.Request, _ int, _ []byte) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, right), requests: 2},
		{name: "redirect to another scheme", reply: status(302, "Location", "file:///etc/passwd"), fails: `"dir/file": `, exit: 51},
		{name: "stalls once", reply: first(stall, ranged("")), requests: 2},
		{name: "stalls for ever", reply: func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			if n > 0 {
				<-r.Context().Done()
				return
			}
			stall(w, r, n, data)
		}, fails: `"dir/file": not a byte came in 400ms`, exit: 51, twice: 1 << 40},
		{name: "never answers", reply: func(_ http.ResponseWriter, r *http.Request, _ int, _ []byte) { <-r.Context().Done() }, fails: `"dir/file": not a byte came in 400ms`, exit: 51},
		{name: "gzip not asked for", reply: func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			_, _ = z.Write(data)
			_ = z.Close()
			w.Header().Set("Content-Encoding", "gzip")
			right(w, r, n, packed.Bytes())
		}, fails: `"dir/file": `, exit: 55, unsized: true, twice: 1 << 40},
		{name: "a file that is called encoded", reply: func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			w.Header().Set("Content-Encoding", "x-gzip")
			right(w, r, n, data)
		}, requests: 1},
		{name: "encoded, no hash", reply: func(w http.ResponseWriter, r *http.Request, n int, data []byte) {
			w.Header().Set("Content-Encoding", "gzip")
			right(w, r, n, data)
		}, unhashed: true, fails: `"dir/file": it came encoded as "gzip"`, exit: 55, requests: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var (
				mu       sync.Mutex // guards requests
				requests int
			)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				n := requests
				requests++
				mu.Unlock()
				if encoding := r.Header.Get("Accept-Encoding"); encoding != "identity" {
					t.Errorf("accepts %q", encoding)
				}
				test.reply(w, r, n, data)
			}))
			defer server.Close()
			web := NewWeb(WebOptions{})
			defer web.Close()
			file := fileOf("dir/file", data)
			file.Origin = server.URL + "/name?token=secret"
			if test.unhashed {
				file.Algorithm, file.Hash = "", ""
			}
			if test.unsized {
				file.Size = -1
			}
			dir := t.TempDir()
			var waits []time.Duration
			job := Job{Dir: dir, Files: listOf(file), Supplier: web, AllowUnverified: test.unhashed, Idle: 400 * time.Millisecond}
			if !strings.Contains(test.name, "stall") && !strings.Contains(test.name, "never") {
				job.Idle = time.Minute
			}
			job.sleep = func(ctx context.Context, d time.Duration) error {
				waits = append(waits, d)
				return context.Cause(ctx)
			}
			report, err := Run(t.Context(), job)
			if test.fails == "" {
				if err != nil {
					t.Fatal(err)
				}
				wantFolder(t, dir, set{"dir/file": data})
				if report.Fetched != 1 || (report.Unverified == 1) != test.unhashed || report.Received > int64(len(data))+test.twice {
					t.Errorf("%+v", report)
				}
			} else {
				if err == nil || !strings.Contains(err.Error(), test.fails) || strings.Contains(err.Error(), "secret") {
					t.Errorf("error %v, want %q", err, test.fails)
				}
				if exit := gapless.ExitCode(err); exit != test.exit {
					t.Errorf("exit %d, want %d", exit, test.exit)
				}
				if got := readFolder(t, dir); len(got) > 0 {
					t.Errorf("there are files: %d", len(got))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if test.requests > 0 && requests != test.requests {
				t.Errorf("%d requests, want %d", requests, test.requests)
			}
			if test.name == "429 with a time" && (len(waits) != 1 || waits[0] != 7*time.Second) {
				t.Errorf("waited %v", waits)
			}
		})
	}
}

func TestWebSendsCredentials(t *testing.T) {
	t.Parallel()
	data := content("x", 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "word" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write(data)
	}))
	defer server.Close()
	file := fileOf("x", data)
	file.Origin = server.URL
	run := func(authorize func(*http.Request) error) error {
		web := NewWeb(WebOptions{Authorize: authorize})
		defer web.Close()
		_, err := Run(t.Context(), Job{Dir: t.TempDir(), Files: listOf(file), Supplier: web})
		return err
	}
	if err := run(func(r *http.Request) error { r.SetBasicAuth("user", "word"); return nil }); err != nil {
		t.Error(err)
	}
	if err := run(nil); gapless.ExitCode(err) != 52 {
		t.Error(err)
	}
	broken := errors.New("no such token")
	if err := run(func(*http.Request) error { return broken }); !errors.Is(err, broken) || !strings.Contains(err.Error(), `"x"`) {
		t.Error(err)
	}
}

// TestWebKeepsCredentials has servers that send requests elsewhere: to another
// host, to another port of theirs, and back again.
func TestWebKeepsCredentials(t *testing.T) {
	t.Parallel()
	data := content("x", 1000)
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if strings.Contains(r.Header.Get(name), "word") {
				t.Errorf("%s is told %s", r.Host, name)
			}
		}
		_, _ = w.Write(data)
	}))
	defer foreign.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != "word" || r.Header.Get("Authorization") != "Bearer word" || r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("%s is asked with %v", r.URL, r.Header)
		}
		to := map[string]string{"/port": foreign.URL, "/host": strings.Replace(foreign.URL, "127.0.0.1", "localhost", 1), "/same": "/here"}[r.URL.Path]
		if to == "" {
			_, _ = w.Write(data)
			return
		}
		http.Redirect(w, r, to, http.StatusFound)
	}))
	defer server.Close()
	for _, path := range []string{"/port", "/host", "/same"} {
		file := fileOf("x", data)
		file.Origin = server.URL + path
		web := NewWeb(WebOptions{Authorize: func(r *http.Request) error {
			r.Header.Set("X-Key", "word")
			r.Header.Set("Authorization", "Bearer word")
			return nil
		}})
		if _, err := Run(t.Context(), Job{Dir: t.TempDir(), Files: listOf(file), Supplier: web}); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		_ = web.Close()
	}
}

func TestWebRefusesOtherOrigins(t *testing.T) {
	t.Parallel()
	for _, origin := range []string{"", "file:///etc/passwd", "ftp://host/x", "http:", "http://user:secret@host:port/x", "//host/x", "%"} {
		file := fileOf("x", nil)
		file.Origin = origin
		web := NewWeb(WebOptions{})
		_, err := Run(t.Context(), Job{Dir: t.TempDir(), Files: listOf(file), Supplier: web})
		if gapless.ExitCode(err) != 54 || !strings.Contains(err.Error(), `"x": `) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

func TestContentRange(t *testing.T) {
	t.Parallel()
	type result struct {
		Size int64
		Fits bool
	}
	for text, want := range map[string]result{
		"bytes 5-9/10": {10, true}, "bytes 5-9/*": {-1, true}, "bytes 4-9/10": {}, "bytes 5-8/10": {10, false},
		"bytes 5-4/5": {}, "5-9/10": {}, "bytes */10": {}, "": {}, "bytes 5-9": {}, "bytes 5-x/10": {}, "bytes 5-9/y": {},
	} {
		size, fits := continues(text, 5)
		if !fits && !want.Fits {
			continue
		}
		if diff := cmp.Diff(want, result{size, fits}); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}
