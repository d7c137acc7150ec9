package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gapless-sync/gapless/connectors/pacifica/server"
	"github.com/gapless-sync/gapless/transfer"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex // guards at
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// noon is when tests begin.
var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// fixture is a server on loopback with a folder of files.
type fixture struct {
	*server.Server
	root    string // of the files
	carts   string
	address string
	clock   *clock
	client  *http.Client
}

// serve starts a server; o needs nothing.
func serve(t testing.TB, o server.Options) *fixture {
	t.Helper()
	f := &fixture{root: t.TempDir(), carts: o.Dir, clock: &clock{at: noon}, client: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
	if f.carts == "" {
		f.carts = t.TempDir()
	}
	if o.Now == nil {
		o.Now = f.clock.now
	}
	if o.Files == nil {
		folder, err := server.OpenFolder(f.root)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = folder.Close() })
		o.Files = folder
	}
	o.Dir = f.carts
	var err error
	if f.Server, err = server.New(o); err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(f.Server)
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		if err := f.Server.Close(); err != nil {
			t.Error(err)
		}
		listener.Close()
	})
	f.address = listener.URL + "/"
	return f
}

// write puts a file into the folder, with a time that does not change.
func (f *fixture) write(t testing.TB, path, content string) {
	t.Helper()
	name := filepath.Join(f.root, filepath.FromSlash(path))
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o600), os.Chtimes(name, noon, noon)); err != nil {
		t.Fatal(err)
	}
}

// ordered is a file of an order.
type ordered struct {
	ID       any    `json:"id"`
	Path     string `json:"path"`
	HashType string `json:"hashtype"`
	HashSum  string `json:"hashsum"`
}

// wants orders a file by its path.
func wants(path, content string) ordered {
	sum := sha256.Sum256([]byte(content))
	return ordered{path, path, "sha256", hex.EncodeToString(sum[:])}
}

func body(files ...ordered) string {
	text, err := json.Marshal(map[string]any{"fileids": files})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// do sends a request and returns the answer, with its body closed.
func (f *fixture) do(t testing.TB, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	response := f.open(t, method, path, body, headers...)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

// open sends a request and leaves the body to the caller.
func (f *fixture) open(t testing.TB, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := f.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// order makes a cart.
func (f *fixture) order(t testing.TB, uid string, files ...ordered) {
	t.Helper()
	if r, text := f.do(t, "POST", uid, body(files...)); r.StatusCode != http.StatusCreated {
		t.Fatalf("POST: %s %s", r.Status, text)
	}
}

// settled waits until a cart is no longer staging, and returns state and
// message.
func (f *fixture) settled(t testing.TB, uid string) (status, message string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		r, _ := f.do(t, "HEAD", uid, "")
		status, message = r.Header.Get("X-Pacifica-Status"), r.Header.Get("X-Pacifica-Message")
		if status != "staging" {
			return status, message
		}
	}
	t.Fatalf("cart %s is staging for ever", uid)
	return "", ""
}

// ready makes a cart and waits until it can be downloaded.
func (f *fixture) ready(t testing.TB, uid string, files ...ordered) {
	t.Helper()
	f.order(t, uid, files...)
	if status, message := f.settled(t, uid); status != "ready" {
		t.Fatalf("cart %s: %s %s", uid, status, message)
	}
}

// gate is a folder that opens nothing until it is told to.
type gate struct {
	server.Files
	opened chan struct{}
}

func (g *gate) Open(ctx context.Context, wanted transfer.File) (server.Content, error) {
	select {
	case <-g.opened:
		return g.Files.Open(ctx, wanted)
	case <-ctx.Done():
		return server.Content{}, context.Cause(ctx)
	}
}
