package query_test

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"

	"github.com/gapless-sync/gapless/connectors/car/server/query"
)

func benchmark(b *testing.B, m *memory, rows int, text func(i int) string) {
	b.Helper()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		body, err := json.Marshal(query.Request{Query: text(i)})
		if err != nil {
			b.Fatal(err)
		}
		if err := query.Execute(b.Context(), m, query.Limits{}, body, io.Discard); err != nil {
			b.Fatal(err)
		}
		i++
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func manyEdges(n int) *memory {
	m := newMemory()
	at := [2]string{"source", "asset_ipaddress"}
	for i := range n {
		key := fmt.Sprintf("%07d|10.%d.%d.%d", i, i>>16, i>>8&255, i&255)
		data := fmt.Sprintf(`{"_from_external_id":"%07d","_to":"ipaddress/10.%d.%d.%d","report":"1795285435898.988","source":"source","active":true,"timestamp":1795285435898.988}`, i, i>>16, i>>8&255, i&255)
		m.rows[at] = append(m.rows[at], query.Row{Key: key, Data: []byte(data)})
	}
	return m
}

func BenchmarkEdges(b *testing.B) {
	m := manyEdges(1_000_000)
	for name, text := range map[string]string{
		"ids":       `{ asset_ipaddress(where: {source: {_eq: "source"}}) { asset_id ipaddress_id source } }`,
		"fields":    `{ asset_ipaddress { asset_id ipaddress_id source active timestamp report } }`,
		"filtered":  `{ asset_ipaddress(where: {timestamp: {_lt: "5"}}) { id } }`,
		"count":     `{ asset_ipaddress_aggregate { aggregate { count } } }`,
		"top three": `{ asset_ipaddress(order_by: {_to: desc}, limit: 3) { id } }`,
	} {
		b.Run(name, func(b *testing.B) { benchmark(b, m, 1_000_000, func(int) string { return text }) })
	}
}

func BenchmarkPage(b *testing.B) {
	m := manyEdges(1_000_000)
	for _, after := range []int{0, 500_000, 999_000} {
		b.Run(fmt.Sprint("behind ", after), func(b *testing.B) {
			benchmark(b, m, 100, func(int) string {
				return fmt.Sprintf(`{ asset_ipaddress(where: {id: {_gt: "source/%07d|"}}, order_by: {id: asc}, limit: 100) { id asset_id ipaddress_id } }`, after)
			})
		})
	}
}

func BenchmarkNested(b *testing.B) {
	m := manyEdges(100_000)
	for i := range 100_000 {
		at := [2]string{"source", "asset"}
		m.rows[at] = append(m.rows[at], query.Row{Key: fmt.Sprintf("%07d", i), Data: []byte(`{"external_id":"1","name":"web"}`)})
	}
	benchmark(b, m, 200_000, func(int) string { return `{ asset { id asset_ipaddress { ipaddress_id asset { name } } } }` })
}
