package hub

import (
	"slices"

	"github.com/tidwall/gjson"
)

const (
	// maxFieldBytes is the longest name, and the longest value, that filters
	// and facets see; longer ones are text.
	maxFieldBytes = 256
	// maxFieldValues is how many values of one record they see.
	maxFieldValues = 256
)

// fieldValues encodes what filters and facets see of a record's data: the
// short texts, numbers and booleans at its top, alone or in an array. Each is a
// name and a value, a value that an array repeats is there once.
func fieldValues(data []byte) (pairs []byte) {
	left := maxFieldValues
	var seen []string // in the array at hand
	gjson.ParseBytes(data).ForEach(func(name, value gjson.Result) bool {
		if len(name.Str) > maxFieldBytes {
			return true
		}
		add := func(_, value gjson.Result) bool {
			if text, ok := fieldValue(value); ok && !slices.Contains(seen, text) {
				pairs = appendSized(appendSized(pairs, name.Str), text)
				seen = append(seen, text)
				left--
			}
			return left > 0
		}
		if seen = seen[:0]; value.IsArray() {
			value.ForEach(add)
		} else {
			add(name, value)
		}
		return left > 0
	})
	return pairs
}

// fieldValue returns a scalar as filters name it: texts as they are, numbers as
// they are written.
func fieldValue(value gjson.Result) (text string, ok bool) {
	switch value.Type {
	case gjson.String:
		text = value.Str
	case gjson.Number, gjson.True, gjson.False:
		text = value.Raw
	case gjson.Null, gjson.JSON:
		return "", false
	}
	return text, len(text) <= maxFieldBytes
}

// eachField hands the pairs of fieldValues out, as views.
func eachField(pairs []byte, fn func(name, value []byte)) error {
	d := decoder{rest: pairs}
	for len(d.rest) > 0 {
		name, value := d.sized(), d.sized()
		if d.err != nil {
			return d.err
		}
		fn(name, value)
	}
	return nil
}
