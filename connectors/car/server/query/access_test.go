package query_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TestAccess counts what is read of the graph.
func TestAccess(t *testing.T) {
	t.Parallel()
	build := func() *memory {
		m := newMemory()
		for _, source := range []string{"a", "b"} {
			for i := range 1000 {
				id := fmt.Sprintf("%04d", i)
				m.put(source, "asset", id, `{"name":"n`+id+`"}`)
				m.put(source, "ipaddress", "10.0."+id, `{}`)
				m.edge(source, "asset_ipaddress", id, "10.0."+id, `{}`)
				m.put(source, "asset@history", id+"@17", `{"row":{},"retired":17}`)
			}
		}
		return m
	}
	tests := []struct {
		name, query          string
		rows                 int
		read, scans, lookups int64
	}{
		{"a vertex by id", `{ asset(where: {id: {_eq: "a/0007"}}) { id } }`, 1, 0, 0, 1},
		{"an address by id", `{ ipaddress(where: {id: {_eq: "a/0/10.0.0007"}}) { id } }`, 1, 0, 0, 1},
		{"vertices by key", `{ asset(where: {external_id: {_in: ["0007", "0008"]}, source: {_eq: "b"}}) { id } }`, 2, 0, 0, 2},
		{"an address by external_id", `{ ipaddress(source: "a", where: {external_id: {_eq: "0/10.0.0007"}}) { id } }`, 1, 0, 0, 1},
		{"one source", `{ asset(where: {source: {_eq: "b"}}) { id } }`, 1000, 1000, 1, 0},
		{"edges from", `{ asset_ipaddress(where: {asset_id: {_eq: "a/0007"}}) { id } }`, 1, 1, 1, 0},
		{"edges from several", `{ asset_ipaddress(where: {_and: [{source: {_eq: "a"}}, {from_external_id: {_in: ["0007", "0001"]}}]}) { id } }`, 2, 2, 2, 0},
		{"an edge by key", `{ asset_ipaddress(where: {_key: {_eq: "0007|10.0.0007"}, source: {_eq: "a"}}) { id } }`, 1, 0, 0, 1},
		{"a page", `{ asset(limit: 10) { id } }`, 10, 10, 1, 0},
		{"a page behind", `{ asset(where: {id: {_gt: "a/0500"}}, order_by: {id: asc}, limit: 10) { id } }`, 10, 10, 1, 0},
		{"a page behind a source", `{ asset(where: {id: {_gt: "a0"}}, order_by: {id: asc}, limit: 10) { id } }`, 10, 10, 1, 0},
		{"history of one", `{ asset_history(where: {external_id: {_eq: "0007"}, source: {_eq: "a"}}) { id } }`, 1, 1, 1, 0},
		{"seeks below", `{ asset(limit: 10) { asset_ipaddress { id } ipaddress { id } asset_ipaddress_aggregate { aggregate { count } } } }`, 10, 20, 11, 10},
		{"one scan below", `{ ipaddress(source: "a", limit: 10) { asset_ipaddress { id asset { name } } asset { id } x: asset_ipaddress_aggregate { aggregate { count } } } }`, 10, 1010, 2, 20},
		{"a scan two levels below", `{ asset { asset_ipaddress { ipaddress { asset_ipaddress { id } } } } }`, 2000, 6000, 2004, 2000},
		{"one scan below many", `{ ipaddress(source: "a") { asset { name } } }`, 1000, 2000, 2, 1000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := build()
			got := ask(t, m, tt.query)
			rows := 0
			gjson.Get(got, "data").ForEach(func(_, list gjson.Result) bool {
				rows += len(list.Array())
				return true
			})
			if rows != tt.rows {
				t.Errorf("%d rows: %.300s", rows, got)
			}
			read, scans, lookups := m.read.Load(), m.scans.Load(), m.lookups.Load()
			if read != tt.read || scans != tt.scans || lookups != tt.lookups {
				t.Errorf("%d rows read in %d scans, %d looked up; want %d, %d, %d", read, scans, lookups, tt.read, tt.scans, tt.lookups)
			}
		})
	}
}

// TestPaging reads everything in pages, each of which begins behind the last id
// of the one before.
func TestPaging(t *testing.T) {
	t.Parallel()
	sources := map[string][]string{
		"plain":    {"a", "a-b", "a.b", "b"},
		"a slash":  {"s", "s/t", "s/t/u"},
		"a single": {"s"},
	}
	for name, sources := range sources {
		for _, collection := range []string{"asset", "ipaddress", "asset_ipaddress"} {
			t.Run(name+" "+collection, func(t *testing.T) {
				t.Parallel()
				m := newMemory()
				n := 0
				for _, source := range sources {
					for i := range 25 {
						n++
						key := strings.Repeat("t/", i%3) + fmt.Sprint(i) + strings.Repeat("|", i%2)
						if collection == "asset_ipaddress" {
							m.edge(source, collection, key, "%"+key, `{}`)
						} else {
							m.put(source, collection, key, `{}`)
						}
					}
				}
				var ids []string
				for last := ""; ; {
					got := ask(t, m, `query($after: String!) { rows: `+collection+`(where: {id: {_gt: $after}}, order_by: {id: asc}, limit: 7) { id } }`, `{"after": `+quote(last)+`}`)
					page := gjson.Get(got, "data.rows.#.id").Array()
					for _, id := range page {
						ids = append(ids, id.String())
					}
					if len(page) < 7 {
						break
					}
					last = ids[len(ids)-1]
				}
				if len(ids) != n || !slices.IsSorted(ids) || len(slices.Compact(ids)) != n {
					t.Errorf("%d ids of %d: %q", len(ids), n, ids)
				}
			})
		}
	}
}

func quote(s string) string { return string(gjson.AppendJSONString(nil, s)) }
