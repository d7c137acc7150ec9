package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// problem is why a request is refused.
type problem struct {
	status  int
	message string
	// plain: as text, not as an envelope.
	plain bool
}

func (p *problem) Error() string { return p.message }

func refuse(status int, format string, args ...any) error {
	return &problem{status: status, message: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error { return refuse(http.StatusNotFound, format, args...) }

// errAnonymous asks for credentials as an Eden does.
var errAnonymous = errors.New("Authentication Required") //nolint:staticcheck // the text of the answer

// asProblem returns what to answer, and whether it is the server's own fault.
func asProblem(err error) (p *problem, internal bool) {
	if p, ok := errors.AsType[*problem](err); ok {
		return p, false
	}
	if errors.Is(err, errAnonymous) {
		return &problem{status: http.StatusUnauthorized, message: err.Error(), plain: true}, false
	}
	tooLarge, large := errors.AsType[*http.MaxBytesError](err)
	limit, limited := errors.AsType[*s3.LimitError](err)
	switch {
	case large:
		return &problem{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("the body has more than %d bytes", tooLarge.Limit)}, false
	case limited:
		return &problem{status: http.StatusRequestEntityTooLarge, message: "Parse error: " + limit.Error()}, false
	case errors.Is(err, context.Canceled):
		return &problem{status: http.StatusServiceUnavailable, message: "interrupted"}, false
	}
	return &problem{status: http.StatusInternalServerError, message: "the server cannot work at the moment; its log says why"}, true
}

// fail answers with a problem: with a status of HTTP, and what says the same in
// the form of an answer to an import.
func (c *exchange) fail(p *problem) {
	if p.status == http.StatusUnauthorized {
		c.w.Header().Set("WWW-Authenticate", `Basic realm="eden"`)
	}
	if p.plain {
		http.Error(c.w, p.message, p.status)
		return
	}
	_ = c.reply(p.status, s3.Envelope{Status: s3.StatusFailed, StatusCode: p.status, Message: p.message}) // the client is gone
}

// reply answers with an envelope.
func (c *exchange) reply(status int, e s3.Envelope) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.begun = true
	c.w.WriteHeader(status)
	_, err = c.w.Write(body)
	return err
}

// succeed answers that all went well.
func (c *exchange) succeed(message string) error {
	return c.reply(http.StatusOK, s3.Envelope{Status: s3.StatusSuccess, StatusCode: http.StatusOK, Message: message})
}

// line returns text of strangers as one short line that any document can carry.
func line(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == 0xfffe || c == 0xffff {
			return ' '
		}
		return c
	}, clip(strings.ToValidUTF8(text, "?")))
}

// clip shortens text of strangers for a message.
func clip(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	n := most
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
