package car

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// scripted is a CAR service that keeps its graph in memory and misbehaves as
// told.
type scripted struct {
	t *testing.T
	// fault answers a request in the service's place, counted from 1, if it
	// returns true.
	fault func(n int, r *http.Request, body []byte, w http.ResponseWriter) bool
	// bad says why a row is refused, or "".
	bad func(collection string, row map[string]json.RawMessage) string
	// names says that refused rows are named; plain that nothing of our own
	// service is told.
	names, plain bool
	// unpaged says that queries give whole collections only.
	unpaged bool

	mu        sync.Mutex // guards what follows
	log       []string
	sources   map[string]map[string]json.RawMessage
	rows      map[string]map[string]string // collection to id to row
	sent      map[string]map[string]int    // generation of each
	full      map[string]bool
	jobs      map[string]string // id to reply
	extension map[string]json.RawMessage
	next, gen int
	requests  int
	imports   int // with rows
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	return &scripted{
		t: t, sources: map[string]map[string]json.RawMessage{}, rows: map[string]map[string]string{}, sent: map[string]map[string]int{},
		full: map[string]bool{}, jobs: map[string]string{}, extension: map[string]json.RawMessage{},
	}
}

// client returns a client that waits for nothing.
func (s *scripted) client(t *testing.T, change ...func(*ClientOptions)) *Client {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	o := ClientOptions{URL: server.URL + "/x/api/car/v2/", Key: "k", Password: "p", Timeout: time.Minute, sleep: noSleep}
	for _, c := range change {
		c(&o)
	}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// ServeHTTP implements [http.Handler].
func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/x/api/car")
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	line := r.Method + " " + path
	if len(body) > 0 {
		line += " " + string(body)
	}
	s.log = append(s.log, line)
	w.Header().Set("Content-Type", "application/json")
	if s.fault != nil && s.fault(s.requests, r, body, w) {
		return
	}
	s.answer(w, r, strings.TrimPrefix(r.URL.EscapedPath(), "/x/api/car"), body)
}

func (s *scripted) answer(w http.ResponseWriter, r *http.Request, path string, body []byte) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case path == "/v2/databases":
		respond(w, 200, `{"databases":[{"name":"d","graph_name":"assets","collections_without_indexes":[],"is_ready":true}]}`)
	case path == "/v2/imports" && r.Method == http.MethodPost:
		s.take(w, body)
	case path == "/v2/importstatus":
		s.tell(w, r)
	case len(parts) == 3 && parts[1] == "jobstatus":
		respond(w, 200, s.jobs[parts[2]])
	case path == "/v2/source" && r.Method == http.MethodPatch:
		s.patchSource(w, r.URL.Query().Get("key"), body)
	case len(parts) == 3 && parts[1] == "source":
		s.readSource(w, decoded(parts[2]))
	case len(parts) == 4 && parts[3] == "full-import-in-progress":
		s.fullImport(w, r, decoded(parts[2]))
	case len(parts) == 4 && parts[1] == "source" && r.Method == http.MethodDelete:
		s.remove(w, r, decoded(parts[3]))
	case len(parts) == 2 && parts[0] == "v2" && r.Method == http.MethodPatch:
		s.patchRow(w, r, decoded(parts[1]), body)
	case path == "/v3/query":
		s.query(w, r, body)
	case path == "/v3/importSchema":
		respond(w, 200, `{"schema":{"type":"object","properties":{"asset":{"type":"array","items":{"$ref":"#/$defs/asset"}}},"$defs":{"asset":{"properties":{"name":{},"external_id":{}}}}}}`)
	case path == "/v3/carSchema":
		var e Extension
		_ = json.Unmarshal(body, &e)
		s.extension[e.Key] = body
		respond(w, 201, `{}`)
	case len(parts) == 3 && parts[1] == "carSchema":
		e, ok := s.extension[parts[2]]
		if !ok {
			respond(w, 404, `{}`)
			return
		}
		respond(w, 200, string(e))
	default:
		respond(w, 404, `{"message":"no such path"}`)
	}
}

// query answers with the ids of source s.
func (s *scripted) query(w http.ResponseWriter, r *http.Request, body []byte) {
	g := &graph{t: s.t, rows: map[string][]map[string]any{}, pages: !s.unpaged, most: 3}
	for name, rows := range s.rows {
		from, to, edge := wire.Ends(name)
		for _, id := range slices.Sorted(maps.Keys(rows)) {
			row := map[string]any{"id": wire.GraphID("s", name, id)}
			if a, b, ok := wire.SplitEdgeKey(id); edge && ok {
				row[from+"_id"], row[to+"_id"] = wire.GraphID("s", from, a), wire.GraphID("s", to, b)
			}
			g.rows[name] = append(g.rows[name], row)
		}
	}
	g.fault(0, r, body, w)
}

func respond(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func decoded(s string) string {
	text, err := url.PathUnescape(s)
	if err != nil {
		return "undecodable " + s
	}
	return text
}

func (s *scripted) take(w http.ResponseWriter, body []byte) {
	var report map[string]json.RawMessage
	var source, about map[string]any
	if json.Unmarshal(body, &report) != nil || json.Unmarshal(report["source"], &source) != nil || json.Unmarshal(report["report"], &about) != nil {
		respond(w, 400, `{"message":"not a report"}`)
		return
	}
	key, _ := source["_key"].(string)
	if s.sources[key] == nil {
		s.sources[key] = map[string]json.RawMessage{"_key": json.RawMessage(strconv.Quote(key))}
	}
	delete(report, "source")
	delete(report, "report")
	if len(report) > 0 {
		s.imports++
	}
	s.next++
	id := fmt.Sprintf("I%d", s.next)
	s.jobs[id] = s.store(id, report)
	respond(w, 200, fmt.Sprintf(`{"id":%q,"job_id":%q,"status":"INPROGRESS"}`, id, id))
}

// store applies an import, or nothing of it, and returns its entry.
func (s *scripted) store(id string, report map[string]json.RawMessage) string {
	type stored struct{ collection, key, row string }
	var all []stored
	var refused []string
	for _, name := range slices.Sorted(maps.Keys(report)) {
		var rows []json.RawMessage
		if json.Unmarshal(report[name], &rows) != nil {
			return fmt.Sprintf(`{"id":%q,"error":"no list","statusCode":422}`, id)
		}
		seen := map[string]bool{}
		for i, text := range rows {
			var row map[string]json.RawMessage
			_ = json.Unmarshal(text, &row)
			key := rowID(name, row)
			switch {
			case key == "" || seen[key]:
				return fmt.Sprintf(`{"id":%q,"error":"row %d of %s has no id, or one that stands twice","statusCode":422}`, id, i, name)
			case s.bad != nil && s.bad(name, row) != "":
				refused = append(refused, fmt.Sprintf(`{"collection":%q,"index":%d,"error":%q}`, name, i, s.bad(name, row)))
			}
			seen[key] = true
			all = append(all, stored{name, key, string(text)})
		}
	}
	if len(refused) > 0 {
		entry := fmt.Sprintf(`{"id":%q,"error":"bad rows","statusCode":"422"`, id)
		if s.names {
			entry += `,"rows":[` + strings.Join(refused, ",") + `]`
		}
		return entry + "}"
	}
	for _, r := range all {
		if s.rows[r.collection] == nil {
			s.rows[r.collection], s.sent[r.collection] = map[string]string{}, map[string]int{}
		}
		s.rows[r.collection][r.key], s.sent[r.collection][r.key] = r.row, s.gen
	}
	return ""
}

func rowID(name string, row map[string]json.RawMessage) string {
	field := func(names ...string) string {
		for _, n := range names {
			var text string
			if json.Unmarshal(row[n], &text) == nil {
				return text
			}
		}
		return ""
	}
	if from, to, ok := wire.Ends(name, "site"); ok {
		return wire.EdgeKey(wire.EndID(from, field("_from", "_from_external_id")), wire.EndID(to, field("_to", "_to_external_id")))
	}
	if row["_key"] != nil && row["external_id"] != nil {
		return ""
	}
	return field(wire.KeyField(name))
}

func (s *scripted) tell(w http.ResponseWriter, r *http.Request) {
	complete, failed := []string{}, []string{}
	var unknown []string
	for id := range strings.SplitSeq(r.URL.Query().Get("ids"), ",") {
		entry, ok := s.jobs[id]
		switch {
		case !ok:
			unknown = append(unknown, fmt.Sprintf(`{"id":%q}`, id))
		case entry != "":
			failed = append(failed, entry)
		default:
			complete = append(complete, fmt.Sprintf(`{"id":%q,"status":"COMPLETE"}`, id))
		}
	}
	respond(w, 200, fmt.Sprintf(`{"complete_imports":[%s],"incomplete_imports":[],"notfound_imports":[%s],"error_imports":[%s]}`,
		strings.Join(complete, ","), strings.Join(unknown, ","), strings.Join(failed, ",")))
}

func (s *scripted) patchSource(w http.ResponseWriter, key string, body []byte) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		respond(w, 400, `{}`)
		return
	}
	if s.sources[key] == nil {
		s.sources[key] = map[string]json.RawMessage{}
	}
	maps.Copy(s.sources[key], fields)
	respond(w, 200, `{}`)
}

func (s *scripted) readSource(w http.ResponseWriter, key string) {
	d, ok := s.sources[key]
	if !ok {
		respond(w, 404, `{}`)
		return
	}
	d = maps.Clone(d)
	if !s.plain {
		d["gapless"] = json.RawMessage(fmt.Sprintf(`{"generation":%d,"full_import":%v}`, s.gen, s.full[key]))
	}
	text, _ := json.Marshal(d)
	respond(w, 200, string(text))
}

func (s *scripted) fullImport(w http.ResponseWriter, r *http.Request, key string) {
	s.next++
	id := fmt.Sprintf("J%d", s.next)
	if r.Method == http.MethodPost {
		s.gen++
		s.full[key] = true
	} else if s.full[key] {
		for name, rows := range s.rows {
			maps.DeleteFunc(rows, func(id, _ string) bool { return s.sent[name][id] != s.gen })
		}
		s.full[key] = false
	}
	s.jobs[id] = fmt.Sprintf(`{"id":%q,"status":"COMPLETE"}`, id)
	respond(w, 200, fmt.Sprintf(`{"job_id":%q}`, id))
}

func (s *scripted) remove(w http.ResponseWriter, r *http.Request, name string) {
	parameter, list, _ := strings.Cut(r.URL.RawQuery, "=")
	want := "external_ids"
	if wire.Keyed(name) {
		want = "keys"
	}
	if parameter != want {
		respond(w, 400, `{}`)
		return
	}
	for id := range strings.SplitSeq(list, ",") {
		id = decoded(id)
		delete(s.rows[name], id)
		for edge, rows := range s.rows {
			from, to, ok := wire.Ends(edge, "site")
			maps.DeleteFunc(rows, func(key, _ string) bool {
				a, b, _ := wire.SplitEdgeKey(key)
				return ok && (from == name && a == id || to == name && b == id)
			})
		}
	}
	respond(w, 200, `{}`)
}

func (s *scripted) patchRow(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	q := r.URL.Query()
	id := q.Get("external_id")
	if from, to, ok := wire.Ends(name, "site"); ok {
		id = wire.EdgeKey(wire.EndID(from, q.Get("from")), wire.EndID(to, q.Get("to")))
	} else {
		id = wire.EndID(name, id)
	}
	var fields, row map[string]json.RawMessage
	_ = json.Unmarshal(body, &fields)
	old, ok := s.rows[name][id]
	switch {
	case !ok:
	case bytes.Equal(fields["active"], []byte("false")):
		delete(s.rows[name], id)
	default:
		_ = json.Unmarshal([]byte(old), &row)
		maps.Copy(row, fields)
		text, _ := json.Marshal(row)
		s.rows[name][id] = string(text)
	}
	respond(w, 200, `{}`)
}

// misbehave sets the fault.
func (s *scripted) misbehave(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// ids returns the ids of the rows of a collection, sorted.
func (s *scripted) ids(collection string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.rows[collection]))
}

// state returns the model_state_id of a source.
func (s *scripted) state(source string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text string
	_ = json.Unmarshal(s.sources[source]["model_state_id"], &text)
	return text
}

// requestsSince returns what was asked for after the first n requests.
func (s *scripted) requestsSince(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log[n:])
}

// answerOnce fails requests of a method whose address contains a text, as long
// as n lasts.
func answerOnce(n int, method, address string, status int, body string) func(int, *http.Request, []byte, http.ResponseWriter) bool {
	return func(_ int, r *http.Request, _ []byte, w http.ResponseWriter) bool {
		if n == 0 || r.Method != method || !strings.Contains(r.URL.Path, address) {
			return false
		}
		n--
		if status == 0 {
			hijacked, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = hijacked.Close()
			}
			return true
		}
		respond(w, status, body)
		return true
	}
}

// quickClient is client for as long as the caller likes.
func quickClient(s *scripted) (c *Client, stop func()) {
	server := httptest.NewServer(s)
	c, err := NewClient(ClientOptions{URL: server.URL + "/x/api/car/v2", Token: "t", Retries: 1, Timeout: time.Minute, sleep: noSleep})
	if err != nil {
		s.t.Fatal(err)
	}
	return c, func() { c.Close(); server.Close() }
}
