package tabular

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

// maxDepth is how deep a JSON line may be nested; validation takes stack for
// each level.
const maxDepth = 10_000

// byteOrderMark may stand at the beginning of a text file.
var byteOrderMark = []byte("\xef\xbb\xbf")

// jsonFields are the gjson paths of the fields that make a record.
type jsonFields struct {
	key, version, modified string
	// opening is what a line begins with whose first field is the key, up to
	// the colon; empty if the key is a field of a field.
	opening string
}

// jsonDecoder reads JSON Lines. Blocks of the file are read straight into the
// batch, rows point into them, and nothing is allocated per line.
type jsonDecoder struct {
	fields  jsonFields
	maxLine int
	tail    []byte // an incomplete line at the end of the last block
	// side holds strings that had to be unescaped, until the block is done
	// and they can follow it in the batch's buffer.
	side    []byte
	places  []sidePlace
	rejects []gapless.Rejection // of the block
}

// maxIdleBuffer is the largest buffer that is kept for the next batch: one
// long line does not make every later batch as large.
const maxIdleBuffer = 8 << 20

// sidePlace is a span of a row that lies in side.
type sidePlace struct {
	row     int
	version bool // the row's version, else its key
	span    gapless.Span
}

func (d *jsonDecoder) decode(s *scan) error {
	if s.resume > 0 {
		if err := s.seek(s.resume); err != nil {
			return err
		}
	}
	for done := false; !done; {
		b := s.out.Batch()
		if len(b.Buf) == 0 && cap(b.Buf) > maxIdleBuffer {
			b.Buf = nil
		}
		start := len(b.Buf)
		b.Buf = append(b.Buf, d.tail...)
		end, err := d.fill(s, b, start)
		if done = errors.Is(err, io.EOF); done {
			end, err = len(b.Buf), nil
		}
		d.tail = append(d.tail[:0], b.Buf[end:]...)
		b.Buf = b.Buf[:end]
		d.lines(s, b, start)
		if rejectErr := d.deliver(s); rejectErr != nil {
			return rejectErr
		}
		if err != nil {
			return err
		}
		if err := s.boundary(s.offset-int64(len(d.tail)), s.line); err != nil {
			return err
		}
	}
	return nil
}

// fill reads until Buf[start:] holds a complete line and returns the end of
// the last one. A line that is too long is rejected without being kept; end is
// then start.
func (d *jsonDecoder) fill(s *scan, b *gapless.Batch, start int) (end int, err error) {
	for checked := start; ; {
		if i := bytes.LastIndexByte(b.Buf[checked:], '\n'); i >= 0 || err != nil {
			if i < 0 {
				return start, err
			}
			return checked + i + 1, err
		}
		if checked = len(b.Buf); checked-start > d.maxLine {
			return start, d.skipLine(s, b, start)
		}
		if cap(b.Buf)-checked < blockSize/2 {
			grown := make([]byte, checked, max(2*cap(b.Buf), gapless.DefaultBatchBytes+2*blockSize))
			copy(grown, b.Buf)
			b.Buf = grown
		}
		var n int
		n, err = s.Read(b.Buf[checked:min(cap(b.Buf), checked+blockSize)])
		b.Buf = b.Buf[:checked+n]
	}
}

// skipLine rejects the line that begins at start and leaves in the buffer what
// follows it.
func (d *jsonDecoder) skipLine(s *scan, b *gapless.Batch, start int) error {
	s.line++
	d.reject(s, "", b.Buf[start:], tooLong(d.maxLine))
	for {
		n, err := s.Read(b.Buf[start:min(cap(b.Buf), start+blockSize)])
		_, rest, found := bytes.Cut(b.Buf[start:start+n], []byte{'\n'})
		b.Buf = b.Buf[:start]
		if found {
			b.Buf = append(b.Buf, rest...)
			return err
		}
		if err != nil {
			return err
		}
	}
}

func tooLong(maxLine int) error {
	return fmt.Errorf("the line is longer than max_line (%s)", gapless.ByteSize(maxLine))
}

// lines turns the complete lines in Buf[start:] into rows.
func (d *jsonDecoder) lines(s *scan, b *gapless.Batch, start int) {
	if s.line == 0 && bytes.HasPrefix(b.Buf[start:], byteOrderMark) {
		start += len(byteOrderMark)
	}
	allText := utf8.Valid(b.Buf[start:])
	for start < len(b.Buf) {
		end := len(b.Buf)
		if i := bytes.IndexByte(b.Buf[start:], '\n'); i >= 0 {
			end = start + i
		}
		s.line++
		lo, hi := trim(b.Buf, start, end)
		start = end + 1
		if lo == hi {
			continue
		}
		row := gapless.Row{Line: s.line, Data: gapless.Span{Off: uint32(lo), Len: uint32(hi - lo)}}
		if err := d.row(b, &row, allText); err != nil {
			d.reject(s, d.forget(b, row), b.Buf[lo:hi], err)
			continue
		}
		b.AppendRow(row)
	}
	d.settle(b)
}

// trim returns the bounds of a line without the white space around it.
func trim(buf []byte, lo, hi int) (int, int) {
	for lo < hi && isSpace(buf[lo]) {
		lo++
	}
	for lo < hi && isSpace(buf[hi-1]) {
		hi--
	}
	return lo, hi
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// row fills in key, version and time of the line that is the row's data, or
// returns why the line is no record.
func (d *jsonDecoder) row(b *gapless.Batch, row *gapless.Row, isText bool) error {
	line := b.Bytes(row.Data)
	switch {
	case len(line) > d.maxLine:
		return tooLong(d.maxLine)
	case !isText && !utf8.Valid(line):
		return errors.New("the line is not valid UTF-8")
	case deep(line):
		return fmt.Errorf("the line is nested more than %d levels deep", maxDepth)
	case !gjson.ValidBytes(line):
		return syntaxError(line)
	case line[0] != '{':
		return errors.New("the line is not a JSON object")
	}
	text := view(line)
	key := d.fields.keyOf(text)
	switch {
	case !key.Exists() || key.Type == gjson.Null:
		return fmt.Errorf("the key field %s is missing", d.fields.key)
	case key.Type != gjson.String && key.Type != gjson.Number:
		return fmt.Errorf("the key field %s is neither a string nor a number", d.fields.key)
	}
	if err := d.place(b, row, key, false); err != nil {
		return fmt.Errorf("the key field %s %w", d.fields.key, err)
	}
	if row.Key.Len == 0 {
		return fmt.Errorf("the key field %s is empty", d.fields.key)
	}
	return d.stamps(b, row, text)
}

// keyOf returns the key field of a valid object. Most writers put it first and
// as plain text: then nothing has to be searched or unescaped.
func (f *jsonFields) keyOf(object string) gjson.Result {
	if f.opening == "" || !strings.HasPrefix(object, f.opening) {
		return gjson.Get(object, f.key)
	}
	start := len(f.opening)
	for object[start] == ' ' {
		start++
	}
	if object[start] != '"' {
		return gjson.Get(object, f.key)
	}
	end := start + 1 + strings.IndexByte(object[start+1:], '"')
	text := object[start+1 : end]
	if strings.IndexByte(text, '\\') >= 0 {
		return gjson.Get(object, f.key)
	}
	return gjson.Result{Type: gjson.String, Raw: object[start : end+1], Str: text, Index: start}
}

// stamps fills in version and time.
func (d *jsonDecoder) stamps(b *gapless.Batch, row *gapless.Row, text string) error {
	if d.fields.version != "" {
		version := gjson.Get(text, d.fields.version)
		if version.IsObject() || version.IsArray() {
			return fmt.Errorf("the version field %s is not a single value", d.fields.version)
		}
		if version.Exists() && version.Type != gjson.Null {
			if err := d.place(b, row, version, true); err != nil {
				return fmt.Errorf("the version field %s %w", d.fields.version, err)
			}
		}
	}
	if d.fields.modified == "" {
		return nil
	}
	var err error
	switch modified := gjson.Get(text, d.fields.modified); {
	case !modified.Exists() || modified.Type == gjson.Null:
	case modified.Type == gjson.String || modified.Type == gjson.Number:
		row.Modified, err = parseTime(modified.String())
	default:
		err = errNoTime
	}
	if err != nil {
		return fmt.Errorf("the modified field %s %w", d.fields.modified, err)
	}
	return nil
}

// place points the row's key or version at a value within the line, or at its
// unescaped form beside it.
func (d *jsonDecoder) place(b *gapless.Batch, row *gapless.Row, value gjson.Result, version bool) error {
	span := gapless.Span{Off: row.Data.Off + uint32(value.Index), Len: uint32(len(value.Raw))}
	beside := false
	if value.Type == gjson.String {
		span = gapless.Span{Off: span.Off + 1, Len: uint32(len(value.Str))}
		beside = len(value.Str) != len(value.Raw)-2
	}
	switch {
	case span.Len > gapless.MaxKeyBytes:
		return fmt.Errorf("has %d bytes, more than %d", span.Len, gapless.MaxKeyBytes)
	case beside && strings.ContainsRune(value.Str, utf8.RuneError) && loneSurrogate(value.Raw):
		return errors.New("has half of a surrogate pair")
	case beside:
		span = gapless.Span{Off: uint32(len(d.side)), Len: span.Len}
		d.side = append(d.side, value.Str...)
		d.places = append(d.places, sidePlace{row: len(b.Rows), version: version, span: span})
	}
	if version {
		row.Version = span
	} else {
		row.Key = span
	}
	return nil
}

// loneSurrogate reports whether a raw JSON string has a surrogate escape that
// is not part of a pair: two such strings could unescape to the same text.
func loneSurrogate(raw string) bool {
	for i := 0; i+1 < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		if raw[i] != 'u' {
			continue
		}
		switch high := surrogate(raw[i-1:]); {
		case high == 1 && i+5 < len(raw) && surrogate(raw[i+5:]) == 2:
			i += 6 + 4
		case high != 0:
			return true
		default:
			i += 4
		}
	}
	return false
}

// surrogate returns 1 or 2 if s begins with the escape of the first or second
// half of a pair, else 0.
func surrogate(s string) int {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' || s[2]|0x20 != 'd' {
		return 0
	}
	switch c := s[3] | 0x20; {
	case c == '8' || c == '9' || c == 'a' || c == 'b':
		return 1
	case c >= 'c' && c <= 'f':
		return 2
	}
	return 0
}

// settle moves the unescaped strings of the block behind it and points their
// rows at them.
func (d *jsonDecoder) settle(b *gapless.Batch) {
	if len(d.places) == 0 {
		return
	}
	base := b.AppendBytes(d.side).Off
	for _, p := range d.places {
		p.span.Off += base
		if p.version {
			b.Rows[p.row].Version = p.span
		} else {
			b.Rows[p.row].Key = p.span
		}
	}
	d.side, d.places = d.side[:0], d.places[:0]
}

// forget drops the side strings of a row that is not appended, and returns its
// key as far as it was found.
func (d *jsonDecoder) forget(b *gapless.Batch, row gapless.Row) string {
	for n := len(d.places); n > 0 && d.places[n-1].row == len(b.Rows); n-- {
		p := d.places[n-1]
		d.places = d.places[:n-1]
		if !p.version {
			return string(d.side[p.span.Off : p.span.Off+p.span.Len])
		}
	}
	return string(b.Bytes(row.Key))
}

// reject keeps a rejection until the block is done: reporting one may hand the
// batch on.
func (d *jsonDecoder) reject(s *scan, key string, raw []byte, err error) {
	d.rejects = append(d.rejects, s.rejection(key, s.line, raw, err))
}

func (d *jsonDecoder) deliver(s *scan) error {
	for _, r := range d.rejects {
		if err := s.out.Reject(r); err != nil {
			return err
		}
	}
	clear(d.rejects)
	d.rejects = d.rejects[:0]
	return nil
}

// deep reports whether a line is nested too deeply to be validated.
func deep(line []byte) bool {
	if len(line) <= maxDepth || bytes.Count(line, []byte{'{'})+bytes.Count(line, []byte{'['}) <= maxDepth {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// syntaxError says what is wrong with a line that is no JSON.
func syntaxError(line []byte) error {
	var raw json.RawMessage
	if err := json.Unmarshal(line, &raw); err != nil {
		return fmt.Errorf("the line is not valid JSON: %w", err)
	}
	return errors.New("the line is not valid JSON")
}

// view returns the bytes as a string without copying them. It must not outlive
// the row being made: the buffer moves and is used again.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // gjson reads fields of a string only

var errNoTime = errors.New("is neither an RFC 3339 time nor a number of Unix seconds")

// parseTime reads an RFC 3339 time or Unix seconds, with a fraction if need
// be, into Unix nanoseconds.
func parseTime(text string) (int64, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		if at.Year() < 1678 || at.Year() > 2261 {
			return 0, errNoTime
		}
		return at.UnixNano(), nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(seconds) || math.Abs(seconds) > math.MaxInt64/1e9-1 {
		return 0, errNoTime
	}
	whole, fraction := math.Modf(seconds)
	return int64(whole)*1e9 + int64(math.Round(fraction*1e9)), nil
}
