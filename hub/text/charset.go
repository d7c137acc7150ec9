package text

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// byteOrder returns the charset that a mark at the start of p says, and how
// long the mark is.
func byteOrder(p []byte) (charset string, length int) {
	switch {
	case bytes.HasPrefix(p, []byte("\xef\xbb\xbf")):
		return "utf-8", 3
	case bytes.HasPrefix(p, []byte("\xff\xfe")):
		return "utf-16le", 2
	case bytes.HasPrefix(p, []byte("\xfe\xff")):
		return "utf-16be", 2
	}
	return "", 0
}

// decode returns p in UTF-8. A byte order mark outweighs the charset, which is
// in lower case; without both it is UTF-8.
func decode(p []byte, charset string) ([]byte, error) {
	if marked, length := byteOrder(p); marked != "" {
		charset, p = marked, p[length:]
	}
	switch charset {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return p, nil
	case "utf-16", "utf-16be":
		return decode16(p, binary.BigEndian), nil
	case "utf-16le":
		return decode16(p, binary.LittleEndian), nil
	case "iso-8859-1", "iso8859-1", "latin1", "latin-1", "l1", "windows-1252", "cp1252", "x-cp1252", "ansi":
		return decode1252(p), nil
	}
	if isASCII(p) {
		return p, nil
	}
	return nil, reasonf("no reader for the charset %s", clip(charset))
}

func decode16(p []byte, order binary.ByteOrder) []byte {
	text := make([]byte, 0, len(p))
	for ; len(p) > 1; p = p[2:] {
		r := rune(order.Uint16(p))
		if utf16.IsSurrogate(r) {
			var low rune
			if len(p) > 3 {
				low = rune(order.Uint16(p[2:]))
			}
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				p = p[2:]
			}
		}
		text = utf8.AppendRune(text, r)
	}
	return text
}

// high1252 are the characters from 0x80 to 0x9F of Windows-1252, which has
// Latin-1 everywhere else. Nobody means the control characters that Latin-1
// has there.
const high1252 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ"

func decode1252(p []byte) []byte {
	high := []rune(high1252)
	text := make([]byte, 0, len(p)+len(p)/8)
	for _, c := range p {
		r := rune(c)
		if 0x80 <= c && c < 0xa0 {
			r = high[c-0x80]
		}
		text = utf8.AppendRune(text, r)
	}
	return text
}

// charsetIn returns the charset that markup says of itself at its start; "" if
// it says none.
func charsetIn(markup []byte) string {
	head := strings.ToLower(string(markup[:min(len(markup), 1024)]))
	for _, key := range []string{"charset", "encoding"} {
		_, value, found := strings.Cut(head, key)
		value = strings.TrimLeft(value, " \t\r\n")
		if !found || !strings.HasPrefix(value, "=") {
			continue
		}
		value = strings.TrimLeft(value[1:], " \t\r\n\"'")
		if end := strings.IndexAny(value, " \t\r\n\"'/>?;"); end > 0 {
			return value[:end]
		}
	}
	return ""
}
