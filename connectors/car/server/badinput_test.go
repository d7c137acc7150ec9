package server_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/connectors/car/server"
)

// badInput is a request that has to be refused. For the page, long bodies are
// described.
type badInput struct {
	name         string
	method, path string
	body         string
	shown        string // of the body; the body itself if empty
	status       int
	code         string
}

const goodEnvelope = `{"source":{"_key":"s"},"report":{"_key":"1.5"}`

func badInputs() []badInput {
	post := func(name, body string, status int, code string) badInput {
		return badInput{name: name, method: "POST", path: "/v2/imports", body: body, status: status, code: code}
	}
	extend := func(name, body string, status int, code string) badInput {
		return badInput{name: name, method: "POST", path: "/v3/carSchema", body: body, status: status, code: code}
	}
	call := func(name, method, path, body string, status int, code string) badInput {
		return badInput{name: name, method: method, path: path, body: body, status: status, code: code}
	}
	shown := func(b badInput, text string) badInput {
		b.shown = text
		return b
	}
	const malformed = "data_mal_formed"
	extension := func(version, schema string) string {
		return `{"key":"u-1","owner":"o","version":` + version + `,"schema":` + schema + `}`
	}
	return []badInput{
		post("import that is not JSON", `{"source":`, 400, malformed),
		post("import that is empty", ``, 400, malformed),
		post("import that is no object", `[]`, 400, malformed),
		shown(post("import that is not UTF-8", "{\"source\":{\"_key\":\"\xff\"}}", 400, malformed), "a byte 0xff"),
		shown(post("import that nests too deep", goodEnvelope+`,"asset":[`+strings.Repeat(`{"a":`, 1<<20)+`1`+strings.Repeat(`}`, 1<<20)+`]}`, 400, malformed), "a million objects in one another"),
		shown(post("import that is too large", goodEnvelope+`,"asset":["`+strings.Repeat("x", 20<<20)+`"]}`, 413, "too_large"), "20 MB"),
		shown(post("import of too many rows", goodEnvelope+`,"asset":[`+strings.Repeat(`1,`, 100_000)+`1]}`, 413, "too_large"), "100,001 rows"),
		post("import without a source", `{"report":{"_key":"1.5"}}`, 400, malformed),
		post("import whose source has no key", `{"source":{},"report":{"_key":"1.5"}}`, 400, malformed),
		post("import whose source is a text", `{"source":"s","report":{"_key":"1.5"}}`, 400, malformed),
		post("import of a source with a slash", `{"source":{"_key":"a/b"},"report":{"_key":"1.5"}}`, 400, malformed),
		post("import of a source with a space", `{"source":{"_key":"a b"},"report":{"_key":"1.5"}}`, 400, malformed),
		post("import whose source says what is not its own", `{"source":{"_key":"s","gapless":{}},"report":{"_key":"1.5"}}`, 400, malformed),
		post("import without a report", `{"source":{"_key":"s"}}`, 400, malformed),
		post("import with two sources", `{"source":{"_key":"s"},"source":{"_key":"t"},"report":{"_key":"1.5"}}`, 400, malformed),
		post("import of a collection that is no array", goodEnvelope+`,"asset":{}}`, 400, malformed),
		post("import of a collection twice", goodEnvelope+`,"asset":[],"asset":[]}`, 400, malformed),
		call("imports by GET", "GET", "/v2/imports", "", 405, "method_not_allowed"),

		call("unknown job", "GET", "/v2/jobstatus/j0000000000000000000000000000", "", 404, "not_found"),
		call("job of another store", "GET", "/v2/jobstatus/1-00000000", "", 404, "not_found"),
		call("unknown jobs", "GET", "/v2/jobstatus?ids=x,y", "", 404, "not_found"),
		call("no jobs", "GET", "/v2/jobstatus", "", 400, malformed),
		call("unknown import alone", "GET", "/v2/importstatus/x", "", 404, "not_found"),
		call("no imports", "GET", "/v2/importstatus", "", 400, malformed),

		call("unknown source", "GET", "/v2/source/none", "", 404, "not_found"),
		call("source with a slash", "GET", "/v2/source/a%2Fb", "", 400, malformed),
		call("source that is not UTF-8", "GET", "/v2/source/%ff", "", 400, malformed),
		call("state of no source", "PATCH", "/v2/source", `{"model_state_id":"1"}`, 400, malformed),
		call("state of two sources", "PATCH", "/v2/source?key=s&key=t", `{"model_state_id":"1"}`, 400, malformed),
		call("state that is no text", "PATCH", "/v2/source?key=s", `{"model_state_id":1}`, 400, malformed),
		call("state that is not JSON", "PATCH", "/v2/source?key=s", `1 2`, 400, malformed),
		call("state twice", "PATCH", "/v2/source?key=s", `{"model_state_id":"1","model_state_id":"2"}`, 400, malformed),
		call("state of the service itself", "PATCH", "/v2/source?key=s", `{"gapless":{"generation":9}}`, 400, malformed),
		shown(call("state that is too large", "PATCH", "/v2/source?key=s", `{"model_state_id":"`+strings.Repeat("x", 4<<20)+`"}`, 400, malformed), "4 MiB"),
		call("deletion of an unknown source", "DELETE", "/v2/source/none", "", 404, "not_found"),
		call("approval of nothing", "POST", "/v2/source/s/full-import-in-progress/approve", `{"approve":"x"}`, 404, "not_found"),
		call("approval without an id", "POST", "/v2/source/s/full-import-in-progress/approve", `{}`, 400, malformed),

		call("deletion without ids", "DELETE", "/v2/source/s/asset", "", 400, malformed),
		call("deletion of ids that are no UTF-8", "DELETE", "/v2/source/s/asset?external_ids=1,%ff", "", 400, malformed),
		call("deletion by a broken escape", "DELETE", "/v2/source/s/asset?external_ids=1,%2", "", 400, malformed),
		call("deletion of an impossible collection", "DELETE", "/v2/source/s/a%2Fb?external_ids=1", "", 400, malformed),
		call("deletion of no collection", "DELETE", "/v2/source/s/", "", 404, "not_found"),
		call("deletion from the history", "DELETE", "/v2/source/s/asset@history?keys=1", "", 400, malformed),

		call("edge without ends", "PATCH", "/v2/asset_account?source=s", `{"active":false}`, 400, malformed),
		call("edge without a source", "PATCH", "/v2/asset_account?from=1&to=1", `{"active":false}`, 400, malformed),
		call("edge that gets other ends", "PATCH", "/v2/asset_account?source=s&from=1&to=1", `{"_to":"2"}`, 400, malformed),
		call("vertex without an id", "PATCH", "/v2/asset", `{"name":"x"}`, 400, malformed),
		call("vertex that gets another id", "PATCH", "/v2/asset?external_id=1", `{"external_id":"2"}`, 400, malformed),
		call("patch that is no object", "PATCH", "/v2/asset?external_id=1", `[]`, 400, malformed),
		call("search of an unknown collection", "GET", "/v2/site?name=x", "", 404, "not_found"),
		call("neighbours of an unknown vertex", "GET", "/v2/asset/none/graph?source=s", "", 404, "not_found"),
		call("neighbours of no source", "GET", "/v2/asset/1/graph", "", 400, malformed),

		call("unknown extension", "GET", "/v3/carSchema/none", "", 404, "not_found"),
		call("deletion of an unknown extension", "DELETE", "/v3/carSchema/none", "", 404, "not_found"),
		extend("extension that is older", extension(`"1"`, `{}`), 409, "conflict"),
		extend("extension of the same version that differs", extension(`"2"`, `{"vertices":[]}`), 409, "conflict"),
		extend("extension without a key", `{"owner":"o","version":"1","schema":{}}`, 400, malformed),
		extend("extension without a version", `{"key":"u-1","schema":{}}`, 400, malformed),
		extend("extension whose version is no integer", extension(`"1.5"`, `{}`), 400, malformed),
		extend("extension whose version is negative", extension(`"-1"`, `{}`), 400, malformed),
		extend("extension without a schema", `{"key":"u-1","version":"9"}`, 400, malformed),
		extend("extension whose schema is a number", extension(`"9"`, `1`), 400, malformed),
		extend("extension whose vertices are no list", extension(`"9"`, `{"vertices":{}}`), 400, malformed),
		extend("extension of an impossible vertex", extension(`"9"`, `{"vertices":[{"name":"a/b"}]}`), 400, malformed),
		extend("extension of a vertex whose name is taken", extension(`"9"`, `{"vertices":[{"name":"imports"}]}`), 400, malformed),
		extend("extension of an impossible edge", extension(`"9"`, `{"edges":[{"end1":"site"}]}`), 400, malformed),
		extend("extension of an unknown type", extension(`"9"`, `{"vertices":[{"name":"site","properties":{"a":{"type":"blob"}}}]}`), 400, malformed),
		extend("extension of a property without a name", extension(`"9"`, `{"vertices":[{"name":"site","properties":{"":{"type":"text"}}}]}`), 400, malformed),
		shown(extend("extension that is too large", extension(`"9"`, `{"vertices":[{"name":"`+strings.Repeat("x", 1<<20)+`"}]}`), 413, "too_large"), "1 MiB"),

		call("clearDb", "POST", "/v2/clearDb", "", 403, "not_offered"),
		call("resetPostgres", "DELETE", "/v2/resetPostgres", "", 403, "not_offered"),
		call("another retention", "PUT", "/v2/DataRetentionPolicy", `{"days":1}`, 501, "not_offered"),
		call("unknown path", "GET", "/v2/a/b/c/d", "", 404, "not_found"),
		call("unknown version", "GET", "/v4/databases", "", 404, "not_found"),
		call("unknown method", "PUT", "/v2/databases", "", 405, "method_not_allowed"),
		call("collection by POST", "POST", "/v2/asset", `{}`, 405, "method_not_allowed"),
		call("double slash", "GET", "/v2//databases", "", 404, "not_found"),
	}
}

// pageTable is where the page has the table of what is refused.
var pageTable = regexp.MustCompile(`(?s)(<!-- refused: begin -->\n).*(<!-- refused: end -->)`)

const page = "../../../docs/wire/car.md"

// TestBadInput sends everything that has to be refused. Each gets its status
// and a body that names the error and no import, and changes nothing. The
// table of docs/wire/car.md lists them.
func TestBadInput(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.must(t, "POST", "/v3/carSchema", `{"key":"u-1","owner":"o","version":"2","schema":{}}`)
	f.take(t, "s", `"asset":[{"external_id":"1"}],"asset_account":[{"_from":"1","_to":"1"}]`)
	f.must(t, "PATCH", "source?key=s", `{"model_state_id":"7"}`)
	before := f.stored(t, "s", func(string) bool { return true })
	table := "| case | request | status | code |\n|---|---|---|---|\n"
	for _, b := range badInputs() {
		status, text := f.do(t, b.method, b.path, b.body)
		var reply struct {
			Errors []struct{ Code, Message string }
			Trace  string
			ID     any
			JobID  any `json:"job_id"`
		}
		if err := json.Unmarshal([]byte(text), &reply); err != nil {
			t.Errorf("%s: %d, %v: %.200s", b.name, status, err, text)
			continue
		}
		if status != b.status || len(reply.Errors) != 1 || reply.Errors[0].Code != b.code || reply.Errors[0].Message == "" || reply.Trace == "" || reply.ID != nil || reply.JobID != nil {
			t.Errorf("%s: %d %.300s", b.name, status, text)
		}
		request := strings.TrimSpace(b.method + " " + b.path + " " + b.body)
		if b.shown != "" {
			request = b.method + " " + b.path
		}
		row := "`" + strings.ReplaceAll(request, "|", "\\|") + "`"
		if b.shown != "" {
			row += ", " + b.shown
		}
		table += fmt.Sprintf("| %s | %s | %d | `%s` |\n", b.name, row, b.status, b.code)
	}
	if diff := cmp.Diff(before, f.stored(t, "s", func(string) bool { return true })); diff != "" {
		t.Errorf("something has changed (-before +after):\n%s", diff)
	}
	comparePage(t, table)
}

// comparePage compares a table with that of the page, or writes it there.
func comparePage(t *testing.T, table string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	want := pageTable.ReplaceAllStringFunc(string(text), func(string) string {
		return "<!-- refused: begin -->\n" + table + "<!-- refused: end -->"
	})
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("the table of %s is another (-want +got); write it with -update:\n%s", page, diff)
	}
}

// TestUnknownImports: the original takes every import for complete that a
// reply does not blame, whatever its status.
func TestUnknownImports(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	good := f.post(t, "s", assets(0, 1))
	lost := "999999-" + strings.Split(good, "-")[1]
	ids := []string{"x", lost, "j0000000000000000000000000000", "-", "1-", "%zz", "ü"}
	reply := f.must(t, "GET", "importstatus?ids="+good+"%2C"+strings.Join([]string{"x", lost, "j0000000000000000000000000000", "-", "1-", "%25zz", "%C3%BC"}, "%2C"), "")
	if complete := reply["complete_imports"].([]any); len(complete) != 1 || complete[0].(map[string]any)["id"] != good {
		t.Errorf("%v", reply)
	}
	var blamed []string
	for _, e := range reply["error_imports"].([]any) {
		entry := e.(map[string]any)
		blamed = append(blamed, entry["id"].(string))
		if entry["statusCode"] != 500.0 || entry["error"] == "" {
			t.Errorf("%v", entry)
		}
	}
	if diff := cmp.Diff(ids, blamed); diff != "" {
		t.Error(diff)
	}
}

// TestRefusedQuestions: also a reply that is an error blames the imports.
func TestRefusedQuestions(t *testing.T) {
	t.Parallel()
	f := serve(t, openHub(t, t.TempDir()), server.Options{Admit: func(r *http.Request) bool { return r.Header.Get("Authorization") != "" }})
	status, text := f.do(t, "GET", "importstatus?ids=a%2Cb", "")
	for _, want := range []string{`"complete_imports":[]`, `{"id":"a",`, `{"id":"b",`, `"statusCode":401`} {
		if status != 401 || !strings.Contains(text, want) {
			t.Errorf("%d %s has no %s", status, text, want)
		}
	}
}

// TestLargeBodiesAreAnswered: a client that sends all of a body that is too
// large, and slowly, before it reads still hears why.
func TestLargeBodiesAreAnswered(t *testing.T) {
	t.Parallel()
	f := serve(t, openHub(t, t.TempDir()), server.Options{BodyBytes: 1000})
	const size = 16 << 20 // more than the system keeps for either side
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := fmt.Sprintf("POST /api/car/v2/imports HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
	if _, err := conn.Write(append([]byte(head), make([]byte, size-1)...)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil { // a server that hangs up has done so by then
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("answered before the body was there: %v", err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = reply.Body.Close()
	if reply.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%s", reply.Status)
	}
}
