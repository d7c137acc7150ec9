package service

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/event"
)

// listening starts the daemon of a project and returns the address that it logs
// for a door.
func listening(t *testing.T, p *Project, door string) (*Service, string) {
	t.Helper()
	var log sharedBuffer
	s, err := New(Config{
		Project: p, Listen: "127.0.0.1:0", Exec: func(context.Context, Request, Streams) int { return 0 },
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
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
	found := regexp.MustCompile(`serving ` + door + `" address=(http://[^/\s]+)`).FindStringSubmatch(log.String())
	if found == nil {
		t.Fatalf("no address in the log: %s", log.String())
	}
	return s, found[1]
}

// ingestEvent is an event about files, as a Pacifica installation sends it.
func ingestEvent(id string, files ...string) string {
	return fmt.Sprintf(`{"cloudEventsVersion": "0.1", "eventType": "org.pacifica.metadata.ingest", "source": "http://metadata.example.org/transactions?_id=67",
		"eventID": %q, "eventTime": "2020-05-15T13:05:10", "extensions": {}, "contentType": "application/json",
		"data": [{"destinationTable": "Transactions._id", "value": 67}, %s]}`, id, strings.Join(files, ","))
}

func wantedFile(path, content string) string {
	sum := sha1.Sum([]byte(content))
	return fmt.Sprintf(`{"destinationTable": "Files", "_id": %q, "name": %q, "subdir": "sub", "size": %d, "hashtype": "sha1", "hashsum": %q}`,
		path, filepath.Base(path), len(content), hex.EncodeToString(sum[:]))
}

// settled waits until no event of the project waits any more, and returns the
// dead ones.
func settled(t *testing.T, p *Project) []PendingEvent {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		list, err := p.PendingEvents()
		if err != nil {
			t.Fatal(err)
		}
		waiting := 0
		for _, e := range list {
			if !e.Dead {
				waiting++
			}
		}
		if waiting == 0 {
			return list
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("events are still waiting")
		}
	}
}

// TestEventsGiveWay has a cart server that cannot stage the file of the first of
// two events: the second does not wait until nobody tries any more.
func TestEventsGiveWay(t *testing.T) {
	t.Parallel()
	orders := make(chan string, 100)
	carts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusCreated)
			orders <- string(body)
		case http.MethodHead:
			w.Header().Set("X-Pacifica-Status", "error")
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(carts.Close)
	p := opened(t)
	act, err := newReactions(&Service{Config: Config{Project: p, Logger: slog.New(slog.DiscardHandler)}}, []config.Reaction{{Download: &config.EventDownload{Cart: carts.URL, To: "got", Name: "data"}}})
	if err != nil {
		t.Fatal(err)
	}
	d := openDoorOf(t, eventOptions{Work: act.handle, Workers: 1})
	for _, name := range []string{"first", "second"} {
		e, err := event.Decode([]byte(ingestEvent(name, wantedFile(name, name))))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.queue.accept([]event.Event{e}); err != nil {
			t.Fatal(err)
		}
	}
	runDoor(t, d)
	for _, name := range []string{"first", "second"} {
		if order := <-orders; !strings.Contains(order, name) {
			t.Errorf("the order for %s is %s", name, order)
		}
	}
}

// archive serves carts of the files, to key with the password secret, and returns
// the address.
func archive(t *testing.T, files map[string]string) string {
	t.Helper()
	p := opened(t)
	dir := filepath.Join(p.Config.Dir, "archive")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.Config.Cart = config.Cart{Listen: "127.0.0.1:0", Root: "archive", Users: map[string]string{"key": carHash}, Keep: time.Hour, MaxFiles: 10, MaxCarts: 10, MaxBody: 1 << 20}
	_, address := listening(t, p, "the cart service")
	return address
}

// arrived fails for each of the files that was not downloaded.
func arrived(t *testing.T, p *Project, files map[string]string) {
	t.Helper()
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(p.Config.Dir, "got", "data", "sub", name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestEventsSetOffRunsAndDownloads(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a.txt": "first", "b.txt": "second"}
	carts := archive(t, files)
	p := opened(t)
	p.Config.Events = config.Events{
		Listen: "127.0.0.1:0", Tokens: map[string]string{"notifications": carHash}, Workers: 2, MaxBody: 1 << 20, Keep: time.Hour, GiveUp: time.Second,
		On: []config.Reaction{
			{
				Types: []string{"org.pacifica.metadata.ingest"}, Match: `$.data[?@.destinationTable == 'Files']`,
				Download: &config.EventDownload{Cart: carts, To: "got", Name: "data", User: "key", Password: "secret"},
			},
			{Types: []string{"copy"}, Run: "copy", Keys: "$.data.key"},
		},
	}
	_, events := listening(t, p, "the receiver of events")
	post := func(token, body string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, events+"/receive", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode
	}

	both := ingestEvent("1", wantedFile("a.txt", "first"), wantedFile("b.txt", "second"))
	var statuses []int
	for _, x := range []struct{ token, body string }{
		{"wrong", both}, {"secret", both}, {"secret", both},
		{"secret", ingestEvent("2", wantedFile("a.txt", "something else"))},
		{"secret", ingestEvent("3", `{"destinationTable": "Files", "_id": 5, "name": "c.txt"}`)},
		{"secret", `{"specversion": "1.0", "type": "copy", "source": "here", "id": "1", "data": {"key": "a"}}`},
		{"secret", `{"specversion": "1.0", "type": "nobody wants it", "source": "here", "id": "2"}`},
	} {
		statuses = append(statuses, post(x.token, x.body))
	}
	if diff := cmp.Diff([]int{401, 202, 200, 202, 202, 202, 202}, statuses); diff != "" {
		t.Error(diff)
	}
	dead := settled(t, p)
	for _, e := range dead {
		if e.ID != "2" && e.ID != "3" || e.Reason == "" {
			t.Errorf("%+v is dead", e)
		}
	}
	if len(dead) != 2 {
		t.Errorf("%d dead events, want 2: %+v", len(dead), dead)
	}
	arrived(t, p, files)
	if runs, err := p.Store.Runs(t.Context(), "copy", 0); err != nil || len(runs) != 1 || runs[0].Exit != 0 {
		t.Errorf("runs %+v, %v", runs, err)
	}
	for _, e := range dead {
		if err := p.RequeueEvent(e.Name); err != nil {
			t.Error(err)
		}
	}
	if again := settled(t, p); len(again) != 2 {
		t.Errorf("%d dead events after they were tried again", len(again))
	}
	if err := p.RequeueEvent("unknown"); gapless.ExitCode(err) != gapless.ExitUsage {
		t.Errorf("an unknown event: %v", err)
	}
}

// TestReactionsTakeTurns has events at once that run the same connector, and
// download into the same folder: none is in the way of another.
func TestReactionsTakeTurns(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a": "first", "b": "second", "c": "third", "d": "fourth"}
	carts := archive(t, files)
	p := opened(t)
	r, err := newReactions(started(t, p), []config.Reaction{
		{Types: []string{"copy"}, Run: "copy"},
		{Types: []string{"org.pacifica.metadata.ingest"}, Download: &config.EventDownload{Cart: carts, To: "got", Name: "data", User: "key", Password: "secret"}},
		{Types: []string{"org.pacifica.metadata.ingest"}, Download: &config.EventDownload{Cart: carts, To: "got/data", Name: ".", User: "key", Password: "secret"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	for name, content := range files {
		ingest, err := event.Decode([]byte(ingestEvent(name, wantedFile(name, content))))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []event.Event{ingest, {Type: "copy", Source: "s", ID: name}} {
			running.Go(func() {
				if err := r.handle(t.Context(), e); err != nil {
					t.Errorf("%s %s: %v", e.Type, e.ID, err)
				}
			})
		}
	}
	running.Wait()
	arrived(t, p, files)
}

func TestReactionsInOrder(t *testing.T) {
	t.Parallel()
	p := opened(t)
	s := started(t, p)
	r, err := newReactions(s, []config.Reaction{{Types: []string{"x"}, Run: "copy"}, {Types: []string{"x"}, Run: "gone"}})
	if err != nil {
		t.Fatal(err)
	}
	err = r.handle(t.Context(), event.Event{Type: "x", Source: "s", ID: "1"})
	if err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("want a failure of the second, not %v", err)
	}
	if runs, err := p.Store.Runs(t.Context(), "copy", 0); err != nil || len(runs) != 1 {
		t.Errorf("the first ran %d times, %v", len(runs), err)
	}
	if err := r.handle(t.Context(), event.Event{Type: "y", Source: "s", ID: "1"}); err != nil {
		t.Error(err)
	}
}
