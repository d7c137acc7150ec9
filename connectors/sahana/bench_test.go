package sahana

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// instant is an Eden in memory that answers at once: with one page of records
// and an empty one behind it, or that everything was taken.
type instant struct {
	page []byte
	rows int
}

// RoundTrip implements [http.RoundTripper].
func (i *instant) RoundTrip(r *http.Request) (*http.Response, error) {
	var body io.Reader = bytes.NewReader(i.page)
	switch {
	case r.Body != nil:
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		body = strings.NewReader(`{"status":"success","statuscode":"200","records":500}`)
	case strings.Contains(r.URL.RawQuery, fmt.Sprintf("id__gt=%d&", i.rows)):
		body = strings.NewReader(`<s3xml success="false" results="0"/>`)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
}

func (i *instant) client(b *testing.B) *client {
	b.Helper()
	c, err := newClient(clientOptions{URL: "http://eden.invalid/eden"})
	if err != nil {
		b.Fatal(err)
	}
	c.http.Transport = i
	return c
}

// page is a page of organisations as an Eden exports them.
func page(b *testing.B, rows int) []byte {
	b.Helper()
	var buf bytes.Buffer
	e := s3.NewEncoder(&buf, s3.S3XML, s3.NewDocument(rows), s3.EncodeOptions{})
	at, mci := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC), 1
	for i := range rows {
		err := e.Encode(&s3.Resource{
			Name: organisations, UUID: fmt.Sprintf("urn:uuid:00000000-0000-0000-0000-%012d", i), ID: fmt.Sprint(i + 1), MCI: &mci,
			CreatedOn: at, ModifiedOn: at, CreatedBy: login, ModifiedBy: login, URL: fmt.Sprint("https://eden.example.org/eden/org/organisation/", i+1),
			Fields: []s3.Field{
				{Name: "name", Text: fmt.Sprint("Example Relief ", i)},
				{Name: "acronym", Text: "XR"},
				{Name: "year", Value: []byte("1999"), Text: "1999"},
				{Name: "comments", Text: "Works in the north & the south"},
			},
			References: []s3.Reference{{Field: "root_organisation", Resource: organisations, UUID: fmt.Sprintf("urn:uuid:00000000-0000-0000-0000-%012d", i), Text: "Example Relief"}},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}

// BenchmarkRead is what the source costs per record of a page of 500.
func BenchmarkRead(b *testing.B) {
	i := &instant{page(b, 500), 500}
	s := &source{client: i.client(b), via: viaREST, pageRows: 500}
	out := gapless.NewOutput(b.Context(), organisation, 0, 0, func(_ context.Context, full *gapless.Batch) (*gapless.Batch, error) {
		full.Reset()
		return full, nil
	})
	for b.Loop() {
		if err := s.ReadAll(b.Context(), organisation, "", out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*500/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkWrite is what the destination costs per record of an import of 500.
func BenchmarkWrite(b *testing.B) {
	i := &instant{}
	s := &session{
		destination: &destination{client: i.client(b), state: b.TempDir(), rows: 500, verify: verifyNone}, connector: "c", epoch: 1, file: &sidecar{},
	}
	rows := &gapless.Batch{Partition: organisation}
	for i := range 500 {
		rows.Append(gapless.Change{Record: gapless.Record{
			Key:  fmt.Sprintf("urn:uuid:00000000-0000-0000-0000-%012d", i),
			Data: fmt.Appendf(nil, `{"name":"Example Relief %d","acronym":"XR","year":1999,"comments":"Works in the north & the south"}`, i),
		}})
	}
	for b.Loop() {
		if r, err := s.Push(b.Context(), rows); err != nil || len(r.Rejected) > 0 {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(float64(b.N)*500/b.Elapsed().Seconds(), "records/s")
}
