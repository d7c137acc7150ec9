package car

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// graph answers queries as services of different abilities do.
type graph struct {
	t *testing.T
	// rows by collection, sorted by id, each with all fields that can be asked
	// for.
	rows map[string][]map[string]any
	// own says that _row is known, pages that limit and order_by are.
	own, pages bool
	// most rows of a page, whatever the limit.
	most int
	// after this many queries they fail with a status; 0 never.
	fails, status int
	queries       []string
}

func (g *graph) fault(_ int, r *http.Request, body []byte, w http.ResponseWriter) bool {
	if !strings.HasSuffix(r.URL.Path, "/query") {
		return false
	}
	var request struct{ Query string }
	if err := json.Unmarshal(body, &request); err != nil {
		g.t.Error(err)
	}
	g.queries = append(g.queries, request.Query)
	if g.fails > 0 && len(g.queries) > g.fails {
		respond(w, g.status, `{}`)
		return true
	}
	parts := regexp.MustCompile(`^\{ (\w+)\((.*)\) \{ (.*) \} \}$`).FindStringSubmatch(request.Query)
	if parts == nil {
		g.t.Errorf("query %s", request.Query)
		return false
	}
	fields := strings.Fields(parts[3])
	paged := strings.Contains(parts[2], "limit:")
	if slices.Contains(fields, "_row") && !g.own || paged && !g.pages {
		respond(w, 200, `{"errors":[{"message":"unknown field or argument"}]}`)
		return true
	}
	after := ""
	if m := regexp.MustCompile(`_gt: ("(?:[^"\\]|\\.)*")`).FindStringSubmatch(parts[2]); m != nil {
		if err := json.Unmarshal([]byte(m[1]), &after); err != nil {
			g.t.Error(err)
		}
	}
	limit := 1 << 30
	if m := regexp.MustCompile(`limit: (\d+)`).FindStringSubmatch(parts[2]); m != nil {
		limit, _ = strconv.Atoi(m[1])
		limit = min(limit, max(g.most, 1))
	}
	list := []map[string]any{}
	for _, row := range g.rows[parts[1]] {
		if id, _ := row["id"].(string); id <= after || len(list) == limit {
			continue
		}
		picked := map[string]any{}
		for _, f := range fields {
			picked[f] = row[f]
		}
		list = append(list, picked)
	}
	text, _ := json.Marshal(map[string]any{"data": map[string]any{parts[1]: list}})
	respond(w, 200, string(text))
	return true
}

func newGraph(t *testing.T) *graph {
	t.Helper()
	g := &graph{t: t, rows: map[string][]map[string]any{}, most: 1000}
	for i := range 7 {
		id := fmt.Sprintf("a/b#%d", i)
		g.rows["asset"] = append(g.rows["asset"], map[string]any{
			"id": "s/" + id, "external_id": id, "name": "n" + id, "risk": nil, "_row": map[string]any{"external_id": id, "name": "n" + id, "extra": 1},
		})
	}
	g.rows["ipaddress"] = []map[string]any{{"id": "s/0/1.1.1.1", "external_id": "0/1.1.1.1", "_row": map[string]any{"_key": "1.1.1.1"}}}
	g.rows["asset_ipaddress"] = []map[string]any{{
		"id": "s/a|1.1.1.1", "asset_id": "s/a", "ipaddress_id": "s/0/1.1.1.1", "port": 5,
		"_row": map[string]any{"_from_external_id": "a", "_to": "ipaddress/1.1.1.1", "source": "s", "report": "1", "timestamp": 1, "active": true, "port": 5},
	}}
	return g
}

// readAll returns the records of a source, by collection and key.
func readAll(t *testing.T, s gapless.Source) (map[string]string, []gapless.Rejection, error) {
	t.Helper()
	got := map[string]string{}
	var rejects []gapless.Rejection
	d, err := s.Describe(t.Context())
	if err != nil {
		return nil, nil, err
	}
	for _, name := range d.Collections {
		p := gapless.Partition{ID: name, Collection: name}
		out := gapless.NewOutput(t.Context(), p, 3, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
			for i := range b.Rows {
				key := name + "/" + string(b.Key(i))
				if got[key] != "" {
					t.Errorf("%s is emitted twice", key)
				}
				got[key] = string(b.Data(i))
			}
			rejects = append(rejects, b.Rejects...)
			b.Reset()
			b.Partition = p
			return b, nil
		})
		if err := s.ReadAll(t.Context(), p, "", out); err != nil {
			return got, rejects, err
		}
		if err := out.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return got, rejects, nil
}

func TestSource(t *testing.T) {
	t.Parallel()
	whole := map[string]string{"ipaddress/1.1.1.1": `{"_key":"1.1.1.1"}`, "asset_ipaddress/a|1.1.1.1": `{"_from_external_id":"a","_to":"ipaddress/1.1.1.1","active":true,"port":5}`}
	named := map[string]string{"ipaddress/1.1.1.1": `{}`, "asset_ipaddress/a|1.1.1.1": `{"port":5}`}
	for i := range 7 {
		whole[fmt.Sprintf("asset/a/b#%d", i)] = fmt.Sprintf(`{"external_id":"a/b#%d","extra":1,"name":"na/b#%d"}`, i, i)
		named[fmt.Sprintf("asset/a/b#%d", i)] = fmt.Sprintf(`{"name":"na/b#%d"}`, i)
	}
	tests := []struct {
		name       string
		own, pages bool
		most       int
		want       map[string]string
	}{
		{"our own service", true, true, 1000, whole},
		{"one with a limit of its own", true, true, 2, whole},
		{"fields by name", false, true, 1000, named},
		{"without pages", false, false, 1000, named},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service, g := newScripted(t), newGraph(t)
			g.own, g.pages, g.most = tt.own, tt.pages, tt.most
			service.sources["s"] = map[string]json.RawMessage{}
			service.misbehave(g.fault)
			s, err := NewSource(service.client(t), SourceOptions{
				Source: "s", Collections: []string{"asset_ipaddress", "asset", "ipaddress"}, PageRows: 3,
				Fields: map[string][]string{"ipaddress": {"external_id"}, "asset_ipaddress": {"port"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			got, rejects, err := readAll(t, s)
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil || len(rejects) > 0 {
				t.Errorf("%s, %v, %v", diff, rejects, err)
			}
			golden(t, "source-"+strings.ReplaceAll(tt.name, " ", "-")+".txt", g.queries)
		})
	}
}

// TestSourceBreaksOff: an enumeration without its end is an error.
func TestSourceBreaksOff(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(g *graph)
		body   string // of every query, instead
	}{
		{"500 later", func(g *graph) { g.own, g.pages, g.fails, g.status = true, true, 1, 500 }, ""},
		{"the same page for ever", nil, `{"data":{"asset":[{"id":"s/1","_row":{}}]}}`},
		{"no list", nil, `{"data":{}}`},
		{"not JSON", nil, `<html>`},
		{"torn", nil, `{"data":{"asset":[{"id":"s/1","_row":{}}`},
		{"nothing but null", nil, `{"data":null}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service, g := newScripted(t), newGraph(t)
			service.sources["s"] = map[string]json.RawMessage{}
			service.misbehave(g.fault)
			if tt.change != nil {
				tt.change(g)
			} else {
				service.misbehave(answerOnce(always, "POST", "/query", 200, tt.body))
			}
			s, err := NewSource(service.client(t), SourceOptions{Source: "s", Collections: []string{"asset"}, PageRows: 3})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err = readAll(t, s); err == nil || gapless.KindOf(err) != gapless.KindRecoverable {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestSourceInOneReply: what comes in one reply counts only if it is whole.
func TestSourceInOneReply(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		rows       int
		fails      bool
	}{
		{"whole", `{"x":1,"data":{"y":[],"asset":[{"id":"s/1"},{"id":"s/2"}]}}`, 2, false},
		{"errors of none", `{"errors":[],"data":{"asset":[]}}`, 0, false},
		{"torn", `{"data":{"asset":[{"id":"s/1"}`, 1, true},
		{"without the last brace", `{"data":{"asset":[]}`, 0, true},
		{"errors behind", `{"data":{"asset":[{"id":"s/1"}]},"errors":[{"message":"m"}]}`, 1, true},
		{"no list", `{"data":{"asset":{}}}`, 0, true},
		{"another collection", `{"data":{"port":[]}}`, 0, true},
		{"an array", `[]`, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out := gapless.NewOutput(t.Context(), gapless.Partition{ID: "asset", Collection: "asset"}, 0, 0, nil)
			s, err := NewSource(nil, SourceOptions{Source: "s"})
			if err != nil {
				t.Fatal(err)
			}
			r := &reader{Source: s, c: s.known.byName["asset"], out: out}
			r.take = r.emit
			err = r.stream(json.NewDecoder(io.LimitReader(strings.NewReader(tt.body), 1000)))
			if (err != nil) != tt.fails || out.Batch().Len() != tt.rows {
				t.Errorf("%d rows, %v", out.Batch().Len(), err)
			}
		})
	}
}

// TestSourceRejects rows that are not of the source.
func TestSourceRejects(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	service.sources["s"] = map[string]json.RawMessage{}
	pages := []string{`[{"id":"t/1","_row":{}},{"id":"s/2","_row":5},{"id":"s/3","_row":{"a":1}}]`, `[]`, `[]`}
	service.fault = func(_ int, r *http.Request, _ []byte, w http.ResponseWriter) bool {
		if !strings.HasSuffix(r.URL.Path, "/query") {
			return false
		}
		respond(w, 200, `{"data":{"asset":`+pages[0]+`}}`)
		pages = pages[1:]
		return true
	}
	s, err := NewSource(service.client(t), SourceOptions{Source: "s", Collections: []string{"asset"}})
	if err != nil {
		t.Fatal(err)
	}
	got, rejects, err := readAll(t, s)
	if err != nil || len(rejects) != 2 || got["asset/3"] != `{"a":1}` || len(got) != 1 {
		t.Errorf("%v, %v, %v", got, rejects, err)
	}
}
