package pacifica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

// server is one server that requests are sent to. It is safe for concurrent
// use.
type server struct {
	base   *url.URL // without credentials or a slash at the end
	access Access
	http   *http.Client
	door   *door
	// secrets are cut out of whatever the server says.
	secrets *strings.Replacer
}

// newServer returns a server at address; option names what gave the address.
// It connects when it is first used.
func newServer(option, address string, access Access) (*server, error) {
	base, userinfo, err := parseBase(option, address)
	if err != nil {
		return nil, err
	}
	access.setDefaults()
	header, secrets, err := access.credentials(base, userinfo)
	if err != nil {
		return nil, err
	}
	// The longest first: one may be part of another.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, secret := range secrets {
		pairs = append(pairs, secret, "***", url.QueryEscape(secret), "***", url.PathEscape(secret), "***")
	}
	d := newDoor(base, header, access.TLS)
	return &server{
		base: base, access: access, door: d, secrets: strings.NewReplacer(pairs...),
		http: &http.Client{Transport: d, CheckRedirect: checkRedirect},
	}, nil
}

// say prepares a text of the server for a message: on one line, shortened,
// without secrets.
func (s *server) say(text string) string {
	const most = 600
	text = s.secrets.Replace(strings.ToValidUTF8(text, "\uFFFD"))
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// call is one request, sent any number of times: repeating any is harmless.
type call struct {
	what   string // as in "order the cart U"
	method string
	url    string
	body   []byte
	header http.Header
	// takes reports whether an answer beyond 2xx is no failure; may be nil.
	takes func(*http.Response) bool
}

// answer is what came back. It has to be closed.
type answer struct {
	*http.Response
	body io.Reader
	*httpx.Watchdog
}

// Close releases the connection.
func (a *answer) Close() error {
	a.End()
	return a.Response.Body.Close()
}

// refusal is an answer with a status that means no.
type refusal struct {
	what    string
	status  int
	message string
}

// Error returns all on one line.
func (e *refusal) Error() string {
	text := fmt.Sprintf("%s: the server answers %d %s", e.what, e.status, http.StatusText(e.status))
	if e.message != "" {
		text += ": " + e.message
	}
	return text
}

// classify gives a refusal the class that its status stands for. None leaves a
// gap: what was refused is asked for again.
func (e *refusal) classify() error {
	switch {
	case e.status == http.StatusUnauthorized, e.status == http.StatusProxyAuthRequired:
		return gapless.Because(gapless.CauseAuthentication, e)
	case e.status == http.StatusForbidden:
		return gapless.Because(gapless.CauseForbidden, e)
	case e.status >= 500, httpx.Transient(e.status):
		return gapless.Recoverable(e)
	case e.status/100 == 4:
		return gapless.Because(gapless.CauseInvalidParameter, e)
	}
	return gapless.Because(gapless.CauseUnreadable, e)
}

// refuse reads why a request was refused.
func (s *server) refuse(c *call, a *answer) error {
	text, _ := io.ReadAll(io.LimitReader(a.body, 64<<10)) // of a refusal, any part will do
	return (&refusal{what: c.what, status: a.StatusCode, message: s.say(messageOf(text))}).classify()
}

// lost is a connection that was not there or did not last.
type lost struct {
	what string
	err  error
}

func (e *lost) Error() string { return fmt.Sprintf("%s: the connection failed: %v", e.what, e.err) }
func (e *lost) Unwrap() error { return e.err }

// unreachable classifies the loss of a connection, without the address that
// the errors of net/http repeat.
func (s *server) unreachable(ctx context.Context, what string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if addressed, ok := errors.AsType[*url.Error](err); ok {
		err = addressed.Err
	}
	return gapless.Because(gapless.CauseUnreachable, &lost{what, err})
}

// again reports whether the same request may succeed a little later.
func again(err error) bool {
	if e, ok := errors.AsType[*refusal](err); ok {
		return httpx.Transient(e.status)
	}
	_, ok := errors.AsType[*lost](err)
	return ok
}

// send carries a call out, again and again if that promises something, and
// returns an answer that is no refusal. The error is classified.
func (s *server) send(ctx context.Context, c *call) (a *answer, err error) {
	err = httpx.Again(ctx, c.what, s.access.Retries, s.access.sleep, func() (wait time.Duration, _ bool, err error) {
		a, wait, err = s.begin(ctx, c)
		return wait, again(err), err
	})
	return a, err
}

// begin sends a call once. wait is what the server asks for before the next
// time.
func (s *server) begin(ctx context.Context, c *call) (_ *answer, wait time.Duration, err error) {
	var body io.Reader
	if c.body != nil {
		body = bytes.NewReader(c.body)
	}
	ctx, w := httpx.Watch(ctx, s.access.Timeout, fmt.Errorf("nothing came for %s", s.access.Timeout))
	request, err := http.NewRequestWithContext(ctx, c.method, c.url, body)
	if err != nil {
		w.End()
		return nil, 0, gapless.Misconfigured(fmt.Errorf("%s: the address is no URL", c.what))
	}
	request.Header.Set("User-Agent", "gapless")
	// Without it a server may send what is no longer the file that it hashed.
	request.Header.Set("Accept-Encoding", "identity")
	maps.Copy(request.Header, c.header)
	w.Start()
	response, err := s.http.Do(request) //nolint:bodyclose // answer.Close closes it
	if err != nil {
		defer w.End()
		return nil, 0, s.unreachable(ctx, c.what, err)
	}
	w.Stop()
	a := &answer{Response: response, body: w.Reader(response.Body), Watchdog: w}
	if a.StatusCode/100 == 2 || c.takes != nil && c.takes(response) {
		return a, 0, nil
	}
	err = s.refuse(c, a)
	_ = a.Close() // a refusal either way
	return nil, httpx.RetryAfter(a.Header, time.Now()), err
}
