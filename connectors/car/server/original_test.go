package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// original is a connector on the original framework, with all its habits: it
// asks without pause, takes every import that a reply does not blame for
// complete, joins ids by commas as they are, and gives nothing up by time.
type original struct {
	t      testing.TB
	f      *fixture
	client *http.Client
	source string
	uuid   string // of its schema extension; none if empty
	page   int    // rows in one import
	// before is called ahead of every request. An error of it is the end of
	// the process.
	before func(method, path string) error

	requests []string // "GET source/my-src"
	model    *model
}

// model is what the connector reads: rows by collection and id, and what has
// changed since each state.
type model struct {
	state    int
	vertices map[string]map[string]string // collection, id, more fields
	edges    map[string]map[[2]string]bool
	// updated and deleted are those of the last state alone.
	updated, deleted map[string][]string
	newEdges         map[string][][2]string
}

func newModel() *model {
	return &model{
		vertices: map[string]map[string]string{}, edges: map[string]map[[2]string]bool{},
		updated: map[string][]string{}, deleted: map[string][]string{}, newEdges: map[string][][2]string{},
	}
}

// next begins another state.
func (m *model) next() {
	m.state++
	clear(m.updated)
	clear(m.deleted)
	clear(m.newEdges)
}

func (m *model) put(collection, id, more string) {
	if m.vertices[collection] == nil {
		m.vertices[collection] = map[string]string{}
	}
	m.vertices[collection][id] = more
	m.updated[collection] = append(m.updated[collection], id)
}

func (m *model) join(edge, from, to string) {
	if m.edges[edge] == nil {
		m.edges[edge] = map[[2]string]bool{}
	}
	m.edges[edge][[2]string{from, to}] = true
	m.newEdges[edge] = append(m.newEdges[edge], [2]string{from, to})
}

func (m *model) drop(collection, id string) {
	delete(m.vertices[collection], id)
	m.deleted[collection] = append(m.deleted[collection], id)
	for edge, pairs := range m.edges {
		from, to, _ := wire.Ends(edge, "site")
		maps.DeleteFunc(pairs, func(pair [2]string, _ bool) bool {
			return from == collection && pair[0] == id || to == collection && pair[1] == id
		})
	}
}

// keys returns what a store has to hold.
func (m *model) keys() (list []string) {
	for collection, ids := range m.vertices {
		for id := range ids {
			list = append(list, collection+" "+id)
		}
	}
	for edge, pairs := range m.edges {
		for pair := range pairs {
			list = append(list, edge+" "+wire.EdgeKey(pair[0], pair[1]))
		}
	}
	return list
}

// Exits of the framework.
const (
	exitOK, exitOther, exitRecoverable, exitUnrecoverable = 0, 1, 10, 20
	exitKilled                                            = -9
)

type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

var errFullNeeded = errors.New("incremental import not possible")

// run is one process.
func (o *original) run() (exit int) {
	o.requests = nil
	err := o.process()
	code, ok := errors.AsType[exitError](err)
	switch {
	case err == nil:
		return exitOK
	case !ok:
		return exitOther
	case code == exitUnrecoverable:
		if status, _, err := o.call("PATCH", "source?key="+url.QueryEscape(o.source), `{"model_state_id": ""}`); err != nil || status != 200 {
			return exitOther
		}
	}
	return int(code)
}

func (o *original) process() error {
	if o.uuid != "" {
		if err := o.extend(); err != nil {
			return err
		}
	}
	err := o.incremental()
	if errors.Is(err, errFullNeeded) {
		return o.full()
	}
	return err
}

// call sends one request, and again if the framework would. A connection that
// is lost is a reply of 503.
func (o *original) call(method, path, body string) (status int, text string, err error) {
	for attempt := 0; ; attempt++ {
		if o.before != nil {
			if err := o.before(method, path); err != nil {
				return 0, "", err
			}
		}
		o.requests = append(o.requests, method+" "+path)
		status, text = o.send(method, path, body)
		again := status == 403 || status == 429 || status == 503
		if !again || method == "PATCH" || attempt == 3 {
			return status, text, nil
		}
	}
}

func (o *original) send(method, path, body string) (int, string) {
	r, err := http.NewRequestWithContext(o.t.Context(), method, requote(o.f.url(path)), strings.NewReader(body))
	if err != nil {
		o.t.Error(err)
		return 503, ""
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept-Encoding", "gzip, deflate")
	response, err := o.client.Do(r)
	if err != nil {
		return 503, ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 503, ""
	}
	return response.StatusCode, string(text)
}

// requote is what the HTTP library of the original does to an address: what
// stands for itself anywhere in an address stays, also an escape, and what is
// behind a # is not sent.
func requote(address string) string {
	address, _, _ = strings.Cut(address, "#")
	safe := "!$%&'()*+,/:;=?@[]~-._"
	if _, err := url.PathUnescape(address); err != nil {
		safe = strings.Replace(safe, "%", "", 1)
	}
	var b strings.Builder
	for i := range len(address) {
		ch := address[i]
		if ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || strings.IndexByte(safe, ch) >= 0 {
			b.WriteByte(ch)
		} else {
			fmt.Fprintf(&b, "%%%02X", ch)
		}
	}
	return b.String()
}

// classify is the exit that a status stands for.
func classify(status int) error {
	if wire.Recoverable(status) {
		return exitError(exitRecoverable)
	}
	return exitError(exitUnrecoverable)
}

func (o *original) extend() error {
	status, text, err := o.call("GET", "/v3/carSchema/"+o.uuid, "")
	if err != nil {
		return err
	}
	if status == 200 && strings.Contains(text, `"version":"1"`) {
		return nil
	}
	if status != 404 {
		return errors.New("extension")
	}
	status, _, err = o.call("POST", "/v3/carSchema", `{"key": "`+o.uuid+`", "owner": "test", "version": "1", "schema": {"vertices": [{"name": "site", "properties": {"city": {"type": "text"}}}], "edges": [{"end1": "site", "end2": "asset"}]}}`)
	if err == nil && status != 200 && status != 201 {
		err = errors.New("extension")
	}
	return err
}

// databases reports whether the database is new.
func (o *original) databases() error {
	status, text, err := o.call("GET", "databases", "")
	if err != nil {
		return err
	}
	var reply struct {
		Databases []struct {
			IsReady bool `json:"is_ready"`
		}
	}
	if status != 200 {
		return classify(status)
	}
	if err := json.Unmarshal([]byte(text), &reply); err != nil {
		return err
	}
	if !reply.Databases[0].IsReady {
		return errFullNeeded
	}
	return nil
}

func (o *original) incremental() error {
	if err := o.databases(); err != nil {
		return err
	}
	status, text, err := o.call("GET", "source/"+url.QueryEscape(o.source), "")
	if err != nil {
		return err
	}
	var document struct {
		ModelStateID string `json:"model_state_id"`
	}
	if status != 200 || json.Unmarshal([]byte(text), &document) != nil || document.ModelStateID == "" {
		return errFullNeeded
	}
	if document.ModelStateID != fmt.Sprint(o.model.state) {
		if document.ModelStateID != fmt.Sprint(o.model.state-1) {
			return errFullNeeded // the change log does not reach back
		}
		if err := o.delta(); err != nil {
			return err
		}
	}
	return o.saveState()
}

func (o *original) delta() error {
	var ids []string
	for _, collection := range slices.Sorted(maps.Keys(o.model.updated)) {
		if err := o.sendRows(&ids, collection, o.vertexRows(collection, o.model.updated[collection])); err != nil {
			return err
		}
	}
	if err := o.settle(&ids); err != nil {
		return err
	}
	for _, edge := range slices.Sorted(maps.Keys(o.model.newEdges)) {
		if err := o.sendRows(&ids, edge, o.edgeRows(edge, o.model.newEdges[edge])); err != nil {
			return err
		}
	}
	if err := o.settle(&ids); err != nil {
		return err
	}
	for _, collection := range slices.Sorted(maps.Keys(o.model.deleted)) {
		if err := o.deleteVertices(collection, o.model.deleted[collection]); err != nil {
			return err
		}
	}
	return nil
}

func (o *original) full() error {
	if err := o.databases(); err != nil {
		return err
	}
	if err := o.inProgress("POST"); err != nil {
		return err
	}
	var ids []string
	if err := o.sendRows(&ids, "", nil); err != nil {
		return err
	}
	if err := o.settle(&ids); err != nil {
		return err
	}
	for _, collection := range slices.Sorted(maps.Keys(o.model.vertices)) {
		if err := o.sendRows(&ids, collection, o.vertexRows(collection, slices.Sorted(maps.Keys(o.model.vertices[collection])))); err != nil {
			return err
		}
	}
	if err := o.settle(&ids); err != nil {
		return err
	}
	for _, edge := range slices.Sorted(maps.Keys(o.model.edges)) {
		if err := o.sendRows(&ids, edge, o.edgeRows(edge, slices.Collect(maps.Keys(o.model.edges[edge])))); err != nil {
			return err
		}
	}
	if err := o.settle(&ids); err != nil {
		return err
	}
	if err := o.inProgress("DELETE"); err != nil {
		return err
	}
	return o.saveState()
}

// inProgress enters or leaves the state of a full import. What becomes of the
// job does not matter to it.
func (o *original) inProgress(method string) error {
	status, text, err := o.call(method, "source/"+o.source+"/full-import-in-progress", "")
	if err != nil {
		return err
	}
	var reply struct {
		JobID string `json:"job_id"`
	}
	if json.Unmarshal([]byte(text), &reply) != nil || reply.JobID == "" {
		return classify(status)
	}
	for {
		status, text, err := o.call("GET", "jobstatus/"+reply.JobID, "")
		if err != nil {
			return err
		}
		if status != 200 || strings.Contains(text, `"status":"COMPLETE"`) || strings.Contains(text, `"status":"ERROR"`) {
			return nil
		}
	}
}

// row is one row as text.
type rowText string

func (o *original) vertexRows(collection string, ids []string) (rows []rowText) {
	for _, id := range ids {
		more, ok := o.model.vertices[collection][id]
		if !ok {
			continue
		}
		if more != "" {
			more = ", " + more
		}
		rows = append(rows, rowText(fmt.Sprintf(`{"%s": %s%s}`, wire.KeyField(collection), quote(id), more)))
	}
	return rows
}

func (o *original) edgeRows(edge string, pairs [][2]string) (rows []rowText) {
	_, to, _ := wire.Ends(edge, "site")
	for _, pair := range pairs {
		end := `"_to_external_id": ` + quote(pair[1])
		if wire.Keyed(to) {
			end = `"_to": ` + quote(to+"/"+pair[1])
		}
		rows = append(rows, rowText(fmt.Sprintf(`{"_from_external_id": %s, %s, "report": "1795285435898.988", "source": %s, "active": true, "timestamp": 1795285435898.988}`, quote(pair[0]), end, quote(o.source))))
	}
	return rows
}

// quote writes a text in ASCII, as the original does.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			fmt.Fprintf(&b, `\%c`, r)
		case r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String() + `"`
}

// sendRows sends pages and asks after every twentieth what became of them.
func (o *original) sendRows(ids *[]string, collection string, rows []rowText) error {
	for {
		page := rows[:min(len(rows), o.page)]
		rows = rows[len(page):]
		members := ""
		if collection != "" {
			var list []string
			for _, r := range page {
				list = append(list, string(r))
			}
			members = `"` + collection + `": [` + strings.Join(list, ", ") + `]`
		}
		status, text, err := o.call("POST", "imports", envelopeOf(o.source, members))
		if err != nil {
			return err
		}
		var reply struct{ ID string }
		if json.Unmarshal([]byte(text), &reply) != nil || reply.ID == "" {
			return classify(status)
		}
		if *ids = append(*ids, reply.ID); len(*ids) == 20 {
			if err := o.settle(ids); err != nil {
				return err
			}
		}
		if len(rows) == 0 {
			return nil
		}
	}
}

// settle asks until no import is said to be incomplete. All that is not said
// to have failed counts as done.
func (o *original) settle(ids *[]string) error {
	waiting := *ids
	*ids = nil
	for len(waiting) > 0 {
		_, text, err := o.call("GET", "importstatus?ids="+strings.Join(waiting, "%2C"), "")
		if err != nil {
			return err
		}
		var reply struct {
			Errors []struct {
				ID         string `json:"id"`
				StatusCode int    `json:"statusCode"`
			} `json:"error_imports"`
			Incomplete []struct{ ID string } `json:"incomplete_imports"`
		}
		_ = json.Unmarshal([]byte(text), &reply) // as little as the original minds
		for _, e := range reply.Errors {
			if !slices.Contains(waiting, e.ID) {
				return exitError(exitUnrecoverable)
			}
			return classify(e.StatusCode)
		}
		waiting = nil
		for _, e := range reply.Incomplete {
			waiting = append(waiting, e.ID)
		}
	}
	return nil
}

func (o *original) deleteVertices(collection string, ids []string) error {
	parameter := "external_ids"
	if wire.Keyed(collection) {
		parameter = "keys"
	}
	for len(ids) > 0 {
		n, size := 0, 0
		for n < len(ids) && size < 1800 {
			size += len(ids[n]) + 1
			n++
		}
		status, _, err := o.call("DELETE", "source/"+o.source+"/"+collection+"?"+parameter+"="+strings.Join(ids[:n], ","), "")
		if err != nil {
			return err
		}
		if status != 200 {
			return classify(status)
		}
		ids = ids[n:]
	}
	return nil
}

func (o *original) saveState() error {
	status, _, err := o.call("PATCH", "source?key="+url.QueryEscape(o.source), fmt.Sprintf(`{"model_state_id": "%d"}`, o.model.state))
	if err == nil && status != 200 {
		err = errors.New("state not saved")
	}
	return err
}
