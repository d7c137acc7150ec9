package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// xmlToken is what a scanner has found.
type xmlToken uint8

const (
	xmlStart xmlToken = iota // name and attributes
	xmlEnd                   // of the innermost element
	xmlText                  // text
)

// xmlScanner reads the part of XML that S3XML needs, strictly: elements,
// attributes, text, CDATA sections; comments and processing instructions are
// skipped. Names of elements and attributes are ASCII. There are no document
// types, so that there are no entities but the five of XML itself.
type xmlScanner struct {
	window
	limits Limits
	open   []string // names of the elements that are open
	name   string   // of the last start
	text   []byte   // of the last text; valid until the next token
	attrs  []Attribute
	single bool // the last start ended its element
	ended  bool // the root has ended
	names  interner
	values arena
	slow   []byte // a text that had to be rewritten
	elems  int    // in the resource that is being read
	first  int64  // its offset
}

func newXMLScanner(r io.Reader, l Limits) *xmlScanner {
	return &xmlScanner{window: newWindow(r, l.DocumentBytes, l.TokenBytes), limits: l, names: interner{}}
}

// next returns the next token; behind the end of the root errEnd.
func (s *xmlScanner) next() (xmlToken, error) {
	if s.single {
		s.single = false
		return xmlEnd, s.pop()
	}
	for {
		s.start = s.pos
		if s.offset()-s.first > int64(s.limits.ResourceBytes) {
			return 0, &LimitError{"bytes of a resource", int64(s.limits.ResourceBytes)}
		}
		c, ok, err := s.peek()
		switch {
		case err != nil:
			return 0, err
		case !ok && s.ended:
			return 0, errEnd
		case !ok:
			return 0, s.failed(io.ErrUnexpectedEOF)
		}
		if c != '<' {
			if err := s.scanText(); err != nil {
				return 0, err
			}
			if !s.outside() {
				return xmlText, nil
			}
			continue
		}
		token, found, err := s.markup()
		if errors.Is(err, errCut) {
			err = s.failed(io.ErrUnexpectedEOF)
		}
		if err != nil || found {
			return token, err
		}
	}
}

// begin resets what counts against the limits of a resource.
func (s *xmlScanner) begin() { s.elems, s.first = 0, s.offset() }

// outside reports whether no element is open.
func (s *xmlScanner) outside() bool { return len(s.open) == 0 }

func (s *xmlScanner) failed(err error) error {
	return &SyntaxError{Format: S3XML, Offset: s.offset(), Err: err}
}

func (s *xmlScanner) failedf(format string, args ...any) error {
	return s.failed(fmt.Errorf(format, args...))
}

// scanText reads up to the next markup.
func (s *xmlScanner) scanText() error {
	raw, err := s.until('<')
	if err != nil {
		return err
	}
	if s.outside() {
		if len(bytes.Trim(raw, " \t\r\n")) > 0 {
			return s.failedf("text outside the root element")
		}
		return nil
	}
	if bytes.Contains(raw, []byte("]]>")) {
		return s.failedf("]]> in text")
	}
	s.text, err = s.unescape(raw, inText)
	return err
}

// markup reads what begins with <. found is false for what is skipped.
func (s *xmlScanner) markup() (token xmlToken, found bool, err error) {
	if err := s.need(2); err != nil {
		return 0, false, err
	}
	switch s.buf[s.pos+1] {
	case '/':
		return xmlEnd, true, s.scanEnd()
	case '?':
		return 0, false, s.scanInstruction()
	case '!':
		return s.scanDeclaration()
	}
	return xmlStart, true, s.scanStart()
}

// tag returns everything up to the > that ends a tag.
func (s *xmlScanner) tag() ([]byte, error) {
	quote := byte(0)
	for from := 0; ; {
		rest := s.rest()
		for from < len(rest) {
			if quote != 0 {
				i := bytes.IndexByte(rest[from:], quote)
				if i < 0 {
					from = len(rest)
					break
				}
				from += i + 1
				quote = 0
				continue
			}
			from++
			switch c := rest[from-1]; c {
			case '>':
				return s.take(from)
			case '"', '\'':
				quote = c
			}
		}
		if ok, err := s.more(); err != nil {
			return nil, err
		} else if !ok {
			return nil, errCut
		}
	}
}

func (s *xmlScanner) scanEnd() error {
	tag, err := s.tag()
	if err != nil {
		return err
	}
	name := bytes.TrimRight(tag[2:len(tag)-1], " \t\r\n")
	if s.outside() || string(name) != s.open[len(s.open)-1] {
		return s.failedf("end tag %q ends nothing that is open", clip(string(name)))
	}
	return s.pop()
}

func (s *xmlScanner) pop() error {
	s.open = s.open[:len(s.open)-1]
	s.ended = s.outside()
	return nil
}

func (s *xmlScanner) scanInstruction() error {
	raw, err := s.through(len("<?"), "?>")
	if err != nil {
		return err
	}
	target := raw[2 : len(raw)-2]
	if n := nameLength(target); n == 0 || n < len(target) && !isSpace(target[n]) {
		return s.failedf("malformed processing instruction")
	} else if bytes.EqualFold(target[:n], []byte("xml")) {
		return s.failedf("a declaration that does not begin the document")
	}
	return s.legal(raw)
}

func (s *xmlScanner) scanDeclaration() (xmlToken, bool, error) {
	const comment, section = "<!--", "<![CDATA["
	switch err := s.need(len(section)); {
	case s.hasPrefix(comment):
		return 0, false, s.scanComment()
	case err != nil:
		return 0, false, err
	case !s.hasPrefix(section):
		return 0, false, s.failed(ErrDoctype)
	case s.outside():
		return 0, false, s.failedf("text outside the root element")
	}
	raw, err := s.through(len(section), "]]>")
	if err != nil {
		return 0, false, err
	}
	s.text, err = s.unescape(raw[len(section):len(raw)-len("]]>")], inSection)
	return xmlText, true, err
}

func (s *xmlScanner) scanComment() error {
	raw, err := s.through(len("<!--"), "-->")
	if err != nil {
		return err
	}
	raw = raw[len("<!--"):]
	if bytes.Index(raw, []byte("--")) != len(raw)-len("-->") {
		return s.failedf("-- in a comment")
	}
	return s.legal(raw)
}

// scanStart reads a start tag.
func (s *xmlScanner) scanStart() error {
	tag, err := s.tag()
	if err != nil {
		return err
	}
	if s.outside() && s.ended {
		return s.failedf("an element behind the root element")
	}
	body := tag[1 : len(tag)-1]
	if body, s.single = bytes.CutSuffix(body, []byte("/")); len(body) == 0 {
		return s.failedf("a tag without a name")
	}
	n := nameLength(body)
	if n == 0 || n < len(body) && !isSpace(body[n]) {
		return s.failedf("malformed name in tag %q", clip(string(tag)))
	}
	s.name = s.names.name(body[:n])
	s.attrs = s.attrs[:0]
	if err := s.attributes(body[n:]); err != nil {
		return err
	}
	if len(s.open) >= s.limits.Depth {
		return &LimitError{"levels of elements", int64(s.limits.Depth)}
	}
	if s.elems++; s.elems > s.limits.Elements {
		return &LimitError{"elements in a resource", int64(s.limits.Elements)}
	}
	s.open = append(s.open, s.name)
	return nil
}

// attributes reads all attributes of a tag, each of which begins with space.
func (s *xmlScanner) attributes(b []byte) error {
	for {
		trimmed := trimSpace(b)
		if len(trimmed) == 0 {
			return nil
		}
		n := nameLength(trimmed)
		if n == 0 || len(trimmed) == len(b) {
			return s.failedf("malformed attribute in tag %q", s.name)
		}
		name := s.names.name(trimmed[:n])
		rest, ok := bytes.CutPrefix(trimSpace(trimmed[n:]), []byte("="))
		if rest = trimSpace(rest); !ok || len(rest) == 0 || rest[0] != '"' && rest[0] != '\'' {
			return s.failedf("attribute %s has no value in quotes", clip(name))
		}
		end := bytes.IndexByte(rest[1:], rest[0])
		if end < 0 {
			return s.failedf("attribute %s has no value in quotes", clip(name))
		}
		if err := s.attribute(name, rest[1:1+end]); err != nil {
			return err
		}
		b = rest[end+2:]
	}
}

func (s *xmlScanner) attribute(name string, raw []byte) error {
	if len(s.attrs) >= s.limits.Attributes {
		return &LimitError{"attributes of an element", int64(s.limits.Attributes)}
	}
	for i := range s.attrs {
		if s.attrs[i].Name == name {
			return s.failedf("attribute %s stands twice in tag %s", clip(name), clip(s.name))
		}
	}
	if bytes.IndexByte(raw, '<') >= 0 {
		return s.failedf("< in the value of attribute %s", clip(name))
	}
	raw, err := s.unescape(raw, inAttribute)
	if err != nil {
		return err
	}
	s.attrs = append(s.attrs, Attribute{name, s.values.string(raw)})
	return nil
}

// xmlPlace is where characters stand.
type xmlPlace uint8

const (
	inText xmlPlace = iota
	inAttribute
	inSection // where nothing is escaped
)

// unescape resolves references and ends of lines, and turns white space that
// is written plainly in an attribute into blanks. The result is valid until
// the next call.
func (s *xmlScanner) unescape(raw []byte, place xmlPlace) ([]byte, error) {
	for _, c := range raw {
		if c < ' ' && (c != '\n' && c != '\t' || place == inAttribute) || c == '&' || c >= utf8.RuneSelf {
			return s.rewrite(raw, place)
		}
	}
	return raw, nil
}

// rewrite is the slow way of unescape.
func (s *xmlScanner) rewrite(raw []byte, place xmlPlace) ([]byte, error) {
	out := s.slow[:0]
	for i := 0; i < len(raw); {
		r, n := rune(raw[i]), 1
		switch {
		case r == '&' && place != inSection:
			if r, n = reference(raw[i:]); n == 0 {
				return nil, s.failedf("malformed reference %q", clip(string(raw[i:min(len(raw), i+16)])))
			}
		case r == '\r':
			r = '\n'
			if i+1 < len(raw) && raw[i+1] == '\n' {
				n = 2
			}
		case r >= utf8.RuneSelf:
			if r, n = utf8.DecodeRune(raw[i:]); r == utf8.RuneError && n == 1 {
				return nil, s.failedf("a byte that is not UTF-8")
			}
		}
		if !isXMLRune(r) {
			return nil, s.failedf("a character that XML does not allow, %U", r)
		}
		if place == inAttribute && isSpace(raw[i]) {
			r = ' '
		}
		out = utf8.AppendRune(out, r)
		i += n
	}
	s.slow = out
	return out, nil
}

// legal checks the characters of what is skipped.
func (s *xmlScanner) legal(raw []byte) error {
	_, err := s.unescape(raw, inSection)
	return err
}

// reference reads a reference to a character or to one of the five entities
// that need no declaration, and returns its length, 0 if it is none.
func reference(b []byte) (rune, int) {
	end := bytes.IndexByte(b[:min(len(b), 16)], ';')
	if end < 2 {
		return 0, 0
	}
	name := string(b[1:end])
	switch name {
	case "amp":
		return '&', end + 1
	case "lt":
		return '<', end + 1
	case "gt":
		return '>', end + 1
	case "quot":
		return '"', end + 1
	case "apos":
		return '\'', end + 1
	}
	if name[0] != '#' {
		return 0, 0
	}
	digits, base := name[1:], 10
	if len(digits) > 0 && digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || !isXMLRune(rune(n)) || n > utf8.MaxRune {
		return 0, 0
	}
	return rune(n), end + 1
}

// isXMLRune reports whether XML 1.0 allows a character.
func isXMLRune(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' ||
		r >= ' ' && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= utf8.MaxRune
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}

// nameLength returns how many bytes at the beginning of b are a name with at
// most one colon, not at an end; 0 if there is none, or one beyond ASCII.
func nameLength(b []byte) int {
	colons, n := 0, 0
	for ; n < len(b) && isNameByte(b[n], n); n++ {
		if b[n] == ':' {
			colons++
		}
	}
	if colons > 1 || n > 0 && b[n-1] == ':' || n < len(b) && b[n] >= utf8.RuneSelf {
		return 0
	}
	return n
}

// isNameByte reports whether an ASCII name may have c at index i.
func isNameByte(c byte, i int) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' ||
		i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.' || c == ':')
}
