package sahana

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/httpx"
)

const (
	// maxAnswer bounds an answer that is read whole.
	maxAnswer = 256 << 20
	// formType is the content type of all bodies, JSON and XML among them: what
	// an Eden itself sends, and the one that no version chokes on.
	formType = "application/x-www-form-urlencoded"
)

// call is one request, sent any number of times: repeating any is harmless.
type call struct {
	what   string // as in "read org_office"
	method string
	path   string // and query, below the base
	body   []byte
	// takes lists statuses beyond 2xx that are no failure.
	takes []int
	// once says that an answer that was begun to be read is not asked for
	// again.
	once bool
}

// answer is what came back. It has to be closed.
type answer struct {
	status int
	header http.Header
	io.ReadCloser
}

// refusal is an answer with a status that means no.
type refusal struct {
	what    string
	status  int
	message string
}

// Error returns all on one line.
func (e *refusal) Error() string {
	text := fmt.Sprintf("%s: the Eden answers %d %s", e.what, e.status, http.StatusText(e.status))
	if e.message != "" {
		text += ": " + e.message
	}
	return text
}

// classify gives a refusal the class that its status stands for. None leaves a
// gap: what was refused is asked for again.
func (e *refusal) classify() error {
	switch {
	case e.status == http.StatusUnauthorized, e.status/100 == 3:
		return gapless.Because(gapless.CauseAuthentication, e)
	case e.status == http.StatusForbidden:
		return gapless.Because(gapless.CauseForbidden, e)
	case e.status >= 500, e.status == http.StatusRequestTimeout, e.status == http.StatusTooManyRequests:
		return gapless.Recoverable(e)
	}
	return gapless.Because(gapless.CauseInvalidParameter, e)
}

// refuse reads why a request was refused: an envelope, a page or a text. The
// ticket is under what the Eden's administrator finds the failure.
func refuse(c *call, a *answer) error {
	text, _ := io.ReadAll(io.LimitReader(a, 64<<10)) // of a refusal, any part will do
	e := &refusal{what: c.what, status: a.status, message: clip(string(text))}
	envelope, err := s3.ReadEnvelope(bytes.NewReader(text), s3.DefaultLimits())
	if content, ok := errors.AsType[*s3.ContentError](err); ok && content.Title != "" {
		e.message = content.Title
	} else if err == nil {
		e.message = clip(envelope.Message)
	}
	if ticket := a.header.Get("web2py_error"); ticket != "" {
		e.message += " (" + clip(ticket) + ")"
	}
	return e.classify()
}

var (
	// errSilent ends an exchange in which nothing moves.
	errSilent = errors.New("the Eden is silent")
	// errBroken is an answer that could not be received to its end.
	errBroken = errors.New("the connection broke")
)

// lost is a connection that was not there or did not last.
type lost struct {
	what string
	err  error
}

func (e *lost) Error() string {
	return fmt.Sprintf("%s: the Eden cannot be reached: %v", e.what, e.err)
}

func (e *lost) Unwrap() error { return e.err }

// unreachable classifies the loss of a connection, without the address that
// the errors of net/http repeat.
func unreachable(ctx context.Context, c *call, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if addressed, ok := errors.AsType[*url.Error](err); ok {
		err = addressed.Err
	}
	return gapless.Because(gapless.CauseUnreachable, &lost{c.what, err})
}

// unreadable classifies a failure to make sense of an answer: nothing of it
// counts, so it leaves no gap.
func unreadable(ctx context.Context, c *call, err error) error {
	if _, ok := errors.AsType[*gapless.Failure](err); ok {
		return err
	}
	if ctx.Err() != nil || errors.Is(err, errBroken) || errors.Is(err, io.ErrUnexpectedEOF) {
		return unreachable(ctx, c, err)
	}
	return gapless.Because(gapless.CauseUnreadable, fmt.Errorf("%s: the answer cannot be read: %w", c.what, err))
}

// again reports whether the same request may succeed a little later.
func again(err error) bool {
	if e, ok := errors.AsType[*refusal](err); ok {
		return httpx.Transient(e.status)
	}
	_, ok := errors.AsType[*lost](err)
	return ok
}

// send carries a call out, again and again if that promises something. read
// takes the answer, and is called anew with each. The error is classified.
func (c *client) send(ctx context.Context, call *call, read func(a *answer) error) error {
	return httpx.Again(ctx, call.what, c.opts.Retries, c.opts.sleep, func() (time.Duration, bool, error) {
		a, wait, err := c.begin(ctx, call)
		begun := err == nil
		if begun {
			if err = read(a); err != nil {
				err = unreadable(ctx, call, err)
			}
			_ = a.Close() // what was read is judged already
		}
		return wait, again(err) && !(begun && call.once), err
	})
}

// begin sends a call once and returns an answer that is no refusal.
func (c *client) begin(ctx context.Context, call *call) (_ *answer, wait time.Duration, err error) {
	ctx, w := httpx.Watch(ctx, c.opts.Timeout, errSilent)
	request, err := c.request(ctx, call)
	if err != nil {
		w.End()
		return nil, 0, gapless.Misconfigured(fmt.Errorf("%s: %w", call.what, err))
	}
	w.Start()
	response, err := c.http.Do(request) //nolint:bodyclose // the answer is closed by whoever gets it
	if err != nil {
		defer w.End()
		return nil, 0, unreachable(ctx, call, err)
	}
	w.Stop()
	a := &answer{response.StatusCode, response.Header, &watched{w, w.Reader(response.Body), response.Body}}
	if a.status/100 == 2 && a.header.Get(s3.ServiceHeader) != "" {
		c.kin.Store(true) // for good: what a proxy says in between means nothing
	}
	if a.status/100 == 2 || slices.Contains(call.takes, a.status) {
		return a, 0, nil
	}
	err = refuse(call, a)
	_ = a.Close() // a refusal either way
	return nil, httpx.RetryAfter(a.header, time.Now()), err
}

func (c *client) request(ctx context.Context, call *call) (*http.Request, error) {
	var body io.Reader
	if call.body != nil {
		body = bytes.NewReader(call.body) // its length is sent: an Eden reads chunks as nothing
	}
	request, err := http.NewRequestWithContext(ctx, call.method, c.base+"/"+call.path, body)
	if err != nil {
		return nil, errors.New("the address of the request is none")
	}
	h := request.Header
	h.Set("User-Agent", "gapless")
	if call.body != nil {
		h.Set("Content-Type", formType)
	}
	if c.authorization != "" {
		h.Set("Authorization", c.authorization)
	}
	return request, nil
}

// watched is a body whose sender has to deliver.
type watched struct {
	*httpx.Watchdog
	io.Reader
	body io.Closer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	return n, fmt.Errorf("%w: %w", errBroken, err)
}

func (w *watched) Close() error {
	w.End()
	return w.body.Close()
}
