package sahana

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

const (
	organisations = "org_organisation"
	offices       = "org_office"
)

// rig is an engine between a source and a destination.
type rig struct {
	t           *testing.T
	source      gapless.Source
	destination gapless.Destination
	store       *sqlite.Store
	dir         string
	settings    engine.Settings
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), settings: engine.Settings{
		BatchRows: 4, SyncRecords: 4, Attempts: 2, MaxWait: time.Millisecond, Parallel: 1, GuardPercent: 100, Reconcile: -1,
	}}
	var err error
	if r.store, err = sqlite.Open(t.Context(), r.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close() })
	return r
}

func (r *rig) run(ctx context.Context, o engine.RunOptions) error {
	e, err := engine.New(engine.Config{
		Connector: "c", Source: r.source, Destination: r.destination, Store: r.store, Dir: r.dir, Settings: r.settings,
	})
	if err != nil {
		return err
	}
	_, err = e.Run(ctx, o)
	return err
}

// must runs, and fails the test on an error, with what became a dead letter.
func (r *rig) must(o engine.RunOptions) {
	r.t.Helper()
	err := r.run(r.t.Context(), o)
	if err == nil {
		return
	}
	letters, _ := r.store.DeadLetters(r.t.Context(), state.DeadLetterFilter{Connector: "c", Open: true})
	for _, l := range letters {
		r.t.Logf("%s %s: %s", l.Partition, l.Key, l.Reason)
	}
	r.t.Fatal(err)
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newSource reads both tables of an Eden, two records at a time.
func newSource(e *eden, via string, change ...func(*clientOptions)) *source {
	return &source{
		client: e.client(change...), tables: []string{organisations, offices}, via: via, repository: "urn:uuid:us", pageRows: 2, overlap: 5 * time.Minute,
	}
}

// fill stores five organisations, three of one second, and an office.
func fill(e *eden) {
	for i := range 5 {
		e.put(organisations, fmt.Sprintf("urn:x:%d", i), "old")
		if i > 1 {
			e.pass(time.Minute)
		}
	}
	e.put(organisations, "plain", "old")
	e.put(offices, "urn:x:office", "old")
	e.pass(time.Hour)
}

// alter changes, creates, deletes and merges.
func alter(e *eden) {
	e.put(organisations, "urn:x:1", "new")
	e.put(organisations, "urn:x:new", "new")
	e.remove(organisations, "urn:x:3", "")
	e.remove(organisations, "urn:x:4", "urn:x:1")
	e.put(offices, "urn:x:office", "new")
	e.pass(time.Hour)
}

// wanted is what a copy of the Eden's tables has.
func wanted(e *eden) map[string][]string {
	want := map[string][]string{}
	for _, table := range []string{organisations, offices} {
		for uuid, name := range e.held(table) {
			if !strings.HasPrefix(uuid, "urn:") {
				uuid = domain + "/" + uuid
			}
			want[table] = append(want[table], uuid+" "+name)
		}
	}
	return want
}

// copied is what a destination has.
func copied(d *gaplesstest.Destination) map[string][]string {
	got := map[string][]string{}
	for _, table := range []string{organisations, offices} {
		for key, data := range d.Records("c", table) {
			name, _, _ := strings.Cut(strings.TrimPrefix(data, `{"name":"`), `"`)
			got[table] = append(got[table], key+" "+name)
		}
	}
	return got
}

func compare(t *testing.T, want, got map[string][]string, about string) {
	t.Helper()
	sorted := cmp.Transformer("sort", func(list []string) map[string]bool {
		m := map[string]bool{}
		for _, one := range list {
			m[one] = true
		}
		return m
	})
	if diff := cmp.Diff(want, got, sorted); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", about, diff)
	}
}

// TestReadKilledAtEveryRequest: a run that dies at any request loses nothing,
// whatever the way to read.
func TestReadKilledAtEveryRequest(t *testing.T) {
	t.Parallel()
	for _, via := range []string{viaREST, viaSync, viaSync2010} {
		for _, full := range []bool{false, true} {
			t.Run(fmt.Sprint(via, " full ", full), func(t *testing.T) {
				t.Parallel()
				at := 1
				for readKilledAt(t, via, full, at) {
					if at++; at > 100 {
						t.Fatal("the run never completes")
					}
				}
				if at < 4 {
					t.Errorf("just %d requests", at)
				}
			})
		}
	}
}

func readKilledAt(t *testing.T, via string, full bool, at int) bool {
	t.Helper()
	e, r := newEden(t), newRig(t)
	fill(e)
	held := gaplesstest.NewDestination("d")
	r.source, r.destination = newSource(e, via, func(o *clientOptions) { o.Retries = -1 }), held
	must(t, r.run(t.Context(), engine.RunOptions{}))
	compare(t, wanted(e), copied(held), "the first run")
	alter(e)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	base := len(e.requests(0))
	var killed atomic.Bool
	e.misbehave(func(n int, _ *http.Request, w http.ResponseWriter) bool {
		if n-base < at {
			return false
		}
		killed.Store(true)
		cancel()
		hangUp(w)
		return true
	})
	if err := r.run(ctx, engine.RunOptions{Full: full}); killed.Load() != (err != nil) {
		t.Fatalf("request %d: killed %v, %v", at, killed.Load(), err)
	}
	e.misbehave(nil)
	must(t, r.run(t.Context(), engine.RunOptions{}))
	compare(t, wanted(e), copied(held), fmt.Sprintf("killed at request %d", at))
	return killed.Load()
}

// TestWriteKilledAtEveryRequest: neither before nor after a request took effect
// does the death of a run lose anything, nor what waits for records that come
// later.
func TestWriteKilledAtEveryRequest(t *testing.T) {
	t.Parallel()
	for _, peer := range []string{"", "urn:uuid:us"} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprint("peer ", peer != "", " done ", done), func(t *testing.T) {
				t.Parallel()
				at := 1
				for writeKilledAt(t, peer, done, at) {
					if at++; at > 100 {
						t.Fatal("the run never completes")
					}
				}
				if at < 4 {
					t.Errorf("just %d requests", at)
				}
			})
		}
	}
}

func writeKilledAt(t *testing.T, peer string, done bool, at int) bool {
	t.Helper()
	e, r := newEden(t), newRig(t)
	source := gaplesstest.NewSource(offices, organisations)
	put := func(table, key, name, refers string) {
		if refers != "" {
			refers = fmt.Sprintf(`"organisation_id":%q,"_references":{"organisation_id":{"resource":%q}},`, refers, organisations)
		}
		source.Put(table, key, fmt.Sprintf(`{"name":%q,%s"_meta":{"modified_on":%q}}`, name, refers, e.now.Format("2006-01-02T15:04:05")))
	}
	for i := range 6 {
		put(organisations, fmt.Sprintf("urn:x:%d", i), "old", "")
		put(offices, fmt.Sprintf("plain%d", i), "old", fmt.Sprintf("urn:x:%d", i))
	}
	r.source = source.As(gapless.ModelLog)
	r.destination = &destination{client: e.client(func(o *clientOptions) { o.Retries = -1 }), state: r.dir, repository: peer, rows: 3, verify: verifyAll}
	must(t, r.run(t.Context(), engine.RunOptions{}))
	e.pass(time.Hour)
	for i := range 3 {
		put(organisations, fmt.Sprintf("urn:x:%d", i+5), "new", "")
		put(offices, fmt.Sprintf("plain%d", i+5), "new", fmt.Sprintf("urn:x:%d", i+5))
		source.Remove(offices, fmt.Sprintf("plain%d", i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	base := len(e.requests(0))
	var killed atomic.Bool
	e.misbehave(func(n int, q *http.Request, w http.ResponseWriter) bool {
		if n-base < at {
			return false
		}
		if n-base == at && done && q.Method == http.MethodPost {
			_, body, _ := strings.Cut(e.log[n-1], "\n")
			e.serve(httptest.NewRecorder(), q, []byte(body))
		}
		killed.Store(true)
		cancel()
		hangUp(w)
		return true
	})
	if err := r.run(ctx, engine.RunOptions{}); killed.Load() != (err != nil) {
		t.Fatalf("request %d: killed %v, %v", at, killed.Load(), err)
	}
	e.misbehave(nil)
	must(t, r.run(t.Context(), engine.RunOptions{}))
	want, got := map[string][]string{}, map[string][]string{}
	for _, table := range []string{organisations, offices} {
		for key, data := range source.Records(table) {
			name, rest, _ := strings.Cut(strings.TrimPrefix(data, `{"name":"`), `"`)
			line := key + " " + name
			if _, refers, ok := strings.Cut(rest, `"organisation_id":"`); ok {
				line += ">" + refers[:strings.IndexByte(refers, '"')]
			}
			want[table] = append(want[table], line)
		}
		got[table] = e.links(table)
	}
	compare(t, want, got, fmt.Sprintf("killed at request %d", at))
	return killed.Load()
}
