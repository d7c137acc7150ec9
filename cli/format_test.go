package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/engine"
)

func TestNumbersForPeople(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, got, want string }{
		{"small count", count(0), "0"},
		{"three digits", count(999), "999"},
		{"four digits", count(1000), "1,000"},
		{"millions", count(uint64(12345678)), "12,345,678"},
		{"negative", count(-1234), "-1,234"},
		{"one", plural(1, "record"), "1 record"},
		{"many", plural(1200, "record"), "1,200 records"},
		{"bytes", size(999), "999 B"},
		{"kilobytes", size(1000), "1.00 kB"},
		{"rounded up to the next unit", size(999_600), "1.00 MB"},
		{"megabytes", size(29_267_508), "29.3 MB"},
		{"hundreds", size(123_456_789_000), "123 GB"},
		{"milliseconds", seconds(0.0123), "12 ms"},
		{"a second", seconds(0.9996), "1.0 s"},
		{"seconds", seconds(14.24), "14.2 s"},
		{"minutes", seconds(125), "2m5s"},
		{"rate", rate(3000, 1.5), "2,000/s"},
		{"rate at the start", rate(3000, 0), "-"},
		{"no time", moment(time.Time{}), "-"},
		{"short token", tokenText("abc"), "abc"},
		{"long token", tokenText(strings.Repeat("a", 20) + strings.Repeat("b", 20)), "aaaaaaaaaaaa...bbbbbbbbb"},
		{"control characters", clean("a\x1b[31mb\nc\x00"), "a\uFFFD[31mb c\uFFFD"},
		{"not UTF-8", clean("a\xffb"), "a\uFFFDb"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.got != test.want {
				t.Errorf("%q, want %q", test.got, test.want)
			}
		})
	}
}

func TestTablesAreAligned(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	list := newTable("NAME", "-COUNT", "NOTE")
	list.row("a", "1", "")
	list.row("größer", "1,000", "x")
	list.print(&b, func(s string) string { return s })
	f := facts{}
	f.add("read", "%d", 3)
	f.add("certificate", "c-1")
	f.print(&b, "  ")
	want := `NAME    COUNT  NOTE
a           1
größer  1,000  x
  read         3
  certificate  c-1
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLinesOfProgress(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := newProgress(&b)
	start := time.Unix(1e9, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	for s := range 8 {
		p.show(tick{Event: &engine.Event{
			Type: engine.EventProgress, Connector: "docs", Time: at(float64(s) * 2),
			Progress: &engine.Progress{Counts: engine.Counts{Read: uint64(s) * 100}, Bytes: int64(s) * 1e6, ExpectedRecords: 1000, Seconds: float64(s) * 2},
		}})
	}
	p.show(tick{Event: &engine.Event{Type: engine.EventRetry, Connector: "docs", Wait: 1.5, Message: "connection\nrefused"}})
	p.show(tick{Catchup: &catchup{Connector: "docs", Done: 1, Total: 9, Started: start, Time: at(0)}})
	p.show(tick{Catchup: &catchup{Connector: "docs", Done: 5, Total: 9, Started: start, Time: at(6)}})
	p.show(tick{Catchup: &catchup{Connector: "docs", Done: 9, Total: 9, Time: at(12), End: true}})
	want := `docs: 300 of 1,000 records, 3.00 MB, 50/s, 14s left
docs: 600 of 1,000 records, 6.00 MB, 50/s, 8s left
docs: trying again in 1.5 s: connection refused
docs: searchable: 5 of 9 changes, 0/s, 5s left
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestProgressCrossesTheSocket shows ticks at the other end as they are here.
func TestProgressCrossesTheSocket(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	far := forwarded(shown(newProgress(&b)))
	far.show(tick{Event: &engine.Event{Type: engine.EventRetry, Connector: "docs", Wait: 2, Message: "busy"}})
	far.show(tick{Event: &engine.Event{Type: engine.EventDone, Summary: &engine.Summary{Error: strings.Repeat("x", 1<<20)}}})
	if got := b.String(); got != "docs: trying again in 2.0 s: busy\n" {
		t.Errorf("%q", got)
	}
}
