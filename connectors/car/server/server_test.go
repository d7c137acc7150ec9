package server_test

import (
	"testing"
)

func TestFullAndIncremental(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.begin(t, "my-src")
	f.take(t, "my-src", "")
	f.take(t, "my-src", `"asset":[{"external_id":"1","name":"a"},{"external_id":"2","name":"b"}],"ipaddress":[{"_key":"10.0.0.1"}]`)
	f.take(t, "my-src", `"asset_ipaddress":[{"_from_external_id":"1","_to":"ipaddress/10.0.0.1","active":true},{"_from_external_id":"2","_to":"0/10.0.0.1"}]`)
	if j := f.end(t, "my-src"); j["status"] != "COMPLETE" {
		t.Fatal(j)
	}
	f.must(t, "PATCH", "source?key=my-src", `{"model_state_id":"7"}`)
	if d := f.must(t, "GET", "source/my-src", ""); d["model_state_id"] != "7" || d["name"] != "cmdb" {
		t.Error(d)
	}
	f.holds(t, "my-src", "asset 1", "asset 2", "ipaddress 10.0.0.1", "asset_ipaddress 1|10.0.0.1", "asset_ipaddress 2|10.0.0.1")
	f.must(t, "DELETE", "source/my-src/asset?external_ids=2", "")
	f.holds(t, "my-src", "asset 1", "ipaddress 10.0.0.1", "asset_ipaddress 1|10.0.0.1")
	f.begin(t, "my-src")
	f.take(t, "my-src", `"asset":[{"external_id":"1","name":"a"}],"ipaddress":[{"_key":"10.0.0.1"},{"_key":"10.0.0.2"}],"asset_ipaddress":[{"_from_external_id":"1","_to":"10.0.0.2"}]`)
	if j := f.end(t, "my-src"); j["status"] != "COMPLETE" {
		t.Fatal(j)
	}
	f.holds(t, "my-src", "asset 1", "ipaddress 10.0.0.1", "ipaddress 10.0.0.2", "asset_ipaddress 1|10.0.0.2")
}
