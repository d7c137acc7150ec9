package pacifica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/transfer"
)

func newCarts(t *testing.T, opts CartOptions) *CartAPI {
	t.Helper()
	a, err := NewCartAPI(opts)
	must(t, err)
	t.Cleanup(func() { must(t, a.Close()) })
	return a
}

// TestAddress has the sources of the address in their order.
func TestAddress(t *testing.T) {
	t.Parallel()
	env := map[string]string{"CARTD_PROTO": "https", "CARTD_ADDR": "envhost", "CARTD_PORT": "99"}
	whole := map[string]string{"CARTD_CART_API_URL": "http://whole/base/"}
	tests := []struct {
		name, want string
		opts       CartOptions
		env        map[string]string
	}{
		{"nothing", "http://127.0.0.1:8081", CartOptions{}, nil},
		{"parts of the environment", "https://envhost:99", CartOptions{}, env},
		{"parts given", "http://h:1", CartOptions{Proto: "http", Addr: "h", Port: "1"}, env},
		{"a part given", "https://h:99", CartOptions{Addr: "h"}, env},
		{"the environment's address beats parts", "http://whole/base", CartOptions{Addr: "h"}, whole},
		{"an address given", "http://h/x", CartOptions{URL: "http://h/x/"}, whole},
		{"credentials in it", "http://h", CartOptions{URL: "http://anna:s3cret@h"}, nil},
		{"no address", "", CartOptions{URL: "http://a b/s3cret%zz"}, nil},
		{"another scheme", "", CartOptions{URL: "ftp://anna:s3cret@h"}, nil},
		{"a query", "", CartOptions{URL: "http://h/?s3cret"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.opts.getenv = func(name string) string { return tt.env[name] }
			a, err := NewCartAPI(tt.opts)
			if tt.want == "" {
				if gapless.ExitCode(err) != gapless.ExitUsage || strings.Contains(fmt.Sprint(err), "s3cret") {
					t.Errorf("got %v", err)
				}
				return
			}
			must(t, err)
			if a.URL() != tt.want {
				t.Errorf("got %s, want %s", a.URL(), tt.want)
			}
		})
	}
}

// TestRefusedOrders has lists that a cart server never finishes or that make it
// write elsewhere. Nothing is sent.
func TestRefusedOrders(t *testing.T) {
	t.Parallel()
	s := newCartServer(t)
	a := newCarts(t, s.options())
	hash := sha1Of("")
	file := func(id, path string) transfer.File {
		return transfer.File{Path: path, Size: -1, Algorithm: "sha1", Hash: hash, Origin: id}
	}
	tests := []struct {
		name, says string
		files      []transfer.File
	}{
		{"none", "no files", nil},
		{"id with NUL", `"1\x002"`, []transfer.File{file("1\x002", "p")}},
		{"no id", "no id", []transfer.File{file("", "p")}},
		{"empty path", "empty", []transfer.File{file("1", "")}},
		{"just a slash", "absolute", []transfer.File{file("1", "/")}},
		{"a folder", "dir/", []transfer.File{file("1", "dir/")}},
		{"NUL", `\x00`, []transfer.File{file("1", "a\x00b")}},
		{"absolute", "absolute", []transfer.File{file("1", "//tmp/x")}},
		{"above", "..", []transfer.File{file("1", "../../../x")}},
		{"a file and a folder", `"p" is a file and a folder`, []transfer.File{file("1", "p"), file("2", "p/q")}},
		{"a folder and a file", `"p" is a file and a folder`, []transfer.File{file("1", "p/q"), file("2", "p")}},
		{"one path twice", `two files have the path "p"`, []transfer.File{file("1", "p"), file("2", "p")}},
		{"4,096 characters", "longer than", []transfer.File{file("1", strings.Repeat("x/", 2048)+"xx")}},
		{"hash of another length", "hexadecimal", []transfer.File{{Path: "p", Algorithm: "md5", Hash: hash, Origin: "1"}}},
		{"unknown algorithm", "crc99", []transfer.File{{Path: "p", Algorithm: "crc99", Hash: hash, Origin: "1"}}},
	}
	for _, tt := range tests {
		_, err := a.SetupCart(t.Context(), seqOf(tt.files))
		e, ok := errors.AsType[*gapless.Error](err)
		if !ok || e.Code != gapless.CodeFileList || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	sentinel := errors.New("no more")
	if _, err := a.SetupCart(t.Context(), func(yield func(transfer.File, error) bool) { yield(transfer.File{}, sentinel) }); !errors.Is(err, sentinel) {
		t.Errorf("got %v", err)
	}
	if len(s.requests()) > 0 {
		t.Errorf("%d requests were sent", len(s.requests()))
	}
}

// TestOrders has what cart servers take: capitals in lower case, ids of both
// kinds, and a path that is too long for them under another.
func TestOrders(t *testing.T) {
	t.Parallel()
	s := newCartServer(t)
	s.contents = map[string]string{"1100": "x", "n-7": "y", "007": "z", "dir/x": "w"}
	deep := strings.Repeat("0123456789/", 30) + "end"
	list := []transfer.File{
		{Path: deep, Size: 1, Algorithm: "SHA1", Hash: strings.ToUpper(sha1Of("x")), Origin: "1100"},
		{Path: "a", Size: 1, Algorithm: "sha1", Hash: sha1Of("y"), Origin: "n-7"},
		{Path: "b", Size: 1, Algorithm: "sha1", Hash: sha1Of("z"), Origin: "007"},
		{Path: "c", Size: 1, Algorithm: "sha1", Hash: sha1Of("w"), Origin: "dir/x"},
	}
	d, dir := newDownloader(t, s.options())
	_, err := d.Files(t.Context(), seqOf(list), DownloadOptions{})
	must(t, err)
	check(t, dir, map[string]string{deep: "x", "a": "y", "b": "z", "c": "w"})
	got := map[string]string{}
	for _, f := range s.ordered()[0] {
		got[string(f.ID)] = f.Path + " " + f.Algorithm + " " + f.Hash[:3]
		if len(f.Path) > maxWirePath {
			t.Errorf("%d characters", len(f.Path))
		}
	}
	want := map[string]string{"1100": wirePath(deep) + " sha1 " + sha1Of("x")[:3], `"n-7"`: "a sha1 " + sha1Of("y")[:3], `"007"`: "b sha1 " + sha1Of("z")[:3], `"dir/x"`: "c sha1 " + sha1Of("w")[:3]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestBadFileAmongMany has a cart that fails because of single files: the others
// come, and these are named.
func TestBadFileAmongMany(t *testing.T) {
	t.Parallel()
	s := newCartServer(t)
	want := map[string]string{}
	for i := range 60 {
		s.contents[fmt.Sprint(2000+i)] = fmt.Sprintf("content %d", i)
	}
	files := s.files()
	for i := range files {
		switch files[i].Origin {
		case "2013", "2044":
			files[i].Hash = sha1Of("something else")
		case "2030":
			files[i].Origin = "999" // nobody has it
		default:
			want[files[i].Path] = s.contents[files[i].Origin]
		}
	}
	d, dir := newDownloader(t, s.options())
	report, err := d.Files(t.Context(), seqOf(files), DownloadOptions{Job: transfer.Job{Attempts: 2, Streams: 1}})
	if gapless.ExitCode(err) != gapless.ExitRecoverable {
		t.Errorf("exit code %d: %v", gapless.ExitCode(err), err)
	}
	check(t, dir, want)
	var named []string
	for _, f := range report.Failures {
		named = append(named, f.Path)
		if !strings.Contains(f.Err.Error(), "could not stage") {
			t.Errorf("%s: %v", f.Path, f.Err)
		}
	}
	slices.Sort(named)
	if diff := cmp.Diff([]string{"more/2013", "more/2030", "more/2044"}, named); diff != "" {
		t.Error(diff)
	}
	if s.left() > 0 {
		t.Errorf("%d carts were left", s.left())
	}
}

// TestStop returns the error of deliver as it is, whatever else went wrong.
func TestStop(t *testing.T) {
	t.Parallel()
	s := newCartServer(t)
	var wanted []transfer.Wanted
	for _, f := range s.files() {
		wanted = append(wanted, transfer.Wanted{File: f})
	}
	wanted[0].Hash = sha1Of("something else")
	full := errors.New("disk full")
	delivered := 0
	c := &Carts{API: newCarts(t, s.options())}
	err := c.Supply(t.Context(), wanted, func(transfer.Content) error {
		delivered++
		return full
	})
	if !errors.Is(err, full) || strings.Contains(err.Error(), "stage") || delivered != 1 || s.left() > 0 {
		t.Errorf("%d delivered: %v", delivered, err)
	}
}

// TestGone has a server that drops carts: they are ordered anew, for what has
// not come, but not for ever.
func TestGone(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		for drops, orders := range map[int]int{1: 2, 3: 4, 99: 4} {
			s := newCartServer(t)
			s.act = func(w http.ResponseWriter, r *http.Request, n int) bool {
				if r.Method != method || n > drops {
					return false
				}
				w.WriteHeader(http.StatusNotFound)
				return true
			}
			var wanted []transfer.Wanted
			for _, f := range s.files() {
				wanted = append(wanted, transfer.Wanted{File: f})
			}
			c := &Carts{API: newCarts(t, s.options())}
			err := c.Supply(t.Context(), wanted, func(transfer.Content) error { return nil })
			if drops < 99 {
				must(t, err)
			} else if gapless.KindOf(err) != gapless.KindRecoverable {
				t.Errorf("%s: %v", method, err)
			}
			if len(s.ordered()) != orders || s.left() > 0 {
				t.Errorf("%s: %d drops, %d orders, %d left", method, drops, len(s.ordered()), s.left())
			}
		}
	}
}

// TestSplitIsBounded has a server that can stage nothing at all.
func TestSplitIsBounded(t *testing.T) {
	t.Parallel()
	s := newCartServer(t)
	for i := range 500 {
		s.contents[fmt.Sprint(2000+i)] = "x"
	}
	s.act = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method != http.MethodHead {
			return false
		}
		pacificaHeaders(w, http.StatusInternalServerError, "error", "Max retries exceeded")
		return true
	}
	var wanted []transfer.Wanted
	for _, f := range s.files() {
		wanted = append(wanted, transfer.Wanted{File: f})
	}
	c := &Carts{API: newCarts(t, s.options())}
	err := c.Supply(t.Context(), wanted, nil)
	if gapless.KindOf(err) != gapless.KindRecoverable || !strings.Contains(fmt.Sprint(err), "Max retries exceeded") || !strings.Contains(fmt.Sprint(err), wanted[0].Path) {
		t.Errorf("got %v", err)
	}
	if n := s.count(http.MethodPost); n > 50 {
		t.Errorf("%d carts for a server that can stage nothing", n)
	}
}

// answers is a server without a network, for tests of time.
type answers func(r *http.Request) *http.Response

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if response := f(r); response != nil {
		response.Body, response.Request = http.NoBody, r
		return response, nil
	}
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

func status(code int, status string) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{headerStatus: {status}, headerMessage: {""}}}
}

// TestPolling begins with a fraction of a second and grows to five, tells of a
// cart that takes long, and ends by the clock.
func TestPolling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Duration
		var told []string
		began := time.Now()
		a, err := NewCartAPI(CartOptions{Access: Access{getenv: noEnv}, Notify: func(n Notice) {
			told = append(told, fmt.Sprint(n.Kind, " ", n.Elapsed.Round(time.Minute), " ", n.Message))
		}})
		must(t, err)
		a.server.http.Transport = answers(func(*http.Request) *http.Response {
			asked = append(asked, time.Since(began))
			return status(http.StatusNoContent, "staging")
		})
		err = a.WaitForCart(t.Context(), a.URL()+"/x", 7*time.Minute)
		if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeCart || gapless.ExitCode(err) != 51 || !strings.Contains(err.Error(), "not ready after 7m0s; heard last: staging") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != 7*time.Minute {
			t.Errorf("it took %s", took)
		}
		if asked[0] != 0 || asked[1] != 20*time.Millisecond || asked[2] != 50*time.Millisecond || asked[len(asked)-1]-asked[len(asked)-2] != 5*time.Second {
			t.Errorf("asked after %v", asked)
		}
		if diff := cmp.Diff([]string{"pending 2m0s staging", "pending 4m0s staging", "pending 6m0s staging"}, told); diff != "" {
			t.Error(diff)
		}
	})
}

// TestServerIsAway during the staging of a cart: for less than a minute it does
// not matter, for longer the wait ends.
func TestServerIsAway(t *testing.T) {
	t.Parallel()
	for _, away := range []time.Duration{50 * time.Second, 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			a, err := NewCartAPI(CartOptions{Access: Access{getenv: noEnv}})
			must(t, err)
			a.server.http.Transport = answers(func(*http.Request) *http.Response {
				switch since := time.Since(began); {
				case since < time.Minute:
					return status(http.StatusNoContent, "staging")
				case since < time.Minute+away:
					return status(http.StatusServiceUnavailable, "")
				}
				return status(http.StatusNoContent, "ready")
			})
			err = a.WaitForCart(t.Context(), a.URL()+"/x", 0)
			if away < time.Minute {
				must(t, err)
			} else if took := time.Since(began); gapless.ExitCode(err) != gapless.ExitRecoverable || took > 3*time.Minute {
				t.Errorf("after %s: %v", took, err)
			}
		})
	}
}

// TestSilentServer neither answers nor closes.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		a, err := NewCartAPI(CartOptions{Access: Access{Retries: 1, getenv: noEnv}})
		must(t, err)
		a.server.http.Transport = answers(func(*http.Request) *http.Response { return nil })
		err = a.Delete(t.Context(), a.URL()+"/x")
		if took := time.Since(began).Round(time.Minute); gapless.ExitCode(err) != 51 || !strings.Contains(fmt.Sprint(err), "nothing came for 1m0s") || took != 2*time.Minute {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

// TestCancelDeletesTheCart stops a download at each of its stages.
func TestCancelDeletesTheCart(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodGet} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s := newCartServer(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			s.act = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.Method != method {
					return false
				}
				if method == http.MethodPost { // it is taken, but nobody hears of it
					s.mu.Lock()
					s.order(&lostAnswer{}, r)
					s.mu.Unlock()
				}
				cancel(gapless.ErrInterrupted)
				<-r.Context().Done()
				return true
			}
			d, dir := newDownloader(t, s.options())
			_, err := d.Files(ctx, seqOf(s.files()), DownloadOptions{})
			if !errors.Is(err, gapless.ErrInterrupted) || gapless.ExitCode(err) != gapless.ExitInterrupted {
				t.Errorf("got %v", err)
			}
			check(t, dir, nil)
			if len(s.ordered()) != 1 || s.left() > 0 {
				t.Errorf("%d orders, %d carts were left", len(s.ordered()), s.left())
			}
		})
	}
}

// lostAnswer is an answer that goes nowhere.
type lostAnswer struct{ h http.Header }

func (l *lostAnswer) Header() http.Header {
	if l.h == nil {
		l.h = http.Header{}
	}
	return l.h
}
func (l *lostAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (l *lostAnswer) WriteHeader(int)             {}

// TestKeepAndNotices leaves the carts, and tells of those that cannot be
// deleted.
func TestKeepAndNotices(t *testing.T) {
	t.Parallel()
	s := newCartServer(t)
	var mu sync.Mutex
	var kinds []NoticeKind
	opts := s.options()
	opts.Notify = func(n Notice) {
		mu.Lock()
		defer mu.Unlock()
		kinds = append(kinds, n.Kind)
	}
	d, _ := newDownloader(t, opts)
	_, err := d.Files(t.Context(), seqOf(s.files()), DownloadOptions{KeepCarts: true})
	must(t, err)
	if s.count(http.MethodDelete) > 0 || s.left() != 1 {
		t.Errorf("%d carts are left after %d deletes", s.left(), s.count(http.MethodDelete))
	}
	s.act = func(w http.ResponseWriter, r *http.Request, n int) bool {
		switch {
		case r.Method == http.MethodHead && n == 3:
			pacificaHeaders(w, http.StatusNotFound, "error", "gone")
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusForbidden)
		default:
			return false
		}
		return true
	}
	_, err = d.Files(t.Context(), seqOf(s.files()), DownloadOptions{Filename: "again.tar"})
	must(t, err)
	want := []NoticeKind{NoticeOrdered, NoticeReady, NoticeOrdered, NoticeGone, NoticeLeft, NoticeOrdered, NoticeReady, NoticeLeft}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
}

// TestContinuedArchive has a server with ranges that breaks off again and again,
// and a file of which the beginning is here: no byte is sent twice.
func TestContinuedArchive(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // 3 MiB
	for _, tt := range []struct {
		name   string
		tag    func(n int) string
		offset int64
		says   string
	}{
		{"from the start", func(int) string { return `"a"` }, 0, ""},
		{"from the middle", func(int) string { return `"a"` }, 2 << 20, ""},
		{"whole but unproven", func(int) string { return `"a"` }, 3 << 20, ""},
		{"without a tag, unbroken", func(int) string { return "" }, 2 << 20, ""},
		{"without a tag", func(int) string { return "" }, 2 << 20, "connection failed"},
		{"weak", func(int) string { return `W/"a"` }, 0, "connection failed"},
		{"changed", func(n int) string { return fmt.Sprintf(`"%d"`, n) }, 0, "has changed"},
		{"changed, If-Range passed over", func(n int) string { return fmt.Sprintf(`"%d"`, n) }, 0, "has changed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newCartServer(t)
			s.contents = map[string]string{"7": string(large)}
			var sent atomic.Int64
			s.act = func(w http.ResponseWriter, r *http.Request, n int) bool {
				if r.Method != http.MethodGet {
					return false
				}
				s.mu.Lock()
				whole := s.tar(rootFolder, s.carts[r.URL.Path].files)
				s.mu.Unlock()
				w.Header().Set("ETag", tt.tag(n))
				if strings.Contains(tt.name, "passed over") {
					r.Header.Del("If-Range")
				}
				piece := 1 << 20
				if strings.Contains(tt.name, "unbroken") {
					piece = 8 << 20
				}
				cut := &cutWriter{ResponseWriter: w, left: piece}
				http.ServeContent(cut, r, "", time.Time{}, bytes.NewReader(whole))
				sent.Add(int64(piece - cut.left))
				if cut.left == 0 {
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
				return true
			}
			wanted := transfer.Wanted{File: s.files()[0], Offset: tt.offset}
			got := bytes.NewBuffer(bytes.Clone(large[:tt.offset]))
			c := &Carts{API: newCarts(t, s.options())}
			err := c.Supply(t.Context(), []transfer.Wanted{wanted}, func(c transfer.Content) error {
				got.Truncate(int(c.Offset))
				_, err := io.Copy(got, c.Body)
				return keepGoing(err)
			})
			if tt.says != "" {
				if !strings.Contains(fmt.Sprint(err), tt.says) || gapless.KindOf(err) != gapless.KindRecoverable {
					t.Errorf("got %v", err)
				}
				return
			}
			must(t, err)
			if !bytes.Equal(got.Bytes(), large) {
				t.Errorf("%d bytes came that are not the file", got.Len())
			}
			if most := int64(len(large)) - tt.offset + 96<<10; sent.Load() > most && tt.tag(0) != "" {
				t.Errorf("%d bytes were sent, more than %d", sent.Load(), most)
			}
		})
	}
}

// keepGoing is what a transfer makes of a content that breaks off.
func keepGoing(error) error { return nil }

// cutWriter takes only so many bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		n, _ := c.ResponseWriter.Write(p[:c.left])
		c.left = 0
		return n, io.ErrShortWrite
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// TestRetries counts how often a request is sent that nobody can serve.
func TestRetries(t *testing.T) {
	t.Parallel()
	for retries, want := range map[int]int{-1: 1, 0: 5, 1: 2, 3: 4} {
		s := newCartServer(t)
		s.act = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		opts := s.options()
		opts.Retries = retries
		if err := newCarts(t, opts).Delete(t.Context(), s.URL+"/x"); gapless.ExitCode(err) != gapless.ExitRecoverable || s.count(http.MethodDelete) != want {
			t.Errorf("retries %d: %d requests, %v", retries, s.count(http.MethodDelete), err)
		}
	}
}
