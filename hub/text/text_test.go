package text

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// content is a part of a media type and a name.
func content(media, name string, p []byte) Content {
	return Content{Type: media, Names: []string{name}, Size: int64(len(p)), Read: func(limit int64) ([]byte, error) {
		return p[:min(limit, int64(len(p)))], nil
	}}
}

func convert(t testing.TB, c Content) (string, error) {
	t.Helper()
	text, err := Convert(t.Context(), c)
	if _, ok := errors.AsType[Reason](err); err != nil && !ok {
		t.Errorf("%v is no reason", err)
	}
	if len(text) > MaxTextBytes+MaxTextBytes/2 || !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		t.Errorf("%d bytes of text that is not clean", len(text))
	}
	return string(text), err
}

// words makes what separates words one space.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestConvert(t *testing.T) {
	t.Parallel()
	const paragraph = `<w:p><w:r><w:t>Hel</w:t></w:r><w:r><w:t>lo</w:t><w:tab/><w:t>Word</w:t></w:r></w:p>`
	tests := []struct {
		name  string
		media string
		file  string
		data  []byte
		want  string
	}{
		{"plain", "text/plain", "", []byte("a b"), "a b"},
		{"Markdown by name", "", "README.md", []byte("# Title"), "# Title"},
		{"name in the type", `application/octet-stream; name="a.JSON"`, "", []byte(`{"k":"v"}`), "v"},
		{"path of Windows", "", `C:\x.y\notes.TXT`, []byte("words"), "words"},
		{"plain by itself", "application/octet-stream", "", []byte("BM looks like a bitmap"), "BM looks like a bitmap"},
		{"CSV", "text/csv", "", []byte("a;b\n1;2"), "a;b 1;2"},
		{"invalid UTF-8", "text/plain", "", []byte("a\xffb"), "a b"},
		{"Latin-1", "text/plain; charset=ISO-8859-1", "", []byte("caf\xe9 \x80"), "café €"},
		{"UTF-16 with a mark", "text/plain", "", inUTF16("Wört 😀", binary.LittleEndian), "Wört 😀"},
		{"UTF-16 with another mark", "text/plain; charset=utf-8", "", inUTF16("Wört", binary.BigEndian), "Wört"},
		{"UTF-16 without a mark", "text/plain; charset=utf-16le", "", []byte("a\x00b\x00c"), "ab"},
		{"character zero", "text/plain; charset=utf-16le", "", []byte("a\x00\x00\x00b\x00"), "a b"},
		{"ASCII in any charset", "text/plain; charset=koi8-r", "", []byte("abc"), "abc"},
		{"letters that are ligatures", "text/plain", "", []byte("ﬁ\u00adnd"), "find"},
		{"HTML", "text/html", "", []byte("<title>T</title><script>x</script>f<b>oo</b>&auml;"), "T fooä"},
		{"HTML of another charset", "text/html", "", []byte("<meta charset='windows-1252'><p>\xe4"), "ä"},
		{"HTML by itself", "", "", []byte("<!DOCTYPE html><p>x"), "x"},
		{"XML of another charset", "text/xml", "", []byte("<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe4</a>"), "ä"},
		{"XML with data", "application/atom+xml", "", []byte("<a><![CDATA[1 < 2 &amp;]]></a><b/>"), "1 < 2 &amp;"},
		{"XML with entities of its own", "text/xml", "", []byte(`<!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]><l>x &b;</l>`), "x &b;"},
		{"JSON", "application/json", "", []byte(`{"key":"one","n":[1,"two",{"k":"three"}],"x":{}} {"k":"four"}`), "one two three four"},
		{"JSON cut off", "application/json", "", []byte(`{"key":"one","k":["two","thr`), "one two"},
		{"JSON that is none", "application/problem+json", "", []byte(`{'key':'one'}`), "{'key':'one'}"},
		{"RTF", "application/rtf", "", []byte(`{\rtf1\ansi{\fonttbl{\f0 Arial;}}\b Bold\b0 , caf\'e9 \u937?\uc0\u-10179\u-8704\par{\*\x y}end\{\tab\bin3 abc!}tail`), "Bold, café Ω😀 end{ !"},
		{"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "", docx(t, paragraph+`<w:p><w:instrText>no</w:instrText><mc:Fallback><w:t>no</w:t></mc:Fallback><w:t>end &amp;</w:t></w:p>`), "Hello Word end &"},
		{"docx by its name", "application/zip", "letter.DOTM", docx(t, paragraph), "Hello Word"},
		{"docx by itself", "", "", docx(t, paragraph), "Hello Word"},
		{"docx said to be text", "text/plain", "", docx(t, paragraph), "Hello Word"},
		{"docx said to be a sheet", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "", docx(t, paragraph), "Hello Word"},
		{"parts of docx", "application/vnd.ms-word.document.macroenabled.12", "", archiveOf(t, entry{"word/header2.xml", "<h><t>two</t></h>"}, entry{"word/header10.xml", "<h><t>ten</t></h>"},
			entry{"word/document.xml", "<d><p><t>body</t></p></d>"}, entry{"word/comments.xml", "<c><p><t>said</t></p></c>"}), "body two ten said"},
		{"xlsx", "", "book.xlsx", xlsx(t, "<si><t>Total</t><rPh><t>no</t></rPh></si><si><r><t>Am</t></r><r><t>ount</t></r></si>",
			`<row><c t="s"><v>0</v></c><c><v>4711</v></c></row><row><c t="inlineStr"><is><t>inline</t></is></c><c t="str"><f>A1</f><v>text</v></c></row>`), "Invoices Total Amount 4711 inline text"},
		{"pptx", "", "talk.pptx", archiveOf(t, entry{"ppt/presentation.xml", "<p/>"}, entry{"ppt/slides/slide10.xml", "<s><a:p><a:t>last</a:t></a:p></s>"},
			entry{"ppt/slides/slide2.xml", "<s><a:p><a:t>first</a:t></a:p></s>"}, entry{"ppt/notesSlides/notesSlide1.xml", "<s><a:p><a:t>note</a:t></a:p></s>"}), "first last note"},
		{"odt", "application/vnd.oasis.opendocument.text", "", odt(t, "", `no<text:h>Title</text:h><text:p>a<text:s/>b<text:span>c</text:span></text:p><text:tracked-changes><text:p>no</text:p></text:tracked-changes>`), "Title a bc"},
		{"ods by its name", "", "x.ods", odt(t, "", `<table:table-cell><text:p>42</text:p></table:table-cell><table:table-cell><text:p>cell</text:p></table:table-cell>`), "42 cell"},
		{"pdf", "application/pdf", "", pdfOf("BT /F 12 Tf (Hello PDF) Tj ET", ""), "Hello PDF"},
		{"pdf said to be text", "text/plain", "", pdfOf("BT /F 12 Tf (Hello) Tj ET", ""), "Hello"},
		{"pdf with joined letters", "application/pdf", "", pdfOf("BT /F 12 Tf (\\256nal \\257ow) Tj ET", ""), "final flow"},
		{"pdf by its name", "", "a.pdf", pdfOf("BT /F 12 Tf (Hello) Tj ET", ""), "Hello"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := convert(t, content(tt.media, tt.file, tt.data))
			if words(got) != tt.want || err != nil {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestReasons(t *testing.T) {
	if testing.Short() {
		t.Skip("unpacks archives that are too large")
	}
	t.Parallel()
	const word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	good := docx(t, strings.Repeat("<w:p><w:t>words</w:t></w:p>", 1000))
	many := make([]entry, maxEntries+1)
	for i := range many {
		many[i].name = strings.Repeat("x", i%7+1)
	}
	tests := []struct {
		name  string
		media string
		file  string
		data  []byte
		want  string
	}{
		{"empty", "text/plain", "", nil, "it is empty"},
		{"blank", "text/plain", "", []byte(" \n"), "there is no text in it"},
		{"picture", "image/png", "a.txt", []byte("\x89PNG\r\n\x1a\n"), "no text in media type image/png"},
		{"picture by itself", "", "", []byte("\x89PNG\r\n\x1a\n\x00"), "no text in media type image/png"},
		{"no media type at all", "nonsense", "", []byte("x"), "no text in media type nonsense"},
		{"anything", "", "file.bin", []byte{1, 2, 3}, "neither its media type, nor its name, nor how it begins says what it is"},
		{"binary text", "text/plain", "", []byte{'a', 0, 1}, "it is said to be text, but is binary"},
		{"charset", "text/plain; charset=Shift_JIS", "", []byte("\x83\x65"), "no reader for the charset shift_jis"},
		{"RTF that is none", "application/rtf", "", []byte("plain"), "it does not begin like an RTF document"},
		{"deep RTF", "application/rtf", "", []byte(`{\rtf1` + strings.Repeat("{", maxGroups+1)), "its groups nest deeper than 1000"},
		{"encrypted PDF", "application/pdf", "", pdfOf("", "/Encrypt<</Filter/Standard/V 2>>"), "encrypted PDF"},
		{"damaged PDF", "application/pdf", "", pdfOf("", "")[:30], "unreadable PDF: it has no list of pages"},
		{"PDF that is none", "application/pdf", "", []byte("words"), "unreadable PDF: it does not begin like a PDF file"},
		{"scanned PDF", "application/pdf", "", pdfOf("q Q", ""), "no text in the PDF: its pages may be pictures"},
		{"old office document", word, "", []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1..."), "encrypted office document, or one in a format before 2007"},
		{"no archive", word, "", []byte("words"), "damaged archive: not a valid zip file"},
		{"archive cut off", word, "", good[:len(good)-30], "damaged archive: not a valid zip file"},
		{"archive with a wrong checksum", word, "", marked(good, 16, 0xff), "damaged office document: word/document.xml: zip: checksum error"},
		{"encrypted archive", word, "", marked(good, 8, 1), "encrypted archive"},
		{"archive of something else", "", "", archiveOf(t, entry{"a.class", "x"}), "an archive that is no office document"},
		{"too many entries", word, "", archiveOf(t, many...), "the archive has more than 10000 entries"},
		{"encrypted odt", "", "a.odt", odt(t, "<file-entry><encryption-data/></file-entry>", "<text:p>x</text:p>"), "encrypted document"},
		{"broken XML", word, "", docx(t, "<w:p><w:t>x</w:p>"), "damaged office document: word/document.xml: p ends without a beginning"},
		{"unfinished XML", word, "", archiveOf(t, entry{"word/document.xml", "<a><b>"}), "damaged office document: word/document.xml: it ends inside of b"},
		{"unfinished XML that is left out", word, "", archiveOf(t, entry{"word/document.xml", "<a><Fallback>"}), "damaged office document: word/document.xml: unexpected EOF"},
		{"deep XML", word, "", docx(t, strings.Repeat("<a>", maxElements)), "damaged office document: word/document.xml: elements nest deeper than 256"},
		{"entities", word, "", archiveOf(t, entry{"word/document.xml", `<!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]><l><t>&b;</t></l>`}), "damaged office document: word/document.xml: XML syntax error on line 1: invalid character entity &b;"},
		{"bomb", word, "", docx(t, strings.Repeat("<w:p> </w:p>", 1<<20)), "the archive unpacks to more than 250 times its size"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := convert(t, content(tt.media, tt.file, tt.data))
			if reason, _ := errors.AsType[Reason](err); string(reason) != tt.want {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// marked flips bits in every entry of an archive's directory.
func marked(archive []byte, offset int, bits byte) []byte {
	archive = bytes.Clone(archive)
	for at := range archive {
		if bytes.HasPrefix(archive[at:], []byte("PK\x01\x02")) {
			archive[at+offset] ^= bits
		}
	}
	return archive
}

// Entries that each stay within the ratio add up.
func TestArchiveIsBoundedAsAWhole(t *testing.T) {
	t.Parallel()
	want := Reason("the archive unpacks to more than 64 MiB")
	slide := "<s>" + strings.Repeat(" ", 1000) + "</s>"
	small := archiveOf(t, entry{"ppt/presentation.xml", ""}, entry{"ppt/slides/slide1.xml", slide}, entry{"ppt/slides/slide2.xml", slide})
	for left, want := range map[int64]error{3000: nil, 1500: want} {
		w := &work{ctx: t.Context(), unpacked: maxUnpacked - left}
		if err := readOffice(w, small, ""); !errors.Is(err, want) {
			t.Errorf("%d bytes left: %v, want %v", left, err, want)
		}
	}
}

// A large content gives the start of its text, whatever follows.
func TestTextIsCutOff(t *testing.T) {
	t.Parallel()
	shared := strings.Repeat("<si><t>some words in cell </t></si>", 1<<20)
	tests := []struct {
		name string
		c    Content
	}{
		{"plain", content("text/plain", "", bytes.Repeat([]byte("word "), 1<<20))},
		{"umlauts", content("text/plain", "", bytes.Repeat([]byte("ü"), 1<<20))},
		{"HTML", content("text/html", "", bytes.Repeat([]byte("<p>word "), 1<<20))},
		{"JSON", content("application/json", "", []byte("["+strings.Repeat(`"word ",`, 1<<20)))},
		{"sheet", content("", "a.xlsx", xlsx(t, shared, "<row></wrong>"))},
		{"PDF", content("", "a.pdf", pdfOf("BT /F 1 Tf "+strings.Repeat("(word ) Tj ", 1<<18), ""))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text, err := convert(t, tt.c)
			if err != nil || len(text) > MaxTextBytes || len(text) < MaxTextBytes-16 {
				t.Errorf("%d bytes, %v", len(text), err)
			}
		})
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		media, file string
		size        int64
		want        error
	}{
		{"application/pdf", "", MaxWholeBytes, nil},
		{"application/pdf", "", MaxWholeBytes + 1, Reason("larger than 32 MiB")},
		{"", "a.docx", MaxWholeBytes + 1, Reason("larger than 32 MiB")},
		{"text/plain", "", MaxWholeBytes + 1, nil},
		{"", "", 1, nil},
		{"", "", 0, Reason("it is empty")},
		{"video/mp4", "a.pdf", 1, Reason("no text in media type video/mp4")},
	} {
		if err := Refusal(Content{Type: tt.media, Names: []string{tt.file}, Size: tt.size}); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	large := content("", "", pdfOf("", ""))
	large.Size = MaxWholeBytes + 1
	if _, err := convert(t, large); !errors.Is(err, Reason("larger than 32 MiB")) {
		t.Error(err)
	}
}

func TestConvertFailsLikeItsReader(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	c := Content{Type: "text/plain", Size: 1, Read: func(int64) ([]byte, error) { return nil, broken }}
	if _, err := Convert(t.Context(), c); !errors.Is(err, broken) {
		t.Error(err)
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	for name, c := range map[string]Content{
		"sheet": content("", "a.xlsx", xlsx(t, strings.Repeat("<si> </si>", 1<<16), "")),
		"PDF":   content("", "a.pdf", pdfOf(strings.Repeat("0 ", 1<<16), "")),
		"HTML":  content("", "a.html", bytes.Repeat([]byte("<p>"), 1<<16)),
		"JSON":  content("", "a.json", bytes.Repeat([]byte("1 "), 1<<16)),
		"RTF":   content("", "a.rtf", []byte(`{\rtf1`+strings.Repeat(`\b `, 1<<16))),
	} {
		if _, err := Convert(ctx, c); !errors.Is(err, stop) {
			t.Errorf("%s: %v, want the cause of the context", name, err)
		}
	}
}

func TestPanicIsAReason(t *testing.T) {
	t.Parallel()
	w := &work{ctx: t.Context()}
	err := w.convert(&format{name: "thing", read: func(*work, []byte, string) error { panic("oops") }}, nil, "")
	if !errors.Is(err, Reason("the thing cannot be read: oops")) {
		t.Error(err)
	}
}

func FuzzConvert(f *testing.F) {
	f.Add("text/plain; charset=latin1", "a.txt", []byte("caf\xe9"))
	f.Add("", "", []byte("\xff\xfea\x00"))
	f.Add("text/html", "", []byte("<p>a<script>x</script>&lt;<![CDATA[x]]><!DOCTYPE [<a>]>"))
	f.Add("application/json", "", []byte(`{"a":["b",1,{"c":"d"}]}`))
	f.Add("", "x.rtf", []byte(`{\rtf1 a\'e9\u12?{\*\b}\bin2 ab}`))
	f.Add("", "x.pdf", pdfOf("BT /F 1 Tf (x) Tj ET", ""))
	f.Add("", "x.docx", docx(f, "<w:p><w:t>x</w:t></w:p>"))
	f.Add("", "x.xlsx", xlsx(f, "<si><t>x</t></si>", `<row><c t="s"><v>0</v></c></row>`))
	f.Add("", "x.odt", odt(f, "", "<text:p>x</text:p>"))
	f.Fuzz(func(t *testing.T, media, name string, data []byte) {
		c := content(media, name, data)
		text, err := convert(t, c)
		again, errAgain := convert(t, c)
		if text != again || (err == nil) != (errAgain == nil) {
			t.Errorf("%q, %v and then %q, %v", text, err, again, errAgain)
		}
		if err != nil && strings.Contains(err.Error(), "cannot be read:") {
			t.Errorf("a converter panics: %v", err)
		}
	})
}

// FuzzDocument is about what an office document holds, which fuzzing would not
// get at through its packing.
func FuzzDocument(f *testing.F) {
	f.Add(`<w:document><w:p><w:t>x</w:t><w:tab/></w:p></w:document>`, `<sst><si><t>x</t></si></sst>`)
	f.Add(`<office><text:p>x<text:p>y</text:p></text:p>`, `<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`)
	f.Fuzz(func(t *testing.T, body, other string) {
		for _, names := range [][2]string{
			{"word/document.xml", "word/header1.xml"}, {"xl/workbook.xml", "xl/sharedStrings.xml"},
			{"ppt/presentation.xml", "ppt/slides/slide1.xml"}, {"content.xml", "META-INF/manifest.xml"},
		} {
			_, err := convert(t, content("", "a.docx", archiveOf(t, entry{names[0], body}, entry{names[1], other})))
			if err != nil && strings.Contains(err.Error(), "cannot be read:") {
				t.Errorf("a converter panics: %v", err)
			}
		}
	})
}
