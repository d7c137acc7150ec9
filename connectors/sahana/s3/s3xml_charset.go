package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// declarationBytes is how far the declaration of a document may reach.
const declarationBytes = 1024

// decoded returns the document that begins with head and goes on with r in
// UTF-8, behind its byte order mark and its declaration.
func decoded(head []byte, r io.Reader) (io.Reader, error) {
	if wide(head) {
		return nil, errors.New("encoding UTF-16 is not understood, only UTF-8, ISO-8859-1 and Windows-1252")
	}
	head, marked := bytes.CutPrefix(head, []byte("\uFEFF"))
	rest, encoding, err := cutDeclaration(head)
	if err != nil {
		return nil, err
	}
	body := io.MultiReader(bytes.NewReader(rest), r)
	switch strings.ToLower(encoding) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return body, nil
	case "iso-8859-1", "latin1", "windows-1252", "cp1252":
		if marked {
			return nil, fmt.Errorf("encoding %q is declared behind a byte order mark of UTF-8", encoding)
		}
		w := &westernReader{r: body}
		if strings.HasSuffix(encoding, "1252") {
			w.high = []rune(windows1252)
		}
		return w, nil
	}
	return nil, fmt.Errorf("encoding %q is not understood, only UTF-8, ISO-8859-1 and Windows-1252", clip(encoding))
}

// wide reports whether a text begins with a byte order mark of UTF-16.
func wide(head []byte) bool {
	return bytes.HasPrefix(head, []byte("\xFE\xFF")) || bytes.HasPrefix(head, []byte("\xFF\xFE"))
}

// cutDeclaration splits the beginning of a document behind its declaration, if
// it has one, and returns the encoding declared.
func cutDeclaration(head []byte) (rest []byte, encoding string, err error) {
	const start = "<?xml"
	if !bytes.HasPrefix(head, []byte(start)) || len(head) > len(start) && !isSpace(head[len(start)]) {
		return head, "", nil
	}
	declaration, rest, ok := bytes.Cut(head[len(start):], []byte("?>"))
	if !ok {
		return nil, "", fmt.Errorf("the declaration has no end")
	}
	version := ""
	for len(bytes.TrimSpace(declaration)) > 0 {
		var name, value string
		if name, value, declaration, ok = cutPseudoAttribute(declaration); !ok {
			return nil, "", fmt.Errorf("the declaration cannot be read")
		}
		switch name {
		case "version":
			version = value
		case "encoding":
			encoding = value
		}
	}
	if version != "1.0" {
		return nil, "", fmt.Errorf("XML version %q is not understood, only 1.0", clip(version))
	}
	return rest, encoding, nil
}

func cutPseudoAttribute(b []byte) (name, value string, rest []byte, ok bool) {
	left, right, ok := bytes.Cut(b, []byte("="))
	right = bytes.TrimLeft(right, " \t\r\n")
	if !ok || len(right) == 0 || right[0] != '"' && right[0] != '\'' {
		return "", "", nil, false
	}
	v, rest, ok := bytes.Cut(right[1:], right[:1])
	return string(bytes.TrimSpace(left)), string(v), rest, ok
}

// westernReader turns ISO-8859-1 or Windows-1252 into UTF-8. The two differ in
// the 32 codes from 128 on, which are control characters in the first.
type westernReader struct {
	r    io.Reader
	high []rune // characters of the codes 128 to 159, if not themselves
	in   [4096]byte
	out  []byte
	buf  []byte
	err  error
}

// windows1252 are the characters of the codes 128 to 159; codes that are not
// in use stand for themselves.
const windows1252 = "\u20AC\u0081\u201A\u0192\u201E\u2026\u2020\u2021\u02C6\u2030\u0160\u2039\u0152\u008D\u017D\u008F" +
	"\u0090\u2018\u2019\u201C\u201D\u2022\u2013\u2014\u02DC\u2122\u0161\u203A\u0153\u009D\u017E\u0178"

// Read reads converted bytes.
func (w *westernReader) Read(p []byte) (int, error) {
	for len(w.out) == 0 {
		if w.err != nil {
			return 0, w.err
		}
		var n int
		n, w.err = w.r.Read(w.in[:])
		w.buf = w.buf[:0]
		for _, c := range w.in[:n] {
			r := rune(c)
			if i := int(c) - 0x80; i >= 0 && i < len(w.high) {
				r = w.high[i]
			}
			w.buf = utf8.AppendRune(w.buf, r)
		}
		w.out = w.buf
	}
	n := copy(p, w.out)
	w.out = w.out[n:]
	return n, nil
}
