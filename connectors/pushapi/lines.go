package pushapi

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"
)

// Escape says which characters of a value are escaped on its line.
type Escape uint8

const (
	// EscapePlain writes CR and LF as \r and \n and nothing else: a value that
	// holds a backslash before r or n is not given back as it was. It is the
	// protocol's own.
	EscapePlain Escape = iota
	// EscapeFull escapes the backslash too, so that every value survives. It
	// is used if both sides name it in [HeaderEscape].
	EscapeFull
)

// maxLineBytes bounds one line of a reply: a URI of the longest kind with
// every byte escaped, and a stamp or checkpoint value.
const maxLineBytes = 1 << 20

// appendEscaped appends value with its line breaks escaped.
func (e Escape) appendEscaped(dst []byte, value string) []byte {
	for {
		at := strings.IndexAny(value, "\r\n\\")
		if at < 0 {
			return append(dst, value...)
		}
		dst = append(dst, value[:at]...)
		switch c := value[at]; {
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\n':
			dst = append(dst, `\n`...)
		case e == EscapeFull:
			dst = append(dst, `\\`...)
		default:
			dst = append(dst, c)
		}
		value = value[at+1:]
	}
}

// unescape is the reverse of appendEscaped. A backslash before anything else
// stands for itself.
func (e Escape) unescape(value []byte) string {
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value)
	}
	out := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && i+1 < len(value) {
			switch next := value[i+1]; {
			case next == 'r':
				out, i = append(out, '\r'), i+1
				continue
			case next == 'n':
				out, i = append(out, '\n'), i+1
				continue
			case next == '\\' && e == EscapeFull:
				out, i = append(out, '\\'), i+1
				continue
			}
		}
		out = append(out, value[i])
	}
	return string(out)
}

// appendQuery appends s as [url.QueryEscape] would.
func appendQuery(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~':
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

func queryUnescape(text []byte) (string, error) {
	if bytes.IndexByte(text, '%') < 0 && bytes.IndexByte(text, '+') < 0 {
		return string(text), nil
	}
	s, err := url.QueryUnescape(string(text))
	if err != nil {
		return "", fmt.Errorf("%q is not escaped as in a query: %w", clip(string(text)), err)
	}
	return s, nil
}

// Letters of entry lines. Readers pass over letters that they do not know.
const (
	letterDocument = 'D'
	letterFolder   = 'F'
)

// AppendEntry appends the line of an entry: its letter, a space, the URI as in
// a query, and, if there is a stamp, a space and the escaped stamp.
func AppendEntry(dst []byte, entry SyncedEntry, escape Escape) []byte {
	letter := byte(letterDocument)
	if entry.Folder {
		letter = letterFolder
	}
	dst = appendQuery(append(dst, letter, ' '), entry.URI)
	if entry.Stamp != "" {
		dst = escape.appendEscaped(append(dst, ' '), entry.Stamp)
	}
	return append(dst, '\n')
}

// parseEntry reads a line without its line feed; known is false for a letter
// that is passed over.
func parseEntry(line []byte, escape Escape) (entry SyncedEntry, known bool, err error) {
	letter, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(letter) == 0 {
		return entry, false, fmt.Errorf("%q is not the line of an entry", clip(string(line)))
	}
	if len(letter) != 1 || letter[0] != letterDocument && letter[0] != letterFolder {
		return entry, false, nil
	}
	uri, stamp, _ := bytes.Cut(rest, []byte{' '})
	if entry.URI, err = queryUnescape(uri); err != nil {
		return entry, false, err
	}
	entry.Folder = letter[0] == letterFolder
	if entry.URI == "" && !entry.Folder {
		return entry, false, errors.New("an entry has no URI")
	}
	entry.Stamp = escape.unescape(stamp)
	return entry, true, nil
}

// ReadEntries yields the entries of a reply. A last line without a line feed
// is a torn reply: [io.ErrUnexpectedEOF]. An error is the last thing yielded.
func ReadEntries(r io.Reader, escape Escape) iter.Seq2[SyncedEntry, error] {
	return func(yield func(SyncedEntry, error) bool) {
		for line, err := range readLines(r) {
			if err != nil {
				yield(SyncedEntry{}, err)
				return
			}
			entry, known, err := parseEntry(line, escape)
			if err != nil {
				yield(SyncedEntry{}, err)
				return
			}
			if known && !yield(entry, nil) {
				return
			}
		}
	}
}

// AppendCheckpoint appends the line of a checkpoint: its name as in a query, a
// space and the escaped value.
func AppendCheckpoint(dst []byte, c CheckpointInfo, escape Escape) []byte {
	dst = append(appendQuery(dst, c.Name), ' ')
	return append(escape.appendEscaped(dst, c.Value), '\n')
}

func parseCheckpoint(line []byte, escape Escape) (CheckpointInfo, error) {
	name, value, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return CheckpointInfo{}, fmt.Errorf("%q is not the line of a checkpoint", clip(string(line)))
	}
	text, err := queryUnescape(name)
	if err != nil {
		return CheckpointInfo{}, err
	}
	return CheckpointInfo{Name: text, Value: escape.unescape(value)}, nil
}

// ReadCheckpoints yields the checkpoints of a reply as [ReadEntries] does.
func ReadCheckpoints(r io.Reader, escape Escape) iter.Seq2[CheckpointInfo, error] {
	return func(yield func(CheckpointInfo, error) bool) {
		for line, err := range readLines(r) {
			var c CheckpointInfo
			if err == nil {
				c, err = parseCheckpoint(line, escape)
			}
			if err != nil {
				yield(CheckpointInfo{}, err)
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// readLines yields lines without their line feeds; a view is valid until the
// next one is asked for.
func readLines(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		var long []byte
		for {
			line, err := in.ReadSlice('\n')
			if len(long)+len(line) > maxLineBytes {
				yield(nil, fmt.Errorf("a line has more than %d bytes", maxLineBytes))
				return
			}
			switch {
			case errors.Is(err, bufio.ErrBufferFull):
				long = append(long, line...)
				continue
			case err == io.EOF && len(line)+len(long) == 0: // a wrapped io.EOF is not the end but a failure
				return
			case err == io.EOF:
				yield(nil, io.ErrUnexpectedEOF)
				return
			case err != nil:
				yield(nil, err)
				return
			}
			if len(long) > 0 {
				long = append(long, line...)
				line = long
			}
			if !yield(line[:len(line)-1], nil) {
				return
			}
			long = long[:0]
		}
	}
}
