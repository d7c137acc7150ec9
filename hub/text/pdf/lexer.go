package pdf

import (
	"bytes"
	"strconv"
)

// object is nil, a bool, a float64, or one of the following.
type object any

type (
	name     string
	str      string // bytes of a literal or hexadecimal string
	dict     map[name]object
	array    []object
	ref      int    // number of an object elsewhere
	operator string // any other word, and closing brackets
)

// stream is a dictionary with bytes, packed as it says.
type stream struct {
	dict   dict
	packed []byte
}

const (
	// maxDepth is how deep arrays and dictionaries nest; brackets below that
	// are operators.
	maxDepth = 64
	// maxValues is how many values one object consists of.
	maxValues = 1 << 20
)

// lexer reads objects, of a file or of what a page draws. Nothing is an error:
// what cannot be read is left out.
type lexer struct {
	data   []byte
	at     int
	depth  int
	values int // read so far
	budget *budget
}

// next returns the next object; false at the end.
func (l *lexer) next() (object, bool) {
	from := l.at
	l.space()
	l.values++
	if l.at >= len(l.data) {
		return nil, false
	}
	o := l.object(l.data[l.at])
	return o, l.budget.work(l.at - from)
}

// object reads the one that begins with c.
func (l *lexer) object(c byte) object {
	switch c {
	case '/':
		l.at++
		return name(unescapeName(l.word()))
	case '(':
		return l.literal()
	case '<':
		if l.follows('<') {
			return l.dictionary()
		}
		return l.hexadecimal()
	case '[':
		if l.depth < maxDepth {
			l.at++
			return array(l.list())
		}
	case '>':
		if l.follows('>') {
			l.at += 2
			return operator(">>")
		}
	}
	if isDelimiter(c) {
		l.at++
		return operator(c)
	}
	return word(l.word())
}

func (l *lexer) follows(c byte) bool { return l.at+1 < len(l.data) && l.data[l.at+1] == c }

// space skips white space and comments.
func (l *lexer) space() {
	for l.at < len(l.data) {
		switch c := l.data[l.at]; {
		case isSpace(c):
			l.at++
		case c == '%':
			end := bytes.IndexAny(l.data[l.at:], "\r\n")
			if end < 0 {
				l.at = len(l.data)
				return
			}
			l.at += end
		default:
			return
		}
	}
}

// word takes regular characters.
func (l *lexer) word() []byte {
	from := l.at
	for l.at < len(l.data) && !isSpace(l.data[l.at]) && !isDelimiter(l.data[l.at]) {
		l.at++
	}
	return l.data[from:l.at]
}

// list reads up to the next closing bracket of any kind.
func (l *lexer) list() (list []object) {
	l.depth++
	defer func() { l.depth-- }()
	for {
		o, ok := l.next()
		if !ok || o == operator("]") || o == operator(">>") {
			return list
		}
		if n := len(list); o == operator("R") && n >= 2 {
			if number, ok := list[n-2].(float64); ok {
				list = append(list[:n-2], ref(number))
				continue
			}
		}
		if l.values < maxValues {
			list = append(list, o)
		}
	}
}

func (l *lexer) dictionary() object {
	l.at += 2
	if l.depth >= maxDepth {
		return operator("<<")
	}
	list := l.list()
	d := make(dict, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		if key, ok := list[i].(name); ok {
			d[key] = list[i+1]
		}
	}
	return d
}

// literal reads a string in parentheses, which may nest.
func (l *lexer) literal() str {
	var text []byte
	open := 0
	for ; l.at < len(l.data); l.at++ {
		c := l.data[l.at]
		switch c {
		case '(':
			if open++; open == 1 {
				continue
			}
		case ')':
			if open--; open == 0 {
				l.at++
				return str(text)
			}
		case '\\':
			text = l.escape(text)
			continue
		}
		text = append(text, c)
	}
	return str(text)
}

// escape reads what a backslash begins, up to its last byte.
func (l *lexer) escape(text []byte) []byte {
	if l.at++; l.at >= len(l.data) {
		return text
	}
	c := l.data[l.at]
	switch c {
	case 'n':
		return append(text, '\n')
	case 'r':
		return append(text, '\r')
	case 't':
		return append(text, '\t')
	case 'b':
		return append(text, '\b')
	case 'f':
		return append(text, '\f')
	case '\r':
		if l.follows('\n') {
			l.at++
		}
		return text
	case '\n':
		return text
	}
	if c < '0' || c > '7' {
		return append(text, c)
	}
	code := int(c - '0')
	for range 2 {
		if l.at+1 >= len(l.data) || l.data[l.at+1] < '0' || l.data[l.at+1] > '7' {
			break
		}
		l.at++
		code = code*8 + int(l.data[l.at]-'0')
	}
	return append(text, byte(code))
}

// hexadecimal reads a string in angle brackets.
func (l *lexer) hexadecimal() str {
	end := bytes.IndexByte(l.data[l.at:], '>')
	if end < 0 {
		end = len(l.data) - l.at
	}
	digits := l.data[l.at:][1:max(end, 1)]
	l.at = min(l.at+end+1, len(l.data))
	return str(unhex(digits))
}

// unhex decodes hexadecimal digits; anything else is left out, and an odd one
// at the end counts as followed by zero.
func unhex(digits []byte) []byte {
	text := make([]byte, 0, len(digits)/2+1)
	var high byte
	half := false
	for _, c := range digits {
		d, ok := hexDigit(c)
		if !ok {
			continue
		}
		if half {
			text = append(text, high<<4|d)
		}
		high, half = d, !half
	}
	if half {
		text = append(text, high<<4)
	}
	return text
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// unescapeName decodes #xx.
func unescapeName(word []byte) []byte {
	if bytes.IndexByte(word, '#') < 0 {
		return word
	}
	var plain []byte
	for i := 0; i < len(word); i++ {
		if word[i] == '#' && i+2 < len(word) {
			plain = append(plain, unhex(word[i+1:i+3])...)
			i += 2
			continue
		}
		plain = append(plain, word[i])
	}
	return plain
}

// word is a number, a constant or an operator.
func word(w []byte) object {
	numeric := len(w) > 0
	for _, c := range w {
		numeric = numeric && ('0' <= c && c <= '9' || c == '.' || c == '-' || c == '+')
	}
	if numeric {
		n, err := strconv.ParseFloat(string(w), 64)
		if err != nil {
			return 0.0
		}
		return n
	}
	switch string(w) {
	case "true":
		return true
	case "false":
		return false
	case "null":
		return nil
	}
	return operator(w)
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == 0
}

func isDelimiter(c byte) bool {
	switch c {
	case '(', ')', '<', '>', '[', ']', '{', '}', '/', '%':
		return true
	}
	return false
}
