package pushapi

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

func BenchmarkReadEntries(b *testing.B) {
	var body []byte
	const n = 100_000
	for i := range n {
		body = AppendEntry(body, SyncedEntry{URI: fmt.Sprintf("space/folder %d/document-%d.html", i%100, i), Stamp: "2024-05-01T10:00:00Z"}, EscapeFull)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		count := 0
		for _, err := range ReadEntries(bytes.NewReader(body), EscapeFull) {
			if err != nil {
				b.Fatal(err)
			}
			count++
		}
		if count != n {
			b.Fatal(count)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkDocuments is what a client costs per request of 1,000 documents
// of 1 KiB, and what it costs to read that again.
func BenchmarkDocuments(b *testing.B) {
	docs := make([]Document, 1000)
	for i := range docs {
		docs[i] = Document{URI: fmt.Sprintf("space/%d", i), Stamp: "1", Parts: []Part{NewPart("", make([]byte, 1024), Directive{DirectiveMimeHint, "text/plain"})}}
		docs[i].AddMeta("title", "A title")
		docs[i].AddMeta("tag", "one", "two")
	}
	size := bodySize("b1", docs)
	b.Run("write", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if err := WriteDocuments(b.Context(), newBodyBuffer(io.Discard), "b1", docs); err != nil {
				b.Fatal(err)
			}
		}
	})
	var body bytes.Buffer
	if err := WriteDocuments(b.Context(), &body, "b1", docs); err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if form, err := ReadForm(contentType("b1"), bytes.NewReader(body.Bytes()), DefaultLimits(), MemorySpool); err != nil || len(form.Documents) != 1000 {
				b.Fatal(err)
			}
		}
	})
}
