package hub

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

const wordType = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

// docxOf is a Word document of one paragraph.
func docxOf(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("word/document.xml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(w, "<d><p><t>%s</t></p></d>", text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// pdfOf is a PDF of some pages that all show the text.
func pdfOf(text string, pages int) string {
	content := "BT /F 12 Tf (" + text + ") Tj ET"
	return fmt.Sprintf("%%PDF-1.4\n1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj\n2 0 obj <</Kids[%s]/Resources<</Font<</F 4 0 R>>>>>> endobj\n"+
		"4 0 obj <</Subtype/Type1>> endobj\n5 0 obj <</Length %d>>\nstream\n%s\nendstream endobj\n",
		strings.Repeat("<</Type/Page/Contents 5 0 R>>", pages), len(content), content)
}

func found(t testing.TB, h *Hub, text string) []Hit {
	t.Helper()
	r, err := h.Search(t.Context(), Query{Text: text})
	if err != nil {
		t.Fatal(err)
	}
	return r.Hits
}

func TestPartsAreFoundOrHaveReasons(t *testing.T) {
	t.Parallel()
	h := open(t, Options{Search: true})
	s := session(t, h, "docs", 1)
	letter := docxOf(t, "dear friend")
	push(t, s, upsert("file.pdf", `{"title":"contract","note":"signed"}`,
		part("master", "application/octet-stream", pdfOf("quarterly revenue", 1)),
		part("letter", wordType, letter),
		part("broken", wordType, letter[:len(letter)/2]),
		part("photo", "image/png", "\x89PNG"),
		part("named", `application/octet-stream; name="x.docx"`, docxOf(t, "by name"))))
	syncNow(t, s)
	early, err := s.Standing(t.Context(), items, "file.pdf")
	if err != nil || early.Stage < StageSearchable && len(early.Unread) == 0 {
		t.Errorf("%+v, %v", early, err)
	}
	searchable(t, h, s)
	for query, fragment := range map[string]string{
		"revenue": "quarterly [revenue]", `"dear friend"`: "[dear] [friend]", "signed": "[signed]", "name": "by [name]",
	} {
		if hits := found(t, h, query); len(hits) != 1 || len(hits[0].Fragments) != 1 || !strings.Contains(bracket(hits[0].Fragments[0]), fragment) {
			t.Errorf("%s: %+v, want %s", query, hits, fragment)
		}
	}
	st, err := s.Standing(t.Context(), items, "file.pdf")
	want := []UnreadPart{{"broken", "damaged archive: not a valid zip file"}, {"photo", "no text in media type image/png"}}
	if diff := cmp.Diff(want, st.Unread); diff != "" || st.Stage != StageSearchable || err != nil {
		t.Errorf("%v, stage %d, %s", err, st.Stage, diff)
	}
}

// What became of a part lasts as long as the part.
func TestPartTextsAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := open(t, Options{Dir: dir, Search: true})
	s := session(t, h, "docs", 1)
	kept := func() (texts []string) {
		err := scan(h.store.db, []byte{spaceText}, func(_, value []byte) error {
			d := decoder{rest: value}
			texts = append(texts, string(d.sized())+"|"+strings.TrimSpace(string(d.rest)))
			return d.err
		})
		if err != nil {
			t.Fatal(err)
		}
		return texts
	}
	push(t, s, upsert("a", `{}`, part("x", "application/pdf", pdfOf("one", 1)), part("y", "image/png", "?")), upsert("b", `{}`, part("x", "text/plain", "two")))
	syncNow(t, s)
	searchable(t, h, s)
	if diff := cmp.Diff([]string{"|one", "no text in media type image/png|", "|two"}, kept()); diff != "" {
		t.Error(diff)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, Options{Dir: dir, Search: true})
	s = session(t, h, "docs", 1)
	if hits := found(t, h, "one"); len(hits) != 1 || len(hits[0].Fragments) != 1 {
		t.Errorf("%+v", hits)
	}
	push(t, s, patch("a", `{"n":1}`, part("y", "text/plain", "three")), remove("b"))
	syncNow(t, s)
	searchable(t, h, s)
	if diff := cmp.Diff([]string{"|one", "|three"}, kept()); diff != "" {
		t.Error(diff)
	}
	push(t, s, upsert("a", `{}`))
	syncNow(t, s)
	searchable(t, h, s)
	if texts := kept(); len(texts) != 0 {
		t.Errorf("%q", texts)
	}
}

// A part that is replaced while it is being converted leaves nothing behind.
func TestTextOfALostPartIsNotKept(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{}`, part("x", "text/plain", "old")), upsert("b", `{}`, part("x", "text/plain", "old")))
	syncNow(t, s)
	c := h.names.collection("docs", "items")
	var list []converted
	for _, key := range []string{"a", "b"} {
		record := idKey(spaceRecord, c.id, key)
		parts, err := partsAt(h.store.db, record)
		if err != nil || len(parts) != 1 {
			t.Fatal(parts, err)
		}
		list = append(list, converted{record, []partText{{blob: parts[0].blob, text: []byte("old")}}})
	}
	push(t, s, upsert("a", `{}`, part("x", "text/plain", "new")), remove("b"))
	if err := h.keepTexts(list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if p, found, err := h.partText(c.parts[0].blob); found || err != nil {
			t.Errorf("%+v, %v", p, err)
		}
	}
}

// A conversion needs no lock that a write takes, and ends when the index is
// closed.
func TestConversionHoldsUpNothing(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{}`, part("x", "application/pdf", pdfOf("words", 1000))))
	syncNow(t, s)
	v := h.views.acquire()
	defer h.views.release(v)
	key := idKey(spaceRecord, h.names.collection("docs", "items").id, "a")
	value, err := get(v.snap, key)
	if err != nil {
		t.Fatal(err)
	}
	record, err := decodeStored(value)
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	texts, err := convertParts(t.Context(), v.snap, []byte("a"), &record)
	h.mu.Unlock()
	if err != nil || len(texts) != 1 || !bytes.HasPrefix(texts[0].text, []byte("words")) {
		t.Errorf("%d texts, %v", len(texts), err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errClosed)
	if _, err := convertParts(ctx, v.snap, []byte("a"), &record); !errors.Is(err, errClosed) {
		t.Errorf("%v, want the cause of the context", err)
	}
}

func BenchmarkSearchPDFs(b *testing.B) {
	h := open(b, Options{Search: true})
	s := session(b, h, "docs", 1)
	for i := range 10 {
		content := pdfOf("the needle in a page of words that goes on for a while", 4000)
		push(b, s, upsert(fmt.Sprint(i), `{}`, gapless.Part{Name: "x", Type: "application/pdf", Size: int64(len(content)), Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		}}))
	}
	syncNow(b, s)
	searchable(b, h, s)
	for b.Loop() {
		if hits := found(b, h, "needle"); len(hits) != 10 || len(hits[0].Fragments) == 0 {
			b.Fatalf("%d hits", len(hits))
		}
	}
}
