package pushapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
)

// Document is what is added under a URI.
type Document struct {
	// URI identifies the document within its connector: an opaque string in
	// which slashes may make folders. At most [gapless.MaxKeyBytes] bytes of
	// UTF-8.
	URI string
	// Stamp is an opaque version of the document, kept and given back.
	Stamp string
	// Metas in order; a name may occur any number of times.
	Metas []Meta
	// Directives are hints for the server, in order; a name may occur any
	// number of times.
	Directives []Directive
	// Parts are the binary contents, in order, names unique.
	Parts []Part
}

// Meta is one value of a named property.
type Meta struct{ Name, Value string }

// Directive is one value of a named hint.
type Directive struct{ Name, Value string }

// Names with a meaning of their own.
const (
	// MetaSecurity holds one security token per value.
	MetaSecurity = "security"
	// MasterPart is the name of the part of a document that has just one.
	MasterPart = "master"

	// Directives of documents.
	DirectiveForcedDid   = "forcedDid"
	DirectiveForcedSlice = "forcedSlice"
	DirectiveField       = "field"

	// Directives of parts.
	DirectiveEncoding = "encoding"
	DirectiveFilename = "filename"
	DirectiveMimeHint = "mimeHint"
	DirectiveMime     = "mime"
)

// Part is one binary content of a document.
type Part struct {
	// Name without a colon; empty stands for [MasterPart].
	Name string
	// Directives such as [DirectiveMimeHint], in order; names may repeat.
	Directives []Directive
	// Size in bytes, or -1 if it is not known.
	Size int64
	// Open returns the content from its start; the caller closes.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Once says that Open works just once: a request with the part is never
	// repeated.
	Once bool
}

// AddMeta appends values to a meta.
func (d *Document) AddMeta(name string, values ...string) {
	for _, value := range values {
		d.Metas = append(d.Metas, Meta{name, value})
	}
}

// MetaValues returns the values of a meta in order.
func (d *Document) MetaValues(name string) []string {
	var values []string
	for _, m := range d.Metas {
		if m.Name == name {
			values = append(values, m.Value)
		}
	}
	return values
}

// DirectiveValue returns the first value of a directive, or "".
func DirectiveValue(list []Directive, name string) string {
	for _, d := range list {
		if d.Name == name {
			return d.Value
		}
	}
	return ""
}

// NewPart returns a part that holds content.
func NewPart(name string, content []byte, directives ...Directive) Part {
	return Part{
		Name: name, Directives: directives, Size: int64(len(content)),
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
	}
}

// errReadOnce ends the second reading of a part that can be read only once.
var errReadOnce = errors.New("the part can be read only once and was read before")

// ReaderPart returns a part that is read from r once, so that a request with
// it is never repeated. size is -1 if it is not known.
func ReaderPart(name string, r io.Reader, size int64, directives ...Directive) Part {
	used := new(atomic.Bool)
	return Part{
		Name: name, Directives: directives, Size: size, Once: true,
		Open: func(context.Context) (io.ReadCloser, error) {
			if used.Swap(true) {
				return nil, errReadOnce
			}
			return io.NopCloser(r), nil
		},
	}
}

// readOnce reports whether a part of docs can be read only once.
func readOnce(docs []Document) bool {
	return slices.ContainsFunc(docs, func(d Document) bool {
		return slices.ContainsFunc(d.Parts, func(p Part) bool { return p.Once })
	})
}

// name returns the part's name on the wire.
func (p *Part) name() string {
	if p.Name == "" {
		return MasterPart
	}
	return p.Name
}

// Validate returns an [ErrInvalidParameter] that names the first thing the
// wire could not carry.
func (d *Document) Validate() error {
	if err := checkURI(d.URI); err != nil {
		return err
	}
	if !utf8.ValidString(d.Stamp) {
		return invalid(d.URI, "the stamp is not valid UTF-8")
	}
	for _, m := range d.Metas {
		if err := checkPair(d.URI, "meta", m.Name, m.Value); err != nil {
			return err
		}
	}
	for _, v := range d.Directives {
		if err := checkPair(d.URI, "directive", v.Name, v.Value); err != nil {
			return err
		}
	}
	for i := range d.Parts {
		p := &d.Parts[i]
		if err := p.validate(d.URI); err != nil {
			return err
		}
		if slices.ContainsFunc(d.Parts[:i], func(q Part) bool { return q.name() == p.name() }) {
			return invalid(d.URI, "two parts are called %q", clip(p.name()))
		}
	}
	return nil
}

func (p *Part) validate(uri string) error {
	if strings.Contains(p.Name, ":") {
		return invalid(uri, "the name of part %q has a colon", clip(p.Name))
	}
	if p.Open == nil {
		return invalid(uri, "part %q has no content", clip(p.name()))
	}
	if err := checkPair(uri, "part", p.name(), ""); err != nil {
		return err
	}
	for _, v := range p.Directives {
		if err := checkPair(uri, "part directive", v.Name, v.Value); err != nil {
			return err
		}
	}
	return nil
}

func checkURI(uri string) error {
	switch {
	case uri == "":
		return invalid("", "a document has no URI")
	case len(uri) > gapless.MaxKeyBytes:
		return invalid(uri, "the URI has %d bytes, more than %d", len(uri), gapless.MaxKeyBytes)
	case !utf8.ValidString(uri):
		return invalid(uri, "the URI is not valid UTF-8")
	}
	return nil
}

func checkPair(uri, kind, name, value string) error {
	switch {
	case name == "":
		return invalid(uri, "a %s has no name", kind)
	case len(name) > maxNameBytes:
		return invalid(uri, "the name of %s %q has more than %d bytes", kind, clip(name), maxNameBytes)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, isControl):
		return invalid(uri, "the name of %s %q is not valid UTF-8 without control characters", kind, clip(name))
	case !utf8.ValidString(value):
		return invalid(uri, "the value of %s %q is not valid UTF-8", kind, clip(name))
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// CheckConnectorName returns an [ErrInvalidConnector] unless name can stand as
// one segment of a path and reads the same to every client: not empty, at most
// 255 bytes of UTF-8, no slash, backslash, space, plus, percent, question mark,
// hash or control character, and not "." or "..".
func CheckConnectorName(name string) error {
	if name == "" || len(name) > 255 || name == "." || name == ".." || !utf8.ValidString(name) ||
		strings.ContainsAny(name, `/\ +%?#`) || strings.ContainsFunc(name, isControl) {
		return Errorf(TypeInvalidConnectorName, "invalid connector name", "%q cannot be the name of a connector", clip(name))
	}
	return nil
}

// clip shortens text that a peer sent before it becomes part of a message.
func clip(text string) string {
	const limit = 200
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + fmt.Sprintf("... (%d bytes)", len(text))
}
