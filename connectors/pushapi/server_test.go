package pushapi_test

import (
	"bytes"
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

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/hub"
)

// entries asks for an enumeration and returns its lines.
func (f *fixture) entries(t testing.TB, connector, query string) []string {
	t.Helper()
	text := f.must(t, "GET", connector+"/enumerate_synced_entries?"+query, "", "")
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func (f *fixture) add(t testing.TB, connector string, pairs ...string) {
	t.Helper()
	f.must(t, "POST", connector+"/add_documents", multipartType, multi(pairs...))
}

func TestDocumentsLandInTheHub(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	binary := string(bytes.Repeat([]byte("\x00\xff\r\n--b"), 100_000))
	f.add(t, "wiki",
		"PAPI_x:meta:tag", "b", "PAPI_x:meta:title", `a "title" \ `+"\u2028\x01\n", "PAPI_x:meta:tag", "a", "PAPI_y:meta:$odd", "1",
		"PAPI_x:part_directive:notes:encoding", "iso-8859-1", "PAPI_x:part_directive:notes:mimeHint", "text/plain", "PAPI_x:part_directive:notes:filename", "n.txt",
		"PAPI_x:part_bytes:notes", "text", "PAPI_x:directive:lang", "en", "PAPI_x:directive:lang", "de", "PAPI_x:forcedDid", "7", "PAPI_x:public_url", "u",
		"PAPI_x:uri", "a b/ü", "PAPI_x:stamp", " rev 7 ", "PAPI_y:uri", "y", "PAPI_y:part_bytes:master", binary, "PAPI_x:part_bytes:empty", "",
	)
	f.must(t, "POST", "wiki/sync", "", "")
	x, err := f.hub.Get(t.Context(), "wiki", "document", "a b/ü")
	if err != nil {
		t.Fatal(err)
	}
	wantData := `{"tag":["b","a"],"title":"a \"title\" \\ ` + "\u2028" + `\u0001\u000a","$directive:lang":["en","de"],"$directive:forcedDid":"7","$directive:public_url":"u",` +
		`"$part:notes":{"encoding":"iso-8859-1","mimeHint":"text/plain","filename":"n.txt"},"$part:empty":{}}`
	if x.Version != " rev 7 " || string(x.Data) != wantData {
		t.Errorf("version %q, data %s\nwant %s", x.Version, x.Data, wantData)
	}
	if got := partsOf(t, x); !cmp.Equal(got, map[string]string{"notes text/plain; charset=iso-8859-1; name=n.txt": "text", "empty ": ""}) {
		t.Errorf("parts %q", got)
	}
	y, err := f.hub.Get(t.Context(), "wiki", "document", "y")
	if err != nil {
		t.Fatal(err)
	}
	if got := partsOf(t, y); got["master "] != binary || string(y.Data) != `{"$$odd":"1","$part:master":{}}` {
		t.Errorf("%d bytes, data %s", len(got["master "]), y.Data)
	}
}

func partsOf(t testing.TB, r gapless.Record) map[string]string {
	t.Helper()
	parts := map[string]string{}
	for _, p := range r.Parts {
		content, err := p.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(content)
		if err = errors.Join(err, content.Close()); err != nil {
			t.Fatal(err)
		}
		parts[p.Name+" "+p.Type] = string(text)
	}
	return parts
}

func TestUpdateMergesByName(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.add(t, "wiki", "PAPI_0:uri", "a", "PAPI_0:stamp", "1", "PAPI_0:meta:keep", "k", "PAPI_0:meta:tag", "x", "PAPI_0:meta:tag", "y",
		"PAPI_0:part_directive:one:mimeHint", "text/plain", "PAPI_0:part_directive:one:filename", "f", "PAPI_0:part_bytes:one", "1", "PAPI_0:part_bytes:two", "2")
	f.must(t, "POST", "wiki/update_documents", multipartType, multi("PAPI_0:uri", "a", "PAPI_0:meta:tag", "z", "PAPI_0:meta:new", "n",
		"PAPI_0:directive:field", "tag", "PAPI_0:part_directive:one:mimeHint", "text/html", "PAPI_0:part_bytes:one", "11"))
	f.must(t, "POST", "wiki/sync", "", "")
	a, err := f.hub.Get(t.Context(), "wiki", "document", "a")
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"keep":"k","tag":"z","$part:one":{"mimeHint":"text/html"},"$part:two":{},"new":"n"}`; string(a.Data) != want || a.Version != "1" {
		t.Errorf("version %q, data %s, want %s", a.Version, a.Data, want)
	}
	if got := partsOf(t, a); !cmp.Equal(got, map[string]string{"one text/html": "11", "two ": "2"}) {
		t.Errorf("parts %q", got)
	}
	f.add(t, "wiki", "PAPI_0:uri", "a")
	f.must(t, "POST", "wiki/sync", "", "")
	if a, err = f.hub.Get(t.Context(), "wiki", "document", "a"); err != nil || string(a.Data) != "{}" || len(a.Parts) != 0 || a.Version != "" {
		t.Errorf("an add replaces everything, not %s %v %v", a.Data, a.Parts, err)
	}
}

func TestStatesSeeWhatTheyShould(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	get := func(rest string) string { return f.must(t, "GET", "wiki/"+rest, "", "") }
	f.add(t, "wiki", "PAPI_0:uri", "a", "PAPI_0:stamp", "1")
	f.must(t, "POST", "wiki/set_checkpoint?PAPI_checkpoint=1", "", "")
	look := func() [7]string {
		return [7]string{
			get("get_documents_status?PAPI_uri=a"), get(enumerateAll), get("count_synced_entries?PAPI_rootPath=&PAPI_mode=RECURSIVE_DOCUMENTS"),
			get("get_checkpoint"), get("get_checkpoint_info"), get("get_checkpoint_info?PAPI_showSynchronizedOnly=false"),
			get("enumerate_stated_checkpoints_info?PAPI_showSynchronizedOnly=false"),
		}
	}
	if diff := cmp.Diff([7]string{"D a 1\n", "", "0", "", "", "1", " 1\n"}, look()); diff != "" {
		t.Errorf("pushed:\n%s", diff)
	}
	f.must(t, "POST", "wiki/trigger_indexing_job", "", "")
	if diff := cmp.Diff([7]string{"D a 1\n", "D a 1\n", "1", "1", "1", "1", " 1\n"}, look()); diff != "" {
		t.Errorf("synced:\n%s", diff)
	}
	f.must(t, "POST", "wiki/delete_documents?PAPI_uri=a", "", "")
	f.must(t, "POST", "wiki/clear_all_checkpoints", "", "")
	if diff := cmp.Diff([7]string{"", "D a 1\n", "1", "1", "1", "", ""}, look()); diff != "" {
		t.Errorf("deleted and not synced:\n%s", diff)
	}
	f.must(t, "POST", "other/set_checkpoint?PAPI_checkpoint=x&PAPI_sync=true", "", "")
	if diff := cmp.Diff([7]string{"", "", "0", "", "", "", ""}, look()); diff != "" {
		t.Errorf("deleted:\n%s", diff)
	}
}

func TestSearchableWhenAQueryFindsIt(t *testing.T) {
	t.Parallel()
	f := serve(t, openHub(t, t.TempDir(), true), pushapi.ServerOptions{})
	f.add(t, "wiki", "PAPI_0:uri", "a", "PAPI_0:part_directive:master:mime", "text/html", "PAPI_0:part_bytes:master", "<p>needle</p>", "PAPI_0:part_bytes:odd", "\x00")
	serial := f.must(t, "POST", "wiki/set_checkpoint?PAPI_checkpoint=1", "", "")
	ask := func() string { return f.must(t, "GET", "wiki/are_documents_searchable?PAPI_serial="+serial, "", "") }
	if got := ask(); got != "false" {
		t.Errorf("before sync: %s", got)
	}
	if got := f.must(t, "GET", "wiki/get_document_standing?PAPI_uri=a", "", ""); !strings.HasPrefix(got, "pushed ") {
		t.Errorf("standing %q", got)
	}
	f.must(t, "POST", "wiki/sync", "", "")
	number, err := pushapi.ParseSerial(serial)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.hub.WaitSearchable(t.Context(), number); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != "true" {
		t.Errorf("after indexing: %s", got)
	}
	found, err := f.hub.Search(t.Context(), hub.Query{Text: "needle", Connector: "wiki"})
	if err != nil || found.Total != 1 || found.Hits[0].Key != "a" {
		t.Errorf("%+v, %v", found, err)
	}
	if got := f.must(t, "GET", "wiki/get_document_standing?PAPI_uri=a", "", ""); !strings.HasPrefix(got, "searchable\n") || !strings.Contains(got, "\nodd ") {
		t.Errorf("standing %q", got)
	}
}

// TestFoldersAreNoPrefixes: a root path ends at a slash, a prefix does not.
func TestFoldersAreNoPrefixes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		command, query string
		left           string
	}{
		{"delete_documents_root_path", "PAPI_rootPath=a&PAPI_recursive=true", "a ab abc/d b"},
		{"delete_documents_root_path", "PAPI_rootPath=a%2F&PAPI_recursive=true", "a ab abc/d b"},
		{"delete_documents_root_path", "PAPI_rootPath=a&PAPI_recursive=false", "a a/b/c ab abc/d b"},
		{"delete_documents_root_path", "PAPI_rootPath=a", "a a/b/c ab abc/d b"},
		{"delete_documents_root_path", "PAPI_rootPath=none&PAPI_recursive=true", "a a/1 a/b/c ab abc/d b"},
		{"delete_documents_root_path", "PAPI_rootPath=&PAPI_recursive=false", "a/1 a/b/c abc/d"},
		{"delete_documents_root_path", "PAPI_rootPath=&PAPI_recursive=true", ""},
		{"delete_documents_with_prefix", "PAPI_prefix=ab", "a a/1 a/b/c b"},
		{"delete_documents_with_prefix", "PAPI_prefix=a", "b"},
	}
	for _, test := range tests {
		f := fresh(t)
		var pairs []string
		for i, uri := range strings.Fields("a a/1 a/b/c ab abc/d b") {
			pairs = append(pairs, fmt.Sprintf("PAPI_%d:uri", i), uri)
		}
		f.add(t, "wiki", pairs...)
		f.add(t, "other", pairs...)
		f.must(t, "POST", "wiki/"+test.command+"?"+test.query, "", "")
		f.must(t, "POST", "wiki/sync", "", "")
		var left []string
		for _, line := range f.entries(t, "wiki", "PAPI_rootPath=&PAPI_mode=RECURSIVE_DOCUMENTS") {
			uri, err := url.QueryUnescape(strings.TrimPrefix(line, "D "))
			if err != nil {
				t.Fatal(err)
			}
			left = append(left, uri)
		}
		if got := strings.Join(left, " "); got != test.left {
			t.Errorf("%s %s leaves %q, want %q", test.command, test.query, got, test.left)
		}
		if got := len(f.entries(t, "other", "PAPI_rootPath=&PAPI_mode=RECURSIVE_DOCUMENTS")); got != 6 {
			t.Errorf("%s %s: another connector has %d documents", test.command, test.query, got)
		}
	}
}

// TestLargeDeletes need more than one block.
func TestLargeDeletes(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	var pairs []string
	for i := range 9000 {
		pairs = append(pairs, fmt.Sprintf("PAPI_%d:uri", i), fmt.Sprintf("d/%d", i))
	}
	f.add(t, "wiki", append(pairs, "PAPI_x:uri", "e")...)
	query := "wiki/delete_documents_root_path?PAPI_rootPath=d&PAPI_recursive=true"
	if got := f.must(t, "POST", query+"&PAPI_dry_run=true", "", ""); got != "9000" {
		t.Errorf("a dry run says %s", got)
	}
	f.must(t, "POST", query, "", "")
	f.must(t, "POST", "wiki/sync", "", "")
	if got := f.entries(t, "wiki", "PAPI_rootPath=&PAPI_mode=RECURSIVE_DOCUMENTS"); !slices.Equal(got, []string{"D e"}) {
		t.Errorf("%d documents are left", len(got))
	}
	if status, _ := f.do(t, "POST", "wiki/delete_documents_root_path?PAPI_rootPath=&PAPI_recursive=true&PAPI_if_checkpoint=1", "", ""); status != 400 {
		t.Errorf("a condition that does not hold: %d", status)
	}
	if got := f.must(t, "GET", "wiki/get_documents_status?PAPI_uri=e", "", ""); got != "D e\n" {
		t.Error("it was deleted nevertheless")
	}
}

// TestEnumerationMatchesItsModel compares all modes, roots and cursors with a
// plain reading of the rules.
func TestEnumerationMatchesItsModel(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	uris := rapid.SliceOfNDistinct(rapid.StringMatching(`[ab/.0]{1,6}`), 1, 20, rapid.ID)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		connector := fmt.Sprintf("c%d", n)
		list := uris.Draw(t, "uris")
		form := url.Values{}
		for i, uri := range list {
			form.Set(fmt.Sprintf("PAPI_%d:uri", i), uri)
		}
		post(t, f, connector+"/add_documents", form)
		post(t, f, connector+"/sync", nil)
		root := rapid.SampledFrom([]string{"", "a", "a/", "/", "a/b", "a//", "none"}).Draw(t, "root")
		for _, mode := range []pushapi.EnumerationMode{pushapi.RecursiveDocuments, pushapi.NotRecursiveDocuments, pushapi.NotRecursiveFolders, pushapi.NotRecursiveAll} {
			query := url.Values{"PAPI_rootPath": {root}, "PAPI_mode": {mode.String()}}
			got := readEntries(t, f, connector, query)
			want := model(list, root, mode)
			if diff := cmp.Diff(want, asSet(got)); diff != "" || len(got) != len(want) {
				t.Fatalf("%s of %q below %q (-want +got):\n%s", mode, list, root, diff)
			}
			if count := post(t, f, connector+"/count_synced_entries", query); count != fmt.Sprint(len(want)) {
				t.Fatalf("count %s, want %d", count, len(want))
			}
			if len(got) > 0 {
				i := rapid.IntRange(0, len(got)-1).Draw(t, "cursor")
				e := got[i]
				cursor := e.URI
				if e.Folder {
					cursor += "/"
				}
				query.Set("PAPI_cursor", cursor)
				if diff := cmp.Diff(got[i+1:], readEntries(t, f, connector, query), equateEmpty()); diff != "" {
					t.Fatalf("%s below %q behind %q:\n%s", mode, root, cursor, diff)
				}
			}
		}
	})
}

func equateEmpty() cmp.Option {
	return cmp.Transformer("list", func(list []pushapi.SyncedEntry) string { return fmt.Sprint(list) })
}

func asSet(list []pushapi.SyncedEntry) map[pushapi.SyncedEntry]bool {
	set := map[pushapi.SyncedEntry]bool{}
	for _, e := range list {
		set[e] = true
	}
	return set
}

func model(uris []string, root string, mode pushapi.EnumerationMode) map[pushapi.SyncedEntry]bool {
	if root != "" && !strings.HasSuffix(root, "/") {
		root += "/"
	}
	set := map[pushapi.SyncedEntry]bool{}
	for _, uri := range uris {
		rest, below := strings.CutPrefix(uri, root)
		folder, _, deeper := strings.Cut(rest, "/")
		switch {
		case !below:
		case mode.Recursive(), !deeper && mode.Documents():
			set[pushapi.SyncedEntry{URI: uri}] = true
		case deeper && mode.Folders():
			set[pushapi.SyncedEntry{URI: root + folder, Folder: true}] = true
		}
	}
	return set
}

func post(t *rapid.T, f *fixture, rest string, form url.Values) string {
	response, err := http.PostForm(f.url(rest), form)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v %s", rest, response.StatusCode, err, body)
	}
	return string(body)
}

func readEntries(t *rapid.T, f *fixture, connector string, query url.Values) (list []pushapi.SyncedEntry) {
	response, err := http.Get(f.url(connector + "/enumerate_synced_entries?" + query.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var digest pushapi.Digest
	for e, err := range pushapi.ReadEntries(io.TeeReader(response.Body, &digest), pushapi.EscapePlain) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	if got := response.Trailer.Get(pushapi.TrailerDigest); got != digest.String() {
		t.Fatalf("digest %q, not %q", got, digest.String())
	}
	return list
}

// TestRecordData keeps every name and value, in order.
func TestRecordData(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a", "b", "$a", "$directive:a", "$part:a", "", "\x00\"\\\u2028"}))
	rapid.Check(t, func(t *rapid.T) {
		var d pushapi.Document
		want := map[string][]string{}
		for range rapid.IntRange(0, 40).Draw(t, "metas") {
			m := pushapi.Meta{Name: text.Draw(t, "name"), Value: text.Draw(t, "value")}
			d.Metas = append(d.Metas, m)
			want["meta "+m.Name] = append(want["meta "+m.Name], m.Value)
		}
		for range rapid.IntRange(0, 3).Draw(t, "directives") {
			v := pushapi.Directive{Name: text.Draw(t, "name"), Value: text.Draw(t, "value")}
			d.Directives = append(d.Directives, v)
			want["directive "+v.Name] = append(want["directive "+v.Name], v.Value)
		}
		data := pushapi.RecordData([]byte("before"), &d)[len("before"):]
		var fields map[string]any
		if err := json.Unmarshal(data, &fields); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		got := map[string][]string{}
		for name, value := range fields {
			key := "meta " + strings.TrimPrefix(name, "$")
			if rest, ok := strings.CutPrefix(name, "$directive:"); ok {
				key = "directive " + rest
			} else if strings.HasPrefix(name, "$$") {
				key = "meta " + name[1:]
			}
			switch v := value.(type) {
			case string:
				got[key] = []string{v}
			case []any:
				for _, one := range v {
					got[key] = append(got[key], fmt.Sprint(one))
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", data, diff)
		}
	})
}

func TestTheEngineOwnsItsConnectors(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.add(t, "wiki", "PAPI_0:uri", "a")
	if _, err := f.hub.Session(t.Context(), "wiki", 7); err != nil {
		t.Fatal(err)
	}
	before := pushedState(t, f, "wiki")
	status, text := f.do(t, "POST", "wiki/add_documents", multipartType, multi("PAPI_0:uri", "b"))
	if status != 400 || !strings.Contains(text, "InvalidConnectorNameError") {
		t.Errorf("%d %s", status, text)
	}
	if diff := cmp.Diff(before, pushedState(t, f, "wiki")); diff != "" {
		t.Error(diff)
	}
	if got := f.must(t, "GET", "wiki/get_documents_status?PAPI_uri=a", "", ""); got != "D a\n" {
		t.Errorf("reading is allowed: %q", got)
	}
}

// TestReadingLeavesNoTrace: connectors are made by what is pushed.
func TestReadingLeavesNoTrace(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	for _, rest := range []string{"ping", "get_current_session_id", "get_checkpoint", "enumerate_checkpoints_info", "enumerate_synced_entries?PAPI_rootPath=&PAPI_mode=RECURSIVE_DOCUMENTS", "get_documents_status?PAPI_uri=a", "get_changes?PAPI_serial=0", "get_document_standing?PAPI_uri=a"} {
		f.must(t, "GET", "nobody/"+rest, "", "")
	}
	f.must(t, "POST", "nobody/delete_documents_root_path?PAPI_rootPath=&PAPI_dry_run=true", "", "")
	stats, err := f.hub.Stats(t.Context())
	if err != nil || len(stats.Connectors) != 0 {
		t.Errorf("%+v, %v", stats.Connectors, err)
	}
}

func TestCommandsAreAllServed(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	served := map[pushapi.Command]bool{}
	for _, c := range pushapi.Commands() {
		verb := "POST"
		if c.Reads() {
			verb = "GET"
		}
		status, text := f.do(t, verb, "wiki/"+string(c)+"?PAPI_uri=a&PAPI_rootPath=&PAPI_prefix=o&PAPI_checkpoint=9&PAPI_mode=RECURSIVE_DOCUMENTS&PAPI_serial=0", "", "")
		served[c] = status/100 == 2 || strings.Contains(text, "no documents")
	}
	if i := slices.Index(slices.Collect(maps.Values(served)), false); i >= 0 {
		t.Errorf("%v", served)
	}
}
