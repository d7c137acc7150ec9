package tabular

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
)

// csvSyntax is how cells stand in a file.
type csvSyntax struct {
	delimiter byte
	quotes    bool // a cell may be quoted, a quote within one doubled
}

// cell is one value of a row, as offsets.
type cell struct {
	lo, hi  int
	doubled bool // quotes within are doubled
}

// Reasons why a row cannot be split. errMore means that it goes on behind the
// text at hand.
var (
	errMore      = errors.New("the row is not complete")
	errOpenQuote = errors.New("a quoted cell is never closed")
	errBareQuote = errors.New("a quote stands within a cell that is not quoted")
	errGarbage   = errors.New("text follows a closing quote")
)

// split cuts the first row of text into cells, which are appended to dst, and
// returns its length with the line break. final says that nothing follows text.
func (x csvSyntax) split(dst []cell, text []byte, final bool) ([]cell, int, error) {
	for i := 0; ; i++ {
		var c cell
		var err error
		if x.quotes && i < len(text) && text[i] == '"' {
			c, i, err = quotedCell(text, i, final)
		} else {
			c, i, err = x.bareCell(text, i, final)
		}
		if err != nil {
			return dst, 0, err
		}
		dst = append(dst, c)
		switch {
		case i == len(text):
			return dst, i, nil
		case text[i] == '\n':
			return dst, i + 1, nil
		case text[i] != x.delimiter:
			return dst, 0, errGarbage
		}
	}
}

// quotedCell returns the cell that begins with the quote at i, and where its
// delimiter stands.
func quotedCell(text []byte, i int, final bool) (cell, int, error) {
	c := cell{lo: i + 1, hi: i + 1}
	for {
		next := bytes.IndexByte(text[c.hi:], '"')
		if next < 0 && final {
			return c, 0, errOpenQuote
		}
		if next < 0 {
			return c, 0, errMore
		}
		c.hi += next
		i = c.hi + 1
		if i < len(text) && text[i] == '"' {
			c.doubled = true
			c.hi += 2
			continue
		}
		if !final && len(text)-i < 2 {
			return c, 0, errMore
		}
		if i < len(text) && text[i] == '\r' && (i+1 == len(text) || text[i+1] == '\n') {
			i++
		}
		return c, i, nil
	}
}

// bareCell returns the cell without quotes that begins at i, and where its
// delimiter stands.
func (x csvSyntax) bareCell(text []byte, i int, final bool) (cell, int, error) {
	c := cell{lo: i}
	for ; i < len(text) && text[i] != x.delimiter && text[i] != '\n'; i++ {
		if text[i] == '"' && x.quotes {
			return c, 0, errBareQuote
		}
	}
	if i == len(text) && !final {
		return c, 0, errMore
	}
	c.hi = i
	if (i == len(text) || text[i] == '\n') && c.hi > c.lo && text[c.hi-1] == '\r' {
		c.hi--
	}
	return c, i, nil
}

// csvDecoder reads CSV. Rows become JSON objects of strings.
type csvDecoder struct {
	syntax  csvSyntax
	header  bool
	columns []string
	names   jsonFields // of the columns that make a record
	maxLine int

	key, version, modified int      // columns; -1: none
	labels                 [][]byte // `{"name":` and `,"name":` by column
	buffer                 []byte   // that window lies in
	window                 []byte   // text read and not yet consumed
	final                  bool     // nothing follows the window
	cells                  []cell
	value                  []byte
}

func (d *csvDecoder) decode(s *scan) error {
	if err := d.prepare(s); err != nil || d.labels == nil {
		return err
	}
	if s.resume > 0 {
		if err := s.seek(s.resume); err != nil {
			return err
		}
		d.window, d.final = d.window[:0], false
	}
	for {
		length, lines, err := d.next(s)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = d.row(s, d.window[:length])
		}
		if reason, ok := errors.AsType[*badRow](err); ok {
			if length == 0 {
				// Where the row ends is not known. What follows its first
				// line is looked at again: an open quote spoils one row, not
				// the rest of the file.
				length, lines = d.firstLine(), 1
			}
			if err := s.out.Reject(s.rejection(reason.key, s.line+1, d.window[:length], reason.err)); err != nil {
				return err
			}
			err = nil
		}
		if err == nil {
			err = d.consume(s, length)
		}
		if err != nil {
			return err
		}
		s.line += uint64(lines)
		if err := s.boundary(s.offset-int64(len(d.window)), s.line); err != nil {
			return err
		}
	}
}

// badRow is why a row is no record.
type badRow struct {
	key string
	err error
}

func (e *badRow) Error() string { return e.err.Error() }

func bad(key string, err error) error { return &badRow{key, err} }

// next splits the next row that is not blank, without consuming it. lines is
// how many lines it takes; length is 0 if its end is not known. It returns
// io.EOF at the end.
func (d *csvDecoder) next(s *scan) (length, lines int, err error) {
	for {
		if len(d.window) == 0 && !d.final {
			if err := d.fill(s); err != nil {
				return 0, 0, err
			}
		}
		if len(d.window) == 0 {
			return 0, 0, io.EOF
		}
		d.cells, length, err = d.syntax.split(d.cells[:0], d.window, d.final)
		switch {
		case errors.Is(err, errMore) && len(d.window) <= d.maxLine:
			if err := d.fill(s); err != nil {
				return 0, 0, err
			}
			continue
		case errors.Is(err, errMore):
			return 0, 0, bad("", tooLong(d.maxLine))
		case err != nil:
			return 0, 0, bad("", err)
		}
		if len(d.cells) == 1 && d.cells[0].lo == 0 && d.cells[0].hi == 0 {
			d.window = d.window[length:]
			s.line++
			continue
		}
		lines = max(1, bytes.Count(d.window[:length], []byte{'\n'}))
		if length > d.maxLine {
			err = bad("", tooLong(d.maxLine))
		}
		return length, lines, err
	}
}

// fill reads at least as much again as the window holds, so that a long row is
// split from its beginning only a few times.
func (d *csvDecoder) fill(s *scan) error {
	held := len(d.window)
	if want := held + max(blockSize, held); cap(d.buffer) < want {
		d.buffer = make([]byte, want)
	}
	copy(d.buffer, d.window)
	d.buffer = d.buffer[:held]
	for len(d.buffer) < max(2*held, 1) && !d.final {
		n, err := s.Read(d.buffer[len(d.buffer):min(cap(d.buffer), held+max(blockSize, held))])
		d.buffer = d.buffer[:len(d.buffer)+n]
		if d.final = errors.Is(err, io.EOF); err != nil && !d.final {
			d.window = d.buffer
			return err
		}
	}
	d.window = d.buffer
	return nil
}

// firstLine returns the length of the first line in the window, or of the
// window if the line goes on.
func (d *csvDecoder) firstLine() int {
	if i := bytes.IndexByte(d.window, '\n'); i >= 0 {
		return i + 1
	}
	return len(d.window)
}

// consume drops the line whose first length bytes are in the window.
func (d *csvDecoder) consume(s *scan, length int) error {
	for {
		ended := length > 0 && d.window[length-1] == '\n'
		d.window = d.window[length:]
		if ended || d.final && len(d.window) == 0 {
			return nil
		}
		d.window = d.window[:0]
		if err := d.fill(s); err != nil {
			return err
		}
		length = d.firstLine()
	}
}

// prepare finds out the columns. Without any, the file is empty.
func (d *csvDecoder) prepare(s *scan) error {
	columns := d.columns
	if err := d.fill(s); err != nil {
		return err
	}
	for len(d.window) < len(byteOrderMark) && !d.final {
		if err := d.fill(s); err != nil {
			return err
		}
	}
	d.window = bytes.TrimPrefix(d.window, byteOrderMark)
	resumed := s.line
	if d.header {
		s.line = 0
		length, lines, err := d.next(s)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return d.headerError(s, err)
		}
		for _, c := range d.cells {
			columns = append(columns, string(d.text(c)))
		}
		d.window = d.window[length:]
		s.line += uint64(lines)
	}
	s.line = max(s.line, resumed)
	if err := d.bind(columns); err != nil {
		return d.headerError(s, err)
	}
	return nil
}

func (d *csvDecoder) headerError(s *scan, err error) error {
	if _, ok := errors.AsType[*gapless.Failure](err); ok {
		return err
	}
	return gapless.Because(gapless.CauseUnreadable, fmt.Errorf("header of %s: %w", s.path, err))
}

// bind finds the columns that make a record.
func (d *csvDecoder) bind(columns []string) error {
	for i, name := range columns {
		if !utf8.ValidString(name) || name == "" || slices.Contains(columns[:i], name) {
			return fmt.Errorf("column %d is named %q: names are text, not empty, and unique", i+1, name)
		}
		label := append(appendText([]byte{','}, []byte(name), false), ':')
		if i == 0 {
			label[0] = '{'
		}
		d.labels = append(d.labels, label)
	}
	for _, f := range []struct {
		name  string
		index *int
	}{{d.names.key, &d.key}, {d.names.version, &d.version}, {d.names.modified, &d.modified}} {
		*f.index = slices.Index(columns, f.name)
		if *f.index < 0 && f.name != "" {
			return fmt.Errorf("there is no column %s", f.name)
		}
	}
	return nil
}

// text returns the value of a cell, valid until the next call.
func (d *csvDecoder) text(c cell) []byte {
	raw := d.window[c.lo:c.hi]
	if !c.doubled {
		return raw
	}
	d.value = d.value[:0]
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '"')
		if i < 0 {
			break
		}
		d.value = append(d.value, raw[:i+1]...)
		raw = raw[i+2:]
	}
	d.value = append(d.value, raw...)
	return d.value
}

// row emits the row that was split.
func (d *csvDecoder) row(s *scan, raw []byte) error {
	if !utf8.Valid(raw) {
		return bad("", errors.New("the row is not valid UTF-8"))
	}
	if len(d.cells) != len(d.labels) {
		return bad("", fmt.Errorf("the row has %d cells, the header %d", len(d.cells), len(d.labels)))
	}
	key := d.text(d.cells[d.key])
	if len(key) == 0 || len(key) > gapless.MaxKeyBytes {
		return bad("", fmt.Errorf("the key column %s has %d bytes, not 1 to %d", d.names.key, len(key), gapless.MaxKeyBytes))
	}
	b := s.out.Batch()
	row := gapless.Row{Line: s.line + 1}
	start := len(b.Buf)
	row.Key = b.AppendBytes(key)
	if err := d.stamps(b, &row); err != nil {
		err = bad(string(b.Bytes(row.Key)), err)
		b.Buf = b.Buf[:start]
		return err
	}
	start = len(b.Buf)
	for i, c := range d.cells {
		b.Buf = append(b.Buf, d.labels[i]...)
		b.Buf = appendText(b.Buf, d.window[c.lo:c.hi], c.doubled)
	}
	b.Buf = append(b.Buf, '}')
	if len(b.Buf)-start > gapless.MaxDataBytes {
		b.Buf = b.Buf[:start]
		return bad(string(b.Bytes(row.Key)), fmt.Errorf("the record has more than %s", gapless.ByteSize(gapless.MaxDataBytes)))
	}
	row.Data = gapless.Span{Off: uint32(start), Len: uint32(len(b.Buf) - start)}
	b.AppendRow(row)
	return nil
}

// stamps fills in version and time.
func (d *csvDecoder) stamps(b *gapless.Batch, row *gapless.Row) error {
	if d.version >= 0 {
		version := d.text(d.cells[d.version])
		if len(version) > gapless.MaxKeyBytes {
			return fmt.Errorf("the version column %s has %d bytes, more than %d", d.names.version, len(version), gapless.MaxKeyBytes)
		}
		row.Version = b.AppendBytes(version)
	}
	if d.modified < 0 {
		return nil
	}
	at := d.text(d.cells[d.modified])
	if len(at) == 0 {
		return nil
	}
	var err error
	if row.Modified, err = parseTime(view(at)); err != nil {
		return fmt.Errorf("the modified column %s %w", d.names.modified, err)
	}
	return nil
}

// appendText writes UTF-8 text as a JSON string; of doubled quotes it takes
// one.
func appendText(dst, text []byte, doubled bool) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch c {
		case '"':
			dst = append(dst, '\\', '"')
			if doubled {
				i++
				from++
			}
		case '\\':
			dst = append(dst, '\\', '\\')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(dst, text[from:]...), '"')
}
