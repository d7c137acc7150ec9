package pdf

import (
	"bytes"
	"context"
	"encoding/ascii85"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	helvetica = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
	// measured has widths: every code is 500 wide.
	measured = "<</Type/Font/Subtype/TrueType/FirstChar 32/Widths[500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 " +
		"500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 " +
		"500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500]>>"
)

// textOfFile returns what Text reads.
func textOfFile(t testing.TB, data []byte) (string, error) {
	t.Helper()
	var all strings.Builder
	err := Text(t.Context(), data, func(text []byte) error {
		if !utf8.Valid(text) {
			t.Errorf("not UTF-8: %q", text)
		}
		_, err := all.Write(text)
		return err
	})
	return all.String(), err
}

func TestText(t *testing.T) {
	t.Parallel()
	meaning := packed("", "1 begincodespacerange <0000> <ffff> endcodespacerange 1 beginbfchar <0001> <03A9> endbfchar "+
		"2 beginbfrange <0002> <0003> <0061> <0010> <0011> [<00660066> <D83DDE00>] endbfrange")
	objects := "2 0 3 30 <</Type/Pages/Kids[3 0 R]>>     <</Type/Page/Contents 6 0 R/Resources<</Font<</F 5 0 R>>>>>>"
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"one string", page("BT /F 12 Tf (Hello) Tj ET", helvetica), "Hello\n"},
		{"escapes", page(`BT /F 1 Tf (a\(b\)\101\7(c)\
d) Tj <4a 4B4> Tj ET`, helvetica), "a(b)A(c)dJK@\n"},
		{"kerned", page("BT /F 10 Tf [(W) 80 (orld) -300 (wide)] TJ ET", measured), "World wide\n"},
		{"positioned letter by letter", page("BT /F 10 Tf (a) Tj 5 0 Td (b) Tj 10 0 Td (c) Tj ET", measured), "ab c\n"},
		{"lines", page("BT /F 10 Tf 12 TL (a) Tj T* (b) Tj (c) ' 1 0 (d) \" 0 -12 TD (e) Tj ET", measured), "a\nb\nc\nd\ne\n"},
		{"lines of their own objects", page("BT /F 10 Tf 1 0 0 1 50 700 Tm (a) Tj ET BT /F 10 Tf 1 0 0 1 50 680 Tm (b) Tj ET", measured), "a\nb\n"},
		{"upside down page", page("q 1 0 0 -1 0 800 cm BT /F 10 Tf 1 0 0 -1 0 20 Tm (a) Tj 15 0 Td (b) Tj ET Q", measured), "a b\n"},
		{"turned", page("BT /F 10 Tf 0 1 -1 0 5 5 Tm (a) Tj (b) Tj 0 -12 Td (c) Tj ET", measured), "ab\nc\n"},
		{"saved font", page("/F 10 Tf q /None 1 Tf BT (x) Tj ET Q BT (y) Tj ET", measured), "y\n"},
		{"differences", page("BT /F 1 Tf (abcd\\200) Tj ET", "<</Subtype/Type1/Encoding<</Differences[97/Aacute/f_i/uni20AC/g123.alt 128/eacute.sc]>>>>"), "Áfi€é\n"},
		{"encodings", page("BT /F 1 Tf (\\200\\344) Tj ET", "<</Subtype/Type1/Encoding/WinAnsiEncoding>>"), "€ä\n"},
		{"Mac", page("BT /F 1 Tf (\\200\\312x) Tj ET", "<</Subtype/TrueType/Encoding/MacRomanEncoding>>"), "Ä\u00a0x\n"},
		{"standard", page("BT /F 1 Tf (`\\256\\341) Tj ET", helvetica), "‘ﬁÆ\n"},
		{"two bytes with meaning", page("BT /F 1 Tf <0001000200030010001100ff> Tj ET", "<</Subtype/Type0/Encoding/Identity-H/ToUnicode 6 0 R>>", meaning), "Ωabff😀\n"},
		{"two bytes of Unicode", page("BT /F 1 Tf <03A90061> Tj ET", "<</Subtype/Type0/Encoding/UniJIS-UTF16-H>>"), "Ωa\n"},
		{"widths of composite fonts", page("BT /F 10 Tf <0041> Tj 3 0 Td <0042> Tj 4 0 Td <0043> Tj 12 0 Td <0044> Tj ET",
			"<</Subtype/Type0/Encoding/UniJIS-UTF16-H/DescendantFonts[<</W[65[300] 66 67 400]>>]>>"), "ABC D\n"},
		{"form", page("BT /F 1 Tf (out) Tj ET q /X Do Q", helvetica, packed("/Subtype/Form/Matrix[1 0 0 1 0 -50]", "BT /F 1 Tf (in) Tj ET")), "out\nin\n"},
		{"form in itself", page("/X Do", helvetica, packed("/Subtype/Form", "BT /F 1 Tf (x) Tj ET /X Do")), strings.Repeat("x ", maxNesting-1) + "x\n"},
		{"inline image", page("BI /W 1 ID (((\x00EIx EI BT /F 1 Tf (x) Tj ET", helvetica), "x\n"},
		{"no font", page("BT (x) Tj ET", helvetica), ""},
		{"later revision", append(page("BT /F 1 Tf (old) Tj ET", helvetica), []byte("4 0 obj\n"+packed("", "BT /F 1 Tf (new) Tj ET")+"\nendobj\n")...), "new\n"},
		{"wrong cross-references", bytes.ReplaceAll(page("BT /F 1 Tf (x) Tj ET", helvetica), []byte("00000"), []byte("12345")), "x\n"},
		{"cut off", page("BT /F 1 Tf (x) Tj ET", helvetica)[:560], "x\n"},
		{"object stream", []byte("%PDF-1.5\n5 0 obj" + helvetica + "endobj 6 0 obj" + packed("", "BT /F 1 Tf (x) Tj ET") + "endobj 9 0 obj" +
			packed("/Type/ObjStm/N 2/First 9/Filter/FlateDecode", deflate(t, objects)) +
			"endobj 8 0 obj" + packed("/Type/XRef/Root<</Pages 2 0 R>>", "") + "endobj"), "x\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := textOfFile(t, tt.data)
			if got != tt.want || err != nil {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	const content = "BT /F 1 Tf (words) Tj ET"
	tests := []struct{ name, stream string }{
		{"flate", packed("/Filter/FlateDecode", deflate(t, content))},
		{"flate without its end", packed("/Filter[/FlateDecode]", deflate(t, content)[:len(deflate(t, content))-5])},
		{"hexadecimal", packed("/Filter/ASCIIHexDecode", fmt.Sprintf("%x>", content))},
		{"base 85", packed("/Filter/ASCII85Decode", base85(content)+"~>")},
		{"runs", packed("/Filter/RunLengthDecode", "\x17"+content+"\x80")},
		{"LZW", packed("/Filter/LZWDecode", string(lzw(content)))},
		{"predicted", packed("/Filter/FlateDecode/DecodeParms<</Predictor 12/Columns 8>>", deflate(t, upward(content, 8)))},
		{"chain", packed("/Filter[/ASCIIHexDecode/FlateDecode]", fmt.Sprintf("%x", deflate(t, content)))},
		{"wrong length", "<</Length 3>>\nstream\r\n" + content + "\nendstream"},
		{"length elsewhere", "<</Length 6 0 R>>\nstream\n" + content + "\nendstream"},
		{"length of itself", "<</Length 4 0 R>>\nstream\n" + content + "\nendstream"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data := document("<</Type/Catalog/Pages 2 0 R>>", "<</Kids[3 0 R]/Resources<</Font<</F 5 0 R>>>>>>", "<</Contents[4 0 R]>>", tt.stream, helvetica, "24")
			if got, err := textOfFile(t, data); !strings.HasPrefix(got, "words") || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func base85(content string) string {
	text := make([]byte, ascii85.MaxEncodedLen(len(content)))
	return string(text[:ascii85.Encode(text, []byte(content))])
}

// upward replaces rows of bytes by their difference to the row above.
func upward(content string, columns int) string {
	var rows []byte
	for i := range len(content) {
		if i%columns == 0 {
			rows = append(rows, 2)
		}
		c := content[i]
		if i >= columns {
			c -= content[i-columns]
		}
		rows = append(rows, c)
	}
	return string(rows)
}

// lzw packs bytes with codes of 9 bits.
func lzw(content string) (packed []byte) {
	bits, have := uint(0), 0
	codes := []uint{lzwClear}
	for i := range len(content) {
		codes = append(codes, uint(content[i]))
	}
	for _, code := range append(codes, lzwEnd, 0) {
		bits, have = bits<<9|code, have+9
		for ; have >= 8; have -= 8 {
			packed = append(packed, byte(bits>>(have-8)))
		}
	}
	return packed
}

func TestRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("unpacks streams that are too large")
	}
	t.Parallel()
	good := page("BT /F 1 Tf (x) Tj ET", helvetica)
	bomb := deflate(t, strings.Repeat("0 ", maxUnpacked/2+1))
	tests := []struct {
		name string
		data []byte
		want error
	}{
		{"empty", nil, errNoHeader},
		{"something else", []byte("PK\x03\x04"), errNoHeader},
		{"only a header", []byte("%PDF-1.4\n"), errNoPages},
		{"cut off before its pages", good[:40], errNoPages},
		{"encrypted", bytes.Replace(good, []byte("/Root"), []byte("/Encrypt<</Filter/Standard>>/Root"), 1), ErrEncrypted},
		{"unpacks to too much", page("/X Do", helvetica, packed("/Subtype/Form/Filter/FlateDecode", bomb)), errUnpacked},
		{"the same stream for ever", page(strings.Repeat("/X Do ", 5000), helvetica, packed("/Subtype/Form", strings.Repeat(" ", 20000))), errUnpacked},
		{"too many objects", []byte("%PDF-1.4\n" + strings.Repeat("1 0 obj ", maxObjects+2)), errObjects},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := textOfFile(t, tt.data); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// Files that lie about sizes, nest or go in circles come to an end.
func TestHostile(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 1<<20)
	tests := []struct {
		name string
		data []byte
	}{
		{"huge sizes", []byte("%PDF-1.5\n1 0 obj <</Type/XRef/Size 8000000000/W[1 2 1]/Index[9999999999 4]/Length 99999999999/Root<</Pages<</Kids[]>>>>>>\nstream\nabcd\nendstream endobj")},
		{"deep arrays", page(deep, helvetica)},
		{"deep dictionaries", page(strings.Repeat("<</A", 1<<22), helvetica)},
		{"deep objects", document("<</Pages<</Kids "+deep+">>>>", deep)},
		{"pages in a circle", document("<</Pages 2 0 R>>", "<</Kids[2 0 R 3 0 R]>>", "<</Kids[2 0 R 3 0 R]>>")},
		{"reference to itself", document("<</Pages 2 0 R>>", "<</Kids 3 0 R>>", "3 0 R")},
		{"columns", page("/X Do", helvetica, packed("/Subtype/Form/Filter/ASCIIHexDecode/DecodeParms<</Predictor 12/Columns 65536/Colors 65536/BitsPerComponent 65536>>", "0201"))},
		{"wide ranges", page("BT /F 1 Tf (x) Tj ET", "<</Subtype/Type0/ToUnicode 6 0 R/DescendantFonts[<</W[0 99999999 5 0 2147483648 1]>>]>>", packed("", "<00000000> <ffffffff> <0041> endbfrange"))},
		{"numbers", page("BT /F 1e9 Tf 0 0 0 0 0 0 Tm (x) Tj (y) Tj "+strings.Repeat("9", 400)+" 0 Td (z) Tj ET", helvetica)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := textOfFile(t, tt.data); err != nil && !errors.Is(err, errNoPages) {
				t.Error(err)
			}
		})
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	data := page("BT /F 1 Tf (x) Tj ET", helvetica)
	full := errors.New("full")
	if err := Text(t.Context(), data, func([]byte) error { return full }); !errors.Is(err, full) {
		t.Errorf("%v, want the error of emit", err)
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	busy := page(strings.Repeat("(x) Tj ", workBetweenChecks), helvetica)
	if err := Text(ctx, busy, func([]byte) error { return nil }); !errors.Is(err, stop) {
		t.Errorf("%v, want the cause of the context", err)
	}
}

func FuzzText(f *testing.F) {
	f.Add(page("BT /F 12 Tf (Hello) Tj [(a) -300 <62>] TJ ET", helvetica))
	f.Add(page("BT /F 1 Tf <0001> Tj ET q /X Do Q", "<</Subtype/Type0/ToUnicode 6 0 R/DescendantFonts[<</W[1[2] 3 4 5]>>]>>", packed("/Subtype/Form", "<01> <02> <0041> endbfrange")))
	f.Add(page("/X Do", "<</Subtype/Type3/FontMatrix[1 0 0 1 0 0]/Encoding<</Differences[1/a/b]>>>>", packed("/Filter/LZWDecode/DecodeParms<</Predictor 15/Columns 3>>", "\x80\x0b\x60\x50\x22\x0c\x0c\x85\x01")))
	f.Add([]byte("%PDF-1.5\n9 0 obj" + packed("/Type/ObjStm/N 1/First 4/Filter/FlateDecode", deflate(f, "2 0 <</Kids[]>>")) + "8 0 obj<</Type/XRef/Root<</Pages 2 0 R>>>>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := textOfFile(t, data)
		again, errAgain := textOfFile(t, data)
		if first != again || (err == nil) != (errAgain == nil) {
			t.Errorf("%q, %v and then %q, %v", first, err, again, errAgain)
		}
	})
}
