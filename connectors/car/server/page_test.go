package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/server/query"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// pageGraph is a graph in memory.
type pageGraph map[[2]string][]query.Row

func (g pageGraph) put(source, collection, key, data string) {
	at := [2]string{source, collection}
	g[at] = append(g[at], query.Row{Key: key, Data: []byte(data)})
	slices.SortFunc(g[at], func(a, b query.Row) int { return strings.Compare(a.Key, b.Key) })
}

func (g pageGraph) Sources(context.Context) (list []string, err error) {
	for at := range g {
		if !slices.Contains(list, at[0]) {
			list = append(list, at[0])
		}
	}
	return list, nil
}

func (g pageGraph) Collections(context.Context) (vertices, edges []string, err error) {
	return []string{"site"}, []string{"site_asset", "asset_asset"}, nil
}

func (g pageGraph) Row(_ context.Context, source, collection, key string) (query.Row, error) {
	for _, r := range g[[2]string{source, collection}] {
		if r.Key == key {
			return r, nil
		}
	}
	return query.Row{}, gapless.ErrNotFound
}

func (g pageGraph) Rows(_ context.Context, source, collection, prefix, after string, fn func(query.Row) error) error {
	for _, r := range g[[2]string{source, collection}] {
		if !strings.HasPrefix(r.Key, prefix) || r.Key <= after && after != "" {
			continue
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// evil is what a hostile connector would put anywhere.
const evil = `<script>alert("x")</script>'&`

func pageModel() pageGraph {
	g := pageGraph{}
	for i := range 120 {
		id := fmt.Sprintf("%03d", i)
		g.put("cmdb", "asset", id, fmt.Sprintf(`{"external_id":%q,"name":"web-%s.example.com","asset_type":"Server","risk":%d.5,"os":{"family":"linux","version":[22,4]},"retired_at":null}`, id, id, i%10))
		g.put("cmdb", "ipaddress", fmt.Sprintf("10.0.0.%d", i), fmt.Sprintf(`{"_key":"10.0.0.%d"}`, i))
		g.put("cmdb", "asset_ipaddress", wire.EdgeKey(id, fmt.Sprintf("10.0.0.%d", i)), `{"port":443,"active":true}`)
		g.put("cmdb", "site_asset", wire.EdgeKey("bonn", id), `{"rack":"r1"}`)
	}
	g.put("cmdb", "site", "bonn", `{"external_id":"bonn","name":"Bonn"}`)
	g.put("cmdb", "asset_asset", wire.EdgeKey("001", "002"), `{"kind":"uses"}`)
	g.put("cmdb", "asset_hostname", wire.EdgeKey("001", "gone.example.com"), `{}`)
	g.put("cmdb", "asset@history", "001@1795285435898", `{"row":{"external_id":"001","name":"old-name"},"retired":1795285435898,"reason":"full import"}`)
	g.put("cmdb", "asset@history", "999@1795285435898", `{"row":{"external_id":"999","name":"was here"},"retired":1795285435898,"reason":"deleted"}`)
	g.put("a/b ?#%", "asset", "x/"+evil, `{"external_id":"x","name":"`+strings.ReplaceAll(evil, `"`, `\"`)+`","`+strings.ReplaceAll(evil, `"`, `\"`)+`":"`+strings.ReplaceAll(evil, `"`, `\"`)+`"}`)
	return g
}

func testPages(t *testing.T) *pages {
	t.Helper()
	p, err := newPages(pageModel(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPages(t *testing.T) {
	t.Parallel()
	strange := address("a/b ?#%", "asset", "x/"+evil)
	tests := []struct {
		name, url string
		status    int
		want      []string
		never     []string
	}{
		{"sources", PathBrowse, 200, []string{
			`<a href="/api/car/browse/cmdb">cmdb</a>`, `<a href="/api/car/browse/cmdb/asset">asset</a></td><td class="number">120</td>`,
			`href="/api/car/browse/a%2Fb%20%3F%23%25"`,
		}, []string{"vulnerability"}},
		{"one source", PathBrowse + "/cmdb/", 200, []string{`<h1>cmdb</h1>`, `site_asset`}, []string{"a/b"}},
		{"a list", PathBrowse + "/cmdb/asset", 200, []string{
			`<a href="/api/car/browse/cmdb/asset/049">049</a></td><td>web-049.example.com</td>`, `<th>risk</th>`, `href="?after=cmdb%2F049"`,
		}, []string{"web-050", "<th>os</th>"}},
		{"its next page", PathBrowse + "/cmdb/asset?after=cmdb%2F099", 200, []string{"web-100", "web-119"}, []string{"web-099", "next page"}},
		{"looking for", PathBrowse + "/cmdb/asset?q=B-11", 200, []string{"web-110", `value="B-11"`}, []string{"web-009"}},
		{"looking for a wildcard", PathBrowse + "/cmdb/asset?q=%25", 200, []string{"Nothing found."}, []string{"web-"}},
		{"edges", PathBrowse + "/cmdb/asset_ipaddress", 200, []string{
			`<a href="/api/car/browse/cmdb/asset/000">web-000.example.com (000)</a>`, `<a href="/api/car/browse/cmdb/ipaddress/10.0.0.0">10.0.0.0</a>`, `443`,
		}, nil},
		{"edges of one", PathBrowse + "/cmdb/asset_ipaddress?from=007", 200, []string{"web-007", "only those of <b>007</b>"}, []string{"web-008"}},
		{"a vertex", PathBrowse + "/cmdb/asset/001", 200, []string{
			`<h1>web-001.example.com</h1>`, `cmdb/001</p>`, `<th scope="row">risk</th><td>1.5</td>`, `&#34;family&#34;: &#34;linux&#34;`, `<td>null</td>`,
			`<a href="/api/car/browse/cmdb/ipaddress/10.0.0.1">10.0.0.1</a>`, `<a href="/api/car/browse/cmdb/site/bonn">Bonn (bonn)</a>`,
			`<a href="/api/car/browse/cmdb/asset/002">`, `<span class="dangling" title="never imported, or retired">gone.example.com</span>`,
			`old-name`, `2026-11-21 `, `full import`,
		}, nil},
		{"a vertex with many", PathBrowse + "/cmdb/site/bonn", 200, []string{"120 through", `href="/api/car/browse/cmdb/site_asset?from=bonn"`}, []string{"web-050"}},
		{"an address", PathBrowse + "/cmdb/ipaddress/10.0.0.7", 200, []string{"cmdb/0/10.0.0.7", "web-007.example.com (007)"}, nil},
		{"an edge", address("cmdb", "asset_ipaddress", wire.EdgeKey("001", "10.0.0.1")), 200, []string{
			`web-001.example.com (001)`, `<a href="/api/car/browse/cmdb/ipaddress/10.0.0.1">`, `<th scope="row">port</th><td>443</td>`,
		}, nil},
		{"a retired vertex", PathBrowse + "/cmdb/asset/999", 200, []string{"This row is retired", "was here"}, []string{"Fields"}},
		{"anything is escaped", strange, 200, []string{`&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;&#39;&amp;`}, []string{"<script"}},
		{"also what was looked for", PathBrowse + "/cmdb/asset?q=" + `%22%3E%3Cscript%3E`, 200, []string{`value="&#34;&gt;&lt;script&gt;"`}, []string{"<script"}},
		{"too long a search", PathBrowse + "/cmdb/asset?q=" + strings.Repeat("x", 101), 400, []string{"more than 100 characters"}, nil},
		{"no such vertex", PathBrowse + "/cmdb/asset/no", 404, nil, nil},
		{"no such collection", PathBrowse + "/cmdb/nothing", 404, nil, nil},
		{"no such source", PathBrowse + "/nobody", 404, nil, nil},
		{"too deep", PathBrowse + "/cmdb/asset/001/x", 404, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			testPages(t).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, tt.url, http.NoBody))
			body := w.Body.String()
			if w.Code != tt.status {
				t.Errorf("status %d: %s", w.Code, body)
			}
			for _, want := range tt.want {
				if !strings.Contains(body, want) {
					t.Errorf("no %s in %s", want, body)
				}
			}
			for _, never := range tt.never {
				if strings.Contains(body, never) {
					t.Errorf("%s in %s", never, body)
				}
			}
			if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
				t.Errorf("policy %q", policy)
			}
		})
	}
	t.Run("nothing but looking", func(t *testing.T) {
		t.Parallel()
		w := httptest.NewRecorder()
		testPages(t).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, PathBrowse, http.NoBody))
		if w.Code != http.StatusMethodNotAllowed || cmp.Or(w.Header().Get("Allow"), "nothing") != "GET, HEAD" {
			t.Errorf("status %d", w.Code)
		}
	})
}
