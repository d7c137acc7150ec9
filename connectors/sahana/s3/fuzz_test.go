package s3

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

func fuzzLimits() Limits {
	return Limits{DocumentBytes: 1 << 20, ResourceBytes: 1 << 16, TokenBytes: 1 << 14, Depth: 12, Elements: 500, Attributes: 20}
}

func addFiles(f *testing.F, names ...string) {
	f.Helper()
	for _, name := range names {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
}

// FuzzReadXML: what is read is written and read again as the same, in both
// notations and through records.
func FuzzReadXML(f *testing.F) {
	addFiles(f, "everything.xml", "organisation.xml", "sync.xml")
	f.Add("<?xml version='1.0' encoding='windows-1252'?><s3xml><resource name='a' uuid='\x80'/></s3xml>")
	f.Add(`<!DOCTYPE html><title>x`)
	f.Add(`<s3xml><resource name="a" uuid="1"><data field="b" value="[1, 2]">x<![CDATA[y]]>&#x7a;</data></resource></s3xml>`)
	f.Fuzz(func(t *testing.T, text string) { checkAgain(t, text, S3XML) })
}

func FuzzReadJSON(f *testing.F) {
	addFiles(f, "organisation.s3json")
	f.Add(`{"@success":"true","$_a":[{"@uuid":"1","b":null,"c":{"@value":[1],"$":"x"},"$k_d":{"@uuid":["x"],"$_e":{"f":1}},"$o_g":[]}],"h":1}`)
	f.Add(`{"$_a":{"b":"\ud800"}}`)
	f.Add(`<html>`)
	f.Fuzz(func(t *testing.T, text string) { checkAgain(t, text, S3JSON) })
}

func checkAgain(t *testing.T, text string, format Format) {
	for _, rules := range []Rules{RulesPlain, RulesEden} {
		list, _, err := decodeSome(strings.NewReader(text), format, DecodeOptions{Rules: rules, Limits: fuzzLimits()})
		if err != nil {
			continue
		}
		for _, r := range list {
			for _, f := range []Format{S3XML, S3JSON} {
				checkThrough(t, r, f)
			}
			record, err := r.Record()
			if err != nil {
				continue
			}
			again, err := FromRecord(r.Name, record)
			if err != nil {
				t.Fatalf("%v\n%s", err, record.Data)
			}
			if diff := cmp.Diff(group(r), again); diff != "" {
				t.Errorf("%s\n%s", diff, record.Data)
			}
		}
	}
}

// checkThrough writes a resource, if it can be written, and reads it again.
func checkThrough(t *testing.T, r Resource, f Format) {
	var b strings.Builder
	e := NewEncoder(&b, f, Document{}, EncodeOptions{})
	switch err := e.Encode(&r); {
	case gapless.KindOf(err) == gapless.KindRejected && err != nil:
		return
	case err != nil:
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	got, rejected, err := decodeSome(strings.NewReader(b.String()), f, DecodeOptions{})
	if err != nil || rejected != nil {
		t.Fatalf("%v %v\n%s", err, rejected, b.String())
	}
	if diff := cmp.Diff([]Resource{group(r)}, groupAll(got)); diff != "" {
		t.Errorf("%s\n%s", diff, b.String())
	}
}

// FuzzScanner compares the scanner with the parser of the standard library:
// what the one takes the other takes for the same; what only the other takes
// is one of a few things that are left out on purpose.
func FuzzScanner(f *testing.F) {
	addFiles(f, "everything.xml", "organisation.xml")
	for _, seed := range []string{
		"<a b='1' c=\"&lt;&#10;\n\"><!-- x --><?p q?>t&amp;\r\n<![CDATA[<]]></a>", "<a/>", "<a></a >", "<a:b c:d='e'/>", "<a b = 'c'/>",
		"<?>", "<!-->", "<ä/>", "<a>]]></a>", "<a b=c/>", "<a><!-----></a>", "<a><?xml version='1.0'?></a>", "<a ü='1'/>", "<a bü='1'/>", "<a b='<'/>", "<a b='&x;'/>", "<!-- --><a/> <!-- --><?x?>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(strings.ToLower(text), "<?xml") {
			return // the declaration is read before the scanner
		}
		got, err := scannerEvents(text)
		want, wantErr := standardEvents(text)
		switch {
		case err == nil && wantErr != nil:
			t.Errorf("taken, but %v", wantErr)
		case err == nil:
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		case wantErr == nil && !leftOut(err):
			t.Errorf("not taken: %v", err)
		}
	})
}

// leftOut reports whether an error is for something that the standard library
// takes: what XML itself forbids, and names beyond ASCII.
func leftOut(err error) bool {
	if _, ok := errors.AsType[*LimitError](err); ok || errors.Is(err, ErrDoctype) {
		return true
	}
	for _, reason := range []string{"stands twice", "malformed name", "malformed attribute", "malformed processing instruction", "outside the root", "behind the root", "does not begin", "does not allow", "not UTF-8", "ends nothing", "unexpected EOF", "malformed reference"} {
		if strings.Contains(err.Error(), reason) {
			return true
		}
	}
	return false
}

func scannerEvents(text string) (events []string, err error) {
	s := newXMLScanner(strings.NewReader(text), fuzzLimits())
	for {
		token, err := s.next()
		switch {
		case errors.Is(err, errEnd):
			return events, nil
		case err != nil:
			return nil, err
		}
		switch token {
		case xmlStart:
			events = append(events, "<"+s.name)
			for _, a := range s.attrs {
				events = append(events, a.Name+"="+blanks(a.Value))
			}
		case xmlEnd:
			events = append(events, ">")
		case xmlText:
			events = appendText(events, string(s.text))
		}
	}
}

func standardEvents(text string) (events []string, err error) {
	d := xml.NewDecoder(strings.NewReader(text))
	var open []xml.Name
	for {
		token, err := d.RawToken()
		switch {
		case errors.Is(err, io.EOF) && len(open) > 0:
			return nil, io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return events, nil
		case err != nil:
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			open = append(open, token.Name)
			events = append(events, "<"+rawName(token.Name))
			for _, a := range token.Attr {
				events = append(events, rawName(a.Name)+"="+blanks(a.Value))
			}
		case xml.EndElement:
			if len(open) == 0 || open[len(open)-1] != token.Name {
				return nil, errors.New("end of another element")
			}
			open = open[:len(open)-1]
			events = append(events, ">")
		case xml.CharData:
			if len(open) > 0 {
				events = appendText(events, string(token))
			}
		}
	}
}

func rawName(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

// blanks hides that the standard library keeps white space of attributes.
func blanks(value string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		return r
	}, value)
}

// appendText appends a text, or adds it to the one before.
func appendText(events []string, text string) []string {
	if n := len(events); n > 0 && strings.HasPrefix(events[n-1], "#") {
		events[n-1] += text
		return events
	}
	return append(events, "#"+text)
}

func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{"2026-11-01T10:00:00", "2026-11-01 10:00:00.5+02:00", "2026-11-01", "9999-12-31T23:59Z", "2026-11-01T10:00:00Z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		since, form, err := ParseMSince(text)
		if err == nil && FormatTime(since, form) != text {
			t.Errorf("%q is written %q", text, FormatTime(since, form))
		}
		at, errTime := ParseTime(text, RulesEden)
		if err == nil && (errTime != nil || !at.Equal(since)) {
			t.Errorf("%q is %v and %v, %v", text, since, at, errTime)
		}
		if errTime != nil {
			return
		}
		if again, err := ParseTime(FormatTime(at, TimeZulu), RulesPlain); err != nil || !again.Equal(at) {
			t.Errorf("%q is %v, then %v, %v", text, at, again, err)
		}
	})
}

func FuzzReadEnvelope(f *testing.F) {
	f.Add(`{"status":"success","statuscode":"200","records":8,"created":[3],"updated":["1"]}`)
	f.Add(`{"status":"failed","statuscode":400,"message":"x","tree":{"$_a":[{"@error":"y","b":{"@error":"z","$":""}}]}}`)
	f.Add(`<html><title>&lt;`)
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ReadEnvelope(strings.NewReader(text), fuzzLimits())
		if err != nil {
			return
		}
		written, err := e.MarshalJSON()
		if err != nil {
			return // a tree with an element that cannot be written
		}
		again, err := ReadEnvelope(strings.NewReader(string(written)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		e.Tree, again.Tree = groupAll(byTable(e.Tree)), groupAll(again.Tree)
		if diff := cmp.Diff(e, again); diff != "" {
			t.Errorf("%s\n%s", diff, written)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add("12", "x", "integer")
	f.Add(`"2026-11-01"`, "", "date")
	f.Add("[1]", "", "list:integer")
	f.Fuzz(func(_ *testing.T, value, text, kind string) {
		field := Field{Text: text, Value: jsonOf(value)}
		_, _ = field.Read(FieldType(kind), RulesEden)
		_, _ = OriginalName(text)
	})
}
