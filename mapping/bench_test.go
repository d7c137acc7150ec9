package mapping_test

import (
	"fmt"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/mapping"
)

// benchmarkBatch is a batch of records of about 300 bytes.
func benchmarkBatch(rows int) *gapless.Batch {
	b := &gapless.Batch{Origin: "bench"}
	for i := range rows {
		data := fmt.Appendf(nil, `{"id":%d,"name":"record number %d","lang":"%s","size":%d,"owner":{"id":%d,"name":"somebody"},`+
			`"tags":["alpha","beta","gamma"],"created":"2026-11-21T20:00:30Z","summary":"The quick brown fox jumps over the lazy dog, again and again, until the record is long enough.","price":%d.25,"active":true}`,
			i, i, []string{"en", "de"}[i%10/9], i*37%1_100_000, i%100, i)
		b.Append(gapless.Change{Record: gapless.Record{Key: fmt.Sprint(i), Data: data}, Line: i + 1})
	}
	return b
}

func BenchmarkApply(b *testing.B) {
	benchmarks := []struct {
		name string
		spec mapping.Spec
	}{
		{"identity", mapping.Spec{}},
		{"filter", mapping.Spec{Filter: `size < 1000000 && lang == "en"`}},
		{"filter and three fields", mapping.Spec{
			Filter: `size < 1000000 && lang == "en"`,
			Set:    map[string]string{"title": "name", "kind": `"doc"`, "owner_name": "owner.name"},
		}},
		{"filter and three fields, one computed", mapping.Spec{
			Filter: `size < 1000000 && lang == "en"`,
			Set:    map[string]string{"title": "name", "kind": `"doc"`, "size_kb": "size / 1024"},
		}},
		{"projection", mapping.Spec{
			Set:  map[string]string{"title": "name", "kind": `"doc"`, "owner_name": "owner.name"},
			Keep: []string{},
		}},
		{"virtual machine", mapping.Spec{Filter: `len(tags) == 3 && lower(name) startsWith "record"`}},
	}
	for _, bench := range benchmarks {
		b.Run(bench.name, func(b *testing.B) {
			p, err := mapping.Compile(bench.spec)
			if err != nil {
				b.Fatal(err)
			}
			in, out := benchmarkBatch(4096), &gapless.Batch{}
			b.SetBytes(int64(len(in.Buf)))
			b.ReportAllocs()
			for b.Loop() {
				out.Reset()
				if err := p.Apply(in, out, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(in.Len()), "ns/record")
		})
	}
}

// BenchmarkBare is what a loop costs that validates and reads two fields.
func BenchmarkBare(b *testing.B) {
	in := benchmarkBatch(4096)
	b.ReportAllocs()
	for b.Loop() {
		for i := range in.Rows {
			data := in.Data(i)
			if !gjson.ValidBytes(data) || gjson.GetBytes(data, "size").Num < 0 || gjson.GetBytes(data, "lang").Str == "" {
				b.Fatal(i)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(in.Len()), "ns/record")
}
