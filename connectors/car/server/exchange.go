package server

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// drainBytes is how much of a body is read that is not wanted, so that a
// client which is still sending hears why.
const drainBytes = 64 << 20

// exchange is one request and its reply.
type exchange struct {
	w       http.ResponseWriter
	r       *http.Request
	rest    io.Reader // the body without its bound
	path    []string  // segments behind the version, decoded
	trusted bool      // the client's credentials are right
}

// readPath splits the path before it is decoded, so that %2F separates
// nothing. A plus is a plus.
func (c *exchange) readPath() error {
	if isPage(c.r) {
		return nil
	}
	path := c.r.URL.EscapedPath()
	rest, ok := strings.CutPrefix(path, PathV2)
	if !ok {
		rest, ok = strings.CutPrefix(path, PathV3)
	}
	if !ok {
		return notFound("%q is not below %s or %s", clip(path), PathV2, PathV3)
	}
	for segment := range strings.SplitSeq(rest, "/") {
		text, err := url.PathUnescape(segment)
		if err != nil || !utf8.ValidString(text) {
			return malformed("%q in the path is not percent-encoded UTF-8", clip(segment))
		}
		c.path = append(c.path, text)
	}
	return nil
}

// parameter returns the decoded value of a parameter of the query, and whether
// it came. Two that differ are refused.
func (c *exchange) parameter(name string) (value string, set bool, err error) {
	for _, raw := range rawValues(c.r.URL.RawQuery, name) {
		text, err := url.QueryUnescape(raw)
		if err != nil || !utf8.ValidString(text) {
			return "", true, malformed("parameter %s is not percent-encoded UTF-8", name)
		}
		if set && text != value {
			return "", true, malformed("parameter %s came twice, as %q and as %q", name, clip(value), clip(text))
		}
		value, set = text, true
	}
	return value, set, nil
}

func (c *exchange) required(name string) (string, error) {
	value, _, err := c.parameter(name)
	if err == nil && value == "" {
		err = malformed("parameter %s is missing", name)
	}
	return value, err
}

// list returns the parts of list parameters: they are separated by commas in
// the raw query and decoded one by one, so that %2C is part of an id. Empty
// parts are left out. A plus is a plus: the original framework writes ids as
// they are, ampersands too.
func (c *exchange) list(names ...string) (parts []string, set bool, err error) {
	for _, raw := range rawLists(c.r.URL.RawQuery, names) {
		set = true
		for part := range strings.SplitSeq(raw, ",") {
			text, err := url.PathUnescape(part)
			if err != nil || !utf8.ValidString(text) {
				return nil, true, malformed("%q in %s is not percent-encoded UTF-8", clip(part), strings.Join(names, " or "))
			}
			if text != "" {
				parts = append(parts, text)
			}
		}
	}
	return parts, set, nil
}

// rawLists is rawValues of several parameters, for a query that has no others:
// an ampersand with anything else behind it belongs to the value before it.
func rawLists(query string, names []string) (values []string) {
	from, at := -1, 0
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if text, err := url.QueryUnescape(name); err == nil && slices.Contains(names, text) {
			if from >= 0 {
				values = append(values, query[from:at-1])
			}
			from = min(at+len(name)+1, at+len(pair))
		}
		at += len(pair) + 1
	}
	if from >= 0 {
		values = append(values, query[from:])
	}
	return values
}

// rawValues returns the values of a parameter as the query has them.
func rawValues(query, name string) (values []string) {
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if text, err := url.QueryUnescape(key); err == nil && text == name {
			values = append(values, value)
		}
	}
	return values
}

// body reads the whole body.
func (c *exchange) body() ([]byte, error) {
	size := max(c.r.ContentLength, 0)
	var limit *http.MaxBytesError
	body := make([]byte, 0, min(size, 1<<20)+1)
	for {
		n, err := c.r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, nil
		case errors.As(err, &limit):
			return nil, refuse(http.StatusRequestEntityTooLarge, codeTooLarge, "the body has more than %d bytes", limit.Limit)
		case err != nil:
			return nil, malformed("the body breaks off")
		}
		if len(body) == cap(body) {
			grown := make([]byte, len(body), max(2*len(body), int(min(size, 64<<20))+1))
			copy(grown, body)
			body = grown
		}
	}
}

// object reads a body that is one JSON object.
func (c *exchange) object() (gjson.Result, error) {
	body, err := c.body()
	if err != nil {
		return gjson.Result{}, err
	}
	return parseObject(body)
}

// parseObject returns a valid object whose nesting is bounded.
func parseObject(body []byte) (gjson.Result, error) {
	switch {
	case !utf8.Valid(body):
		return gjson.Result{}, malformed("the body is not UTF-8")
	case tooDeep(body):
		return gjson.Result{}, malformed("the body nests deeper than %d", maxDepth)
	case !gjson.ValidBytes(body):
		return gjson.Result{}, malformed("the body is not JSON")
	}
	object := gjson.ParseBytes(body)
	if !object.IsObject() {
		return gjson.Result{}, malformed("the body is not a JSON object")
	}
	return object, nil
}

// maxDepth bounds the nesting of what is parsed.
const maxDepth = 64

// tooDeep reports whether a text opens more objects and arrays in one another
// than a parser should follow. It needs not be valid.
func tooDeep(text []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch ch := text[i]; {
		case quoted && ch == '\\':
			i++
		case ch == '"':
			quoted = !quoted
		case quoted:
		case ch == '{' || ch == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case ch == '}' || ch == ']':
			depth--
		}
	}
	return false
}

// fields returns the members of an object. One that is there twice is refused:
// readers would not agree on it.
func fields(object gjson.Result) (members map[string]json.RawMessage, err error) {
	members = map[string]json.RawMessage{}
	object.ForEach(func(key, value gjson.Result) bool {
		if _, twice := members[key.Str]; twice {
			err = malformed("field %q is there twice", clip(key.Str))
			return false
		}
		members[key.Str] = json.RawMessage(value.Raw)
		return true
	})
	return members, err
}

// reply sends a JSON document.
func (c *exchange) reply(status int, document any) error {
	return c.raw(status, encode(document))
}

func (c *exchange) raw(status int, text []byte) error {
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	c.w.WriteHeader(status)
	_, err := c.w.Write(text)
	return err
}

// fail sends an error and returns what names it in the log.
func (c *exchange) fail(p *problem) (trace string) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	trace = hex.EncodeToString(random[:])
	h := c.w.Header()
	switch p.status {
	case http.StatusUnauthorized:
		h.Add("WWW-Authenticate", `Basic realm="CAR", charset="UTF-8"`)
		h.Add("WWW-Authenticate", `car-token`)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "5")
	}
	if c.trusted {
		_, _ = io.CopyN(io.Discard, c.rest, drainBytes) // what is left of it is of no use
	}
	body := p.body(trace)
	c.blame(body, p)
	_ = c.reply(p.status, body) // the client is told, or is gone
	return trace
}

// blame names the imports that a failed question was about: the original
// framework takes an import that a reply does not name for complete, whatever
// the status.
func (c *exchange) blame(body map[string]any, p *problem) {
	if len(c.path) == 0 || c.path[0] != "importstatus" {
		return
	}
	failed := []importEntry{}
	for _, id := range importIDs(c.r.URL.RawQuery) {
		failed = append(failed, importEntry{ID: id, Error: p.message, StatusCode: p.status})
	}
	body["complete_imports"], body["incomplete_imports"] = []importEntry{}, []importEntry{}
	body["notfound_imports"], body["error_imports"] = []importEntry{}, failed
}
