package resolve

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// canonical returns a text that is the same for equal values only. The value
// is valid JSON, or none.
func canonical(raw string) string {
	w := walker{json: raw}
	return string(w.appendValue(nil))
}

// walker writes a value in its canonical form in one pass over it.
type walker struct {
	json string
	at   int
}

// member is a field of an object: its name, and where its canonical form is.
type member struct {
	name     string
	from, to int
}

func (w *walker) appendValue(dst []byte) []byte {
	if w.skipTo(); w.at >= len(w.json) {
		return dst
	}
	switch w.json[w.at] {
	case '{':
		return w.appendObject(dst)
	case '[':
		return w.appendArray(dst)
	case '"':
		return appendText(dst, text(w.token()))
	}
	raw := w.token()
	if kindOf(raw) == kindNumber {
		return parseDecimal(raw).appendText(dst)
	}
	return append(dst, raw...)
}

// skipTo steps over what separates values.
func (w *walker) skipTo() {
	for w.at < len(w.json) && (w.json[w.at] <= ' ' || w.json[w.at] == ',' || w.json[w.at] == ':') {
		w.at++
	}
}

// more reports whether something other than the closing bracket follows; that
// it steps over.
func (w *walker) more(closing byte) bool {
	if w.skipTo(); w.at >= len(w.json) {
		return false
	}
	if w.json[w.at] == closing {
		w.at++
		return false
	}
	return true
}

// token returns the string, number or word that begins here.
func (w *walker) token() string {
	from := w.at
	if w.json[from] == '"' {
		for w.at++; w.at < len(w.json) && w.json[w.at] != '"'; w.at++ {
			if w.json[w.at] == '\\' {
				w.at++
			}
		}
		w.at = min(w.at+1, len(w.json))
		return w.json[from:w.at]
	}
	for w.at++; w.at < len(w.json) && w.json[w.at] > ' ' && !strings.ContainsRune(",:]}", rune(w.json[w.at])); w.at++ {
	}
	return w.json[from:w.at]
}

func (w *walker) appendArray(dst []byte) []byte {
	w.at++
	for dst = append(dst, '['); w.more(']'); {
		dst = append(w.appendValue(dst), ',')
	}
	return append(dst, ']')
}

// appendObject writes the fields in the order of their names. Of duplicate
// names the first counts.
func (w *walker) appendObject(dst []byte) []byte {
	w.at++
	dst = append(dst, '{')
	var members []member
	start := len(dst)
	for w.more('}') {
		m := member{name: text(w.token()), from: len(dst)}
		dst = w.appendValue(appendText(dst, m.name))
		m.to = len(dst)
		members = append(members, m)
	}
	byName := func(a, b member) int { return strings.Compare(a.name, b.name) }
	sameName := func(a, b member) bool { return a.name == b.name }
	ordered := slices.IsSortedFunc(members, byName)
	count := len(members)
	if !ordered {
		slices.SortStableFunc(members, byName)
	}
	if members = slices.CompactFunc(members, sameName); ordered && len(members) == count {
		return append(dst, '}')
	}
	written := slices.Clone(dst[start:])
	dst = dst[:start]
	for _, m := range members {
		dst = append(dst, written[m.from-start:m.to-start]...)
	}
	return append(dst, '}')
}

// appendText writes a text so that it cannot be taken for another one.
func appendText(dst []byte, s string) []byte {
	dst = strconv.AppendInt(append(dst, '"'), int64(len(s)), 10)
	return append(append(dst, ':'), s...)
}

// text returns what a JSON string says.
func text(raw string) string { return gjson.Parse(raw).Str }
