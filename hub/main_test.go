package hub

import (
	"testing"

	"go.uber.org/goleak"
)

// TestNoGoroutineIsLeft runs before the parallel tests, some of which leave
// failed stores behind.
func TestNoGoroutineIsLeft(t *testing.T) {
	defer goleak.VerifyNone(t,
		// bleve's analysis workers live as long as the program.
		goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"),
		goleak.IgnoreCurrent(),
	)
	h, err := Open(t.Context(), Options{Dir: t.TempDir(), Search: true})
	if err != nil {
		t.Fatal(err)
	}
	s := session(t, h, "docs", 1)
	push(t, s, upsert("a", `{"title":"one"}`, part("p", "text/plain", "two")))
	r := syncNow(t, s, "1")
	if err := h.WaitSearchable(t.Context(), r.Serial); err != nil {
		t.Fatal(err)
	}
	record, err := s.Get(t.Context(), items, "a")
	if err != nil {
		t.Fatal(err)
	}
	content, err := record.Parts[0].Open(t.Context()) // left open
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := content.Read(make([]byte, 10)); err != nil {
		t.Errorf("what was read ahead: %v", err)
	}
	if err := content.Close(); err != nil {
		t.Error(err)
	}
}
