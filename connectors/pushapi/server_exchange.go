package pushapi

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
)

const (
	contentTypeText = "text/plain; charset=utf-8"
	// drainBytes is how much of a body is read that is not wanted, so that a
	// client which is still sending hears why.
	drainBytes = 64 << 20
	// retryAfter is what a client is told that should come back, in seconds.
	retryAfter = "5"
	// streamBuffer is how much of a streamed reply is sent at a time.
	streamBuffer = 64 << 10
	// bodyBuffer is how much of a body is read at a time.
	bodyBuffer = 64 << 10
)

// exchange is one request and its reply.
type exchange struct {
	server    *Server
	w         http.ResponseWriter
	r         *http.Request
	control   *http.ResponseController
	connector string
	command   Command
	corpus    Corpus
	params    url.Values // of the query, and then of the body
	trusted   bool       // the client's credentials are right
	old       bool       // the client speaks HTTP/1.0: it gets no chunks
	began     bool       // the reply has begun
}

func newExchange(s *Server, w http.ResponseWriter, r *http.Request) *exchange {
	c := &exchange{server: s, w: w, r: r, control: http.NewResponseController(w), old: !r.ProtoAtLeast(1, 1)}
	w.Header().Set("Cache-Control", "no-cache")
	if c.old {
		c.upgrade()
	}
	if s.stall > 0 {
		r.Body = &stallReader{ReadCloser: r.Body, control: c.control, stall: s.stall}
	}
	r.Body = http.MaxBytesReader(w, r.Body, s.body)
	return c
}

// upgrade makes the status line say HTTP/1.1: clients of the first generation
// take HTTP/1.0 there as leave to send chunks, which HTTP/1.0 does not have
// and whose bodies would come out empty. For the same reason the connection of
// a body without a length ends here: chunks would be read as the next request.
func (c *exchange) upgrade() {
	c.r.Proto, c.r.ProtoMajor, c.r.ProtoMinor = "HTTP/1.1", 1, 1
	if c.r.Method == http.MethodPost && c.r.Header.Get("Content-Length") == "" {
		c.w.Header().Set("Connection", "close")
	}
}

// finish bounds how long net/http may wait for what is left of the body. It
// lifts the deadlines when it goes on to the next request.
func (c *exchange) finish() {
	if stall := c.server.stall; stall > 0 {
		_ = c.control.SetReadDeadline(time.Now().Add(stall)) // as in stallReader
	}
}

// fail answers with an error, or ends the connection if the reply has begun.
func (c *exchange) fail(err error) {
	e, internal := asError(err)
	status := e.HTTPStatus()
	if internal {
		c.server.log.WarnContext(c.r.Context(), "push api request failed", "request", c.describe(), "error", err)
	}
	if c.began {
		panic(http.ErrAbortHandler)
	}
	h := c.w.Header()
	h.Del("Trailer")
	h.Set("Content-Type", ContentTypeError)
	h.Set(HeaderErrorType, string(e.Type))
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Basic realm="Push API", charset="UTF-8"`)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", retryAfter)
	}
	if c.trusted {
		_, _ = io.CopyN(io.Discard, c.r.Body, drainBytes) // what is left of it is of no use
	}
	body := AppendError(nil, e)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // the client is told, or is gone
}

// text sends a whole reply.
func (c *exchange) text(status int, body string) error {
	c.began = true
	h := c.w.Header()
	if status != http.StatusNoContent {
		h.Set("Content-Type", contentTypeText)
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	c.w.WriteHeader(status)
	_, err := io.WriteString(c.w, body)
	return err
}

// stream sends what write writes, which for a client without chunks is called
// twice and has to write the same again. If it fails midway the connection
// ends.
func (c *exchange) stream(write func(w io.Writer) error) error { return c.streamSummed(write, nil) }

func (c *exchange) streamSummed(write func(w io.Writer) error, digest *Digest) error {
	h := c.w.Header()
	h.Set("Content-Type", contentTypeText)
	if c.r.Method == http.MethodHead {
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	if c.old {
		var size sizeWriter
		if err := write(&size); err != nil {
			return err
		}
		h.Set("Content-Length", strconv.FormatInt(int64(size), 10))
	}
	out := bufio.NewWriterSize(&streamWriter{c: c, digest: digest}, streamBuffer)
	if err := write(out); err != nil {
		return err
	}
	if !c.began {
		c.began = true
		c.w.WriteHeader(http.StatusOK) // what is put into the header from now on is a trailer
	}
	return out.Flush()
}

// enumerate is stream with a digest behind the body, which is the only proof
// of its end that does not depend on the connection.
func (c *exchange) enumerate(write func(w io.Writer) error) error {
	if c.old || c.r.Method == http.MethodHead {
		return c.stream(write)
	}
	h := c.w.Header()
	h.Set("Trailer", TrailerDigest)
	var digest Digest
	if err := c.streamSummed(write, &digest); err != nil {
		return err
	}
	h.Set(TrailerDigest, digest.String())
	return nil
}

// sizeWriter counts bytes.
type sizeWriter int64

func (n *sizeWriter) Write(p []byte) (int, error) {
	*n += sizeWriter(len(p))
	return len(p), nil
}

// streamWriter sends on, as long as the client takes something now and then.
type streamWriter struct {
	c      *exchange
	digest *Digest // of what was sent; may be nil
}

func (s *streamWriter) Write(p []byte) (int, error) {
	s.c.began = true
	if stall := s.c.server.stall; stall > 0 {
		_ = s.c.control.SetWriteDeadline(time.Now().Add(stall)) // a writer that knows none waits
	}
	if s.digest != nil {
		_, _ = s.digest.Write(p) // a hash accepts everything
	}
	return s.c.w.Write(p)
}

// stallReader gives a body that stalls a deadline.
type stallReader struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
	set     time.Time
}

func (b *stallReader) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.set) > b.stall/8 {
		b.set = now
		_ = b.control.SetReadDeadline(now.Add(b.stall)) // a reader that knows none waits
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// readParams adds the parameters of the body to those of the query. A body of
// a kind that cannot be read is refused: its parameters might have said what
// not to do.
func (c *exchange) readParams() error {
	form, err := c.readForm(func(io.Reader) (Part, error) { return Part{}, noDocuments() })
	if err != nil {
		return err
	}
	if len(form.Documents) > 0 {
		return noDocuments()
	}
	return nil
}

func noDocuments() error {
	return Errorf(TypeInvalidParameter, "unexpected documents", "this command takes no documents")
}

// readForm reads the body and adds its parameters to those of the query.
func (c *exchange) readForm(spool Spool) (form Form, err error) {
	kind := c.r.Header.Get("Content-Type")
	if c.r.ContentLength == 0 {
		kind = "" // whatever it would be of: there is none
	}
	body := bufio.NewReaderSize(c.r.Body, bodyBuffer)
	if form, err = ReadForm(kind, body, c.server.limits, spool); err != nil {
		return form, err
	}
	for name, values := range form.Params {
		c.params[name] = append(c.params[name], values...)
	}
	return form, c.checkSession()
}

// checkSession refuses a session id that is not the server's.
func (c *exchange) checkSession() error {
	for _, id := range c.params[ParamSession] {
		if id != c.server.store.Incarnation() {
			return Errorf(TypeSessionMismatch, "session mismatch",
				"session %q is not this server's: it has restarted, and what was not synced may be lost; start a session and go on from the last synced checkpoint", clip(id))
		}
	}
	return nil
}

// optional returns the value of a parameter, and whether it came. Two that
// differ are refused.
func (c *exchange) optional(name string) (value string, set bool, err error) {
	values := c.params[name]
	if len(values) == 0 {
		return "", false, nil
	}
	for _, v := range values[1:] {
		if v != values[0] {
			return "", true, Errorf(TypeInvalidParameter, "contradictory parameters", "parameter %s came twice, as %q and as %q", name, clip(values[0]), clip(v))
		}
	}
	return values[0], true, nil
}

func (c *exchange) required(name string) (string, error) {
	value, set, err := c.optional(name)
	if err == nil && !set {
		err = Errorf(TypeInvalidParameter, "missing parameter", "parameter %s is missing", name)
	}
	return value, err
}

// flag returns a boolean parameter.
func (c *exchange) flag(name string, byDefault bool) (bool, error) {
	value, set, err := c.optional(name)
	if err != nil || !set {
		return byDefault, err
	}
	return ParseBool(name, value)
}

// uris returns all values of PAPI_uri, of which there must be one.
func (c *exchange) uris() ([]string, error) {
	uris := c.params[ParamURI]
	if len(uris) == 0 {
		return nil, Errorf(TypeInvalidParameter, "missing parameter", "parameter %s is missing", ParamURI)
	}
	for _, uri := range uris {
		if err := checkURI(uri); err != nil {
			return nil, err
		}
	}
	return uris, nil
}

// folder returns what the URIs below the root path begin with.
func (c *exchange) folder() (string, error) {
	root, err := c.required(ParamRootPath)
	if err != nil || root == "" {
		return "", err
	}
	if len(root) > gapless.MaxKeyBytes || !utf8.ValidString(root) {
		return "", Errorf(TypeInvalidParameter, "invalid root path", "the root path has more than %d bytes or is not valid UTF-8", gapless.MaxKeyBytes)
	}
	if root[len(root)-1] != '/' {
		root += "/"
	}
	return root, nil
}

// escape returns how values are escaped on their lines, and says so if the
// client asked for it.
func (c *exchange) escape() Escape {
	if c.r.Header.Get(HeaderEscape) != EscapeFullName {
		return EscapePlain
	}
	c.w.Header().Set(HeaderEscape, EscapeFullName)
	return EscapeFull
}
