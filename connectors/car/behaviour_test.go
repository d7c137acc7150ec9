package car

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
)

// noSleep waits for nothing.
func noSleep(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }

const always = 1000

type fault = func(int, *http.Request, []byte, http.ResponseWriter) bool

// TestBehaviour is what follows from every failure of a service, in the run
// that meets it and in the next one, which meets none.
func TestBehaviour(t *testing.T) {
	t.Parallel()
	post := func(n, status int) fault { return answerOnce(n, "POST", "/imports", status, `{"message":"m"}`) }
	jobError := func(code string) fault {
		return answerOnce(always, "GET", "/importstatus", 200, `{"error_imports":[{"id":"I6","error":"no"`+code+`}]}`)
	}
	get := func(address string, status int, body string) fault {
		return answerOnce(always, "GET", address, status, body)
	}
	const letters = -1 // complete, with the row as a dead letter
	tests := []struct {
		name  string
		fault fault
		full  bool // in a full import
		// exit code of the run, or letters
		exit int
		// requests of the faulty kind, if it matters
		times int
		path  string
	}{
		{"post 500", post(always, 500), false, 10, 3, "POST /v2/imports"},
		{"post 503 once", post(1, 503), false, 0, 2, "POST /v2/imports"},
		{"post dropped once", post(1, 0), false, 0, 2, "POST /v2/imports"},
		{"post dropped", post(always, 0), false, 10, 0, ""},
		{"post 503", post(always, 503), false, 10, 0, ""},
		{"post 429", post(always, 429), false, 10, 0, ""},
		{"post 502", post(always, 502), false, 10, 0, ""},
		{"post 504", post(always, 504), false, 10, 0, ""},
		{"post 408", post(always, 408), false, 10, 0, ""},
		{"post 302", post(always, 302), false, 10, 1, "POST /v2/imports"},
		{"post 401", post(always, 401), false, 52, 1, "POST /v2/imports"},
		{"post 403", post(always, 403), false, 53, 1, "POST /v2/imports"},
		{"post 404", post(always, 404), false, 20, 1, "POST /v2/imports"},
		{"post 400", post(always, 400), false, letters, 1, "POST /v2/imports"},
		{"post 413", post(always, 413), false, letters, 1, "POST /v2/imports"},
		{"post 422", post(always, 422), false, letters, 1, "POST /v2/imports"},
		{"post without id", answerOnce(always, "POST", "/imports", 200, `{"job_id":"x"}`), false, 10, 0, ""},
		{"post not JSON", answerOnce(always, "POST", "/imports", 200, `<html>`), false, 10, 0, ""},
		{"job error 422", jobError(`,"statusCode":422`), false, letters, 0, ""},
		{"job error without code", jobError(``), false, letters, 0, ""},
		{"job error 400 as text", jobError(`,"statusCode":"400"`), false, letters, 0, ""},
		{"job error 500", jobError(`,"statusCode":500`), false, 10, 0, ""},
		{"job error 429", jobError(`,"statusCode":429`), false, 10, 0, ""},
		{"importstatus 500", get("/importstatus", 500, ``), false, 10, 3, "GET /v2/importstatus"},
		{"importstatus 404", get("/importstatus", 404, ``), false, 10, 0, ""},
		{"importstatus empty", get("/importstatus", 200, `{}`), false, 10, 3, "GET /v2/importstatus"},
		{"importstatus not JSON", get("/importstatus", 200, `OK`), false, 10, 0, ""},
		{"importstatus dropped", get("/importstatus", 0, ``), false, 10, 0, ""},
		{"importstatus of another", get("/importstatus", 200, `{"complete_imports":[{"id":"I99"}]}`), false, 10, 0, ""},
		{"importstatus not found", get("/importstatus", 200, `{"notfound_imports":[{"id":"I6"}]}`), false, 10, 0, ""},
		{"importstatus not found and complete", get("/importstatus", 200, `{"notfound_imports":["I6"],"complete_imports":["I6"]}`), false, 10, 0, ""},
		{"importstatus incomplete", get("/importstatus", 200, `{"incomplete_imports":[{"id":"I6"}]}`), false, 10, 0, ""},
		{"source 500", get("/source/my-src", 500, ``), false, 10, 3, "GET /v2/source"},
		{"source 400", get("/source/my-src", 400, ``), false, 10, 0, ""},
		{"source 401", get("/source/my-src", 401, ``), false, 52, 1, "GET /v2/source"},
		{"source not JSON", get("/source/my-src", 200, `<html>`), false, 10, 0, ""},
		{"source null", get("/source/my-src", 200, `null`), false, 10, 0, ""},
		{"source with a number", get("/source/my-src", 200, `{"model_state_id":7}`), false, 10, 0, ""},
		{"databases 500", get("/databases", 500, ``), false, 10, 0, ""},
		{"databases 401", get("/databases", 401, ``), false, 52, 0, ""},
		{"databases 404", get("/databases", 404, ``), false, 20, 0, ""},
		{"databases empty", get("/databases", 200, `{"databases":[]}`), false, 10, 0, ""},
		{"in-progress 500", answerOnce(always, "POST", "in-progress", 500, ``), true, 10, 0, ""},
		{"in-progress 404", answerOnce(always, "POST", "in-progress", 404, ``), true, 20, 0, ""},
		{"in-progress dropped", answerOnce(always, "POST", "in-progress", 0, ``), true, 10, 0, ""},
		{"in-progress without job", answerOnce(always, "POST", "in-progress", 200, `{}`), true, 10, 0, ""},
		{"in-progress job fails", get("/jobstatus", 200, `{"status":"ERROR","error":"no"}`), true, 10, 1, "GET /v2/jobstatus"},
		{"jobstatus 500", get("/jobstatus", 500, ``), true, 10, 0, ""},
		{"jobstatus 404", get("/jobstatus", 404, ``), true, 10, 0, ""},
		{"jobstatus not JSON", get("/jobstatus", 200, `x`), true, 10, 0, ""},
		{"jobstatus goes on", get("/jobstatus", 200, `{"status":"INPROGRESS"}`), true, 10, 0, ""},
		{"import 500 in a full import", answerOnce(always, "POST", "/imports", 500, ``), true, 10, 0, ""},
		{"end 500", answerOnce(always, "DELETE", "in-progress", 500, ``), true, 10, 0, ""},
		{"end refused", answerOnce(always, "GET", "/jobstatus/J9", 200, `{"status":"ERROR","code":"GAP-3001","error":"9 of 10"}`), true, 7, 0, ""},
		{"final patch 500", answerOnce(always, "PATCH", "/source", 500, ``), false, 10, 3, "PATCH /v2/source"},
		{"final patch 503", answerOnce(always, "PATCH", "/source", 503, ``), false, 10, 0, ""},
		{"carSchema 500", get("/carSchema", 500, ``), false, 10, 0, ""},
		{"carSchema newer", get("/carSchema", 200, `{"version":"2"}`), false, 2, 0, ""},
		{"carSchema refused", func(n int, r *http.Request, b []byte, w http.ResponseWriter) bool {
			return get("/carSchema", 404, ``)(n, r, b, w) || answerOnce(1, "POST", "/carSchema", 400, `{}`)(n, r, b, w)
		}, false, 2, 0, ""},
		{"delete 404", answerOnce(always, "DELETE", "/asset", 404, ``), false, 20, 1, "DELETE /v2/source/my-src/asset"},
		{"delete 500", answerOnce(always, "DELETE", "/asset", 500, ``), false, 10, 0, ""},
		{"edge 500", answerOnce(always, "PATCH", "/asset_ipaddress", 500, ``), false, 10, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service := newScripted(t)
			c := service.client(t, func(o *ClientOptions) {
				o.Password, o.Retries, o.JobTimeout = "s3cret", 2, time.Millisecond
			})
			state := t.TempDir()
			with := func(o *DestinationOptions) { o.State, o.Extension = state, demoExtension() }
			s := openModel(t, c, 1, with)
			if err := fullImportOf(t.Context(), s, "1", `+ asset/old {}`, `+ asset/gone {}`, `+ asset_ipaddress/gone|1.1.1.1 {}`); err != nil {
				t.Fatal(err)
			}
			n := len(service.requestsSince(0))
			service.misbehave(tt.fault)
			rejected, err := runOnce(t, c, with, tt.full)
			service.misbehave(nil)
			want := max(tt.exit, 0)
			if got := gapless.ExitCode(err); got != want {
				t.Fatalf("exit code %d, want %d: %v", got, want, err)
			}
			if (tt.exit == letters) != (rejected > 0) {
				t.Errorf("%d rows were refused", rejected)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "confidential")) {
				t.Errorf("the error gives away what it must not: %v", err)
			}
			position := map[bool]string{true: "2", false: "1"}[err == nil]
			if got := service.state("my-src"); got != position {
				t.Errorf("the position is %q, want %q", got, position)
			}
			times := 0
			for _, line := range service.requestsSince(n) {
				if strings.HasPrefix(line, tt.path) {
					times++
				}
			}
			if tt.times > 0 && times != tt.times {
				t.Errorf("asked %d times, want %d", times, tt.times)
			}
			if _, err := runOnce(t, c, with, tt.full); err != nil {
				t.Fatalf("the next run: %v", err)
			}
			if got := strings.Join(service.ids("asset"), " "); got != "new old" || service.state("my-src") != "2" || len(service.ids("asset_ipaddress")) != 0 {
				t.Errorf("the service holds %s at %q, edges %v", got, service.state("my-src"), service.ids("asset_ipaddress"))
			}
		})
	}
}

// runOnce is a run that creates one vertex, and deletes another and an edge.
func runOnce(t *testing.T, c *Client, with func(*DestinationOptions), full bool) (rejected int, err error) {
	t.Helper()
	s, err := tryModel(t, c, 2, with)
	if err != nil {
		return 0, err
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Status(t.Context()); err != nil {
		return 0, err
	}
	if full {
		return 0, fullImportOf(t.Context(), s, "2", `+ asset/old {}`, `+ asset/new {"x":"confidential"}`)
	}
	if _, err = s.Push(t.Context(), batchOf(`+ asset/new {"x":"confidential"}`, `- asset_ipaddress/gone|1.1.1.1`, `- asset/gone`)); err != nil {
		return 0, err
	}
	r, err := s.Sync(t.Context(), []gapless.Checkpoint{{Partition: Model, Position: "2", Run: "r", Seq: 9, Epoch: 2}})
	return len(r.Rejected), err
}
