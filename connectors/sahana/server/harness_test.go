package server_test

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/connectors/sahana/server"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

var update = flag.Bool("update", false, "write the golden files anew")

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

// fixture is a server on loopback with a hub behind it.
type fixture struct {
	hub     *hub.Hub
	server  *server.Server
	address string // with the base
	clock   *clock
}

func openHub(t testing.TB, dir string) *hub.Hub {
	t.Helper()
	h, err := hub.Open(t.Context(), hub.Options{Dir: dir})
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

// serve starts a server; o needs no store.
func serve(t testing.TB, h *hub.Hub, o server.Options) *fixture {
	t.Helper()
	f := &fixture{hub: h, clock: &clock{at: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}}
	if o.Now == nil {
		o.Now = f.clock.now
	}
	if o.Domain == "" {
		o.Domain = "gapless.test"
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	var err error
	if o.Store == nil {
		if o.Store, err = service.SahanaStore(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	if f.server, err = server.New(o); err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(f.server)
	t.Cleanup(listener.Close)
	f.address = listener.URL + "/eden/"
	return f
}

func fresh(t testing.TB) *fixture {
	t.Helper()
	return serve(t, openHub(t, t.TempDir()), server.Options{})
}

// do sends a request as an Eden does, and returns status and body.
func (f *fixture) do(t testing.TB, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
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

// send imports a document, which has to succeed.
func (f *fixture) send(t testing.TB, path, body string) s3.Envelope {
	t.Helper()
	status, text := f.do(t, "POST", path, body)
	e, err := s3.ReadEnvelope(strings.NewReader(text), s3.Limits{})
	if err != nil || status != 200 || !e.OK() {
		t.Fatalf("POST %s: %d %s (%v)", path, status, text, err)
	}
	return e
}

// read gets a document.
func (f *fixture) read(t testing.TB, path string) []s3.Resource {
	t.Helper()
	status, text := f.do(t, "GET", path, "")
	if status != 200 {
		t.Fatalf("GET %s: %d %s", path, status, text)
	}
	format := s3.S3XML
	if strings.HasPrefix(text, "{") {
		format = s3.S3JSON
	}
	var list []s3.Resource
	for r, err := range s3.NewDecoder(strings.NewReader(text), format, s3.DecodeOptions{}).Resources() {
		if err != nil {
			t.Fatalf("GET %s: %v\n%s", path, err, text)
		}
		list = append(list, r)
	}
	return list
}

func (f *fixture) register(t testing.TB, uuid string) {
	t.Helper()
	status, text := f.do(t, "POST", "sync/repository/register.json", fmt.Sprintf(`{"uuid": %q, "name": "127.0.0.1:8105", "apitype": "eden"}`, uuid))
	if status != 200 || !strings.Contains(text, "success") {
		t.Fatalf("register: %d %s", status, text)
	}
}

// organisation is an element with a name and a time.
func organisation(uuid, name, modified string, more ...string) string {
	if modified != "" {
		modified = ` modified_on="` + modified + `"`
	}
	return fmt.Sprintf(`<resource name="org_organisation" uuid="%s"%s><data field="name">%s</data>%s</resource>`, uuid, modified, name, strings.Join(more, ""))
}

func document(elements ...string) string { return "<s3xml>" + strings.Join(elements, "") + "</s3xml>" }

// names lists what records are called, by uuid.
func names(list []s3.Resource) map[string]string {
	m := map[string]string{}
	for _, r := range list {
		if f := r.Field("name"); f != nil {
			m[r.UUID] = f.Text
		} else if r.Deleted {
			m[r.UUID] = "deleted"
		}
	}
	return m
}

func pushPath(table, repository string, more ...string) string {
	return "sync/sync.xml?resource=" + table + "&repository=" + url.QueryEscape(repository) + strings.Join(more, "")
}
