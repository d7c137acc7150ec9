package server

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/resolve"
)

// DefaultBase is the path that everything is below unless configured.
const DefaultBase = "/eden"

// Options say what a [Server] serves, to whom, and within which bounds.
type Options struct {
	// Store keeps the records. Required.
	Store Store
	// Admit reports whether the credentials of a request are right. Everybody
	// is let in if nil.
	Admit func(*http.Request) bool
	// Anonymous lets those without credentials read, but not the server's own
	// tables.
	Anonymous bool
	// Base is the path that everything is below. Defaults to [DefaultBase].
	Base string
	// Domain goes in front of uuids that are no URN and have no slash, when
	// they are exported. Defaults to a name made of the store's id; it must
	// not change once there are such records.
	Domain string
	// Repositories are peers that need not register, by uuid, with what holds
	// for their pushes, by table.
	Repositories map[string]map[string]Task
	// BodyBytes bounds the body of one request. Defaults to 4 GiB.
	BodyBytes int64
	// Dir is where bodies are kept until they are known to be whole. Defaults
	// to the system's folder for temporary files.
	Dir string
	// Logger hears of what the store fails with; nobody if nil.
	Logger *slog.Logger
	// Now defaults to time.Now.
	Now func() time.Time
}

func (o *Options) setDefaults() error {
	if o.Store == nil {
		return gapless.Misconfigured(errors.New("a Sahana server needs a store"))
	}
	id := o.Store.ID()
	if len(id) < 32 {
		return gapless.Misconfigured(fmt.Errorf("the store's id %q is shorter than 32 characters", id))
	}
	o.Domain = cmp.Or(o.Domain, "gapless-"+id[:12])
	o.Base = "/" + strings.Trim(cmp.Or(o.Base, DefaultBase), "/")
	if o.Base == "/" {
		o.Base = ""
	}
	o.BodyBytes = cmp.Or(o.BodyBytes, 4<<30)
	if o.BodyBytes < 0 {
		return gapless.Misconfigured(errors.New("the limit of bodies is negative"))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Server is the service.
type Server struct {
	opts Options
	// uuid is this site's.
	uuid   string
	tasks  map[ident]*resolve.Resolver // by table and uuid of the repository
	bodies chan struct{}

	writer sync.Mutex // held by whoever writes to the store
	logged logCount
}

// bodiesAtATime is how many requests keep their body on disk at a time; others
// wait.
const bodiesAtATime = 8

// New returns a server.
func New(o Options) (*Server, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	id := o.Store.ID()
	s := &Server{
		opts: o, bodies: make(chan struct{}, bodiesAtATime), tasks: map[ident]*resolve.Resolver{},
		uuid: urn(id),
	}
	for repository, tasks := range o.Repositories {
		for table, task := range tasks {
			r, err := task.compile(table)
			if err != nil {
				return nil, gapless.Misconfigured(fmt.Errorf("repository %s, table %s: %w", repository, table, err))
			}
			s.tasks[ident{table, repository}] = r
		}
	}
	return s, nil
}

// UUID returns the uuid by which the site is known to those who register.
func (s *Server) UUID() string { return s.uuid }

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set(s3.ServiceHeader, "sahana")
	r.Body = http.MaxBytesReader(w, r.Body, s.opts.BodyBytes)
	c := &exchange{s: s, w: w, r: r}
	err := c.serve()
	if err == nil {
		return
	}
	p, internal := asProblem(err)
	if internal {
		s.opts.Logger.WarnContext(r.Context(), "sahana request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if c.begun {
		panic(http.ErrAbortHandler) // the client must not take what it got for all
	}
	c.fail(p)
}

// exchange is one request and its answer.
type exchange struct {
	s *Server
	w http.ResponseWriter
	r *http.Request
	// table, format and query say what is asked for.
	table  string
	format s3.Format
	query  url.Values
	// component, if not empty, is the only one of the record that is asked for,
	// and componentID the uuid of one such.
	component, componentID string
	// begun: the answer is on its way.
	begun bool
}

func (c *exchange) serve() error {
	path, ok := c.path()
	if !ok {
		return notFound("there is nothing at %q", clip(c.r.URL.Path))
	}
	if err := c.admit(); err != nil {
		return err
	}
	var err error
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return refuse(http.StatusBadRequest, "the query cannot be read: %v", err)
	}
	for _, name := range [...]string{"fetchurl", "filename"} {
		if c.query.Has(name) {
			return refuse(http.StatusBadRequest, "%s is not offered: send the document as the body of the request", name)
		}
	}
	return c.route(path)
}

// path returns the segments below the base, with the notation taken off the
// last.
func (c *exchange) path() ([]string, bool) {
	rest, ok := strings.CutPrefix(c.r.URL.EscapedPath(), c.s.opts.Base+"/")
	if !ok {
		return nil, false
	}
	segments := strings.Split(rest, "/")
	for i, escaped := range segments {
		plain, err := url.PathUnescape(escaped)
		if err != nil || plain == "" {
			return nil, false
		}
		segments[i] = plain
	}
	return segments, true
}

// admit checks the credentials.
func (c *exchange) admit() error {
	if c.s.opts.Admit == nil {
		return nil
	}
	if c.anonymous() {
		if c.s.opts.Anonymous && c.r.Method == http.MethodGet {
			return nil
		}
	} else if c.s.opts.Admit(c.r) {
		return nil
	}
	return errAnonymous
}

// anonymous reports whether credentials are asked for and there are none.
func (c *exchange) anonymous() bool {
	return c.s.opts.Admit != nil && c.r.Header.Get("Authorization") == ""
}

// route finds what answers.
func (c *exchange) route(path []string) error {
	last := len(path) - 1
	dot := strings.LastIndexByte(path[last], '.')
	if last < 1 || dot <= 0 {
		return notFound("there is nothing at %q", clip(c.r.URL.Path))
	}
	extension := path[last][dot+1:]
	path[last] = path[last][:dot]
	if path[0] == "sync" && path[1] == "repository" && last == 2 && path[2] == "register" {
		return c.register(extension)
	}
	switch extension {
	case "xml":
	case "s3json":
		c.format = s3.S3JSON
	default:
		return refuse(http.StatusUnsupportedMediaType, "Unsupported data format!")
	}
	if path[0] == "sync" && path[1] == "sync" && last == 1 {
		return c.proxy()
	}
	c.table = path[0] + "_" + path[1]
	if !isTableName(c.table) || !readable(c.table) {
		return notFound("there is no table %q", clip(c.table))
	}
	if strings.HasPrefix(c.table, ownPrefix) && c.anonymous() {
		return errAnonymous
	}
	switch {
	case last == 1:
		return c.resource("")
	case last == 2 && path[2] == "sync":
		return c.direct()
	case last == 2 && path[2] == "fields":
		return c.fields()
	case last == 2 && path[2] == "options":
		return c.options()
	case last == 2:
		return c.resource(path[2])
	case last == 3:
		c.component = path[3]
		return c.resource(path[2])
	case last == 4:
		c.component, c.componentID = path[3], c.s.localUUID(path[4])
		return c.resource(path[2])
	}
	return notFound("there is nothing at %q", clip(c.r.URL.Path))
}

// methods refuses methods that are not listed.
func (c *exchange) methods(allowed ...string) error {
	if slices.Contains(allowed, c.r.Method) {
		return nil
	}
	c.w.Header().Set("Allow", strings.Join(allowed, ", "))
	return refuse(http.StatusMethodNotAllowed, "Unsupported method!")
}

// resource answers requests for a table, or for one record of it.
func (c *exchange) resource(record string) error {
	if err := c.methods(http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete); err != nil {
		return err
	}
	if c.r.Method != http.MethodGet && strings.HasPrefix(c.table, ownPrefix) {
		return refuse(http.StatusForbidden, "%s is kept by the server and cannot be written", c.table)
	}
	switch c.r.Method {
	case http.MethodGet:
		return c.get(record)
	case http.MethodDelete:
		if c.component != "" {
			return refuse(http.StatusBadRequest, "components are deleted by a document in which they are marked as deleted")
		}
		return c.remove(record)
	}
	return c.put(record)
}
