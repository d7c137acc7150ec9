package text

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"unicode/utf16"
)

// entry is a file in an archive.
type entry struct{ name, content string }

func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		w, err := z.Create(e.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func docx(t testing.TB, body string) []byte {
	t.Helper()
	return archiveOf(t, entry{"[Content_Types].xml", "<Types/>"},
		entry{"word/document.xml", `<?xml version="1.0"?><w:document xmlns:w="w"><w:body>` + body + `</w:body></w:document>`})
}

func xlsx(t testing.TB, shared, rows string) []byte {
	t.Helper()
	return archiveOf(t, entry{"xl/workbook.xml", `<workbook><sheets><sheet name="Invoices" sheetId="1"/></sheets></workbook>`},
		entry{"xl/sharedStrings.xml", "<sst>" + shared + "</sst>"},
		entry{"xl/worksheets/sheet1.xml", "<worksheet><sheetData>" + rows + "</sheetData></worksheet>"})
}

func odt(t testing.TB, manifest, body string) []byte {
	t.Helper()
	return archiveOf(t, entry{"mimetype", "application/vnd.oasis.opendocument.text"}, entry{"META-INF/manifest.xml", "<manifest>" + manifest + "</manifest>"},
		entry{"content.xml", `<office:document-content><office:body><office:text>` + body + `</office:text></office:body></office:document-content>`})
}

// pdfOf is a file of one page with its table of cross-references.
func pdfOf(content, trailer string) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n")
	var table string
	for i, o := range []string{
		"<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 1/Kids[3 0 R]>>",
		"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
		fmt.Sprintf("<</Length %d>>\nstream\n%s\nendstream", len(content), content), "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
	} {
		table += fmt.Sprintf("%010d 00000 n \n", b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	fmt.Fprintf(&b, "xref\n0 6\n0000000000 65535 f \n%strailer\n<</Size 6/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF\n", table, trailer, b.Len())
	return b.Bytes()
}

func inUTF16(text string, order binary.AppendByteOrder) []byte {
	var p []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		p = order.AppendUint16(p, unit)
	}
	return p
}
