package query_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQueries(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, query, variables, want string }{
		{"by value, as connectors ask", `{ asset(where: {name: {_eq: "web-1"}}) { id,name } }`, ``,
			`{"asset":[{"id":"a/1","name":"web-1"}]}`},
		{"by value and source, as connectors ask", `query { asset(where: { _and: [{risk: {_lte: "7.5"}}, {source: {_eq: "a"}}] }) { external_id name } }`, ``,
			`{"asset":[{"external_id":"1","name":"web-1"},{"external_id":"3","name":"Db \"main\""}]}`},
		{"edges, as connectors ask", `{ asset_ipaddress(where: { _and: [{source: {_eq: "a"}}] }) { asset_id,ipaddress_id,source } }`, ``,
			`{"asset_ipaddress":[{"asset_id":"a/1","ipaddress_id":"a/0/10.0.0.1","source":"a"},{"asset_id":"a/1","ipaddress_id":"a/0/10.0.0.2","source":"a"},` +
				`{"asset_id":"a/2","ipaddress_id":"a/0/10.0.0.1","source":"a"},{"asset_id":"a/3","ipaddress_id":"a/0/10.0.0.9","source":"a"}]}`},
		{"addresses", `{ ipaddress(source: "a") { id external_id _key name active source } }`, ``,
			`{"ipaddress":[{"id":"a/0/10.0.0.1","external_id":"0/10.0.0.1","_key":"10.0.0.1","name":"10.0.0.1","active":true,"source":"a"},` +
				`{"id":"a/0/10.0.0.2","external_id":"0/10.0.0.2","_key":"10.0.0.2","name":"two","active":true,"source":"a"}]}`},
		{"host names", `{ hostname { name host_name id external_id } }`, ``,
			`{"hostname":[{"name":"h.example","host_name":"h.example","id":"a/h.example","external_id":"h.example"}]}`},
		{"a whole row, objects and lists", `{ asset(where: {id: {_eq: "a/1"}}) { _row os tags none } }`, ``,
			`{"asset":[{"_row":{"external_id":"1","name":"web-1","risk":7.5,"tags":["x"],"os":{"family":"linux"},"seen":1795285435898},"os":{"family":"linux"},"tags":["x"],"none":null}]}`},
		{"limit and offset", `{ asset(limit: 2, offset: 1) { id } }`, ``, `{"asset":[{"id":"a/2"},{"id":"a/3"}]}`},
		{"limit 0", `{ asset(limit: 0) { id } }`, ``, `{"asset":[]}`},
		{"descending", `{ asset(order_by: {id: desc}, limit: 2) { id } }`, ``, `{"asset":[{"id":"b/1"},{"id":"a/3"}]}`},
		{"several orders, missing last", `{ asset(order_by: [{up: desc}, {risk: asc}]) { id } }`, ``,
			`{"asset":[{"id":"a/2"},{"id":"a/3"},{"id":"a/1"},{"id":"b/1"}]}`},
		{"aliases, typename, fragments", `query Q { __typename x: asset(limit: 1) { ...F ... on asset { n: name } __typename } } fragment F on asset { id }`, ``,
			`{"__typename":"query_root","x":[{"id":"a/1","n":"web-1","__typename":"asset"}]}`},
		{"fields merge", `{ asset(limit: 1) { id } asset(limit: 1) { name id } }`, ``, `{"asset":[{"id":"a/1","name":"web-1"}]}`},
		{"skip and include", `query($no: Boolean = false) { asset(limit: 1) { id @include(if: $no) name @skip(if: $no) } }`, ``, `{"asset":[{"name":"web-1"}]}`},
		{"variables", `query($w: asset_bool_exp!, $n: Int = 5, $o: [order]) { asset(where: $w, limit: $n, order_by: $o) { id } }`,
			`{"w": {"_or": [{"name": {"_like": "web-%"}}, {"source": {"_in": ["b"]}}]}, "o": [{"name": "desc"}]}`,
			`{"asset":[{"id":"a/2"},{"id":"a/1"},{"id":"b/1"}]}`},
		{"edges of a vertex", `{ asset(where: {id: {_eq: "a/1"}}) { asset_ipaddress(order_by: {port: desc}, limit: 1) { port ipaddress { name } asset { name } } } }`, ``,
			`{"asset":[{"asset_ipaddress":[{"port":2,"ipaddress":{"name":"two"},"asset":{"name":"web-1"}}]}]}`},
		{"edges that end at a vertex", `{ ipaddress(source: "a") { name asset_ipaddress { port } } }`, ``,
			`{"ipaddress":[{"name":"10.0.0.1","asset_ipaddress":[{"port":1},{"port":3}]},{"name":"two","asset_ipaddress":[{"port":2}]}]}`},
		{"dangling end", `{ asset_ipaddress(where: {port: {_eq: 4}}) { ipaddress { name } to { id } from { id } from_external_id to_external_id } }`, ``,
			`{"asset_ipaddress":[{"ipaddress":null,"to":null,"from":{"id":"a/3"},"from_external_id":"3","to_external_id":"0/10.0.0.9"}]}`},
		{"neighbours", `{ asset { id ipaddress(limit: 1, where: {_key: {_like: "10.%"}}) { _key asset { id } } } }`, ``,
			`{"asset":[{"id":"a/1","ipaddress":[{"_key":"10.0.0.1","asset":[{"id":"a/1"},{"id":"a/2"}]}]},{"id":"a/2","ipaddress":[{"_key":"10.0.0.1","asset":[{"id":"a/1"},{"id":"a/2"}]}]},` +
				`{"id":"a/3","ipaddress":[]},{"id":"b/1","ipaddress":[{"_key":"10.0.0.1","asset":[{"id":"b/1"}]}]}]}`},
		{"neighbours of the same collection", `{ asset(source: "a") { id asset { id } asset_asset { kind } } }`, ``,
			`{"asset":[{"id":"a/1","asset":[{"id":"a/2"}],"asset_asset":[{"kind":"uses"}]},{"id":"a/2","asset":[{"id":"a/1"}],"asset_asset":[{"kind":"uses"}]},` +
				`{"id":"a/3","asset":[{"id":"a/3"}],"asset_asset":[{"kind":"self"}]}]}`},
		{"a neighbour through two collections is one", `{ site { asset { id } } }`, ``, `{"site":[{"asset":[{"id":"a/1"},{"id":"a/2"}]}]}`},
		{"extensions", `{ site { name asset(order_by: {name: desc}) { name } site_asset_aggregate { aggregate { count } } } }`, ``,
			`{"site":[{"name":"Bonn","asset":[{"name":"web-2"},{"name":"web-1"}],"site_asset_aggregate":{"aggregate":{"count":2}}}]}`},
		{"counts", `{ asset_aggregate(where: {risk: {_gt: 5}}) { aggregate { n: count __typename } } all: asset_history_aggregate { aggregate { count } } }`, ``,
			`{"asset_aggregate":{"aggregate":{"n":3,"__typename":"asset_aggregate_fields"}},"all":{"aggregate":{"count":3}}}`},
		{"counts of edges", `{ ipaddress(source: "a") { asset_ipaddress_aggregate(where: {port: {_gt: 1}}) { aggregate { count } } } }`, ``,
			`{"ipaddress":[{"asset_ipaddress_aggregate":{"aggregate":{"count":1}}},{"asset_ipaddress_aggregate":{"aggregate":{"count":1}}}]}`},
		{"history", `{ asset_history(where: {external_id: {_in: ["1", "1@x"]}}) { id external_id name retired reason active } }`, ``,
			`{"asset_history":[{"id":"a/1","external_id":"1","name":"web-old","retired":1700,"reason":"deleted","active":null},` +
				`{"id":"a/1","external_id":"1","name":"web-older","retired":1800,"reason":"full import","active":null},` +
				`{"id":"a/1@x","external_id":"1@x","name":null,"retired":1900,"reason":"inactive","active":null}]}`},
		{"history by time", `{ asset_history(order_by: {retired: desc}, limit: 1) { retired } }`, ``, `{"asset_history":[{"retired":1900}]}`},
		{"nothing there", `{ port { id } user_account(source: "z") { id } }`, ``, `{"port":[],"user_account":[]}`},
		{"null and missing", `{ asset(where: {up: {_eq: null}, source: {_eq: "a"}}) { id } b: asset(where: {_not: {up: {_eq: null}}}) { id } }`, ``,
			`{"asset":[{"id":"a/1"},{"id":"a/3"}],"b":[{"id":"a/2"}]}`},
		{"ilike", `{ asset(where: {name: {_ilike: "%MAIN_"}}) { id } }`, ``, `{"asset":[{"id":"a/3"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got string
			if tt.variables == "" {
				got = ask(t, model(), tt.query)
			} else {
				got = ask(t, model(), tt.query, tt.variables)
			}
			if diff := cmp.Diff(`{"data":`+tt.want+`}`, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, operator, pattern, text string
		want                          bool
	}{
		{"whole", "_like", "abc", "abc", true},
		{"no part", "_like", "b", "abc", false},
		{"begins", "_like", "ab%", "abc", true},
		{"ends, tried again", "_like", "%ab", "aaab", true},
		{"several stretches", "_like", "%a%b%", "xaxxb", true},
		{"not in that order", "_like", "%b%a%", "ab", false},
		{"one character of several bytes", "_like", "_", "€", true},
		{"is not two", "_like", "%__", "€", false},
		{"nor when tried again", "_like", "%__b%", "€bz", false},
		{"nothing is anything", "_like", "%", "", true},
		{"case matters", "_like", "ABC", "abc", false},
		{"or not", "_ilike", "ÄB_", "äbC", true},
		{"an escaped sign", "_like", `10\\%`, "10%", true},
		{"is no stretch", "_like", `10\\%`, "100", false},
		{"an escaped character", "_like", `a\\_b`, "axb", false},
		{"a backslash at the end", "_like", `a\\`, `a\`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMemory().put("a", "asset", "1", `{"name":`+quote(tt.text)+`}`)
			want := `{"data":{"asset":[]}}`
			if tt.want {
				want = `{"data":{"asset":[{"id":"a/1"}]}}`
			}
			if got := ask(t, m, `{ asset(where: {name: {`+tt.operator+`: "`+tt.pattern+`"}}) { id } }`); got != want {
				t.Errorf("got %s", got)
			}
		})
	}
}
