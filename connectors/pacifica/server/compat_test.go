package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pacifica/server"
	"github.com/gapless-sync/gapless/transfer"
)

// asked is one request, what the original answers, and what is answered here.
type asked struct {
	request  string // for the page
	original string
	method   string
	path     string
	body     string
	headers  []string
	status   int
	has      string // in the body, or in the message of a HEAD
	remark   string // for the page
}

func requests() []asked {
	good := body(wants("a", "A"))
	without := func(key string) string {
		return strings.Replace(good, `"`+key+`":`, `"other":`, 1)
	}
	return []asked{
		{"`GET /`", "200, `Pacifica Cartd Interface Up and Running`", "GET", "", "", nil, 200, `{"message":"Pacifica Cartd Interface Up and Running","carts":[`, "the same, and the carts of whoever asks"},
		{"`HEAD /`", "500", "HEAD", "", "", nil, 200, "", ""},
		{"`PUT /UID`", "405", "PUT", "ready", "", nil, 405, "Specified method is invalid", ""},
		{"`OPTIONS /UID`", "405", "OPTIONS", "ready", "", nil, 405, "Specified method is invalid", ""},
		{"`GET /A/B`", "404", "GET", "ready/b", "", nil, 404, "Nothing matches the given URI", "but `/UID/status`"},
		{"`GET /UID/status`", "404", "GET", "ready/status", "", nil, 200, `"uid":"ready","status":"ready"`, "an addition"},
		{"`POST /UID`", "201", "POST", "new", good, nil, 201, `{"message":"Cart Processing has begun"}`, "once the cart is durable"},
		{"`POST //UID`", "201", "POST", "/new", good, nil, 201, "Cart Processing has begun", ""},
		{"`POST` of a name that is no UUID", "201", "POST", "any%20n%C3%A4me", good, nil, 201, "Cart Processing has begun", "at most 255 bytes of UTF-8"},
		{"`POST` that is not JSON by its type", "415", "POST", "new", good, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "Expected an entity of content type application/json, text/javascript", ""},
		{"`POST` of JSON that is none", "400", "POST", "new", `{"fileids": [`, nil, 400, "Invalid JSON document", ""},
		{"`POST` with something behind the JSON", "400", "POST", "new", good + "x", nil, 400, "Invalid JSON document", ""},
		{"`POST` without `fileids`", "500", "POST", "new", `{}`, nil, 400, "fileids is missing", ""},
		{"`POST`, `fileids` no array", "500", "POST", "new", `{"fileids": {}}`, nil, 400, "fileids is no array", ""},
		{"`POST`, a file without `id`", "500", "POST", "new", without("id"), nil, 400, "file 1: id is missing", ""},
		{"`POST`, a file without `path`", "500", "POST", "new", without("path"), nil, 400, "file 1: path is missing", ""},
		{"`POST`, a file without `hashtype`", "500", "POST", "new", without("hashtype"), nil, 400, "file 1: hashtype is missing", ""},
		{"`POST`, a file without `hashsum`", "500", "POST", "new", without("hashsum"), nil, 400, "file 1: hashsum is missing", ""},
		{"`POST`, `id` false", "500", "POST", "new", strings.Replace(good, `"id":"a"`, `"id":false`, 1), nil, 400, "id is neither an integer nor a string", ""},
		{"`POST`, `path` a number", "500", "POST", "new", strings.Replace(good, `"path":"a"`, `"path":1`, 1), nil, 400, "path is a number", ""},
		{"`POST` of too many bytes", "413 beyond 100 MB", "POST", "new", strings.Repeat(" ", 100_001), nil, 413, "the order has more than 100000 bytes", "`max_body`"},
		{"`POST` of too many files", "201", "POST", "new", body(many(11)...), nil, 413, "the cart has more than 10 files", "`max_files`"},
		{"`POST /`", "404", "POST", "", good, nil, 404, "Missing parameters: uid", ""},
		{"`HEAD` of a cart being staged", "204 `staging`", "HEAD", "staging", "", nil, 204, "", ""},
		{"`HEAD` of a cart that is ready", "204 `ready`", "HEAD", "ready", "", nil, 204, "", ""},
		{"`HEAD` of a cart that failed", "500 `error`", "HEAD", "failed", "", nil, 500, "file none (z): there is no such file", ""},
		{"`HEAD` of an unknown cart", "404 `error`", "HEAD", "unknown", "", nil, 404, "No cart with uid unknown found", ""},
		{"`HEAD` with a query", "404 without the two headers", "HEAD", "ready?x=y", "", nil, 204, "", "as without"},
		{"`GET` of a cart being staged", "202", "GET", "staging", "", nil, 202, "The cart is not ready for download.", "`text/plain`"},
		{"`GET` of a cart that failed", "202", "GET", "failed", "", nil, 202, "The cart is not ready for download.", "`text/plain`"},
		{"`GET` of a cart that is ready", "200 without length; `Range` is passed over", "GET", "ready?filename=x", "", nil, 200, "x/a", "`Content-Length`, `ETag`, ranges"},
		{"`GET` of a range", "200, or 206 of a bundle", "GET", "ready?filename=x", "", []string{"Range", "bytes=0-9"}, 206, "x/a", "by `If-Range`, 416 beyond the end"},
		{"`GET` of several ranges", "200, or 206 in parts of a bundle", "GET", "ready?filename=x", "", []string{"Range", "bytes=0-9,20-29"}, 200, "x/a", "all"},
		{"`GET` of a bundle", "200, the folder is the cart's name", "GET", "bundle?filename=x", "", nil, 200, "bundle/a", ""},
		{"`GET` of an unknown cart", "404", "GET", "unknown", "", nil, 404, "The cart does not exist or has already been deleted", ""},
		{"`GET` without `filename`", "200, the folder is `data_` and the time of the request", "GET", "ready", "", nil, 200, "data_2026_11_01_12_00_00/a", "the time of the order, UTC, so that the archive stays the same"},
		{"`GET` with other parameters", "passed over", "GET", "ready?x=y&filename=z", "", nil, 200, "z/a", ""},
		{"`GET` with two `filename`", "200, and nothing follows", "GET", "ready?filename=x&filename=y", "", nil, 400, "more than one filename", ""},
		{"`GET` with `filename=../../up`", "members begin with `../../up`", "GET", "ready?filename=../../up", "", nil, 400, "filename cannot be a folder", ""},
		{"`DELETE /UID`", "200", "DELETE", "new", "", nil, 200, `{"message":"Cart Deleted Successfully"}`, ""},
		{"`DELETE` of it again", "404", "DELETE", "new", "", nil, 404, "The cart does not exist or has already been deleted", ""},
	}
}

func many(n int) (files []ordered) {
	for i := range n {
		files = append(files, wants(fmt.Sprint(i), "A"))
	}
	return files
}

// stuck is a folder where one file takes for ever.
type stuck struct{ server.Files }

func (s stuck) Open(ctx context.Context, wanted transfer.File) (server.Content, error) {
	if wanted.Origin == "stuck" {
		<-ctx.Done()
		return server.Content{}, context.Cause(ctx)
	}
	if wanted.Origin == "down" {
		return server.Content{}, gapless.Recoverable(errors.New("no answer"))
	}
	return s.Files.Open(ctx, wanted)
}

func compatible(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	folder, err := server.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = folder.Close() })
	f := serve(t, server.Options{Files: stuck{folder}, Limits: server.Limits{BodyBytes: 100_000, Files: 10}})
	f.root = dir
	f.write(t, "a", "A")
	f.write(t, "dir/b", "B")
	f.write(t, archived(1100), "A")
	return f
}

const page = "../../../docs/wire/pacifica-server.md"

// TestRequests asks everything that the original knows an answer to. The table
// of docs/wire/pacifica-server.md lists it.
func TestRequests(t *testing.T) {
	t.Parallel()
	f := compatible(t)
	f.ready(t, "ready", wants("a", "A"))
	f.order(t, "staging", ordered{"stuck", "a", "md5", "d41d8cd98f00b204e9800998ecf8427e"})
	f.order(t, "failed", ordered{"none", "z", "md5", "d41d8cd98f00b204e9800998ecf8427e"})
	if r, text := f.do(t, "POST", "bundle", strings.Replace(body(wants("a", "A")), "{", `{"bundle": true, `, 1)); r.StatusCode != http.StatusCreated {
		t.Fatal(text)
	}
	f.settled(t, "bundle")
	f.settled(t, "failed")
	table := "| request | the original | here | |\n|---|---|---|---|\n"
	for _, a := range requests() {
		r, text := f.do(t, a.method, a.path, a.body, a.headers...)
		here := fmt.Sprint(r.StatusCode)
		if a.method == http.MethodHead && a.path != "" {
			values, found := r.Header["X-Pacifica-Message"]
			if !found || r.Header.Get("X-Pacifica-Status") == "" {
				t.Errorf("%s lacks a header: %v", a.request, r.Header)
			}
			text = values[0]
			here += " `" + r.Header.Get("X-Pacifica-Status") + "`"
		}
		if r.StatusCode != a.status || !strings.Contains(text, a.has) {
			t.Errorf("%s: %s %.300s", a.request, r.Status, text)
		}
		table += fmt.Sprintf("| %s | %s | %s | %s |\n", a.request, a.original, here, a.remark)
	}
	onPage(t, "requests", table)
}

// cartOf is a cart that the original does something of its own with.
type cartOf struct {
	what     string
	original string
	files    string // of fileids
	status   int    // of the POST
	then     string // of the HEAD
	has      string // in the message
	members  string // of the archive
}

func cartsOf() []cartOf {
	const a, b = `"hashtype":"sha1","hashsum":"{A}"`, `"hashtype":"sha1","hashsum":"{B}"`
	at := func(path string) string { return `{"id":"a","path":"` + path + `",` + a + `}` }
	refused := func(what, original, files, has string) cartOf { return cartOf{what, original, files, 400, "", has, ""} }
	return []cartOf{
		{"number as id", "`ready`", `{"id":1100,"path":"x",` + a + `}`, 201, "ready", "", "x"},
		{"number in a text as id", "`ready`", `{"id":"1100","path":"x",` + a + `}`, 201, "ready", "", "x"},
		{"other keys", "`ready`", `{"id":"a","path":"x","size":9,"mimetype":null,` + a + `}`, 201, "ready", "", "x"},
		{"one id under two paths", "`ready`", at("x") + "," + at("y"), 201, "ready", "", "x y"},
		{"a path with a slash in front, two in it", "`ready`, one slash", at("/x//y"), 201, "ready", "", "x/y"},
		{"path `//tmp/x`", "`ready`, written outside of the volume", at("//tmp/x"), 201, "ready", "", "tmp/x"},
		{"path `../../../x`", "`ready`, written outside of the volume", at("../../../x"), 400, "", "has an empty, a . or a .. element", ""},
		{"wrong hash", "500 `error` after 4 s", `{"id":"a","path":"x",` + b + `}`, 201, "error", "File hash does not match provided hash", ""},
		{"wrong hash of one of two", "500 `error`", at("x") + `,{"id":"a","path":"y",` + b + `}`, 201, "error", "File hash does not match provided hash", ""},
		{"hash in capitals", "500 `error`", `{"id":"a","path":"x","hashtype":"SHA1","hashsum":"{CAPITALS}"}`, 201, "ready", "", "x"},
		refused("empty hash", "500 `error`", `{"id":"a","path":"x","hashtype":"sha1","hashsum":""}`, "is no sha1"),
		refused("no hash at all", "500 `error`", `{"id":"a","path":"x","hashtype":"","hashsum":""}`, "only files with a hash can be verified"),
		refused("algorithm `crc99`", "500 `error`", `{"id":"a","path":"x","hashtype":"crc99","hashsum":"00"}`, "unknown hash algorithm"),
		refused("algorithm `shake_128`", "never ends", `{"id":"a","path":"x","hashtype":"shake_128","hashsum":"00"}`, "unknown hash algorithm"),
		{"id of no file", "500 `error`, with a traceback", `{"id":99,"path":"x",` + a + `}`, 201, "error", "file 99 (x): there is no such file", ""},
		{"id that leads out of the folder", "not tried", `{"id":"../a","path":"x",` + a + `}`, 201, "error", "there is no such file", ""},
		{"files that cannot be reached", "500 `error` at once", `{"id":"down","path":"x",` + a + `}`, 201, "error", "the server cannot work at the moment", ""},
		refused("no files", "`staging` for ever", ``, "there is nothing to put into the cart"),
		{"id with a slash", "`staging` for ever", `{"id":"dir/b","path":"x",` + b + `}`, 201, "ready", "", "x"},
		refused("path empty", "`staging` for ever", at(""), "a path is empty"),
		refused("path `/`", "`staging` for ever", at("/"), "a path is empty"),
		refused("path `dir/`", "`staging` for ever", at("dir/"), "has an empty, a . or a .. element"),
		refused("path with a NUL", "`staging` for ever", at(`x\u0000`), "cannot be a name"),
		refused("path `p` and path `p/q`", "`staging` for ever", at("p/q")+","+at("p-q")+","+at("p"), `"p" cannot be a file and the folder of "p/q"`),
		{"path of more than 255 characters", "`staging` for ever", at(strings.Repeat("0123456789/", 25) + "x"), 201, "ready", "", strings.Repeat("0123456789/", 25) + "x"},
		refused("name of more than 255 characters", "`staging` for ever", at(strings.Repeat("x", 256)), "an element of more than 255 bytes"),
		refused("two ids, one path", "`ready`, one of the two", at("x")+`,{"id":"dir/b","path":"x",`+b+`}`, `two different files have the path "x"`),
		{"one file twice", "`ready`", at("x") + "," + at("x"), 201, "ready", "", "x"},
	}
}

// TestCarts orders what the original does something of its own with. The table
// of docs/wire/pacifica-server.md lists it.
func TestCarts(t *testing.T) {
	t.Parallel()
	f := compatible(t)
	table := "| a cart with | the original | here |\n|---|---|---|\n"
	fill := strings.NewReplacer("{A}", sha1Of("A"), "{B}", sha1Of("B"), "{CAPITALS}", strings.ToUpper(sha1Of("A")))
	for i, c := range cartsOf() {
		uid := fmt.Sprint(i)
		r, text := f.do(t, "POST", uid, `{"fileids":[`+fill.Replace(c.files)+`]}`)
		here := fmt.Sprint(r.StatusCode)
		if c.then != "" {
			here, text = f.settled(t, uid)
		}
		if r.StatusCode != c.status || c.then != "" && here != c.then || !strings.Contains(text, strings.ReplaceAll(c.has, `"`, `\"`)) && !strings.Contains(text, c.has) {
			t.Errorf("%s: %s %s %.300s", c.what, r.Status, here, text)
		}
		if c.then == "ready" {
			_, archive := f.do(t, "GET", uid+"?filename=", "")
			names, _, err := untar(strings.NewReader(archive))
			if err != nil || strings.Join(names, " ") != c.members {
				t.Errorf("%s: %q %v", c.what, names, err)
			}
		}
		if len(c.members) > 40 {
			c.members = "..."
		}
		shown := map[string]string{"ready": "`ready`, with `" + c.members + "`", "error": "500 `error`: "}[here]
		if c.has != "" && here != "error" {
			shown = here + ": "
		}
		table += fmt.Sprintf("| %s | %s | %s%s |\n", c.what, c.original, shown, c.has)
	}
	onPage(t, "carts", table)
}

// pageLock is held while the page is read and written.
var pageLock sync.Mutex

// onPage compares a table with that of the page.
func onPage(t *testing.T, name, table string) {
	t.Helper()
	pageLock.Lock()
	defer pageLock.Unlock()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	marked := regexp.MustCompile(`(?s)(<!-- ` + name + `: begin -->\n).*(<!-- ` + name + `: end -->)`)
	parts := marked.FindSubmatchIndex(text)
	if parts == nil {
		t.Fatalf("%s has no table of %s", page, name)
	}
	want := string(text[:parts[3]]) + table + string(text[parts[4]:])
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil { //nolint:gosec // it is a page of the documents
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("run the test with -update; %s (-want +got):\n%s", page, diff)
	}
}
