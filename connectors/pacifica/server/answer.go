package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
)

// problem is why a request is refused.
type problem struct {
	status  int
	message string
}

func (p *problem) Error() string { return p.message }

func refuse(status int, format string, args ...any) error {
	return &problem{status, fmt.Sprintf(format, args...)}
}

// asProblem returns what to answer, and whether it is the server's own fault.
func asProblem(err error) (p *problem, own bool) {
	if p, ok := errors.AsType[*problem](err); ok {
		return p, false
	}
	large, tooLarge := errors.AsType[*http.MaxBytesError](err)
	code, coded := errors.AsType[*gapless.Error](err)
	switch {
	case tooLarge:
		return &problem{http.StatusRequestEntityTooLarge, fmt.Sprintf("the order has more than %d bytes; order several carts", large.Limit)}, false
	case errors.Is(err, context.Canceled):
		return &problem{http.StatusServiceUnavailable, "interrupted"}, false
	case coded && code.Code == gapless.CodeStoreFull:
		return &problem{http.StatusInsufficientStorage, "the server's disk is full"}, true
	}
	return &problem{http.StatusInternalServerError, internal}, true
}

// full gives the error of a full disk its code.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return gapless.Errorf(gapless.CodeStoreFull, "carts", "%w", gapless.Recoverable(err))
	}
	return err
}

// The headers that tell how far a cart is.
const (
	headerStatus  = "X-Pacifica-Status"
	headerMessage = "X-Pacifica-Message"
)

// fail answers with a problem. An answer to HEAD always has the two headers:
// the original client reads them whatever the status is.
func (c *exchange) fail(p *problem) {
	switch p.status {
	case http.StatusUnauthorized:
		c.w.Header().Set("WWW-Authenticate", `Basic realm="carts"`)
	case http.StatusTooManyRequests:
		c.w.Header().Set("Retry-After", "60")
	}
	if c.r.Method == http.MethodHead {
		c.progress(stateFailed, p.message)
	}
	c.reply(p.status, wireError{
		Status: fmt.Sprintf("%d %s", p.status, http.StatusText(p.status)), Message: p.message, Version: "gapless",
	})
}

// wireError is a problem in the form of the original; there never is a
// traceback.
type wireError struct {
	Status    string `json:"status"`
	Message   string `json:"message"`
	Traceback string `json:"traceback"`
	Version   string `json:"version"`
}

// wireMessage is what a request that has gone well is told.
type wireMessage struct {
	Message string `json:"message"`
}

// progress sets the headers that tell how far a cart is.
func (c *exchange) progress(s state, message string) {
	c.w.Header().Set(headerStatus, string(s))
	c.w.Header().Set(headerMessage, ascii(message))
}

// reply answers with JSON. Whether the client is still there does not matter.
func (c *exchange) reply(status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte("{}") // nothing that is sent can be that
	}
	c.w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(text)
}

// abort ends a connection so that no client can take what it got for all: it
// is reset, because a connection that is merely closed looks like an end to
// clients that pass over the length.
func (c *exchange) abort() {
	if conn, _, err := http.NewResponseController(c.w).Hijack(); err == nil {
		reset(conn)
	}
	panic(http.ErrAbortHandler)
}

func reset(conn net.Conn) {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn() // TLS would say goodbye
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it is closed in any case
	}
	_ = conn.Close()
}

// maxMessage bounds a message in a header, in bytes.
const maxMessage = 2000

// ascii returns text as one line that a header can carry.
func ascii(text string) string {
	quoted := strconv.QuoteToASCII(text)
	line := strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	return line[:min(len(line), maxMessage)]
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
	return text[:n] + "..."
}
