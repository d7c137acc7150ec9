package s3

import (
	"errors"
	"io"
	"iter"
)

// ServiceHeader is the header of answers by which the Sahana service of Gapless
// tells that it is no Eden: its msince also finds what has arrived since,
// records come with their components, and nulls=true has those exported that
// Edens would refuse.
const ServiceHeader = "Gapless-Service"

// Format is one of the two notations of a document.
type Format uint8

// The notations. S3XML travels everywhere, S3JSON only at REST addresses.
const (
	S3XML Format = iota
	S3JSON
)

// String returns S3XML or S3JSON.
func (f Format) String() string { return [...]string{"S3XML", "S3JSON"}[f] }

// Rules choose how spellings are understood that an Eden takes in an unexpected
// way.
type Rules uint8

const (
	// RulesPlain take everything for what it says: null is null, a date
	// without a time begins at midnight.
	RulesPlain Rules = iota
	// RulesEden do as an Eden that runs on Python does: scalars of S3JSON
	// become the text that Python prints (True, None), a date without a time
	// is eight in the morning.
	RulesEden
)

// Limits bound what a decoder takes in. Reaching one ends the reading with a
// [LimitError].
type Limits struct {
	// DocumentBytes of the whole document.
	DocumentBytes int64
	// ResourceBytes of one top-level resource as written.
	ResourceBytes int
	// TokenBytes of one tag with its attributes, or of one text.
	TokenBytes int
	// Depth of elements, the root included. S3JSON, where each takes an object
	// and a list, may go down twice as far.
	Depth int
	// Elements of one top-level resource, itself included.
	Elements int
	// Attributes of one element.
	Attributes int
}

// DefaultLimits returns 4 GiB per document, 64 MiB, 100,000 elements and a
// depth of 32 per resource, 16 MiB per tag or text, and 64 attributes.
func DefaultLimits() Limits {
	return Limits{
		DocumentBytes: 4 << 30,
		ResourceBytes: 64 << 20,
		TokenBytes:    16 << 20,
		Depth:         32,
		Elements:      100_000,
		Attributes:    64,
	}
}

// DecodeOptions say how to read; the zero value means [RulesPlain] and
// [DefaultLimits].
type DecodeOptions struct {
	Rules  Rules
	Limits Limits
}

// Decoder reads a document. It holds one top-level resource at a time.
type Decoder struct {
	document Document
	ignored  int
	reader   resourceReader
	err      error // the reading is over
}

// resourceReader reads one notation.
type resourceReader interface {
	// next returns the next top-level resource, errEnd behind the last.
	// rejected says what is wrong with just this one.
	next(d *Decoder) (r Resource, rejected, err error)
}

// NewDecoder returns a decoder of a document, which it reads as far as
// necessary. S3XML may be in UTF-8, ISO-8859-1 or Windows-1252 as its
// declaration says; S3JSON is in UTF-8.
func NewDecoder(r io.Reader, f Format, o DecodeOptions) *Decoder {
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if f == S3JSON {
		return &Decoder{reader: newJSONReader(r, o)}
	}
	return &Decoder{reader: newXMLReader(r, o)}
}

// Resources yields the top-level resources in order. An error that is a
// [gapless.Failure] of kind rejected concerns that one resource, which is
// yielded as far as it could be understood, and the next ones follow. Any other
// error ends the document: a [SyntaxError], [LimitError] or [ContentError], or
// the error of the reader, wrapped. A document that was cut off ends with an
// error, after the resources that were complete. Breaking off is allowed;
// another call goes on behind the last resource.
func (d *Decoder) Resources() iter.Seq2[Resource, error] {
	return func(yield func(Resource, error) bool) {
		for d.err == nil {
			r, rejected, err := d.reader.next(d)
			if d.err = err; err == nil {
				if !yield(r, rejected) {
					return
				}
			}
		}
		if !errors.Is(d.err, errEnd) {
			yield(Resource{}, d.err)
		}
	}
}

// Document returns the root's attributes. Those of S3XML are known with the
// first resource, those of S3JSON when all has been read.
func (d *Decoder) Document() Document { return d.document }

// Ignored returns how many elements were read so far that are not part of the
// format and were left out, each with all that it holds.
func (d *Decoder) Ignored() int { return d.ignored }

// EncodeOptions say how to write.
type EncodeOptions struct {
	// Times is the form of times: naive as an Eden exports them, or zulu, which
	// it also understands.
	Times TimeForm
}

// Encoder writes a document. Equal input gives equal bytes.
type Encoder struct {
	w       io.Writer
	writer  resourceWriter
	buf     []byte
	started bool
	err     error // of w, or closed
	root    Document
}

// resourceWriter appends one notation to a buffer.
type resourceWriter interface {
	open(b []byte, d Document) ([]byte, error)
	resource(b []byte, r *Resource) ([]byte, error)
	close(b []byte) []byte
}

// flushBytes is how much an encoder gathers before it writes.
const flushBytes = 64 << 10

// NewEncoder returns an encoder of a document with the given root.
func NewEncoder(w io.Writer, f Format, root Document, o EncodeOptions) *Encoder {
	if f == S3JSON {
		return &Encoder{w: w, root: root, writer: &jsonWriter{times: o.Times}}
	}
	return &Encoder{w: w, root: root, writer: &xmlWriter{times: o.Times}}
}

// Encode appends a top-level resource. A resource that the notation cannot
// carry, such as one with control characters for S3XML or with two values of
// one field for S3JSON, is refused as rejected and nothing of it is written.
// S3JSON wants the resources of a table next to each other. Any other error is
// final.
func (e *Encoder) Encode(r *Resource) error {
	if err := e.start(); err != nil {
		return err
	}
	b, err := e.writer.resource(e.buf, r)
	if err != nil {
		return rejected(r, err)
	}
	if e.buf = b; len(b) >= flushBytes {
		return e.flush()
	}
	return nil
}

// Close ends the document and writes what is left. It does not close the
// underlying writer.
func (e *Encoder) Close() error {
	if err := e.start(); err != nil {
		return err
	}
	e.buf = e.writer.close(e.buf)
	err := e.flush()
	if err == nil {
		e.err = errClosed
	}
	return err
}

func (e *Encoder) start() error {
	if e.err != nil || e.started {
		return e.err
	}
	e.started = true
	e.buf, e.err = e.writer.open(e.buf, e.root)
	return e.err
}

func (e *Encoder) flush() error {
	_, e.err = e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return e.err
}
