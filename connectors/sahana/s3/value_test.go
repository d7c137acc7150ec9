package s3

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestValues reads fields as their types ask for, with the quirks of the
// original.
func TestValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, data string // a data element
		t          FieldType
		plain      string // the value, - for none, ! for an error
		eden       string // the same if empty
	}{
		{"text verbatim", `<data field="f">a "b"</data>`, TypeString, `"a \"b\""`, ""},
		{"text is never JSON", `<data field="f">"x"</data>`, TypeString, `"\"x\""`, ""},
		{"text that looks like a number", `<data field="f">123</data>`, TypeString, `"123"`, ""},
		{"value wins over text", `<data field="f" value="&quot;a&quot;">b</data>`, TypeString, `"a"`, ""},
		{"value that is no JSON", `<data field="f" value="a b">c</data>`, TypeString, `"a b"`, ""},
		{"number in a string", `<data field="f" value="123"/>`, TypeString, `"123"`, ""},
		{"boolean in a string", `<data field="f" value="true"/>`, TypeString, `"true"`, `"True"`},
		{"double in a string", `<data field="f" value="1.50"/>`, TypeText, `"1.50"`, `"1.5"`},
		{"large double in a string", `<data field="f" value="1e16"/>`, TypeText, `"1e16"`, `"1e+16"`},
		{"double without fraction in a string", `<data field="f" value="1e3"/>`, TypeText, `"1e3"`, `"1000.0"`},
		{"small double in a string", `<data field="f" value="0.00001"/>`, TypeText, `"0.00001"`, `"1e-05"`},
		{"minus nothing", `<data field="f" value="-0"/>`, TypeText, `"-0"`, `"0"`},
		{"infinite", `<data field="f" value="-1e999"/>`, TypeText, `"-1e999"`, `"-inf"`},
		{"null in a string", `<data field="f" value="null"/>`, TypeString, "!", ""},
		{"empty element clears a string", `<data field="f"/>`, TypeString, `""`, ""},
		{"empty value clears a string", `<data field="f" value="">x</data>`, TypeString, `""`, ""},
		{"empty element of a number", `<data field="f"/>`, TypeInteger, "-", ""},
		{"empty value of a date", `<data field="f" value=""/>`, TypeDate, "-", ""},
		{"null in a number", `<data field="f" value="null"/>`, TypeInteger, "!", ""},
		{"integer", `<data field="f" value="12">twelve</data>`, TypeInteger, "12", ""},
		{"integer in the text", `<data field="f">12</data>`, TypeInteger, "12", ""},
		{"integer with a fraction", `<data field="f" value="12.5"/>`, TypeInteger, "!", ""},
		{"integer with zeros", `<data field="f">012</data>`, TypeInteger, "!", ""},
		{"integer in words", `<data field="f">twelve</data>`, TypeInteger, "!", ""},
		{"double", `<data field="f" value="12.5"/>`, TypeDouble, "12.5", ""},
		{"double not a number", `<data field="f" value="NaN"/>`, TypeDouble, "!", ""},
		{"decimal as a string", `<data field="f" value="&quot;1.20&quot;"/>`, TypeDecimal, "1.20", ""},
		{"boolean", `<data field="f" value="false">No</data>`, TypeBoolean, "false", ""},
		{"boolean of Python", `<data field="f">True</data>`, TypeBoolean, "true", ""},
		{"None is true", `<data field="f">None</data>`, TypeBoolean, "!", "true"},
		{"boolean in words", `<data field="f">perhaps</data>`, TypeBoolean, "!", ""},
		{"date", `<data field="f" value="2026-11-01">1 November</data>`, TypeDate, `"2026-11-01"`, ""},
		{"date that is none", `<data field="f">2026-02-30</data>`, TypeDate, "!", ""},
		{"time", `<data field="f">08:30</data>`, TypeTime, `"08:30:00"`, ""},
		{"time that is none", `<data field="f">25:00</data>`, TypeTime, "!", ""},
		{"date with time", `<data field="f" value="2026-11-01T10:00:00+02:00"/>`, TypeDateTime, `"2026-11-01T08:00:00"`, ""},
		{"date without time", `<data field="f" value="2026-11-01"/>`, TypeDateTime, `"2026-11-01T00:00:00"`, `"2026-11-01T08:00:00"`},
		{"list of strings", `<data field="f" value="[&quot;a&quot;, &quot;b&quot;]">a, b</data>`, TypeListString, `["a","b"]`, ""},
		{"list of others", `<data field="f" value="[1]"/>`, TypeListString, "!", ""},
		{"list of integers", `<data field="f" value="[1, 2]"/>`, TypeListInteger, "[1,2]", ""},
		{"list of doubles", `<data field="f" value="[1.5]"/>`, TypeListInteger, "!", ""},
		{"list in the text", `<data field="f">[1]</data>`, TypeListInteger, "!", ""},
		{"JSON", `<data field="f" value="{&quot;a&quot;: [1]}"/>`, TypeJSON, `{"a":[1]}`, ""},
		{"JSON in the text is a string", `<data field="f">{"a":1}</data>`, TypeJSON, `"{\"a\":1}"`, ""},
		{"password", `<data field="f">pbkdf2$1$"x"</data>`, TypePassword, `"pbkdf2$1$\"x\""`, ""},
		{"unknown type", `<data field="f">x</data>`, "blob", "!", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, list := decodeAll(t, S3XML, `<s3xml><resource name="a">`+test.data+`</resource></s3xml>`)
			if test.eden == "" {
				test.eden = test.plain
			}
			for rules, want := range map[Rules]string{RulesPlain: test.plain, RulesEden: test.eden} {
				got, err := list[0].Fields[0].Read(test.t, rules)
				switch {
				case errors.Is(err, ErrNoValue):
					got = []byte("-")
				case err != nil:
					got = []byte("!")
				}
				if string(got) != want {
					t.Errorf("rules %d: %s (%v), want %s", rules, got, err, want)
				}
			}
		})
	}
}

// TestScalarsOfS3JSON: what Python makes of scalars, and what they say.
func TestScalarsOfS3JSON(t *testing.T) {
	t.Parallel()
	const text = `{"$_a":{"@uuid":["u"],"@id":7,"@url":null,
		"yes":true,"number":12,"nothing":null,"list":[1, 2],"text":"t",
		"value":{"@value":true},"null":{"@value":null,"$":"-"},"digits":{"@value":"12"},"quoted":{"@value":"\"12\""},
		"values":{"@value":["a"]},"count":{"$":3},
		"$k_r":{"@resource":"b","@uuid":["1","2"]},"$k_s":{"@uuid":"[\"1\"]"},"$o_x":{"option":[]}}}`
	for _, test := range []struct {
		name  string
		rules Rules
		want  Resource
	}{
		{"plain", RulesPlain, Resource{ID: "7", Fields: []Field{
			{Name: "yes", Value: []byte("true")}, {Name: "number", Value: []byte("12")}, {Name: "nothing", Value: []byte("null")},
			{Name: "list", Value: []byte("[1,2]")}, {Name: "text", Text: "t"},
			{Name: "value", Value: []byte("true")}, {Name: "null", Value: []byte("null"), Text: "-"},
			{Name: "digits", Value: []byte(`"12"`)}, {Name: "quoted", Value: []byte(`"\"12\""`)},
			{Name: "values", Value: []byte(`["a"]`)}, {Name: "count", Text: "3"},
		}}},
		{"Eden", RulesEden, Resource{ID: "7", URL: "None", Fields: []Field{
			{Name: "yes", Text: "True"}, {Name: "number", Text: "12"}, {Name: "nothing", Text: "None"},
			{Name: "list", Value: []byte("[1,2]")}, {Name: "text", Text: "t"},
			{Name: "value", Value: []byte(`"True"`)}, {Name: "null", Value: []byte(`"None"`), Text: "-"},
			{Name: "digits", Value: []byte(`12`)}, {Name: "quoted", Value: []byte(`"12"`)},
			{Name: "values", Value: []byte(`["a"]`)}, {Name: "count", Text: "3"},
		}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.want.Name, test.want.UUID = "a", `["u"]`
			test.want.References = []Reference{{Field: "r", Resource: "b", UUIDs: []string{"1", "2"}}, {Field: "s", UUIDs: []string{"1"}}}
			d := NewDecoder(strings.NewReader(text), S3JSON, DecodeOptions{Rules: test.rules})
			for got, err := range d.Resources() {
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Error(diff)
				}
			}
			if d.Ignored() != 1 {
				t.Errorf("%d members ignored, want 1", d.Ignored())
			}
		})
	}
}

func TestUpload(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		f    Field
		want UploadKind
	}{
		{"none", Field{Text: "x"}, UploadNone},
		{"part", Field{Filename: "a.txt"}, UploadPart},
		{"address", Field{Filename: "a.txt", URL: "http://vm/a"}, UploadURL},
		{"local", Field{Filename: "a.txt", URL: "local"}, UploadLocal},
	} {
		if got := test.f.Upload(); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
	for _, test := range []struct{ name, stored, want string }{
		{"padded", "pr_person.photo.abcd.b3JpZy50eHQ=.txt", "orig.txt"},
		{"not padded", "pr_person.photo.abcd.b3JpZy50eHQ.txt", "orig.txt"},
		{"with folders", "t.f.r.Li4vLi4vZXRjL3Bhc3N3ZA.txt", "passwd"},
		{"with folders of Windows", "t.f.r.Li5cYQ.txt", "a"},
		{"parent", "t.f.r.Li4.txt", ""},
		{"control character", "t.f.r.AQ.txt", ""},
		{"no base64", "t.f.r.%%.txt", ""},
		{"something else", "photo.txt", ""},
	} {
		if got, ok := OriginalName(test.stored); got != test.want || ok != (test.want != "") {
			t.Errorf("%s: %q %v, want %q", test.name, got, ok, test.want)
		}
	}
}

func TestUUIDs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ uuid, domain, want string }{
		{"1", "vm", "vm/1"}, {"urn:x", "vm", "urn:x"}, {"other/1", "vm", "other/1"}, {"1", "", "1"}, {"", "vm", ""},
	} {
		got := QualifyUUID(test.uuid, test.domain)
		if got != test.want {
			t.Errorf("%q at %q is %q, want %q", test.uuid, test.domain, got, test.want)
		}
		if back := LocalUUID(got, test.domain); back != test.uuid {
			t.Errorf("%q at %q is %q again, want %q", got, test.domain, back, test.uuid)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text, plain, eden string // empty: an error, the same
	}{
		{"2026-11-01T10:00:00", "2026-11-01T10:00:00", ""},
		{"2026-11-01T10:00:00Z", "2026-11-01T10:00:00", ""},
		{"2026-11-01t10:00:00z", "2026-11-01T10:00:00", ""},
		{"2026-11-01 10:00:00", "2026-11-01T10:00:00", ""},
		{" 2026-11-01T10:00 ", "2026-11-01T10:00:00", ""},
		{"2026-11-01T10:00:00.999999", "2026-11-01T10:00:00", ""},
		{"2026-11-01T10:00:00,5Z", "2026-11-01T10:00:00", ""},
		{"2026-11-01T10:00:00+02:00", "2026-11-01T08:00:00", ""},
		{"2026-11-01T10:00:00 -0530", "2026-11-01T15:30:00", ""},
		{"2026-11-01T00:00:00.1+02", "2026-10-31T22:00:00", ""},
		{"2026-11-01", "2026-11-01T00:00:00", "2026-11-01T08:00:00"},
		{"2028-02-29", "2028-02-29T00:00:00", "2028-02-29T08:00:00"},
		{"9999-12-31T23:59:59", "9999-12-31T23:59:59", ""},
		{"9999-12-31T23:59:59-01", "", ""},
		{"0001-01-01T00:00:00", "", ""},
		{"0001-01-01T00:00:01", "0001-01-01T00:00:01", ""},
		{"0000-01-01", "", ""},
		{"2026-02-30", "", ""},
		{"2026-00-01", "", ""},
		{"2026-13-01", "", ""},
		{"2026-11-00", "", ""},
		{"2026-11-01T24:00:00", "", ""},
		{"2026-11-01T10:60:00", "", ""},
		{"2026-11-01T10:00:60", "", ""},
		{"2026-11-01T10", "", ""},
		{"2026-11-01T10:00:00.", "", ""},
		{"2026-11-01T10:00:00+", "", ""},
		{"2026-11-01T10:00:00+24", "", ""},
		{"2026-11-01T10:00:00+02:", "", ""},
		{"2026-11-01T10:00:00ZZ", "", ""},
		{"2026-11-01T", "", ""},
		{"20261101", "", ""},
		{"", "", ""},
		{"None", "", ""},
	} {
		if test.eden == "" {
			test.eden = test.plain
		}
		for rules, want := range map[Rules]string{RulesPlain: test.plain, RulesEden: test.eden} {
			at, err := ParseTime(test.text, rules)
			if got := FormatTime(at, TimeNaive); err == nil && got != want || err != nil && want != "" {
				t.Errorf("%q is %s (%v), want %q", test.text, got, err, want)
			}
		}
	}
}

func TestMSince(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	for text, form := range map[string]TimeForm{"2026-11-01T10:00:00": TimeNaive, "2026-11-01T10:00:00Z": TimeZulu} {
		got, gotForm, err := ParseMSince(text)
		if err != nil || !got.Equal(want) || gotForm != form {
			t.Errorf("%q is %v, form %d, %v", text, got, gotForm, err)
		}
		if FormatTime(got.In(time.FixedZone("", 3600)), form) != text {
			t.Errorf("%q is written %q", text, FormatTime(got, form))
		}
	}
	for _, text := range []string{"", "2026-11-01", "2026-11-01 10:00:00", "2026-11-01T10:00:00.0", "2026-11-01T10:00", "2026-11-01T10:00:00+00:00", "2026-11-01T10:00:00z", "2026-11-01T10:00:00ZZ", " 2026-11-01T10:00:00", "2026-02-30T10:00:00", "2026-11-01T10:00:00 "} {
		if got, _, err := ParseMSince(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
