package pushapi

import (
	"bytes"
	"mime/multipart"
	"net/textproto"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzReadForm(f *testing.F) {
	f.Add(field("PAPI_0:uri", "a") + field("PAPI_0:meta:x", "y") + field("PAPI_0:part_bytes:master", "z") + "--b1--\r\n")
	f.Add(field("PAPI_0:uri", "a") + field("PAPI_0:part_directive:m:n:o", "y") + field("PAPI_0:part_bytes:m", "") + "--b1--")
	f.Add(field("PAPI_a.b-c_d:stamp", " 1 ") + field("PAPI_a.b-c_d:uri", "ä\\\" ") + field("PAPI_session", "1") + "--b1--\r\n")
	f.Add("--b1\r\nContent-Disposition: form-data; name*=utf-8''PAPI_0%3Auri\r\n\r\nx\r\n--b1--\r\n")
	f.Add("--b1--\r\n")
	f.Add("")
	limits := Limits{Documents: 50, Fields: 200, TextBytes: 1 << 16, PartBytes: 1 << 12}
	f.Fuzz(func(t *testing.T, body string) {
		form, err := readBody(body, limits)
		if err != nil {
			return
		}
		for i := range form.Documents {
			if err := form.Documents[i].Validate(); err != nil {
				return // a name with control characters is read, but not written
			}
		}
		var out bytes.Buffer
		boundary := strings.Repeat("b", 40)
		if strings.Contains(body, boundary) {
			return
		}
		if err := WriteDocuments(t.Context(), &out, boundary, form.Documents); err != nil {
			t.Fatal(err)
		}
		again, err := ReadForm(contentType(boundary), &out, DefaultLimits(), MemorySpool)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(flatten(t, form.Documents), flatten(t, again.Documents)); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzFieldName compares the short way with the long one.
func FuzzFieldName(f *testing.F) {
	for _, seed := range []string{`form-data; name="PAPI_0:uri"`, `form-data; name="a"; filename="b"`, `form-data; name="a\"b"`, `form-data; name=a`, `form-data; name=""`, "form-data; name=\"\xff\"", `form-data; name="a%22b"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, disposition string) {
		part := &multipart.Part{Header: textproto.MIMEHeader{"Content-Disposition": {disposition}}}
		short, long := fieldName(part), part.FormName()
		// The long way gives up on bytes that text has no use for.
		if short != long && long != "" {
			t.Errorf("%q is %q and %q", disposition, short, long)
		}
	})
}

func FuzzReadURLEncoded(f *testing.F) {
	f.Add("PAPI_0:uri=a&PAPI_0:meta:x=y+z&PAPI_session=1")
	f.Add("PAPI_0%3Auri=%00&;")
	f.Add("&&=&a")
	f.Fuzz(func(_ *testing.T, body string) {
		_, _ = readURLEncoded(strings.NewReader(body), Limits{Documents: 5, Fields: 50, TextBytes: 1 << 12, PartBytes: 1 << 8})
	})
}

// FuzzParseQuery compares the parser with the one of the standard library.
func FuzzParseQuery(f *testing.F) {
	f.Add("PAPI_uri=a%2Fb&PAPI_uri=c+d&x")
	f.Add("a=1;b=2")
	f.Add("%")
	f.Fuzz(func(t *testing.T, query string) {
		got, err := ParseQuery(query, DefaultLimits())
		if err != nil {
			return
		}
		want, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("%q is taken though %v", query, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzField(f *testing.F) {
	for _, seed := range []string{"PAPI_0:uri", "PAPI_0:meta:a:b", "PAPI_0:forcedDid", "PAPI_0:part_directive:a:b:c", "PAPI_session", "PAPI_:uri", "PAPI_0:", "PAPI_0:directive:uri"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		parsed := ParseField(name)
		if again := ParseField(parsed.String()); again != parsed {
			t.Errorf("%q is %+v, then %+v", name, parsed, again)
		}
	})
}

func FuzzReadEntries(f *testing.F) {
	f.Add("D a%2Fb rev 7\nF c\nX y\n", true)
	f.Add("D a \\n\\\\n\n", false)
	f.Add("D a", true)
	f.Fuzz(func(t *testing.T, text string, full bool) {
		escape := EscapePlain
		if full {
			escape = EscapeFull
		}
		for entry, err := range ReadEntries(strings.NewReader(text), escape) {
			if err != nil {
				return
			}
			for again, err := range ReadEntries(bytes.NewReader(AppendEntry(nil, entry, EscapeFull)), EscapeFull) {
				if err != nil || again != entry {
					t.Errorf("%+v became %+v, %v", entry, again, err)
				}
			}
		}
	})
}

func FuzzReadCheckpoints(f *testing.F) {
	f.Add(" value of the default\npages rev-8812\na+b \n")
	f.Add("noseparator\n")
	f.Fuzz(func(t *testing.T, text string) {
		for c, err := range ReadCheckpoints(strings.NewReader(text), EscapeFull) {
			if err != nil {
				return
			}
			for again, err := range ReadCheckpoints(bytes.NewReader(AppendCheckpoint(nil, c, EscapeFull)), EscapeFull) {
				if err != nil || again != c {
					t.Errorf("%+v became %+v, %v", c, again, err)
				}
			}
		}
	})
}

func FuzzReadError(f *testing.F) {
	f.Add("<error><type>InvalidParameterError</type><short_message>s</short_message><message>m</message></error>")
	f.Add("<message><message><![CDATA[x]]></message>")
	f.Add("plain")
	f.Fuzz(func(t *testing.T, text string) {
		e := ReadError(strings.NewReader(text))
		if len(e.Message) > maxErrorBytes {
			t.Errorf("%d bytes", len(e.Message))
		}
		_ = e.Error()
	})
}

func FuzzReadChanges(f *testing.F) {
	f.Add("1 A a%20b\n2 X c\n9 E\n")
	f.Fuzz(func(t *testing.T, text string) {
		var out []byte
		through, err := ReadChanges(strings.NewReader(text), func(c ChangeEntry) error {
			out = AppendChange(out, c)
			return nil
		})
		if err != nil {
			return
		}
		if again, err := ReadChanges(bytes.NewReader(AppendChangesEnd(out, through)), func(ChangeEntry) error { return nil }); err != nil || again != through {
			t.Error(again, err)
		}
	})
}

func FuzzReadItems(f *testing.F) {
	f.Add("a%20b InvalidParameterError why \\n not\n")
	f.Fuzz(func(t *testing.T, text string) {
		items, err := ReadItems(strings.NewReader(text))
		if err != nil {
			return
		}
		var out []byte
		for _, item := range items {
			out = AppendItem(out, item)
		}
		if again, err := ReadItems(bytes.NewReader(out)); err != nil || !cmp.Equal(again, items) {
			t.Errorf("%+v became %+v, %v", items, again, err)
		}
	})
}

func FuzzReadCapabilities(f *testing.F) {
	f.Add("escape\nform\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = ReadCapabilities(strings.NewReader(text)) })
}
