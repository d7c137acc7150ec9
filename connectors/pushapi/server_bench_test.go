package pushapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pushapi"
)

const (
	benchDocuments = 1000
	benchBytes     = 1 << 10
	benchSyncEvery = 10
)

// BenchmarkAddDocuments pushes requests of 1,000 documents of 1 KiB each, and
// syncs behind every tenth. BenchmarkHubDirect is the measure.
func BenchmarkAddDocuments(b *testing.B) {
	for _, kind := range []string{"part", "meta"} {
		b.Run(kind, func(b *testing.B) {
			f := fresh(b)
			var body bytes.Buffer
			n := 0
			for b.Loop() {
				b.StopTimer() // what the client does is not the server's
				body.Reset()
				for i := range benchDocuments {
					field(&body, i, "uri", fmt.Sprintf("folder/%d/%09d", i%10, n*benchDocuments+i))
					field(&body, i, "stamp", "2026-01-01T00:00:00Z")
					if kind == "part" {
						field(&body, i, "part_bytes:master", benchContent)
					} else {
						field(&body, i, "meta:text", benchContent)
					}
				}
				body.WriteString("--b1--\r\n")
				b.StartTimer()
				f.must(b, "POST", "bench/add_documents", multipartType, body.String())
				if n++; n%benchSyncEvery == 0 {
					f.must(b, "POST", "bench/sync", "", "")
				}
			}
			b.ReportMetric(float64(n*benchDocuments)/b.Elapsed().Seconds(), "docs/s")
		})
	}
}

var benchContent = strings.Repeat("0123456789abcdef", benchBytes/16)

func field(w *bytes.Buffer, doc int, name, value string) {
	fmt.Fprintf(w, "--b1\r\nContent-Disposition: form-data; name=\"PAPI_%d:%s\"\r\n\r\n", doc, name)
	w.WriteString(value)
	w.WriteString("\r\n")
}

// BenchmarkHubDirect pushes the same records without any protocol.
func BenchmarkHubDirect(b *testing.B) {
	for _, kind := range []string{"part", "meta"} {
		b.Run(kind, func(b *testing.B) {
			s, err := openHub(b, b.TempDir(), false).Session(b.Context(), "bench", 1)
			if err != nil {
				b.Fatal(err)
			}
			batch := &gapless.Batch{}
			n := 0
			for b.Loop() {
				batch.Reset()
				batch.Partition = gapless.Partition{ID: "document", Collection: "document"}
				for i := range benchDocuments {
					c := gapless.Change{Record: gapless.Record{Key: fmt.Sprintf("folder/%d/%09d", i%10, n*benchDocuments+i), Version: "2026-01-01T00:00:00Z"}}
					if kind == "part" {
						c.Data = []byte(`{}`)
						c.Parts = []gapless.Part{{Name: "master", Size: benchBytes, Open: func(context.Context) (io.ReadCloser, error) {
							return io.NopCloser(strings.NewReader(benchContent)), nil
						}}}
					} else {
						c.Data = []byte(`{"text":"` + benchContent + `"}`)
					}
					batch.Append(c)
				}
				if _, err := s.Push(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				if n++; n%benchSyncEvery == 0 {
					if _, err := s.Sync(b.Context(), nil); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(n*benchDocuments)/b.Elapsed().Seconds(), "docs/s")
		})
	}
}

// BenchmarkEnumerate lists a corpus over loopback.
func BenchmarkEnumerate(b *testing.B) {
	const total = 200_000
	h := openHub(b, b.TempDir(), false)
	s, err := h.Session(b.Context(), "bench", 1)
	if err != nil {
		b.Fatal(err)
	}
	batch := &gapless.Batch{Partition: gapless.Partition{ID: "document", Collection: "document"}}
	for i := range total {
		batch.Append(gapless.Change{Record: gapless.Record{Key: fmt.Sprintf("folder/%d/%09d", i%10, i), Version: "2026-01-01T00:00:00Z", Data: []byte(`{"title":"a document"}`)}})
	}
	if _, err := s.Push(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Sync(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	f := serve(b, h, pushapi.ServerOptions{})
	n := 0
	for b.Loop() {
		response, err := http.Get(f.url("bench/" + enumerateAll))
		if err != nil {
			b.Fatal(err)
		}
		if size, err := io.Copy(io.Discard, response.Body); err != nil || size < total*20 {
			b.Fatal(size, err)
		}
		if err := response.Body.Close(); err != nil {
			b.Fatal(err)
		}
		n += total
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
}
