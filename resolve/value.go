package resolve

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

const (
	// maxDepth bounds the nesting of data; shorter data cannot reach it.
	maxDepth = 512
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
func parse(data []byte) (object, error) { return object{}.parse(data) }

// empty returns an object without fields that has the memory of o.
func (o object) empty() object {
	clear(o.fields)
	return object{fields: o.fields[:0]}
}

// parse is the function of that name; it takes over the memory of o, which is
// empty.
func (o object) parse(data []byte) (object, error) {
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
	if o.fields == nil {
		o.fields = make([]field, 0, 16)
	}
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
