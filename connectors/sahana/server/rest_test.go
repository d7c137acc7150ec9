package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// filled is a server with five organisations, and what they refer to.
func filled(t testing.TB) *fixture {
	t.Helper()
	f := fresh(t)
	office := `<resource name="org_office" uuid="urn:x:off1" modified_on="2026-10-03T00:00:00"><data field="name">HQ</data><reference field="location_id" resource="gis_location" uuid="urn:x:loc2"/></resource>`
	contact := `<resource name="pr_contact" uuid="urn:x:c1"><data field="value">a@example.org</data></resource>`
	f.send(t, "org/organisation.xml", document(
		organisation("urn:x:1", "Alpha Relief", "2026-10-01T00:00:00", `<data field="year" value="1999">1999</data>`, `<data field="tags" value="[1,2]"/>`, office, contact),
		organisation("urn:x:2", "beta, Inc", "2026-10-02T00:00:00", `<data field="year" value="200">200</data>`, `<data field="tags" value="[1,3]"/>`, `<reference field="region_id" resource="org_region" uuid="urn:x:r1"/>`),
		organisation("urn:x:3", "Gamma", "2026-10-03T00:00:00", `<data field="year" value="2005">2005</data>`, `<reference field="parent_id" resource="org_organisation" uuid="urn:x:1"/>`),
		organisation("four", "Delta", "2026-10-04T00:00:00"),
		organisation("urn:x:5", "Epsilon", "2026-10-05T00:00:00"),
		`<resource name="org_region" uuid="urn:x:r1" modified_on="2026-09-01T00:00:00"><data field="name">North</data><reference field="location_id" resource="gis_location" uuid="urn:x:loc1"/></resource>`,
		`<resource name="gis_location" uuid="urn:x:loc1" modified_on="2026-09-01T00:00:00"><data field="name">Camp</data></resource>`,
		`<resource name="gis_location" uuid="urn:x:loc2" modified_on="2026-09-01T00:00:00"><data field="name">Harbour</data></resource>`,
		`<resource name="gis_location" uuid="urn:x:loc3" modified_on="2026-09-01T00:00:00"><data field="name">nobody refers to it</data></resource>`,
	))
	f.send(t, "org/organisation.xml", document(`<resource name="org_organisation" uuid="urn:x:5" deleted="True" modified_on="2026-10-06T00:00:00"/>`))
	return f
}

// found lists uuids in order, shortened.
func found(list []s3.Resource) string {
	var b []string
	for _, r := range list {
		b = append(b, strings.TrimPrefix(r.UUID, "urn:x:"))
	}
	return strings.Join(b, " ")
}

func TestQueries(t *testing.T) {
	t.Parallel()
	f := filled(t)
	for _, test := range []struct{ query, want string }{
		{"", "1 2 3 gapless.test/four loc1 loc2 r1"},
		{"maxdepth=0", "1 2 3 gapless.test/four"},
		{"maxdepth=1", "1 2 3 gapless.test/four loc2 r1"},
		{"references=none", "1 2 3 gapless.test/four"},
		{"references=parent_id&~.name=Gamma", "3 1"},
		{"mcomponents=None", "1 2 3 gapless.test/four loc1 r1"},
		{"include_deleted=True&maxdepth=0", "1 2 3 gapless.test/four 5"},
		{"maxdepth=0&start=1&limit=2", "2 3"},
		{"maxdepth=0&limit=x", "1 2 3 gapless.test/four"},
		{"maxdepth=0&limit=0", ""},
		{"maxdepth=0&~.id__gt=1&limit=2", "2 3"},
		{"maxdepth=0&~.id=2", "2"},
		{"maxdepth=0&orderby=name%20desc", "2 3 gapless.test/four 1"},
		{"maxdepth=0&orderby=~.year,~.uuid", "gapless.test/four 2 1 3"},
		{"maxdepth=0&orderby=org_organisation.year&start=1&limit=1", "2"},
		{"maxdepth=0&~.name=Gamma,Delta", "3 gapless.test/four"},
		{"maxdepth=0&~.name=%22beta,%20Inc%22", "2"},
		{"maxdepth=0&organisation.name__belongs=Gamma", "3"},
		{"maxdepth=0&~.name__like=*A", "3 gapless.test/four"},
		{"maxdepth=0&~.name__like=al*re*f", "1"},
		{"maxdepth=0&~.name__ne=Gamma", "1 2 gapless.test/four"},
		{"maxdepth=0&~.year__lt=1999", "2"},
		{"maxdepth=0&~.year__le=1999", "1 2"},
		{"maxdepth=0&~.year__ge=1999&~.year__lt=2005", "1"},
		{"maxdepth=0&~.year=NONE", "gapless.test/four"},
		{"maxdepth=0&~.year__ne=NONE", "1 2 3"},
		{"maxdepth=0&~.modified_on__ge=2026-10-03T00:00:00Z", "3 gapless.test/four"},
		{"maxdepth=0&~.uuid=four", "gapless.test/four"},
		{"maxdepth=0&~.uuid=gapless.test/four", "gapless.test/four"},
		{"maxdepth=0&~.parent_id=urn:x:1", "3"},
		{"maxdepth=0&office.name=HQ", "1"},
		{"maxdepth=0&~.region_id$name=North", "2"},
		{"maxdepth=0&~.region_id$location_id$name=Camp,Harbour", "2"},
		{"maxdepth=0&~.region_id$name__ne=North", "1 3 gapless.test/four"},
		{"maxdepth=0&office.location_id$name__like=har*", "1"},
		{"maxdepth=0&~.parent_id$year__ge=1999", "3"},
		{"maxdepth=0&orderby=parent_id$name%20desc&~.year__anyof=1999,2005", "3 1"},
		{"maxdepth=0&~.tags__contains=1,2", "1"},
		{"maxdepth=0&~.tags__contains=1", "1 2"},
		{"maxdepth=0&~.tags__anyof=2,3", "1 2"},
		{"maxdepth=0&name=Gamma", "1 2 3 gapless.test/four"},
		{"maxdepth=0&msince=2026-10-03T00:00:00", "1 2 3 gapless.test/four"}, // all have arrived since
		{"maxdepth=0&msince=2026-11-02T00:00:00", "1 2 3 gapless.test/four"}, // a time ahead
		{"maxdepth=0&msince=yesterday", "1 2 3 gapless.test/four"},
	} {
		if got := found(f.read(t, "org/organisation.xml?"+test.query)); got != test.want {
			t.Errorf("%s: %s, want %s", test.query, got, test.want)
		}
	}
	f.clock.advance(48 * time.Hour)
	for query, want := range map[string]string{
		"msince=2026-11-02T00:00:00": "", "msince=2026-11-02T00:00:00Z": "",
		"msince=2026-11-01T12:00:00": "1 2 3 gapless.test/four", "msince=2026-11-02 00:00:00": "1 2 3 gapless.test/four",
	} {
		if got := found(f.read(t, "org/organisation.xml?maxdepth=0&"+strings.ReplaceAll(query, " ", "%20"))); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestShape(t *testing.T) {
	t.Parallel()
	f := filled(t)
	for _, test := range []struct{ path, want string }{
		{"org/organisation/1.s3json?maxdepth=0&show_urls=false&show_ids=true", `{"@success":"true","@results":"1","@domain":"gapless.test","@url":"URL","$_org_organisation":[{"@uuid":"urn:x:1","@mci":"3","@modified_on":"2026-10-01T00:00:00","@id":"1","name":"Alpha Relief","year":{"@value":1999,"$":"1999"},"tags":{"@value":[1,2]},"$_org_office":[{"@uuid":"urn:x:off1","@mci":"3","@modified_on":"2026-10-03T00:00:00","name":"HQ","$k_location_id":{"@resource":"gis_location","@uuid":"urn:x:loc2"}}],"$_pr_contact":[{"@uuid":"urn:x:c1","@mci":"3","@modified_on":"2026-11-01T12:00:00","value":"a@example.org"}]}]}`},
		{"org/organisation/urn:x:1.s3json?maxdepth=0&mcomponents=contact&fields=name", `{"@success":"true","@results":"1","@domain":"gapless.test","@url":"URL","$_org_organisation":[{"@uuid":"urn:x:1","@mci":"3","@modified_on":"2026-10-01T00:00:00","@url":"URL/org/organisation/1","name":"Alpha Relief","$_pr_contact":[{"@uuid":"urn:x:c1","@mci":"3","@modified_on":"2026-11-01T12:00:00","value":"a@example.org"}]}]}`},
		{"org/nothing.s3json", `{"@success":"false","@results":"0","@domain":"gapless.test","@url":"URL"}`},
	} {
		status, got := f.do(t, "GET", test.path, "")
		if got = strings.TrimSpace(strings.ReplaceAll(got, strings.TrimSuffix(f.address, "/"), "URL")); status != 200 || got != test.want {
			t.Errorf("%s: %d\n%s\nwant\n%s", test.path, status, got, test.want)
		}
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	f := filled(t)
	for _, test := range []struct {
		path   string
		status int
	}{
		{"org/organisation.xml", 400},
		{"org/organisation.xml?~.name=Gamma", 400},
		{"org/organisation.xml?~.uuid__ne=urn:x:1", 400},
		{"org/organisation.xml?organisation.uuid=urn:x:3", 200},
		{"org/organisation.xml?organisation.uuid=urn:x:3", 404},
		{"org/organisation.xml?~.uuid=urn:x:1&~.name=Gamma", 404},
		{"org/organisation/2.xml", 200},
		{"org/organisation/2.xml", 404},
		{"org/organisation/gapless.test%2Ffour.xml", 200},
		{"org/organisation.xml?~.uuid=urn:x:99", 404},
	} {
		if status, text := f.do(t, "DELETE", test.path, ""); status != test.status || !strings.Contains(text, `"statuscode":"`+fmt.Sprint(status)) {
			t.Errorf("DELETE %s: %d %s, want %d", test.path, status, text, test.status)
		}
	}
	if got := found(f.read(t, "org/organisation.xml?maxdepth=0")); got != "1" {
		t.Errorf("left is %q", got)
	}
	if got := found(f.read(t, "org/organisation.xml?maxdepth=0&include_deleted=True")); got != "1 2 3 gapless.test/four 5" {
		t.Errorf("with tombstones %q", got)
	}
	// An edit brings a record back, with what it had.
	f.send(t, "org/organisation.xml", document(organisation("urn:x:3", "Gamma 2", "")))
	got := f.read(t, "org/organisation/3.xml?maxdepth=0")[0]
	if got.Field("name").Text != "Gamma 2" || got.Field("year") == nil || got.Deleted {
		t.Errorf("%+v", got)
	}
}

// TestComponents has components resolved one by one.
func TestComponents(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.register(t, peer)
	office := func(uuid, name, modified string) string {
		return fmt.Sprintf(`<resource name="org_office" uuid="%s" modified_on="%s"><data field="name">%s</data></resource>`, uuid, modified, name)
	}
	push := pushPath("org_organisation", peer)
	f.send(t, push, document(organisation("u", "O", "2026-10-05T00:00:00", office("a", "A1", "2026-10-05T00:00:00"), office("b", "B1", "2026-10-05T00:00:00"))))
	// The master is older, one component is newer, one older, one new.
	f.send(t, push, document(organisation("u", "Old", "2026-10-01T00:00:00", office("a", "A2", "2026-10-06T00:00:00"), office("b", "B0", "2026-10-01T00:00:00"), office("c", "C1", "2026-10-01T00:00:00"))))
	f.send(t, push, document(organisation("u", "O", "2026-10-05T00:00:00", `<resource name="org_office" uuid="c" deleted="True" modified_on="2026-10-07T00:00:00"/>`)))
	got := f.read(t, "org/organisation.xml")[0]
	if diff := cmp.Diff(map[string]string{"gapless.test/a": "A2", "gapless.test/b": "B1"}, names(got.Components)); diff != "" || got.Field("name").Text != "O" {
		t.Errorf("%s\n%+v", diff, got)
	}
	got = f.read(t, push)[0]
	if !got.Components[2].Deleted {
		t.Errorf("the tombstone of a component is missing: %+v", got)
	}
	var lost []string
	for _, r := range f.read(t, "sync/conflict.xml") {
		lost = append(lost, r.Field("resource_name").Text+" "+r.Field("record_uuid").Text+" "+string(r.Field("edits").Value))
	}
	slices.Sort(lost)
	want := []string{
		`org_office b [{"field":"name","side":"remote","time":"2026-10-01T00:00:00","rule":"R20","local":"B1","remote":"B0"}]`,
		// What the peer has deleted is another version than it is known to have.
		`org_office c [{"field":"name","side":"local","time":"2026-10-01T00:00:00","rule":"R9","local":"C1"}]`,
		`org_organisation u [{"field":"name","side":"remote","time":"2026-10-01T00:00:00","rule":"R20","local":"O","remote":"Old"}]`,
	}
	if diff := cmp.Diff(want, lost); diff != "" {
		t.Error(diff)
	}
}

// TestIdentities covers records without a uuid, temporary identities, and a
// record that stands twice.
func TestIdentities(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	text := document(
		`<resource name="org_organisation"><data field="name">Nameless</data><reference field="region_id" resource="org_region" tuid="t1"/></resource>`,
		`<resource name="org_region" tuid="t1"><data field="name">North</data></resource>`,
		organisation("u", "first", "2026-10-01T00:00:00"), organisation("u", "second", "2026-10-01T00:00:00"),
	)
	answer := f.send(t, "org/organisation.xml", text)
	if len(answer.Created) != 2 || len(answer.Updated) != 1 || *answer.Records != 3 {
		t.Errorf("%+v", answer)
	}
	if answer = f.send(t, "org/organisation.xml", text); len(answer.Created) != 0 {
		t.Errorf("sent again: %+v", answer)
	}
	list := f.read(t, "org/organisation.xml")
	if got := slices.Sorted(maps.Values(names(list))); !slices.Equal(got, []string{"Nameless", "North", "second"}) {
		t.Errorf("%v", got)
	}
	for _, r := range list {
		if ref := r.Reference("region_id"); ref != nil && ref.UUID != list[len(list)-1].UUID {
			t.Errorf("%+v refers to nothing", r)
		}
	}
}

// TestOneRecord imports into the address of a record.
func TestOneRecord(t *testing.T) {
	t.Parallel()
	f := filled(t)
	text := document(organisation("urn:x:9", "other", ""), organisation("urn:x:2", "Beta 2", ""))
	f.send(t, "org/organisation/2.xml", text)
	if status, body := f.do(t, "PUT", "org/organisation/3.xml", text); status != 400 || !strings.Contains(body, "No matching element found in the data source") {
		t.Errorf("%d %s", status, body)
	}
	f.send(t, "org/organisation/3.s3json", `{"$_org_organisation":[{"name":"Gamma 2"}]}`)
	got := names(f.read(t, "org/organisation.xml?maxdepth=0"))
	if got["urn:x:2"] != "Beta 2" || got["urn:x:3"] != "Gamma 2" || got["urn:x:9"] != "" {
		t.Errorf("%v", got)
	}
}

// TestInvalidRecords covers documents some of whose records cannot be taken.
func TestInvalidRecords(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.register(t, peer)
	text := document(organisation("good", "Good", "2026-10-01T00:00:00"), organisation("bad", "Bad", "no time"))
	status, body := f.do(t, "POST", "org/organisation.xml", text)
	want := `{"status":"failed","statuscode":"400","records":0,"message":"Validation error","tree":{"$_org_organisation":[{"@uuid":"bad"`
	if status != 200 || !strings.HasPrefix(body, want) || !strings.Contains(body, `"@error":"Validation error: `) {
		t.Errorf("%d %s", status, body)
	}
	if got := f.read(t, "org/organisation.xml"); len(got) != 0 {
		t.Errorf("something was taken: %v", got)
	}
	answer := f.send(t, "org/organisation.xml?ignore_errors=1", text)
	if len(answer.Created) != 1 || len(answer.Tree) != 1 || answer.Message != "Validation error - invalid items ignored" {
		t.Errorf("%+v", answer)
	}
	answer = f.send(t, pushPath("org_organisation", peer), text)
	if len(answer.Updated) != 1 || len(answer.Tree) != 1 {
		t.Errorf("%+v", answer)
	}
	if log := f.read(t, "sync/log.xml"); !strings.Contains(log[len(log)-1].Field("result").Text, "warning") {
		t.Errorf("%+v", log)
	}
}

// TestMergeWithoutSurvivor: what cannot be done is not done, and not forgotten.
func TestMergeWithoutSurvivor(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.register(t, peer)
	f.send(t, pushPath("org_organisation", peer), document(organisation("urn:x:1", "One", "2026-10-01T00:00:00")))
	merge := document(`<resource name="org_organisation" uuid="urn:x:1" deleted="True" modified_on="2026-10-02T00:00:00" replaced_by="urn:x:2"/>`)
	for range 2 {
		if answer := f.send(t, pushPath("org_organisation", peer), merge); len(answer.Skipped) != 1 || len(answer.Deleted) != 0 {
			t.Errorf("%+v", answer)
		}
	}
	if got := names(f.read(t, "org/organisation.xml")); got["urn:x:1"] != "One" {
		t.Errorf("%v", got)
	}
	inbox := f.read(t, "sync/conflict.xml")
	if len(inbox) != 1 || !strings.Contains(string(inbox[0].Field("edits").Value), `"deletion":true,"side":"remote","time":"2026-10-02T00:00:00","rule":"R4"`) {
		t.Errorf("%+v", inbox)
	}
	f.send(t, pushPath("org_organisation", peer), document(organisation("urn:x:2", "Two", "2026-10-01T00:00:00")))
	if answer := f.send(t, pushPath("org_organisation", peer), merge); len(answer.Deleted) != 1 {
		t.Errorf("%+v", answer)
	}
}

// TestStrangeNames has strangers call themselves and records what they like:
// everything can be exported afterwards.
func TestStrangeNames(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	for _, name := range []string{"\x00", "\uffff", "a\nb", "<&\"'>", strings.Repeat("ü", 300)} {
		text, err := json.Marshal(map[string]string{"uuid": "urn:x:" + fmt.Sprint(len(name)), "name": name, "apitype": name})
		if err != nil {
			t.Fatal(err)
		}
		if status, answer := f.do(t, "POST", "sync/repository/register.json", string(text)); status != 200 {
			t.Errorf("%q: %d %s", name, status, answer)
		}
		f.read(t, "sync/sync.xml?resource=org_organisation&repository="+url.QueryEscape(name))
		f.do(t, "POST", "org/organisation.s3json?ignore_errors=1", `{"$_org_organisation":[{"@uuid":`+string(quoted(t, "u"+name))+`,"name":`+string(quoted(t, name))+`}]}`)
	}
	f.read(t, "sync/sync.xml?resource=org_organisation&repository=%ff%00")
	for _, path := range []string{"sync/repository.xml", "sync/log.xml", "org/organisation.xml", "org/organisation.s3json"} {
		if list := f.read(t, path); len(list) == 0 {
			t.Errorf("%s is empty", path)
		}
	}
}

func quoted(t testing.TB, text string) []byte {
	t.Helper()
	b, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestForm sends a document as a part of a form.
func TestForm(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, text := range map[string]string{"logo.png": "png", "x.xml": document(organisation("urn:x:1", "One", ""))} {
		part, err := form.CreateFormFile("f", name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(f.address+"org/organisation.xml", form.FormDataContentType(), &body)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if got := names(f.read(t, "org/organisation.xml")); got["urn:x:1"] != "One" {
		t.Errorf("%v", got)
	}
}

// TestSiblings has repositories that write the same record between two pulls:
// what the later one has not seen is kept in the inbox, what it has seen is not.
func TestSiblings(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.register(t, peer)
	f.register(t, "urn:x:other")
	one, two := pushPath("org_organisation", peer), pushPath("org_organisation", "urn:x:other")
	f.send(t, one, document(organisation("u", "by one", "2026-10-01T00:00:00")))
	f.read(t, two)
	f.read(t, two+"&msince=2026-10-01T00:00:01") // it took the answer
	f.send(t, two, document(organisation("u", "by two, who knew", "2026-10-02T00:00:00")))
	if n := len(f.read(t, "sync/conflict.xml")); n != 0 {
		t.Errorf("%d conflicts, and there was none", n)
	}
	f.send(t, one, document(organisation("u", "by one, who did not", "2026-10-03T00:00:00")))
	inbox := f.read(t, "sync/conflict.xml")
	if len(inbox) != 1 || !strings.Contains(string(inbox[0].Field("edits").Value), `"local":"by two, who knew"`) || inbox[0].Field("repository").Text != peer {
		t.Errorf("%+v", inbox)
	}
}

// TestDeepValue: a value that is nested too deeply for its record ever to be
// resolved is refused before anything is taken.
func TestDeepValue(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	office := `<resource name="org_office" uuid="o"><data field="extra" value="` + deep + `"/></resource>`
	for _, element := range []string{organisation("bad", "Bad", "", `<data field="extra" value="`+deep+`"/>`), organisation("bad", "Bad", "", office)} {
		for range 2 {
			answer := f.send(t, "org/organisation.xml?ignore_errors=1", document(organisation("good", "Good", ""), element))
			if *answer.Records != 1 || len(answer.Tree) != 1 {
				t.Errorf("%d records, %d refused, %s", *answer.Records, len(answer.Tree), answer.Message)
			}
		}
	}
}
