package query_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/connectors/car/server/query"
)

func limits() query.Limits { return query.Limits{} }

// FuzzExecute answers any request with JSON that is either data or errors, and
// soon.
func FuzzExecute(f *testing.F) {
	for _, seed := range []string{
		`{"query":"{ asset(where: {name: {_eq: \"web-1\"}}) { id,name } }"}`,
		`{"query":"query($w: x) { asset(where: $w, order_by: [{name: desc}]) { id ipaddress { asset_ipaddress { port } } } }","variables":{"w":{"_not":{"id":{"_in":["a/1",2]}}}}}`,
		`{"query":"{ asset_ipaddress { from { id } to { ...F } _row } } fragment F on ipaddress { name }"}`,
		`{"query":"{ asset_history_aggregate { aggregate { count } } site_asset { asset { asset_aggregate { aggregate { count } } } } }"}`,
		`{"query":"{ asset(where: {name: {_ilike: \"%\\\\%_\"}}, offset: 1, limit: 2, source: \"a\") { __typename ... on asset { x: _key @skip(if: false) } } }"}`,
		`{"query":"query A { port { id } } query B { port { id } }","operationName":"B"}`,
		`{"query":"{ __schema { queryType { name } } }","variables":null}`,
		`[]`, `{`, ``,
	} {
		f.Add(seed)
	}
	g := model()
	f.Fuzz(func(t *testing.T, body string) {
		started := time.Now()
		var out strings.Builder
		err := query.Execute(t.Context(), g, query.Limits{RequestBytes: 1 << 16, Rows: 10_000}, []byte(body), &out)
		if _, refused := err.(*query.Error); err != nil && !refused { //nolint:errorlint // exactly this
			t.Fatalf("execute: %v", err)
		}
		var reply map[string]json.RawMessage
		if err := json.Unmarshal([]byte(out.String()), &reply); err == nil && len(reply) != 1 || (reply["data"] == nil) == (reply["errors"] == nil) && err == nil {
			t.Fatalf("answered %.300s", out.String())
		} else if err != nil && out.Len() < 64<<10 {
			t.Fatalf("answered %.300s: %v", out.String(), err)
		}
		if took := time.Since(started); took > 5*time.Second {
			t.Fatalf("took %s", took)
		}
	})
}
