package car

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// world is a source, an engine with its state, and a service.
type world struct {
	service *scripted
	source  *gaplesstest.Source
	store   *sqlite.Store
	client  *Client
	dir     string
	model   bool
	kind    gapless.ChangeModel
}

func newWorld(t *testing.T, model bool, kind gapless.ChangeModel) *world {
	t.Helper()
	w := &world{service: newScripted(t), dir: t.TempDir(), model: model, kind: kind}
	collections := []string{"asset", "ipaddress", "asset_ipaddress"}
	if model {
		collections = []string{Model}
	}
	w.source = gaplesstest.NewSource(collections...)
	w.client = w.service.client(t, func(o *ClientOptions) { o.Retries = -1 })
	var err error
	if w.store, err = sqlite.Open(t.Context(), w.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	return w
}

// put creates or changes a record, remove deletes one.
func (w *world) put(collection, id, data string) {
	if w.model {
		w.source.Put(Model, ModelKey(collection, id), data)
		return
	}
	w.source.Put(collection, id, data)
}

func (w *world) remove(collection, id string) {
	if w.model {
		w.source.Remove(Model, ModelKey(collection, id))
		return
	}
	w.source.Remove(collection, id)
}

func (w *world) run(ctx context.Context, o engine.RunOptions) error {
	d, err := NewDestination(w.client, DestinationOptions{Source: "s", Model: w.model, State: w.dir, PageRows: 3, InFlight: 2})
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Config{
		Connector: "c", Source: w.source.As(w.kind), Destination: d, Store: w.store, Dir: w.dir,
		Settings: engine.Settings{BatchRows: 4, SyncRecords: 8, Attempts: 2, MaxWait: time.Millisecond, Parallel: 1, GuardPercent: 100, Reconcile: time.Nanosecond},
	})
	if err != nil {
		return err
	}
	_, err = e.Run(ctx, o)
	return err
}

// wanted is what the service should hold, by collection and id.
func (w *world) wanted() map[string][]string {
	want := map[string][]string{}
	for _, name := range []string{"asset", "ipaddress", "asset_ipaddress"} {
		ids := map[string]bool{}
		if w.model {
			for key := range w.source.Records(Model) {
				if collection, id, _ := SplitModelKey(key); collection == name {
					ids[id] = true
				}
			}
		} else {
			for key := range w.source.Records(name) {
				ids[key] = true
			}
		}
		want[name] = slices.Sorted(maps.Keys(ids))
	}
	return want
}

func (w *world) held() map[string][]string {
	held := map[string][]string{}
	for _, name := range []string{"asset", "ipaddress", "asset_ipaddress"} {
		held[name] = w.service.ids(name)
	}
	return held
}

func (w *world) fill() {
	for i := range 10 {
		w.put("asset", fmt.Sprint(i), `{"name":"a"}`)
		w.put("ipaddress", fmt.Sprintf("10.0.0.%d", i), `{}`)
		w.put("asset_ipaddress", fmt.Sprintf("%d|10.0.0.%d", i, i), `{}`)
	}
}

// change changes, creates and deletes.
func (w *world) change() {
	w.put("asset", "1", `{"name":"b"}`)
	w.put("asset", "new", `{"name":"c"}`)
	w.remove("asset_ipaddress", "3|10.0.0.3")
	w.remove("asset_ipaddress", "4|10.0.0.4")
	w.remove("asset", "4")
}

func check(t *testing.T, w *world) {
	t.Helper()
	if diff := cmp.Diff(w.wanted(), w.held()); diff != "" {
		t.Errorf("the service differs from the source (-want +got):\n%s", diff)
	}
}

// TestRuns carries out whole runs of every kind.
func TestRuns(t *testing.T) {
	t.Parallel()
	for _, model := range []bool{true, false} {
		for _, kind := range []gapless.ChangeModel{gapless.ModelLog, gapless.ModelFull} {
			t.Run(fmt.Sprint("model ", model, " ", kind), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, model, kind)
				w.fill()
				gone := func() { w.remove("asset_ipaddress", "7|10.0.0.7"); w.remove("asset", "7") }
				for step, change := range []func(){func() {}, w.change, func() {}, gone} {
					change()
					if err := w.run(t.Context(), engine.RunOptions{Full: step == 3}); err != nil {
						t.Fatal(err)
					}
					check(t, w)
				}
			})
		}
	}
}

// TestKilledAtEveryRequest: a run that dies at any request, before or after it
// took effect, retires nothing that exists, and the next one completes.
func TestKilledAtEveryRequest(t *testing.T) {
	t.Parallel()
	for _, model := range []bool{true, false} {
		for _, full := range []bool{true, false} {
			for _, done := range []bool{true, false} {
				if !model && !done {
					continue
				}
				t.Run(fmt.Sprint("model ", model, " full ", full, " done ", done), func(t *testing.T) {
					t.Parallel()
					step := 1
					if !model && full {
						step = 5 // there are many
					}
					for at := 1; killedAt(t, model, full, done, at); at += step {
						if at > 200 {
							t.Fatal("the run never completes")
						}
					}
				})
			}
		}
	}
}

// killedAt reports whether the run got as far as that request.
func killedAt(t *testing.T, model, full, done bool, at int) bool {
	t.Helper()
	w := newWorld(t, model, gapless.ModelLog)
	w.source.MarkEvery(2)
	w.fill()
	if err := w.run(t.Context(), engine.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	w.change()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	base := len(w.service.requestsSince(0))
	var killed atomic.Bool
	w.service.misbehave(func(n int, r *http.Request, body []byte, rw http.ResponseWriter) bool {
		if n-base < at {
			return false
		}
		if n-base == at && done {
			w.service.answer(httptest.NewRecorder(), r, strings.TrimPrefix(r.URL.EscapedPath(), "/x/api/car"), body)
		}
		killed.Store(true)
		cancel()
		return answerOnce(1, r.Method, "", 0, "")(n, r, body, rw)
	})
	err := w.run(ctx, engine.RunOptions{Full: full})
	if killed.Load() != (err != nil) {
		t.Fatalf("request %d: killed %v, %v", at, killed.Load(), err)
	}
	w.service.misbehave(nil)
	for name, ids := range w.wanted() {
		held := w.service.ids(name)
		for _, id := range ids {
			if id != "new" && !slices.Contains(held, id) {
				t.Fatalf("request %d: %s %s is gone after the killed run:\n%s", at, name, id, strings.Join(w.service.requestsSince(base), "\n"))
			}
		}
	}
	again := len(w.service.requestsSince(0))
	if err := w.run(t.Context(), engine.RunOptions{}); err != nil {
		t.Fatalf("request %d: the next run: %v", at, err)
	}
	if diff := cmp.Diff(w.wanted(), w.held()); diff != "" {
		t.Fatalf("request %d: after the next run (-want +got):\n%s\n%s\n-- next run:\n%s", at, diff,
			strings.Join(w.service.requestsSince(base)[:again-base], "\n"), strings.Join(w.service.requestsSince(again), "\n"))
	}
	return killed.Load()
}

// TestDeletesOfSourcesThatTellNone are found by listing what the service holds.
func TestDeletesOfSourcesThatTellNone(t *testing.T) {
	t.Parallel()
	for _, unpaged := range []bool{false, true} {
		w := newWorld(t, false, gapless.ModelModified)
		w.service.unpaged = unpaged
		w.fill()
		for _, change := range []func(){func() {}, w.change} {
			change()
			if err := w.run(t.Context(), engine.RunOptions{}); err != nil {
				t.Fatal(err)
			}
			check(t, w)
		}
	}
}

// TestFallBackToFull loses nothing: what was read before is pushed again.
func TestFallBackToFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true, gapless.ModelLog)
	w.fill()
	if err := w.run(t.Context(), engine.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	w.change()
	w.source.Prune()
	if err := w.run(t.Context(), engine.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	check(t, w)
}

// TestRejectedRowKeepsTheRest: a full import with a refused row completes, and
// what it lacks is kept.
func TestRejectedRowKeepsTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true, gapless.ModelLog)
	w.fill()
	if err := w.run(t.Context(), engine.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	w.source.Put(Model, "asset/1", `{"external_id":"other"}`)
	w.source.Remove(Model, "asset/2")
	err := w.run(t.Context(), engine.RunOptions{Full: true})
	if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeRejectedRecords {
		t.Errorf("got %v", err)
	}
	held := maps.Clone(w.service.rows["asset"])
	if _, ok := held["1"]; !ok || len(held) < 9 {
		t.Errorf("the service holds %v", held)
	}
}
