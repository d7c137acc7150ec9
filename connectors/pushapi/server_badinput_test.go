package pushapi_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/service"
)

// pushedState returns everything that a connector has accepted.
func pushedState(t testing.TB, f *fixture, connector string) map[string]string {
	t.Helper()
	s, err := f.hub.Session(t.Context(), connector, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Snapshot(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	state := map[string]string{"serial": fmt.Sprint(n.Serial())}
	err = n.Entries(t.Context(), gapless.Partition{ID: "document", Collection: "document"}, "", func(key, version []byte) ([]byte, error) {
		r, err := n.Get(t.Context(), gapless.Partition{ID: "document", Collection: "document"}, string(key))
		state["document "+string(key)] = string(version) + " " + string(r.Data) + fmt.Sprint(len(r.Parts))
		return nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := n.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range list {
		state["checkpoint "+name] = string(c.Position)
	}
	return state
}

// badInput is a request that has to be refused. Strings that are empty take
// what a good request would have.
type badInput struct {
	name        string
	verb        string
	path        string // behind /papi/4/connectors/
	header      string
	contentType string
	body        string
	raw         string // instead of all that
	half        bool   // the client hangs up behind it
	status      int
	errorType   pushapi.ErrorType
	message     string // part of it
}

func (b badInput) request() string {
	if b.raw != "" {
		return b.raw
	}
	head := b.verb + " /papi/4/connectors/" + b.path + " HTTP/1.1\r\nHost: h\r\n" + b.header
	if b.contentType != "" {
		head += "Content-Type: " + b.contentType + "\r\n"
	}
	return head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(b.body)) + b.body
}

const (
	parameter = pushapi.TypeInvalidParameter
	tooLarge  = pushapi.TypeTooLarge
)

// badLimits are small, to be passed.
var badLimits = pushapi.Limits{Documents: 5, Fields: 20_000, TextBytes: 1 << 20, PartBytes: 1000}

func badInputs() []badInput {
	good := multi("PAPI_0:uri", "new", "PAPI_0:meta:tag", "x")
	add := func(name, body string, t pushapi.ErrorType, message string) badInput {
		status := map[pushapi.ErrorType]int{parameter: 400, tooLarge: 413}[t]
		return badInput{name: name, verb: "POST", path: "wiki/add_documents", contentType: multipartType, body: body, status: status, errorType: t, message: message}
	}
	call := func(name, verb, path string, t pushapi.ErrorType, message string) badInput {
		return badInput{name: name, verb: verb, path: path, status: 400, errorType: t, message: message}
	}
	invalidName := pushapi.TypeInvalidConnectorName
	list := []badInput{
		call("unknown connector", "GET", "other/ping", invalidName, "other"),
		call("connector of slashes", "GET", "a%2Fb/ping", invalidName, "a/b"),
		call("connector with a space", "GET", "a%20b/ping", invalidName, "a b"),
		call("connector with a control character", "GET", "a%01/ping", invalidName, ""),
		call("connector that is not UTF-8", "GET", "a%ff/ping", invalidName, ""),
		call("connector of dots", "GET", "%2e%2e/ping", invalidName, ".."),
		call("no connector", "GET", "/ping", invalidName, ""),
		call("unknown command", "POST", "wiki/drop_everything", parameter, "drop_everything"),
		call("command with more path", "POST", "wiki/sync/now", parameter, "sync/now"),
		{name: "no command", verb: "GET", path: "wiki", status: 404, errorType: parameter},
		{name: "write by GET", verb: "GET", path: "wiki/delete_documents_root_path?PAPI_rootPath=&PAPI_recursive=true", status: 405, errorType: parameter, message: "POST"},
		{name: "unknown verb", verb: "PUT", path: "wiki/add_documents", status: 405, errorType: parameter, message: "PUT"},

		add("no uri", multi("PAPI_0:meta:tag", "x"), parameter, `document "0"`),
		add("no uri behind a good document", multi("PAPI_0:uri", "new", "PAPI_1:stamp", "x"), parameter, `document "1"`),
		add("empty uri", multi("PAPI_0:uri", ""), parameter, "URI"),
		add("same document id twice", multi("PAPI_0:uri", "new", "PAPI_1:uri", "b", "PAPI_0:uri", "c"), parameter, "twice"),
		add("two stamps", multi("PAPI_0:uri", "new", "PAPI_0:stamp", "1", "PAPI_0:stamp", "2"), parameter, "twice"),
		add("part without a name", multi("PAPI_0:uri", "new", "PAPI_0:part_bytes:", "x"), parameter, "part"),
		add("part_bytes alone", multi("PAPI_0:uri", "new", "PAPI_0:part_bytes", "x"), parameter, "part"),
		add("part twice", multi("PAPI_0:uri", "new", "PAPI_0:part_bytes:a", "x", "PAPI_0:part_bytes:a", "y"), parameter, "twice"),
		add("part without content", multi("PAPI_0:uri", "new", "PAPI_0:part_directive:a:mime", "text/plain"), parameter, "content"),
		add("meta without a name", multi("PAPI_0:uri", "new", "PAPI_0:meta:", "x"), parameter, "meta"),
		add("uri that is not UTF-8", multi("PAPI_0:uri", "new\xff"), parameter, "UTF-8"),
		add("stamp that is not UTF-8", multi("PAPI_0:uri", "new", "PAPI_0:stamp", "\xff"), parameter, "UTF-8"),
		add("meta that is not UTF-8", multi("PAPI_0:uri", "new", "PAPI_0:meta:tag", "\xff"), parameter, "UTF-8"),
		add("name of a meta that is not UTF-8", multi("PAPI_0:uri", "new", "PAPI_0:meta:\xff", "x"), parameter, "UTF-8"),
		add("uri too long", multi("PAPI_0:uri", strings.Repeat("x", 4097)), parameter, "4096"),
		add("stamp too long", multi("PAPI_0:uri", "new", "PAPI_0:stamp", strings.Repeat("x", 64<<10+1)), parameter, "stamp"),
		add("part too large", multi("PAPI_0:uri", "new", "PAPI_0:part_bytes:a", strings.Repeat("x", 1001)), tooLarge, "1000"),
		add("too many documents", multi("PAPI_0:uri", "a", "PAPI_1:uri", "b", "PAPI_2:uri", "c", "PAPI_3:uri", "d", "PAPI_4:uri", "e", "PAPI_5:uri", "f"), tooLarge, "5 documents"),
		add("too much text", multi("PAPI_0:uri", "new", "PAPI_0:meta:a", strings.Repeat("x", 1<<20)), tooLarge, "bytes"),
		add("too many fields", multi(append([]string{"PAPI_0:uri", "new"}, slicesRepeat(20_001, "PAPI_0:meta:a", "x")...)...), tooLarge, "20000 fields"),
		add("no document", multi("PAPI_session_", "x"), parameter, "no document"),
		add("empty body", "", parameter, "no document"),
		add("cut off before a boundary", strings.TrimSuffix(good, "\r\n--b1--\r\n"), parameter, "body"),
		add("cut off behind a boundary", strings.TrimSuffix(good, "--\r\n"), parameter, "body"),
		add("cut off within a content", "--b1\r\nContent-Disposition: form-data; name=\"PAPI_0:uri\"\r\n\r\nnew\r\n--b1\r\nContent-Disposition: form-data; name=\"PAPI_0:part_bytes:a\"\r\n\r\nhalf of", parameter, "body"),
		add("field without a name", "--b1\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b1--\r\n", parameter, "name"),
		{name: "no boundary", verb: "POST", path: "wiki/add_documents", contentType: "multipart/form-data", body: good, status: 400, errorType: parameter, message: "boundary"},
		{name: "unknown content type", verb: "POST", path: "wiki/add_documents", contentType: "application/json", body: `{}`, status: 400, errorType: parameter, message: "application/json"},
		{name: "no content type", verb: "POST", path: "wiki/delete_documents?PAPI_uri=old", body: "PAPI_uri=x", status: 400, errorType: parameter, message: "content type"},
		{name: "malformed url-encoded body", verb: "POST", path: "wiki/add_documents", contentType: formType, body: "PAPI_0:uri=%zz", status: 400, errorType: parameter},
		{name: "endless parameters in a body", verb: "POST", path: "wiki/delete_documents?PAPI_uri=old", contentType: formType, body: strings.Repeat("PAPI_uri=old&", 200_000), status: 413, errorType: tooLarge, message: "bytes"},
		{name: "too many parameters in a body", verb: "POST", path: "wiki/delete_documents?PAPI_uri=old", contentType: formType, body: strings.Repeat("PAPI_uri=old&", 20_001), status: 413, errorType: tooLarge, message: "20000"},
		{name: "document for a command without", verb: "POST", path: "wiki/sync", contentType: multipartType, body: good, status: 400, errorType: parameter, message: "no documents"},
		{name: "contents for a command without", verb: "POST", path: "wiki/set_checkpoint?PAPI_checkpoint=9", contentType: multipartType, body: multi("PAPI_0:uri", "new", "PAPI_0:part_bytes:a", "x"), status: 400, errorType: parameter},

		call("many parameters", "POST", "wiki/delete_documents?"+strings.Repeat("PAPI_uri=old&", 20_001), tooLarge, "20000"),
		call("semicolon", "POST", "wiki/delete_documents?PAPI_uri=old;PAPI_uri=b", parameter, "semicolon"),
		call("malformed escape", "POST", "wiki/delete_documents?PAPI_uri=old&PAPI_uri=%zz", parameter, "PAPI_uri"),
		call("parameter that is not UTF-8", "POST", "wiki/delete_documents?PAPI_uri=old&PAPI_uri=%ff", parameter, "UTF-8"),
		call("nothing to delete", "POST", "wiki/delete_documents", parameter, "PAPI_uri"),
		call("empty uri to delete", "POST", "wiki/delete_documents?PAPI_uri=old&PAPI_uri=", parameter, "URI"),
		call("no root path", "POST", "wiki/delete_documents_root_path?PAPI_recursive=true", parameter, "PAPI_rootPath"),
		call("two root paths", "POST", "wiki/delete_documents_root_path?PAPI_recursive=true&PAPI_rootPath=a&PAPI_rootPath=", parameter, "PAPI_rootPath"),
		call("neither true nor false", "POST", "wiki/delete_documents_root_path?PAPI_recursive=yes&PAPI_rootPath=", parameter, "PAPI_recursive"),
		call("empty prefix", "POST", "wiki/delete_documents_with_prefix?PAPI_prefix=", parameter, "PAPI_prefix"),
		call("no prefix", "POST", "wiki/delete_documents_with_prefix", parameter, "PAPI_prefix"),
		call("no status to get", "GET", "wiki/get_documents_status", parameter, "PAPI_uri"),
		call("no checkpoint", "POST", "wiki/set_checkpoint?PAPI_name=a", parameter, "PAPI_checkpoint"),
		call("checkpoint too long", "POST", "wiki/set_checkpoint?PAPI_checkpoint="+strings.Repeat("x", 64<<10+1), parameter, "65536"),
		call("name of a checkpoint too long", "POST", "wiki/set_checkpoint?PAPI_checkpoint=9&PAPI_name="+strings.Repeat("x", 4097), parameter, "4096"),
		call("checkpoint that is not UTF-8", "POST", "wiki/set_checkpoint?PAPI_checkpoint=%ff", parameter, "UTF-8"),
		call("sync neither true nor false", "POST", "wiki/set_checkpoint?PAPI_checkpoint=9&PAPI_sync=1", parameter, "PAPI_sync"),
		call("unknown mode", "GET", "wiki/enumerate_synced_entries?PAPI_rootPath=&PAPI_mode=ALL", parameter, "ALL"),
		call("no mode", "GET", "wiki/enumerate_synced_entries?PAPI_rootPath=", parameter, "PAPI_mode"),
		call("two modes", "GET", "wiki/count_synced_entries?PAPI_rootPath=&PAPI_mode=RECURSIVE_DOCUMENTS&PAPI_enumerationMode=RECURSIVE_DOCUMENTS", parameter, "PAPI_enumerationMode"),
		call("no root path to enumerate", "GET", "wiki/enumerate_synced_entries?PAPI_mode=RECURSIVE_DOCUMENTS", parameter, "PAPI_rootPath"),
		call("no serial", "GET", "wiki/are_documents_searchable", parameter, "PAPI_serial"),
		call("serial that is no number", "GET", "wiki/are_documents_searchable?PAPI_serial=-1", parameter, "-1"),
		call("changes behind what is known", "GET", "wiki/get_changes?PAPI_serial=999", pushapi.TypeUnknownSerial, "999"),
		{name: "update of an unknown document", verb: "POST", path: "wiki/update_documents", contentType: multipartType, body: multi("PAPI_0:uri", "old", "PAPI_0:stamp", "2", "PAPI_1:uri", "none"), status: 400, errorType: pushapi.TypeUnknownDocument, message: "none"},
		{name: "condition that does not hold", verb: "POST", path: "wiki/add_documents?PAPI_if_checkpoint=8&PAPI_checkpoint=9", contentType: multipartType, body: good, status: 400, errorType: pushapi.TypeCheckpointMismatch},
		call("condition of both kinds", "POST", "wiki/sync?PAPI_if_checkpoint=1&PAPI_if_absent=true", parameter, "PAPI_if_absent"),

		{name: "client that hangs up", raw: "POST /papi/4/connectors/wiki/add_documents HTTP/1.1\r\nHost: h\r\nContent-Type: " + multipartType + "\r\nContent-Length: 100000\r\n\r\n" + good[:60], half: true, status: 400, errorType: parameter, message: "body"},
		{name: "chunked body that breaks off", raw: "POST /papi/4/connectors/wiki/add_documents HTTP/1.1\r\nHost: h\r\nContent-Type: " + multipartType + "\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + good[:60], half: true, status: 400, errorType: parameter, message: "body"},
		{name: "chunked body over HTTP/1.0", raw: "POST /papi/4/connectors/wiki/add_documents HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: " + multipartType + "\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(good), good), status: 400, errorType: parameter, message: "no document"},
		{name: "chunked parameters over HTTP/1.0", raw: "POST /papi/4/connectors/wiki/delete_documents HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: " + formType + "\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nPAPI_uri=old\r\n0\r\n\r\n", status: 400, errorType: parameter, message: "PAPI_uri"},
	}
	for _, c := range pushapi.Commands() {
		verb := "POST"
		if c.Reads() {
			verb = "GET"
		}
		stale := call("stale session: "+string(c), verb, "wiki/"+string(c)+"?PAPI_session=1&PAPI_uri=old&PAPI_rootPath=&PAPI_prefix=o&PAPI_checkpoint=9&PAPI_mode=RECURSIVE_DOCUMENTS&PAPI_serial=1&PAPI_recursive=true", pushapi.TypeSessionMismatch, "session")
		list = append(list, stale)
		inBody := call("stale session in the body: "+string(c), "POST", "wiki/"+string(c), pushapi.TypeSessionMismatch, "session")
		inBody.contentType, inBody.body = multipartType, multi("PAPI_session", "1", "PAPI_uri", "old", "PAPI_rootPath", "", "PAPI_prefix", "o", "PAPI_checkpoint", "9", "PAPI_recursive", "true")
		list = append(list, inBody)
	}
	for i := range list {
		if list[i].errorType == tooLarge {
			list[i].status = http.StatusRequestEntityTooLarge
		}
	}
	return list
}

func slicesRepeat(n int, pair ...string) []string {
	var list []string
	for range n {
		list = append(list, pair...)
	}
	return list
}

// TestBadInput sends everything that has to be refused. Each gets its status,
// an XML error and its type in a header, and changes nothing at all.
func TestBadInput(t *testing.T) {
	t.Parallel()
	h := openHub(t, t.TempDir(), false)
	store := &faultyStore{Store: service.PushAPIStore(h)}
	f := serve(t, h, pushapi.ServerOptions{Store: store, Connectors: []string{"wiki", "my+source"}, Limits: badLimits, BodyBytes: 4 << 20})
	f.must(t, "POST", "wiki/add_documents", multipartType, multi("PAPI_0:uri", "old", "PAPI_0:stamp", "1"))
	f.must(t, "POST", "wiki/set_checkpoint?PAPI_checkpoint=1&PAPI_sync=true", "", "")
	before := pushedState(t, f, "wiki")
	for _, b := range badInputs() {
		t.Run(b.name, func(t *testing.T) {
			raw, err := f.raw(t, b.request(), b.half)
			if err != nil {
				t.Fatalf("%v\n%s", err, raw)
			}
			response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			e := pushapi.ReadError(response.Body)
			if response.StatusCode != b.status || e.Type != b.errorType || e.Short == "" || !strings.Contains(e.Message, b.message) || e.Message == "" {
				t.Errorf("%d %s: %s: %s\nwant %d %s", response.StatusCode, e.Type, e.Short, e.Message, b.status, b.errorType)
			}
			if h := response.Header; h.Get("Content-Type") != pushapi.ContentTypeError || h.Get(pushapi.HeaderErrorType) != string(b.errorType) || h.Get("Cache-Control") != "no-cache" {
				t.Errorf("header %v", h)
			}
			if strings.Contains(b.name, "HTTP/1.0") && !response.Close {
				t.Error("the chunks would be read as the next request")
			}
			if diff := cmp.Diff(before, pushedState(t, f, "wiki")); diff != "" {
				t.Errorf("something was applied:\n%s", diff)
			}
			before = pushedState(t, f, "wiki")
			if store.begun.Load() != 0 || store.open.Load() != 0 {
				t.Errorf("%d writes and %d snapshots are left over", store.begun.Load(), store.open.Load())
			}
		})
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	hash, err := pushapi.HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	f := serve(t, openHub(t, t.TempDir(), false), pushapi.ServerOptions{Credentials: []pushapi.Credential{
		{Login: "reader", Hash: secretHash}, {Login: "ünï", Hash: hash},
	}})
	tests := []struct {
		name, login, password string
		status                int
	}{
		{"right", "reader", "secret", 200},
		{"right again", "reader", "secret", 200},
		{"wrong password", "reader", "Secret", 401},
		{"wrong password of the other", "reader", "correct horse", 401},
		{"empty password", "reader", "", 401},
		{"unknown login", "writer", "secret", 401},
		{"login and password shifted", "readers", "ecret", 401},
		{"UTF-8", "ünï", "correct horse", 200},
		{"much too long", "reader", strings.Repeat("x", 2000), 401},
	}
	for _, test := range tests {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url("wiki/add_documents"), strings.NewReader(multi("PAPI_0:uri", test.name)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", multipartType)
		r.SetBasicAuth(test.login, test.password)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		e := pushapi.ReadError(response.Body)
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		if response.StatusCode != test.status {
			t.Errorf("%s: %d %s", test.name, response.StatusCode, e.Message)
		}
		if test.status == 401 && (e.Type != pushapi.TypeUnauthorized || !strings.HasPrefix(response.Header.Get("WWW-Authenticate"), "Basic ")) {
			t.Errorf("%s: %v %v", test.name, e.Type, response.Header)
		}
		if _, there := pushedState(t, f, "wiki")["document "+test.name]; there != (test.status == 200) {
			t.Errorf("%s: document is there: %v", test.name, there)
		}
	}
	if status, _ := f.do(t, "GET", "wiki/ping", "", ""); status != 401 {
		t.Errorf("without login: %d", status)
	}
}

func TestOptionsOfTheServer(t *testing.T) {
	t.Parallel()
	store := service.PushAPIStore(openHub(t, t.TempDir(), false))
	bad := []struct {
		name string
		o    pushapi.ServerOptions
	}{
		{"no store", pushapi.ServerOptions{}},
		{"connector", pushapi.ServerOptions{Store: store, Connectors: []string{"a/b"}}},
		{"login", pushapi.ServerOptions{Store: store, Credentials: []pushapi.Credential{{Login: "a:b", Hash: secretHash}}}},
		{"login twice", pushapi.ServerOptions{Store: store, Credentials: []pushapi.Credential{{Login: "a", Hash: secretHash}, {Login: "a", Hash: secretHash}}}},
		{"plain password", pushapi.ServerOptions{Store: store, Credentials: []pushapi.Credential{{Login: "a", Hash: "secret"}}}},
		{"other hash", pushapi.ServerOptions{Store: store, Credentials: []pushapi.Credential{{Login: "a", Hash: "$md5$x"}}}},
		{"high cost", pushapi.ServerOptions{Store: store, Credentials: []pushapi.Credential{{Login: "a", Hash: strings.Replace(secretHash, "$04$", "$31$", 1)}}}},
		{"much memory", pushapi.ServerOptions{Store: store, Credentials: []pushapi.Credential{{Login: "a", Hash: "$argon2id$v=19$m=99999999,t=1,p=1$AAECAwQFBgcICQ$AAECAwQFBgcICQoLDA0ODw"}}}},
		{"old argon", pushapi.ServerOptions{Store: store, Credentials: []pushapi.Credential{{Login: "a", Hash: "$argon2id$v=16$m=64,t=1,p=1$AAECAwQFBgcICQ$AAECAwQFBgcICQoLDA0ODw"}}}},
		{"broken hash", pushapi.ServerOptions{Store: store, Credentials: []pushapi.Credential{{Login: "a", Hash: secretHash[:len(secretHash)-4]}}}},
		{"negative", pushapi.ServerOptions{Store: store, BodyBytes: -1}},
		{"negative limit", pushapi.ServerOptions{Store: store, Limits: pushapi.Limits{Fields: -1}}},
		{"negative requests", pushapi.ServerOptions{Store: store, Requests: -1}},
	}
	for _, test := range bad {
		if _, err := pushapi.NewServer(test.o); err == nil {
			t.Errorf("%s: accepted", test.name)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error gives away the password: %v", test.name, err)
		}
	}
	if _, err := pushapi.HashPassword(""); err == nil {
		t.Error("an empty password")
	}
}

// TestBodyTooLarge sends more than the server takes, and hears why.
func TestBodyTooLarge(t *testing.T) {
	t.Parallel()
	f := serve(t, openHub(t, t.TempDir(), false), pushapi.ServerOptions{BodyBytes: 1000})
	body := multi("PAPI_0:uri", "new", "PAPI_0:part_bytes:a", strings.Repeat("x", 4000))
	if status, text := f.do(t, "POST", "wiki/add_documents", multipartType, body); status != 413 || !strings.Contains(text, "TooLarge") {
		t.Errorf("%d %s", status, text)
	}
}

// TestRefusedUploadHearsWhy sends a large body with a stale session: the reply
// is not lost to a connection that the server closes too early.
func TestRefusedUploadHearsWhy(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	body := multi("PAPI_0:uri", "new", "PAPI_0:part_bytes:a", strings.Repeat("x", 32<<20))
	for range 3 {
		if status, text := f.do(t, "POST", "wiki/add_documents?PAPI_session=1", multipartType, body); status != 400 || !strings.Contains(text, "SessionMismatch") {
			t.Errorf("%d %s", status, text)
		}
		raw, err := f.raw(t, fmt.Sprintf("POST /papi/4/connectors/wiki/add_documents?PAPI_session=1 HTTP/1.0\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", multipartType, len(body), body), false)
		if err != nil || !strings.Contains(raw, "SessionMismatch") {
			t.Errorf("%v %.300s", err, raw)
		}
	}
}

// endless is a body of 2^31 parameters and more.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "PAPI_uri=a&"[(e.read+int64(i))%11]
	}
	if e.read += int64(len(p)); e.read > 1<<36 {
		return 0, errors.New("the server reads on and on")
	}
	return len(p), nil
}

func TestEndlessParameters(t *testing.T) {
	t.Parallel()
	f := serve(t, openHub(t, t.TempDir(), false), pushapi.ServerOptions{BodyBytes: 8 << 20})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url("wiki/delete_documents"), io.NopCloser(&endless{}))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", formType)
	response, err := http.DefaultClient.Do(r)
	if err != nil { // the server may hang up on a body that does not end
		return
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%d", response.StatusCode)
	}
}
