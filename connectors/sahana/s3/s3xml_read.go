package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// xmlReader reads S3XML.
type xmlReader struct {
	stream  io.Reader
	options DecodeOptions
	*xmlScanner
	gather  []byte // texts of the elements being read, the innermost last
	ignored *int
	problem error // the first one of the resource being read
}

func newXMLReader(r io.Reader, o DecodeOptions) *xmlReader {
	return &xmlReader{stream: r, options: o}
}

func (x *xmlReader) next(d *Decoder) (r Resource, rejecting, err error) {
	if x.xmlScanner == nil {
		if err := x.start(d); err != nil {
			return r, nil, err
		}
	}
	x.ignored = &d.ignored
	for {
		x.begin()
		token, err := x.xmlScanner.next()
		switch {
		case err != nil: // errEnd behind the end of the root
			return r, nil, err
		case token != xmlStart:
			continue
		case x.name != "resource":
			if err := x.skip(); err != nil {
				return r, nil, err
			}
			continue
		}
		x.problem = nil
		if err := x.resource(&r); err != nil {
			return r, nil, err
		}
		if x.problem != nil {
			return r, rejected(&r, x.problem), nil
		}
		return r, nil, nil
	}
}

// start reads up to the start tag of the root.
func (x *xmlReader) start(d *Decoder) error {
	head := make([]byte, declarationBytes)
	n, err := io.ReadFull(x.stream, head)
	if head = head[:n]; n < declarationBytes && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		x.stream = bytes.NewReader(nil)
	} else if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	if start := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\uFEFF")), " \t\r\n"); !wide(head) &&
		(!bytes.HasPrefix(start, []byte("<")) || htmlPattern.Match(head)) {
		return x.foreign(head)
	}
	body, err := decoded(head, x.stream)
	if err != nil {
		return &SyntaxError{Format: S3XML, Err: err}
	}
	x.xmlScanner = newXMLScanner(body, x.options.Limits)
	switch token, err := x.xmlScanner.next(); {
	case errors.Is(err, errEnd): // nothing but comments
		return x.failed(io.ErrUnexpectedEOF)
	case err != nil:
		return err
	case token != xmlStart || x.name != "s3xml":
		return contentError(S3XML.String(), head)
	}
	d.document.Attributes = append(d.document.Attributes, x.attrs...)
	return nil
}

// foreign says what begins with head, which is no XML.
func (x *xmlReader) foreign(head []byte) error {
	more, err := io.ReadAll(io.LimitReader(x.stream, sniffBytes-declarationBytes))
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	return contentError(S3XML.String(), append(head, more...))
}

func (x *xmlReader) reject(err error) {
	if x.problem == nil {
		x.problem = err
	}
}

// skip reads to the end of an element that is not part of the format.
func (x *xmlReader) skip() error {
	*x.ignored++
	for depth := len(x.open); len(x.open) >= depth; {
		if _, err := x.xmlScanner.next(); err != nil {
			return err
		}
	}
	return nil
}

// resource reads the resource whose start tag was read last.
func (x *xmlReader) resource(r *Resource) error {
	for _, a := range x.attrs {
		if a.Name == "name" {
			r.Name = x.names.name([]byte(a.Value))
		} else if err := r.setAttribute(a.Name, a.Value, x.options.Rules); err != nil {
			x.reject(err)
		}
	}
	if r.Name == "" {
		x.reject(fmt.Errorf("a resource without a name"))
	}
	return x.children(nil, func(name string) (known bool, err error) {
		switch name {
		case "data":
			r.Fields = append(r.Fields, Field{})
			err = x.data(&r.Fields[len(r.Fields)-1])
		case "reference":
			r.References = append(r.References, Reference{})
			err = x.reference(&r.References[len(r.References)-1])
		case "resource":
			r.Components = append(r.Components, Resource{})
			err = x.resource(&r.Components[len(r.Components)-1])
		default:
			return false, nil
		}
		return true, err
	})
}

// children reads to the end of an element: its own text into text, if that is
// not nil, and each element in it by read, which returns false for one that it
// does not know.
func (x *xmlReader) children(text *string, read func(name string) (known bool, err error)) error {
	from := len(x.gather)
	for {
		token, err := x.xmlScanner.next()
		if err != nil {
			return err
		}
		switch token {
		case xmlText:
			if text != nil {
				x.gather = append(x.gather, x.text...)
				err = x.fits(len(x.gather) - from)
			}
			if err != nil {
				return err
			}
		case xmlEnd:
			if text != nil {
				*text = x.values.string(x.gather[from:])
				x.gather = x.gather[:from]
			}
			return nil
		case xmlStart:
			known, err := read(x.name)
			if err == nil && !known {
				err = x.skip()
			}
			if err != nil {
				return err
			}
		}
	}
}

func (x *xmlReader) data(f *Field) error {
	for _, a := range x.attrs {
		switch a.Name {
		case "field":
			f.Name = x.names.name([]byte(a.Value))
		case "value":
			f.Value = jsonOf(a.Value)
		default:
			f.setAttribute(a.Name, a.Value)
		}
	}
	if f.Name == "" {
		x.reject(fmt.Errorf("a data element without a field"))
	}
	return x.children(&f.Text, func(string) (bool, error) { return false, nil })
}

func (x *xmlReader) reference(f *Reference) error {
	for _, a := range x.attrs {
		if a.Name == "field" {
			f.Field = x.names.name([]byte(a.Value))
		} else {
			f.setAttribute(a.Name, a.Value)
		}
	}
	if f.Field == "" {
		x.reject(fmt.Errorf("a reference without a field"))
	}
	return x.children(&f.Text, func(name string) (bool, error) {
		if name != "resource" {
			return false, nil
		}
		f.Inline = append(f.Inline, Resource{})
		return true, x.resource(&f.Inline[len(f.Inline)-1])
	})
}
