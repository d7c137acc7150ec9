package framework

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/connectors/car"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// carService is a CAR service in memory that does what a test tells it.
type carService struct {
	mu       sync.Mutex // guards what follows
	state    map[string]string
	rows     map[string]int // generation by "collection/key" of car.ModelKey
	data     map[string]string
	gen      int
	open     bool
	jobs     int
	errors   map[string]string // replies to importstatus, by import
	requests []string
	schema   string
	// extension is the version of the schema extension; empty if there is none.
	extension string
	// faults by "METHOD name", consulted before each request. A negative
	// status drops the connection, 0 lets the request pass, and with after the
	// request is carried out first.
	faults map[string]func(n int) (status int, after bool)
	counts map[string]int
	// failed is the entry for the next import; see errors.
	failed func(n int) string
	// onRequest is called before and after each request is carried out, with
	// how many there were; false drops it.
	onRequest func(n int, before bool) bool
}

func newCARService() *carService {
	return &carService{
		state: map[string]string{}, rows: map[string]int{}, data: map[string]string{}, errors: map[string]string{}, schema: `{"type":"object"}`,
		faults: map[string]func(int) (int, bool){}, counts: map[string]int{},
	}
}

// RoundTrip serves a request without a network, so that a test can have its
// own time.
func (s *carService) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	defer r.Body.Close()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	if !s.serve(w, r) {
		return nil, io.ErrUnexpectedEOF
	}
	return w.Result(), nil
}

// ServeHTTP serves a request of another process.
func (s *carService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.serve(w, r) {
		panic(http.ErrAbortHandler)
	}
}

func (s *carService) serve(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.EscapedPath(), "/api/car/v2"), "/api/car/v3")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i := range parts {
		parts[i], _ = url.PathUnescape(parts[i])
	}
	name := r.Method + " " + route(parts)
	s.requests = append(s.requests, name)
	s.counts[name]++
	status, after := 0, false
	if fault := s.faults[name]; fault != nil {
		status, after = fault(s.counts[name])
	}
	seen := func(before bool) bool { return s.onRequest == nil || s.onRequest(len(s.requests), before) }
	if !seen(true) {
		return false
	}
	if status == 0 || after {
		answer := httptest.NewRecorder()
		s.handle(answer, r, name, parts)
		if !seen(false) {
			return false
		}
		if status == 0 {
			maps.Copy(w.Header(), answer.Header())
			w.WriteHeader(answer.Code)
			_, _ = w.Write(answer.Body.Bytes())
			return true
		}
	}
	if status < 0 {
		return false
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"errors":[{"message":"a fault"}]}`)
	return true
}

// route names what a path leads to.
func route(parts []string) string {
	switch {
	case parts[0] == "source" && len(parts) == 3 && parts[2] == "full-import-in-progress":
		return "in-progress"
	case parts[0] == "source" && len(parts) == 3:
		return "vertices"
	case parts[0] == "source", parts[0] == "databases", parts[0] == "imports", parts[0] == "importstatus", parts[0] == "jobstatus",
		parts[0] == "importSchema", parts[0] == "carSchema", parts[0] == "query":
		return parts[0]
	}
	return "edge"
}

func (s *carService) handle(w *httptest.ResponseRecorder, r *http.Request, name string, parts []string) {
	body, _ := io.ReadAll(r.Body)
	q := r.URL.Query()
	switch name {
	case "GET databases":
		reply(w, `{"databases":[{"name":"x","graph_name":"assets","is_ready":true}]}`)
	case "GET source":
		state, ok := s.state[parts[1]]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		text, _ := json.Marshal(map[string]string{"_key": parts[1], "model_state_id": state})
		reply(w, string(text))
	case "PATCH source":
		s.state[q.Get("key")] = gjson.GetBytes(body, "model_state_id").String()
		reply(w, `{}`)
	case "POST in-progress":
		s.gen++
		s.open = true
		reply(w, `{"job_id":"j"}`)
	case "DELETE in-progress":
		for key, gen := range s.rows {
			if s.open && gen != s.gen {
				s.retire(key)
			}
		}
		s.open = false
		reply(w, `{"job_id":"j"}`)
	case "GET jobstatus":
		reply(w, `{"status":"COMPLETE"}`)
	case "POST imports":
		s.imports(w, body)
	case "GET importstatus":
		s.importStatus(w, strings.Split(q.Get("ids"), ","))
	case "DELETE vertices":
		_, ids, _ := strings.Cut(r.URL.RawQuery, "=")
		for id := range strings.SplitSeq(ids, ",") {
			id, _ = url.QueryUnescape(id)
			s.retire(car.ModelKey(parts[2], id))
			s.retireEdges(parts[2], id)
		}
		reply(w, `{}`)
	case "PATCH edge":
		from, to, _ := wire.Ends(parts[0], "site")
		s.retire(car.ModelKey(parts[0], wire.EdgeKey(wire.EndID(from, q.Get("from")), wire.EndID(to, q.Get("to")))))
		reply(w, `{}`)
	case "GET importSchema":
		reply(w, `{"schema":`+s.schema+`}`)
	case "GET carSchema":
		if s.extension == "" {
			w.WriteHeader(http.StatusNotFound)
		}
		reply(w, `{"key":"k","version":"`+s.extension+`"}`)
	case "POST carSchema":
		w.WriteHeader(http.StatusCreated)
	case "POST query":
		s.query(w, gjson.GetBytes(body, "query").String())
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func reply(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

func (s *carService) retire(key string) {
	delete(s.rows, key)
	delete(s.data, key)
}

// retireEdges retires the edges of a vertex.
func (s *carService) retireEdges(vertices, vertex string) {
	for key := range s.rows {
		name, id, _ := car.SplitModelKey(key)
		e, err := endsOf(name, []string{"site", "my_site"})
		if from, to, ok := wire.SplitEdgeKey(id); err == nil && ok && (e.from == vertices && from == vertex || e.to == vertices && to == vertex) {
			s.retire(key)
		}
	}
}

func (s *carService) imports(w io.Writer, body []byte) {
	s.jobs++
	id := fmt.Sprint("i", s.jobs)
	if s.failed != nil {
		if entry := s.failed(s.jobs); entry != "" {
			s.errors[id] = entry
			reply(w, `{"id":"`+id+`"}`)
			return
		}
	}
	if source := gjson.GetBytes(body, "source._key").String(); s.state[source] == "" {
		s.state[source] = ""
	}
	gjson.ParseBytes(body).ForEach(func(name, rows gjson.Result) bool {
		if !rows.IsArray() {
			return true
		}
		for _, row := range rows.Array() {
			key := row.Get("external_id").String() + row.Get("_key").String()
			if e, err := endsOf(name.Str, []string{"site", "my_site"}); err == nil {
				edge, err := e.edgeOf([]byte(row.Raw))
				if err != nil {
					panic(err)
				}
				key = edge.key()
			}
			s.rows[car.ModelKey(name.Str, key)] = s.gen
			s.data[car.ModelKey(name.Str, key)] = row.Raw
		}
		return true
	})
	reply(w, `{"id":"`+id+`","status":"INPROGRESS"}`)
}

func (s *carService) importStatus(w io.Writer, ids []string) {
	var complete, failed []string
	for _, id := range ids {
		if entry, ok := s.errors[id]; ok {
			failed = append(failed, `{"id":"`+id+`",`+entry+`}`)
		} else {
			complete = append(complete, `{"id":"`+id+`"}`)
		}
	}
	reply(w, `{"complete_imports":[`+strings.Join(complete, ",")+`],"incomplete_imports":[],"error_imports":[`+strings.Join(failed, ",")+`]}`)
}

// query answers with the edges whose owner is named in the query.
func (s *carService) query(w io.Writer, text string) {
	name, _, _ := strings.Cut(strings.Trim(text, "{ "), "(")
	from, to, _ := wire.Ends(name, "site")
	entries := []string{}
	for _, key := range slices.Sorted(maps.Keys(s.rows)) {
		collection, id, _ := car.SplitModelKey(key)
		if collection != name {
			continue
		}
		a, b, _ := wire.SplitEdgeKey(id)
		fromID, toID := quote(wire.GraphID(sourceName, from, a)), quote(wire.GraphID(sourceName, to, b))
		if !strings.Contains(text, "_in") || strings.Contains(text, fromID) || strings.Contains(text, toID) {
			entries = append(entries, `{"`+from+`_id":`+fromID+`,"`+to+`_id":`+toID+`}`)
		}
	}
	reply(w, `{"data":{"`+name+`":[`+strings.Join(entries, ",")+`]}}`)
}

// held returns what the service holds, sorted.
func (s *carService) held() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.rows))
}

// modelState returns the model state id of the one source.
func (s *carService) modelState() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state[sourceName]
}

// drain returns the requests since the last call.
func (s *carService) drain() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests
	s.requests = nil
	return r
}

func (s *carService) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
	clear(s.counts)
	s.failed = nil
}

const sourceName = "my-src"

// client returns a client without a network.
func (s *carService) client(t *testing.T, retries int) *car.Client {
	t.Helper()
	c, err := car.NewClient(car.ClientOptions{URL: "http://car.test/api/car/v2", Key: "k", Password: "p", Retries: retries, HTTP: &http.Client{Transport: s}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
