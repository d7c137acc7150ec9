package pushapi

import (
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

	"github.com/gapless-sync/gapless/httpx"
)

// call is one command as it is sent, any number of times.
type call struct {
	command Command
	query   url.Values
	header  http.Header
	// form is sent in an url-encoded body instead of the URL if the server
	// takes that.
	form url.Values
	// docs are sent in a multipart body.
	docs []Document
	// once forbids to send it again: the effect of a lost reply is not known.
	once bool
}

// reply is what came back with a status of success. Its body ends with an
// error if it was torn or if the server fell silent.
type reply struct {
	*http.Response
	body io.Reader
	end  func()
}

// close releases the connection.
func (r *reply) close() {
	_ = r.Response.Body.Close() // what was read is judged already
	r.end()
}

// text reads a small body.
func (r *reply) text() (string, error) {
	body, err := io.ReadAll(io.LimitReader(r.body, maxLineBytes+1))
	if err == nil && len(body) > maxLineBytes {
		err = fmt.Errorf("the reply has more than %d bytes", maxLineBytes)
	}
	return string(body), err
}

// framed reports whether a torn body can be told from a complete one.
func (r *reply) framed() bool {
	return r.ContentLength >= 0 || slices.Contains(r.TransferEncoding, "chunked") || r.ProtoMajor >= 2 || r.Uncompressed
}

// send carries a call out, again and again if that is harmless and promises
// something. The caller closes the reply.
func (c *HTTPPushAPI) send(ctx context.Context, call *call) (r *reply, err error) {
	err = httpx.Again(ctx, string(call.command), c.opts.Retries, c.opts.sleep, func() (wait time.Duration, _ bool, err error) {
		r, wait, err = c.try(ctx, call)
		again := !call.once && (errors.Is(err, ErrServerUnavailable) || transient(err))
		return wait, again, err
	})
	return r, c.diagnose(ctx, call, err)
}

// transient reports whether the server said no without a reason of its own.
func transient(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Type == TypeUnknown && e.Status >= http.StatusInternalServerError &&
		e.Status != http.StatusNotImplemented && e.Status != http.StatusHTTPVersionNotSupported
}

// diagnose tells a session mismatch from other refusals, whatever the server
// calls it.
func (c *HTTPPushAPI) diagnose(ctx context.Context, call *call, err error) error {
	e, ok := errors.AsType[*Error](err)
	sent := c.Session()
	if !ok || sent == "" || call.command == CommandSession || e.Status != http.StatusBadRequest || e.Type != TypeInvalidParameter && !errors.Is(e, ErrUnknownError) {
		return err
	}
	now, asked := c.currentSession(ctx)
	if asked != nil || now == sent {
		return err
	}
	mismatch := *e
	mismatch.Type, mismatch.Short = TypeSessionMismatch, ErrSessionMismatch.Error()
	return &mismatch
}

// try sends a call once. wait is what the server asks for before the next
// time.
func (c *HTTPPushAPI) try(ctx context.Context, call *call) (r *reply, wait time.Duration, err error) {
	ctx, watch := httpx.Watch(ctx, c.opts.Timeout, fmt.Errorf("nothing came for %s: %w", c.opts.Timeout, context.DeadlineExceeded))
	request, body, err := c.request(ctx, call, watch)
	if err != nil {
		watch.End()
		return nil, 0, c.fail(call, err)
	}
	watch.Start()
	response, err := c.http.Do(request) //nolint:bodyclose // reply.close closes it
	watch.Stop()
	if err != nil {
		cause := body.finish()
		if part, ok := errors.AsType[*partError](cause); ok {
			err = part
		} else if watched := context.Cause(ctx); watched != nil {
			err = watched
		}
		watch.End()
		return nil, 0, c.fail(call, err)
	}
	r = &reply{Response: response, body: watch.Reader(response.Body), end: func() {
		_ = body.finish() // the server has answered: what it did not read does not matter
		watch.End()
	}}
	if response.StatusCode/100 == 2 {
		return r, 0, nil
	}
	defer r.close()
	return nil, httpx.RetryAfter(response.Header, time.Now()), c.refusal(call, r)
}

// fail classifies what came instead of a reply.
func (c *HTTPPushAPI) fail(call *call, err error) error {
	if part, ok := errors.AsType[*partError](err); ok {
		return &Error{Type: TypeInvalidParameter, Short: "content not readable", Message: "read its content: " + part.Error(), Command: call.command, URI: part.uri, Err: part.err}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		located := *e
		located.Command = call.command
		return &located
	}
	if place, ok := errors.AsType[*url.Error](err); ok {
		err = place.Err // the address would repeat the parameters
	}
	return &Error{Type: TypeUnavailable, Short: ErrServerUnavailable.Error(), Message: fmt.Sprintf("%s: %s", c.base.Host, err), Command: call.command, Err: err}
}

// refusal reads a reply that is no success.
func (c *HTTPPushAPI) refusal(call *call, r *reply) error {
	e := ReadError(r.body)
	e.Status, e.Command = r.StatusCode, call.command
	if named := r.Header.Get(HeaderErrorType); named != "" {
		e.Type = ErrorType(clip(named))
	}
	if e.Type == "" || e.Type == TypeUnknown {
		e.Type = typeOfStatus(r.StatusCode)
	}
	if e.Message == "" {
		e.Message = fmt.Sprintf("%s answered %d %s", c.base.Host, r.StatusCode, http.StatusText(r.StatusCode))
	}
	return e
}

// typeOfStatus says what a status means if the body does not.
func typeOfStatus(status int) ErrorType {
	switch status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed:
		return TypeInvalidParameter
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return TypeUnauthorized
	case http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		return TypeTooLarge
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return TypeUnavailable
	}
	return TypeUnknown
}

// request builds the request of one attempt.
func (c *HTTPPushAPI) request(ctx context.Context, call *call, watch *httpx.Watchdog) (*http.Request, *requestBody, error) {
	method := call.command.Method(c.opts.Dialect)
	target := *c.base
	target.Path = call.command.path(c.connector, c.opts.Dialect)
	query := url.Values{}
	maps.Copy(query, call.query)
	if id := c.Session(); id != "" && call.command != CommandSession && call.command != CommandCapabilities {
		query.Set(ParamSession, string(id))
	}
	body := &requestBody{}
	var content io.Reader
	length, media := int64(0), ""
	switch {
	case len(call.form) > 0:
		text := call.form.Encode()
		method, media = http.MethodPost, "application/x-www-form-urlencoded"
		content, length = strings.NewReader(text), int64(len(text))
	case call.docs != nil:
		boundary, err := c.opts.boundary()
		if err != nil {
			return nil, nil, err
		}
		media, length = contentType(boundary), bodySize(boundary, call.docs)
		content = body.stream(ctx, boundary, call.docs)
	}
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return nil, nil, errors.Join(err, body.finish())
	}
	if content != nil {
		request.Body, request.ContentLength = io.NopCloser(watch.Feeder(content)), length
		request.Header.Set("Content-Type", media)
	}
	maps.Copy(request.Header, call.header)
	request.Header.Set(HeaderConnectorType, c.connectorType)
	request.Header.Set("User-Agent", "gapless-pushapi")
	if c.login != "" {
		request.SetBasicAuth(c.login, c.password)
	}
	return request, body, nil
}

// requestBody writes documents on a goroutine of its own while the connection
// reads them.
type requestBody struct {
	read *io.PipeReader
	done chan error
}

func (b *requestBody) stream(ctx context.Context, boundary string, docs []Document) io.Reader {
	read, write := io.Pipe()
	b.read, b.done = read, make(chan error, 1)
	go func() {
		buffered := newBodyBuffer(write)
		err := WriteDocuments(ctx, buffered, boundary, docs)
		if err == nil {
			err = buffered.Flush()
		}
		_ = write.CloseWithError(err) // never fails
		b.done <- err
	}()
	return read
}

// finish ends the goroutine and returns why it ended; the same thing every
// time.
func (b *requestBody) finish() error {
	if b == nil || b.read == nil {
		return nil
	}
	_ = b.read.Close() // never fails
	err := <-b.done
	b.done <- err
	return err
}
