package car

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
	"github.com/gapless-sync/gapless/httpx"
)

// maxReply bounds the body of a reply that is read whole.
const maxReply = 64 << 20

// call is one request, sent any number of times: repeating any is harmless.
type call struct {
	// what it does, as in "read source x"
	what   string
	method string
	url    string
	body   []byte
	// takes lists statuses beyond 2xx that are no failure.
	takes []int
	// once says that a reply that was begun to be read is not asked for again.
	once bool
}

type reply struct {
	status int
	body   []byte
}

// Error is a refusal by the service.
type Error struct {
	// What was being done, such as "import rows".
	What string
	// Status of the reply.
	Status int
	// Message of the service, shortened.
	Message string
}

// Error returns all on one line.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: the service answers %d %s", e.What, e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// StatusOf returns the status of the reply that err is about; 0 if it is about
// none.
func StatusOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return 0
}

// classify gives a refusal the class that its status stands for.
func (e *Error) classify() error {
	switch {
	case e.Status == http.StatusUnauthorized:
		return gapless.Because(gapless.CauseAuthentication, e)
	case e.Status == http.StatusForbidden:
		return gapless.Because(gapless.CauseForbidden, e)
	case e.Status < 400, e.Status >= 500, e.Status == http.StatusRequestTimeout, e.Status == http.StatusTooManyRequests:
		return gapless.Recoverable(e) // redirects are those of a login or a proxy
	}
	return gapless.Unrecoverable(e)
}

// send carries a call out, again and again if that promises something. read
// takes the body of a success; the call is repeated if it fails. The error is
// classified.
func (c *Client) send(ctx context.Context, call *call, read func(status int, body io.Reader) error) error {
	return httpx.Again(ctx, call.what, c.opts.Retries, c.opts.sleep, func() (time.Duration, bool, error) {
		begun := false
		wait, err := c.try(ctx, call, func(status int, body io.Reader) error {
			begun = true
			return read(status, body)
		})
		refused, ok := errors.AsType[*Error](err)
		final := ok && !httpx.Transient(refused.Status) || gapless.KindOf(err) != gapless.KindRecoverable || begun && call.once
		return wait, !final, err
	})
}

// try sends a call once.
func (c *Client) try(ctx context.Context, call *call, read func(status int, body io.Reader) error) (wait time.Duration, err error) {
	ctx, w := httpx.Watch(ctx, c.opts.Timeout, errSilent)
	defer w.End()
	request, err := c.request(ctx, call, w)
	if err != nil {
		return 0, gapless.Unrecoverable(fmt.Errorf("%s: %w", call.what, err))
	}
	w.Start()
	response, err := c.http.Do(request)
	w.Stop()
	if err != nil {
		return 0, unreachable(ctx, call, err)
	}
	defer func() { _ = response.Body.Close() }() // what was read is judged already
	body := w.Reader(response.Body)
	if !call.accepts(response.StatusCode) {
		text, _ := io.ReadAll(io.LimitReader(body, 4<<10)) // of a refusal, any part will do
		refused := &Error{What: call.what, Status: response.StatusCode, Message: clip(string(text))}
		return httpx.RetryAfter(response.Header, time.Now()), refused.classify()
	}
	if err := read(response.StatusCode, body); err != nil {
		if ctx.Err() != nil || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, unreachable(ctx, call, err)
		}
		return 0, err
	}
	_, _ = io.CopyN(io.Discard, body, 4<<10) // so that the connection is used again
	return 0, nil
}

func (c *Client) request(ctx context.Context, call *call, w *httpx.Watchdog) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, call.method, call.url, nil)
	if err != nil {
		return nil, errors.New("the address of the request is none") // the error repeats ids
	}
	if len(call.body) > 0 {
		request.ContentLength = int64(len(call.body))
		request.GetBody = func() (io.ReadCloser, error) {
			return io.NopCloser(w.Feeder(bytes.NewReader(call.body))), nil
		}
		request.Body, _ = request.GetBody()
	}
	h := request.Header
	h.Set("Accept", "application/json")
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "gapless")
	h.Set("Authorization", c.authorization)
	return request, nil
}

func (call *call) accepts(status int) bool {
	return status >= 200 && status < 300 || slices.Contains(call.takes, status)
}

var errSilent = errors.New("the service is silent")

// unreachable classifies the loss of a connection, without the address that
// the errors of net/http repeat.
func unreachable(ctx context.Context, call *call, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if addressed, ok := errors.AsType[*url.Error](err); ok {
		err = addressed.Err
	}
	return gapless.Recoverable(fmt.Errorf("%s: the service cannot be reached: %w", call.what, err))
}

// exchange carries out a call whose reply is read whole, and has decode look at
// it. A reply that makes no sense is asked for again.
func (c *Client) exchange(ctx context.Context, call *call, decode func(reply) error) error {
	return c.send(ctx, call, func(status int, body io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(body, maxReply+1))
		if err != nil {
			return unreachable(ctx, call, err)
		}
		if len(text) > maxReply {
			return gapless.Unrecoverable(fmt.Errorf("%s: the reply has more than %d bytes", call.what, maxReply))
		}
		if decode == nil {
			return nil
		}
		if err := decode(reply{status, text}); err != nil {
			return unreadable(call, err)
		}
		return nil
	})
}

// unreadable says that a reply makes no sense, unless err is classified.
func unreadable(call *call, err error) error {
	if _, ok := errors.AsType[*gapless.Failure](err); ok {
		return err
	}
	return gapless.Recoverable(fmt.Errorf("%s: the reply cannot be read: %w", call.what, err))
}

// unsettled classifies the failure to read something: it leaves no gap, and the
// outcome of what was sent before stays open. Only the absence of what was
// asked for is an answer.
func unsettled(err error) error {
	if err != nil && gapless.KindOf(err) == gapless.KindUnrecoverable && !errors.Is(err, gapless.ErrNotFound) {
		return gapless.Recoverable(err)
	}
	return err
}
