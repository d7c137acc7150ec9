package pushapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// flat is a document with the contents of its parts read.
type flat struct {
	Document
	Contents []string
}

func flatten(t testing.TB, docs []Document) []flat {
	t.Helper()
	var list []flat
	for _, d := range docs {
		f := flat{Document: d}
		f.Parts = nil
		for _, p := range d.Parts {
			content, err := p.ReadAll(t.Context(), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			f.Contents = append(f.Contents, string(content))
			p.Open, p.Name = nil, p.name()
			f.Parts = append(f.Parts, p)
		}
		list = append(list, f)
	}
	return list
}

func encode(t testing.TB, docs []Document) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteDocuments(t.Context(), &b, "b1", docs); err != nil {
		t.Fatal(err)
	}
	if size := bodySize("b1", docs); size != int64(b.Len()) {
		t.Errorf("the size is %d and %d bytes were written", size, b.Len())
	}
	return b.String()
}

func readBody(body string, limits Limits) (Form, error) {
	return ReadForm(contentType("b1"), strings.NewReader(body), limits, MemorySpool)
}

func field(name, value string) string {
	return "--b1\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
}

func TestDocumentsSurviveTheWire(t *testing.T) {
	t.Parallel()
	text := rapid.StringMatching(`[a-zA-Zäß 日:"\\%+/\r\n]{0,12}`)
	name := rapid.StringMatching(`[a-zA-Zäß 日"\\%+/]{1,8}`)
	rapid.Check(t, func(r *rapid.T) {
		var docs []Document
		for range rapid.IntRange(1, 4).Draw(r, "documents") {
			d := Document{URI: "u" + text.Draw(r, "uri"), Stamp: text.Draw(r, "stamp")}
			for range rapid.IntRange(0, 4).Draw(r, "metas") {
				d.AddMeta(name.Draw(r, "meta")+":x", text.Draw(r, "value"))
			}
			for range rapid.IntRange(0, 2).Draw(r, "directives") {
				n := rapid.SampledFrom([]string{"forcedDid", "x", "uri", "a:b"}).Draw(r, "directive")
				d.Directives = append(d.Directives, Directive{n, text.Draw(r, "value")})
			}
			for _, n := range rapid.SliceOfNDistinct(name, 0, 3, rapid.ID[string]).Draw(r, "parts") {
				d.Parts = append(d.Parts, NewPart(n, []byte(text.Draw(r, "content")), Directive{"mimeHint", text.Draw(r, "hint")}))
			}
			if err := d.Validate(); err != nil {
				r.Fatal(err)
			}
			docs = append(docs, d)
		}
		form, err := readBody(encode(t, docs), DefaultLimits())
		if err != nil {
			r.Fatal(err)
		}
		if diff := cmp.Diff(flatten(t, docs), flatten(t, form.Documents)); diff != "" {
			r.Fatal(diff)
		}
	})
}

func TestFormsAreRefused(t *testing.T) {
	t.Parallel()
	end := "--b1--\r\n"
	uri := field("PAPI_0:uri", "a")
	small := Limits{Documents: 2, Fields: 5, TextBytes: 200, PartBytes: 10}
	for _, test := range []struct {
		name, body string
		want       error
		text       string
	}{
		{"no uri", field("PAPI_7:meta:a", "x") + end, ErrInvalidParameter, `document "7"`},
		{"empty uri", field("PAPI_7:uri", "") + end, ErrInvalidParameter, "no URI"},
		{"uri twice", uri + uri + end, ErrInvalidParameter, "twice"},
		{"stamp twice", uri + field("PAPI_0:stamp", "") + field("PAPI_0:stamp", "2") + end, ErrInvalidParameter, "twice"},
		{"content twice", uri + field("PAPI_0:part_bytes:m", "1") + field("PAPI_0:part_bytes:m", "2") + end, ErrInvalidParameter, "twice"},
		{"part without a name", uri + field("PAPI_0:part_bytes:", "1") + end, ErrInvalidParameter, "part has no name"},
		{"part without a name or colon", uri + field("PAPI_0:part_bytes", "1") + end, ErrInvalidParameter, "part has no name"},
		{"part without content", uri + field("PAPI_0:part_directive:m:mimeHint", "1") + end, ErrInvalidParameter, "no content"},
		{"part with a colon", uri + field("PAPI_0:part_bytes:a:b", "1") + end, ErrInvalidParameter, "colon"},
		{"meta without a name", uri + field("PAPI_0:meta:", "1") + end, ErrInvalidParameter, "meta has no name"},
		{"meta of a broken name", uri + field("PAPI_0:meta:\xff", "1") + end, ErrInvalidParameter, "UTF-8"},
		{"value not UTF-8", uri + field("PAPI_0:meta:a", "\xff") + end, ErrInvalidParameter, "PAPI_0:meta:a"},
		{"field without a name", uri + "--b1\r\nContent-Type: text/plain\r\n\r\nx\r\n" + end, ErrInvalidParameter, "no name"},
		{"cut off in a header", uri + "--b1\r\nContent-Disp", ErrInvalidParameter, "read the body"},
		{"cut off in a value", uri + "--b1\r\nContent-Disposition: form-data; name=\"PAPI_0:meta:a\"\r\n\r\nval", ErrInvalidParameter, "read the body"},
		{"cut off in a content", uri + "--b1\r\nContent-Disposition: form-data; name=\"PAPI_0:part_bytes:a\"\r\n\r\nval", ErrInvalidParameter, "read the body"},
		{"cut off after a field", uri, ErrInvalidParameter, "read the body"},
		{"cut off after a boundary", uri + "--b1\r\n", ErrInvalidParameter, "read the body"},
		{"empty", "", ErrInvalidParameter, "read the body"},
		{"preamble", "nothing else\r\n", ErrInvalidParameter, "read the body"},
		{"too many documents", uri + field("PAPI_1:uri", "b") + field("PAPI_2:uri", "c") + end, ErrTooLarge, "documents"},
		{"too many fields", strings.Repeat(field("x", "y"), 6) + end, ErrTooLarge, "fields"},
		{"too much text", uri + field("PAPI_0:meta:a", strings.Repeat("x", 200)) + end, ErrTooLarge, "text"},
		{"too large a content", uri + field("PAPI_0:part_bytes:m", strings.Repeat("x", 11)) + end, ErrTooLarge, `part "m"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			form, err := readBody(test.body, small)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v, want %v with %q", err, test.want, test.text)
			}
			if form.Documents != nil {
				t.Errorf("%d documents", len(form.Documents))
			}
		})
	}
	form, err := readBody(uri+field("PAPI_0:part_bytes:m", strings.Repeat("x", 10))+field("PAPI_session", "1")+field("PAPI_0:url", "u")+end, small)
	if err != nil || form.Params.Get(ParamSession) != "1" || form.Documents[0].Directives[0] != (Directive{"url", "u"}) {
		t.Errorf("%+v, %v", form, err)
	}
}

func TestSpoolThatFails(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	body := field("PAPI_0:uri", "a") + field("PAPI_0:part_bytes:m", "x") + "--b1--\r\n"
	_, err := ReadForm(contentType("b1"), strings.NewReader(body), DefaultLimits(), func(io.Reader) (Part, error) { return Part{}, full })
	if !errors.Is(err, full) || !errors.Is(err, ErrUnknownError) {
		t.Error(err)
	}
}

func TestURLEncodedDocuments(t *testing.T) {
	t.Parallel()
	form, err := readURLEncoded(strings.NewReader("PAPI_a-1:meta:tag=x+y&PAPI_a-1:uri=a%2Fb&PAPI_a-1:meta:tag=z&PAPI_a-1:part_bytes:master=%00%FF&PAPI_session=9"), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	want := []flat{{Document{URI: "a/b", Metas: []Meta{{"tag", "x y"}, {"tag", "z"}}, Parts: []Part{{Name: "master", Size: 2}}}, []string{"\x00\xff"}}}
	if diff := cmp.Diff(want, flatten(t, form.Documents)); diff != "" {
		t.Error(diff)
	}
	if _, err := readURLEncoded(strings.NewReader(strings.Repeat("a=b&", 100)), Limits{TextBytes: 100, Fields: 1000}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func TestParseQuery(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("PAPI_uri=a&", 20_000)
	if values, err := ParseQuery(many, DefaultLimits()); err != nil || len(values[ParamURI]) != 20_000 {
		t.Errorf("%d, %v", len(values[ParamURI]), err)
	}
	for _, test := range []struct {
		name, query string
		want        error
	}{
		{"too many", strings.Repeat("a&", 11), ErrTooLarge},
		{"semicolon", "a=1;b=2", ErrInvalidParameter},
		{"escape", "a=%zz", ErrInvalidParameter},
		{"value not UTF-8", "a=%ff", ErrInvalidParameter},
		{"name not UTF-8", "%ff=a", ErrInvalidParameter},
		{"no name", "=a", ErrInvalidParameter},
	} {
		if values, err := ParseQuery(test.query, Limits{Fields: 10, TextBytes: 1000}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, %v", test.name, values, err)
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	read := func(text string) (entries []SyncedEntry, err error) {
		for e, err := range ReadEntries(strings.NewReader(text), EscapePlain) {
			if err != nil {
				return entries, err
			}
			entries = append(entries, e)
		}
		return entries, nil
	}
	got, err := read("D space%2Fhome 2024-05-01T10:00:00Z\nD a+b%20c rev 7\nF archive\nX what ever\nD x\nD y \nD z a\\nb\\\\\n")
	want := []SyncedEntry{
		{URI: "space/home", Stamp: "2024-05-01T10:00:00Z"},
		{URI: "a b c", Stamp: "rev 7"},
		{URI: "archive", Folder: true},
		{URI: "x"},
		{URI: "y"},
		{URI: "z", Stamp: "a\nb\\\\"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for name, text := range map[string]string{
		"torn": "D a 1\nD b", "no URI": "D \n", "no space": "D\n", "empty line": "\n", "bad escape": "D %zz\n", "too long": "D " + strings.Repeat("a", maxLineBytes) + "\n",
	} {
		if got, err := read(text); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if _, err := read("D a 1\nD b"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	long := SyncedEntry{URI: strings.Repeat("ä", 2000), Stamp: strings.Repeat("s", 200_000)}
	if got, err := read(string(AppendEntry(nil, long, EscapePlain))); err != nil || got[0] != long {
		t.Error(err)
	}
}

func TestLinesSurviveTheWire(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.StringMatching(`[a-z \\\r\n:+%ä\x00]{0,10}`)
		entry := SyncedEntry{URI: "u" + text.Draw(r, "uri"), Stamp: text.Draw(r, "stamp"), Folder: rapid.Bool().Draw(r, "folder")}
		for got, err := range ReadEntries(bytes.NewReader(AppendEntry(nil, entry, EscapeFull)), EscapeFull) {
			if err != nil || got != entry {
				r.Fatalf("%+v became %+v, %v", entry, got, err)
			}
		}
		checkpoint := CheckpointInfo{Name: text.Draw(r, "name"), Value: text.Draw(r, "value")}
		for got, err := range ReadCheckpoints(bytes.NewReader(AppendCheckpoint(nil, checkpoint, EscapeFull)), EscapeFull) {
			if err != nil || got != checkpoint {
				r.Fatalf("%+v became %+v, %v", checkpoint, got, err)
			}
		}
	})
}

func TestErrorBodies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body string
		want       Error
	}{
		{"protocol", "<error><type>InvalidParameterError</type><short_message>s</short_message><message>m &lt;1&gt;</message></error>", Error{Type: TypeInvalidParameter, Short: "s", Message: "m <1>"}},
		{"message elsewhere", "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?><a><b><message>m<i>n</i></message></b></a>", Error{Message: "mn"}},
		{"text", " out of order \n", Error{Message: "out of order"}},
		{"page", "<html><body>Bad gateway</body>", Error{}},
		{"cut off", "<error><type>X</type><message>half", Error{Type: "X", Message: "half"}},
		{"empty", "", Error{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := ReadError(strings.NewReader(test.body)); *got != test.want {
				t.Errorf("%+v", got)
			}
		})
	}
	e := invalid("a\x01<b>", "bad")
	e.Command = CommandAdd
	got := ReadError(bytes.NewReader(AppendError(nil, e)))
	if got.Type != TypeInvalidParameter || got.Message != "document a\uFFFD<b>: bad" || !errors.Is(got, ErrInvalidParameter) {
		t.Errorf("%+v", got)
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	for _, c := range Commands() {
		for _, d := range []Dialect{DialectStandard, DialectLegacy} {
			segment, found := strings.CutPrefix(c.path("wiki", d), "/papi/4/connectors/wiki/")
			if got, ok := ParseCommand(segment); !found || !ok || got != c {
				t.Errorf("%s: %s in %s", c, got, c.path("wiki", d))
			}
			if !c.Allows(c.Method(d)) || c.Allows(http.MethodPut) || c.Reads() != c.Allows(http.MethodHead) {
				t.Errorf("%s: %s", c, c.Method(d))
			}
		}
	}
	if c, ok := ParseCommand("drop"); ok {
		t.Error(c)
	}
	for _, name := range []string{"", ".", "..", "a/b", "a b", "a+b", "a%b", "a?b", "a#b", "a\\b", "a\nb", "\xff", strings.Repeat("n", 256)} {
		if err := CheckConnectorName(name); !errors.Is(err, ErrInvalidConnector) {
			t.Errorf("connector %q: %v", name, err)
		}
	}
}

func TestErrorTypes(t *testing.T) {
	t.Parallel()
	sentinels := []error{
		ErrServerUnavailable, ErrInvalidConnector, ErrInvalidParameter, ErrUnauthorized, ErrSessionExists, ErrSessionNotFound,
		ErrSessionMismatch, ErrUnknownSerial, ErrUnknownDocument, ErrTooLarge, ErrCheckpointMismatch, ErrUnknownError,
	}
	types := []ErrorType{
		TypeUnavailable, TypeInvalidConnectorName, TypeInvalidParameter, TypeUnauthorized, TypeSessionExists, TypeSessionNotFound,
		TypeSessionMismatch, TypeUnknownSerial, TypeUnknownDocument, TypeTooLarge, TypeCheckpointMismatch, TypeUnknown,
	}
	for i, typ := range types {
		err := error(Errorf(typ, "short", "message: %w", io.ErrClosedPipe))
		for j, sentinel := range sentinels {
			if errors.Is(err, sentinel) != (i == j) {
				t.Errorf("%s and %v", typ, sentinel)
			}
		}
		if e, ok := errors.AsType[*Error](err); !ok || e.HTTPStatus() < 400 || !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %+v", typ, err)
		}
	}
	if !errors.Is(&Error{Type: "FutureError"}, ErrUnknownError) {
		t.Error("a type from the future is no unknown error")
	}
}

func TestScalars(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "-1", "1.5", "18446744073709551616", "0x1", "one"} {
		if n, err := ParseSerial(text); !errors.Is(err, ErrInvalidParameter) {
			t.Errorf("serial %q: %d, %v", text, n, err)
		}
	}
	if n, err := ParseSerial("18446744073709551615\n"); err != nil || FormatSerial(n) != "18446744073709551615" {
		t.Error(n, err)
	}
	for _, text := range []string{"", "abc", "-1", strings.Repeat("1", 41)} {
		if id, err := ParseSessionID(text); err == nil {
			t.Errorf("session id %q: %q", text, id)
		}
	}
	if id, err := ParseSessionID("0007340218814920017"); err != nil || id != "0007340218814920017" {
		t.Error(id, err)
	}
	for _, text := range []string{"", "True", "1", "yes"} {
		if _, err := ParseBool(ParamSync, text); !errors.Is(err, ErrInvalidParameter) || !strings.Contains(err.Error(), ParamSync) {
			t.Errorf("boolean %q: %v", text, err)
		}
	}
	for _, name := range []string{"", "recursive_documents", "RECURSIVE_FOLDERS"} {
		if _, err := ParseEnumerationMode(name); !errors.Is(err, ErrInvalidParameter) {
			t.Errorf("mode %q: %v", name, err)
		}
	}
}

func TestExtensionLines(t *testing.T) {
	t.Parallel()
	capabilities := []Capability{CapabilityCommit, "of the future"}
	if got, err := ReadCapabilities(bytes.NewReader(AppendCapabilities(nil, capabilities))); err != nil || !cmp.Equal(got, capabilities) {
		t.Error(got, err)
	}
	items := []Item{{"a b", TypeTooLarge, "two\nlines \\n"}, {"c", TypeUnknown, ""}}
	var body []byte
	for _, item := range items {
		body = AppendItem(body, item)
	}
	if got, err := ReadItems(bytes.NewReader(body)); err != nil || !cmp.Equal(got, items) {
		t.Error(got, err)
	}
	changes := []ChangeEntry{{1, false, "a b"}, {9, true, "c%"}}
	body = nil
	for _, c := range changes {
		body = AppendChange(body, c)
	}
	var got []ChangeEntry
	collect := func(c ChangeEntry) error { got = append(got, c); return nil }
	if _, err := ReadChanges(bytes.NewReader(body), collect); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	got = nil
	if through, err := ReadChanges(bytes.NewReader(AppendChangesEnd(body, 12)), collect); err != nil || through != 12 || !cmp.Equal(got, changes) {
		t.Error(through, got, err)
	}
	for name, text := range map[string]string{"no letter": "1\n", "no URI": "1 A \n", "letter": "1 Q a\n", "serial": "x A a\n"} {
		if _, err := ReadChanges(strings.NewReader(text), collect); err == nil {
			t.Error(name)
		}
	}
	for name, text := range map[string]string{"no type": "a\n", "no message": "a b\n", "no URI": " b c\n", "torn": "a b c"} {
		if _, err := ReadItems(strings.NewReader(text)); err == nil {
			t.Error(name)
		}
	}
	for name, text := range map[string]string{"empty": "\n", "torn": "a"} {
		if _, err := ReadCapabilities(strings.NewReader(text)); err == nil {
			t.Error(name)
		}
	}
	var one, two Digest
	_, _ = one.Write([]byte("D a\nD b\n"))
	_, _ = two.Write([]byte("D a\n"))
	short := two.String()
	_, _ = two.Write([]byte("D b\n"))
	if one.String() != two.String() || one.String() == short || !strings.HasPrefix(short, "1-") {
		t.Error(one.String(), two.String(), short)
	}
}
