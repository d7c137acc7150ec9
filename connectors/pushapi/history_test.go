package pushapi

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// TestAnyHistoryEndsInStep runs the engine against a server that crashes and
// fails: after a run that says it is complete, the server holds what the source
// has.
func TestAnyHistoryEndsInStep(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty")
	store, err := sqlite.Open(t.Context(), empty)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		model := rapid.SampledFrom([]gapless.ChangeModel{gapless.ModelFull, gapless.ModelModified, gapless.ModelLog}).Draw(r, "model")
		server := servers()[rapid.SampledFrom([]string{"plain", "extended"}).Draw(r, "server")]
		h := newHistory(t, server, model)
		if err := os.CopyFS(filepath.Join(h.dir, "state"), os.DirFS(empty)); err != nil {
			r.Fatal(err)
		}
		h.play(r)
	})
}

type history struct {
	t      *testing.T
	server *FakeServer
	source *gaplesstest.Source
	model  gapless.ChangeModel
	dir    string
	mu     sync.Mutex
	now    time.Time // guarded by mu
}

func newHistory(t *testing.T, server *FakeServer, model gapless.ChangeModel) *history {
	h := &history{t: t, server: server, source: gaplesstest.NewSource("r"), model: model, dir: t.TempDir(), now: time.Unix(1e9, 0)}
	h.source.Put("r", "keep", `{"n":0}`) // a source that comes back empty stops a run
	return h
}

func (h *history) play(r *rapid.T) {
	key := func() string { return fmt.Sprintf("k%d", rapid.IntRange(0, 9).Draw(r, "key")) }
	for range rapid.IntRange(1, 12).Draw(r, "steps") {
		switch rapid.SampledFrom([]string{"put", "put", "remove", "crash", "run", "faulty"}).Draw(r, "step") {
		case "put":
			h.source.Put("r", key(), fmt.Sprintf(`{"n":%d}`, rapid.IntRange(0, 3).Draw(r, "value")))
		case "remove":
			h.source.Remove("r", key())
		case "crash":
			h.server.Crash()
		case "run":
			h.complete(r)
		case "faulty":
			h.server.Fail(Fault{
				Skip: rapid.IntRange(0, 25).Draw(r, "call"), Times: rapid.IntRange(1, 3).Draw(r, "times"),
				Lost: rapid.Bool().Draw(r, "lost"), Torn: rapid.IntRange(0, 3).Draw(r, "torn"),
			})
			_, err := h.run()
			if h.server.Heal(); err == nil {
				h.inStep(r)
			}
		}
	}
	h.complete(r)
}

func (h *history) complete(r *rapid.T) {
	if _, err := h.run(); err != nil {
		r.Fatal(err)
	}
	h.inStep(r)
	h.server.Crash() // what a complete run pushed is durable
	h.inStep(r)
}

func (h *history) run() (engine.Summary, error) {
	store, err := sqlite.Open(h.t.Context(), filepath.Join(h.dir, "state"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer store.Close()
	tick := func(d time.Duration) time.Time {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.now = h.now.Add(d)
		return h.now
	}
	tick(time.Hour)
	e, err := engine.New(engine.Config{
		Connector: "c", Source: h.source.As(h.model), Destination: destinationOf(h.server), Store: store,
		Dir: filepath.Join(h.dir, "fingerprints"), Now: func() time.Time { return tick(time.Millisecond) },
		Settings: engine.Settings{BatchRows: 3, SyncRecords: 5, Attempts: 1, GuardRecords: 1000},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return e.Run(h.t.Context(), engine.RunOptions{})
}

func (h *history) inStep(r *rapid.T) {
	got := map[string]string{}
	for entry, err := range h.server.Connect("c").EnumerateSyncedEntries(context.Background(), "r", RecursiveDocuments) {
		if err != nil {
			r.Fatal(err)
		}
		doc, _ := h.server.Document("c", entry.URI)
		var data bytes.Buffer
		for _, m := range doc.Metas {
			fmt.Fprintf(&data, `{"%s":%s}`, m.Name, m.Value)
		}
		got[strings.TrimPrefix(entry.URI, "r/")] = data.String()
	}
	if diff := cmp.Diff(h.source.Records("r"), got); diff != "" {
		r.Fatalf("not in step (-source +server):\n%s", diff)
	}
}
