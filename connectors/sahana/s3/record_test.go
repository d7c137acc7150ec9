package s3

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// TestFromMapping: data that a mapping made, with nothing but what it knows.
func TestFromMapping(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 10, 0, 0, 5, time.FixedZone("", 3600))
	got, err := FromRecord("org_office", gapless.Record{Key: "urn:1", Modified: at, Data: []byte(
		`{"name": "HQ", "year": 1999, "open": true, "extra": {"a": [1, 2]}, "organisation_id": "urn:o", "_references": {"organisation_id": {"resource": "org_organisation"}}}`)})
	if err != nil {
		t.Fatal(err)
	}
	want := Resource{Name: "org_office", UUID: "urn:1", ModifiedOn: time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC),
		Fields:     []Field{{Name: "name", Text: "HQ"}, {Name: "year", Value: []byte("1999")}, {Name: "open", Value: []byte("true")}, {Name: "extra", Value: []byte(`{"a":[1,2]}`)}},
		References: []Reference{{Field: "organisation_id", Resource: "org_organisation", UUID: "urn:o"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDataRefused(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"_components":{"a":[`, 40) + "{}" + strings.Repeat(`]}}`, 40)
	for _, test := range []struct{ name, data, want string }{
		{"no JSON", `{`, "no JSON object"},
		{"list", `[]`, "no JSON object"},
		{"no UTF-8", "{\"a\":\"\xff\"}", "not UTF-8"},
		{"another uuid", `{"_meta":{"uuid":"2"}}`, `the uuid "2"`},
		{"unknown section", `{"_more":{}}`, "none of the sections"},
		{"section that is no object", `{"_meta":1}`, "no object"},
		{"field twice", `{"a":1,"a":2}`, "twice"},
		{"field without a name", `{"":1}`, "missing"},
		{"entry without a reference", `{"_references":{"a":{}}}`, "no members"},
		{"entry without a field", `{"a":1,"_fields":{"b":{}}}`, "no members"},
		{"entry that is no object", `{"a":1,"_fields":{"a":1}}`, "no object"},
		{"reference entry that is no object", `{"a":"x","_references":{"a":1}}`, "no object"},
		{"key that is a number", `{"a":1,"_references":{"a":{}}}`, "no key"},
		{"keys that are numbers", `{"a":[1],"_references":{"a":{}}}`, "no text"},
		{"key in the entry", `{"a":"x","_references":{"a":{"uuid":"y"}}}`, "stands in"},
		{"inline that is no object", `{"a":"x","_references":{"a":{"inline":[]}}}`, "by table"},
		{"time", `{"_meta":{"modified_on":"soon"}}`, "modified_on"},
		{"attribute that is no text", `{"_meta":{"uuid":{}}}`, "no text"},
		{"other attribute that is no text", `{"_meta":{"attributes":{"a":1}}}`, "no text"},
		{"components that are no list", `{"_components":{"a":{}}}`, "no list"},
		{"component that is no object", `{"_components":{"a":[1]}}`, "no object"},
		{"depth", deep, "levels"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := FromRecord("t", gapless.Record{Key: "1", Data: []byte(test.data)})
			if gapless.KindOf(err) != gapless.KindRejected || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want a rejection with %q", err, test.want)
			}
		})
	}
	if _, err := FromRecord("t", gapless.Record{Key: "1", Modified: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC), Data: []byte(`{}`)}); err == nil {
		t.Error("the year 12026 passes")
	}
}

func TestRecordsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		r    Resource
	}{
		{"no uuid", Resource{Name: "a"}},
		{"long uuid", Resource{Name: "a", UUID: strings.Repeat("u", gapless.MaxKeyBytes+1)}},
		{"no UTF-8", Resource{Name: "a", UUID: "1", URL: "\xff"}},
		{"field twice", Resource{Name: "a", UUID: "1", Fields: []Field{{Name: "b"}}, References: []Reference{{Field: "b"}}}},
		{"many fields, one twice", Resource{Name: "a", UUID: "1", Fields: append(make([]Field, 0, 40), Field{Name: "1"}, Field{Name: "2"}, Field{Name: "3"}, Field{Name: "4"}, Field{Name: "5"}, Field{Name: "6"}, Field{Name: "7"}, Field{Name: "8"}, Field{Name: "9"}, Field{Name: "a"}, Field{Name: "b"}, Field{Name: "c"}, Field{Name: "d"}, Field{Name: "e"}, Field{Name: "f"}, Field{Name: "g"}, Field{Name: "1"})}},
		{"broken value", Resource{Name: "a", UUID: "1", Fields: []Field{{Name: "b", Value: []byte(`1,"c":2`)}}}},
		{"component without a name", Resource{Name: "a", UUID: "1", Components: []Resource{{}}}},
		{"known among the others", Resource{Name: "a", UUID: "1", Other: []Attribute{{"uuid", "x"}}}},
		{"known among the others of a field", Resource{Name: "a", UUID: "1", Fields: []Field{{Name: "b", Other: []Attribute{{"value", "x"}}}}}},
		{"known among the others of a reference", Resource{Name: "a", UUID: "1", References: []Reference{{Field: "b", Other: []Attribute{{"uuid", "x"}}}}}},
	} {
		if record, err := test.r.Record(); gapless.KindOf(err) != gapless.KindRejected {
			t.Errorf("%s: %s, %v, want a rejection", test.name, record.Data, err)
		}
	}
}

// TestVersions: equal resources have equal versions, others do not.
func TestVersions(t *testing.T) {
	t.Parallel()
	version := func(r Resource) string {
		record, err := r.Record()
		if err != nil {
			t.Fatal(err)
		}
		return record.Version
	}
	at := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	a := version(Resource{Name: "a", UUID: "1", ModifiedOn: at, Fields: []Field{{Name: "n", Text: "x"}}})
	if b := version(Resource{Name: "a", UUID: "1", ModifiedOn: at, Fields: []Field{{Name: "n", Text: "x"}}}); a != b {
		t.Errorf("%s and %s", a, b)
	}
	if b := version(Resource{Name: "a", UUID: "1", ModifiedOn: at, Fields: []Field{{Name: "n", Text: "y"}}}); a == b {
		t.Errorf("%s twice", a)
	}
	if !strings.HasPrefix(a, "2026-11-01T10:00:00.") {
		t.Error(a)
	}
}

func TestJoinRefused(t *testing.T) {
	t.Parallel()
	key := func(master, component string) string { return "parent_id" }
	link := func(uuid, parent string) Resource {
		return Resource{Name: "a", UUID: uuid, References: []Reference{{Field: "parent_id", Resource: "a", UUID: parent}}}
	}
	if got, err := Join([]Resource{link("1", "2"), link("2", "1"), {Name: "a", UUID: "3"}}, key); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := Join([]Resource{{Name: "a", UUID: "1"}, {Name: "a", UUID: "1"}}, key); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("%v, %v", got, err)
	}
	got, err := Join([]Resource{link("1", "missing"), {Name: "a"}, {Name: "a"}}, key)
	if err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
}
