package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRowForms has the forms of rows that connectors send.
func TestRowForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, rows string
		want       []string
	}{
		{"vertex", `"asset":[{"external_id":"17","name":"x","anything":{"else":[1,null]}}]`, []string{"asset 17"}},
		{"number as id", `"asset":[{"external_id":17},{"external_id":17.50}]`, []string{"asset 17", "asset 17.50"}},
		{"escaped id", `"asset":[{"external_id":"\u00fc\ud83d\ude00"}]`, []string{"asset ü😀"}},
		{"keyed", `"ipaddress":[{"_key":"10.0.0.1"}],"hostname":[{"_key":"h"}],"macaddress":[{"_key":"a:b"}]`, []string{"ipaddress 10.0.0.1", "hostname h", "macaddress a:b"}},
		{"keyed by external_id", `"ipaddress":[{"external_id":"0/10.0.0.1"}]`, []string{"ipaddress 10.0.0.1"}},
		{"keyed with its name besides", `"hostname":[{"_key":"h","host_name":"other"}]`, []string{"hostname h"}},
		{"keyed by name", `"hostname":[{"host_name":"h"}],"ipaddress":[{"name":"::1"}],"macaddress":[{"name":"a:b"}]`, []string{"hostname h", "ipaddress ::1", "macaddress a:b"}},
		{"edge by external ids", `"asset_account":[{"_from_external_id":"1","_to_external_id":"2"}]`, []string{"asset_account 1|2"}},
		{"edge to a keyed end", `"asset_ipaddress":[{"_from_external_id":"1","_to":"ipaddress/1.2.3.4"}]`, []string{"asset_ipaddress 1|1.2.3.4"}},
		{"edge to a bare keyed end", `"asset_ipaddress":[{"_from_external_id":"1","_to":"1.2.3.4"}]`, []string{"asset_ipaddress 1|1.2.3.4"}},
		{"edge to a keyed end by external id", `"asset_ipaddress":[{"_from_external_id":"1","_to_external_id":"1.2.3.4"}]`, []string{"asset_ipaddress 1|1.2.3.4"}},
		{"edge with a region", `"ipaddress_hostname":[{"_from":"0/1.2.3.4","_to":"h"}]`, []string{"ipaddress_hostname 1.2.3.4|h"}},
		{"edge by _to alone", `"asset_vulnerability":[{"_from_external_id":"1","_to":"CVE-1"}]`, []string{"asset_vulnerability 1|CVE-1"}},
		{"edge with both spellings", `"asset_ipaddress":[{"_from":"1","_from_external_id":"1","_to":"ipaddress/1.2.3.4","_to_external_id":"1.2.3.4"}]`, []string{"asset_ipaddress 1|1.2.3.4"}},
		{"edge with more fields", `"asset_port":[]` + `,"application_port":[{"_from_external_id":"1","_to_external_id":"2","last_modified":1,"port":{"a":1}}]`, []string{"application_port 1|2"}},
		{"edge of a tag", `"tag":[{"external_id":"t"}],"tag_asset":[{"_from":"t","_to":"1"}]`, []string{"tag t", "tag_asset t|1"}},
		{"same row twice", `"asset":[{"external_id":"1","name":"a"},{"external_id":"1","name":"b"}]`, []string{"asset 1"}},
		{"source_report", `"source_report":[{"_from":"source/s","_to":"report/1"}]`, nil},
		{"empty", `"asset":[]`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := fresh(t)
			f.must(t, "POST", "/v3/carSchema", `{"key":"e","owner":"o","version":"1","schema":{"vertices":[],"edges":[{"end1":"asset","end2":"port"}]}}`)
			f.take(t, "s", tt.rows)
			f.holds(t, "s", tt.want...)
			f.take(t, "s", tt.rows) // a reply was lost
			f.holds(t, "s", tt.want...)
		})
	}
}

// TestRefusedRows has rows that cannot be stored: nothing of their import is.
func TestRefusedRows(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, rows, message string }{
		{"no id", `"asset":[{"external_id":"1"},{"name":"x"}]`, "it has no id"},
		{"_key of what is not keyed", `"asset":[{"_key":"1"}]`, "it has no id"},
		{"both ids", `"asset":[{"external_id":"1","_key":"1"}]`, "both"},
		{"both ids of what is keyed", `"hostname":[{"external_id":"1","_key":"1"}]`, "both"},
		{"null id", `"asset":[{"external_id":null}]`, "neither a text nor a number"},
		{"id of an object", `"asset":[{"external_id":{}}]`, "neither a text nor a number"},
		{"empty id", `"asset":[{"external_id":""}]`, "empty"},
		{"long id", `"asset":[{"external_id":"` + strings.Repeat("x", 4097) + `"}]`, "too long"},
		{"long ids of ends", `"asset_account":[{"_from":"` + strings.Repeat("x", 3000) + `","_to":"` + strings.Repeat("y", 3000) + `"}]`, "too long"},
		{"half of a surrogate pair", `"asset":[{"external_id":"\ud800"}]`, "surrogate"},
		{"id twice", `"asset":[{"external_id":"1","external_id":"2"}]`, "twice"},
		{"not an object", `"asset":[1]`, "not an object"},
		{"large row", `"asset":[{"external_id":"1","x":"` + strings.Repeat("x", 1<<20) + `"}]`, "bytes"},
		{"edge without an end", `"asset_account":[{"_from_external_id":"1"}]`, "neither _to_external_id nor _to"},
		{"edge without its other end", `"asset_account":[{"_to":"1"}]`, "neither _from_external_id nor _from"},
		{"ends that differ", `"asset_account":[{"_from":"1","_from_external_id":"2","_to":"1"}]`, "not the same"},
		{"empty end", `"asset_account":[{"_from":"asset/","_to":"1"}]`, "empty"},
		{"unknown collection", `"site":[{"external_id":"1"}]`, "carSchema"},
		{"unknown edge", `"site_asset":[{"_from":"1","_to":"1"}]`, "carSchema"},
		{"tag of what there is not", `"tag_site":[{"_from":"1","_to":"1"}]`, "carSchema"},
		{"collection of a bad name", `"as/set":[]`, "name of a collection"},
		{"history", `"asset@history":[]`, "name of a collection"},
		{"tag of numbers", `"asset":[{"external_id":"1","tag":[1]}]`, "texts"},
		{"tag that is no list", `"asset":[{"external_id":"1","untag":"a"}]`, "texts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := fresh(t)
			id := f.post(t, "s", `"account":[{"external_id":"good","name":"n"}],`+tt.rows)
			reply := f.must(t, "GET", "importstatus?ids="+id, "")
			failed := reply["error_imports"].([]any)
			if len(failed) != 1 || len(reply["complete_imports"].([]any)) != 0 {
				t.Fatalf("%v", reply)
			}
			entry := failed[0].(map[string]any)
			if text := fmt.Sprint(entry["rows"]); entry["id"] != id || entry["statusCode"] != 422.0 || !strings.Contains(text, tt.message) || entry["error"] == "" {
				t.Errorf("%v", entry)
			}
			if status, text := f.do(t, "GET", "source/s", ""); status != 404 {
				t.Errorf("the import has left a source: %s", text)
			}
			f.holds(t, "s")
		})
	}
}

// TestInactiveEdges retires edges by rows and by patches, and brings them back.
func TestInactiveEdges(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	edge := func(to, more string) string {
		return fmt.Sprintf(`{"_from":"1","_to":"%s"%s}`, to, more)
	}
	f.take(t, "s", `"asset_account":[`+edge("a", `,"active":true`)+`,`+edge("b", ``)+`,`+edge("c", `,"active":false`)+`]`)
	f.holds(t, "s", "asset_account 1|a", "asset_account 1|b")
	f.take(t, "s", `"asset_account":[`+edge("a", `,"active":false`)+`,`+edge("d", ``)+`,`+edge("d", `,"active":false`)+`]`)
	f.holds(t, "s", "asset_account 1|b")
	if diff := cmp.Diff([]string{"asset_account@history 1|a", "asset_account@history 1|d"}, f.history(t, "s")); diff != "" {
		t.Error(diff)
	}
	patch := func(to, body string, matched float64) {
		t.Helper()
		if reply := f.must(t, "PATCH", "asset_account?source=s&from=1&to="+to, body); reply["matched"] != matched {
			t.Errorf("%s %s: %v", to, body, reply)
		}
	}
	patch("a", `{"last_modified":5}`, 0)
	patch("a", `{"active":true,"last_modified":5}`, 1)
	patch("b", `{"active":false}`, 1)
	patch("b", `{"active":false}`, 0)
	patch("none", `{"active":true}`, 0)
	f.holds(t, "s", "asset_account 1|a")
	if row := f.active(t, "s")["asset_account 1|a"]; row != `{"_from":"1","_to":"a","active":true,"last_modified":5}` {
		t.Errorf("restored: %s", row)
	}
	patch("a", `{"last_modified":6,"x":null}`, 1)
	patch("a", `{"active":true}`, 1)
	patch("a", `{"active":false}`, 1)
	patch("a", `{"active":true}`, 1)
	if row := f.active(t, "s")["asset_account 1|a"]; row != `{"_from":"1","_to":"a","last_modified":6,"active":true}` {
		t.Errorf("restored again: %s", row)
	}
}

// TestDeleteTakesEdges retires the edges of both directions, of that source.
func TestDeleteTakesEdges(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	for _, source := range []string{"s", "t"} {
		f.take(t, source, `"asset":[{"external_id":"1"},{"external_id":"11"}],"account":[{"external_id":"1"}],"user":[{"external_id":"1"}],`+
			`"asset_account":[{"_from":"1","_to":"1"},{"_from":"11","_to":"1"},{"_from":"1","_to":"2"}],"user_account":[{"_from":"1","_to":"1"},{"_from":"1","_to":"3"}]`)
	}
	reply := f.must(t, "DELETE", "source/s/account?external_ids=1,none,,1", "")
	if reply["matched"] != 1.0 || reply["edges"] != 3.0 {
		t.Errorf("%v", reply)
	}
	f.holds(t, "s", "asset 1", "asset 11", "user 1", "asset_account 1|2", "user_account 1|3")
	if n := len(f.active(t, "t")); n != 9 {
		t.Errorf("%d rows of the other source", n)
	}
	if reply := f.must(t, "DELETE", "source/s/asset?keys=1", ""); reply["matched"] != 1.0 || reply["edges"] != 1.0 {
		t.Errorf("%v", reply)
	}
	f.holds(t, "s", "asset 11", "user 1", "user_account 1|3")
}

// TestManyDeletes has ten thousand ids in one request.
func TestManyDeletes(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.take(t, "s", assets(0, 10_000))
	var ids []string
	for i := range 10_000 {
		ids = append(ids, fmt.Sprint(i))
	}
	if reply := f.must(t, "DELETE", "source/s/asset?external_ids="+strings.Join(ids, ","), ""); reply["matched"] != 10_000.0 {
		t.Errorf("%v", reply)
	}
	f.holds(t, "s")
}

// TestTags keeps the tags of a vertex when it is sent again without.
func TestTags(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	steps := []struct{ row, want string }{
		{`{"external_id":"1","tag":["a","b","a"]}`, `["a","b"]`},
		{`{"external_id":"1","name":"x"}`, `["a","b"]`},
		{`{"external_id":"1","untag":["a"],"tag":["c"]}`, `["b","c"]`},
		{`{"external_id":"1","tags":["z"],"tag":["c"]}`, `["z","c"]`},
		{`{"external_id":"1","untag":["c","z"]}`, ``},
		{`{"tag":["q"],"external_id":"1"},{"external_id":"1","tag":["r"]}`, `["q","r"]`},
	}
	for _, step := range steps {
		f.take(t, "s", `"asset":[`+step.row+`]`)
		var row map[string]json.RawMessage
		if err := json.Unmarshal([]byte(f.active(t, "s")["asset 1"]), &row); err != nil {
			t.Fatal(err)
		}
		if string(row["tags"]) != step.want || row["tag"] != nil || row["untag"] != nil {
			t.Errorf("after %s: %s", step.row, row)
		}
	}
}

func TestPatchVertex(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	for _, source := range []string{"s", "t"} {
		f.take(t, source, `"asset":[{"external_id":"a b","name":"x"},{"external_id":"c","name":"x"}],"ipaddress":[{"_key":"1.2.3.4"}]`)
	}
	for query, matched := range map[string]float64{
		"asset?external_id=a%20b": 2, "asset?external_id=a+b": 2, "asset?external_id=none": 0, "asset?external_id=c&source=s": 1,
		"ipaddress?external_id=0/1.2.3.4": 2, "ipaddress?_key=1.2.3.4": 2, "ipaddress?key=1.2.3.4": 2, "site?external_id=1": 0,
	} {
		if reply := f.must(t, "PATCH", query, `{"name":"y"}`); reply["matched"] != matched {
			t.Errorf("%s: %v", query, reply)
		}
	}
	if row := f.active(t, "t")["asset c"]; !strings.Contains(row, "x") {
		t.Errorf("the other source's: %s", row)
	}
}

// TestRowsStayBounded: no row grows in steps until it can be neither stored nor
// retired.
func TestRowsStayBounded(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.take(t, "s", assets(0, 1))
	half := strings.Repeat("x", 1<<19)
	f.must(t, "PATCH", "asset?external_id=0", `{"a":"`+half+`"}`)
	if status, text := f.do(t, "PATCH", "asset?external_id=0", `{"b":"`+half+`"}`); status != 400 {
		t.Errorf("a field: %d %s", status, text)
	}
	f.take(t, "s", `"asset":[{"external_id":"0","tag":["`+half+`a"]}]`)
	if status, text := f.do(t, "POST", "imports", envelopeOf("s", `"asset":[{"external_id":"0","tag":["`+half+`b"]}]`)); status != 400 {
		t.Errorf("a tag: %d %s", status, text)
	}
}

// TestTagsOfAnotherKind: a property of that name which is no list of texts is
// like any other, also in a collection that has tags.
func TestTagsOfAnotherKind(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.take(t, "s", `"asset":[{"external_id":"1","tag":["x"]}]`)
	f.take(t, "s", `"asset":[{"external_id":"1","tags":{"a":"b"}},{"external_id":"2","tags":"a=b"},{"external_id":"3","tags":null}]`)
	want := map[string]string{
		"asset 1": `{"external_id":"1","tags":{"a":"b"}}`, "asset 2": `{"external_id":"2","tags":"a=b"}`, "asset 3": `{"external_id":"3"}`,
	}
	if diff := cmp.Diff(want, f.active(t, "s")); diff != "" {
		t.Error(diff)
	}
	id := f.post(t, "s", `"asset":[{"external_id":"2","tags":"a=b","tag":["x"]}]`)
	if s := f.must(t, "GET", "importstatus/"+id, ""); s["status"] != "ERROR" {
		t.Errorf("%v", s)
	}
}

// TestExtensionsWithTwoMeanings: no extension makes vertices of what are edges,
// or gives an edge other ends.
func TestExtensionsWithTwoMeanings(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	put := func(key, schema string) (int, string) {
		return f.do(t, "POST", "/v3/carSchema", fmt.Sprintf(`{"key":%q,"owner":"o","version":"1","schema":%s}`, key, schema))
	}
	if status, text := put("first", `{"vertices":[{"name":"x"}],"edges":[{"end1":"a","end2":"b_c"}]}`); status != 201 {
		t.Fatal(status, text)
	}
	if status, text := put("again", `{"vertices":[{"name":"x"}],"edges":[{"end1":"a","end2":"b_c"}]}`); status != 201 {
		t.Errorf("the same in two extensions: %d %s", status, text)
	}
	tests := []struct {
		name, schema string
		status       int
	}{
		{"a core edge", `{"vertices":[{"name":"asset_ipaddress"}]}`, 409},
		{"an edge of a tag", `{"vertices":[{"name":"tag_asset"}]}`, 409},
		{"its own edge", `{"vertices":[{"name":"x_y"}],"edges":[{"end1":"x","end2":"y"}]}`, 409},
		{"an edge of another extension", `{"vertices":[{"name":"a_b_c"}]}`, 409},
		{"other ends", `{"edges":[{"end1":"a_b","end2":"c"}]}`, 409},
		{"what an import means otherwise", `{"edges":[{"end1":"source","end2":"report"}]}`, 400},
	}
	for _, tt := range tests {
		if status, text := put("second", tt.schema); status != tt.status {
			t.Errorf("%s: %d %s", tt.name, status, text)
		}
	}
}

// TestEdgesOfForgottenExtensions: a vertex takes its edges with it, also those
// whose extension is gone and whose name can be read in several ways.
func TestEdgesOfForgottenExtensions(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.must(t, "POST", "/v3/carSchema", `{"key":"u","owner":"o","version":"1","schema":{"vertices":[{"name":"my_site"}],
		"edges":[{"end1":"my_site","end2":"asset"},{"end1":"asset","end2":"my_site"}]}}`)
	f.take(t, "s", `"my_site":[{"external_id":"1"}],"asset":[{"external_id":"2"}],"my_site_asset":[{"_from":"1","_to":"2"},{"_from":"3","_to":"2"}],
		"asset_my_site":[{"_from":"2","_to":"1"}],"tag_my_site":[{"_from":"t","_to":"1"}]`)
	f.must(t, "DELETE", "/v3/carSchema/u", "")
	f.must(t, "DELETE", "source/s/my_site?external_ids=1", "")
	f.holds(t, "s", "asset 2", "my_site_asset 3|2")
}

// TestAmpersandsInLists: the original framework writes ids as they are, so that
// one with an ampersand would be cut, and another vertex deleted in its place.
func TestAmpersandsInLists(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.take(t, "s", `"asset":[{"external_id":"a"},{"external_id":"a&b"},{"external_id":"c&d=e&"},{"external_id":"f"},{"external_id":"g"},{"external_id":"h"}]`)
	f.must(t, "DELETE", "source/s/asset?external_ids=a&b,c&d=e&,f&keys", "")
	f.holds(t, "s", "asset a", "asset g", "asset h")
	f.must(t, "DELETE", "source/s/asset?external_ids=a&keys=g", "")
	f.holds(t, "s", "asset h")
}

// TestIDsThatLookLikeEnds: a vertex whose id begins like the spelling of an end
// is not the one without that.
func TestIDsThatLookLikeEnds(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.take(t, "s", `"asset":[{"external_id":"17"},{"external_id":"asset/17"}],"ipaddress":[{"_key":"10.0.0.1"}],
		"asset_ipaddress":[{"_from":"asset/17","_to":"ipaddress/10.0.0.1"},{"_from_external_id":"asset/17","_to":"ipaddress/10.0.0.1"}]`)
	f.holds(t, "s", "asset 17", "asset asset/17", "asset_ipaddress 17|10.0.0.1", "asset_ipaddress asset/17|10.0.0.1", "ipaddress 10.0.0.1")
	f.must(t, "PATCH", "asset_ipaddress?source=s&from=asset/17&to=0/10.0.0.1", `{"active":false}`)
	f.must(t, "DELETE", "source/s/asset?external_ids=asset/17", "")
	f.holds(t, "s", "asset 17", "asset_ipaddress 17|10.0.0.1", "ipaddress 10.0.0.1")
}
