package pacifica

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
)

const goldenID = "5f1c2f1e-8a35-4c2b-9d5e-0e7f3a1b2c3d"

// theatre is a server that expects the requests of a conversation byte for byte
// and answers with what the original server says. In both, {host} stands for its
// address, and {archive} for testdata/cart.tar in chunks.
type theatre struct {
	net.Listener
	t       *testing.T
	path    string
	archive *txtar.Archive
	done    sync.WaitGroup

	mu   sync.Mutex // guards what follows
	next int
}

func newTheatre(t *testing.T, name string) *theatre {
	t.Helper()
	path := filepath.Join("testdata", name)
	script, err := txtar.ParseFile(path)
	must(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	s := &theatre{Listener: l, t: t, path: path, archive: script}
	s.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.done.Go(func() { s.serve(c) })
		}
	})
	return s
}

// end waits for the last connection and says what was left out.
func (s *theatre) end() {
	_ = s.Close()
	s.done.Wait()
	if s.next != len(s.archive.Files) {
		s.t.Errorf("%s: %d of %d parts were played", s.path, s.next, len(s.archive.Files))
	}
}

func (s *theatre) serve(c net.Conn) {
	defer c.Close()
	var sent bytes.Buffer
	in := bufio.NewReader(io.TeeReader(c, &sent))
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return // the client hangs up between requests
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			s.t.Error(err)
		}
		reply := s.reply(strings.ReplaceAll(sent.String(), s.Addr().String(), "{host}"))
		sent.Reset()
		if _, err := io.WriteString(c, reply); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *theatre) reply(sent string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next+2 > len(s.archive.Files) {
		s.t.Errorf("%s: an unexpected request:\n%s", s.path, sent)
		return "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
	}
	request, reply := s.archive.Files[s.next], s.archive.Files[s.next+1]
	s.next += 2
	if diff := cmp.Diff(message(request.Data), sent); diff != "" {
		s.t.Errorf("%s: %s (-golden +sent):\n%s", s.path, request.Name, diff)
	}
	text := message(reply.Data)
	if strings.Contains(text, "{archive}") {
		content, err := os.ReadFile("testdata/cart.tar")
		if err != nil {
			s.t.Error(err)
		}
		text = strings.ReplaceAll(text, "{archive}", fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 9000, content[:9000], len(content)-9000, content[9000:]))
	}
	return text
}

// message returns a message as it is on the wire: the lines of its head end in
// CR LF, its body has no line feed at its end.
func message(text []byte) string {
	head, body, _ := strings.Cut(strings.TrimSuffix(string(text), "\n"), "\n\n")
	return strings.ReplaceAll(strings.TrimSuffix(head, "\n"), "\n", "\r\n") + "\r\n\r\n" + body
}

func goldenEvent(t testing.TB) event.Event {
	t.Helper()
	doc, err := os.ReadFile("testdata/event.json")
	must(t, err)
	e, err := event.Decode(doc)
	must(t, err)
	return e
}

// TestGoldenExchange downloads what an event names, without credentials and with
// all that there are.
func TestGoldenExchange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		access Access
		extra  map[string]any
	}{
		{"plain.txtar", Access{}, nil},
		{"token.txtar", Access{Token: "t0ken", Header: http.Header{"X-Gateway": {"k3y"}}}, map[string]any{"bundle": false}},
		{"login.txtar", Access{Login: "anna", Password: "s3cret"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTheatre(t, tt.name)
			tt.access.getenv, tt.access.sleep = noEnv, noSleep
			d, dir := newDownloader(t, CartOptions{URL: "http://" + s.Addr().String() + "/carts/", Access: tt.access, Extra: tt.extra, newID: func() string { return goldenID }})
			report, err := d.CloudEvent(t.Context(), goldenEvent(t), DownloadOptions{})
			must(t, err)
			must(t, d.Close())
			s.end()
			if report.Fetched != 4 || report.Unverified != 0 {
				t.Errorf("%+v", report)
			}
			for path, want := range map[string]string{"root.txt": "2016-11-29T22:09:05Z", "a/b/foo.bin": "2016-11-29T22:09:05Z"} {
				info, err := os.Stat(filepath.Join(dir, path))
				must(t, err)
				if got := info.ModTime().UTC().Format("2006-01-02T15:04:05Z"); got != want {
					t.Errorf("%s is of %s, want %s", path, got, want)
				}
			}
		})
	}
}

// TestGoldenPolicy asks for a transaction, and for one that there is not, which
// the original says with status 200.
func TestGoldenPolicy(t *testing.T) {
	t.Parallel()
	s := newTheatre(t, "policy.txtar")
	p, err := NewPolicy("http://"+s.Addr().String(), Access{Token: "t0ken", getenv: noEnv, sleep: noSleep})
	must(t, err)
	doc, err := p.Transaction(t.Context(), 67)
	must(t, err)
	var paths []string
	for f, err := range FilesOfTransaction(doc) {
		must(t, err)
		paths = append(paths, f.Origin+" "+f.Path)
	}
	if diff := cmp.Diff([]string{"1100 root.txt"}, paths); diff != "" {
		t.Error(diff)
	}
	if _, err := p.Transaction(t.Context(), 68); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	must(t, p.Close())
	s.end()
}
