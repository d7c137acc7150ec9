package mapping

import "bytes"

// cursor walks over one JSON object or array without decoding it. It expects
// valid JSON; anything else ends the walk with bad set and is never read out
// of bounds.
type cursor struct {
	data []byte
	at   int
	bad  bool
}

// span is a range of bytes in a cursor's data.
type span struct{ from, to int }

// open steps over white space and the opening bracket.
func (c *cursor) open(bracket byte) bool {
	c.at = skipSpace(c.data, c.at)
	if c.at >= len(c.data) || c.data[c.at] != bracket {
		c.bad = true
		return false
	}
	c.at++
	return true
}

// field returns the next key, quotes included, and its value; ok is false at
// the end, with at on the closing brace.
func (c *cursor) field() (key, value span, ok bool) {
	if !c.next('}') {
		return key, value, false
	}
	key.from = c.at
	if c.data[c.at] == '"' {
		key.to = skipString(c.data, c.at)
	}
	if key.to <= 0 {
		c.bad = true
		return key, value, false
	}
	colon := skipSpace(c.data, key.to)
	if colon >= len(c.data) || c.data[colon] != ':' {
		c.bad = true
		return key, value, false
	}
	c.at = skipSpace(c.data, colon+1)
	value, ok = c.value()
	return key, value, ok
}

// element returns the next element of an array; ok is false at the end.
func (c *cursor) element() (value span, ok bool) {
	if !c.next(']') {
		return value, false
	}
	return c.value()
}

// next steps over white space and a comma, and reports whether something
// other than the closing bracket follows.
func (c *cursor) next(closing byte) bool {
	c.at = skipSpace(c.data, c.at)
	if c.at < len(c.data) && c.data[c.at] == ',' {
		c.at = skipSpace(c.data, c.at+1)
	}
	if c.at >= len(c.data) {
		c.bad = true
		return false
	}
	return c.data[c.at] != closing
}

func (c *cursor) value() (span, bool) {
	end := skipValue(c.data, c.at)
	if end < 0 {
		c.bad = true
		return span{}, false
	}
	v := span{c.at, end}
	c.at = end
	return v, true
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && data[i] <= ' ' {
		i++
	}
	return i
}

// skipValue returns the index behind the value that begins at i, or -1.
func skipValue(data []byte, i int) int {
	if i >= len(data) {
		return -1
	}
	switch data[i] {
	case '"':
		return skipString(data, i)
	case '{', '[':
		return skipNested(data, i)
	}
	start := i
	for i < len(data) && data[i] > ' ' && data[i] != ',' && data[i] != '}' && data[i] != ']' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// skipString returns the index behind the string whose opening quote is at i,
// or -1.
func skipString(data []byte, i int) int {
	for from := i + 1; ; {
		n := bytes.IndexByte(data[from:], '"')
		if n < 0 {
			return -1
		}
		quote := from + n
		escapes := quote
		for escapes > i+1 && data[escapes-1] == '\\' {
			escapes--
		}
		if (quote-escapes)%2 == 0 {
			return quote + 1
		}
		from = quote + 1
	}
}

func skipNested(data []byte, i int) int {
	depth := 0
	for i < len(data) {
		switch data[i] {
		case '"':
			if i = skipString(data, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}
