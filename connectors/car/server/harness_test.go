package server_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/server"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fixture is a server on loopback with a hub behind it.
type fixture struct {
	hub     *hub.Hub
	server  *server.Server
	address string
	// fault answers requests in place of the server if it returns a status.
	fault func(r *http.Request) (status int)
}

// serve starts a server; o needs no store.
func serve(t testing.TB, h *hub.Hub, o server.Options) *fixture {
	t.Helper()
	if o.Store == nil {
		o.Store = service.CARStore(h)
	}
	s, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{hub: h, server: s}
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.fault != nil {
			if status := f.fault(r); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		s.ServeHTTP(w, r)
	}))
	f.address = listener.Listener.Addr().String()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		listener.Close()
	})
	return f
}

// newListener serves a handler on loopback and returns its address.
func newListener(t testing.TB, h http.Handler) (address string) {
	t.Helper()
	listener := httptest.NewServer(h)
	t.Cleanup(listener.Close)
	return listener.Listener.Addr().String()
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

func fresh(t testing.TB) *fixture {
	t.Helper()
	return serve(t, openHub(t, t.TempDir()), server.Options{})
}

// url returns the address of a path, behind the version 2 unless it has one.
func (f *fixture) url(path string) string {
	if !strings.HasPrefix(path, "/v") {
		path = "/v2/" + path
	}
	return "http://" + f.address + "/api/car" + path
}

// do sends a request and returns status and body.
func (f *fixture) do(t testing.TB, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.url(path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
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

// must is do for what has to succeed, decoded.
func (f *fixture) must(t testing.TB, method, path, body string) map[string]any {
	t.Helper()
	status, text := f.do(t, method, path, body)
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	var reply map[string]any
	if err := json.Unmarshal([]byte(text), &reply); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
	return reply
}

// post sends an import of a source and returns its id.
func (f *fixture) post(t testing.TB, source, collections string) string {
	t.Helper()
	id, ok := f.must(t, "POST", "imports", envelopeOf(source, collections))["id"].(string)
	if !ok {
		t.Fatal("the import has no id")
	}
	return id
}

// envelopeOf is an import of a source; collections are members of its object.
func envelopeOf(source, collections string) string {
	if collections != "" {
		collections = "," + collections
	}
	return fmt.Sprintf(`{"source":{"_key":%q,"name":"cmdb"},"report":{"_key":"1795285439890.659","timestamp":1795285439890.659,"type":"cmdb"}%s}`, source, collections)
}

// take posts an import that has to be taken.
func (f *fixture) take(t testing.TB, source, collections string) {
	t.Helper()
	id := f.post(t, source, collections)
	if status := f.must(t, "GET", "importstatus/"+id, "")["status"]; status != "COMPLETE" {
		t.Fatalf("import %s: %v", collections, status)
	}
}

// job waits for the job of a request and returns it.
func (f *fixture) job(t testing.TB, method, path, body string) map[string]any {
	t.Helper()
	id := f.must(t, method, path, body)["job_id"].(string)
	return f.must(t, "GET", "jobstatus/"+id, "")
}

func (f *fixture) begin(t testing.TB, source string) {
	t.Helper()
	if j := f.job(t, "POST", "source/"+source+"/full-import-in-progress", ""); j["status"] != "COMPLETE" {
		t.Fatalf("%v", j)
	}
}

func (f *fixture) end(t testing.TB, source string) map[string]any {
	t.Helper()
	return f.job(t, "DELETE", "source/"+source+"/full-import-in-progress", "")
}

// active returns the rows that a source has, "collection key" to data.
func (f *fixture) active(t testing.TB, source string) map[string]string {
	t.Helper()
	return f.stored(t, source, func(collection string) bool {
		return collection != "source" && !strings.HasSuffix(collection, "@history")
	})
}

// history returns the retired rows of a source, without their times.
func (f *fixture) history(t testing.TB, source string) []string {
	t.Helper()
	var list []string
	for name := range f.stored(t, source, func(collection string) bool { return strings.HasSuffix(collection, "@history") }) {
		list = append(list, name[:strings.LastIndexByte(name, '@')])
	}
	slices.Sort(list)
	return list
}

func (f *fixture) stored(t testing.TB, source string, take func(collection string) bool) map[string]string {
	t.Helper()
	rows := map[string]string{}
	s, err := f.hub.Session(t.Context(), "car:"+source, 0)
	if err != nil {
		t.Fatal(err)
	}
	names, err := s.Collections()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !take(name) {
			continue
		}
		err := f.hub.Records(t.Context(), "car:"+source, gapless.Partition{ID: name, Collection: name}, "", func(r gapless.Record) error {
			rows[name+" "+r.Key] = string(r.Data)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

// holds compares the keys of the rows that a source has.
func (f *fixture) holds(t testing.TB, source string, want ...string) {
	t.Helper()
	got := []string{}
	for name := range f.active(t, source) {
		got = append(got, name)
	}
	slices.Sort(got)
	want = append([]string{}, want...)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows of %s (-want +got):\n%s", source, diff)
	}
}
