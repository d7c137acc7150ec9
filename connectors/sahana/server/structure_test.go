package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// TestIntrospection: fields and options are those that records show.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.send(t, "pr/person.xml", document(
		`<resource name="pr_person" uuid="urn:x:1"><data field="first_name">Ann</data><data field="gender" value="2">female</data><data field="born" value="1999-01-02">2 Jan 1999</data><data field="size" value="1">1</data><data field="ok" value="true">Yes</data><reference field="location_id" resource="gis_location" uuid="urn:x:l"/></resource>`,
		`<resource name="pr_person" uuid="urn:x:2"><data field="gender" value="3">male</data><data field="size" value="1.5">1.5</data><data field="tags" value="[1]"/><data field="nothing" value="null"/><data field="photo" url="http://h/eden/default/download/x.png" filename="x.png"/></resource>`))
	const head = "<?xml version='1.0' encoding='utf-8'?>\n"
	field := func(name, kind, options string) string {
		return fmt.Sprintf(`<field name="%s" type="%s" readable="True" writable="True" has_options="%s"></field>`, name, kind, options)
	}
	const gender = `<select name="gender" id="pr_person_gender"><option value="2">female</option><option value="3">male</option></select>`
	for _, test := range []struct{ path, want string }{
		{"pr/person/fields.xml", head + `<fields resource="pr_person">` + strings.Join([]string{
			field("born", "date", "False"), field("first_name", "string", "False"), field("gender", "integer", "True"), field("location_id", "reference gis_location", "False"),
			field("nothing", "", "False"), field("ok", "boolean", "False"), field("photo", "upload", "False"), field("size", "double", "False"), field("tags", "list:integer", "False"),
		}, "") + `</fields>`},
		{"pr/person/options.xml?field=gender", head + gender},
		{"pr/person/options.xml", head + `<options resource="pr_person">` + gender + `</options>`},
		{"pr/person/options.xml?field=first_name", head + `<select name="" id=""></select>`},
		{"pr/person/options.s3json?field=gender", `{"option":[{"@value":"2","$":"female"},{"@value":"3","$":"male"}],"@name":"gender","@id":"pr_person_gender"}`},
		{"pr/nobody/fields.s3json", `{"field":[],"@resource":"pr_nobody"}`},
	} {
		if status, got := f.do(t, "GET", test.path, ""); status != 200 || got != test.want {
			t.Errorf("%s: %d\n%s\nwant\n%s", test.path, status, got, test.want)
		}
	}
	if status, _ := f.do(t, "POST", "pr/person/fields.xml", document()); status != 405 {
		t.Errorf("POST: %d", status)
	}
}

// componentsOf lists the components of all records, as "MASTER/COMPONENT".
func componentsOf(list []s3.Resource) string {
	var b []string
	for _, r := range list {
		for _, c := range r.Components {
			b = append(b, strings.TrimPrefix(r.UUID, "urn:x:")+"/"+strings.TrimPrefix(c.UUID, "urn:x:"))
		}
	}
	return strings.Join(b, " ")
}

// TestComponentsByName: a component can be named by the address, and chosen by
// parameters.
func TestComponentsByName(t *testing.T) {
	t.Parallel()
	f := filled(t)
	for _, test := range []struct{ path, want string }{
		{"org/organisation/1.xml", "1/off1 1/c1"},
		{"org/organisation/1/office.xml", "1/off1"},
		{"org/organisation/urn:x:1/office/urn:x:off1.xml", "1/off1"},
		{"org/organisation/1/nothing.xml", ""},
		{"org/organisation/1.xml?components=contact", "1/c1"},
		{"org/organisation/1.xml?components=none", ""},
		{"org/organisation/3.xml", "3/off1 3/c1"},
		{"org/organisation/3.xml?rcomponents=org_organisation:office,org_region:x", "3/off1"},
	} {
		got := componentsOf(f.read(t, test.path))
		if strings.HasPrefix(test.path, "org/organisation/3") {
			got = strings.ReplaceAll(got, "1/", "3/") // those of what it refers to
			if test.path == "org/organisation/3.xml" {
				test.want = "" // which come without
			}
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.path, got, test.want)
		}
	}
	if status, _ := f.do(t, "GET", "org/organisation/1/office/urn:x:none.xml", ""); status != 404 {
		t.Errorf("an unknown component: %d", status)
	}
	if status, _ := f.do(t, "DELETE", "org/organisation/1/office.xml", ""); status != 400 {
		t.Errorf("a deletion of components: %d", status)
	}
	f.send(t, "org/organisation/1/office.xml", document(organisation("urn:x:1", "Alpha Relief", "",
		`<resource name="org_office" uuid="urn:x:off2"><data field="name">Branch</data></resource>`,
		`<resource name="pr_contact" uuid="urn:x:c2"><data field="value">not exposed</data></resource>`)))
	if got := componentsOf(f.read(t, "org/organisation/1.xml?maxdepth=0")); got != "1/off1 1/off2 1/c1" {
		t.Errorf("after an import of offices: %q", got)
	}
}

// TestMergesArePointedAt: exports refer to what others have become by merges,
// one or more in a row, and follow them there.
func TestMergesArePointedAt(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	merged := func(from, to string) string {
		return fmt.Sprintf(`<resource name="org_organisation" uuid="urn:x:%s" deleted="True" replaced_by="urn:x:%s" modified_on="2026-10-09T00:00:00"/>`, from, to)
	}
	refers := func(uuid, list string) string {
		return organisation(uuid, uuid, "2026-10-01T00:00:00", `<reference field="parent_id" resource="org_organisation" uuid="urn:x:a">A</reference>`,
			`<reference field="partners" resource="org_organisation" uuid="`+list+`"/>`,
			`<resource name="org_office" uuid="urn:x:f"><reference field="host_id" resource="org_organisation" uuid="urn:x:b"/></resource>`)
	}
	f.send(t, "org/organisation.xml", document(
		organisation("urn:x:a", "A", "2026-10-01T00:00:00"), organisation("urn:x:b", "B", "2026-10-01T00:00:00"), organisation("urn:x:c", "C", "2026-10-01T00:00:00"),
		refers("urn:x:r", `[&quot;urn:x:a&quot;,&quot;urn:x:b&quot;,&quot;urn:x:other&quot;]`)))
	points := func() string {
		list := f.read(t, "org/organisation.xml?~.uuid=urn:x:r&maxdepth=1")
		r := list[0]
		return strings.ReplaceAll(r.Reference("parent_id").UUID+r.Reference("parent_id").Text+" "+strings.Join(r.Reference("partners").UUIDs, ",")+" "+
			r.Components[0].Reference("host_id").UUID+" | "+found(list[1:]), "urn:x:", "")
	}
	for _, step := range []struct{ element, want string }{
		{"", "aA a,b,other b | a b"},
		{merged("a", "b"), "b b,other b | b"},
		{merged("b", "c"), "c c,other c | c"},
		{organisation("urn:x:b", "B again", "2026-10-10T00:00:00"), "b b,other b | b"},
	} {
		f.send(t, "org/organisation.xml", document(step.element))
		if diff := cmp.Diff(step.want, points()); diff != "" {
			t.Errorf("%s: %s", step.element, diff)
		}
	}
	if got := found(f.read(t, "org/organisation.xml?~.parent_id=urn:x:b&maxdepth=0")); got != "r" {
		t.Errorf("by the survivor: %q", got)
	}
}

// TestNothingIsExportedAsEdensCanReadIt: to an Eden null is an error.
func TestNothingIsExportedAsEdensCanReadIt(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.send(t, "org/organisation.xml", document(organisation("urn:x:1", "A", "2026-10-01T00:00:00",
		`<data field="year" value="null"/>`, `<reference field="parent_id" resource="org_organisation"/>`)))
	for _, test := range []struct {
		query, want string
		not         string
	}{
		{"", `<data field="year"/>`, "parent_id"},
		{"&nulls=true", `<data field="year" value="null"/><reference field="parent_id" resource="org_organisation"/>`, "none"},
		{"&fields=name", `<data field="name">A</data>`, "year"},
	} {
		if _, got := f.do(t, "GET", "org/organisation.xml?maxdepth=0"+test.query, ""); !strings.Contains(got, test.want) || strings.Contains(got, test.not) {
			t.Errorf("%s: %s", test.query, got)
		}
	}
}

// TestCreatedByWhoeverSends: whoever sends a record that is new has created it,
// unless it says who has.
func TestCreatedByWhoeverSends(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	send := func(element string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.address+"org/organisation.xml", strings.NewReader(document(element)))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("a@example.org", "pass")
		response, err := http.DefaultClient.Do(r)
		if err != nil || response.Body.Close() != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response, err)
		}
	}
	send(organisation("urn:x:1", "A", "2026-10-01T00:00:00"))
	send(strings.Replace(organisation("urn:x:2", "B", "2026-10-01T00:00:00"), " uuid", ` created_by="b@example.org" uuid`, 1))
	f.send(t, "org/organisation.xml", document(organisation("urn:x:1", "changed", "2026-10-02T00:00:00")))
	var got []string
	for _, r := range f.read(t, "org/organisation.xml") {
		got = append(got, r.CreatedBy)
	}
	if diff := cmp.Diff([]string{"a@example.org", "b@example.org"}, got); diff != "" {
		t.Error(diff)
	}
}
