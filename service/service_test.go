package service

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/hub"
)

// opened returns a project with two records in its hub, and its hub connector
// as the only kind.
func opened(t *testing.T) *Project {
	t.Helper()
	dir := t.TempDir()
	hubs := hub.NewPool()
	kinds := Kinds{Hubs: hubs, Connectors: []gapless.Connector{two(), hub.Connector(hubs)}}
	text := "connectors:\n  copy:\n    from: two\n    to: hub\n"
	if err := os.WriteFile(filepath.Join(dir, config.FileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems, err := config.Load(dir, os.LookupEnv, kinds.Connectors)
	if err := errors.Join(err, config.AsError(problems)); err != nil {
		t.Fatal(err)
	}
	p, err := OpenProject(t.Context(), c, kinds)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// two is a source of two records.
func two() gapless.Connector {
	return gapless.Connector{
		Name: "two", Summary: "Two records",
		Source: gapless.OpenSource(func(context.Context, struct{}, gapless.Env) (gapless.Source, error) { return twoSource{}, nil }),
	}
}

type twoSource struct{}

func (twoSource) Describe(context.Context) (gapless.Description, error) {
	return gapless.Description{Model: gapless.ModelFull, Collections: []string{"item"}}, nil
}

func (twoSource) ReadAll(_ context.Context, _ gapless.Partition, _ gapless.Mark, out *gapless.Output) error {
	return errors.Join(
		out.Upsert(gapless.Record{Key: "a", Data: []byte(`{"text":"the memory model"}`)}),
		out.Upsert(gapless.Record{Key: "b", Data: []byte(`{"text":"nothing of it"}`)}))
}

func started(t *testing.T, p *Project) *Service {
	t.Helper()
	s, err := New(Config{Project: p, Listen: "127.0.0.1:0", Exec: func(context.Context, Request, Streams) int { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func get(t *testing.T, s *Service, path string) (status int, body string) {
	t.Helper()
	response, err := http.Get("http://" + s.Address() + path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func runCopy(t *testing.T, p *Project) engine.Summary {
	t.Helper()
	c, err := p.Config.Connector("copy")
	if err != nil {
		t.Fatal(err)
	}
	e, closeEnds, err := p.Engine(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	summary, err := e.Run(t.Context(), engine.RunOptions{})
	if err := errors.Join(err, closeEnds()); err != nil {
		t.Fatal(err)
	}
	if ok, err := p.WaitSearchable(t.Context(), c, summary.Serial, func(uint64, uint64) {}); !ok || err != nil {
		t.Fatalf("searchable: %t, %v", ok, err)
	}
	return summary
}

func TestDaemonTellsWhatItsRunsDid(t *testing.T) {
	t.Parallel()
	p := opened(t)
	s := started(t, p)
	before, err := p.Status(t.Context(), time.Now())
	if err != nil || before.Connectors[0].LastRun != nil {
		t.Fatalf("%+v, %v", before, err)
	}
	summary := runCopy(t, p)
	for _, test := range []struct {
		path, want string
		status     int
	}{
		{"/healthz", "ok\n", 200},
		{"/status", summary.Run, 200},
		{"/status", `"daemon":{"process":`, 200},
		{"/search?q=memory", `"total":1`, 200},
		{"/search?q=memory&offset=-1", `"error":`, 400},
		{"/metrics", `gapless_records_total{connector="copy",what="synced"} 2`, 200},
		{"/metrics", `gapless_runs_total{connector="copy",status="complete"} 1`, 200},
		{"/metrics", `gapless_pushed_not_synced_records{connector="copy"} 0`, 200},
		{"/metrics", `gapless_destination_records{connector="copy"} 2`, 200},
		{"/metrics", `gapless_hub_serial{status="searchable"} 2`, 200},
		{"/exec", "", 404},
	} {
		if status, body := get(t, s, test.path); status != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s: %d, want %d with %q:\n%s", test.path, status, test.status, test.want, body)
		}
	}
}

// TestEveryMetricIsTold compares the declared metrics with those of a scrape.
func TestEveryMetricIsTold(t *testing.T) {
	t.Parallel()
	p := opened(t)
	s := started(t, p)
	runCopy(t, p)
	s.metrics.observe(engine.Event{Type: engine.EventRetry, Connector: "copy"})
	_, body := get(t, s, "/metrics")
	for _, m := range Metrics() {
		if !strings.Contains(body, "# TYPE "+m.Name+" "+m.Type+"\n") || !strings.Contains(body, "# HELP "+m.Name+" "+m.Help) {
			t.Errorf("%s is not told", m.Name)
		}
	}
	for line := range strings.Lines(body) {
		name, isType := strings.CutPrefix(line, "# TYPE ")
		name, _, _ = strings.Cut(name, " ")
		if isType && !declared(name) {
			t.Errorf("%s is not declared", name)
		}
	}
}

func declared(name string) bool {
	for _, m := range Metrics() {
		if m.Name == name {
			return true
		}
	}
	return false
}

// TestCountersSurviveRepeatedEvents feeds a run whose events repeat counts, as
// progress does.
func TestCountersSurviveRepeatedEvents(t *testing.T) {
	t.Parallel()
	p := opened(t)
	s := started(t, p)
	for _, read := range []uint64{1, 5, 5, 9} {
		s.metrics.observe(engine.Event{
			Type: engine.EventProgress, Connector: "copy", Run: "r-1",
			Progress: &engine.Progress{Counts: engine.Counts{Read: read, Pushed: read}},
		})
	}
	if _, body := get(t, s, "/metrics"); !strings.Contains(body, `gapless_records_total{connector="copy",what="read"} 9`) ||
		!strings.Contains(body, `gapless_pushed_not_synced_records{connector="copy"} 9`) {
		t.Error(body)
	}
}

func TestStopIsOrderly(t *testing.T) {
	t.Parallel()
	p := opened(t)
	inside := make(chan struct{})
	var s *Service
	var err error
	s, err = New(Config{Project: p, Listen: "127.0.0.1:0", Exec: func(_ context.Context, _ Request, streams Streams) int {
		close(inside)
		<-streams.Stop
		for closed := false; !closed; { // the daemon has got as far as it gets without this command
			connection, err := net.Dial("tcp", s.Address())
			if closed = err != nil; !closed {
				_ = connection.Close()
			}
		}
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range 50 {
			<-tick.C
			if _, err := os.Stat(socketPath(p.Config.State)); err != nil {
				t.Error("the daemon did not wait for its command")
			}
		}
		return gapless.ExitInterrupted
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan int, 1)
	client := dial(t, p.Config.State)
	go func() {
		code, err := client.Exec(context.Background(), Request{}, Sink{Out: io.Discard, Err: io.Discard}, nil, nil)
		if err != nil {
			t.Error(err)
		}
		ended <- code
	}()
	<-inside
	for range 2 { // stopping twice is no error
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if code := <-ended; code != gapless.ExitInterrupted {
		t.Errorf("the command ended with %d", code)
	}
	if Dial(t.Context(), p.Config.State) != nil {
		t.Error("the socket is still there")
	}
	if _, err := http.Get("http://" + s.Address() + "/healthz"); err == nil {
		t.Error("the HTTP listener is still there")
	}
}

func TestAnotherProjectIsRefused(t *testing.T) {
	t.Parallel()
	p := opened(t)
	other := *p.Config
	other.State += "-other"
	if _, err := p.With(&other); gapless.ExitCode(err) != gapless.ExitUsage {
		t.Errorf("%v", err)
	}
	if _, err := New(Config{Project: p, Listen: ":0"}); gapless.ExitCode(err) != gapless.ExitUsage {
		t.Errorf("%v", err)
	}
}
