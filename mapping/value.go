package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// maxDepth bounds the nesting of values that are decoded for an expression.
const maxDepth = 512

var (
	errDepth  = errors.New("the value is nested too deeply")
	errFinite = errors.New("the result is not a finite number")
	errSyntax = errors.New("the data is not a JSON object")
)

// isNull reports whether raw is the JSON null.
func isNull(raw []byte) bool { return len(raw) > 0 && raw[0] == 'n' }

// text returns the content of a JSON string, which shares memory with raw if
// it holds no escapes.
func text(raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	return []byte(gjson.ParseBytes(raw).Str)
}

// number reads a JSON number: as an integer if it is written as one and fits,
// as a float otherwise, which may be infinite.
func number(raw []byte) (integer int, float float64, isInteger bool) {
	if bytes.IndexByte(raw, '.') < 0 && bytes.IndexByte(raw, 'e') < 0 && bytes.IndexByte(raw, 'E') < 0 {
		if n, err := strconv.ParseInt(string(raw), 10, strconv.IntSize); err == nil {
			return int(n), float64(n), true
		}
	}
	f, _ := strconv.ParseFloat(string(raw), 64) // out of range is an infinity
	return 0, f, false
}

// isNumber reports whether raw is a JSON number.
func isNumber(raw []byte) bool {
	return len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9')
}

// decode turns raw JSON into the values that expressions work on. The first
// of duplicate keys counts.
func decode(raw []byte, depth int) (any, error) {
	if len(raw) == 0 {
		return nil, errSyntax
	}
	switch c := raw[0]; {
	case c == '"':
		return string(text(raw)), nil
	case c == '{' || c == '[':
		if depth >= maxDepth {
			return nil, errDepth
		}
		if c == '{' {
			return decodeObject(raw, depth)
		}
		return decodeArray(raw, depth)
	case isNumber(raw):
		integer, float, ok := number(raw)
		if !ok {
			return float, nil
		}
		return integer, nil
	}
	switch string(raw) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	}
	return nil, errSyntax
}

func decodeObject(raw []byte, depth int) (any, error) {
	object := map[string]any{}
	c := cursor{data: raw}
	c.open('{')
	for {
		key, value, ok := c.field()
		if !ok {
			break
		}
		name := string(text(raw[key.from:key.to]))
		if _, duplicate := object[name]; duplicate {
			continue
		}
		v, err := decode(raw[value.from:value.to], depth+1)
		if err != nil {
			return nil, err
		}
		object[name] = v
	}
	if c.bad {
		return nil, errSyntax
	}
	return object, nil
}

func decodeArray(raw []byte, depth int) (any, error) {
	array := []any{}
	c := cursor{data: raw}
	c.open('[')
	for {
		value, ok := c.element()
		if !ok {
			break
		}
		v, err := decode(raw[value.from:value.to], depth+1)
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	if c.bad {
		return nil, errSyntax
	}
	return array, nil
}

// appendValue appends v as JSON.
func appendValue(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case string:
		return appendString(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case float64:
		return appendFloat(dst, v)
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return dst, err
	}
	return append(dst, bytes.TrimRight(buffer.Bytes(), "\n")...), nil
}

// appendFloat writes numbers as encoding/json does.
func appendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return dst, errFinite
	}
	format := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1e-6 || size >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64), nil
}

// appendString writes a JSON string; bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}
