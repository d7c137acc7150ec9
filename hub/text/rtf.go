package text

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf16"
)

const maxGroups = 1000

// rtfGroup is what a closing brace ends.
type rtfGroup struct {
	hidden bool // the group has no text of the document
	skip   int  // how many characters follow one in Unicode for readers that know none
}

// rtf reads Rich Text Format.
type rtf struct {
	work    *work
	rest    []byte
	group   rtfGroup
	outer   []rtfGroup
	pending int    // characters to skip
	high    uint16 // the first half of a pair in UTF-16
}

func readRTF(w *work, content []byte, _ string) error {
	if !bytes.HasPrefix(content, []byte(`{\rtf`)) {
		return Reason("it does not begin like an RTF document")
	}
	r := rtf{work: w, rest: content, group: rtfGroup{skip: 1}}
	for len(r.rest) > 0 {
		c := r.rest[0]
		r.rest = r.rest[1:]
		var err error
		switch c {
		case '{':
			if len(r.outer) >= maxGroups {
				return reasonf("its groups nest deeper than %d", maxGroups)
			}
			r.outer = append(r.outer, r.group)
		case '}':
			last := len(r.outer) - 1
			if r.group, r.outer = r.outer[last], r.outer[:last]; last == 0 {
				return nil
			}
		case '\\':
			err = r.control()
		case '\r', '\n':
		default:
			err = r.byte(c)
		}
		if err := errors.Join(err, w.step()); err != nil {
			return err
		}
	}
	return nil
}

// byte takes a character of Windows-1252.
func (r *rtf) byte(c byte) error {
	if r.pending > 0 {
		r.pending--
		return nil
	}
	return r.add(string(decode1252([]byte{c})))
}

func (r *rtf) add(text string) error {
	if r.group.hidden {
		return nil
	}
	return r.work.add([]byte(text))
}

// control takes what follows a backslash.
func (r *rtf) control() error {
	if len(r.rest) == 0 {
		return nil
	}
	c := r.rest[0]
	if 'a' <= c|0x20 && c|0x20 <= 'z' {
		return r.word()
	}
	r.rest = r.rest[1:]
	switch c {
	case '\'':
		if len(r.rest) < 2 {
			return nil
		}
		code, err := strconv.ParseUint(string(r.rest[:2]), 16, 8)
		if r.rest = r.rest[2:]; err != nil {
			return nil //nolint:nilerr // two characters that are no code are no text either
		}
		return r.byte(byte(code))
	case '*':
		r.group.hidden = true
	case '~':
		return r.add(" ")
	case '_':
		return r.add("-")
	case '\\', '{', '}':
		return r.byte(c)
	}
	return nil
}

// word takes a control word, its number, and the space behind.
func (r *rtf) word() error {
	n := 0
	for n < len(r.rest) && 'a' <= r.rest[n]|0x20 && r.rest[n]|0x20 <= 'z' {
		n++
	}
	word := string(r.rest[:min(n, 32)])
	r.rest = r.rest[n:]
	n = 0
	for n < len(r.rest) && ('0' <= r.rest[n] && r.rest[n] <= '9' || n == 0 && r.rest[n] == '-') {
		n++
	}
	number, err := strconv.Atoi(string(r.rest[:min(n, 12)]))
	if err != nil {
		number = 1 // usually it may be left out
	}
	r.rest = bytes.TrimPrefix(r.rest[n:], []byte(" "))
	switch word {
	case "par", "line", "row", "sect", "page":
		return r.add("\n")
	case "tab", "cell":
		return r.add("\t")
	case "emdash":
		return r.add("—")
	case "endash":
		return r.add("–")
	case "lquote", "rquote":
		return r.add("'")
	case "ldblquote", "rdblquote":
		return r.add(`"`)
	case "u":
		return r.unicode(uint16(number))
	case "uc":
		r.group.skip = min(max(number, 0), 16)
	case "bin":
		r.rest = r.rest[min(max(number, 0), len(r.rest)):]
	case "fonttbl", "colortbl", "stylesheet", "info", "pict", "object", "themedata", "datastore", "listtable", "xmlnstbl":
		r.group.hidden = true
	}
	return nil
}

// unicode takes a code unit of UTF-16.
func (r *rtf) unicode(unit uint16) error {
	r.pending = r.group.skip
	high := rune(r.high)
	r.high = 0
	switch c := rune(unit); {
	case utf16.DecodeRune(high, c) != '\uFFFD':
		return r.add(string(utf16.DecodeRune(high, c)))
	case utf16.IsSurrogate(c):
		r.high = unit
		return nil
	default:
		return r.add(string(c))
	}
}
