package sahana

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"))
}

func TestAddress(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, url, base, problem string }{
		{"plain", "https://h/eden", "https://h/eden", ""},
		{"slash at the end", "http://h:8000/a/eden/", "http://h:8000/a/eden", ""},
		{"at the root", "https://h", "https://h", ""},
		{"no scheme", "h/eden", "", "not of the form"},
		{"other scheme", "ftp://h/eden", "", "not of the form"},
		{"credentials", "https://k:s3cret@h/eden", "", "holds credentials"},
		{"query", "https://h/eden?x=1", "", "query"},
		{"no URL", "https://h s3cret%zz/eden", "", "no URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := newClient(clientOptions{URL: tt.url})
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) || strings.Contains(err.Error(), "s3cret") || gapless.ExitCode(err) != gapless.ExitUsage {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || c.base != tt.base {
				t.Errorf("got %+v, %v", c, err)
			}
		})
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	for table, want := range map[string]string{
		"org_organisation": "org/organisation", "pr_person_relation": "pr/person_relation", "organisation": "", "_x": "", "x_": "", "org_a/../b": "", "Org_a": "", "org_a?b": "",
	} {
		if got, err := tablePath(table); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", table, got, err)
		}
	}
}

// TestSilence ends a request, before its answer as well as within.
func TestSilence(t *testing.T) {
	t.Parallel()
	for _, beginning := range []string{"", "<s3xml>"} {
		release := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if beginning != "" {
				_, _ = io.WriteString(w, beginning)
				w.(http.Flusher).Flush()
			}
			<-release
		}))
		c, err := newClient(clientOptions{URL: server.URL, Timeout: 60 * time.Millisecond, Retries: 1, sleep: noSleep})
		must(t, err)
		_, err = c.page(t.Context(), organisations, nil)
		if gapless.ExitCode(err) != 51 || !strings.Contains(err.Error(), "the Eden is silent") {
			t.Errorf("%q: %v", beginning, err)
		}
		close(release)
		server.Close()
		must(t, c.Close())
	}
}

// TestSilentAnswer ends while it is waited for, and not while it waits for
// whoever takes it.
func TestSilentAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, w := httpx.Watch(t.Context(), time.Minute, errSilent)
		body, sender := io.Pipe()
		defer context.AfterFunc(ctx, func() { _ = sender.CloseWithError(context.Canceled) })()
		answer := &watched{w, w.Reader(body), body}
		go func() { _, _ = io.WriteString(sender, "a") }()
		if n, err := answer.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Error(n, err)
		}
		must(t, httpx.Sleep(ctx, time.Hour))
		begin := time.Now()
		if _, err := answer.Read(make([]byte, 1)); !errors.Is(err, errSilent) || !errors.Is(err, errBroken) || time.Since(begin) != time.Minute {
			t.Error(time.Since(begin), err)
		}
		must(t, answer.Close())
	})
}

// TestRetries waits longer and longer, or as long as it is asked to.
func TestRetries(t *testing.T) {
	t.Parallel()
	var waits []time.Duration
	e := newEden(t)
	c := e.client(func(o *clientOptions) {
		o.sleep = func(_ context.Context, d time.Duration) error {
			waits = append(waits, d)
			return nil
		}
	})
	e.misbehave(times(1000, "GET", func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "7")
		w.Header().Set("web2py_error", "ticket eden/127.0.0.1.2026-11-01")
		respond(w, 503, "text/html", "<html><head><title>Ticket issued</title></head></html>")
	}))
	_, err := c.page(t.Context(), organisations, nil)
	if !slices.Equal(waits, slices.Repeat([]time.Duration{7 * time.Second}, 4)) {
		t.Errorf("waits %v", waits)
	}
	if err == nil || !strings.Contains(err.Error(), "503 Service Unavailable: Ticket issued (ticket eden/127.0.0.1.2026-11-01)") {
		t.Error(err)
	}
}

// TestInterrupted runs end with the reason they were interrupted for.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	e := newEden(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	e.misbehave(times(1, "GET", func(w http.ResponseWriter) {
		cancel(gapless.ErrInterrupted)
		hangUp(w)
	}))
	_, err := e.client().page(ctx, organisations, nil)
	if gapless.ExitCode(err) != gapless.ExitInterrupted {
		t.Error(err)
	}
}

// TestLists of uuids are quoted where they have to be and cut where they get
// long.
func TestLists(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1200)
	var got []string
	must(t, lists([]string{"a", "vm/b", "urn:x/y", "c,d", "None", long, long, long, long, long, "e"}, func(part []string, filter query) error {
		got = append(got, fmt.Sprint(len(part), " ", strings.ReplaceAll(filter.String(), long, "...")))
		return nil
	}))
	want := []string{
		"10 ~.uuid__belongs=a%2Cvm%2Fb%2Cb%2Curn%3Ax%2Fy%2C%22c%2Cd%22%2C%22None%22%2C...%2C...%2C...%2C...%2C...", "1 ~.uuid__belongs=e",
	}
	if !slices.Equal(want, got) {
		t.Errorf("got %q", got)
	}
	must(t, lists(nil, func([]string, query) error { t.Error("a list of nothing"); return nil }))
}
