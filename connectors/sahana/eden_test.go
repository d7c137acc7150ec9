package sahana

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

const (
	login, password = "gapless@example.org", "pass"
	domain          = "vm"
)

// fault answers a request in the Eden's place if it returns true.
type fault func(n int, r *http.Request, w http.ResponseWriter) bool

// eden is a Sahana Eden in memory that answers as real ones were seen to.
type eden struct {
	t testing.TB
	// asp says that pushes of peers fail, as those to the successor do.
	asp bool
	// bad says why a record is refused, or "".
	bad func(r *s3.Resource) string
	// strict says that ignore_errors is not known: nothing is taken if anything
	// is refused.
	strict bool
	// keeps says that a record is told to be updated but is not.
	keeps func(r *s3.Resource) bool
	// restamps says that records are written again when they have been imported,
	// which dates them now.
	restamps bool

	mu     sync.Mutex // guards what follows
	fault  fault
	now    time.Time
	tables map[string][]*s3.Resource // as stored, with their numbers
	peers  map[string]bool
	files  map[string]string
	log    []string
	next   int
}

func newEden(t testing.TB) *eden {
	t.Helper()
	return &eden{
		t: t, now: time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC), tables: map[string][]*s3.Resource{}, peers: map[string]bool{}, files: map[string]string{},
	}
}

// client returns a client that waits for nothing.
func (e *eden) client(change ...func(*clientOptions)) *client {
	e.t.Helper()
	server := httptest.NewServer(e)
	e.t.Cleanup(server.Close)
	o := clientOptions{URL: server.URL + "/eden/", Login: login, Password: password, Timeout: 20 * time.Second, sleep: noSleep}
	for _, f := range change {
		f(&o)
	}
	c, err := newClient(o)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = c.Close() })
	return c
}

func noSleep(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }

// put stores a record as somebody at the Eden would, now or at another time.
func (e *eden) put(table, uuid, name string, at ...time.Time) *s3.Resource {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.find(table, uuid)
	if r == nil {
		zero := 0
		r = e.insert(s3.Resource{Name: table, UUID: uuid, MCI: &zero, CreatedBy: "somebody@example.org", CreatedOn: e.now})
	}
	r.Deleted, r.ReplacedBy = false, ""
	r.Fields = []s3.Field{{Name: "name", Text: name}}
	r.ModifiedOn = append(at, e.now)[0]
	return r
}

func (e *eden) insert(r s3.Resource) *s3.Resource {
	e.next++
	r.ID = strconv.Itoa(e.next)
	e.tables[r.Name] = append(e.tables[r.Name], &r)
	return &r
}

// remove leaves a tombstone.
func (e *eden) remove(table, uuid, replacedBy string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.find(table, uuid)
	r.Deleted, r.ReplacedBy, r.ModifiedOn = true, replacedBy, e.now
}

func (e *eden) find(table, uuid string) *s3.Resource {
	for _, r := range e.tables[table] {
		if r.UUID == s3.LocalUUID(uuid, domain) {
			return r
		}
	}
	return nil
}

// held returns the names of the records of a table by uuid.
func (e *eden) held(table string) map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	held := map[string]string{}
	for _, r := range e.tables[table] {
		if f := r.Field("name"); !r.Deleted && f != nil {
			held[r.UUID] = f.Text
		}
	}
	return held
}

func (e *eden) pass(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = e.now.Add(d)
}

func (e *eden) misbehave(f fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fault = f
}

// requests returns what was asked for after the first n requests.
func (e *eden) requests(n int) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.log[n:])
}

// ServeHTTP implements [http.Handler].
func (e *eden) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	line := r.Method + " " + r.URL.Path
	if r.URL.RawQuery != "" {
		line += "?" + r.URL.RawQuery
	}
	if len(body) > 0 {
		line += "\n" + string(body)
		if r.Header.Get("Content-Type") != formType || r.ContentLength != int64(len(body)) {
			e.t.Errorf("%s: content type %s, length %d of %d", line, r.Header.Get("Content-Type"), r.ContentLength, len(body))
		}
	}
	e.log = append(e.log, line)
	w.Header().Set("Date", e.now.Format(http.TimeFormat))
	if e.fault != nil && e.fault(len(e.log), r, w) {
		return
	}
	e.serve(w, r, body)
}

func (e *eden) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	if user, pass, _ := r.BasicAuth(); user != login || pass != password {
		w.Header().Set("WWW-Authenticate", `Basic realm="eden"`)
		respond(w, 401, "text/plain", "Authentication Required")
		return
	}
	path, q := strings.TrimPrefix(r.URL.Path, "/eden/"), r.URL.Query()
	parts := strings.Split(strings.TrimSuffix(path, ".xml"), "/")
	switch {
	case path == "sync/repository/register.json":
		id := regexp.MustCompile(`"uuid":"([^"]+)"`).FindSubmatch(body)
		e.peers[string(id[1])] = true
		respond(w, 200, "application/json", `{"status": "success", "statuscode": "200", "message": "Registration successful", "sender": "urn:uuid:site"}`)
	case path == "sync/sync.xml" && r.Method == http.MethodGet:
		e.export(w, q.Get("resource"), e.sync(q, "2006-01-02T15:04:05"))
	case path == "sync/sync.xml" && r.Method == http.MethodPost:
		switch {
		case e.asp:
			w.Header().Set("web2py_error", "ticket eden/1")
			respond(w, 500, "text/html", "<html><head><title>Internal error</title></head></html>")
		case !e.peers[q.Get("repository")]:
			respond(w, 403, "application/json", `{"status": "failed", "statuscode": "403", "message": "Registration required"}`)
		default:
			e.take(w, q.Get("resource"), body, true)
		}
	case len(parts) == 4 && parts[1] == "sync":
		e.export(w, parts[2]+"_"+parts[3], e.sync(q, "2006-01-02T15:04:05Z"))
	case len(parts) == 3 && parts[0] == "default":
		text, ok := e.files[parts[2]]
		if !ok {
			respond(w, 404, "text/html", "<html><head><title>Not found</title></head></html>")
			return
		}
		respond(w, 200, "application/octet-stream", text)
	case len(parts) == 2 && r.Method == http.MethodGet:
		e.export(w, parts[0]+"_"+parts[1], q)
	case len(parts) == 2 && r.Method == http.MethodPost:
		e.take(w, parts[0]+"_"+parts[1], body, false)
	default:
		e.t.Errorf("%s %s", r.Method, r.URL)
		respond(w, 404, "text/html", "<html><head><title>Not found</title></head></html>")
	}
}

func respond(w http.ResponseWriter, status int, kind, body string) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// sync translates the parameters that the services for peers honour. Of
// msince any form but one is ignored in silence.
func (e *eden) sync(q url.Values, form string) url.Values {
	out := url.Values{"include_deleted": {"True"}}
	if at, err := time.Parse(form, q.Get("msince")); err == nil {
		out.Set("~.modified_on__ge", at.Format(time.RFC3339))
	}
	for name := range q {
		if filter, ok := strings.CutPrefix(name, "[~]"); ok {
			out.Set(filter, q.Get(name))
		}
	}
	return out
}

// export answers with records as an Eden does.
func (e *eden) export(w http.ResponseWriter, table string, q url.Values) {
	var list []s3.Resource
	start, _ := strconv.Atoi(q.Get("start"))
	for _, stored := range e.tables[table] {
		r := *stored
		id, _ := strconv.Atoi(r.ID)
		after, _ := strconv.Atoi(q.Get("~.id__gt"))
		since, _ := time.Parse(time.RFC3339, q.Get("~.modified_on__ge"))
		like := strings.TrimSuffix(q.Get("~.name__like"), "*")
		switch {
		case id <= after, r.ModifiedOn.Before(since), r.Deleted && q.Get("include_deleted") != "True":
			continue
		case q.Has("~.uuid__belongs") && !slices.Contains(listed(q.Get("~.uuid__belongs")), r.UUID):
			continue
		case like != "" && (r.Field("name") == nil || !strings.HasPrefix(r.Field("name").Text, like)):
			continue
		}
		if start--; start >= 0 {
			continue
		}
		list = append(list, e.exported(r, q.Get("show_ids") == "true"))
		if limit, err := strconv.Atoi(q.Get("limit")); err == nil && len(list) == limit {
			break
		}
	}
	var b bytes.Buffer
	root := s3.NewDocument(len(list))
	root.Set("domain", domain)
	encoder := s3.NewEncoder(&b, s3.S3XML, root, s3.EncodeOptions{})
	for i := range list {
		if err := encoder.Encode(&list[i]); err != nil {
			e.t.Error(err)
		}
	}
	if err := encoder.Close(); err != nil {
		e.t.Error(err)
	}
	respond(w, 200, "text/xml", b.String())
}

func (e *eden) exported(r s3.Resource, ids bool) s3.Resource {
	id := r.ID
	r.UUID, r.ID, r.URL = s3.QualifyUUID(r.UUID, domain), "", "http://public/eden/"+id
	mci := *r.MCI + 1
	r.MCI = &mci
	if r.Deleted {
		return s3.Resource{Name: r.Name, UUID: r.UUID, ModifiedOn: r.ModifiedOn, Deleted: true, ReplacedBy: r.ReplacedBy}
	}
	if ids {
		r.ID = id
	}
	return r
}

// listed splits a list of values.
func listed(text string) (list []string) {
	for _, m := range regexp.MustCompile(`"((?:[^"\\]|\\.)*)"|([^,]+)`).FindAllStringSubmatch(text, -1) {
		list = append(list, cmp.Or(strings.ReplaceAll(m[1], `\"`, `"`), m[2]))
	}
	return list
}

// take imports a document: of a peer under NEWER, or else overwriting.
func (e *eden) take(w http.ResponseWriter, table string, body []byte, newer bool) {
	var envelope s3.Envelope
	envelope.Status, envelope.StatusCode = s3.StatusSuccess, 200
	count := 0
	var good []s3.Resource
	for r, err := range s3.NewDecoder(bytes.NewReader(body), s3.S3XML, s3.DecodeOptions{}).Resources() {
		if err != nil {
			respond(w, 400, "application/json", fmt.Sprintf(`{"status":"failed","statuscode":"400","message":%q}`, "XML Parse error: "+err.Error()))
			return
		}
		if r.Name != table {
			continue
		}
		if e.bad != nil {
			if why := e.bad(&r); why != "" {
				r.Error, envelope.Message = "Validation error", "Validation error - invalid items ignored"
				r.Fields[0].Error = why
				envelope.Tree = append(envelope.Tree, r)
				continue
			}
		}
		count++
		good = append(good, r)
	}
	if e.strict && len(envelope.Tree) > 0 {
		envelope.Status, envelope.StatusCode, good = s3.StatusFailed, 400, nil
	}
	for i := range good {
		e.apply(&good[i], &envelope, newer)
	}
	envelope.Records = &count
	text, err := envelope.MarshalJSON()
	if err != nil {
		e.t.Error(err)
	}
	respond(w, 200, "text/html", string(text))
}

// apply imports one record.
func (e *eden) apply(r *s3.Resource, envelope *s3.Envelope, newer bool) {
	uuid := s3.LocalUUID(r.UUID, domain)
	stored := e.find(r.Name, uuid)
	switch {
	case r.Deleted && (stored == nil || stored.Deleted):
		return
	case e.keeps != nil && e.keeps(r), stored != nil && newer && stored.ModifiedOn.After(r.ModifiedOn):
		envelope.Updated = append(envelope.Updated, 1)
		return
	case r.Deleted:
		stored.Deleted, stored.ReplacedBy, stored.ModifiedOn = true, r.ReplacedBy, e.now
		envelope.Deleted = append(envelope.Deleted, 1)
		return
	case stored == nil:
		stored = e.insert(s3.Resource{Name: r.Name, UUID: uuid, MCI: r.MCI, CreatedBy: login, CreatedOn: e.now})
		envelope.Created = append(envelope.Created, 1)
	default:
		envelope.Updated = append(envelope.Updated, 1)
	}
	stored.Deleted, stored.ModifiedOn = false, r.ModifiedOn
	if e.restamps {
		stored.ModifiedOn = e.now
	}
	for _, f := range r.Fields {
		held := stored.Field(f.Name)
		switch {
		case f.Name == "unknown", f.Name == "year" && f.Value == nil && f.Text == "":
		case string(f.Value) == "[]":
			stored.Fields = slices.DeleteFunc(stored.Fields, func(old s3.Field) bool { return old.Name == f.Name })
			stored.References = slices.DeleteFunc(stored.References, func(old s3.Reference) bool { return old.Field == f.Name })
		case held != nil:
			*held = f
		default:
			stored.Fields = append(stored.Fields, f)
		}
	}
	for _, f := range r.References {
		if e.find(f.Resource, f.UUID) != nil {
			stored.References = slices.DeleteFunc(stored.References, func(old s3.Reference) bool { return old.Field == f.Field })
			stored.References = append(stored.References, f)
		}
	}
}

// times fails the next n requests whose line contains a text.
func times(n int, part string, answer func(w http.ResponseWriter)) fault {
	return func(_ int, r *http.Request, w http.ResponseWriter) bool {
		if n == 0 || !strings.Contains(r.Method+" "+r.URL.String(), part) {
			return false
		}
		n--
		answer(w)
		return true
	}
}

// hangUp breaks the connection off.
func hangUp(w http.ResponseWriter) {
	hijacked, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = hijacked.Close()
	}
}

// says answers with a body.
func says(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { respond(w, status, "text/html", body) }
}
