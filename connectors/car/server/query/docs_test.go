package query_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocumentedExamples executes the queries of the page and compares the
// replies that it shows.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../../docs/wire/car-query.md")
	if err != nil {
		t.Fatal(err)
	}
	text, variables, ran := "", "{}", 0
	for i, block := range strings.Split(string(page), "```") {
		kind, content, _ := strings.Cut(block, "\n")
		if i%2 == 0 {
			continue
		}
		switch kind {
		case "graphql":
			text, variables = content, "{}"
		case "variables":
			variables = content
		case "json":
			ran++
			var want bytes.Buffer
			if err := json.Compact(&want, []byte(`{"data":`+content+`}`)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.String(), ask(t, model(), text, variables)); diff != "" {
				t.Errorf("%s: %s", text, diff)
			}
		}
	}
	if ran < 5 {
		t.Errorf("only %d examples", ran)
	}
}
