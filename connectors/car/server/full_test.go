package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// assets returns rows of assets from one number up to another.
func assets(from, to int) string {
	var list []string
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf(`{"external_id":"%d","name":"a"}`, i))
	}
	return `"asset":[` + strings.Join(list, ",") + `]`
}

// fullImport sends everything in full and returns how it ended.
func (f *fixture) fullImport(t testing.TB, source string, imports ...string) map[string]any {
	t.Helper()
	f.begin(t, source)
	for _, rows := range imports {
		f.take(t, source, rows)
	}
	return f.end(t, source)
}

func (f *fixture) count(t testing.TB, source, collection string) (n int) {
	t.Helper()
	for name := range f.active(t, source) {
		if strings.HasPrefix(name, collection+" ") {
			n++
		}
	}
	return n
}

func TestGuard(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		before  int // assets
		after   int
		refused bool
	}{
		{"nothing gone", 30, 30, false},
		{"a few of few", 10, 3, false},
		{"twenty of thirty", 30, 10, false},
		{"more than twenty and a tenth", 30, 9, true},
		{"a tenth of many", 300, 270, false},
		{"more than a tenth of many", 300, 269, true},
		{"everything of few", 3, 0, true},
		{"everything", 300, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := fresh(t)
			if j := f.fullImport(t, "s", assets(0, tt.before)); j["status"] != "COMPLETE" {
				t.Fatal(j)
			}
			j := f.fullImport(t, "s", assets(0, tt.after))
			want, left := "COMPLETE", tt.after
			if tt.refused {
				want, left = "ERROR", tt.before
			}
			if n := f.count(t, "s", "asset"); j["status"] != want || n != left {
				t.Errorf("%d assets left, %v", n, j)
			}
			if open := f.must(t, "GET", "source/s", "")["gapless"].(map[string]any)["full_import"]; open != tt.refused {
				t.Errorf("the full import is open: %v", open)
			}
		})
	}
}

// TestApproval approves what was refused, and nothing else.
func TestApproval(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.fullImport(t, "s", assets(0, 100), `"account":[{"external_id":"x","name":"n"}]`)
	refused := f.fullImport(t, "s", assets(0, 50))
	id, _ := refused["approve"].(string)
	message, _ := refused["error"].(string)
	if refused["code"] != "GAP-3001" || refused["statusCode"] != 422.0 || !strings.Contains(message, id) ||
		!strings.Contains(message, "1 of 1 account, 50 of 100 asset") {
		t.Fatalf("%v", refused)
	}
	path := "source/s/full-import-in-progress/approve"
	bad := []struct {
		name, path, body string
		status           int
	}{
		{"another id", path, `{"approve":"j000"}`, 409},
		{"no id", path, `{}`, 400},
		{"a number", path, `{"approve":1}`, 400},
		{"another source", "source/other/full-import-in-progress/approve", `{"approve":"` + id + `"}`, 404},
	}
	for _, tt := range bad {
		if status, text := f.do(t, "POST", tt.path, tt.body); status != tt.status {
			t.Errorf("%s: %d %s", tt.name, status, text)
		}
	}
	f.take(t, "s", assets(60, 61)) // it is not gone after all
	if j := f.job(t, "POST", path, `{"approve":"`+id+`"}`); j["status"] != "COMPLETE" {
		t.Fatal(j)
	}
	if n := f.count(t, "s", "asset"); n != 51 || f.count(t, "s", "account") != 0 {
		t.Errorf("%d assets are left", n)
	}
	if status, text := f.do(t, "POST", path, `{"approve":"`+id+`"}`); status != 404 {
		t.Errorf("approved twice: %d %s", status, text)
	}
}

// TestHealing: a full import that sends the rows again needs no approval.
func TestHealing(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.fullImport(t, "s", assets(0, 100))
	first := f.fullImport(t, "s", assets(0, 10))
	again := f.end(t, "s")
	if first["status"] != "ERROR" || again["status"] != "ERROR" || again["approve"] == first["approve"] {
		t.Fatalf("%v\n%v", first, again)
	}
	if status, text := f.do(t, "POST", "source/s/full-import-in-progress/approve", fmt.Sprintf(`{"approve":%q}`, first["approve"])); status != 409 {
		t.Errorf("an approval of what is not the latest: %d %s", status, text)
	}
	if j := f.fullImport(t, "s", assets(0, 95)); j["status"] != "COMPLETE" || f.count(t, "s", "asset") != 95 {
		t.Errorf("%v", j)
	}
	if j := f.end(t, "s"); j["status"] != "COMPLETE" || f.count(t, "s", "asset") != 95 {
		t.Errorf("an end without a begin: %v", j)
	}
}

// TestFullImportStates follows the source document through a full import.
func TestFullImportStates(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	state := func() map[string]any {
		return f.must(t, "GET", "source/s", "")["gapless"].(map[string]any)
	}
	f.begin(t, "s")
	if s := state(); s["generation"] != 1.0 || s["full_import"] != true || s["full_import_since"].(float64) < 1e12 {
		t.Errorf("%v", s)
	}
	f.begin(t, "s")
	f.take(t, "s", assets(0, 2))
	f.end(t, "s")
	if diff := cmp.Diff(map[string]any{"generation": 2.0, "full_import": false}, state()); diff != "" {
		t.Error(diff)
	}
	if j := f.end(t, "nobody"); j["status"] != "COMPLETE" {
		t.Errorf("the end of a source that there is not: %v", j)
	}
	if status, _ := f.do(t, "GET", "source/nobody", ""); status != 404 {
		t.Errorf("the source was made: %d", status)
	}
}

// TestEnvelopesDescribe: envelopes say what a source is, and not where it is.
func TestEnvelopesDescribe(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.must(t, "PATCH", "source?key=s", `{"model_state_id":"7","owner":"me","name":"old"}`)
	f.must(t, "POST", "imports", `{"source":{"_key":"s","name":"new","model_state_id":"8"},"report":{"_key":"1.5"}}`)
	d := f.must(t, "GET", "source/s", "")
	delete(d, "gapless")
	if diff := cmp.Diff(map[string]any{"_key": "s", "model_state_id": "7", "owner": "me", "name": "new"}, d); diff != "" {
		t.Error(diff)
	}
	f.must(t, "PATCH", "source/s", `{"owner":null,"_key":"other"}`)
	if d := f.must(t, "GET", "source/s", ""); d["owner"] != nil || d["_key"] != "s" {
		t.Errorf("%v", d)
	}
}

// TestFailedImportHoldsRetirement: what a full import could not send is not
// retired for that.
func TestFailedImportHoldsRetirement(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.fullImport(t, "s", assets(0, 10))
	f.begin(t, "s")
	f.take(t, "s", assets(0, 9))
	if s := f.must(t, "GET", "importstatus/"+f.post(t, "s", `"asset":[{"name":"no id"}]`), ""); s["status"] != "ERROR" {
		t.Fatal(s)
	}
	j := f.end(t, "s")
	if message, _ := j["error"].(string); j["status"] != "ERROR" || !strings.Contains(message, "import everything again") || j["approve"] != nil {
		t.Errorf("%v", j)
	}
	if n := f.count(t, "s", "asset"); n != 10 {
		t.Errorf("%d assets", n)
	}
	if j := f.fullImport(t, "s", assets(0, 9)); j["status"] != "COMPLETE" || f.count(t, "s", "asset") != 9 {
		t.Errorf("%v", j)
	}
}

// TestRemoveSource retires everything; a source of that name begins anew, with
// generations that go on.
func TestRemoveSource(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.fullImport(t, "s", assets(0, 30), `"asset_account":[{"_from":"1","_to":"x"}]`)
	f.must(t, "PATCH", "source?key=s", `{"model_state_id":"5"}`)
	f.take(t, "t", assets(0, 3))
	if j := f.job(t, "DELETE", "source/s", ""); j["status"] != "COMPLETE" {
		t.Fatal(j)
	}
	f.holds(t, "s")
	if n := f.count(t, "t", "asset"); n != 3 {
		t.Errorf("%d assets of the other source", n)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if status, text := f.do(t, method, "source/s", ""); status != 404 {
			t.Errorf("%s: %d %s", method, status, text)
		}
	}
	if n := len(f.history(t, "s")); n != 32 {
		t.Errorf("%d rows in the history", n)
	}
	f.begin(t, "s")
	if d := f.must(t, "GET", "source/s", ""); d["gapless"].(map[string]any)["generation"] != 3.0 || d["model_state_id"] != nil {
		t.Errorf("%v", d)
	}
}

// TestApprovalAfterFailedImport: what was refused cannot be approved any more
// when an import of the same full import has failed: it may be what was sent.
func TestApprovalAfterFailedImport(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.fullImport(t, "s", assets(0, 100))
	id, _ := f.fullImport(t, "s", assets(0, 50))["approve"].(string)
	f.post(t, "s", strings.TrimSuffix(assets(50, 100), "]")+`,{"name":"no id"}]`)
	status, text := f.do(t, "POST", "source/s/full-import-in-progress/approve", `{"approve":"`+id+`"}`)
	if status != 409 || !strings.Contains(text, "import everything again") || f.count(t, "s", "asset") != 100 {
		t.Errorf("%d %s", status, text)
	}
}

// TestSourceIsNoVertex: the document of a source cannot be deleted as a row of
// it, which would forget its position and that a full import is open.
func TestSourceIsNoVertex(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.begin(t, "s")
	if status, text := f.do(t, "DELETE", "source/s/source?external_ids=s", ""); status != 400 {
		t.Errorf("%d %s", status, text)
	}
	if d := f.must(t, "GET", "source/s", ""); d["gapless"].(map[string]any)["full_import"] != true {
		t.Errorf("%v", d)
	}
}
