package pacifica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// installation is a policy server and a cart server.
type installation struct {
	*cartServer
	policy       *httptest.Server
	transactions map[string]string
}

func newInstallation(t testing.TB) *installation {
	t.Helper()
	s := &installation{cartServer: newCartServer(t), transactions: map[string]string{}}
	s.policy = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		doc, ok := s.transactions[filepath.Base(r.URL.Path)]
		s.mu.Unlock()
		if !ok {
			doc = `{"status": "404 Not Found", "message": "none"}`
		}
		_, _ = io.WriteString(w, doc)
	}))
	t.Cleanup(s.policy.Close)
	return s
}

// put adds a transaction with files, by their ids.
func (s *installation) put(transaction string, ids ...string) {
	var files []string
	for _, id := range ids {
		files = append(files, fmt.Sprintf(`"%s": {"_id": %s, "name": "n%s", "subdir": "a", "size": %d, "hashtype": "sha1", "hashsum": "%s", "mimetype": "text/plain"}`,
			id, id, id, len(s.contents[id]), sha1Of(s.contents[id])))
	}
	s.transactions[transaction] = `{"_id": ` + transaction + `, "files": {` + strings.Join(files, ", ") + `}}`
}

func (s *installation) open(t *testing.T, change map[string]any) gapless.Source {
	t.Helper()
	values := map[string]any{"cart": s.URL, "policy": s.policy.URL, "transactions": []any{uint64(67), "68-69"}, "token": "t0ken"}
	for name, value := range change {
		if values[name] = value; value == nil {
			delete(values, name)
		}
	}
	opened, err := Connector().Source.Open(t.Context(), values, gapless.Env{Connector: "c", Dir: t.TempDir(), State: t.TempDir()})
	must(t, err)
	carts := opened.(*source).spool.carts
	carts.server.access.sleep = noSleep
	t.Cleanup(func() { must(t, opened.(gapless.Closer).Close()) })
	return opened
}

// TestSourceIntoHub runs the engine twice: the second time it pushes and fetches
// just what has changed.
func TestSourceIntoHub(t *testing.T) {
	t.Parallel()
	s := newInstallation(t)
	for i := range 40 {
		s.contents[fmt.Sprint(2000+i)] = strings.Repeat(fmt.Sprint(i), i)
	}
	ids := func() (list []string) {
		for id := range s.contents {
			list = append(list, id)
		}
		slices.Sort(list)
		return list
	}
	s.put("67", ids()...)
	s.put("69")
	dir := t.TempDir()
	h, err := hub.Open(t.Context(), hub.Options{Dir: filepath.Join(dir, "hub")})
	must(t, err)
	t.Cleanup(func() { must(t, h.Close()) })
	store, err := sqlite.Open(t.Context(), dir)
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	run := func() {
		t.Helper()
		e, err := engine.New(engine.Config{
			Connector: "c", Source: s.open(t, nil), Destination: h, Store: store, Dir: dir,
			Settings: engine.Settings{BatchRows: 16, Parallel: 1, GuardPercent: 100, Reconcile: -1},
		})
		must(t, err)
		_, err = e.Run(t.Context(), engine.RunOptions{})
		must(t, err)
		got := map[string]string{}
		for id := range s.contents {
			got[id] = content(t, h, id)
		}
		if diff := cmp.Diff(s.contents, got); diff != "" {
			t.Errorf("contents (-want +got):\n%s", diff)
		}
	}
	run()
	if n := len(s.ordered()); n > 8 {
		t.Errorf("%d carts for 43 files in a row", n)
	}
	if r, err := h.Get(t.Context(), "c", "transaction", "69"); err != nil || string(r.Data) != s.transactions["69"] {
		t.Errorf("%s, %v", r.Data, err)
	}
	s.mu.Lock()
	s.orders = nil
	s.contents["2007"] = "changed"
	s.put("67", ids()...)
	s.mu.Unlock()
	run()
	ordered := 0
	for _, order := range s.ordered() {
		ordered += len(order)
	}
	if ordered != 1 {
		t.Errorf("%d files were ordered for one change", ordered)
	}
	if s.left() > 0 {
		t.Errorf("%d carts were left", s.left())
	}
}

func content(t *testing.T, h *hub.Hub, id string) string {
	t.Helper()
	r, err := h.Get(t.Context(), "c", "file", id)
	must(t, err)
	p := r.Parts[0]
	in, err := p.Open(t.Context())
	must(t, err)
	defer in.Close()
	text, err := io.ReadAll(in)
	must(t, err)
	if want := "sha1:" + sha1Of(string(text)); p.Version != want || r.Version != want || p.Type != "text/plain" {
		t.Errorf("%s: part %q of record %q, want %q", id, p.Version, r.Version, want)
	}
	return string(text)
}

// read returns what the source emits of a collection, and what it rejects.
func read(t *testing.T, source gapless.Source, collection string) (records []gapless.Change, rejects []gapless.Rejection) {
	t.Helper()
	p := gapless.Partition{ID: collection, Collection: collection}
	out := gapless.NewOutput(t.Context(), p, 0, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Rows {
			records = append(records, b.Change(i))
		}
		rejects = append(rejects, b.Rejects...)
		return &gapless.Batch{}, nil
	})
	must(t, source.ReadAll(t.Context(), p, "", out))
	must(t, out.Flush())
	return records, rejects
}

// TestSourceOfEvents reads a folder of events, in which one is twice, one is of
// another kind and one cannot be read.
func TestSourceOfEvents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	doc, err := os.ReadFile("testdata/event.json")
	must(t, err)
	for name, text := range map[string]string{
		"a.json": string(doc), "b.json": string(doc), "c.json": "{",
		"d.json":    `{"specversion": "1.0", "id": "x", "source": "s", "type": "org.pacifica.metadata.orm", "data": {"obj_type": "files"}}`,
		"notes.txt": "x",
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	source := newInstallation(t).open(t, map[string]any{"policy": nil, "transactions": nil, "events": dir})
	d, err := source.Describe(t.Context())
	if err != nil || d.Model != gapless.ModelFull {
		t.Errorf("%+v, %v", d, err)
	}
	records, rejects := read(t, source, "transaction")
	if len(records) != 1 || records[0].Key != "67" || string(records[0].Data) != string(doc) || len(rejects) != 1 || rejects[0].Origin != filepath.Join(dir, "c.json") || rejects[0].Key != "" {
		t.Errorf("%d records, rejects %+v", len(records), rejects)
	}
	records, rejects = read(t, source, "file")
	var keys []string
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	if diff := cmp.Diff([]string{"1100", "1101", "1102", "1103"}, keys); diff != "" || len(rejects) != 1 {
		t.Errorf("%s, rejects %+v", diff, rejects)
	}
}

// TestSourceRejects has files that cannot be brought: without a hash, with a
// wrong one, and a list that cannot be used, after which nothing is deleted by
// absence.
func TestSourceRejects(t *testing.T) {
	t.Parallel()
	s := newInstallation(t)
	s.put("67", "1100", "1102")
	s.transactions["67"] = strings.Replace(s.transactions["67"], sha1Of(s.contents["1102"]), sha1Of("other"), 1)
	s.transactions["68"] = `{"_id": 68, "files": {"7": {"name": "n"}}}`
	s.transactions["69"] = `{"_id": 69, "files": {"8": {"name": "../n"}}}`
	records, rejects := read(t, s.open(t, nil), "file")
	if len(records) != 2 || len(rejects) != 2 || rejects[0].Key != "7" || rejects[1].Key != "" || rejects[1].Origin != "transaction 69" {
		t.Errorf("%d records, rejects %+v", len(records), rejects)
	}
	f, err := records[0].Parts[0].Open(t.Context())
	must(t, err)
	must(t, f.Close())
	if _, err := records[1].Parts[0].Open(t.Context()); gapless.KindOf(err) != gapless.KindRejected || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("got %v", err)
	}
	s.Close()
	if _, err := records[0].Parts[0].Open(t.Context()); gapless.KindOf(err) == gapless.KindRejected {
		t.Errorf("a server that is away rejects a record: %v", err)
	}
	records, rejects = read(t, s.open(t, map[string]any{"allow_unverified": true}), "file")
	if len(records) != 3 || records[2].Version != "" || len(rejects) != 1 {
		t.Errorf("%d records, rejects %+v", len(records), rejects)
	}
}

// TestVerdictIsTheFilesOwn has two files that fail together, for reasons of their
// own: one cannot be staged, the other is longer than it was said to be.
func TestVerdictIsTheFilesOwn(t *testing.T) {
	t.Parallel()
	s := newInstallation(t)
	s.put("67", "1100", "1101", "1102")
	s.transactions["67"] = strings.NewReplacer(sha1Of(s.contents["1102"]), sha1Of("other"), `"size": 70000`, `"size": 70001`).Replace(s.transactions["67"])
	records, _ := read(t, s.open(t, nil), "file")
	f, err := records[0].Parts[0].Open(t.Context())
	must(t, err)
	must(t, f.Close())
	for i, says := range []string{"70001", "could not stage"} {
		_, err := records[1+i].Parts[0].Open(t.Context())
		text := fmt.Sprint(err)
		if gapless.KindOf(err) != gapless.KindRejected || !strings.Contains(text, says) || strings.Contains(text, "70001") != (i == 0) {
			t.Errorf("file %d: %v", 1+i, err)
		}
	}
}

func TestSourceOptions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, says string
		change     map[string]any
	}{
		{"neither policy nor events", "either a policy server or a folder", map[string]any{"policy": nil}},
		{"both", "either a policy server or a folder", map[string]any{"events": "."}},
		{"no transactions", "both given", map[string]any{"transactions": nil}},
		{"no range", `"9-3" is neither`, map[string]any{"transactions": []any{"9-3"}}},
		{"header without colon", "no colon", map[string]any{"header": "s3cret"}},
		{"token and login", "exclude", map[string]any{"login": "anna", "password": "s3cret"}},
		{"policy no URL", "policy", map[string]any{"policy": "x"}},
		{"cart no URL", "cart", map[string]any{"cart": "x"}},
		{"ca", "ca", map[string]any{"ca": "nowhere.pem"}},
	} {
		values := map[string]any{"cart": "http://h", "policy": "http://p", "transactions": []any{"1"}, "token": "s3cret"}
		for name, value := range tt.change {
			if values[name] = value; value == nil {
				delete(values, name)
			}
		}
		_, err := Connector().Source.Open(t.Context(), values, gapless.Env{Dir: t.TempDir(), State: t.TempDir()})
		if gapless.ExitCode(err) != gapless.ExitUsage || !strings.Contains(fmt.Sprint(err), tt.says) || strings.Contains(fmt.Sprint(err), "s3cret") {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	got, err := parseSpans([]string{"100-199", "7", "150-250", "8", " 300 - 301 "})
	if diff := cmp.Diff([]span{{7, 8}, {100, 250}, {300, 301}}, got, cmp.AllowUnexported(span{})); diff != "" || err != nil {
		t.Errorf("%s, %v", diff, err)
	}
	for _, text := range []string{"", "x", "-5", "5-", "5-4", "1-2-3"} {
		if _, err := parseSpans([]string{text}); err == nil {
			t.Errorf("%q passes", text)
		}
	}
}

// TestUnreachable has servers that are away, and a folder that is not there.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := newInstallation(t)
	s.policy.Close()
	p, err := NewPolicy(s.policy.URL, Access{Retries: -1, getenv: noEnv})
	must(t, err)
	src := &source{policy: p, spans: []span{{1, 1}}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := src.Describe(ctx); gapless.ExitCode(err) != 51 {
		t.Errorf("got %v", err)
	}
	src = &source{events: filepath.Join(t.TempDir(), "nowhere")}
	if _, err := src.Describe(ctx); gapless.ExitCode(err) != 51 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
