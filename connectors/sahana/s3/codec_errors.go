package s3

import (
	"errors"
	"fmt"
	"html"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
)

// ErrDoctype is wrapped by the [SyntaxError] of a document that declares a type
// or entities. None is needed, and entities can be made to grow without end.
var ErrDoctype = errors.New("a document type declaration is not allowed")

var errClosed = errors.New("the encoder is closed")

// SyntaxError is a document that breaks the rules of its notation or ends too
// early.
type SyntaxError struct {
	Format Format
	// Offset is how many bytes, as UTF-8, lay before the place.
	Offset int64
	Err    error
}

// Error says where and what.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("malformed %s at byte %d: %v", e.Format, e.Offset, e.Err)
}

// Unwrap returns the cause; io.ErrUnexpectedEOF if the document was cut off.
func (e *SyntaxError) Unwrap() error { return e.Err }

// LimitError is a document that exceeds one of [Limits].
type LimitError struct {
	// What was bounded, as a noun in the plural.
	What string
	Max  int64
}

// Error names the limit.
func (e *LimitError) Error() string { return fmt.Sprintf("more than %d %s", e.Max, e.What) }

// ContentError is a body that is something else altogether, whatever its
// content type and the status said: the page of an error or of a login, an
// answer in JSON, plain text, nothing.
type ContentError struct {
	// Want is S3XML, S3JSON or JSON.
	Want string
	// Got is HTML, XML, JSON, text or nothing.
	Got string
	// Title of the page, for HTML.
	Title string
	// Start is the beginning of the body, at most 200 bytes.
	Start string
}

// Error says what came instead of what.
func (e *ContentError) Error() string {
	switch {
	case e.Got == "nothing":
		return fmt.Sprintf("the body is empty instead of %s", e.Want)
	case e.Title != "":
		return fmt.Sprintf("%s instead of %s, a page with the title %q", e.Got, e.Want, e.Title)
	}
	return fmt.Sprintf("%s instead of %s, beginning with %q", e.Got, e.Want, e.Start)
}

// sniffBytes is how much of a body is looked at to say what it is.
const sniffBytes = 64 << 10

var (
	titlePattern = regexp.MustCompile(`(?is)<title[^>]*>(.*?)(?:</title|$)`)
	htmlPattern  = regexp.MustCompile(`(?is)^\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b`)
)

// contentError says what the beginning of a body is, other than want.
func contentError(want string, body []byte) *ContentError {
	text := strings.ToValidUTF8(string(body[:min(len(body), sniffBytes)]), "\uFFFD")
	text = strings.TrimSpace(strings.TrimPrefix(text, "\uFEFF"))
	e := &ContentError{Want: want, Got: "text", Start: clip(text)}
	switch {
	case text == "":
		e.Got = "nothing"
	case htmlPattern.MatchString(text):
		e.Got = "HTML"
		if m := titlePattern.FindStringSubmatch(text); m != nil {
			e.Title = clip(strings.Join(strings.Fields(html.UnescapeString(m[1])), " "))
		}
	case text[0] == '<':
		e.Got = "XML"
	case text[0] == '{' || text[0] == '[':
		e.Got = "JSON"
	}
	return e
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

// rejected says that a single resource cannot be taken or written.
func rejected(r *Resource, err error) error {
	return gapless.Reject(r.UUID, fmt.Errorf("%s %q: %w", r.Name, clip(r.UUID), err))
}
