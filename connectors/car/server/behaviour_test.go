package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newOriginal(t testing.TB, f *fixture) *original {
	client := &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(client.CloseIdleConnections)
	return &original{t: t, f: f, client: client, source: "my-src", page: 2000, model: newModel()}
}

// demo is a model of some assets with their addresses, hosts and site.
func demo(assets int) *model {
	m := newModel()
	m.next()
	m.put("site", "s1", `"city": "Z\u00fcrich"`)
	for i := range assets {
		m.addAsset(i)
	}
	return m
}

func (m *model) addAsset(i int) {
	id, ip, host := fmt.Sprint(i), fmt.Sprintf("10.0.%d.%d", i/256, i%256), fmt.Sprintf("asset%d.example.com", i)
	m.put("asset", id, fmt.Sprintf(`"name": "asset%d", "initial_value": 2000.0`, i))
	m.put("ipaddress", ip, "")
	m.put("hostname", host, "")
	m.join("asset_ipaddress", id, ip)
	m.join("asset_hostname", id, host)
	m.join("site_asset", "s1", id)
}

// exits runs the connector and compares how that ends, what is stored, and the
// state that is saved.
func (o *original) exits(want int, state string) {
	o.t.Helper()
	if got := o.run(); got != want {
		o.t.Fatalf("exit %d, want %d; requests:\n%s", got, want, strings.Join(o.requests, "\n"))
	}
	if want == exitOK {
		o.f.holds(o.t, o.source, o.model.keys()...)
	}
	status, text := o.f.do(o.t, "GET", "source/"+o.source, "")
	if state == "none" {
		if status == http.StatusOK && strings.Contains(text, "model_state_id") {
			o.t.Errorf("a state was saved: %s", text)
		}
	} else if !strings.Contains(text, `"model_state_id":"`+state+`"`) {
		o.t.Errorf("the state is not %q: %d %s", state, status, text)
	}
}

// wasFull reports whether the last run was a full import.
func (o *original) wasFull() bool {
	for _, r := range o.requests {
		if strings.HasPrefix(r, "POST source/") {
			return true
		}
	}
	return false
}

func (o *original) expectFull(want bool) {
	o.t.Helper()
	if o.wasFull() != want {
		o.t.Errorf("full import %v, want %v:\n%s", !want, want, strings.Join(o.requests, "\n"))
	}
}

// TestOriginal is a connector's life without trouble: a full import, nothing,
// updates with deletes, and again a full import.
func TestOriginal(t *testing.T) {
	t.Parallel()
	o := newOriginal(t, fresh(t))
	o.uuid, o.page = "8a7f3d36-4e2e-4c0a-9d47-bc0d5d1f0a51", 7
	o.model = demo(50)
	o.exits(exitOK, "1")
	o.expectFull(true)
	o.exits(exitOK, "1")
	want := []string{"GET /v3/carSchema/" + o.uuid, "GET databases", "GET source/my-src", "PATCH source?key=my-src"}
	if diff := cmp.Diff(want, o.requests); diff != "" {
		t.Errorf("requests when nothing has changed (-want +got):\n%s", diff)
	}
	o.model.next()
	o.model.addAsset(50)
	o.model.put("asset", "7", `"name": "renamed"`)
	o.model.drop("asset", "3")
	o.model.drop("ipaddress", "10.0.0.3")
	o.model.drop("hostname", "asset3.example.com")
	o.exits(exitOK, "2")
	o.expectFull(false)
	if row := o.f.active(t, o.source)["asset 7"]; row != `{"external_id": "7", "name": "renamed"}` {
		t.Errorf("updated row: %s", row)
	}
	if got := o.f.history(t, o.source); len(got) != 6 {
		t.Errorf("retired: %q", got)
	}
	o.model.next()
	o.model.next()
	o.model.drop("asset", "8")
	o.exits(exitOK, "4")
	o.expectFull(true)
}

// TestSourceNames has every sign that a source's name may have.
func TestSourceNames(t *testing.T) {
	t.Parallel()
	o := newOriginal(t, fresh(t))
	o.source = "a:b@c=d;e!f'g%-.h()+,$*"
	o.uuid, o.model = "u-1", demo(3)
	if exit := o.run(); exit != exitOK {
		t.Errorf("exit %d:\n%s", exit, strings.Join(o.requests, "\n"))
	}
	o.f.holds(t, o.source, o.model.keys()...)
	if exit := o.run(); exit != exitOK || o.wasFull() {
		t.Errorf("exit %d:\n%s", exit, strings.Join(o.requests, "\n"))
	}
}

// failing lets the nth request of a method and a path fail.
func failing(method, path string, status, times int) func(*http.Request) int {
	return func(r *http.Request) int {
		if times > 0 && r.Method == method && strings.Contains(r.URL.Path, path) {
			times--
			return status
		}
		return 0
	}
}

// TestOriginalFailures are the rows of the behaviour of the original that
// depend on the server: the run after a failure ends with everything in place.
func TestOriginalFailures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name              string
		method, path      string
		status, times     int
		incremental, full int // exits with the fault
		state             string
		nextFull          bool // after the incremental import
	}{
		{"recoverable import", "POST", "/imports", 500, 1, exitRecoverable, exitRecoverable, "1", false},
		{"refused import, once", "POST", "/imports", 503, 1, exitOK, exitOK, "2", false},
		{"refused import, for long", "POST", "/imports", 503, 4, exitRecoverable, exitRecoverable, "1", false},
		{"rate limit", "POST", "/imports", 429, 4, exitUnrecoverable, exitUnrecoverable, "", true},
		{"unrecoverable import", "POST", "/imports", 404, 1, exitUnrecoverable, exitUnrecoverable, "", true},
		{"redirected import", "POST", "/imports", 302, 1, exitRecoverable, exitRecoverable, "1", false},
		{"databases", "GET", "/databases", 500, 1, exitRecoverable, exitRecoverable, "1", false},
		{"source", "GET", "/source/", 500, 1, exitOK, exitOK, "2", false},
		{"state", "PATCH", "/source", 500, 1, exitOther, exitOther, "1", false},
		{"deletes", "DELETE", "/asset", 500, 1, exitRecoverable, exitOK, "1", false},
		{"unrecoverable deletes", "DELETE", "/asset", 404, 1, exitUnrecoverable, exitOK, "", true},
		{"begin", "POST", "/full-import", 500, 1, exitOK, exitRecoverable, "2", false},
		{"end", "DELETE", "/full-import", 500, 1, exitOK, exitRecoverable, "2", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := fresh(t)
			o := newOriginal(t, f)
			o.page, o.uuid, o.model = 3, "u-1", demo(6)
			f.fault = failing(tt.method, tt.path, tt.status, tt.times)
			state := map[int]string{exitOK: "1", exitUnrecoverable: ""}[tt.full]
			if tt.full == exitRecoverable || tt.full == exitOther {
				state = "none"
			}
			o.exits(tt.full, state)
			f.fault = nil
			o.exits(exitOK, "1")

			o.model.next()
			o.model.addAsset(6)
			o.model.drop("asset", "2")
			f.fault = failing(tt.method, tt.path, tt.status, tt.times)
			o.exits(tt.incremental, tt.state)
			f.fault = nil
			o.exits(exitOK, "2")
			o.expectFull(tt.nextFull)
		})
	}
}

// TestOriginalWithBadRows: an import that is refused for its rows is started
// over, and nothing of it is stored.
func TestOriginalWithBadRows(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	o := newOriginal(t, f)
	o.uuid, o.model = "u-1", demo(6)
	o.exits(exitOK, "1")
	o.model.next()
	o.model.put("asset", "new", `"name": "n"`)
	o.model.put("asset", "bad", `"_key": "both"`)
	o.exits(exitUnrecoverable, "")
	if rows := f.active(t, o.source); rows["asset new"] != "" {
		t.Error("a row of an import that was refused is there")
	}
	o.exits(exitUnrecoverable, "") // in full, with the same row
	o.expectFull(true)
	if j := f.end(t, o.source); j["status"] != "ERROR" {
		t.Errorf("a full import whose rows were refused has ended: %v", j)
	}
	delete(o.model.vertices["asset"], "bad")
	o.exits(exitOK, "2")
}

// TestOriginalKilled kills the connector before each request of a full import;
// then come an incremental import with the full one still open, and another
// full one.
func TestOriginalKilled(t *testing.T) {
	t.Parallel()
	count := 0
	for at := 0; at == 0 || at <= count; at++ {
		f := fresh(t)
		o := newOriginal(t, f)
		o.page, o.uuid, o.model = 5, "u-1", demo(6)
		o.exits(exitOK, "1")
		f.must(t, "PATCH", "source?key=my-src", `{"model_state_id":"unknown"}`)
		o.model.next()
		o.model.drop("asset", "1")
		o.model.next()
		left := at
		o.before = func(string, string) error {
			if at > 0 {
				if left--; left == 0 {
					return exitError(exitKilled)
				}
			}
			return nil
		}
		exit := o.run()
		if at == 0 {
			if count = len(o.requests); exit != exitOK || count < 20 {
				t.Fatalf("exit %d after %d requests", exit, count)
			}
			continue
		}
		if exit != exitKilled {
			t.Fatalf("killed before request %d: exit %d", at, exit)
		}
		o.before = nil
		if f.must(t, "GET", "source/my-src", "")["model_state_id"] != "unknown" {
			t.Errorf("killed before request %d: the state has changed", at)
		}
		// The last state is known again, as after a failure that kept it.
		f.must(t, "PATCH", "source?key=my-src", fmt.Sprintf(`{"model_state_id":"%d"}`, o.model.state))
		o.model.next()
		o.model.addAsset(9)
		if exit := o.run(); exit != exitOK || o.wasFull() {
			t.Errorf("killed before request %d: the incremental import ended with %d", at, exit)
		}
		o.model.next()
		o.model.next()
		o.exits(exitOK, fmt.Sprint(o.model.state))
		if o.expectFull(true); t.Failed() {
			t.Fatalf("killed before request %d", at)
		}
	}
}

// TestOddIDs sends ids with everything that addresses, lists and keys could
// trip over, and deletes some of them again by escaped ids.
func TestOddIDs(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	o := newOriginal(t, f)
	odd := []string{"a&b", "a#b", "a,b", "a b", "a%b", "a%2Cb", "a|b", "a/b", "a+b", "Zürich 東京 😀", `a"b\c`, "a@1795285439890", "'", "a=b;c?d", "a%7Cb"}
	o.model.next()
	for i, id := range odd {
		o.model.put("asset", id, `"name": "x"`)
		o.model.put("port", id, "")
		o.model.join("asset_port", id, odd[(i+1)%len(odd)])
	}
	o.uuid = "u-1"
	f.must(t, "POST", "/v3/carSchema", `{"key":"e","owner":"o","version":"1","schema":{"vertices":[],"edges":[{"end1":"asset","end2":"port"}]}}`)
	o.exits(exitOK, "1")
	for i, id := range odd {
		var reply = f.must(t, "PATCH", "asset_port?source=my-src&from="+escape(id)+"&to="+escape(odd[(i+1)%len(odd)]), `{"active":false}`)
		if reply["matched"] != 1.0 {
			t.Errorf("edge of %q: %v", id, reply)
		}
		delete(o.model.edges["asset_port"], [2]string{id, odd[(i+1)%len(odd)]})
	}
	f.holds(t, o.source, o.model.keys()...)
	for _, id := range odd {
		if reply := f.must(t, "PATCH", "asset?external_id="+escape(id), `{"pending_update":"active"}`); reply["matched"] != 1.0 {
			t.Errorf("vertex %q: %v", id, reply)
		}
		reply := f.must(t, "DELETE", "source/my-src/asset?external_ids="+escape(id), "")
		if reply["matched"] != 1.0 {
			t.Errorf("delete of %q: %v", id, reply)
		}
		delete(o.model.vertices["asset"], id)
	}
	var all []string
	for _, id := range odd {
		all = append(all, escape(id))
		delete(o.model.vertices["port"], id)
	}
	if reply := f.must(t, "DELETE", "source/my-src/port?external_ids="+strings.Join(all, ","), ""); reply["matched"] != float64(len(odd)) {
		t.Errorf("delete of all: %v", reply)
	}
	f.holds(t, o.source, o.model.keys()...)
}

// escape writes an id so that nothing in it means anything.
func escape(id string) string {
	var b strings.Builder
	for i := range len(id) {
		fmt.Fprintf(&b, "%%%02X", id[i])
	}
	return b.String()
}
