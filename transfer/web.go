package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

// Web is the supplier of files whose origins are URLs. What is here of a file is
// continued by a range, if the server has those and the file is still the same.
// The bytes are taken as they come: a content encoding is part of the file.
type Web struct {
	client    *http.Client
	authorize func(*http.Request) error
}

// WebOptions are the optional arguments of [NewWeb]. The zero value is useful.
type WebOptions struct {
	// Client replaces the client of our own.
	Client *http.Client
	// Authorize adds credentials to a request, as headers of any name. Where
	// the request is redirected to another scheme, host or port, they stay
	// behind.
	Authorize func(*http.Request) error
}

const (
	connectTimeout = 10 * time.Second
	maxRedirects   = 10
	// maxConnections are kept open to one host.
	maxConnections = 64
)

var errRedirects = fmt.Errorf("redirected more than %d times", maxRedirects)

// NewWeb returns a supplier of URLs.
func NewWeb(opts WebOptions) *Web {
	client := &http.Client{}
	if opts.Client != nil {
		*client = *opts.Client
	} else {
		client.Transport = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSHandshakeTimeout: connectTimeout,
			ForceAttemptHTTP2:   true,
			DisableCompression:  true,
			MaxIdleConnsPerHost: maxConnections,
			IdleConnTimeout:     time.Minute,
			ReadBufferSize:      leastPiece,
		}
	}
	client.CheckRedirect = checkRedirect
	return &Web{client: client, authorize: opts.Authorize}
}

// checkRedirect bounds redirects. What goes to another origin than the first
// request has none but our own headers: net/http by itself leaves out only some
// that it knows, and tells where the request comes from.
func checkRedirect(next *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errRedirects
	}
	first := via[0].URL
	if next.URL.Scheme == first.Scheme && strings.EqualFold(next.URL.Host, first.Host) {
		return nil
	}
	own := http.Header{}
	for _, name := range [...]string{"Accept-Encoding", "Range", "If-Range"} {
		if values := next.Header.Values(name); len(values) > 0 {
			own[name] = values
		}
	}
	next.Header = own
	return nil
}

// Close drops idle connections.
func (w *Web) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

var _ Supplier = (*Web)(nil)

// Supply implements [Supplier]. A status that promises nothing is a rejection of
// the file; where credentials are refused the transfer stops.
func (w *Web) Supply(ctx context.Context, files []Wanted, deliver Deliver) error {
	for _, f := range files {
		if err := w.fetch(ctx, f, deliver); err != nil {
			return err
		}
	}
	return nil
}

// errRange says that the server does not continue where the file ends here.
var errRange = errors.New("the range does not fit")

func (w *Web) fetch(ctx context.Context, f Wanted, deliver Deliver) error {
	err := w.exchange(ctx, f, deliver)
	if errors.Is(err, errRange) {
		f.Offset = 0
		err = w.exchange(ctx, f, deliver)
	}
	return err
}

func (w *Web) exchange(ctx context.Context, f Wanted, deliver Deliver) error {
	request, err := w.request(ctx, f)
	if err != nil {
		return err
	}
	answered := guardOf(ctx).wait()
	response, err := w.client.Do(request)
	answered()
	if err != nil {
		return w.failure(ctx, f, err)
	}
	defer response.Body.Close()
	c := Content{
		Path: f.Path, Size: response.ContentLength, Validator: validatorOf(response.Header),
		Modified: modifiedOf(response.Header), Body: response.Body,
	}
	switch {
	case response.StatusCode == http.StatusPartialContent && f.Offset > 0:
		size, fits := continues(response.Header.Get("Content-Range"), f.Offset)
		if !fits || (f.Validator != "" && c.Validator != "" && c.Validator != f.Validator) {
			return errRange
		}
		c.Size = size
		c.Offset = f.Offset
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable && f.Offset > 0:
		return errRange
	case response.StatusCode != http.StatusOK:
		return refusal(f, response)
	}
	if encoding := response.Header.Get("Content-Encoding"); f.Hash == "" && encoding != "" && encoding != "identity" {
		return reject(f, gapless.CauseUnreadable, fmt.Errorf("it came encoded as %q, and there is no hash to tell whether that is part of the file", encoding))
	}
	return deliver(c)
}

func (w *Web) request(ctx context.Context, f Wanted) (*http.Request, error) {
	u, err := url.Parse(f.Origin)
	if err == nil {
		err = checkURL(u)
	}
	if err != nil {
		return nil, reject(f, gapless.CauseInvalidParameter, unwrapURL(err))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.Origin, http.NoBody)
	if err != nil {
		return nil, reject(f, gapless.CauseInvalidParameter, unwrapURL(err))
	}
	request.Header.Set("Accept-Encoding", "identity")
	if f.Offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.Offset))
		if f.Validator != "" {
			request.Header.Set("If-Range", f.Validator)
		}
	}
	if w.authorize != nil {
		if err := w.authorize(request); err != nil {
			return nil, fmt.Errorf("authorize the request for %q: %w", f.Path, err)
		}
	}
	return request, nil
}

// reject gives a file up.
func reject(f Wanted, cause gapless.Cause, err error) error {
	return &gapless.Failure{Kind: gapless.KindRejected, Cause: cause, Key: f.Path, Err: err}
}

// failure classifies what prevented an answer.
func (w *Web) failure(ctx context.Context, f Wanted, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	err = unwrapURL(err)
	if errors.Is(err, errRedirects) {
		return reject(f, gapless.CauseInvalidParameter, err)
	}
	return gapless.Because(gapless.CauseUnreachable, err)
}

// refusal classifies an answer that is no content.
func refusal(f Wanted, response *http.Response) error {
	err := fmt.Errorf("the server answers %s", response.Status)
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusProxyAuthRequired:
		return gapless.Because(gapless.CauseAuthentication, fmt.Errorf("fetch %q: %w", f.Path, err))
	case status == http.StatusForbidden:
		return reject(f, gapless.CauseForbidden, err)
	case httpx.Transient(status):
		return gapless.Later(min(httpx.RetryAfter(response.Header, time.Now()), httpx.MaxRetryAfter), gapless.Recoverable(err))
	case status < http.StatusMultipleChoices:
		return gapless.Because(gapless.CauseUnreadable, err)
	}
	return reject(f, gapless.CauseInvalidParameter, err)
}

// validatorOf returns what an If-Range can be made with: a strong ETag, or else
// nothing, because a time does not tell two changes within a second apart.
func validatorOf(h http.Header) string {
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return ""
}

func modifiedOf(h http.Header) time.Time {
	at, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return time.Time{} // not known
	}
	return at
}

// continues reads a Content-Range and returns the size of the whole, -1 if it is
// not known, and whether the range begins at an offset and runs to the end.
func continues(text string, offset int64) (size int64, fits bool) {
	span, whole, ok := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	first, last, also := strings.Cut(span, "-")
	if !ok || !also || !strings.HasPrefix(text, "bytes ") {
		return 0, false
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from != offset {
		return 0, false
	}
	to, err := strconv.ParseInt(last, 10, 64)
	if err != nil || to < from {
		return 0, false
	}
	if whole == "*" {
		return -1, true
	}
	size, err = strconv.ParseInt(whole, 10, 64)
	return size, err == nil && to == size-1
}

var _ io.Closer = (*Web)(nil)
