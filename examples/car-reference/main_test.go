package main

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/framework"
	"github.com/gapless-sync/gapless/connectors/car/server"
	"github.com/gapless-sync/gapless/connectors/car/wire"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

// world is a data source, a CAR service on a hub, and a connector between them.
type world struct {
	testing.TB
	data    *data
	source  *httptest.Server
	hub     *hub.Hub
	service *httptest.Server
	dir     string
	log     bytes.Buffer
}

func newWorld(t testing.TB, assets, changes int) *world {
	t.Helper()
	w := &world{TB: t, data: newData(assets, changes, "let me in"), dir: t.TempDir()}
	w.source = httptest.NewServer(w.data)
	t.Cleanup(w.source.Close)
	h, err := hub.Open(t.Context(), hub.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Options{Store: service.CARStore(h)})
	if err != nil {
		t.Fatal(err)
	}
	w.hub, w.service = h, httptest.NewServer(s)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		w.service.Close()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) variables() map[string]string {
	return map[string]string{
		"CAR_SERVICE_URL": w.service.URL + server.PathV2, "CAR_SERVICE_KEY": "key", "CAR_SERVICE_PASSWORD": "password", "CONNECTION_NAME": "demo",
		"CONNECTION_HOST": w.source.URL, "CONFIGURATION_AUTH_TOKEN": "let me in",
	}
}

// run runs the connector once.
func (w *world) run(args ...string) int {
	variables := w.variables()
	env := framework.Environment{Getenv: func(name string) string { return variables[name] }, Dir: w.dir}
	w.log.Reset()
	return app().Run(w.Context(), append([]string{"-export-data-dir", w.dir}, args...), env, &w.log)
}

// inStep runs the connector and compares what the service holds with what the
// data source has.
func (w *world) inStep(kind string) {
	w.Helper()
	if exit := w.run(); exit != 0 {
		w.Fatalf("exit code %d\n%s", exit, w.log.String())
	}
	if full := strings.Contains(w.log.String(), "Attempting full import..."); full != (kind == "full") {
		w.Errorf("the import is not %s:\n%s", kind, w.log.String())
	}
	if diff := cmp.Diff(w.data.want(), w.held()); diff != "" {
		w.Fatalf("the service is not in step (-source +service):\n%s\n%s", diff, w.log.String())
	}
}

// want returns what CAR has to hold, by the mapping of the connector.
func (d *data) want() map[string]string {
	all := map[string]string{}
	for _, m := range mappings() {
		t := d.tables[m.table]
		for pk := 1; pk <= t.last; pk++ {
			if fields := t.get(pk); fields != nil {
				r := rowOf(fields)
				v := m.vertex(&r)
				all[m.collection+"/"+v.Key+v.ExternalID] = v.Name
				if m.edges != nil {
					for _, e := range m.edges(&r) {
						from, to, _ := wire.Ends(e.in, "site")
						all[e.in+"/"+wire.EdgeKey(wire.EndID(from, e.From+e.FromKey), wire.EndID(to, e.To+e.ToKey))] = ""
					}
				}
			}
		}
	}
	return all
}

func rowOf(fields map[string]any) row {
	integer := func(v any) int {
		n, _ := strconv.Atoi(fmt.Sprint(v))
		return n
	}
	list := func(v any) (ids []int) {
		for s := range strings.FieldsSeq(strings.Trim(fmt.Sprint(v), "[]<nil>")) {
			ids = append(ids, integer(s))
		}
		return ids
	}
	text := func(v any) string {
		s, _ := v.(string)
		return s
	}
	return row{
		PK: integer(fields["pk"]), Name: text(fields["name"]), Address: text(fields["address"]), Asset: integer(fields["asset"]), Site: integer(fields["site"]),
		Ports: list(fields["ports"]), Vulnerabilities: list(fields["vulnerabilities"]),
	}
}

// held returns the rows that the service has, with the names of vertices.
func (w *world) held() map[string]string {
	w.Helper()
	session, err := w.hub.Open(w.Context(), "car:demo", 0)
	if err != nil {
		w.Fatal(err)
	}
	defer session.Close()
	all := map[string]string{}
	edges := []string{"site_asset"}
	for _, collection := range slices.Concat(wire.Vertices(), wire.Edges(), edges, []string{"site"}) {
		p := gapless.Partition{ID: collection, Collection: collection}
		err := session.(gapless.Enumerator).Enumerate(w.Context(), p, func(key, _ []byte) error {
			record, err := session.(gapless.Getter).Get(w.Context(), p, string(key))
			all[collection+"/"+string(key)] = nameIn(record.Data)
			return err
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	return all
}

func nameIn(data []byte) string {
	_, rest, found := strings.Cut(string(data), `"name":"`)
	name, _, _ := strings.Cut(rest, `"`)
	if !found {
		return ""
	}
	return name
}

// change sends a request to the data source.
func (w *world) change(method, path, body string) {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), method, w.source.URL+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer let me in")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode >= 300 {
		w.Fatalf("%s %s: %s, %v", method, path, response.Status, err)
	}
}

func TestConnector(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 60, 40)
	w.inStep("full")
	if n := len(w.held()); n != 60*25+3 {
		t.Errorf("%d rows", n)
	}
	w.inStep("empty")

	for _, step := range []struct{ name, method, path, body string }{
		{"a name", "POST", "/assets/", `{"pk": 3, "name": "renamed"}`},
		{"an edge goes", "POST", "/assets/", `{"pk": 3, "vulnerabilities": [6]}`},
		{"another site", "POST", "/assets/", `{"pk": 4, "site": 2}`},
		{"an address moves to another asset", "POST", "/ip_addresses/", `{"pk": 5, "asset": 6}`},
		{"an address changes", "POST", "/ip_addresses/", `{"pk": 7, "address": "10.99.0.1"}`},
		{"an address is taken over", "POST", "/ip_addresses/", `{"pk": 8, "address": "10.0.0.7"}`},
		{"a new asset", "POST", "/assets/", `{"name": "new", "type": "Other", "site": 1, "vulnerabilities": [1, 5]}`},
		{"its host", "POST", "/hosts/", `{"name": "new.example.com & co, #1", "asset": 61}`},
		{"an asset goes", "DELETE", "/assets/9", ""},
		{"an application goes", "DELETE", "/apps/12", ""},
		{"a vulnerability goes that others name", "POST", "/apps/", `{"pk": 30, "vulnerabilities": []}`},
		{"a site goes", "POST", "/assets/", `{"pk": 10, "site": 1}`},
	} {
		t.Log(step.name)
		w.change(step.method, step.path, step.body)
		w.inStep("incremental")
	}
	w.change("POST", "/ip_addresses/", `{"pk": 11, "address": "10.99.0.2"}`)
	w.change("POST", "/ip_addresses/", `{"pk": 12, "address": "10.0.0.11"}`) // it was that of 11
	w.inStep("incremental")
	w.change("DELETE", "/assets/61", "")
	w.change("DELETE", "/hosts/20", "")
	w.change("POST", "/hosts/", `{"pk": 20, "name": "back.example.com", "asset": 20}`)
	w.inStep("incremental")

	for i := range 50 { // more than the log remembers
		w.change("POST", "/apps/", fmt.Sprintf(`{"pk": %d, "name": "renamed"}`, i+31))
	}
	w.change("DELETE", "/mac_addresses/33", "")
	w.inStep("full")
}

func TestTablesOfManyPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 600, 5000)
	w.inStep("full")
	for pk := 1; pk <= 1800; pk++ {
		w.change("POST", "/apps/", fmt.Sprintf(`{"pk": %d, "name": "renamed"}`, pk))
	}
	w.inStep("incremental")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 10)
	if exit := w.run("-connection-test"); exit != 0 {
		t.Errorf("connection test: exit code %d", exit)
	}
	for _, tt := range []struct {
		name string
		args []string
		exit int
	}{
		{"wrong token", []string{"-token", "other"}, 52},
		{"nobody there", []string{"-server", "http://127.0.0.1:1"}, 51},
		{"no data source", []string{"-server", w.service.URL}, 54},
		{"no URL", []string{"-server", ":"}, 54},
	} {
		for _, args := range [][]string{tt.args, append(tt.args, "-connection-test")} {
			if exit := w.run(args...); exit != tt.exit {
				t.Errorf("%s: exit code %d instead of %d\n%s", tt.name, exit, tt.exit, w.log.String())
			}
		}
	}
	if held := w.held(); len(held) > 0 {
		t.Errorf("something was imported: %v", slices.Sorted(maps.Keys(held)))
	}
}

func TestDataRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	d := newData(3, 2, "")
	for range 4 {
		r := httptest.NewRecorder()
		d.ServeHTTP(r, httptest.NewRequest(http.MethodPost, "/apps/", strings.NewReader(`{"name":"x"}`)))
		if r.Code != http.StatusOK {
			t.Fatal(r.Body.String())
		}
	}
	for path, want := range map[string]int{
		"GET /assets/?pk=": 400, "GET /assets/?pk=x": 400, "GET /assets/?pk=" + strings.Repeat("1,", 500) + "1": 400, "GET /assets/?pk=1,99": 200,
		"GET /assets/?limit=0": 400, "GET /assets/?limit=1001": 400, "GET /assets/?after=x": 400, "GET /nothing/": 404,
		"GET /delta?from=1&to=4": 410, "GET /delta?from=2&to=9": 410, "GET /delta?from=2&to=4": 200, "GET /delta?from=4&to=2": 400, "GET /delta": 400,
		"DELETE /assets/99": 404, "DELETE /assets/x": 404, "POST /nothing/": 404, "POST /assets/": 400,
	} {
		method, address, _ := strings.Cut(path, " ")
		r := httptest.NewRecorder()
		d.ServeHTTP(r, httptest.NewRequest(method, address, http.NoBody))
		if r.Code != want {
			t.Errorf("%.60s: %d instead of %d: %s", path, r.Code, want, r.Body.String())
		}
	}
}
