package s3

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// benchDocument holds organisations as an Eden exports them, with an office
// each.
func benchDocument(tb testing.TB, f Format) (string, []Resource) {
	at := time.Date(2026, 11, 21, 18, 27, 23, 0, time.UTC)
	organisation := Resource{
		Name: "org_organisation", UUID: "urn:uuid:2d22a5c0-7c5d-4a65-8f5d-1f6a3a1b2c3d", MCI: new(3), CreatedOn: at, ModifiedOn: at,
		CreatedBy: "admin@example.com", ModifiedBy: "admin@example.com", OwnedByUser: "admin@example.com",
		URL:        "http://127.0.0.1:8102/eden/org/organisation/1",
		Fields:     []Field{{Name: "name", Text: "Bee One"}, {Name: "acronym", Text: "B1"}, {Name: "year", Value: []byte("1999"), Text: "1999"}},
		References: []Reference{{Field: "root_organisation", Resource: "org_organisation", UUID: "urn:x:b1", Text: "Bee One"}},
		Components: []Resource{{
			Name: "org_office", UUID: "urn:x:off1", MCI: new(3), CreatedOn: at, ModifiedOn: at,
			Fields:     []Field{{Name: "name", Text: "HQ & more"}, {Name: "obsolete", Value: []byte("false"), Text: "No"}},
			References: []Reference{{Field: "location_id", Resource: "gis_location", UUID: "urn:x:loc:1", Lat: "12.5", Lon: "-7.25", Text: "Camp"}},
		}},
	}
	list := make([]Resource, 1000)
	for i := range list {
		list[i] = organisation
	}
	return encodeAll(tb, f, NewDocument(len(list)), list), list
}

func perSecond(b *testing.B, text string, n int) {
	b.SetBytes(int64(len(text)))
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "resources/s")
}

func BenchmarkDecode(b *testing.B) {
	for _, f := range []Format{S3XML, S3JSON} {
		b.Run(f.String(), func(b *testing.B) {
			text, list := benchDocument(b, f)
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range NewDecoder(strings.NewReader(text), f, DecodeOptions{}).Resources() {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			perSecond(b, text, len(list))
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, f := range []Format{S3XML, S3JSON} {
		b.Run(f.String(), func(b *testing.B) {
			text, list := benchDocument(b, f)
			b.ReportAllocs()
			for b.Loop() {
				e := NewEncoder(io.Discard, f, Document{}, EncodeOptions{})
				for i := range list {
					if err := e.Encode(&list[i]); err != nil {
						b.Fatal(err)
					}
				}
				if err := e.Close(); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, text, len(list))
		})
	}
}

func BenchmarkRecord(b *testing.B) {
	text, list := benchDocument(b, S3XML)
	b.Run("to", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for i := range list {
				if _, err := list[i].Record(); err != nil {
					b.Fatal(err)
				}
			}
		}
		perSecond(b, text, len(list))
	})
	b.Run("from", func(b *testing.B) {
		record, err := list[0].Record()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			for range list {
				if _, err := FromRecord(list[0].Name, record); err != nil {
					b.Fatal(err)
				}
			}
		}
		perSecond(b, text, len(list))
	})
}

// BenchmarkEncodingXML reads just the tokens of the same document with the
// parser of the standard library, for comparison.
func BenchmarkEncodingXML(b *testing.B) {
	text, list := benchDocument(b, S3XML)
	b.ReportAllocs()
	for b.Loop() {
		d := xml.NewDecoder(strings.NewReader(text))
		for {
			if _, err := d.RawToken(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
	perSecond(b, text, len(list))
}
