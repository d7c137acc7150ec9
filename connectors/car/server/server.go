package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/server/query"
)

// Where the service is. Both versions know all requests: clients make the
// address of one out of that of the other.
const (
	PathV2 = "/api/car/v2/"
	PathV3 = "/api/car/v3/"
)

// smallBody is a body that needs no place among those held in memory.
const smallBody = 64 << 10

// HeaderHub is the header of every reply that tells the store's id.
const HeaderHub = "X-Gapless-Hub"

// Options say what a [Server] serves, to whom, and within which bounds.
type Options struct {
	// Store keeps the rows. Required.
	Store Store
	// Admit reports whether the credentials of a request are right. Everybody
	// is let in if nil.
	Admit func(*http.Request) bool
	// BodyBytes bounds the body of one request. Defaults to 20 MiB.
	BodyBytes int64
	// Bodies is how many bodies above 64 KiB are held in memory at a time;
	// other requests that have one wait. Defaults to 8.
	Bodies int
	// Poll is how long a question after something unfinished is held.
	// Defaults to 30 seconds.
	Poll time.Duration
	// Query bounds queries.
	Query query.Limits
	// Logger hears of what the store fails with and of refused retirements;
	// nobody if nil.
	Logger *slog.Logger
	// Now defaults to time.Now.
	Now func() time.Time
}

func (o *Options) setDefaults() {
	if o.Admit == nil {
		o.Admit = func(*http.Request) bool { return true }
	}
	o.BodyBytes = cmp.Or(o.BodyBytes, 20<<20)
	o.Bodies = cmp.Or(o.Bodies, 8)
	o.Poll = cmp.Or(o.Poll, 30*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Server is the service. It works in the background on what it promised, also
// on what a server before it did.
type Server struct {
	opts    Options
	hub     string
	facts   Corpus // of the service itself
	bodies  chan struct{}
	queries chan struct{}
	closing chan struct{}
	jobs    jobs
	schemas schemas
	routes  []route
	pages   *pages
	origins *http.CrossOriginProtection

	mu      sync.Mutex // guards what follows
	sources map[string]*source
	closed  bool
}

// New returns a server, which goes on with the jobs it finds in the store.
// Close it before the store.
func New(o Options) (*Server, error) {
	if o.Store == nil {
		return nil, gapless.Misconfigured(errors.New("a CAR server needs a store"))
	}
	o.setDefaults()
	if min(o.BodyBytes, int64(o.Bodies), int64(o.Poll)) < 0 {
		return nil, gapless.Misconfigured(errors.New("a limit of the CAR server is negative"))
	}
	s := &Server{
		opts: o, hub: o.Store.ID(), bodies: make(chan struct{}, o.Bodies), queries: make(chan struct{}, maxQueries),
		closing: make(chan struct{}), sources: map[string]*source{}, origins: http.NewCrossOriginProtection(),
	}
	if len(s.hub) < idDigits {
		return nil, gapless.Misconfigured(fmt.Errorf("the store's id %q is shorter than %d characters", s.hub, idDigits))
	}
	s.routes = s.table()
	var err error
	if s.pages, err = newPages(s.Graph(), o.Logger); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.jobs.start(ctx, cancel)
	if err := s.load(ctx); err != nil {
		cancel()
		s.jobs.working.Wait()
		return nil, err
	}
	return s, nil
}

// load reads what a server before this one left.
func (s *Server) load(ctx context.Context) (err error) {
	if s.facts, err = s.opts.Store.Open(ctx, "", true); err != nil {
		return fmt.Errorf("open the facts of the CAR service: %w", err)
	}
	if err := s.loadExtensions(ctx); err != nil {
		return fmt.Errorf("read the schema extensions: %w", err)
	}
	if err := s.resumeJobs(ctx); err != nil {
		return fmt.Errorf("read the jobs: %w", err)
	}
	return nil
}

// Close refuses requests from now on, ends those that wait, and returns when
// no job works any more. What is not done by then is gone on with by the next
// server. Closing twice is no error.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.jobs.cancel()
	s.jobs.working.Wait()
	return nil
}

// route is one request that there is: a method, and a path whose stars are any
// segment.
type route struct {
	method string // "*" for any
	path   string
	answer func(*exchange) error
}

func (r *route) matches(path []string) bool {
	pattern := strings.Split(r.path, "/")
	return slices.EqualFunc(pattern, path, func(want, got string) bool { return want == got || want == "*" && got != "" })
}

// table returns the routes. The first path that matches decides.
func (s *Server) table() []route {
	return []route{
		{"GET", "databases", s.databases},
		{"POST", "databases", s.databasesReady},
		{"PATCH", "databases", s.databasesReady},
		{"GET", "jobstatus", s.jobsStatus},
		{"GET", "jobstatus/*", s.jobStatus},
		{"POST", "imports", s.imports},
		{"GET", "importstatus", s.importsStatus},
		{"GET", "importstatus/*", s.importStatus},
		{"GET", "source", s.search},
		{"PATCH", "source", s.patchSource},
		{"GET", "source/*", s.getSource},
		{"PATCH", "source/*", s.patchSource},
		{"DELETE", "source/*", s.removeSource},
		{"POST", "source/*/full-import-in-progress", s.beginFull},
		{"DELETE", "source/*/full-import-in-progress", s.endFull},
		{"POST", "source/*/full-import-in-progress/approve", s.approve},
		{"DELETE", "source/*/*", s.deleteVertices},
		{"GET", "importSchema", s.importSchema},
		{"GET", "carSchema", s.listExtensions},
		{"POST", "carSchema", s.putExtension},
		{"GET", "carSchema/*", s.getExtension},
		{"DELETE", "carSchema/*", s.deleteExtension},
		{"GET", "extensionSchema", s.extensionSchema},
		{"POST", "query", s.query},
		{"GET", "health", s.health},
		{"GET", "health/all", s.health},
		{"GET", "DataRetentionPolicy", s.retentionPolicy},
		{"*", "DataRetentionPolicy", notImplemented},
		{"*", "clearDb", notOffered},
		{"*", "resetPostgres", notOffered},
		{"GET", "*/*/graph", s.graphOf},
		{"GET", "*", s.search},
		{"PATCH", "*", s.patchRow},
	}
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(HeaderHub, s.hub)
	w.Header().Set("Cache-Control", "no-store")
	c := &exchange{w: w, r: r, rest: r.Body}
	r.Body = http.MaxBytesReader(w, r.Body, s.opts.BodyBytes)
	err := s.serve(c)
	if err == nil {
		return
	}
	p, internal := asProblem(err)
	trace := c.fail(p)
	if internal {
		s.opts.Logger.WarnContext(r.Context(), "car request failed", "method", r.Method, "path", r.URL.Path, "trace", trace, "error", err)
	}
}

func (s *Server) serve(c *exchange) error {
	if err := c.readPath(); err != nil {
		return err
	}
	if !s.opts.Admit(c.r) {
		return refuse(http.StatusUnauthorized, codeUnauthorized, "this server asks for credentials that are right")
	}
	if s.origins.Check(c.r) != nil { // a browser sends along the credentials of whoever looks at the pages
		return refuse(http.StatusForbidden, codeNotOffered, "a page of another site cannot change anything here")
	}
	c.trusted = true
	answer, err := s.route(c)
	if err != nil {
		return err
	}
	select {
	case <-s.closing:
		return errClosing
	default:
	}
	if n := c.r.ContentLength; n < 0 || n > smallBody {
		select {
		case s.bodies <- struct{}{}:
			defer func() { <-s.bodies }()
		case <-c.r.Context().Done():
			return context.Cause(c.r.Context())
		case <-s.closing:
			return errClosing
		}
	}
	return answer(c)
}

// route returns what answers the request.
func (s *Server) route(c *exchange) (func(*exchange) error, error) {
	if isPage(c.r) {
		return s.page, nil
	}
	found, methods := "", []string(nil)
	for i := range s.routes {
		r := &s.routes[i]
		if found == "" && !r.matches(c.path) || found != "" && r.path != found {
			continue
		}
		if r.method == c.r.Method || r.method == "*" {
			return r.answer, nil
		}
		// Each method of a path is a route.
		found, methods = r.path, append(methods, r.method)
	}
	if found == "" {
		return nil, notFound("there is nothing at %q", clip(c.r.URL.Path))
	}
	c.w.Header().Set("Allow", strings.Join(methods, ", "))
	return nil, refuse(http.StatusMethodNotAllowed, codeMethod, "the method is %s, not one of %s", clip(c.r.Method), strings.Join(methods, ", "))
}

// databases answers with the one that there is, which is always ready.
func (s *Server) databases(c *exchange) error {
	sources, err := s.opts.Store.Sources(c.r.Context())
	if err != nil {
		return err
	}
	vertices, edges := s.schemas.current().collections()
	return c.reply(http.StatusOK, map[string]any{"databases": []any{map[string]any{
		"name": "gapless", "graph_name": "assets", "is_ready": true,
		"collections": append(vertices, edges...), "missing_collections": []string{},
		"collections_without_indexes": []string{}, "sources": len(sources),
	}}})
}

// databasesReady has nothing to do: the database is made with the server.
func (s *Server) databasesReady(c *exchange) error {
	if _, err := c.body(); err != nil {
		return err
	}
	j, err := s.finished(c.r.Context(), job{Kind: jobNothing, Status: statusComplete})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, j.begun())
}

func (s *Server) importSchema(c *exchange) error {
	return c.reply(http.StatusOK, map[string]any{"schema": map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
	}})
}

func (s *Server) health(c *exchange) error {
	if _, err := s.opts.Store.Synced(c.r.Context(), 0); err != nil {
		return err
	}
	return c.reply(http.StatusOK, map[string]any{"status": "ok"})
}

func (s *Server) retentionPolicy(c *exchange) error {
	return c.reply(http.StatusOK, map[string]any{
		"policy": "keep", "description": "Retired rows are kept for ever.",
	})
}

func notImplemented(*exchange) error {
	return refuse(http.StatusNotImplemented, codeNotOffered, "retired rows are kept for ever; that cannot be changed here")
}

func notOffered(*exchange) error {
	return refuse(http.StatusForbidden, codeNotOffered, "not offered here: to retire all rows of a source, DELETE %ssource/NAME", PathV2)
}
