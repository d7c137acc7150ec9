package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/server"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

// hooked is a store that asks before it commits and syncs.
type hooked struct {
	server.Store
	commit func(source string) error
	after  func(source string) error // a commit that was made
	sync   func(source string) error
}

func (s *hooked) Open(ctx context.Context, source string, create bool) (server.Corpus, error) {
	c, err := s.Store.Open(ctx, source, create)
	if err != nil {
		return nil, err
	}
	return hookedCorpus{c, s, source}, nil
}

type hookedCorpus struct {
	server.Corpus
	store  *hooked
	source string
}

func (c hookedCorpus) Commit(ctx context.Context, batches []*gapless.Batch) (uint64, error) {
	if c.store.commit != nil {
		if err := c.store.commit(c.source); err != nil {
			return 0, err
		}
	}
	serial, err := c.Corpus.Commit(ctx, batches)
	if err == nil && c.store.after != nil {
		err = c.store.after(c.source)
	}
	return serial, err
}

func (c hookedCorpus) Sync(ctx context.Context) error {
	if c.store.sync != nil {
		if err := c.store.sync(c.source); err != nil {
			return err
		}
	}
	return c.Corpus.Sync(ctx)
}

// TestHeldQuestions: a question after a job is held until it has ended, or for
// as long as it may be, or until the server closes.
func TestHeldQuestions(t *testing.T) {
	t.Parallel()
	h := openHub(t, t.TempDir())
	release := make(chan struct{})
	var holding atomic.Bool
	store := &hooked{Store: service.CARStore(h), commit: func(source string) error {
		if holding.Load() && source == "s" {
			<-release
		}
		return nil
	}}
	f := serve(t, h, server.Options{Store: store, Poll: time.Minute})
	short, err := server.New(server.Options{Store: store, Poll: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	f.fullImport(t, "s", assets(0, 10))
	f.begin(t, "s")
	f.take(t, "s", assets(0, 9))
	holding.Store(true)
	id := f.must(t, "DELETE", "source/s/full-import-in-progress", "")["job_id"].(string)
	again := make(chan string, 1)
	go func() { // it has to wait for its turn, and then is told of the same job
		response, err := http.NewRequestWithContext(context.Background(), http.MethodDelete, f.url("source/s/full-import-in-progress"), nil)
		if err != nil {
			again <- err.Error()
			return
		}
		reply, err := http.DefaultClient.Do(response)
		if err != nil {
			again <- err.Error()
			return
		}
		defer reply.Body.Close()
		text, _ := io.ReadAll(reply.Body)
		again <- string(text)
	}()
	answered := make(chan map[string]any, 1)
	go func() { answered <- f.must(t, "GET", "jobstatus/"+id, "") }()
	if j := ask(t, short, "jobstatus/"+id); !strings.Contains(j, "INPROGRESS") {
		t.Errorf("a question that may not be held: %s", j)
	}
	select {
	case j := <-answered:
		t.Errorf("answered before the job had ended: %v", j)
	default:
	}
	close(release)
	if j := <-answered; j["status"] != "COMPLETE" {
		t.Errorf("%v", j)
	}
	if text := <-again; !strings.Contains(text, `"job_id":"j`) {
		t.Errorf("the end again: %s", text)
	}
	if err := short.Close(); err != nil {
		t.Error(err)
	}
}

// ask sends a question to a server without a network.
func ask(t *testing.T, s *server.Server, path string) string {
	t.Helper()
	f := &fixture{}
	listener := newListener(t, s)
	f.address = listener
	_, text := f.do(t, "GET", path, "")
	return text
}

// TestRowsDuringRetirement sends a row while a job is about to retire it: it
// stays, and so does one of the next full import.
func TestRowsDuringRetirement(t *testing.T) {
	t.Parallel()
	h := openHub(t, t.TempDir())
	entered, release := make(chan struct{}), make(chan struct{})
	var saves atomic.Int64
	saves.Store(-100)
	store := &hooked{Store: service.CARStore(h), commit: func(source string) error {
		if source == "" && saves.Add(1) == 2 { // the guard has counted, nothing is retired yet
			close(entered)
			<-release
		}
		return nil
	}}
	f := serve(t, h, server.Options{Store: store})
	f.fullImport(t, "s", assets(0, 30))
	f.begin(t, "s")
	f.take(t, "s", assets(0, 20))
	j := make(chan map[string]any, 1)
	saves.Store(0) // the first will be that of the request, the second that of the decision
	id := f.must(t, "DELETE", "source/s/full-import-in-progress", "")["job_id"].(string)
	<-entered
	go func() { j <- f.must(t, "GET", "jobstatus/"+id, "") }()
	f.take(t, "s", assets(20, 21))
	f.begin(t, "s")
	f.take(t, "s", assets(21, 22))
	close(release)
	if j := <-j; j["status"] != "COMPLETE" || j["retired"].(map[string]any)["asset"] != 8.0 {
		t.Errorf("%v", j)
	}
	if n := f.count(t, "s", "asset"); n != 22 {
		t.Errorf("%d assets are left", n)
	}
	if open := f.must(t, "GET", "source/s", "")["gapless"].(map[string]any)["full_import"]; open != true {
		t.Error("the end of one full import has ended the next")
	}
}

// TestCloseEndsQuestions: who waits when the server closes is told what is.
func TestCloseEndsQuestions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := openHub(t, dir)
	entered, release := make(chan struct{}), make(chan struct{})
	var holding atomic.Bool
	store := &hooked{Store: service.CARStore(h), commit: func(source string) error {
		if holding.Load() && source == "s" {
			close(entered)
			<-release
			return errors.New("the daemon is being stopped")
		}
		return nil
	}}
	s, err := server.New(server.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{hub: h, address: newListener(t, s)}
	f.fullImport(t, "s", assets(0, 10))
	f.begin(t, "s")
	f.take(t, "s", assets(0, 9))
	holding.Store(true)
	id := f.must(t, "DELETE", "source/s/full-import-in-progress", "")["job_id"].(string)
	<-entered
	answered := make(chan string, 1)
	go func() {
		_, text := f.do(t, "GET", "jobstatus/"+id, "")
		answered <- text
	}()
	go func() { _ = s.Close() }()
	if text := <-answered; !strings.Contains(text, "INPROGRESS") && !strings.Contains(text, "unavailable") {
		t.Errorf("%s", text)
	}
	close(release)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if status, text := f.do(t, "GET", "databases", ""); status != 503 {
		t.Errorf("a server that is closed: %d %s", status, text)
	}
	// The next server goes on with the job.
	next := serve(t, h, server.Options{})
	if j := next.must(t, "GET", "jobstatus/"+id, ""); j["status"] != "COMPLETE" || next.count(t, "s", "asset") != 9 {
		t.Errorf("%v", j)
	}
}

// TestStoreTrouble: what fails is never called done.
func TestStoreTrouble(t *testing.T) {
	t.Parallel()
	h := openHub(t, t.TempDir())
	store := &hooked{Store: service.CARStore(h)}
	f := serve(t, h, server.Options{Store: store, Poll: time.Millisecond})
	requests := [][3]string{
		{"POST", "imports", envelopeOf("s", assets(0, 1))},
		{"POST", "imports", envelopeOf("s", `"asset":[{}]`)},
		{"POST", "source/s/full-import-in-progress", ""},
		{"DELETE", "source/s/full-import-in-progress", ""},
		{"PATCH", "source?key=s", `{"model_state_id":"9"}`},
		{"DELETE", "source/s/asset?external_ids=1", ""},
		{"PATCH", "asset_account?source=s&from=1&to=1", `{"active":false}`},
		{"PATCH", "asset?external_id=1", `{"name":"x"}`},
		{"DELETE", "source/s", ""},
		{"POST", "/v3/carSchema", `{"key":"u","owner":"o","version":"1","schema":{}}`},
		{"POST", "databases", ""},
	}
	for _, trouble := range []error{gapless.Recoverable(errors.New("the disk is full")), errors.New("anything"), fmt.Errorf("engine: %w", gapless.ErrFenced)} {
		f.take(t, "s", `"asset":[{"external_id":"1"}],"asset_account":[{"_from":"1","_to":"1"}]`)
		store.commit = func(string) error { return trouble }
		for _, r := range requests {
			status, text := f.do(t, r[0], r[1], r[2])
			if status < 400 || strings.Contains(text, `_id":`) || strings.Contains(text, trouble.Error()) || !strings.Contains(text, `"errors"`) {
				t.Errorf("%v: %v: %d %s", trouble, r, status, text)
			}
		}
		store.commit = nil
		store.sync = func(string) error { return trouble }
		for _, r := range requests[:9] {
			if status, text := f.do(t, r[0], r[1], r[2]); status < 400 || strings.Contains(text, `_id":`) {
				t.Errorf("sync: %v: %v: %d %s", trouble, r, status, text)
			}
		}
		store.sync = nil
	}
}

// unsynced is a store whose serials are not durable until it is told so.
type unsynced struct {
	server.Store
	durable atomic.Bool
}

func (s *unsynced) Synced(ctx context.Context, serial uint64) (bool, error) {
	if !s.durable.Load() {
		return false, nil
	}
	return s.Store.Synced(ctx, serial)
}

func TestIncompleteImports(t *testing.T) {
	t.Parallel()
	h := openHub(t, t.TempDir())
	store := &unsynced{Store: service.CARStore(h)}
	f := serve(t, h, server.Options{Store: store})
	id := f.post(t, "s", assets(0, 1))
	if reply := f.must(t, "GET", "importstatus?ids="+id, ""); len(reply["incomplete_imports"].([]any)) != 1 || len(reply["error_imports"].([]any)) != 0 {
		t.Errorf("%v", reply)
	}
	if status, text := f.do(t, "GET", "jobstatus/"+id, ""); status != 503 {
		t.Errorf("%d %s", status, text)
	}
	store.durable.Store(true)
	if reply := f.must(t, "GET", "importstatus?ids="+id, ""); len(reply["complete_imports"].([]any)) != 1 {
		t.Errorf("%v", reply)
	}
}

// TestUndurableEnd: a job that says that it is complete is not, before that is
// durable.
func TestUndurableEnd(t *testing.T) {
	t.Parallel()
	h := openHub(t, t.TempDir())
	entered, release := make(chan struct{}), make(chan struct{})
	var syncs atomic.Int64
	syncs.Store(-100)
	store := &hooked{Store: service.CARStore(h), sync: func(source string) error {
		if source == "" && syncs.Add(1) == 2 {
			close(entered)
			<-release
		}
		return nil
	}}
	f := serve(t, h, server.Options{Store: store, Poll: time.Millisecond})
	f.begin(t, "s")
	f.take(t, "s", assets(0, 1))
	syncs.Store(0) // the first will be that of the request, the second that of the end
	id := f.must(t, "DELETE", "source/s/full-import-in-progress", "")["job_id"].(string)
	<-entered
	if j := f.must(t, "GET", "jobstatus/"+id, ""); j["status"] != "INPROGRESS" {
		t.Errorf("%v", j)
	}
	close(release)
	for range 10_000 { // each is held for a millisecond
		if j := f.must(t, "GET", "jobstatus/"+id, ""); j["status"] == "COMPLETE" {
			return
		}
	}
	t.Error("the job has not ended")
}

// TestAmbiguousCommit: a commit that failed may have been made.
func TestAmbiguousCommit(t *testing.T) {
	t.Parallel()
	h := openHub(t, t.TempDir())
	store := &hooked{Store: service.CARStore(h)}
	f := serve(t, h, server.Options{Store: store})
	f.begin(t, "s")
	store.after = func(string) error { return gapless.Recoverable(errors.New("who knows")) }
	if status, text := f.do(t, "POST", "source/s/full-import-in-progress", ""); status != 503 {
		t.Errorf("%d %s", status, text)
	}
	store.after = nil
	f.take(t, "s", assets(0, 1))
	if g := f.must(t, "GET", "source/s", "")["gapless"].(map[string]any)["generation"]; g != 2.0 {
		t.Errorf("the generation of a begin that may have been made is forgotten: %v", g)
	}
}

// TestOwnedSource: a source whose connector the engine runs is not touched.
func TestOwnedSource(t *testing.T) {
	t.Parallel()
	h := openHub(t, t.TempDir())
	if _, err := h.Session(t.Context(), "car:engine", 7); err != nil {
		t.Fatal(err)
	}
	f := serve(t, h, server.Options{})
	for _, r := range [][3]string{
		{"POST", "imports", envelopeOf("engine", assets(0, 1))}, {"PATCH", "source?key=engine", `{}`},
		{"POST", "source/engine/full-import-in-progress", ""}, {"DELETE", "source/engine/asset?external_ids=1", ""},
	} {
		if status, text := f.do(t, r[0], r[1], r[2]); status != 409 || !strings.Contains(text, "runner") {
			t.Errorf("%v: %d %s", r, status, text)
		}
	}
	if got := f.active(t, "engine"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestTwoAtOnce imports into one source from many connections.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.begin(t, "s")
	var working sync.WaitGroup
	for worker := range 8 {
		working.Go(func() {
			for page := range 10 {
				n := (worker*10 + page) * 20
				f.take(t, "s", assets(n, n+20))
				f.must(t, "PATCH", "asset?external_id="+fmt.Sprint(n), `{"pending_update":"active"}`)
				f.must(t, "DELETE", "source/s/asset?external_ids="+fmt.Sprint(n+1), "")
			}
		})
	}
	working.Wait()
	if j := f.end(t, "s"); j["status"] != "COMPLETE" || f.count(t, "s", "asset") != 8*10*19 {
		t.Errorf("%d assets, %v", f.count(t, "s", "asset"), j)
	}
}

// TestRestart finds everything again.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h, err := hub.Open(t.Context(), hub.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Options{Store: service.CARStore(h)})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{hub: h, address: newListener(t, s)}
	f.must(t, "POST", "/v3/carSchema", `{"key":"u","owner":"o","version":"1","schema":{"vertices":[{"name":"site"}],"edges":[{"end1":"site","end2":"asset"}]}}`)
	f.fullImport(t, "s", assets(0, 100), `"site":[{"external_id":"1"}]`)
	refused := f.fullImport(t, "s", assets(0, 10), `"site":[{"external_id":"1"}]`)
	good, bad := f.post(t, "s", assets(0, 1)), f.post(t, "t", `"asset":[{}]`)
	if err := errors.Join(s.Close(), h.Close()); err != nil {
		t.Fatal(err)
	}
	f = serve(t, openHub(t, dir), server.Options{})
	if status := f.must(t, "GET", "importstatus/"+good, "")["status"]; status != "COMPLETE" {
		t.Errorf("the import: %v", status)
	}
	if status := f.must(t, "GET", "importstatus/"+bad, "")["status"]; status != "ERROR" {
		t.Errorf("the bad import: %v", status)
	}
	if j := f.must(t, "GET", "jobstatus/"+refused["id"].(string), ""); j["code"] != "GAP-3001" {
		t.Errorf("the refused job: %v", j)
	}
	f.take(t, "s", `"site":[{"external_id":"2"}],"site_asset":[{"_from":"1","_to":"1"}]`)
	j := f.job(t, "POST", "source/s/full-import-in-progress/approve", fmt.Sprintf(`{"approve":%q}`, refused["id"]))
	if j["status"] != "COMPLETE" || f.count(t, "s", "asset") != 10 {
		t.Errorf("the approval: %v", j)
	}
}

// TestJobsAreTriedAgain: a store that fails for a moment costs a job a pause,
// and not a restart: clients ask for it until it has ended.
func TestJobsAreTriedAgain(t *testing.T) {
	t.Parallel()
	h := openHub(t, t.TempDir())
	var failures atomic.Int64
	store := &hooked{Store: service.CARStore(h), commit: func(source string) error {
		if source == "s" && failures.Add(-1) >= 0 {
			return gapless.Recoverable(errors.New("the disk is busy"))
		}
		return nil
	}}
	f := serve(t, h, server.Options{Store: store, Poll: 10 * time.Second})
	f.fullImport(t, "s", assets(0, 10))
	f.begin(t, "s")
	f.take(t, "s", assets(0, 9))
	failures.Store(1)
	if j := f.end(t, "s"); j["status"] != "COMPLETE" || f.count(t, "s", "asset") != 9 {
		t.Errorf("%v", j)
	}
}

// TestOtherSites: a page of another site can make a browser send requests, with
// the credentials of whoever looks at it.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	for name, headers := range map[string]map[string]string{
		"a new browser": {"Sec-Fetch-Site": "cross-site", "Origin": "https://other.example"},
		"an old one":    {"Origin": "https://other.example"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url("imports"), strings.NewReader(envelopeOf("s", assets(0, 1))))
		if err != nil {
			t.Fatal(err)
		}
		for header, value := range headers {
			r.Header.Set(header, value)
		}
		reply, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = reply.Body.Close()
		if reply.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", name, reply.Status)
		}
	}
	f.take(t, "s", assets(0, 1))
}
