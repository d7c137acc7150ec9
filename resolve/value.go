package resolve

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

const (
	// maxDepth bounds the nesting of data; shorter data cannot reach it.
	maxDepth = 4096
	// indexFrom is the number of fields from which on they are looked up in a
	// hash table.
	indexFrom = 24
)

var (
	errObject = errors.New("the data is not a JSON object")
	errJSON   = errors.New("the value is not valid JSON")
	errDepth  = fmt.Errorf("the data is nested deeper than %d levels", maxDepth)
)

// field is a top-level field: its name, and key and value as they are written.
type field struct{ name, key, raw string }

// object is a parsed record. Of duplicate keys the first counts.
type object struct {
	fields []field
	index  map[string]int
}

// parseRecord is parse for data that must be there.
func parseRecord(data []byte) (object, error) {
	if len(data) == 0 {
		return object{}, errObject
	}
	return parse(data)
}

// parse reads the fields of a JSON object; no data is an object without any.
func parse(data []byte) (object, error) {
	var o object
	if len(data) == 0 {
		return o, nil
	}
	text := string(data)
	if err := check(text); err != nil {
		return o, err
	}
	root := gjson.Parse(text)
	if !root.IsObject() {
		return o, errObject
	}
	o.fields = make([]field, 0, 16)
	root.ForEach(func(key, value gjson.Result) bool {
		if _, duplicate := o.get(key.Str); !duplicate {
			if o.index != nil {
				o.index[key.Str] = len(o.fields)
			}
			o.fields = append(o.fields, field{key.Str, key.Raw, value.Raw})
			if len(o.fields) == indexFrom {
				o.buildIndex()
			}
		}
		return true
	})
	return o, nil
}

func (o *object) buildIndex() {
	o.index = make(map[string]int, 2*len(o.fields))
	for i := range o.fields {
		o.index[o.fields[i].name] = i
	}
}

// find returns the place of a field, or -1.
func (o *object) find(name string) int {
	if o.index != nil {
		if i, known := o.index[name]; known {
			return i
		}
		return -1
	}
	for i := range o.fields {
		if o.fields[i].name == name {
			return i
		}
	}
	return -1
}

func (o *object) get(name string) (raw string, ok bool) {
	if i := o.find(name); i >= 0 {
		return o.fields[i].raw, true
	}
	return "", false
}

// validObject refuses what is not a JSON object, without taking it apart.
func validObject(data []byte) error {
	switch {
	case len(data) > maxDepth && tooDeep(string(data)):
		return errDepth
	case !gjson.ValidBytes(data):
		return errJSON
	case bytes.TrimLeft(data, " \t\r\n")[0] != '{':
		return errObject
	}
	return nil
}

// check refuses what is not valid JSON or is nested too deeply.
func check(text string) error {
	if len(text) > maxDepth && tooDeep(text) {
		return errDepth
	}
	if !gjson.Valid(text) {
		return errJSON
	}
	return nil
}

func tooDeep(text string) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
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

// equal reports whether two values mean the same: order of keys, white space,
// escapes and the spelling of numbers do not count.
func equal(a, b string) bool {
	if a == b {
		return true
	}
	if a == "" || b == "" || kindOf(a) != kindOf(b) {
		return false
	}
	return canonical(a) == canonical(b)
}

// canonical returns a text that is the same for equal values only.
func canonical(raw string) string {
	if raw == "" {
		return ""
	}
	return string(appendCanonical(nil, raw))
}

func appendCanonical(dst []byte, raw string) []byte {
	switch kindOf(raw) {
	case kindObject:
		var fields []field
		gjson.Parse(raw).ForEach(func(key, value gjson.Result) bool {
			fields = append(fields, field{name: key.Str, raw: value.Raw})
			return true
		})
		slices.SortStableFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
		fields = slices.CompactFunc(fields, func(a, b field) bool { return a.name == b.name })
		dst = append(dst, '{')
		for _, f := range fields {
			dst = appendCanonical(appendText(dst, f.name), f.raw)
		}
		return append(dst, '}')
	case kindArray:
		dst = append(dst, '[')
		gjson.Parse(raw).ForEach(func(_, value gjson.Result) bool {
			dst = append(appendCanonical(dst, value.Raw), ',')
			return true
		})
		return append(dst, ']')
	case kindString:
		return appendText(dst, text(raw))
	case kindNumber:
		return parseDecimal(raw).appendText(dst)
	}
	return append(dst, raw...)
}

// appendText writes a text so that it cannot be taken for another one.
func appendText(dst []byte, s string) []byte {
	dst = strconv.AppendInt(append(dst, '"'), int64(len(s)), 10)
	return append(append(dst, ':'), s...)
}

// text returns what a JSON string says.
func text(raw string) string { return gjson.Parse(raw).Str }

// kind is the type of a JSON value, in the order in which values of different
// types are ranked.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindDate // only as a rank, see rank
	kindString
	kindArray
	kindObject
)

// kindOf returns the kind of a value; none counts as null.
func kindOf(raw string) kind {
	if raw == "" {
		return kindNull
	}
	switch raw[0] {
	case '{':
		return kindObject
	case '[':
		return kindArray
	case '"':
		return kindString
	case 't', 'f':
		return kindBool
	case 'n':
		return kindNull
	}
	return kindNumber
}

// order compares two values by size: numbers, dates and strings. Values of
// other types, or of two types, are ordered as well, so that replicas agree,
// but sized is false.
func order(a, b string) (c int, sized bool) {
	ka, at := rank(a)
	kb, bt := rank(b)
	if ka != kb {
		return int(ka) - int(kb), false
	}
	switch ka {
	case kindNumber:
		c, sized = parseDecimal(a).compare(parseDecimal(b)), true
	case kindDate:
		c, sized = at.Compare(bt), true
	case kindString:
		c, sized = strings.Compare(text(a), text(b)), true
	}
	if c == 0 {
		c = strings.Compare(canonical(a), canonical(b))
	}
	return c, sized
}

// rank tells dates (RFC 3339: a day, or a day with a time) from other strings.
func rank(raw string) (kind, time.Time) {
	k := kindOf(raw)
	if k != kindString || len(raw) < len(`"2006-01-02"`) || raw[5] != '-' {
		return k, time.Time{}
	}
	s := text(raw)
	for _, layout := range [...]string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return kindDate, t
		}
	}
	return k, time.Time{}
}

// orderByLength compares two strings by their number of characters; anything
// else is shorter than every string, and sized is false.
func orderByLength(a, b string) (c int, sized bool) {
	isA, isB := kindOf(a) == kindString, kindOf(b) == kindString
	switch {
	case isA && isB:
		c = utf8.RuneCountInString(text(a)) - utf8.RuneCountInString(text(b))
	case isA:
		return 1, false
	case isB:
		return -1, false
	}
	if c == 0 {
		c = strings.Compare(canonical(a), canonical(b))
	}
	return c, isA && isB
}
