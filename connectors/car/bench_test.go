package car

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// discarding is a service in memory that takes everything at once.
type discarding struct{}

// RoundTrip implements [http.RoundTripper].
func (d *discarding) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return nil, err
		}
	}
	body := `{"id":"I","job_id":"J","status":"COMPLETE","model_state_id":"","databases":[{"is_ready":true}]}`
	if strings.HasSuffix(r.URL.Path, "/importstatus") {
		body = `{"complete_imports":["I"]}`
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// BenchmarkDestination is what the destination costs per row, of a model with
// as many edges as the demo of the protocol has: 9 vertices and 16 edges an
// asset. Rows per CPU second count the whole process.
func BenchmarkDestination(b *testing.B) {
	c, err := NewClient(ClientOptions{URL: "http://car.invalid/v2", Token: "t", HTTP: &http.Client{Transport: &discarding{}}})
	if err != nil {
		b.Fatal(err)
	}
	d, err := NewDestination(c, DestinationOptions{Source: "s", Model: true})
	if err != nil {
		b.Fatal(err)
	}
	s, err := d.Open(b.Context(), "bench", 1)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	batch := &gapless.Batch{}
	rows := 0
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		b.StopTimer()
		skip := cpu(b)
		fillModel(batch, rows)
		before += cpu(b) - skip
		b.StartTimer()
		if _, err := s.Push(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		rows += batch.Len()
	}
	if _, err := s.Sync(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	used := cpu(b) - before
	b.ReportMetric(float64(rows)/used.Seconds(), "rows/cpu-s")
	b.ReportMetric(float64(used.Nanoseconds())/float64(rows), "cpu-ns/row")
}

// fillModel makes a batch of assets and what belongs to them.
func fillModel(b *gapless.Batch, from int) {
	b.Reset()
	b.Partition = gapless.Partition{ID: Model, Collection: Model}
	add := func(collection, id, data string) {
		r := gapless.Row{Key: b.AppendBytes([]byte(ModelKey(collection, id)))}
		r.Data = b.AppendBytes([]byte(data))
		b.AppendRow(r)
	}
	for i := from; b.Len() < gapless.DefaultBatchRows-25; i++ {
		id, ip := fmt.Sprint(i), fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255)
		add("asset", id, `{"name":"asset`+id+`.domain.com","initial_value":2000.0,"external_id":"`+id+`","assetid":"`+id+`","asset_type":"Other"}`)
		add("ipaddress", ip, `{"_key":"`+ip+`"}`)
		add("hostname", "host"+id, `{"_key":"host`+id+`"}`)
		for n := range 6 {
			add("application", fmt.Sprint(id, "-", n), fmt.Sprintf(`{"external_id":"%s-%d","name":"application %d","owner":"someone"}`, id, n, n))
		}
		add("asset_ipaddress", wire.EdgeKey(id, ip), `{"_from_external_id":"`+id+`","_to":"ipaddress/`+ip+`"}`)
		for n := range 15 {
			add("application_vulnerability", wire.EdgeKey(fmt.Sprint(id, "-", n), "cve"), `{}`)
		}
	}
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRow is the rendering of single rows.
func BenchmarkRow(b *testing.B) {
	e, err := newEnvelope(&DestinationOptions{Source: "s"}, "1795285435898.988")
	if err != nil {
		b.Fatal(err)
	}
	known, err := newCollections(nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, row := range [][3]string{
		{"asset", "17", `{"name":"asset0.domain.com","initial_value":2000.0,"external_id":"17","assetid":"1","asset_type":"Other"}`},
		{"asset_ipaddress", "17|10.0.0.1", `{}`},
	} {
		b.Run(row[0], func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				if dst, err = e.appendRow(dst[:0], known.byName[row[0]], row[1], row[2]); err != nil {
					b.Fatal(err)
				}
			}
			if !bytes.HasPrefix(dst, []byte("{")) {
				b.Fatal(string(dst))
			}
		})
	}
}
