package pushapi

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// WriteDocuments writes documents as a multipart/form-data body and nothing
// after it. Contents stream; a content of another length than its part says is
// an error. The documents have been validated.
func WriteDocuments(ctx context.Context, w io.Writer, boundary string, docs []Document) error {
	f := &formWriter{ctx: ctx, w: w, boundary: boundary, open: true}
	for i := range docs {
		f.document(strconv.Itoa(i), &docs[i])
	}
	f.text("--" + boundary + "--\r\n")
	return f.err
}

// bodySize returns the length of the body that WriteDocuments writes, or -1 if
// a part does not know its size.
func bodySize(boundary string, docs []Document) int64 {
	f := &formWriter{w: io.Discard, boundary: boundary}
	for i := range docs {
		if slices.ContainsFunc(docs[i].Parts, func(p Part) bool { return p.Size < 0 }) {
			return -1
		}
		f.document(strconv.Itoa(i), &docs[i])
	}
	f.text("--" + boundary + "--\r\n")
	return f.written
}

// formWriter writes fields until the first error. Without open, contents are
// counted but neither opened nor written.
type formWriter struct {
	ctx      context.Context //nolint:containedctx // a writer lives for one WriteDocuments call
	w        io.Writer
	boundary string
	open     bool
	line     []byte
	written  int64
	err      error
}

func (f *formWriter) document(id string, d *Document) {
	f.field(Field{Kind: FieldURI, Doc: id}, d.URI)
	if d.Stamp != "" {
		f.field(Field{Kind: FieldStamp, Doc: id}, d.Stamp)
	}
	for _, v := range d.Directives {
		f.field(Field{Kind: FieldDirective, Doc: id, Name: v.Name}, v.Value)
	}
	for _, m := range d.Metas {
		f.field(Field{Kind: FieldMeta, Doc: id, Name: m.Name}, m.Value)
	}
	for i := range d.Parts {
		p := &d.Parts[i]
		for _, v := range p.Directives {
			f.field(Field{Kind: FieldPartDirective, Doc: id, Part: p.name(), Name: v.Name}, v.Value)
		}
		f.content(id, d.URI, p)
	}
}

func (f *formWriter) field(name Field, value string) {
	f.header(name, "")
	f.text(value)
	f.text("\r\n")
}

func (f *formWriter) content(id, uri string, p *Part) {
	f.header(Field{Kind: FieldPartBytes, Doc: id, Part: p.name()}, "Content-Type: application/octet-stream\r\n")
	if !f.open {
		f.written += p.Size
	} else if f.err == nil {
		f.err = f.stream(uri, p)
	}
	f.text("\r\n")
}

func (f *formWriter) stream(uri string, p *Part) error {
	broken := func(err error) error { return &partError{uri: uri, part: p.name(), err: err} }
	content, err := p.Open(f.ctx)
	if err != nil {
		return broken(err)
	}
	source := &sourceReader{r: content}
	n, err := io.Copy(f.w, source)
	f.written += n
	if closeErr := content.Close(); source.err == nil {
		source.err = closeErr
	}
	switch {
	case source.err != nil:
		return broken(source.err)
	case err != nil:
		return err
	case p.Size >= 0 && n != p.Size:
		return broken(fmt.Errorf("%d bytes were announced and %d came", p.Size, n))
	}
	return nil
}

// partError marks what a part's content failed with, as opposed to the
// connection.
type partError struct {
	uri, part string
	err       error
}

func (e *partError) Error() string { return fmt.Sprintf("part %q: %v", e.part, e.err) }
func (e *partError) Unwrap() error { return e.err }

// sourceReader tells errors of the content from those of where it is written.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF { // a wrapped io.EOF is not the end but a failure
		s.err = err
	}
	return n, err
}

func (f *formWriter) header(name Field, more string) {
	f.line = append(append(f.line[:0], "--"...), f.boundary...)
	f.line = append(f.line, "\r\nContent-Disposition: form-data; name=\""...)
	f.line = appendQuoted(f.line, name.String())
	f.line = append(append(append(f.line, "\"\r\n"...), more...), "\r\n"...)
	f.bytes(f.line)
}

// appendQuoted escapes what a quoted name escapes.
func appendQuoted(dst []byte, name string) []byte {
	for i := range len(name) {
		if name[i] == '"' || name[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, name[i])
	}
	return dst
}

func (f *formWriter) text(s string) {
	if f.err != nil {
		return
	}
	n, err := io.WriteString(f.w, s)
	f.written, f.err = f.written+int64(n), err
}

func (f *formWriter) bytes(p []byte) {
	if f.err != nil {
		return
	}
	n, err := f.w.Write(p)
	f.written, f.err = f.written+int64(n), err
}

// newBoundary returns a boundary that no content holds.
func newBoundary() (string, error) {
	var random [24]byte
	_, err := rand.Read(random[:])
	return "gapless-" + hex.EncodeToString(random[:]), err
}

// newBodyBuffer keeps the connection from being written to field by field.
func newBodyBuffer(w io.Writer) *bufio.Writer { return bufio.NewWriterSize(w, 64<<10) }

// contentType returns the content type of a multipart body.
func contentType(boundary string) string {
	return "multipart/form-data; boundary=" + boundary
}
