package s3

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// jsonOf returns the value that the attribute value stands for: JSON if it is
// that, else the text itself as a string.
func jsonOf(text string) json.RawMessage {
	if !readsAsJSON(text) || !json.Valid([]byte(text)) {
		return appendString(nil, text)
	}
	return canonical(gjson.Parse(text))
}

// readsAsJSON reports whether an importer would take a text for JSON, NaN and
// infinities included, which are JSON to Python alone.
func readsAsJSON(text string) bool {
	trimmed := strings.TrimLeft(text, " \t\r\n")
	if trimmed == "" {
		return false
	}
	switch c := trimmed[0]; {
	case c >= '0' && c <= '9', strings.IndexByte("-\"{[tfn", c) >= 0:
		trimmed = strings.TrimRight(trimmed, " \t\r\n")
		return trimmed == "-Infinity" || json.Valid([]byte(text))
	case c == 'N' || c == 'I':
		trimmed = strings.TrimRight(trimmed, " \t\r\n")
		return trimmed == "NaN" || trimmed == "Infinity"
	}
	return false
}

// canonical returns a value with its strings, if it is one, escaped as little
// as possible and without white space around its parts.
func canonical(v gjson.Result) json.RawMessage {
	switch {
	case v.Type == gjson.String:
		return appendString(nil, v.String())
	case v.Type == gjson.JSON && strings.ContainsAny(v.Raw, " \t\r\n"):
		var b bytes.Buffer
		if json.Compact(&b, []byte(v.Raw)) == nil {
			return b.Bytes()
		}
	}
	return json.RawMessage(strings.TrimSpace(v.Raw))
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string. What is not UTF-8 stays as it is.
func appendString(b []byte, s string) []byte {
	return append(appendEscaped(append(b, '"'), s), '"')
}

func appendEscaped(b []byte, s string) []byte {
	done := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[done:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		done = i + 1
	}
	return append(b, s[done:]...)
}

// appendStrings appends a JSON list of strings.
func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendMember appends the name of a member, behind a comma unless it is the
// first of its object.
func appendMember(b []byte, prefix, name string) []byte {
	b = append(append(appendComma(b), '"'), prefix...)
	return append(appendEscaped(b, name), '"', ':')
}

// appendComma appends a comma unless an object or a list has just begun.
func appendComma(b []byte) []byte {
	if c := b[len(b)-1]; c != '{' && c != '[' {
		b = append(b, ',')
	}
	return b
}
