package pushapi_test

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

var update = flag.Bool("update", false, "write the golden files anew")

// secretHash is that of the password "secret", as cheap as there may be.
const secretHash = "$2a$04$ZGpvkUGVaJTm4GeHUJnEcuBmthg.qnqGLchdPmevnvj2EiAkUSOHy"

// fixture is a server on loopback with a hub behind it.
type fixture struct {
	hub     *hub.Hub
	address string
}

// serve starts a server; o needs no store.
func serve(t testing.TB, h *hub.Hub, o pushapi.ServerOptions) *fixture {
	t.Helper()
	if o.Store == nil {
		o.Store = service.PushAPIStore(h)
	}
	s, err := pushapi.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s)
	server.Config.DisableGeneralOptionsHandler = true
	server.Start()
	t.Cleanup(server.Close)
	return &fixture{hub: h, address: server.Listener.Addr().String()}
}

func openHub(t testing.TB, dir string, search bool) *hub.Hub {
	t.Helper()
	h, err := hub.Open(t.Context(), hub.Options{Dir: dir, Search: search, MaxPartBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func fresh(t testing.TB) *fixture {
	t.Helper()
	return serve(t, openHub(t, t.TempDir(), false), pushapi.ServerOptions{})
}

func (f *fixture) url(rest string) string {
	return "http://" + f.address + "/papi/4/connectors/" + rest
}

// raw sends a request as it stands and returns the reply as it came, and an
// error if it broke off. The connection is closed for writing afterwards if
// half is set.
func (f *fixture) raw(t testing.TB, request string, half bool) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if half {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	var seen bytes.Buffer
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &seen)), &http.Request{Method: method})
	if err != nil {
		return seen.String(), err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return seen.String(), err
}

// do sends a request and returns status and body.
func (f *fixture) do(t testing.TB, method, rest, contentType, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.url(rest), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// must is do for what has to succeed.
func (f *fixture) must(t testing.TB, method, rest, contentType, body string) string {
	t.Helper()
	status, text := f.do(t, method, rest, contentType, body)
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, rest, status, text)
	}
	return text
}

const (
	multipartType = "multipart/form-data; boundary=b1"
	formType      = "application/x-www-form-urlencoded"
)

// multi returns a multipart body of names and values.
func multi(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString("--b1\r\nContent-Disposition: form-data; name=\"" + pairs[i] + "\"\r\n\r\n" + pairs[i+1] + "\r\n")
	}
	return b.String() + "--b1--\r\n"
}

// conversation is a golden file: pairs of a request and its reply.
type conversation struct {
	name    string
	archive *txtar.Archive
}

// ours reports whether the file belongs to the tests of the server.
func (g conversation) ours() bool { return strings.HasPrefix(g.name, "server/") }

func readConversation(t testing.TB, name string) conversation {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files)%2 != 0 {
		t.Fatalf("%s: the last request has no reply", name)
	}
	return conversation{name, archive}
}

var serials = regexp.MustCompile(`(?m)^[0-9]+$`)

// replay sends every request of the file and compares the replies, or writes
// them with -update. reply makes the golden text of what came.
func (g conversation) replay(t *testing.T, f *fixture, prepare func(string) string, reply func(name, raw string) string) {
	t.Helper()
	session := f.hub.Incarnation()
	for i := 0; i < len(g.archive.Files); i += 2 {
		name := g.archive.Files[i].Name
		request := prepare(strings.ReplaceAll(string(g.archive.Files[i].Data), "{session}", session))
		raw, err := f.raw(t, request, false)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("%s: %v\n%s", name, err, raw)
		}
		got := strings.ReplaceAll(reply(name, raw), session, "{session}")
		if !strings.HasSuffix(got, "\n") { // Content-Length tells the two apart
			got += "\n"
		}
		if *update && g.ours() {
			g.archive.Files[i+1].Data = []byte(got)
			continue
		}
		if diff := cmp.Diff(string(g.archive.Files[i+1].Data), got); diff != "" {
			t.Errorf("%s (-golden +came):\n%s", name, diff)
		}
	}
	if *update && g.ours() {
		if err := os.WriteFile(filepath.Join("testdata", g.name), txtar.Format(g.archive), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// crlf makes a request of the lines of a golden file. Its body ends with the
// last line, without a line end unless it is multipart.
func crlf(request string) string {
	head, body, _ := strings.Cut(strings.ReplaceAll(request, "\n", "\r\n"), "\r\n\r\n")
	if !strings.Contains(head, "multipart/form-data") {
		body = strings.TrimSuffix(body, "\r\n")
	}
	if body != "" && !strings.Contains(head, "Content-Length") && !strings.Contains(head, "chunked") {
		head += "\r\nContent-Length: " + strconv.Itoa(len(body))
	}
	return head + "\r\n\r\n" + body
}
