package query_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/server/query"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// memory is a graph in memory that counts what is read of it.
type memory struct {
	rows     map[[2]string][]query.Row // by source and collection, sorted by key
	vertices []string
	edges    []string

	read, scans, lookups atomic.Int64
}

func newMemory() *memory { return &memory{rows: map[[2]string][]query.Row{}} }

func (m *memory) put(source, collection, key, data string) *memory {
	at := [2]string{source, collection}
	i, found := slices.BinarySearchFunc(m.rows[at], key, func(r query.Row, key string) int { return strings.Compare(r.Key, key) })
	row := query.Row{Key: key, Data: []byte(data)}
	if found {
		m.rows[at][i] = row
	} else {
		m.rows[at] = slices.Insert(m.rows[at], i, row)
	}
	return m
}

func (m *memory) edge(source, collection, from, to, data string) *memory {
	return m.put(source, collection, wire.EdgeKey(from, to), data)
}

func (m *memory) Sources(context.Context) ([]string, error) {
	names := map[string]bool{}
	for at := range m.rows {
		names[at[0]] = true
	}
	return slices.Collect(maps.Keys(names)), nil
}

func (m *memory) Collections(context.Context) (vertices, edges []string, err error) {
	return m.vertices, m.edges, nil
}

func (m *memory) Row(_ context.Context, source, collection, key string) (query.Row, error) {
	m.lookups.Add(1)
	rows := m.rows[[2]string{source, collection}]
	i, found := slices.BinarySearchFunc(rows, key, func(r query.Row, key string) int { return strings.Compare(r.Key, key) })
	if !found {
		return query.Row{}, fmt.Errorf("row %q: %w", key, gapless.ErrNotFound)
	}
	return rows[i], nil
}

func (m *memory) Rows(ctx context.Context, source, collection, prefix, after string, fn func(query.Row) error) error {
	m.scans.Add(1)
	rows := m.rows[[2]string{source, collection}]
	from, found := slices.BinarySearchFunc(rows, max(prefix, after), func(r query.Row, key string) int { return strings.Compare(r.Key, key) })
	if found && after >= prefix && after != "" {
		from++
	}
	for _, r := range rows[from:] {
		if !strings.HasPrefix(r.Key, prefix) {
			break
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		m.read.Add(1)
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// model is a small graph of two sources.
func model() *memory {
	m := newMemory()
	m.vertices, m.edges = []string{"site"}, []string{"site_asset", "asset_site", "asset_asset"}
	m.put("a", "asset", "1", `{"external_id":"1","name":"web-1","risk":7.5,"tags":["x"],"os":{"family":"linux"},"seen":1795285435898}`)
	m.put("a", "asset", "2", `{"external_id":"2","name":"web-2","risk":10,"seen":1795285435899,"up":true}`)
	m.put("a", "asset", "3", `{"external_id":"3","name":"Db \"main\"","risk":2}`)
	m.put("b", "asset", "1", `{"external_id":"1","name":"other","risk":"9"}`)
	m.put("a", "ipaddress", "10.0.0.1", `{"_key":"10.0.0.1"}`)
	m.put("a", "ipaddress", "10.0.0.2", `{"_key":"10.0.0.2","name":"two"}`)
	m.put("b", "ipaddress", "10.0.0.1", `{"_key":"10.0.0.1"}`)
	m.put("a", "hostname", "h.example", `{"_key":"h.example"}`)
	m.put("a", "site", "s1", `{"external_id":"s1","name":"Bonn"}`)
	m.edge("a", "asset_ipaddress", "1", "10.0.0.1", `{"_from_external_id":"1","_to":"ipaddress/10.0.0.1","port":1}`)
	m.edge("a", "asset_ipaddress", "1", "10.0.0.2", `{"port":2}`)
	m.edge("a", "asset_ipaddress", "2", "10.0.0.1", `{"port":3}`)
	m.edge("a", "asset_ipaddress", "3", "10.0.0.9", `{"port":4}`)
	m.edge("b", "asset_ipaddress", "1", "10.0.0.1", `{"port":5}`)
	m.edge("a", "site_asset", "s1", "1", `{}`)
	m.edge("a", "site_asset", "s1", "2", `{}`)
	m.edge("a", "asset_site", "1", "s1", `{}`)
	m.edge("a", "asset_asset", "1", "2", `{"kind":"uses"}`)
	m.edge("a", "asset_asset", "3", "3", `{"kind":"self"}`)
	m.put("a", "asset@history", "1@1700", `{"row":{"external_id":"1","name":"web-old"},"retired":1700,"reason":"deleted"}`)
	m.put("a", "asset@history", "1@1800", `{"row":{"external_id":"1","name":"web-older"},"retired":1800,"reason":"full import"}`)
	m.put("a", "asset@history", "1@x@1900", `{"row":{"external_id":"1@x"},"retired":1900,"reason":"inactive"}`)
	return m
}

// ask executes a query and returns the reply.
func ask(t testing.TB, g query.Graph, text string, variables ...string) string {
	t.Helper()
	request := query.Request{Query: text}
	if len(variables) > 0 {
		request.Variables = json.RawMessage(variables[0])
	}
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := query.Execute(t.Context(), g, query.Limits{}, body, &out); err != nil {
		t.Fatalf("execute: %v", err)
	}
	if !json.Valid([]byte(out.String())) {
		t.Fatalf("the reply is not JSON: %s", out.String())
	}
	return out.String()
}
