package s3

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// decodeSome reads a document as far as it goes; err is what ended it.
func decodeSome(r io.Reader, f Format, o DecodeOptions) (list []Resource, rejected []error, err error) {
	for r, err := range NewDecoder(r, f, o).Resources() {
		if err != nil && gapless.KindOf(err) != gapless.KindRejected {
			return list, rejected, err
		} else if err != nil {
			rejected = append(rejected, err)
		}
		list = append(list, r)
	}
	return list, rejected, nil
}

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text, want string
		format           Format
	}{
		{"end of another element", `<s3xml><resource name="a"></s3xml>`, "ends nothing", S3XML},
		{"attribute twice", `<s3xml><resource name="a" name="b"/></s3xml>`, "stands twice", S3XML},
		{"attribute without quotes", `<s3xml a=b/>`, "no value in quotes", S3XML},
		{"attributes without a space", `<s3xml a="b"c="d"/>`, "malformed attribute", S3XML},
		{"less than in an attribute", `<s3xml a="<"/>`, "< in the value", S3XML},
		{"unknown entity", `<s3xml a="&nbsp;"/>`, "malformed reference", S3XML},
		{"bare ampersand", `<s3xml>a & b</s3xml>`, "malformed reference", S3XML},
		{"reference to a control character", `<s3xml>&#1;</s3xml>`, "malformed reference", S3XML},
		{"reference beyond Unicode", `<s3xml>&#x110000;</s3xml>`, "malformed reference", S3XML},
		{"control character", "<s3xml>\x01</s3xml>", "does not allow, U+0001", S3XML},
		{"no UTF-8", "<s3xml>\xff</s3xml>", "not UTF-8", S3XML},
		{"end of a section", "<s3xml>]]></s3xml>", "]]> in text", S3XML},
		{"two dashes in a comment", "<s3xml><!-- -- --></s3xml>", "-- in a comment", S3XML},
		{"two roots", "<s3xml/><s3xml/>", "behind the root", S3XML},
		{"text behind the root", "<s3xml/>x", "outside the root", S3XML},
		{"late declaration", `<s3xml><?xml version="1.0"?></s3xml>`, "does not begin", S3XML},
		{"name that is none", `<s3xml><1/></s3xml>`, "malformed name", S3XML},
		{"XML 1.1", `<?xml version="1.1"?><s3xml/>`, "version", S3XML},
		{"UTF-16 declared", `<?xml version="1.0" encoding="UTF-16"?><s3xml/>`, `encoding "UTF-16"`, S3XML},
		{"UTF-16", "\xff\xfe<\x00s\x00", `UTF-16`, S3XML},
		{"no comma", `{"$_a":[{} {}]}`, "no comma", S3JSON},
		{"behind the end", `{} {}`, "behind the end", S3JSON},
		{"list of numbers", `{"$_a":[1]}`, "no object", S3JSON},
		{"number for a list", `{"$_a":1}`, "holds no resources", S3JSON},
		{"broken string", `{"$_a":[{"x":"\q"}]}`, "escape", S3JSON},
		{"broken number", `{"@x":01}`, "malformed", S3JSON},
		{"no UTF-8 in JSON", "{\"@x\":\"\xff\"}", "not UTF-8", S3JSON},
		{"closed by another bracket", `{"$_a":[{"x":[}]}]}`, "malformed", S3JSON},
		{"comma at the end", `{"$_a":[{}],}`, "no name", S3JSON},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := decodeSome(strings.NewReader(test.text), test.format, DecodeOptions{})
			if _, ok := errors.AsType[*SyntaxError](err); !ok || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want a syntax error with %q", err, test.want)
			}
		})
	}
}

func TestDoctype(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"laughs":   `<?xml version="1.0"?><!DOCTYPE s3xml [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><s3xml>&b;</s3xml>`,
		"external": `<!DOCTYPE s3xml SYSTEM "file:///etc/passwd"><s3xml/>`,
		"within":   `<s3xml><!ENTITY a "x"></s3xml>`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := decodeSome(strings.NewReader(text), S3XML, DecodeOptions{}); !errors.Is(err, ErrDoctype) {
				t.Errorf("%v, want %v", err, ErrDoctype)
			}
		})
	}
}

func TestContentErrors(t *testing.T) {
	t.Parallel()
	page := "<!DOCTYPE html>\n<html><head><title>\n Internal &amp; error\n</title></head></html>"
	for _, test := range []struct {
		name, text string
		format     Format
		want       ContentError
	}{
		{"page", page, S3XML, ContentError{Got: "HTML", Title: "Internal & error", Start: page}},
		{"page for JSON", page, S3JSON, ContentError{Got: "HTML", Title: "Internal & error", Start: page}},
		{"page of XHTML", `<?xml version="1.0"?><HTML><body>x`, S3XML, ContentError{Got: "HTML", Start: `<?xml version="1.0"?><HTML><body>x`}},
		{"title beyond the beginning", "<html>" + strings.Repeat(" ", 5000) + "<title>Login", S3XML, ContentError{Got: "HTML", Title: "Login", Start: "<html>" + strings.Repeat(" ", 194)}},
		{"nothing", "", S3XML, ContentError{Got: "nothing"}},
		{"blanks", " \n", S3JSON, ContentError{Got: "nothing"}},
		{"text", "Authentication Required", S3XML, ContentError{Got: "text", Start: "Authentication Required"}},
		{"text for JSON", "Authentication Required", S3JSON, ContentError{Got: "text", Start: "Authentication Required"}},
		{"answer", `{"status":"failed"}`, S3XML, ContentError{Got: "JSON", Start: `{"status":"failed"}`}},
		{"feed", `<rss/>`, S3XML, ContentError{Got: "XML", Start: `<rss/>`}},
		{"S3XML for S3JSON", `<s3xml/>`, S3JSON, ContentError{Got: "XML", Start: `<s3xml/>`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.want.Want = test.format.String()
			_, _, err := decodeSome(strings.NewReader(test.text), test.format, DecodeOptions{})
			got, ok := errors.AsType[*ContentError](err)
			if !ok {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, *got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCutOff: no beginning of a document passes for the whole, and every
// resource that was complete is read.
func TestCutOff(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]Format{"everything.xml": S3XML, "organisation.xml": S3XML, "organisation.s3json": S3JSON} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, err := os.ReadFile("testdata/" + name)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.TrimSpace(string(all))
			want, _, err := decodeSome(strings.NewReader(text), f, DecodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for n := range len(text) {
				got, _, err := decodeSome(iotest.DataErrReader(strings.NewReader(text[:n])), f, DecodeOptions{})
				if err == nil {
					t.Fatalf("%q passes", text[:n])
				}
				if len(got) > 0 {
					if diff := cmp.Diff(want[:len(got)], got); diff != "" {
						t.Fatal(diff)
					}
				}
			}
		})
	}
}

// TestReaders: how a stream is cut into pieces does not matter, and its errors
// are passed on.
func TestReaders(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]Format{"everything.xml": S3XML, "organisation.s3json": S3JSON} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("testdata/" + name)
			if err != nil {
				t.Fatal(err)
			}
			want, _, err := decodeSome(strings.NewReader(string(text)), f, DecodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := decodeSome(iotest.OneByteReader(strings.NewReader(string(text))), f, DecodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			broken := errors.New("connection lost")
			for _, n := range []int{0, 1, 20, 1500, len(text) - 1} {
				r := io.MultiReader(strings.NewReader(string(text[:min(n, len(text))])), iotest.ErrReader(broken))
				if _, _, err := decodeSome(r, f, DecodeOptions{}); !errors.Is(err, broken) {
					t.Errorf("after %d bytes %v, want %v", n, err, broken)
				}
			}
		})
	}
}

// endless reads a beginning and then the same piece for ever.
type endless struct {
	rest, piece string
	read        int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.rest == "" {
		e.rest = e.piece
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	e.read += n
	return n, nil
}

// TestLimits: a document without end is given up long before memory is.
func TestLimits(t *testing.T) {
	t.Parallel()
	limits := Limits{DocumentBytes: 8 << 20, ResourceBytes: 1 << 20, TokenBytes: 256 << 10, Depth: 10, Elements: 1000, Attributes: 20}
	const begin = `<s3xml><resource name="a">`
	for _, test := range []struct {
		name, begin, piece string
		format             Format
		what               string
		most               int // bytes read
	}{
		{"attribute", `<s3xml><resource name="`, "a", S3XML, "tag", 1 << 20},
		{"tag name", `<s3xml><`, "a", S3XML, "tag", 1 << 20},
		{"end tag", `<s3xml></s3xml`, " ", S3XML, "tag", 1 << 20},
		{"text", begin + `<data field="a">`, "a", S3XML, "text", 1 << 20},
		{"texts", begin + `<data field="a">`, "a<!---->", S3XML, "resource", 2 << 20},
		{"section", begin + `<data field="a"><![CDATA[`, "]", S3XML, "text", 1 << 20},
		{"comment", `<s3xml><!--`, "a", S3XML, "text", 1 << 20},
		{"comments", `<s3xml>`, "<!-- -->", S3XML, "resource", 2 << 20},
		{"comments before the root", ``, "<!-- -->", S3XML, "resource", 2 << 20},
		{"instruction", `<s3xml><?a `, "a", S3XML, "text", 1 << 20},
		{"depth", `<s3xml>`, `<resource name="a">`, S3XML, "levels", 1 << 20},
		{"depth of the unknown", `<s3xml>`, `<x>`, S3XML, "levels", 1 << 20},
		{"inline depth", begin, `<reference field="a"><resource name="a">`, S3XML, "levels", 1 << 20},
		{"elements", begin, `<data field="a"/>`, S3XML, "elements", 1 << 20},
		{"unknown elements", begin, `<x/>`, S3XML, "elements", 1 << 20},
		{"attributes", `<s3xml a="`, `" b="" c="" d="" e="" f="" g="" h="" i="" j="" k="" l="" m="" n="" o="" p="" q="" r="" s="" t="" u="" v="" w=""><resource name="`, S3XML, "attributes", 1 << 20},
		{"white space in the root", `<s3xml>`, " ", S3XML, "text", 1 << 20},
		{"resources", `<s3xml>`, `<resource name="a" uuid="` + strings.Repeat("u", 10_000) + `"/>`, S3XML, "document", 9 << 20},
		{"string", `{"$_a":[{"b":"`, "a", S3JSON, "value", 3 << 20},
		{"attribute in JSON", `{"@a":"`, "a", S3JSON, "value", 3 << 20},
		{"member in JSON", `{"`, "a", S3JSON, "value", 3 << 20},
		{"number", `{"a":`, "1", S3JSON, "value", 3 << 20},
		{"text in JSON", `{"$_a":[{"b":"` + strings.Repeat("a", 300<<10) + `"}`, `,{}`, S3JSON, "text", 1 << 20},
		{"depth in JSON", `{"$_a":[{"b":`, "[", S3JSON, "levels", 1 << 20},
		{"depth in the root", `{"b":`, "[", S3JSON, "levels", 1 << 20},
		{"elements in JSON", `{"$_a":[{"$_b":[{}` + strings.Repeat(`,{"x":""}`, 1000) + `]}`, `,{}`, S3JSON, "elements", 1 << 20},
		{"resources in JSON", `{"$_a":[{}`, `,{"@uuid":"` + strings.Repeat("u", 10_000) + `"}`, S3JSON, "document", 9 << 20},
		{"white space in JSON", `{`, ` `, S3JSON, "document", 9 << 20},
		{"attributes of the root", `{"@a1":""`, `,"@a":""`, S3JSON, "document", 9 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := &endless{rest: test.begin, piece: test.piece}
			_, _, err := decodeSome(r, test.format, DecodeOptions{Limits: limits})
			limit, ok := errors.AsType[*LimitError](err)
			if !ok || !strings.Contains(limit.What, test.what) {
				t.Errorf("%v, want a limit of %s", err, test.what)
			}
			if r.read > test.most {
				t.Errorf("read %d bytes, want at most %d", r.read, test.most)
			}
		})
	}
}

// TestBigDocument: what a decoder holds does not grow with the document, and a
// gigabyte in one attribute is not waited for.
func TestBigDocument(t *testing.T) {
	t.Parallel()
	d := NewDecoder(&endless{rest: `<s3xml>`, piece: `<resource name="a" uuid="1"><data field="b">some text</data></resource>`}, S3XML, DecodeOptions{})
	n := 0
	for _, err := range d.Resources() {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 100_000 {
			break
		}
	}
	if got := cap(d.reader.(*xmlReader).buf); got > windowBytes {
		t.Errorf("the window has %d bytes, want %d", got, windowBytes)
	}
	gigabyte := &endless{rest: `<s3xml><resource name="`, piece: strings.Repeat("a", 1<<16)}
	_, _, err := decodeSome(io.LimitReader(gigabyte, 1<<30), S3XML, DecodeOptions{})
	if _, ok := errors.AsType[*LimitError](err); !ok || gigabyte.read > 3*DefaultLimits().TokenBytes {
		t.Errorf("%v after %d bytes", err, gigabyte.read)
	}
}

// TestRejected: what is wrong with one resource does not end the document.
func TestRejected(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string]struct {
		text   string
		format Format
	}{
		"XML":  {`<s3xml><resource name="a" uuid="1" modified_on="soon"/><resource name="a" uuid="2"><resource name="b" mci="x"/></resource><resource uuid="3"/><resource name="a" uuid="4"><data>x</data><reference/></resource><resource name="a" uuid="5"/></s3xml>`, S3XML},
		"JSON": {`{"$_a":[{"@uuid":"1","@modified_on":"soon"},{"@uuid":"2","$_b":[{"@mci":"x"}]},{"@uuid":"3","$_b":1},{"@uuid":"4","$k_x":"y"},{"@uuid":"5"}]}`, S3JSON},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, rejected, err := decodeSome(strings.NewReader(doc.text), doc.format, DecodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(list) != 5 || len(rejected) != 4 {
				t.Fatalf("%d resources, %d rejected: %v", len(list), len(rejected), rejected)
			}
			for i, err := range rejected {
				failure, ok := errors.AsType[*gapless.Failure](err)
				if !ok || failure.Key != list[i].UUID || failure.Key == "" {
					t.Errorf("%v of %q", err, list[i].UUID)
				}
			}
		})
	}
}

func TestCharsets(t *testing.T) {
	t.Parallel()
	const document = `<s3xml><resource name="a"><data field="b">%</data></resource></s3xml>`
	for _, test := range []struct{ name, begin, in, want string }{
		{"UTF-8", "", "ä€", "ä€"},
		{"byte order mark", "\uFEFF", "ä", "ä"},
		{"declared UTF-8", "<?xml version='1.0' encoding='utf-8'?>\n", "ä", "ä"},
		{"mark and declaration", "\uFEFF<?xml version=\"1.0\" encoding=\"UTF-8\" standalone='yes' ?>", "ä", "ä"},
		{"ISO-8859-1", "<?xml version='1.0' encoding='ISO-8859-1'?>", "\xe4\x80", "ä\u0080"},
		{"Windows-1252", "<?xml version='1.0' encoding='Windows-1252'?>", "\xe4\x80\x9f\x81", "ä€Ÿ\u0081"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, list := decodeAll(t, S3XML, test.begin+strings.Replace(document, "%", test.in, 1))
			if got := list[0].Fields[0].Text; got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// TestRefusedByEncoders: what a notation cannot carry is refused, and the
// document goes on without it.
func TestRefusedByEncoders(t *testing.T) {
	t.Parallel()
	both := []Format{S3XML, S3JSON}
	for _, test := range []struct {
		name    string
		formats []Format
		r       Resource
	}{
		{"no name", both, Resource{}},
		{"control character", []Format{S3XML}, Resource{Name: "a", Fields: []Field{{Name: "b", Text: "\x01"}}}},
		{"no UTF-8", both, Resource{Name: "a", UUID: "\xff"}},
		{"broken value", both, Resource{Name: "a", Fields: []Field{{Name: "b", Value: []byte(`1,"c":2`)}}}},
		{"empty value", both, Resource{Name: "a", Fields: []Field{{Name: "b", Value: []byte{}}}}},
		{"field without a name", both, Resource{Name: "a", Fields: []Field{{}}}},
		{"reference without a field", both, Resource{Name: "a", References: []Reference{{}}}},
		{"component without a name", both, Resource{Name: "a", Components: []Resource{{}}}},
		{"known among the others", both, Resource{Name: "a", Other: []Attribute{{"uuid", "x"}}}},
		{"other attribute twice", both, Resource{Name: "a", Other: []Attribute{{"x", ""}, {"x", ""}}}},
		{"other attribute without a name", both, Resource{Name: "a", Fields: []Field{{Name: "b", Other: []Attribute{{` x="`, ""}}}}}},
		{"field twice", []Format{S3JSON}, Resource{Name: "a", Fields: []Field{{Name: "b"}, {Name: "b"}}}},
		{"field like an attribute", []Format{S3JSON}, Resource{Name: "a", Fields: []Field{{Name: "@b"}}}},
		{"table that was closed", []Format{S3JSON}, Resource{Name: "first"}},
	} {
		for _, f := range test.formats {
			t.Run(test.name+" "+f.String(), func(t *testing.T) {
				t.Parallel()
				var b strings.Builder
				e := NewEncoder(&b, f, Document{}, EncodeOptions{})
				write := func(r Resource) error { return e.Encode(&r) }
				if err := errors.Join(write(Resource{Name: "first"}), write(Resource{Name: "a"})); err != nil {
					t.Fatal(err)
				}
				if err := write(test.r); gapless.KindOf(err) != gapless.KindRejected {
					t.Errorf("%v, want a rejection", err)
				}
				if err := errors.Join(write(Resource{Name: "a"}), write(Resource{Name: "last"}), e.Close()); err != nil {
					t.Fatal(err)
				}
				_, got := decodeAll(t, f, b.String())
				if diff := cmp.Diff([]Resource{{Name: "first"}, {Name: "a"}, {Name: "a"}, {Name: "last"}}, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestEncoderErrors(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	e := NewEncoder(&b, S3XML, Document{}, EncodeOptions{})
	if err := errors.Join(e.Close(), e.Close()); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if err := e.Encode(&Resource{Name: "a"}); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if _, list := decodeAll(t, S3XML, b.String()); list != nil {
		t.Error(list)
	}
	for _, f := range []Format{S3XML, S3JSON} {
		root := Document{Attributes: []Attribute{{"a b", "c"}}}
		if err := NewEncoder(&b, f, root, EncodeOptions{}).Close(); err == nil {
			t.Errorf("%s: a root attribute with a space in its name passes", f)
		}
	}
	broken := errors.New("disk full")
	e = NewEncoder(brokenWriter{broken}, S3JSON, Document{}, EncodeOptions{})
	var err error
	for range flushBytes {
		if err = e.Encode(&Resource{Name: "a"}); err != nil {
			break
		}
	}
	if !errors.Is(err, broken) || !errors.Is(e.Close(), broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }
