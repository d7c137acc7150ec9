package text

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxEntries is how many entries an archive has.
	maxEntries = 10_000
	// maxRatio is how many bytes a packed byte stands for, in entries of more
	// than ratioBytes: no document repeats itself that much.
	maxRatio   = 250
	ratioBytes = 4 << 20
	// maxElements is how deep elements nest.
	maxElements = 256
)

// archive is an office document.
type archive struct {
	work    *work
	entries map[string]*zip.File
}

// readOffice reads Office Open XML and OpenDocument: what an archive holds
// says which.
func readOffice(w *work, content []byte, _ string) error {
	if bytes.HasPrefix(content, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")) {
		return Reason("encrypted office document, or one in a format before 2007")
	}
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return reasonf("damaged archive: %s", strings.TrimPrefix(err.Error(), "zip: "))
	}
	if len(z.File) > maxEntries {
		return reasonf("the archive has more than %d entries", maxEntries)
	}
	a := archive{work: w, entries: make(map[string]*zip.File, len(z.File))}
	for _, entry := range z.File {
		a.entries[entry.Name] = entry
	}
	switch {
	case a.has("word/document.xml"):
		return a.word()
	case a.has("xl/workbook.xml"):
		return a.excel()
	case a.has("ppt/presentation.xml"):
		return a.powerPoint()
	case a.has("content.xml"):
		return a.openDocument()
	}
	return Reason("an archive that is no office document")
}

func (a *archive) has(name string) bool { return a.entries[name] != nil }

// numbered returns the entries of a folder whose name is prefix, a number and
// ".xml", in the order of the numbers.
func (a *archive) numbered(folder, prefix string) (names []string) {
	number := func(name string) int {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(path.Base(name), prefix), ".xml"))
		if err != nil {
			return -1
		}
		return n
	}
	for name := range a.entries {
		if path.Dir(name) == folder && strings.HasPrefix(path.Base(name), prefix) && number(name) >= 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(x, y string) int {
		if n := number(x) - number(y); n != 0 {
			return n
		}
		return strings.Compare(x, y)
	})
	return names
}

// element is one that is open.
type element struct {
	name       string // without its namespace
	attributes []xml.Attr
}

func (e *element) attribute(name string) string {
	for _, a := range e.attributes {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// visitor is told what an entry holds. An element that open returns false for
// is left out with everything in it.
type visitor struct {
	open  func(e *element) (enter bool, err error)
	text  func(e *element, text []byte) error
	close func(e *element) error
}

// visit reads the entry of a name; nothing if there is none.
func (a *archive) visit(name string, v visitor) error {
	entry := a.entries[name]
	if entry == nil {
		return nil
	}
	if entry.Flags&1 != 0 {
		return Reason("encrypted archive")
	}
	content, err := entry.Open()
	if err != nil {
		return reasonf("damaged archive: %s: %s", clip(name), strings.TrimPrefix(err.Error(), "zip: "))
	}
	r := &unpacking{Reader: content, work: a.work, packed: int64(entry.CompressedSize64)}
	err = errors.Join(a.walk(r, v), content.Close())
	if err != nil {
		return fmt.Errorf("%s: %w", clip(name), err)
	}
	return a.work.blank('\n')
}

// unpacking reads an entry within the limits.
type unpacking struct {
	io.Reader
	work   *work
	packed int64
	read   int64
}

func (u *unpacking) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	u.read += int64(n)
	u.work.unpacked += int64(n)
	switch {
	case context.Cause(u.work.ctx) != nil:
		return n, context.Cause(u.work.ctx)
	case u.work.unpacked > maxUnpacked:
		return n, reasonf("the archive unpacks to more than %d MiB", maxUnpacked>>20)
	case u.read > ratioBytes && u.read/maxRatio > u.packed:
		return n, reasonf("the archive unpacks to more than %d times its size", maxRatio)
	}
	return n, err
}

// cursor reads the XML of one entry.
type cursor struct {
	decoder *xml.Decoder
	work    *work
	visitor visitor
	open    []element // outermost first
}

// walk reads XML from end to end. Entities other than those of XML itself are
// errors, so that nothing grows.
func (a *archive) walk(r io.Reader, v visitor) error {
	c := cursor{decoder: xml.NewDecoder(r), work: a.work, visitor: v}
	for {
		token, err := c.decoder.RawToken()
		if err == io.EOF && len(c.open) > 0 { //nolint:errorlint // the decoder returns it as it is
			return fmt.Errorf("it ends inside of %s", clip(c.open[len(c.open)-1].name))
		}
		if err == io.EOF { //nolint:errorlint // the decoder returns it as it is
			return nil
		}
		if err == nil {
			err = c.token(token)
		}
		if err := errors.Join(err, a.work.step()); err != nil {
			return err
		}
	}
}

func (c *cursor) token(token xml.Token) error {
	last := len(c.open) - 1
	switch token := token.(type) {
	case xml.StartElement:
		return c.enter(element{token.Name.Local, token.Attr})
	case xml.CharData:
		if last >= 0 {
			return c.visitor.text(&c.open[last], token)
		}
	case xml.EndElement:
		if last < 0 || c.open[last].name != token.Name.Local {
			return fmt.Errorf("%s ends without a beginning", clip(token.Name.Local))
		}
		closed := c.open[last]
		c.open = c.open[:last]
		return c.visitor.close(&closed)
	}
	return nil
}

func (c *cursor) enter(e element) error {
	if len(c.open) >= maxElements {
		return fmt.Errorf("elements nest deeper than %d", maxElements)
	}
	enter, err := c.visitor.open(&e)
	if err != nil {
		return err
	}
	if !enter {
		return c.skip()
	}
	c.open = append(c.open, e)
	return nil
}

// skip reads to the end of the element that has just begun.
func (c *cursor) skip() error {
	for depth := 1; depth > 0; {
		token, err := c.decoder.RawToken()
		if err == io.EOF { //nolint:errorlint // the decoder returns it as it is
			err = io.ErrUnexpectedEOF
		}
		if err := errors.Join(err, c.work.step()); err != nil {
			return err
		}
		switch token.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		}
	}
	return nil
}
