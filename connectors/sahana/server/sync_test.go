package server_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const peer = "urn:uuid:2d22a5c0-0000-4000-8000-000000000001"

func TestRegister(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	const path = "sync/repository/register.json"
	sender := `"sender":"` + f.server.UUID() + `"`
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"new", "POST", path, `{"uuid": "` + peer + `", "name": "127.0.0.1:8105", "apitype": "eden"}`, 200, `{"status":"success","statuscode":"200","message":"Registration successful",` + sender + `}`},
		{"again", "PUT", path, `{"uuid": "` + peer + `", "name": "127.0.0.1:8105", "apitype": "eden"}`, 200, `{"status":"success","statuscode":"200","message":"Registration update successful",` + sender + `}`},
		{"no uuid", "POST", path, `{"name": "x"}`, 200, `{"status":"failed","statuscode":"400","message":"No repository identifier specified",` + sender + `}`},
		{"no JSON", "POST", path, `uuid=1`, 400, `{"status":"failed","statuscode":"400","message":"Invalid parameters: the body is no JSON object"}`},
		{"by GET", "GET", path, ``, 405, `{"status":"failed","statuscode":"405","message":"Unsupported method!"}`},
		{"as XML", "POST", "sync/repository/register.xml", ``, 415, `{"status":"failed","statuscode":"415","message":"Unsupported data format!"}`},
	} {
		status, got := f.do(t, test.method, test.path, test.body)
		if status != test.status || got != test.want {
			t.Errorf("%s: %d %s\nwant %d %s", test.name, status, got, test.status, test.want)
		}
	}
}

func TestPushAndPull(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.register(t, peer)
	push := pushPath("org_organisation", peer, "&strategy=create,update,delete,merge&update_policy=NEWER&conflict_policy=NEWER")
	if status, text := f.do(t, "POST", pushPath("org_organisation", "unknown"), document()); status != 403 || !strings.Contains(text, `"message":"Registration required"`) {
		t.Errorf("%d %s", status, text)
	}
	status, text := f.do(t, "POST", push, document(organisation("urn:x:1", "One", "2026-10-01T00:00:00"), organisation("urn:x:2", "Two", "2026-10-02T00:00:00Z")))
	if want := `{"status":"success","statuscode":"200","records":2,"created":[3,4]}`; status != 200 || text != want {
		t.Errorf("%d %s, want %s", status, text, want)
	}
	pull := pushPath("org_organisation", peer, "&include_deleted=True")
	if diff := cmp.Diff(map[string]string{"urn:x:1": "One", "urn:x:2": "Two"}, names(f.read(t, pull))); diff != "" {
		t.Error(diff)
	}
	if got := f.read(t, pull+"&msince=2026-10-02T00:00:01"); len(got) != 0 {
		t.Errorf("sent again: %v", got)
	}
	// A record that is older than the cursor comes late.
	f.send(t, "org/organisation.xml", document(organisation("urn:x:3", "Late", "2020-01-01T00:00:00")))
	if diff := cmp.Diff(map[string]string{"urn:x:3": "Late"}, names(f.read(t, pull+"&msince=2026-10-02T00:00:01"))); diff != "" {
		t.Error(diff)
	}
	// The answer was not taken.
	if diff := cmp.Diff(map[string]string{"urn:x:3": "Late"}, names(f.read(t, pull+"&msince=2026-10-02T00:00:01"))); diff != "" {
		t.Error(diff)
	}
	if got := f.read(t, pull+"&msince=2020-01-01T00:00:01"); len(got) != 0 {
		t.Errorf("sent again: %v", got)
	}
}
