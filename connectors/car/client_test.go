package car

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
	"github.com/gapless-sync/gapless/httpx"
)

func TestAddress(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, url, v2, v3, problem string }{
		{"plain", "https://h/api/car/v2", "https://h/api/car/v2", "https://h/api/car/v3", ""},
		{"slash at the end", "https://h/api/car/v2/", "https://h/api/car/v2", "https://h/api/car/v3", ""},
		{"prefix with the same segment", "http://h:1/v2/car/v2", "http://h:1/v2/car/v2", "http://h:1/v2/car/v3", ""},
		{"segment that begins alike", "http://h/v2x/v2/y", "http://h/v2x/v2/y", "http://h/v2x/v3/y", ""},
		{"host of that name", "http://v2/api/car", "", "", "no segment /v2"},
		{"no version", "https://h/api/car", "", "", "no segment /v2"},
		{"no scheme", "h/api/car/v2", "", "", "not of the form"},
		{"other scheme", "ftp://h/v2", "", "", "not of the form"},
		{"credentials", "https://k:s3cret@h/v2", "", "", "holds credentials"},
		{"query", "https://h/v2?x=1", "", "", "query"},
		{"no URL", "https://h s3cret%zz/v2", "", "", "no URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := NewClient(ClientOptions{URL: tt.url, Token: "t"})
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) || strings.Contains(err.Error(), "s3cret") || gapless.ExitCode(err) != gapless.ExitUsage {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || c.v2 != tt.v2 || c.v3 != tt.v3 {
				t.Errorf("got %+v, %v", c, err)
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		key           string
		password, tok gapless.Secret
		want          string
	}{
		{"basic", "k", "p", "", "Basic azpw"},
		{"token", "", "", "abc", "car-token abc"},
		{"token wins", "k", "p", "abc", "car-token abc"},
		{"none", "", "", "", ""},
		{"key alone", "k", "", "", ""},
		{"password alone", "", "p", "", ""},
		{"two lines", "", "", "a\nb", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got http.Header
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r.Header
				respond(w, 200, `{}`)
			}))
			defer server.Close()
			c, err := NewClient(ClientOptions{URL: server.URL + "/v2", Key: tt.key, Password: tt.password, Token: tt.tok})
			if (err == nil) != (tt.want != "") {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			defer c.Close()
			if _, err := c.Source(t.Context(), "x"); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{"Authorization": tt.want, "Accept": "application/json", "Content-Type": "application/json"} {
				if got.Get(name) != want {
					t.Errorf("%s is %q, want %q", name, got.Get(name), want)
				}
			}
		})
	}
}

// TestRetryAfter: a service that asks for time gets it, or is asked no more if
// that is too long.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, header string
		min, max     time.Duration
	}{
		{"seconds", "2", 2 * time.Second, 2 * time.Second},
		{"none", "", 0, 5 * time.Second},
		{"a day", "86400", 24 * time.Hour, 24 * time.Hour},
		{"a date gone", "Mon, 01 Jan 2001 00:00:00 GMT", 0, 5 * time.Second},
		{"nonsense", "soon", 0, 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var waits []time.Duration
			n := 0
			service := newScripted(t)
			service.fault = func(_ int, _ *http.Request, _ []byte, w http.ResponseWriter) bool {
				if n++; n > 2 {
					return false
				}
				w.Header().Set("Retry-After", tt.header)
				respond(w, 429, `{}`)
				return true
			}
			c := service.client(t, func(o *ClientOptions) {
				o.sleep = func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }
			})
			_, err := c.Prepare(t.Context())
			if tt.min > httpx.MaxRetryAfter {
				if gapless.WaitOf(err) != tt.min || len(waits) > 0 {
					t.Errorf("waited %v, and %s are left: %v", waits, gapless.WaitOf(err), err)
				}
				return
			}
			if err != nil || len(waits) != 2 || slices.Min(waits) < tt.min || slices.Max(waits) > tt.max {
				t.Errorf("waited %v: %v", waits, err)
			}
		})
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, reply string
		status      int
		request     string // that makes something
		fails       bool
	}{
		{"ready", `{"databases":[{"is_ready":true,"graph_name":""}]}`, 200, "", false},
		{"no graph", `{"databases":[{"graph_name":"","is_ready":false}]}`, 200, `PATCH /v2/databases {"graph_name":"assets"}`, false},
		{"no indexes", `{"databases":[{"graph_name":"assets","collections_without_indexes":["a","b"]}]}`, 200, `PATCH /v2/databases {"collections_without_indexes":["a","b"]}`, false},
		{"none of these", `{"databases":[{"missing_collections":["x"]}]}`, 200, "", false},
		{"no database", `{}`, 400, `POST /v2/databases`, false},
		{"job fails", `{}`, 400, `POST /v2/databases`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service := newScripted(t)
			status := map[bool]string{true: "ERROR", false: "COMPLETE"}[tt.fails]
			service.fault = func(_ int, r *http.Request, _ []byte, w http.ResponseWriter) bool {
				switch {
				case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/databases"):
					respond(w, tt.status, tt.reply)
				case strings.HasSuffix(r.URL.Path, "/databases"):
					respond(w, 202, `{"job_id":"a/b c"}`)
				default:
					respond(w, 200, `{"status":"`+status+`"}`)
				}
				return true
			}
			created, err := service.client(t).Prepare(t.Context())
			if (err != nil) != tt.fails || gapless.KindOf(err) != gapless.KindRecoverable && tt.fails || created != (tt.request != "") {
				t.Errorf("got %v, %v", created, err)
			}
			want := []string{"GET /v2/databases"}
			if tt.request != "" {
				want = append(want, tt.request, "GET /v2/jobstatus/a%2Fb%20c")
			}
			if diff := cmp.Diff(want, service.requestsSince(0)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// awkward are ids that mean something in an address.
func awkward() []string {
	return []string{"a&b", "a#b", "a,b", "a b", "a+b", "a%b", "a%2Cb", "a/b", "a?b=c", "äöü", "日本", "..", "'", `"`, "a|b", strings.Repeat("x", 3000)}
}

// TestIDsSurvive: every id arrives as it is, in deletes, edges and patches.
func TestIDsSurvive(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	c := service.client(t)
	s := openModel(t, c, 1, func(o *DestinationOptions) { o.Source = "my src/+ü" })
	b := batchOf()
	gone := batchOf()
	for _, id := range append(awkward(), "kept") {
		for _, key := range []string{ModelKey("asset", id), ModelKey("hostname", id), ModelKey("asset_hostname", wire.EdgeKey(id, "h")), ModelKey("asset_hostname", wire.EdgeKey("kept", id))} {
			b.Append(gapless.Change{Record: gapless.Record{Key: key, Data: []byte(`{}`)}})
			if id != "kept" {
				gone.Append(gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key}})
			}
		}
	}
	for _, batch := range []*gapless.Batch{b, gone} {
		if r, err := s.Push(t.Context(), batch); err != nil || len(r.Rejected) > 0 {
			t.Fatal(err, r.Rejected)
		}
		syncAt(t, s, "1")
		if batch == b {
			want := slices.Sorted(slices.Values(append(awkward(), "kept")))
			if diff := cmp.Diff([][]string{want, want}, [][]string{service.ids("asset"), service.ids("hostname")}); diff != "" {
				t.Error(diff)
			}
		}
	}
	kept := [][]string{{"kept"}, {"kept"}, {"kept|h", "kept|kept"}}
	if diff := cmp.Diff(kept, [][]string{service.ids("asset"), service.ids("hostname"), service.ids("asset_hostname")}); diff != "" {
		t.Error(diff)
	}
	for _, line := range service.requestsSince(0) {
		if strings.HasPrefix(line, "DELETE") && len(line) > 12_000 {
			t.Errorf("an address has %d bytes", len(line))
		}
	}
}

// TestDeletesArePaged: no address is longer than servers take.
func TestDeletesArePaged(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	var ids []string
	for i := range 1000 {
		ids = append(ids, fmt.Sprintf("%07d", i))
	}
	if err := service.client(t).DeleteVertices(t.Context(), "s", "asset", ids); err != nil {
		t.Fatal(err)
	}
	var got []string
	requests := service.requestsSince(0)
	for _, line := range requests {
		if len(line) > 2100 {
			t.Errorf("a request of %d bytes", len(line))
		}
		_, list, _ := strings.Cut(line, "external_ids=")
		got = append(got, strings.Split(list, ",")...)
	}
	if diff := cmp.Diff(ids, got); diff != "" || len(requests) != 5 {
		t.Errorf("%d requests, %s", len(requests), diff)
	}
}

func TestExtend(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, held string
		posts      bool
		exit       int
	}{
		{"absent", "", true, 0},
		{"the same", `{"version":"3"}`, false, 0},
		{"older", `{"version":"2"}`, true, 0},
		{"newer", `{"version":"10"}`, false, gapless.ExitUsage},
		{"not a number", `{"version":"x"}`, true, 0},
		{"without version", `{}`, false, gapless.ExitRecoverable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service := newScripted(t)
			if tt.held != "" {
				service.extension["u"] = []byte(tt.held)
			}
			err := service.client(t).Extend(t.Context(), Extension{Key: "u", Version: "3", Schema: []byte(`{}`)})
			posted := strings.HasPrefix(service.requestsSince(0)[len(service.requestsSince(0))-1], "POST /v3/carSchema")
			if gapless.ExitCode(err) != tt.exit || posted != tt.posts {
				t.Errorf("posted %v, %v", posted, err)
			}
		})
	}
}

func TestSingleRequests(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	c := service.client(t)
	ctx := t.Context()
	if _, err := c.Source(ctx, "x"); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("a source that is not there: %v", err)
	}
	if _, err := c.Extension(ctx, "x"); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("an extension that is not there: %v", err)
	}
	if schema, err := c.ImportSchema(ctx); err != nil || !strings.Contains(string(schema), "asset") {
		t.Errorf("schema %s, %v", schema, err)
	}
	service.misbehave(answerOnce(always, "GET", "/importSchema", 200, `{"schema":{}}`))
	if _, err := c.ImportSchema(ctx); err != nil {
		t.Error(err)
	}
	service.misbehave(answerOnce(always, "GET", "/importSchema", 500, ``))
	if _, err := c.ImportSchema(ctx); gapless.ExitCode(err) != gapless.ExitRecoverable {
		t.Errorf("schema 500: %v", err)
	}
	service.misbehave(answerOnce(1, "GET", "/asset", 200, `[{"external_id":"1"}]`))
	if list, err := c.Search(ctx, "asset", "name", "a&b c"); err != nil || len(list) != 1 {
		t.Errorf("search: %s, %v", list, err)
	}
	service.misbehave(answerOnce(1, "POST", "/query", 200, `{"data":{"asset":[]}}`))
	if data, err := c.Query(ctx, `{ asset { id } }`); err != nil || string(data) != `{"asset":[]}` {
		t.Errorf("query: %s, %v", data, err)
	}
	service.misbehave(answerOnce(1, "POST", "/query", 200, `{"data":null,"errors":[{"message":"no such field"}]}`))
	var refused *QueryError
	if _, err := c.Query(ctx, `{ x }`); !errors.As(err, &refused) || gapless.KindOf(err) != gapless.KindRecoverable {
		t.Errorf("query with errors: %v", err)
	}
	if err := c.PatchEdge(ctx, "asset", "s", "1", "2", nil); err == nil {
		t.Error("an edge of a vertex collection was patched")
	}
	golden(t, "single.txt", service.requestsSince(0))
}

// TestSilence: a service that says nothing does not hold a run for ever.
func TestSilence(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	c, err := NewClient(ClientOptions{URL: server.URL + "/v2", Token: "t", Timeout: 60 * time.Millisecond, Retries: 1, sleep: noSleep})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Source(t.Context(), "silent")
	if !errors.Is(err, errSilent) || gapless.KindOf(err) != gapless.KindRecoverable {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gapless.ErrInterrupted)
	if _, err := c.Source(ctx, "slow"); !errors.Is(err, gapless.ErrInterrupted) {
		t.Errorf("a cancelled call: %v", err)
	}
}

// TestMessagesAreShort: what a service says is shortened, and never the rows
// nor the credentials that were sent.
func TestMessagesAreShort(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	service.misbehave(answerOnce(always, "POST", "/imports", 404, strings.Repeat("m", 5000)))
	c := service.client(t, func(o *ClientOptions) { o.Password = "s3cret" })
	_, err := c.Import(t.Context(), []byte(`{"confidential":1}`))
	if err == nil || len(err.Error()) > 450 || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "confidential") || StatusOf(err) != 404 {
		t.Errorf("got %v", err)
	}
}

// TestRedirects are not followed: they would carry credentials elsewhere.
func TestRedirects(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	service.fault = func(_ int, _ *http.Request, _ []byte, w http.ResponseWriter) bool {
		w.Header().Set("Location", "/x/api/car/v2/elsewhere")
		w.WriteHeader(http.StatusFound)
		return true
	}
	if _, err := service.client(t).Import(t.Context(), []byte(`{}`)); gapless.KindOf(err) != gapless.KindRecoverable || StatusOf(err) != 302 {
		t.Errorf("got %v", err)
	}
	if n := len(service.requestsSince(0)); n != 1 {
		t.Errorf("%d requests", n)
	}
}
