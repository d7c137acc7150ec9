package pushapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of names, and of the parts of one document.
const (
	maxNameBytes     = 4096
	maxDocumentParts = 1000
)

// Limits bound one request.
type Limits struct {
	// Documents per request.
	Documents int
	// Fields per request, parts included.
	Fields int
	// TextBytes bounds the names and values of everything but the contents of
	// parts, taken together: what a request holds in memory.
	TextBytes int64
	// PartBytes bounds the content of one part.
	PartBytes int64
}

// DefaultLimits returns 10,000 documents, 1,000,000 fields, 64 MiB of text and
// 64 MiB per part.
func DefaultLimits() Limits {
	return Limits{Documents: 10_000, Fields: 1_000_000, TextBytes: 64 << 20, PartBytes: 64 << 20}
}

// Form is what a request's body held.
type Form struct {
	// Documents in the order in which their first fields came.
	Documents []Document
	// Params are the fields that belong to no document.
	Params url.Values
}

// Spool keeps the content of a part while the rest of a request is read, and
// returns the part that reads it back. Name and directives are filled in
// afterwards. It reads to the end, and an error of the reader is returned.
type Spool func(content io.Reader) (Part, error)

// MemorySpool keeps contents in memory.
func MemorySpool(content io.Reader) (Part, error) {
	data, err := io.ReadAll(content)
	return NewPart("", data), err
}

// ReadForm reads a body to its end by its content type: multipart/form-data or
// application/x-www-form-urlencoded; without either it must be empty. A body
// that is cut off, breaks the grammar or holds a document without a URI is an
// [ErrInvalidParameter], one beyond the limits [ErrTooLarge]; an error of spool
// itself is an [ErrUnknownError]. Only contents of multipart bodies are
// spooled; an url-encoded body is held in memory, TextBytes bounding all of it.
func ReadForm(contentType string, body io.Reader, limits Limits, spool Spool) (Form, error) {
	media, parameters, err := mime.ParseMediaType(contentType)
	switch {
	case contentType == "":
		return readNothing(body)
	case err != nil:
		return Form{}, Errorf(TypeInvalidParameter, "malformed content type", "content type %q cannot be read: %w", clip(contentType), err)
	case media == "multipart/form-data" && parameters["boundary"] != "":
		return readMultipart(body, parameters["boundary"], limits, spool)
	case media == "multipart/form-data":
		return Form{}, Errorf(TypeInvalidParameter, "malformed content type", "content type %q names no boundary", clip(contentType))
	case media == "application/x-www-form-urlencoded":
		return readURLEncoded(body, limits)
	}
	return Form{}, Errorf(TypeInvalidParameter, "unknown content type", "content type %q is neither multipart/form-data nor application/x-www-form-urlencoded", clip(contentType))
}

func readNothing(body io.Reader) (Form, error) {
	switch n, err := io.ReadFull(body, make([]byte, 1)); {
	case n > 0:
		return Form{}, Errorf(TypeInvalidParameter, "no content type", "the body has no content type")
	case err != io.EOF: // a wrapped io.EOF is a body that was cut off
		return Form{}, bodyError(err)
	}
	return Form{Params: url.Values{}}, nil
}

func readMultipart(body io.Reader, boundary string, limits Limits, spool Spool) (Form, error) {
	tail := &tailReader{r: body, keep: len(boundary) + 16}
	r := multipart.NewReader(tail, boundary)
	b := newFormBuilder(limits)
	for {
		part, err := r.NextPart()
		if err == io.EOF { // a wrapped io.EOF is a body that was cut off
			// The reader takes a body for complete that ends behind a boundary
			// which announces another field.
			if bytes.HasSuffix(bytes.TrimRight(tail.last, " \t\r\n"), []byte("--"+boundary)) {
				return Form{}, bodyError(io.ErrUnexpectedEOF)
			}
			return b.form()
		}
		if err != nil {
			return Form{}, bodyError(err)
		}
		if err := b.read(part, spool); err != nil {
			return Form{}, err
		}
	}
}

func (b *formBuilder) read(part *multipart.Part, spool Spool) error {
	f, err := b.field(fieldName(part))
	if err != nil {
		return err
	}
	if f.Kind == FieldPartBytes {
		return b.content(f, part, spool)
	}
	b.scratch.Reset()
	if _, err := b.scratch.ReadFrom(io.LimitReader(part, b.limits.TextBytes-b.text+1)); err != nil {
		return bodyError(err)
	}
	return b.value(f, b.scratch.String())
}

// fieldName returns the name of a field. Most are written so plainly that
// their header needs no parser.
func fieldName(part *multipart.Part) string {
	rest, plain := strings.CutPrefix(part.Header.Get("Content-Disposition"), `form-data; name="`)
	name, plainly := strings.CutSuffix(rest, `"`)
	if plain && plainly && !strings.ContainsAny(name, "\"\\") {
		return name
	}
	return part.FormName()
}

// tailReader remembers the last bytes that were read.
type tailReader struct {
	r    io.Reader
	last []byte
	keep int
}

func (t *tailReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.last = append(t.last, p[max(0, n-t.keep):n]...)
	t.last = append(t.last[:0], t.last[max(0, len(t.last)-t.keep):]...)
	return n, err
}

func readURLEncoded(r io.Reader, limits Limits) (Form, error) {
	body, err := io.ReadAll(io.LimitReader(r, limits.TextBytes+1))
	if err != nil {
		return Form{}, bodyError(err)
	}
	if int64(len(body)) > limits.TextBytes {
		return Form{}, tooLarge("the body has more than %d bytes", limits.TextBytes)
	}
	b := newFormBuilder(limits)
	err = eachPair(string(body), func(name, value string) error {
		f, err := b.field(name)
		if err != nil {
			return err
		}
		if f.Kind == FieldPartBytes {
			return b.content(f, strings.NewReader(value), MemorySpool)
		}
		return b.value(f, value)
	})
	if err != nil {
		return Form{}, err
	}
	return b.form()
}

// ParseQuery reads a query string. Unlike [url.URL.Query] it says so if it
// cannot: an [ErrInvalidParameter], or [ErrTooLarge] beyond limits.Fields.
func ParseQuery(query string, limits Limits) (url.Values, error) {
	b := newFormBuilder(limits)
	err := eachPair(query, func(name, value string) error {
		if _, err := b.field(name); err != nil {
			return err
		}
		return b.value(Field{Kind: FieldParameter, Name: name}, value)
	})
	return b.params, err
}

// eachPair calls fn for every name and value of a query or form, in order.
func eachPair(text string, fn func(name, value string) error) error {
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" {
			continue
		}
		if strings.Contains(pair, ";") {
			return Errorf(TypeInvalidParameter, "malformed parameters", "parameter %q has a semicolon that is not escaped", clip(pair))
		}
		name, value, _ := strings.Cut(pair, "=")
		var texts [2]string
		for i, escaped := range []string{name, value} {
			var err error
			if texts[i], err = url.QueryUnescape(escaped); err != nil {
				return Errorf(TypeInvalidParameter, "malformed parameters", "parameter %q is not escaped as it should be", clip(name))
			}
		}
		if err := fn(texts[0], texts[1]); err != nil {
			return err
		}
	}
	return nil
}

// formBuilder collects fields into documents.
type formBuilder struct {
	limits  Limits
	fields  int
	text    int64
	docs    []*pending
	byID    map[string]*pending
	params  url.Values
	scratch bytes.Buffer // for the value being read
}

// pending is a document whose fields are still coming.
type pending struct {
	Document
	id       string
	hasURI   bool
	hasStamp bool
}

func newFormBuilder(limits Limits) *formBuilder {
	return &formBuilder{limits: limits, byID: map[string]*pending{}, params: url.Values{}}
}

// field counts and checks the name of the next field.
func (b *formBuilder) field(name string) (Field, error) {
	if b.fields++; b.fields > b.limits.Fields {
		return Field{}, tooLarge("the request has more than %d fields", b.limits.Fields)
	}
	if !utf8.ValidString(name) || len(name) > 2*maxNameBytes {
		return Field{}, Errorf(TypeInvalidParameter, "malformed field name", "the name of field %q is longer than %d bytes or not valid UTF-8", clip(name), 2*maxNameBytes)
	}
	if name == "" {
		return Field{}, Errorf(TypeInvalidParameter, "field without a name", "field %d has no name", b.fields)
	}
	if b.text += int64(len(name)); b.text > b.limits.TextBytes {
		return Field{}, tooLarge("the request has more than %d bytes of text", b.limits.TextBytes)
	}
	return ParseField(name), nil
}

func (b *formBuilder) document(f Field) (*pending, error) {
	if d := b.byID[f.Doc]; d != nil {
		return d, nil
	}
	if len(b.docs) >= b.limits.Documents {
		return nil, tooLarge("the request has more than %d documents", b.limits.Documents)
	}
	d := &pending{id: f.Doc}
	b.docs, b.byID[f.Doc] = append(b.docs, d), d
	return d, nil
}

// value takes the value of a field other than the content of a part.
func (b *formBuilder) value(f Field, value string) error {
	if b.text += int64(len(value)); b.text > b.limits.TextBytes {
		return tooLarge("the request has more than %d bytes of text", b.limits.TextBytes)
	}
	if !utf8.ValidString(value) {
		return Errorf(TypeInvalidParameter, "not UTF-8", "the value of field %q is not valid UTF-8", clip(f.String()))
	}
	if f.Kind == FieldParameter {
		b.params[f.Name] = append(b.params[f.Name], value)
		return nil
	}
	d, err := b.document(f)
	if err != nil {
		return err
	}
	return d.set(f, value)
}

func (d *pending) set(f Field, value string) error {
	twice := func() error {
		return invalid(d.URI, "field %q came twice", clip(f.String()))
	}
	switch f.Kind {
	case FieldURI:
		if d.hasURI {
			return twice()
		}
		d.URI, d.hasURI = value, true
		return checkURI(value)
	case FieldStamp:
		if d.hasStamp {
			return twice()
		}
		d.Stamp, d.hasStamp = value, true
		return nil
	case FieldPartDirective:
		p, err := d.part(f)
		if err != nil {
			return err
		}
		p.Directives = append(p.Directives, Directive{f.Name, value})
		return checkPair(d.URI, "part directive", f.Name, "")
	case FieldMeta:
		d.Metas = append(d.Metas, Meta{f.Name, value})
		return checkPair(d.URI, "meta", f.Name, "")
	}
	d.Directives = append(d.Directives, Directive{f.Name, value})
	return checkPair(d.URI, "directive", f.Name, "")
}

func (d *pending) part(f Field) (*Part, error) {
	if strings.Contains(f.Part, ":") {
		return nil, invalid(d.URI, "the name of part %q has a colon", clip(f.Part))
	}
	if err := checkPair(d.URI, "part", f.Part, ""); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(d.Parts, func(p Part) bool { return p.Name == f.Part })
	if i < 0 {
		if len(d.Parts) >= maxDocumentParts {
			return nil, tooLarge("a document has more than %d parts", maxDocumentParts)
		}
		i = len(d.Parts)
		d.Parts = append(d.Parts, Part{Name: f.Part})
	}
	return &d.Parts[i], nil
}

// content takes the content of a part.
func (b *formBuilder) content(f Field, content io.Reader, spool Spool) error {
	d, err := b.document(f)
	if err != nil {
		return err
	}
	p, err := d.part(f)
	if err != nil {
		return err
	}
	if p.Open != nil {
		return invalid(d.URI, "field %q came twice", clip(f.String()))
	}
	bounded := &boundedReader{r: content, rest: b.limits.PartBytes, part: f.Part, limit: b.limits.PartBytes}
	kept, err := spool(bounded)
	switch {
	case bounded.err != nil:
		return bounded.err
	case err != nil:
		return Errorf(TypeUnknown, "content not kept", "keep the content of part %q: %w", clip(f.Part), err)
	}
	p.Size, p.Open = kept.Size, kept.Open
	return nil
}

// form checks that every document is whole.
func (b *formBuilder) form() (Form, error) {
	form := Form{Params: b.params}
	for _, d := range b.docs {
		if !d.hasURI {
			return Form{}, invalid("", "document %q of the request has no URI", clip(d.id))
		}
		for i := range d.Parts {
			if d.Parts[i].Open == nil {
				return Form{}, invalid(d.URI, "part %q has directives but no content", clip(d.Parts[i].Name))
			}
		}
		form.Documents = append(form.Documents, d.Document)
	}
	return form, nil
}

// boundedReader reads the content of a part and remembers why it ended.
type boundedReader struct {
	r           io.Reader
	rest, limit int64
	part        string
	err         error
}

func (r *boundedReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if int64(len(p)) > r.rest+1 {
		p = p[:r.rest+1]
	}
	n, err := r.r.Read(p)
	if int64(n) > r.rest {
		r.err = tooLarge("part %q has more than %d bytes", clip(r.part), r.limit)
		return int(r.rest), r.err
	}
	r.rest -= int64(n)
	if err != nil && err != io.EOF { // a wrapped io.EOF is a body that was cut off
		r.err = bodyError(err)
		return n, r.err
	}
	return n, err
}

func tooLarge(format string, args ...any) *Error {
	return Errorf(TypeTooLarge, "request too large", format, args...)
}

// bodyError says what is wrong with a body that could not be read.
func bodyError(err error) error {
	var tooMany *http.MaxBytesError
	switch {
	case errors.As(err, &tooMany):
		return tooLarge("the body has more than %d bytes", tooMany.Limit)
	case errors.Is(err, context.Canceled):
		return Errorf(TypeUnavailable, "request given up", "read the body: %w", err)
	}
	return Errorf(TypeInvalidParameter, "malformed body", "read the body: %w", err)
}

// ReadAll returns the content of a part, at most limit bytes of it.
func (p *Part) ReadAll(ctx context.Context, limit int64) ([]byte, error) {
	r, err := p.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open part %q: %w", p.name(), err)
	}
	defer r.Close()
	var content bytes.Buffer
	if n, err := content.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, fmt.Errorf("read part %q: %w", p.name(), err)
	} else if n > limit {
		return nil, tooLarge("part %q has more than %d bytes", clip(p.name()), limit)
	}
	return content.Bytes(), nil
}
