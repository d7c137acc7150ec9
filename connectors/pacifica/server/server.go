package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/transfer"
)

// Options say what a [Server] serves, to whom, and within which bounds.
type Options struct {
	// Files is where the files come from. Required.
	Files Files
	// Dir is the folder that carts are kept in; no other server may use it.
	// Required; it is made if it is not there.
	Dir string
	// Admit returns whose credentials a request has, and reports whether they
	// are right. Everybody is let in, as one, if nil.
	Admit func(*http.Request) (owner string, ok bool)
	// Limits of what clients may ask for.
	Limits Limits
	// Keep is how long a cart is kept that nobody downloads. Defaults to 24
	// hours.
	Keep time.Duration
	// Logger hears of what is the server's own fault; nobody if nil.
	Logger *slog.Logger
	// Now defaults to time.Now.
	Now func() time.Time
}

// Limits bound what clients may ask for. Zero values are the defaults.
type Limits struct {
	// BodyBytes bounds the body of an order. Defaults to 100 MiB.
	BodyBytes int64
	// Files bounds the files of a cart. Defaults to 100,000.
	Files int
	// Carts bounds the carts of one owner. Defaults to 1,000.
	Carts int
	// HeldFiles bounds the files of all carts of one owner. Defaults to
	// 1,000,000.
	HeldFiles int
}

func (o *Options) setDefaults() error {
	if o.Files == nil || o.Dir == "" {
		return gapless.Misconfigured(errors.New("a cart server needs files and a folder for its carts"))
	}
	l := &o.Limits
	l.BodyBytes, l.Files = cmp.Or(l.BodyBytes, 100<<20), cmp.Or(l.Files, 100_000)
	l.Carts, l.HeldFiles = cmp.Or(l.Carts, 1000), cmp.Or(l.HeldFiles, 1_000_000)
	o.Keep = cmp.Or(o.Keep, 24*time.Hour)
	if l.BodyBytes < 0 || l.Files < 0 || l.Carts < 0 || l.HeldFiles < 0 || o.Keep < 0 {
		return gapless.Misconfigured(errors.New("a limit of carts is negative"))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Server is the cart service.
type Server struct {
	opts    Options
	carts   *carts
	orders  chan struct{} // bounds the large orders that are read at a time
	places  chan struct{} // bounds the carts that are verified at a time
	buffers sync.Pool     // of *chunk

	running context.Context //nolint:containedctx // ends with the server
	stop    context.CancelFunc
	staging sync.WaitGroup
}

const (
	// smallOrder is the length in bytes up to which an order is read at once:
	// it takes little memory, however slowly it comes.
	smallOrder = 1 << 20
	// ordersAtATime is how many larger orders are read at a time; others wait.
	ordersAtATime = 4
)

// New returns a server, with the carts that are in its folder. Those that are
// not verified yet are verified now.
func New(o Options) (*Server, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	shelf, err := openShelf(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of carts: %w", err)
	}
	s := &Server{
		opts: o, orders: make(chan struct{}, ordersAtATime), places: make(chan struct{}, cartsAtATime),
		carts: &carts{shelf: shelf, limits: o.Limits, keep: o.Keep, now: o.Now, all: map[key]*cart{}},
	}
	s.buffers.New = func() any { return new(chunk) }
	damaged, err := s.carts.load()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the folder of carts: %w", err), shelf.close())
	}
	for _, err := range damaged {
		o.Logger.Warn("a file in the folder of carts is left alone", "error", err)
	}
	s.running, s.stop = context.WithCancel(context.Background())
	for _, c := range s.carts.unfinished() {
		s.begin(c)
	}
	return s, nil
}

// Close ends the verification of carts, which goes on when a server of the same
// folder is made, and breaks off downloads. Requests that come later are
// refused.
func (s *Server) Close() error {
	s.carts.mu.Lock()
	s.stop()
	s.carts.mu.Unlock()
	s.staging.Wait()
	return s.carts.shelf.close()
}

// exchange is one request and its answer.
type exchange struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	owner string
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	r.Body = http.MaxBytesReader(w, r.Body, s.opts.Limits.BodyBytes)
	c := &exchange{s: s, w: w, r: r}
	err := c.serve()
	if err == nil {
		return
	}
	p, own := asProblem(err)
	if own {
		s.opts.Logger.WarnContext(r.Context(), "cart request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	c.fail(p)
}

const allowed = "DELETE, GET, HEAD, POST"

func (c *exchange) serve() error {
	if c.r.Method == http.MethodPost {
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(orderPatience)) // where there are none, there is none
	}
	if c.s.running.Err() != nil {
		return refuse(http.StatusServiceUnavailable, "the server is being stopped")
	}
	if c.s.opts.Admit != nil {
		var ok bool
		if c.owner, ok = c.s.opts.Admit(c.r); !ok {
			return refuse(http.StatusUnauthorized, "credentials are missing or wrong")
		}
	}
	path, err := c.path()
	switch {
	case err != nil:
		return err
	case len(path) == 0:
		return c.front()
	case len(path) == 2 && path[1] == "status":
		return c.status(key{c.owner, path[0]})
	case len(path) > 1:
		return refuse(http.StatusNotFound, "Nothing matches the given URI")
	}
	c.w.Header().Set("Allow", allowed)
	k := key{c.owner, path[0]}
	switch c.r.Method {
	case http.MethodPost:
		return c.order(k)
	case http.MethodHead:
		return c.poll(k)
	case http.MethodGet:
		return c.download(k)
	case http.MethodDelete:
		return c.remove(k)
	}
	return refuse(http.StatusMethodNotAllowed, "Specified method is invalid for this resource.")
}

// maxUID bounds the name of a cart, in bytes.
const maxUID = 255

// path returns the segments of the path that are not empty: the original
// client puts a slash too many behind an address that ends in one.
func (c *exchange) path() (path []string, err error) {
	for escaped := range strings.SplitSeq(c.r.URL.EscapedPath(), "/") {
		if escaped == "" {
			continue
		}
		plain, err := url.PathUnescape(escaped)
		if err != nil || len(plain) > maxUID || !utf8.ValidString(plain) || strings.ContainsRune(plain, 0) {
			return nil, refuse(http.StatusBadRequest, "the name of a cart has a NUL, is not UTF-8, or is longer than %d bytes", maxUID)
		}
		path = append(path, plain)
	}
	return path, nil
}

// front answers for the service itself.
func (c *exchange) front() error {
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		c.reply(http.StatusOK, c.s.carts.statuses(c.owner))
		return nil
	case http.MethodPost, http.MethodDelete:
		return refuse(http.StatusNotFound, "Missing parameters: uid")
	}
	c.w.Header().Set("Allow", "GET, HEAD")
	return refuse(http.StatusMethodNotAllowed, "Specified method is invalid for this resource.")
}

// orderPatience bounds how long the body of an order may take to come in.
const orderPatience = 5 * time.Minute

// order takes a new cart.
func (c *exchange) order(k key) error {
	media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && media != "text/javascript" {
		return refuse(http.StatusUnsupportedMediaType, "Expected an entity of content type application/json, text/javascript")
	}
	if n := c.r.ContentLength; n < 0 || n > smallOrder {
		select {
		case c.s.orders <- struct{}{}:
			defer func() { <-c.s.orders }()
		case <-c.r.Context().Done():
			return context.Cause(c.r.Context())
		}
	}
	o, err := readOrder(c.r.Body, c.s.opts.Limits.Files)
	if err != nil {
		return err // what is left of the body is still bounded
	}
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
	if o.bundle && (strings.Contains(k.uid, "/") || transfer.CheckPath(k.uid) != nil) {
		return refuse(http.StatusBadRequest, "the cart's name cannot be that of a folder, as bundle asks for")
	}
	added, err := c.s.carts.add(k, o)
	if err != nil {
		return full(err)
	}
	c.s.begin(added)
	c.reply(http.StatusCreated, wireMessage{"Cart Processing has begun"})
	return nil
}

// poll tells how far a cart is.
func (c *exchange) poll(k key) error {
	l, ok := c.s.carts.find(k)
	if !ok {
		return refuse(http.StatusNotFound, "No cart with uid %s found", clip(k.uid))
	}
	c.progress(l.State, l.Message)
	status := http.StatusNoContent
	if l.State == stateFailed {
		status = http.StatusInternalServerError
	}
	c.w.WriteHeader(status)
	return nil
}

// errNoCart is the answer where there is no cart.
func errNoCart() error {
	return refuse(http.StatusNotFound, "The cart does not exist or has already been deleted")
}

// remove removes a cart. Downloads under way go on to their end.
func (c *exchange) remove(k key) error {
	ok, err := c.s.carts.remove(k)
	switch {
	case err != nil:
		return err
	case !ok:
		return errNoCart()
	}
	c.reply(http.StatusOK, wireMessage{"Cart Deleted Successfully"})
	return nil
}
