package service

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/hub"
)

func TestSearchParameters(t *testing.T) {
	t.Parallel()
	got, err := parseQuery("q=memory+model&connector=docs&collection=file&filter=author%3Dann&filter=size%3E=5&facet=author:3&facet=type&limit=2&offset=")
	want := hub.Query{
		Text: "memory model", Connector: "docs", Collection: "file", Limit: 2,
		Filters: []hub.Filter{{Field: "author", Op: "=", Value: "ann"}, {Field: "size", Op: ">=", Value: "5"}},
		Facets:  []hub.FacetOf{{Field: "author", Limit: 3}, {Field: "type"}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, raw := range []string{"limit=x", "offset=1.5", "limit=1&limit=2", "q=a&q=b", "fitler=a=b", "filter=author", "filter=", "facet=", "facet=a:0", "q=%zz", "q=a;limit=2"} {
		if q, err := parseQuery(raw); gapless.ExitCode(err) != gapless.ExitUsage {
			t.Errorf("%s: %+v, %v", raw, q, err)
		}
	}
}

func TestBadSearchesAreAnsweredWithTheirCode(t *testing.T) {
	t.Parallel()
	p := opened(t)
	s := started(t, p)
	runCopy(t, p)
	for path, want := range map[string]string{
		"/search?limit=-1": "GAP-1006", "/search?offset=100001": "GAP-1006", "/search?filter=x": "GAP-1006", "/search?page=2": "GAP-1006",
		"/search?facet=text&facet=text": "GAP-1006", "/search?collection=item": "GAP-1006", "/search?connector=nobody": "GAP-5002",
	} {
		if status, body := get(t, s, path); status != 400 || !strings.Contains(body, `"code":"`+want+`"`) {
			t.Errorf("%s: %d, want 400 with %s: %s", path, status, want, body)
		}
	}
	if status, body := get(t, s, "/search?limit=1&facet=text:1"); status != 200 ||
		!strings.Contains(body, `"facets":{"text":{"values":[{"value":"nothing of it","count":1}],"other":1,"missing":0}}`) {
		t.Errorf("%d: %s", status, body)
	}
}
