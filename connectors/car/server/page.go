package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gapless-sync/gapless/connectors/car/server/query"
)

// PathBrowse is where people look at what the service holds.
const PathBrowse = "/api/car/browse"

// pageTime is how long a page may take to read.
const pageTime = 15 * time.Second

//go:embed page/*.html page/style.css
var pageFiles embed.FS

// pages show the graph to people: sources and counts, the rows of a
// collection, one row with what is joined to it. They work without scripts,
// and read nothing but the graph.
type pages struct {
	graph     query.Graph
	logger    *slog.Logger
	templates *template.Template
	policy    string
}

func newPages(g query.Graph, logger *slog.Logger) (*pages, error) {
	style, err := pageFiles.ReadFile("page/style.css")
	if err != nil {
		return nil, fmt.Errorf("read the style of the pages: %w", err)
	}
	p := &pages{graph: g, logger: logger}
	sum := sha256.Sum256(style)
	p.policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	p.templates, err = template.New("").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(style) },
	}).ParseFS(pageFiles, "page/*.html")
	if err != nil {
		return nil, fmt.Errorf("read the pages: %w", err)
	}
	return p, nil
}

// errNoPage says that there is nothing to show at a path.
var errNoPage = errors.New("there is nothing here")

// ServeHTTP implements [http.Handler] for [PathBrowse] and what is below it.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		p.show(w, r, http.StatusMethodNotAllowed, page{Title: "This can only be looked at"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	found, err := p.find(ctx, r.URL)
	refused, isRefused := errors.AsType[*query.Error](err)
	switch {
	case err == nil:
		p.show(w, r, http.StatusOK, found)
	case errors.Is(err, errNoPage):
		p.show(w, r, http.StatusNotFound, page{Title: "There is nothing here", Notice: "It may have been retired, or the address is not right."})
	case isRefused:
		p.show(w, r, http.StatusBadRequest, page{Title: "This cannot be shown", Notice: refused.Error()})
	case r.Context().Err() != nil:
		// Nobody is there any more.
	default:
		p.logger.WarnContext(r.Context(), "car page failed", "path", r.URL.Path, "error", err)
		p.show(w, r, http.StatusServiceUnavailable, page{Title: "The store cannot be read", Notice: "The log of the service says why."})
	}
}

// find returns the page at an address.
func (p *pages) find(ctx context.Context, at *url.URL) (page, error) {
	rest := strings.Trim(strings.TrimPrefix(at.EscapedPath(), PathBrowse), "/")
	var path []string
	if rest != "" {
		for segment := range strings.SplitSeq(rest, "/") {
			text, err := url.PathUnescape(segment)
			if err != nil || text == "" {
				return page{}, errNoPage
			}
			path = append(path, text)
		}
	}
	all, err := query.Collections(ctx, p.graph)
	if err != nil {
		return page{}, err
	}
	asked := at.Query()
	switch len(path) {
	case 0:
		return p.index(ctx, all, "")
	case 1:
		return p.index(ctx, all, path[0])
	}
	where, ok := placeOf(all, path[0], path[1])
	switch {
	case !ok || len(path) > 3:
		return page{}, errNoPage
	case len(path) == 2:
		return p.list(ctx, where, asked)
	case where.edge():
		return p.edge(ctx, where, path[2])
	}
	return p.vertex(ctx, where, path[2])
}

// page is what a template shows.
type page struct {
	Title  string
	Trail  []link
	Notice string
	// One of these is set, or none.
	Index  []sourceView
	List   *listView
	Vertex *vertexView
}

// link is a text that may lead somewhere.
type link struct{ Text, URL string }

// address returns the path of a page.
func address(segments ...string) string {
	path := []string{PathBrowse}
	for _, s := range segments {
		path = append(path, url.PathEscape(s))
	}
	return strings.Join(path, "/")
}

func (p *pages) show(w http.ResponseWriter, r *http.Request, status int, what page) {
	var body bytes.Buffer
	if err := p.templates.ExecuteTemplate(&body, "page.html", what); err != nil {
		p.logger.ErrorContext(r.Context(), "car page failed", "path", r.URL.Path, "error", err)
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // whoever asked is gone if this fails
}

// isPage reports whether a request is for a page.
func isPage(r *http.Request) bool {
	return r.URL.Path == PathBrowse || strings.HasPrefix(r.URL.Path, PathBrowse+"/")
}

func (s *Server) page(c *exchange) error {
	s.pages.ServeHTTP(c.w, c.r)
	return nil
}
