package s3

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// text is any text that XML can carry.
func text(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"", "x", "123", "true", "null", "NaN", "-Infinity", " 1 ", "\"q\"", "[1]", "[\"a\"]", "{}", "a]]>b", "<&>\"'", "\r\n\t\r", "  ", "\u200e+1 5", "\u0085", "𝄞", "None", "@x", "$y", "_z", "\\u0001"}),
		rapid.StringOf(rapid.Rune().Filter(isXMLRune)),
	).Draw(t, label)
}

// word is a name of a field or a table.
func word(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"name", "acronym", "_meta", "_components", "__x", "_", "value", "uuid", "a b", "ü<\">&'"}),
		rapid.StringMatching(`[a-z][a-z_]{0,8}`),
	).Draw(t, label)
}

func others(t *rapid.T, element string) []Attribute {
	var list []Attribute
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zA-Z_][a-z0-9_.-]{0,5}`), 0, 3, rapid.ID).Draw(t, "other names")
	for _, name := range append(names, rapid.SampledFrom([][]string{nil, {"xml:lang"}}).Draw(t, "colon")...) {
		if !known(element, name) {
			list = append(list, Attribute{name, text(t, "other value")})
		}
	}
	return list
}

func value(t *rapid.T) json.RawMessage {
	return json.RawMessage(rapid.OneOf(
		rapid.SampledFrom([]string{`null`, `true`, `false`, `0`, `-1.50e+3`, `12345678901234567890`, `[]`, `{}`, `[1,"a",null]`, `{"a":[{"b":"\u00e9 x"}]}`, `"\u0001"`, `"\r"`}),
		rapid.Custom(func(t *rapid.T) string { return string(appendString(nil, text(t, "string value"))) }),
	).Draw(t, "value"))
}

func moment(t *rapid.T, label string) time.Time {
	if rapid.Bool().Draw(t, label+" unsaid") {
		return time.Time{}
	}
	return time.Unix(rapid.Int64Range(-62135596799, 253402300799).Draw(t, label), 0).UTC()
}

func drawField(t *rapid.T, name string) Field {
	f := Field{Name: name, Text: text(t, "text")}
	if rapid.Bool().Draw(t, "has value") {
		f.Value = value(t)
	}
	if rapid.IntRange(0, 4).Draw(t, "upload") == 0 {
		f.URL, f.Filename, f.Error, f.Other = text(t, "url"), text(t, "filename"), text(t, "error"), others(t, "data")
	}
	return f
}

func drawReference(t *rapid.T, field string, depth int) Reference {
	f := Reference{Field: field, Resource: rapid.SampledFrom([]string{"", "gis_location", "pr_person"}).Draw(t, "resource"), Text: text(t, "text")}
	switch rapid.IntRange(0, 3).Draw(t, "key") {
	case 0:
		f.UUID = text(t, "uuid")
		if strings.HasPrefix(f.UUID, "[") {
			f.UUID = "x" + f.UUID // would be a list
		}
	case 1:
		f.UUIDs = rapid.SliceOf(rapid.SampledFrom([]string{"", "a", "ü\"", "[]"})).Draw(t, "uuids")
		f.UUIDs = append([]string{}, f.UUIDs...)
	case 2:
		f.TUID = text(t, "tuid")
	}
	if rapid.IntRange(0, 3).Draw(t, "located") == 0 {
		f.Lat, f.Lon, f.Error, f.Other = rapid.SampledFrom([]string{"1.50", "-7", "north", "01", ""}).Draw(t, "lat"), text(t, "lon"), text(t, "error"), others(t, "reference")
	}
	if depth > 0 && rapid.IntRange(0, 3).Draw(t, "inline") == 0 {
		f.Inline = drawResources(t, depth-1)
	}
	return f
}

func drawResources(t *rapid.T, depth int) []Resource {
	var list []Resource
	for range rapid.IntRange(0, 3).Draw(t, "resources") {
		list = append(list, drawResource(t, depth))
	}
	return byTable(list)
}

func drawResource(t *rapid.T, depth int) Resource {
	r := Resource{Name: word(t, "table"), UUID: text(t, "uuid"), ModifiedOn: moment(t, "modified on")}
	if rapid.Bool().Draw(t, "metadata") {
		r.Alias, r.TUID, r.CreatedOn = text(t, "alias"), text(t, "tuid"), moment(t, "created on")
		r.CreatedBy, r.ModifiedBy, r.OwnedByUser, r.OwnedByGroup = text(t, "by"), text(t, "by"), text(t, "by"), text(t, "by")
		r.Deleted, r.ReplacedBy, r.Unapproved = rapid.Bool().Draw(t, "deleted"), text(t, "replaced by"), rapid.Bool().Draw(t, "unapproved")
		r.URL, r.ID, r.Error, r.Other = text(t, "url"), text(t, "id"), text(t, "error"), others(t, "resource")
		r.MCI = rapid.SampledFrom([]*int{nil, new(0), new(1), new(12)}).Draw(t, "mci")
	}
	names := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) string { return word(t, "field") }), 0, 6, rapid.ID).Draw(t, "fields")
	for i, name := range names {
		if i%3 == 2 {
			r.References = append(r.References, drawReference(t, name, depth))
		} else {
			r.Fields = append(r.Fields, drawField(t, name))
		}
	}
	if depth > 0 {
		r.Components = drawResources(t, depth-1)
	}
	return r
}

// TestRoundTrips: whatever a resource holds comes back from both notations and
// from a record, and the two notations agree.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := byTable([]Resource{drawResource(t, 2), drawResource(t, 1)})
		root := Document{Attributes: others(t, "s3xml")}
		for _, f := range []Format{S3XML, S3JSON} {
			gotRoot, got := through(t, f, f, root, want)
			if diff := cmp.Diff(root, gotRoot); diff != "" {
				t.Errorf("root through %s: %s", f, diff)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("through %s: %s", f, diff)
			}
		}
		for i := range want {
			if want[i].UUID == "" {
				want[i].UUID = "u"
			}
			record, err := want[i].Record()
			if err != nil {
				t.Fatal(err)
			}
			got, err := FromRecord(want[i].Name, record)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want[i], got); diff != "" {
				t.Errorf("through %s: %s", record.Data, diff)
			}
		}
	})
}

// through writes a document and reads it back.
func through(t *rapid.T, out, in Format, root Document, list []Resource) (Document, []Resource) {
	var b strings.Builder
	times := rapid.SampledFrom([]TimeForm{TimeNaive, TimeZulu}).Draw(t, "times")
	e := NewEncoder(&b, out, root, EncodeOptions{Times: times})
	for i := range list {
		if err := e.Encode(&list[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var got []Resource
	d := NewDecoder(strings.NewReader(b.String()), in, DecodeOptions{})
	for r, err := range d.Resources() {
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		got = append(got, r)
	}
	return d.Document(), got
}

// TestSplitJoin: components that are taken out and put back are where they
// were.
func TestSplitJoin(t *testing.T) {
	t.Parallel()
	key := func(master, component string) string {
		if master == "org_organisation" && component == "org_office" || master == "org_office" && component == "org_room" {
			return master + "_id"
		}
		return ""
	}
	rapid.Check(t, func(t *rapid.T) {
		next := 0
		var draw func(depth int) Resource
		draw = func(depth int) Resource {
			next++
			r := Resource{Name: []string{"org_room", "org_office", "org_organisation"}[depth], UUID: fmt.Sprint(next)}
			if rapid.Bool().Draw(t, "refers") {
				r.References = []Reference{{Field: "x", Resource: "org_office", UUID: "2"}}
			}
			for range rapid.IntRange(0, depth).Draw(t, "components") {
				r.Components = append(r.Components, draw(depth-1))
			}
			return r
		}
		want := draw(2)
		if rapid.Bool().Draw(t, "foreign") {
			want.Components = append([]Resource{{Name: "pr_contact", UUID: "c"}, {Name: "org_office"}}, want.Components...)
		}
		split := Split(want, key)
		if len(split) != next {
			t.Errorf("%d resources, want %d", len(split), next)
		}
		for _, r := range split {
			if slices.ContainsFunc(r.Components, func(c Resource) bool { return key(r.Name, c.Name) != "" && c.UUID != "" }) {
				t.Errorf("%s %s has components", r.Name, r.UUID)
			}
		}
		got, err := Join(split, key)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Resource{want}, got); diff != "" {
			t.Error(diff)
		}
	})
}
