package pacifica

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gapless-sync/gapless/transfer"
)

func TestMain(m *testing.M) {
	// bleve, which the hub searches with, starts its workers for the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"))
}

// cartServer is a cart server that behaves, unless a test makes it not to.
type cartServer struct {
	*httptest.Server
	// contents by id.
	contents map[string]string
	// act answers the n-th request of a method, counted from 1, if it returns
	// true.
	act func(w http.ResponseWriter, r *http.Request, n int) bool
	// archive writes the content of a cart, if it is not nil.
	archive func(w http.ResponseWriter, n int, cart string, files []orderedFile)
	// stalled is closed when silence may end.
	stalled chan struct{}
	// overread is whether somebody read what has no end for too long.
	overread atomic.Bool

	mu     sync.Mutex // guards what follows
	carts  map[string]*stagedCart
	counts map[string]int
	orders [][]orderedFile
	log    []*http.Request
}

type stagedCart struct {
	files   []orderedFile
	polls   int
	message string // why it failed
}

// newCartServer has the files 1100, 1101 and 1102, and any others that are put
// into it.
func newCartServer(t testing.TB) *cartServer {
	s := &cartServer{
		contents: map[string]string{"1100": "the root\n", "1101": strings.Repeat("x", 70_000), "1102": ""},
		carts:    map[string]*stagedCart{}, counts: map[string]int{},
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// files returns the server's files as a list of wanted ones.
func (s *cartServer) files() []transfer.File {
	paths := map[string]string{"1100": "root.txt", "1101": "a/b/\u00e9/bar\u00e9.txt", "1102": "a/" + strings.Repeat("n", 120) + ".txt"}
	var list []transfer.File
	for _, id := range slices.Sorted(maps.Keys(s.contents)) {
		if paths[id] == "" {
			paths[id] = "more/" + id
		}
		list = append(list, transfer.File{
			Path: paths[id], Size: int64(len(s.contents[id])), Algorithm: "sha1", Hash: sha1Of(s.contents[id]), Origin: id,
		})
	}
	return list
}

func sha1Of(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (s *cartServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.counts[r.Method]++
	n := s.counts[r.Method]
	s.log = append(s.log, r)
	s.mu.Unlock()
	if s.act != nil && s.act(w, r, n) {
		return
	}
	if files := s.answer(w, r); files == nil {
		return
	} else if s.archive != nil {
		s.archive(w, n, r.URL.Path[1:], files)
	} else {
		_, _ = w.Write(s.tar(rootFolder, files))
	}
}

// answer answers all but the download of a cart that is ready, whose files it
// returns.
func (s *cartServer) answer(w http.ResponseWriter, r *http.Request) []orderedFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	cart := s.carts[r.URL.Path]
	switch {
	case r.Method == http.MethodPost:
		s.order(w, r)
	case cart == nil && r.Method == http.MethodHead:
		pacificaHeaders(w, http.StatusNotFound, "error", "No cart with uid "+r.URL.Path[1:]+" found")
	case cart == nil:
		http.Error(w, `{"message": "The cart does not exist or has already been deleted"}`, http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(s.carts, r.URL.Path)
		_, _ = io.WriteString(w, `{"message": "Cart Deleted Successfully"}`)
	case r.Method == http.MethodHead && cart.message != "":
		pacificaHeaders(w, http.StatusInternalServerError, "error", cart.message)
	case r.Method == http.MethodHead:
		status := "staging"
		if cart.polls++; cart.polls > 1 {
			status = "ready"
		}
		pacificaHeaders(w, http.StatusNoContent, status, "")
	case cart.message != "":
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "The cart is not ready for download.")
	default:
		return cart.files
	}
	return nil
}

func pacificaHeaders(w http.ResponseWriter, code int, status, message string) {
	w.Header()[headerStatus], w.Header()[headerMessage] = []string{status}, []string{message}
	w.WriteHeader(code)
}

// order stages a cart as the original does: with a wrong hash or an unknown id
// all of it fails, without saying which file it was.
func (s *cartServer) order(w http.ResponseWriter, r *http.Request) {
	var order struct {
		FileIDs []orderedFile `json:"fileids"`
	}
	if r.Header.Get("Content-Type") != "application/json" || json.NewDecoder(r.Body).Decode(&order) != nil {
		http.Error(w, "no order", http.StatusUnsupportedMediaType)
		return
	}
	cart := &stagedCart{files: order.FileIDs}
	for _, f := range order.FileIDs {
		content, ok := s.contents[idOf(f)]
		switch {
		case !ok:
			cart.message = "Failed to stage with error: <h2>500</h2>"
		case f.Algorithm == "sha1" && sha1Of(content) != f.Hash:
			cart.message = "Failed to pull file(Failed to pull with error: File hash does not match provided hash)"
		}
	}
	s.carts[r.URL.Path] = cart
	s.orders = append(s.orders, order.FileIDs)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, `{"message": "Cart Processing has begun"}`)
}

func idOf(f orderedFile) string { return strings.Trim(string(f.ID), `"`) }

// tar returns files below root as an archive, folders among them.
func (s *cartServer) tar(root string, files []orderedFile) []byte {
	return s.tarOf(tar.FormatPAX, root, files)
}

func (s *cartServer) tarOf(format tar.Format, root string, files []orderedFile) []byte {
	members := []tarMember{{tar.Header{Name: root + "/", Typeflag: tar.TypeDir, Mode: 0o755}, ""}}
	for _, f := range slices.SortedFunc(slices.Values(files), func(a, b orderedFile) int { return strings.Compare(a.Path, b.Path) }) {
		members = append(members, tarMember{tar.Header{Name: root + "/" + f.Path, Mode: 0o644, Typeflag: tar.TypeReg, Format: format, ModTime: time.Unix(1480457345, 0)}, s.contents[idOf(f)]})
	}
	return tarWith(members...)
}

// tarMember is a member of an archive.
type tarMember struct {
	tar.Header
	content string
}

func tarWith(members ...tarMember) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if m.Typeflag == tar.TypeReg {
			m.Size = int64(len(m.content))
		}
		if err := w.WriteHeader(&m.Header); err != nil {
			panic(err)
		}
		if _, err := w.Write([]byte(m.content)); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// requests returns what was received so far.
func (s *cartServer) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// count returns how many requests of a method were received so far.
func (s *cartServer) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[method]
}

// ordered returns the orders so far.
func (s *cartServer) ordered() [][]orderedFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.orders)
}

// left returns how many carts were not deleted.
func (s *cartServer) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.carts)
}

// options are those of a patient client that does not really wait.
func (s *cartServer) options() CartOptions {
	return CartOptions{URL: s.URL, Access: Access{Timeout: 5 * time.Second, Retries: 3, sleep: noSleep, getenv: noEnv}}
}

func noEnv(string) string { return "" }

// noSleep ends with the context, as waiting does.
func noSleep(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }

func newDownloader(t *testing.T, opts CartOptions) (*Downloader, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "location")
	d, err := NewDownloader(dir, opts)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d, filepath.Join(dir, "data")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check compares what is below dir with the files that should be there: none
// that is half or wrong, and nothing else but the state of the transfer.
func check(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil && os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		switch {
		case e.Name() == ".gapless" && e.IsDir():
			return filepath.SkipDir
		case e.IsDir():
		case !e.Type().IsRegular():
			return fmt.Errorf("%s is %s", rel, e.Type())
		default:
			text, err := os.ReadFile(path)
			got[filepath.ToSlash(rel)] = fmt.Sprintf("%d bytes, md5 %x", len(text), md5.Sum(text))
			return err
		}
		return nil
	})
	must(t, err)
	wanted := map[string]string{}
	for path, text := range want {
		wanted[path] = fmt.Sprintf("%d bytes, md5 %x", len(text), md5.Sum([]byte(text)))
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("files below the target (-want +got):\n%s", diff)
	}
}

// hangUp closes the connection without an answer.
func hangUp(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_ = c.Close()
}

func seqOf(list []transfer.File) func(func(transfer.File, error) bool) {
	return func(yield func(transfer.File, error) bool) {
		for _, f := range list {
			if !yield(f, nil) {
				return
			}
		}
	}
}
