package framework

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// inStep asserts the exit code of a run and what the service holds after it.
func (p *pod) inStep(want int) {
	p.Helper()
	if exit := p.run(p.Context()); exit != want {
		p.Fatalf("exit code %d instead of %d\n%s", exit, want, p.log.String())
	}
	// Addresses of assets that are gone stay, as the connector does not delete them.
	isAddress := func(k string) bool { return strings.HasPrefix(k, "ipaddress/") }
	held := append([]string{}, slices.DeleteFunc(p.service.held(), isAddress)...)
	if diff := cmp.Diff(slices.DeleteFunc(p.data.want(), isAddress), held); diff != "" {
		p.Fatalf("the service is not in step (-source +service):\n%s\n%s", diff, p.log.String())
	}
}

func TestFullThenIncremental(t *testing.T) {
	t.Parallel()
	p := newPod(t, 300)
	p.inStep(0)
	if got := p.service.modelState(); got != "300" {
		t.Errorf("model state %q", got)
	}
	full := p.service.drain()
	if n := count(full, "POST imports"); n < 900/50 {
		t.Errorf("%d imports of at most 50 rows", n)
	}
	if entries, err := os.ReadDir(filepath.Join(p.dir, "journal-"+(&importRun{settings: &settings{source: sourceName}}).id())); err != nil || len(entries) > 0 {
		t.Errorf("the journal is left behind: %v %v", entries, err)
	}

	p.inStep(0)
	if got := p.service.drain(); slices.Contains(got, "POST imports") || slices.Contains(got, "POST in-progress") || len(got) > 4 {
		t.Errorf("an unchanged source needs %v", got)
	}

	p.syncRecords = 1
	p.data.set(7, "10.9.9.9") // its edge to the old address goes
	p.data.set(1000, "10.0.0.8")
	p.data.remove(9)
	p.inStep(0)
	got := p.service.drain()
	want := map[string]int{"DELETE vertices": 1, "PATCH edge": 1, "POST query": 1, "PATCH source": 1, "POST in-progress": 0}
	for name, n := range want {
		if count(got, name) != n {
			t.Errorf("%d times %s instead of %d: %v", count(got, name), name, n, got)
		}
	}
	if p.service.modelState() != "303" {
		t.Errorf("model state %q", p.service.modelState())
	}
}

func count(list []string, name string) (n int) {
	for _, s := range list {
		if s == name {
			n++
		}
	}
	return n
}

// TestBehaviourMatrix injects faults of the service, one at a time.
func TestBehaviourMatrix(t *testing.T) {
	t.Parallel()
	always := func(status int) func(int) (int, bool) {
		return func(int) (int, bool) { return status, false }
	}
	first := func(times, status int) func(int) (int, bool) {
		return func(n int) (int, bool) {
			if n <= times {
				return status, false
			}
			return 0, false
		}
	}
	for _, tt := range []struct {
		name  string
		route string
		fault func(n int) (int, bool)
		// full injects into the first run, otherwise it is the second.
		full bool
		// failed is what an import ends with.
		failed func(n int) string
		exit   int
		// state of the model afterwards; * for that of the data.
		state string
		// next is how the following run without a fault goes on.
		next string
	}{
		{name: "POST imports 500", route: "POST imports", fault: always(500), exit: 10, state: "100", next: "incremental"},
		{name: "POST imports 503 once", route: "POST imports", fault: first(1, 503), state: "*", next: "empty"},
		{name: "POST imports dropped once", route: "POST imports", fault: first(1, -1), state: "*", next: "empty"},
		{name: "POST imports carried out and dropped", route: "POST imports", fault: func(n int) (int, bool) { return min(0, n-2), true }, state: "*", next: "empty"},
		{name: "POST imports 503 for ever", route: "POST imports", fault: always(503), exit: 10, state: "100", next: "incremental"},
		{name: "POST imports 429 for ever", route: "POST imports", fault: always(429), exit: 10, state: "100", next: "incremental"},
		{name: "POST imports 429 four times", route: "POST imports", fault: first(4, 429), state: "*", next: "empty"},
		{name: "POST imports 404", route: "POST imports", fault: always(404), exit: 20, state: "", next: "full"},
		{name: "POST imports 302", route: "POST imports", fault: always(302), exit: 10, state: "100", next: "incremental"},
		{name: "POST imports 401", route: "POST imports", fault: always(401), exit: 10, state: "100", next: "incremental"},
		{name: "POST imports 502", route: "POST imports", fault: always(502), exit: 10, state: "100", next: "incremental"},
		{name: "importstatus 500", route: "GET importstatus", fault: always(500), exit: 10, state: "100", next: "incremental"},
		{name: "importstatus unreachable", route: "GET importstatus", fault: always(-1), exit: 10, state: "100", next: "incremental"},
		{name: "job 500", failed: func(int) string { return `"error":"x","statusCode":500` }, exit: 10, state: "100", next: "incremental"},
		{name: "job 400 as text", failed: func(int) string { return `"error":"x","statusCode":"400"` }, exit: 55, state: "*", next: "empty"},
		{name: "GET source 500", route: "GET source", fault: always(500), exit: 10, state: "100", next: "incremental"},
		{name: "GET source unreachable", route: "GET source", fault: always(-1), exit: 10, state: "100", next: "incremental"},
		{name: "GET source 500 once", route: "GET source", fault: first(1, 500), state: "*", next: "empty"},
		{name: "GET databases 500", route: "GET databases", fault: always(500), exit: 10, state: "100", next: "incremental"},
		{name: "GET databases 401", route: "GET databases", fault: always(401), exit: 10, state: "100", next: "incremental"},
		{name: "GET databases 404", route: "GET databases", fault: always(404), exit: 20, state: "", next: "full"},
		{name: "POST in-progress 500", route: "POST in-progress", fault: always(500), full: true, exit: 10, state: "", next: "full"},
		{name: "POST in-progress 404", route: "POST in-progress", fault: always(404), full: true, exit: 20, state: "", next: "full"},
		{name: "POST in-progress unreachable", route: "POST in-progress", fault: always(-1), full: true, exit: 10, state: "", next: "full"},
		{name: "POST imports 500 in a full import", route: "POST imports", fault: func(n int) (int, bool) {
			if n > 2 {
				return 500, false
			}
			return 0, false
		}, full: true, exit: 10, state: "", next: "full"},
		{name: "DELETE in-progress 500", route: "DELETE in-progress", fault: always(500), full: true, exit: 10, state: "", next: "full"},
		{name: "final PATCH 500", route: "PATCH source", fault: always(500), exit: 10, state: "100", next: "incremental"},
		{name: "importSchema 500", route: "GET importSchema", fault: always(500), exit: 10, state: "100", next: "incremental"},
		{name: "importSchema 404", route: "GET importSchema", fault: always(404), exit: 10, state: "100", next: "incremental"},
		{name: "DELETE vertices 404", route: "DELETE vertices", fault: always(404), exit: 20, state: "", next: "full"},
		{name: "DELETE vertices 500", route: "DELETE vertices", fault: always(500), exit: 10, state: "100", next: "incremental"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, 100)
			if !tt.full {
				p.inStep(0)
				p.data.set(3, "10.7.7.7")
				p.data.remove(4)
			}
			if tt.fault != nil {
				p.service.faults[tt.route] = tt.fault
			}
			p.service.clearCounts()
			p.service.failed = tt.failed
			if tt.exit != 0 {
				p.retries = -1
			}
			if exit := p.run(t.Context()); exit != tt.exit {
				t.Errorf("exit code %d instead of %d\n%s", exit, tt.exit, p.log.String())
			}
			state := tt.state
			if state == "*" {
				state = "102"
			}
			if got := p.service.modelState(); got != state {
				t.Errorf("model state %q instead of %q", got, state)
			}
			p.service.clear()
			p.service.drain()
			if exit := p.run(t.Context()); exit != 0 && tt.exit != 55 {
				t.Errorf("next run: exit code %d\n%s", exit, p.log.String())
			}
			if got := how(p.service.drain()); got != tt.next {
				t.Errorf("the next run is %s instead of %s\n%s", got, tt.next, p.log.String())
			}
		})
	}
}

// how tells by its requests what kind of import a run was.
func how(requests []string) string {
	switch {
	case slices.Contains(requests, "POST in-progress"):
		return "full"
	case slices.Contains(requests, "POST imports"):
		return "incremental"
	}
	return "empty"
}

func (s *carService) clearCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
}

// TestHooksThatFail asserts exit codes and what the next run does.
func TestHooksThatFail(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, tt := range []struct {
		name string
		err  error
		exit int
		next string
	}{
		{"recoverable", RecoverableFailure(broken), 10, "incremental"},
		{"unrecoverable", UnrecoverableFailure(broken), 20, "full"},
		{"data source", DatasourceFailure(broken, 0), 50, "incremental"},
		{"data source unreachable", DatasourceFailure(broken, CodeConnect), 51, "incremental"},
		{"credentials", DatasourceFailure(broken, CodeAuth), 52, "incremental"},
		{"a code of no meaning", DatasourceFailure(broken, 99), 50, "incremental"},
		{"no class", broken, 1, "full"},
	} {
		for _, hook := range []string{"DataForDelta", "after ImportVertices of changes", "after DeleteVertices", "NewModelStateID"} {
			t.Run(tt.name+" in "+hook, func(t *testing.T) {
				t.Parallel()
				p := newPod(t, 30)
				p.inStep(0)
				p.data.set(3, "10.7.7.7")
				p.data.fail = func(at string) error {
					if at == hook {
						return tt.err
					}
					return nil
				}
				p.service.drain()
				if exit := p.run(t.Context()); exit != tt.exit {
					t.Errorf("exit code %d instead of %d\n%s", exit, tt.exit, p.log.String())
				}
				if got := p.service.drain(); slices.Contains(got, "POST imports") {
					t.Errorf("rows of an import that failed were sent: %v", got)
				}
				p.data.fail = func(string) error { return nil }
				p.inStep(0)
				if got := how(p.service.drain()); got != tt.next {
					t.Errorf("the next run is %s instead of %s\n%s", got, tt.next, p.log.String())
				}
			})
		}
	}
}

func TestPanicsAreFailures(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{"NewModelStateID", "ImportVertices", "ImportEdges"} {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, 3)
			p.data.fail = func(at string) error {
				if at == hook {
					panic("out of order")
				}
				return nil
			}
			if exit := p.run(t.Context()); exit != gapless.ExitUnknown {
				t.Errorf("exit code %d", exit)
			}
			if !strings.Contains(p.log.String(), "panic: out of order") || !strings.Contains(p.log.String(), "cmdb_test.go") {
				t.Errorf("no stack: %s", p.log.String())
			}
		})
	}
}

// TestGivingUpLosesNothing has an incremental import give up after it has
// handed over rows.
func TestGivingUpLosesNothing(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{"DataForDelta", "after ImportVertices of changes", "after DeleteVertices"} {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, 10)
			p.inStep(0)
			for i := range 2500 {
				p.data.set(i, "10.1.1.1")
			}
			p.data.fail = func(at string) error {
				if at == hook {
					return ErrIncrementalNotPossible
				}
				return nil
			}
			p.service.drain()
			p.inStep(0)
			if got := how(p.service.drain()); got != "full" {
				t.Errorf("the import was %s", got)
			}
		})
	}
}

func TestForgottenLog(t *testing.T) {
	t.Parallel()
	p := newPod(t, 10)
	p.inStep(0)
	p.data.remove(3)
	p.data.forgotten = len(p.data.log)
	p.inStep(0)
	if got := p.service.held(); !cmp.Equal(got, p.data.want()) {
		t.Errorf("what a full import did not contain is still there: %v", got)
	}
}

// TestPageBoundaries counts rows around the size of a page, on both sides.
func TestPageBoundaries(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 49, 50, 51, 100, 4500} {
		p := newPod(t, n)
		p.inStep(0)
	}
}

func TestAdoption(t *testing.T) {
	t.Parallel()
	p := newPod(t, 100)
	p.inStep(0)
	p.data.set(3, "10.7.7.7")
	p.dir = t.TempDir() // the disk of a new pod
	p.service.drain()
	p.inStep(0)
	if got := how(p.service.drain()); got != "incremental" {
		t.Errorf("the import is %s\n%s", got, p.log.String())
	}
	if !strings.Contains(p.log.String(), "going on from the model state of the service") {
		t.Errorf("nothing is said about it: %s", p.log.String())
	}
	p.data.set(4, "10.7.7.8")
	p.inStep(0)
	if got := how(p.service.drain()); got != "incremental" || strings.Contains(p.log.String(), "going on from") {
		t.Errorf("the next import is %s\n%s", got, p.log.String())
	}
}

// TestFailedReset asserts that a gap is remembered here if the service cannot
// be told.
func TestFailedReset(t *testing.T) {
	t.Parallel()
	p := newPod(t, 10)
	p.inStep(0)
	p.data.set(3, "10.7.7.7")
	p.retries = -1
	p.service.faults["PATCH source"] = func(int) (int, bool) { return 500, false }
	p.data.fail = func(at string) error {
		if at == "DataForDelta" {
			return UnrecoverableFailure(errors.New("broken"))
		}
		return nil
	}
	if exit := p.run(t.Context()); exit != gapless.ExitUnrecoverable {
		t.Errorf("exit code %d", exit)
	}
	if p.service.modelState() != "10" {
		t.Errorf("model state %q", p.service.modelState())
	}
	p.service.clear()
	p.data.fail = func(string) error { return nil }
	p.service.drain()
	p.inStep(0)
	if got := how(p.service.drain()); got != "full" {
		t.Errorf("the next import is %s\n%s", got, p.log.String())
	}
}

func TestInvalidRows(t *testing.T) {
	t.Parallel()
	p := newPod(t, 20)
	p.service.schema = smallSchema
	p.data.assets[5] = "not an address"
	if exit := p.run(t.Context()); exit != 55 {
		t.Fatalf("exit code %d\n%s", exit, p.log.String())
	}
	held := p.service.held()
	if slices.Contains(held, "ipaddress/not an address") || !slices.Contains(held, "asset/5") || len(held) != 20+19+20 {
		t.Errorf("the service holds %d rows: %v", len(held), held)
	}
	if got := p.log.String(); !strings.Contains(got, `"collection":"ipaddress","key":"not an address"`) || !strings.Contains(got, "pattern") {
		t.Errorf("no warning: %s", got)
	}
	p.data.set(5, "10.0.0.5")
	if exit := p.run(t.Context()); exit != 55 {
		t.Errorf("exit code %d: nobody has told what became of the old row", exit)
	}
	p.change = func(s *settings) { s.full = true }
	p.inStep(0)
}

func TestConnectionTest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
		exit int
	}{
		{"works", nil, 0},
		{"does not", errors.New("no"), 1},
		{"says why", DatasourceFailure(errors.New("no"), CodeForbidden), 53},
	} {
		p := newPod(t, 1)
		p.data.fail = func(string) error { return tt.err }
		log := newLog(&p.log, &settings{})
		if exit := testConnection(t.Context(), p.data, log); exit != tt.exit {
			t.Errorf("%s: exit code %d", tt.name, exit)
		}
		if got := p.service.drain(); len(got) > 0 {
			t.Errorf("%s: requests %v", tt.name, got)
		}
		if exit := testConnection(t.Context(), nil, log); exit != 50 {
			t.Errorf("without a test: exit code %d", exit)
		}
	}
}

// TestShrink asserts that an import which lacks much is not ended.
func TestShrink(t *testing.T) {
	t.Parallel()
	p := newPod(t, 300)
	p.inStep(0)
	for i := range 100 {
		delete(p.data.assets, i)
	}
	p.change = func(s *settings) { s.full = true }
	if exit := p.run(t.Context()); exit != gapless.ExitGuard {
		t.Fatalf("exit code %d\n%s", exit, p.log.String())
	}
	if len(p.service.held()) != 900 {
		t.Errorf("%d rows are left", len(p.service.held()))
	}
	p.change = func(s *settings) { s.full, s.approveShrink = true, true }
	p.inStep(0)
}

func TestSchemaExtension(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, stored string
		posts, exit  int
	}{
		{"absent", "", 1, 0},
		{"the same", "2", 0, 0},
		{"older", "1", 1, 0},
		{"newer", "10", 0, gapless.ExitUsage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, 0)
			p.service.extension = tt.stored
			s := &settings{source: sourceName, exportDir: p.dir, stateDir: p.dir + "/state", pageRows: 50}
			h := &hooks{state: "1", edges: func(data *DataHandler) error {
				return data.AddEdge("my_site_asset", map[string]string{"_from": "my_site/1", "_to": "asset/2"})
			}}
			c := Connector{Full: h, Extension: &SchemaExtension{
				Key: "k", Owner: "o", Version: "2", Schema: json.RawMessage(`{"vertices":[{"name":"my_site"}],"edges":[{"end1":"my_site","end2":"asset"}]}`),
			}}
			r := importRun{settings: s, connector: c, client: p.service.client(t, -1), log: newLog(&p.log, s)}
			if exit := r.run(t.Context()); exit != tt.exit {
				t.Errorf("exit code %d instead of %d\n%s", exit, tt.exit, p.log.String())
			}
			if n := count(p.service.drain(), "POST carSchema"); n != tt.posts {
				t.Errorf("%d times stored instead of %d", n, tt.posts)
			}
			if held := p.service.held(); tt.exit == 0 && !cmp.Equal(held, []string{"my_site_asset/1|2"}) {
				t.Errorf("the service has %v", held)
			}
		})
	}
}

var _ http.RoundTripper = (*carService)(nil)
