package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// benchDocument holds organisations as an Eden exports them, with an office
// each if so wanted.
func benchDocument(n int, office bool) string {
	var b strings.Builder
	b.WriteString("<?xml version='1.0' encoding='utf-8'?>\n<s3xml success=\"true\" results=\"1\" url=\"http://127.0.0.1:8102/eden\">")
	for i := range n {
		fmt.Fprintf(&b, `<resource name="org_organisation" uuid="urn:uuid:2d22a5c0-7c5d-4a65-8f5d-%012d" mci="3" created_on="2026-10-21T18:27:23" modified_on="2026-10-21T18:27:23" created_by="admin@example.com" modified_by="admin@example.com" owned_by_user="admin@example.com" url="http://127.0.0.1:8102/eden/org/organisation/%d">`, i, i)
		fmt.Fprintf(&b, `<data field="name">Organisation %d</data><data field="acronym">O%d</data><data field="year" value="1999">1999</data>`, i, i)
		fmt.Fprintf(&b, `<reference field="root_organisation" resource="org_organisation" uuid="urn:uuid:2d22a5c0-7c5d-4a65-8f5d-%012d">Organisation %d</reference>`, i, i)
		if office {
			fmt.Fprintf(&b, `<resource name="org_office" uuid="urn:x:off:%d" mci="3" modified_on="2026-10-21T18:27:23"><data field="name">HQ</data><data field="obsolete" value="false">No</data></resource>`, i)
		}
		b.WriteString(`</resource>`)
	}
	b.WriteString("</s3xml>\n")
	return b.String()
}

const benchRecords = 20_000

func BenchmarkImport(b *testing.B) {
	for _, office := range []bool{false, true} {
		b.Run(fmt.Sprintf("office=%v", office), func(b *testing.B) {
			text := benchDocument(benchRecords, office)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				b.StopTimer()
				f := fresh(b)
				f.register(b, peer)
				b.StartTimer()
				if e := f.send(b, pushPath("org_organisation", peer), text); len(e.Created) != benchRecords {
					b.Fatal(len(e.Created))
				}
			}
			b.ReportMetric(float64(benchRecords)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkImportUnchanged imports what is there already.
func BenchmarkImportUnchanged(b *testing.B) {
	text := benchDocument(benchRecords, false)
	f := fresh(b)
	f.register(b, peer)
	f.send(b, pushPath("org_organisation", peer), text)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if e := f.send(b, pushPath("org_organisation", peer), text); len(e.Updated) != benchRecords {
			b.Fatal(len(e.Updated))
		}
	}
	b.ReportMetric(float64(benchRecords)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkExport(b *testing.B) {
	for _, office := range []bool{false, true} {
		b.Run(fmt.Sprintf("office=%v", office), func(b *testing.B) {
			f := fresh(b)
			f.register(b, peer)
			f.send(b, pushPath("org_organisation", peer), benchDocument(benchRecords, office))
			for b.Loop() {
				r, err := http.Get(f.address + pushPath("org_organisation", peer))
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, r.Body)
				if err != nil || r.Body.Close() != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
			}
			b.ReportMetric(float64(benchRecords)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
