package s3

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestBreakingOff: a reader that stops goes on where it was.
func TestBreakingOff(t *testing.T) {
	t.Parallel()
	for f, text := range map[Format]string{
		S3XML:  `<s3xml><resource name="a"/><resource name="b"/><resource name="c"/></s3xml>`,
		S3JSON: `{"$_a":[{}],"$_b":{},"$_c":[{}]}`,
	} {
		d := NewDecoder(strings.NewReader(text), f, DecodeOptions{})
		var got []string
		for range 5 {
			for r, err := range d.Resources() {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, r.Name)
				break
			}
		}
		if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
			t.Errorf("%s: %s", f, diff)
		}
	}
	d := NewDecoder(strings.NewReader("<s3xml>"), S3XML, DecodeOptions{})
	for range 2 {
		n := 0
		for _, err := range d.Resources() {
			if n++; err == nil {
				t.Error("a document without an end passes")
			}
		}
		if n != 1 {
			t.Errorf("%d errors, want the same one each time", n)
		}
	}
}

// TestUnknownElements: what is not part of the format is left out, and said.
func TestUnknownElements(t *testing.T) {
	t.Parallel()
	for f, text := range map[Format]string{
		S3XML: `<s3xml a="b"><x><resource name="no"/></x><resource name="a"><options resource="a"><option/></options>text
			<data field="b">x<y>z</y>w</data><reference field="c"><data field="d"/></reference></resource></s3xml>`,
		S3JSON: `{"$":[{"$_no":[]}],"@a":"b","$_a":[{"$o_a":{},"$":"text","b":{"$":"xw","y":"z"},"$k_c":{"d":""}}]}`,
	} {
		d := NewDecoder(strings.NewReader(text), f, DecodeOptions{})
		for r, err := range d.Resources() {
			if err != nil {
				t.Fatal(err)
			}
			want := Resource{Name: "a", Fields: []Field{{Name: "b", Text: "xw"}}, References: []Reference{{Field: "c"}}}
			if diff := cmp.Diff(want, r); diff != "" {
				t.Errorf("%s: %s", f, diff)
			}
		}
		want := map[Format]int{S3XML: 4, S3JSON: 5}[f] // the text of a resource counts in S3JSON, where it is a member
		if d.Ignored() != want {
			t.Errorf("%s: %d elements ignored, want %d", f, d.Ignored(), want)
		}
		if got := d.Document().Get("a"); got != "b" {
			t.Errorf("%s: attribute of the root is %q", f, got)
		}
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	d := NewDocument(0)
	if d.Get("success") != "false" || d.Get("results") != "0" || d.Get("domain") != "" {
		t.Errorf("%v", d)
	}
	d = NewDocument(2)
	d.Set("domain", "vm")
	d.Set("results", "3")
	want := Document{[]Attribute{{"success", "true"}, {"results", "3"}, {"domain", "vm"}}}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
}

// TestTimeForms: times are written with a zone where that is asked for.
func TestTimeForms(t *testing.T) {
	t.Parallel()
	r := Resource{Name: "a", UUID: "1", Deleted: true, ModifiedOn: time.Date(2026, 11, 1, 12, 0, 0, 5, time.FixedZone("", 7200))}
	for form, want := range map[TimeForm]string{TimeNaive: `modified_on="2026-11-01T10:00:00"`, TimeZulu: `modified_on="2026-11-01T10:00:00Z"`} {
		var b strings.Builder
		e := NewEncoder(&b, S3XML, Document{}, EncodeOptions{Times: form})
		if err := e.Encode(&r); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s, want %s", b.String(), want)
		}
	}
}

// TestEdenRulesForTimes: a date alone is eight in the morning to an Eden.
func TestEdenRulesForTimes(t *testing.T) {
	t.Parallel()
	for rules, want := range map[Rules]string{RulesPlain: "2026-11-01T00:00:00", RulesEden: "2026-11-01T08:00:00"} {
		for f, text := range map[Format]string{
			S3XML:  `<s3xml><resource name="a" modified_on="2026-11-01"/></s3xml>`,
			S3JSON: `{"$_a":{"@modified_on":"2026-11-01"}}`,
		} {
			list, _, err := decodeSome(strings.NewReader(text), f, DecodeOptions{Rules: rules})
			if err != nil {
				t.Fatal(err)
			}
			if got := FormatTime(list[0].ModifiedOn, TimeNaive); got != want {
				t.Errorf("%s, rules %d: %s, want %s", f, rules, got, want)
			}
		}
	}
}

// TestNotationsAgree: the same document in both notations is the same.
func TestNotationsAgree(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/everything.xml")
	if err != nil {
		t.Fatal(err)
	}
	root, list := decodeAll(t, S3XML, string(text))
	gotRoot, got := decodeAll(t, S3JSON, encodeAll(t, S3JSON, root, list))
	if diff := cmp.Diff(root, gotRoot); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(groupAll(list), got); diff != "" {
		t.Error(diff)
	}
	r := list[0]
	if r.Field("tags") == nil || r.Field("none") != nil || r.Reference("none") == nil || r.Reference("tags") != nil {
		t.Error("fields and references are not found by their names")
	}
}
