package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/connectors/car/server"
)

const benchPage = 2000

// benchImport is a page of rows of about 150 bytes, as the original framework
// sends them.
func benchImport(source string, page int, edges bool) []byte {
	var b strings.Builder
	for i := range benchPage {
		if i > 0 {
			b.WriteString(", ")
		}
		n := page*benchPage + i
		if edges {
			fmt.Fprintf(&b, `{"_from_external_id": "%d", "_to": "ipaddress/10.%d.%d.%d", "report": "1795285435898.988", "source": "%s", "active": true, "timestamp": 1795285435898.988}`, n, n>>16&255, n>>8&255, n&255, source)
		} else {
			fmt.Fprintf(&b, `{"name": "asset%d.domain.com", "initial_value": 2000.0, "external_id": "%d", "assetid": "%d", "asset_type": "Other", "description": "rack %d"}`, n, n, n, n%97)
		}
	}
	name := "asset"
	if edges {
		name = "asset_ipaddress"
	}
	return []byte(envelopeOf(source, `"`+name+`": [`+b.String()+`]`))
}

// BenchmarkImport sends pages to a server on loopback and asks for each as
// the original framework does: what counts is durable. The work of the client
// is in it, which shares the processors.
func BenchmarkImport(b *testing.B) {
	for _, clients := range []int{1, 4} {
		for _, edges := range []bool{false, true} {
			b.Run(fmt.Sprintf("clients=%d/edges=%v", clients, edges), func(b *testing.B) {
				f := fresh(b)
				pages := make([][]byte, 50)
				for i := range pages {
					pages[i] = benchImport("bench", i, edges)
				}
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
				defer client.CloseIdleConnections()
				var next atomic.Int64
				b.ResetTimer()
				began := time.Now()
				var working sync.WaitGroup
				for range clients {
					working.Go(func() {
						for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
							if err := sendPage(client, f, pages[int(n)%len(pages)]); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				working.Wait()
				b.ReportMetric(float64(b.N)*benchPage/time.Since(began).Seconds(), "rows/s")
				b.SetBytes(int64(len(pages[0])))
			})
		}
	}
}

func sendPage(client *http.Client, f *fixture, page []byte) error {
	response, err := client.Post(f.url("imports"), "application/json", bytes.NewReader(page))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var reply struct{ ID string }
	if err := json.NewDecoder(response.Body).Decode(&reply); err != nil || reply.ID == "" {
		return fmt.Errorf("status %d, %w", response.StatusCode, err)
	}
	status, err := client.Get(f.url("importstatus?ids=" + reply.ID))
	if err != nil {
		return err
	}
	defer status.Body.Close()
	text, err := io.ReadAll(status.Body)
	if err != nil || !strings.Contains(string(text), `"complete_imports":[{`) {
		return fmt.Errorf("%s, %w", text, err)
	}
	return nil
}

// BenchmarkDecode is the server without its network and its store.
func BenchmarkDecode(b *testing.B) {
	for _, edges := range []bool{false, true} {
		b.Run(fmt.Sprintf("edges=%v", edges), func(b *testing.B) {
			page := benchImport("bench", 1, edges)
			b.SetBytes(int64(len(page)))
			for b.Loop() {
				if rows, problems, err := server.DecodeImport(page); err != nil || problems > 0 || rows != benchPage {
					b.Fatal(rows, problems, err)
				}
			}
			b.ReportMetric(float64(b.N)*benchPage/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
