package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/connectors/car/server"
	"github.com/gapless-sync/gapless/connectors/car/server/query"
	"github.com/gapless-sync/gapless/service"
)

// ask posts a query and returns the reply's data.
func (f *fixture) ask(t testing.TB, text string) gjson.Result {
	t.Helper()
	body, err := json.Marshal(query.Request{Query: text})
	if err != nil {
		t.Fatal(err)
	}
	status, reply := f.do(t, "POST", "/v3/query", string(body))
	if data := gjson.Get(reply, "data"); status == http.StatusOK && data.Exists() && json.Valid([]byte(reply)) {
		return data
	}
	t.Fatalf("%s: %d %.500s", text, status, reply)
	return gjson.Result{}
}

// TestQueriesOnAHub asks, in all the ways there are, for what was imported.
func TestQueriesOnAHub(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	const many = 5000
	var assets, addresses, edges []string
	for i := range many {
		assets = append(assets, fmt.Sprintf(`{"external_id":"%05d","name":"web-%d","risk":%d}`, i, i, i%10))
		addresses = append(addresses, fmt.Sprintf(`{"_key":"10.0.%d.%d"}`, i>>8, i&255))
		edges = append(edges, fmt.Sprintf(`{"_from_external_id":"%05d","_to":"ipaddress/10.0.%d.%d"}`, i, i>>8, i&255))
	}
	f.take(t, "my-src", `"asset":[`+strings.Join(assets, ",")+`]`)
	f.take(t, "my-src", `"ipaddress":[`+strings.Join(addresses, ",")+`]`)
	f.take(t, "my-src", `"asset_ipaddress":[`+strings.Join(edges, ",")+`]`)
	f.take(t, "other", `"asset":[{"external_id":"1","name":"web-7"}]`)
	f.must(t, "DELETE", "source/my-src/asset?external_ids=00009", "")

	tests := []struct{ name, query, want string }{
		{"by value", `{ asset(where: { _and: [{name: {_eq: "web-7"}}, {source: {_eq: "my-src"}}] }) { id,name } }`, `{"asset":[{"id":"my-src/00007","name":"web-7"}]}`},
		{"both sources", `query { asset(where: {name: {_eq: "web-7"}}) { id } }`, `{"asset":[{"id":"my-src/00007"},{"id":"other/1"}]}`},
		{"nested", `{ asset(where: {id: {_eq: "my-src/00300"}}) { ipaddress { id asset { name } } } }`, `{"asset":[{"ipaddress":[{"id":"my-src/0/10.0.1.44","asset":[{"name":"web-300"}]}]}]}`},
		{"retired with its edges", `{ asset(where: {id: {_eq: "my-src/00009"}}) { id } asset_ipaddress(where: {asset_id: {_eq: "my-src/00009"}}) { id } asset_history { id name } asset_ipaddress_history { ipaddress_id } }`,
			`{"asset":[],"asset_ipaddress":[],"asset_history":[{"id":"my-src/00009","name":"web-9"}],"asset_ipaddress_history":[{"ipaddress_id":"my-src/0/10.0.0.9"}]}`},
		{"counts", `{ asset_aggregate { aggregate { count } } }`, `{"asset_aggregate":{"aggregate":{"count":5000}}}`},
		{"nowhere", `{ asset(source: "no / such") { id } }`, `{"asset":[]}`},
	}
	for _, tt := range tests {
		if got := f.ask(t, tt.query).Raw; got != tt.want {
			t.Errorf("%s: got %.500s, want %s", tt.name, got, tt.want)
		}
	}
	if n := len(f.ask(t, `{ asset_ipaddress { asset_id ipaddress_id source active } }`).Get("asset_ipaddress").Array()); n != many-1 {
		t.Errorf("%d edges", n)
	}
	if status, reply := f.do(t, "POST", "/v2/query", `{"query":"{ aset { id } }"}`); status != http.StatusOK || !strings.Contains(reply, "did you mean asset?") {
		t.Errorf("a mistake: %d %s", status, reply)
	}
	t.Run("without a server", func(t *testing.T) {
		g, err := server.OpenGraph(t.Context(), service.CARStore(f.hub))
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := query.Run(t.Context(), g, query.Limits{}, query.Request{Query: `{ asset(limit: 1) { name } }`}, &out); err != nil || out.String() != `{"data":{"asset":[{"name":"web-0"}]}}` {
			t.Errorf("%v: %s", err, out.String())
		}
	})
	t.Run("pages", func(t *testing.T) {
		page := func(path string) (int, string) {
			response, err := http.Get("http://" + f.address + server.PathBrowse + path)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			return response.StatusCode, string(body)
		}
		for path, want := range map[string]string{"": "5,000", "/my-src/asset": "web-0", "/my-src/ipaddress/10.0.0.7": "web-7 (00007)", "/my-src/asset/00009": "This row is retired"} {
			if status, body := page(path); status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("%s: %d %.300s", path, status, body)
			}
		}
	})
}

// TestPagesAskForCredentials sees that nobody looks without.
func TestPagesAskForCredentials(t *testing.T) {
	t.Parallel()
	f := serve(t, openHub(t, t.TempDir()), server.Options{Admit: func(r *http.Request) bool {
		_, password, _ := r.BasicAuth()
		return password == "right"
	}})
	response, err := http.Get("http://" + f.address + server.PathBrowse)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized || response.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("status %d", response.StatusCode)
	}
}

// TestQueriesWait for one another beyond a number, and not for ever.
func TestQueriesWait(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.take(t, "s", assets(0, 1))
	release := f.server.Occupy()
	const body = `{"query":"{ asset { id } }"}`
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.Replace(f.url("query"), "/v2/", "/v3/", 1), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := http.DefaultClient.Do(r); err == nil {
		_ = reply.Body.Close()
		t.Errorf("%s though all places are taken", reply.Status)
	}
	release()
	if got := f.ask(t, "{ asset { id } }").Raw; got != `{"asset":[{"id":"s/0"}]}` {
		t.Error(got)
	}
}
