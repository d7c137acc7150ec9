package server_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/connectors/sahana/server"
)

// badInput is a request that has to be refused. For the page, long bodies are
// described.
type badInput struct {
	name         string
	method, path string
	body         string
	shown        string // of the body; the body itself if empty
	status       int    // of HTTP
	code         int    // of the envelope; 0 for plain text
	message      string
}

func badInputs() []badInput {
	const register, push, rest = "sync/repository/register.json", "sync/sync.xml?resource=org_organisation&repository=" + peer, "org/organisation.xml"
	call := func(name, method, path, body string, status int, message string) badInput {
		return badInput{name: name, method: method, path: path, body: body, status: status, code: status, message: message}
	}
	parse := func(name, body, message string) badInput { return call(name, "POST", push, body, 400, message) }
	shown := func(b badInput, text string) badInput {
		b.shown = text
		return b
	}
	quiet := func(b badInput, code int) badInput {
		b.code = code
		return b
	}
	good := organisation("new", "New", "2026-10-01T00:00:00")
	bomb := `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><s3xml>` + organisation("new", "&b;", "") + `</s3xml>`
	return []badInput{
		call("registration that is no JSON", "POST", register, `uuid=1`, 400, "Invalid parameters"),
		call("registration of a long uuid", "POST", register, `{"uuid": "`+strings.Repeat("x", 129)+`"}`, 400, "Invalid parameters"),
		quiet(call("registration without a uuid", "POST", register, `{"name": "x"}`, 200, "No repository identifier specified"), 400),
		call("registration by GET", "GET", register, "", 405, "Unsupported method!"),
		call("registration in XML", "POST", "sync/repository/register.xml", "<x/>", 415, "Unsupported data format!"),

		parse("empty body", ``, "XML Parse error: the body is empty"),
		parse("HTML", `<html><head><title>Log in</title></head></html>`, "XML Parse error: HTML instead of S3XML"),
		parse("JSON where XML is expected", `{"$_org_organisation":[]}`, "XML Parse error: JSON instead"),
		parse("other XML", `<rss/>`, "XML Parse error: XML instead"),
		parse("XML that breaks off behind a record", `<s3xml>`+good, "XML Parse error: malformed"),
		parse("XML whose tags do not match", `<s3xml>`+good+`<resource name="org_organisation"></s3xml>`, "XML Parse error: malformed"),
		shown(parse("entities", bomb, "XML Parse error: malformed S3XML at byte"), "a document type with entities in one another"),
		shown(call("nesting too deep", "POST", push, document(good, strings.Repeat(`<resource name="a_b">`, 40), strings.Repeat(`</resource>`, 40)), 413, "Parse error: more than 32 levels"), "40 elements in one another"),
		shown(call("body too large", "POST", push, document(good, strings.Repeat(" ", 4<<20)), 413, "the body has more than"), "4 MiB, where 2 are allowed"),
		call("S3JSON that is broken", "POST", "org/organisation.s3json", `{"$_org_organisation":[{"@uuid":"new","name":"New"},`, 400, "JSON Parse error"),
		call("form without a document", "POST", rest, "", 400, "XML Parse error: the body is empty"),

		call("push of nobody", "POST", "sync/sync.xml?resource=org_organisation", document(good), 403, "Registration required"),
		call("push of an unknown repository", "POST", "sync/sync.xml?resource=org_organisation&repository=unknown", document(good), 403, "Registration required"),
		quiet(call("push of all tables", "POST", "sync/sync.xml?resource=mixed&repository="+peer, document(good), 200, "Mixed resource synchronization not supported"), 400),
		quiet(call("pull of no table", "GET", "sync/sync.xml?repository="+peer, "", 200, "Mixed resource synchronization not supported"), 400),
		quiet(call("table without a prefix", "GET", "sync/sync.xml?resource=organisation", "", 400, "Invalid request"), 0),
		call("table with a name that no table has", "GET", "sync/sync.xml?resource=org_%2E%2E", "", 400, "there is no table"),
		call("table of the server's own", "GET", "sync/sync.xml?resource=sync_cursor", "", 400, "there is no table"),
		call("push to the log", "POST", "sync/sync.xml?resource=sync_log&repository="+peer, document(good), 403, "sync_log is kept by the server"),
		call("import into the log", "POST", "sync/log.xml", document(good), 403, "sync_log is kept by the server"),
		call("deletion of all pushes", "DELETE", "sync/sync.xml?resource=org_organisation", "", 405, "Unsupported method!"),

		call("deletion of a table", "DELETE", rest, "", 400, "a deletion has to name records"),
		call("deletion by another field", "DELETE", rest+"?~.name=First", "", 400, "a deletion has to name records"),
		call("deletion of an unknown record", "DELETE", rest+"?~.uuid=none", "", 404, "there is no such org_organisation"),
		call("unknown record", "GET", "org/organisation/99.xml", "", 404, "there is no org_organisation"),
		call("import of one record that is not in it", "PUT", "org/organisation/none.xml", document(good), 400, "No matching element found in the data source"),
		call("document to be fetched by the server", "POST", rest+"?fetchurl=http://127.0.0.1/x.xml", "", 400, "fetchurl is not offered"),
		call("document in a file of the server", "GET", rest+"?filename=/etc/passwd", "", 400, "filename is not offered"),
		call("unknown notation", "GET", "org/organisation.pfif", "", 415, "Unsupported data format!"),
		call("another method", "PATCH", rest, "", 405, "Unsupported method!"),
		call("beyond the base", "GET", "x", "", 404, "there is nothing"),
		call("a query that cannot be read", "GET", rest+"?~.name=%zz", "", 400, "the query cannot be read"),
		call("filter through nothing", "GET", rest+"?~.region_id$=North", "", 400, "it is not possible here to filter by"),
		call("filter with an unknown operator", "GET", rest+"?~.name__sounds=x", "", 400, "the operator"),
		call("filter by a time that is none", "GET", rest+"?~.modified_on__ge=yesterday", "", 400, "is no value for the filter"),
		call("filter without a bracket", "GET", "sync/sync.xml?resource=org_organisation&[org_office~.name=x", "", 400, "has no closing bracket"),
		call("order by a component", "GET", rest+"?orderby=office.name", "", 400, "it is not possible here to order by"),

		quiet(call("a record without a readable time", "POST", rest, document(good, organisation("bad", "Bad", "soon")), 200, "Validation error"), 400),
		quiet(call("a record with a field twice", "POST", rest, document(good, organisation("bad", "Bad", "", `<data field="name">Again</data>`)), 200, "Validation error"), 400),
		quiet(call("a uuid with a line break", "POST", rest, document(good, organisation("b&#10;ad", "Bad", "")), 200, "Validation error"), 400),
		quiet(shown(call("a uuid that is too long", "POST", rest, document(good, organisation(strings.Repeat("x", 5000), "Bad", "")), 200, "Validation error"), "a uuid of 5,000 characters"), 400),
	}
}

const page = "../../../docs/wire/sahana.md"

var pageTable = regexp.MustCompile(`(?s)(<!-- refused: begin -->\n).*(<!-- refused: end -->)`)

// TestBadInput sends everything that has to be refused. Each gets its status
// and an envelope that says the same, and changes nothing. The table of
// docs/wire/sahana.md lists them.
func TestBadInput(t *testing.T) {
	t.Parallel()
	f := serve(t, openHub(t, t.TempDir()), server.Options{BodyBytes: 2 << 20})
	f.register(t, peer)
	f.send(t, "org/organisation.xml", document(organisation("first", "First", "2026-10-01T00:00:00")))
	before := f.state(t)
	table := "| case | request | HTTP | envelope | message |\n|---|---|---|---|---|\n"
	for _, b := range badInputs() {
		status, text := f.do(t, b.method, b.path, b.body)
		code, message := "-", strings.TrimSpace(text)
		if b.code != 0 {
			e, err := s3.ReadEnvelope(strings.NewReader(text), s3.Limits{})
			if err != nil || e.OK() || e.StatusCode != b.code {
				t.Errorf("%s: %d %.300s (%v)", b.name, status, text, err)
			}
			code, message = fmt.Sprint(b.code), e.Message
		}
		if status != b.status || !strings.Contains(message, b.message) {
			t.Errorf("%s: %d %.300s, want %d %s", b.name, status, text, b.status, b.message)
		}
		row := "`" + strings.NewReplacer("|", "\\|", peer, "UUID", strings.Repeat("x", 129), "x...").Replace(strings.TrimSpace(b.method+" /"+b.path)) + "`"
		if b.shown != "" {
			row += ", " + b.shown
		} else if b.body != "" {
			row += " `" + strings.NewReplacer("|", "\\|", strings.Repeat("x", 129), "x...").Replace(b.body) + "`"
		}
		table += fmt.Sprintf("| %s | %s | %d | %s | %s |\n", b.name, row, b.status, code, b.message)
	}
	if diff := cmp.Diff(before, f.state(t)); diff != "" {
		t.Errorf("something has changed (-before +after):\n%s", diff)
	}
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
	} else if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("the table of %s is another (-want +got); write it with -update:\n%s", page, diff)
	}
}

// TestAdmission holds the server to whom it lets in.
func TestAdmission(t *testing.T) {
	t.Parallel()
	admit := func(r *http.Request) bool {
		user, password, ok := r.BasicAuth()
		return ok && user == "eden@example.org" && password == "secret"
	}
	for _, anonymous := range []bool{false, true} {
		f := serve(t, openHub(t, t.TempDir()), server.Options{Admit: admit, Anonymous: anonymous})
		for _, test := range []struct {
			name, method, password string
			status                 int
		}{
			{"nobody reads", "GET", "", 401},
			{"nobody writes", "POST", "", 401},
			{"nobody deletes", "DELETE", "", 401},
			{"wrong password", "GET", "wrong", 401},
			{"reads", "GET", "secret", 200},
			{"writes", "PUT", "secret", 200},
		} {
			if anonymous && test.name == "nobody reads" {
				test.status = 200
			}
			r, err := http.NewRequestWithContext(t.Context(), test.method, f.address+"org/organisation.xml", strings.NewReader(document()))
			if err != nil {
				t.Fatal(err)
			}
			if test.password != "" {
				r.SetBasicAuth("eden@example.org", test.password)
			}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := response.Body.Close(); err != nil {
				t.Fatal(err)
			}
			if test.password == "" && anonymous && test.method == "GET" {
				if status, _ := f.do(t, "GET", "sync/conflict.xml", ""); status != http.StatusUnauthorized {
					t.Errorf("anybody reads conflicts: %d", status)
				}
			}
			if response.StatusCode != test.status || test.status == 401 && response.Header.Get("WWW-Authenticate") != `Basic realm="eden"` {
				t.Errorf("anonymous %v, %s: %d %v", anonymous, test.name, response.StatusCode, response.Header)
			}
		}
	}
}
