package s3

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// FieldType is the type of a field as an Eden names it.
type FieldType string

// The types of fields that travel in data elements. References are elements of
// their own; blobs do not travel.
const (
	TypeString      FieldType = "string"
	TypeText        FieldType = "text"
	TypeInteger     FieldType = "integer"
	TypeDouble      FieldType = "double"
	TypeDecimal     FieldType = "decimal"
	TypeBoolean     FieldType = "boolean"
	TypeDate        FieldType = "date"
	TypeTime        FieldType = "time"
	TypeDateTime    FieldType = "datetime"
	TypeListString  FieldType = "list:string"
	TypeListInteger FieldType = "list:integer"
	TypeJSON        FieldType = "json"
	TypePassword    FieldType = "password"
)

// ErrNoValue is returned by [Field.Read] for a field that leaves what is stored
// as it is.
var ErrNoValue = errors.New("the field has no value")

// Read returns what an importer understands by the field, as JSON in the form
// natural to its type: text as a string, numbers and booleans as such, dates as
// YYYY-MM-DD, times as HH:MM:SS, dates with times as [FormatTime] writes them
// naively, lists as lists. The value wins over the text. An empty text is "" to
// strings, texts and passwords, and [ErrNoValue] to all else; null is an error
// to all types. Any other error is a value that its type does not allow.
//
// With [RulesEden] numbers and booleans become strings as Python prints them,
// and the text None, which is what null in S3JSON becomes, is a true boolean.
func (f *Field) Read(t FieldType, rules Rules) (json.RawMessage, error) {
	v := gjson.ParseBytes(f.Value)
	if f.Value == nil {
		v = gjson.Result{Type: gjson.String, Str: f.Text}
	}
	switch {
	case v.Type == gjson.Null:
		return nil, fmt.Errorf("field %s: null is no value", f.Name)
	case t == TypeString || t == TypeText || t == TypePassword:
		return appendString(nil, scalarText(v, rules)), nil
	case v.Type == gjson.String && v.Str == "":
		return nil, ErrNoValue
	}
	out, ok := readTyped(v, t, rules)
	if !ok {
		return nil, fmt.Errorf("field %s: %q is no %s", f.Name, clip(scalarText(v, RulesPlain)), t)
	}
	return out, nil
}

// readTyped reads a value of a type that is not just text.
func readTyped(v gjson.Result, t FieldType, rules Rules) (out json.RawMessage, ok bool) {
	text := strings.TrimSpace(scalarText(v, RulesPlain))
	switch t {
	case TypeInteger:
		_, err := strconv.ParseInt(text, 10, 64)
		return json.RawMessage(text), err == nil && json.Valid([]byte(text))
	case TypeDouble, TypeDecimal:
		return json.RawMessage(text), isNumber(text)
	case TypeBoolean:
		return readBoolean(text, rules)
	case TypeDate, TypeDateTime:
		at, err := ParseTime(text, rules)
		form := FormatTime(at, TimeNaive)
		if t == TypeDate {
			form, _, _ = strings.Cut(form, "T")
		}
		return appendString(nil, form), err == nil && v.Type == gjson.String
	case TypeTime:
		clock, ok := parseClock(text)
		return appendString(nil, clock), ok
	case TypeListString, TypeListInteger:
		return canonical(v), v.IsArray() && elementsAre(v, t)
	case TypeJSON:
		return canonicalText(v), true
	}
	return nil, false
}

func readBoolean(text string, rules Rules) (json.RawMessage, bool) {
	switch strings.ToLower(text) {
	case "true", "1":
		return json.RawMessage("true"), true
	case "false", "0":
		return json.RawMessage("false"), true
	case "none":
		return json.RawMessage("true"), rules == RulesEden
	}
	return nil, false
}

// elementsAre reports whether the elements of a list are as its type says.
func elementsAre(list gjson.Result, t FieldType) bool {
	ok := true
	list.ForEach(func(_, v gjson.Result) bool {
		if t == TypeListString {
			ok = v.Type == gjson.String
		} else {
			_, err := strconv.ParseInt(v.Raw, 10, 64)
			ok = err == nil
		}
		return ok
	})
	return ok
}

// canonicalText is canonical also for a text that was made here.
func canonicalText(v gjson.Result) json.RawMessage {
	if v.Type == gjson.String {
		return appendString(nil, v.Str)
	}
	return canonical(v)
}

func isNumber(text string) bool {
	return text != "" && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') && json.Valid([]byte(text))
}

// scalarText returns a value as a text: a string itself, anything else as JSON
// or as Python prints it.
func scalarText(v gjson.Result, rules Rules) string {
	switch {
	case v.Type == gjson.String:
		return v.Str
	case rules == RulesEden:
		return pythonText(v)
	}
	return string(canonical(v))
}

// pythonText prints a value as Python does; objects and lists stay JSON.
func pythonText(v gjson.Result) string {
	switch v.Type {
	case gjson.String:
		return v.Str
	case gjson.True:
		return "True"
	case gjson.False:
		return "False"
	case gjson.Null:
		return "None"
	case gjson.Number:
		return pythonNumber(v.Raw)
	}
	return string(canonical(v))
}

// pythonNumber prints a JSON number: whole numbers with all digits, others as
// the shortest text of a double.
func pythonNumber(raw string) string {
	raw = strings.TrimSpace(raw)
	if !strings.ContainsAny(raw, ".eE") {
		if raw == "-0" {
			return "0"
		}
		return raw
	}
	n, err := strconv.ParseFloat(raw, 64)
	switch {
	case math.IsInf(n, 1):
		return "inf"
	case math.IsInf(n, -1):
		return "-inf"
	case err != nil:
		return raw
	}
	if size := math.Abs(n); size != 0 && (size < 1e-4 || size >= 1e16) {
		return strconv.FormatFloat(n, 'e', -1, 64)
	}
	text := strconv.FormatFloat(n, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// UploadKind says where the content of an upload comes from.
type UploadKind uint8

const (
	// UploadNone is a field that is no upload.
	UploadNone UploadKind = iota
	// UploadPart is the part of the request whose file name is Filename.
	UploadPart
	// UploadURL is a file to be fetched from URL.
	UploadURL
	// UploadLocal is a file that the importer has in its upload folder already.
	UploadLocal
)

// Upload says where the content of an upload field comes from. Content never
// stands in the document.
func (f *Field) Upload() UploadKind {
	switch {
	case f.URL == "local":
		return UploadLocal
	case f.URL != "":
		return UploadURL
	case f.Filename != "":
		return UploadPart
	}
	return UploadNone
}

// OriginalName returns the name that a file had before an Eden stored it as
// <table>.<field>.<random>.<base64 of the name>.<extension>, without any folder;
// false if stored is no such name.
func OriginalName(stored string) (string, bool) {
	parts := strings.Split(stored, ".")
	if len(parts) < 4 {
		return "", false
	}
	name, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[3], "="))
	original := path.Base(strings.ReplaceAll(string(name), `\`, "/"))
	if err != nil || original == "." || original == ".." || original == "/" || !isXMLText(original) {
		return "", false
	}
	return original, true
}

// QualifyUUID returns a uuid as it is exported: behind the name of the sender's
// domain, unless it is a URN or has a slash.
func QualifyUUID(uuid, domain string) string {
	if uuid == "" || domain == "" || strings.HasPrefix(uuid, "urn:") || strings.Contains(uuid, "/") {
		return uuid
	}
	return domain + "/" + uuid
}

// LocalUUID returns a uuid as the importer of a domain stores it: without its
// own domain.
func LocalUUID(uuid, domain string) string {
	if domain == "" {
		return uuid
	}
	return strings.TrimPrefix(uuid, domain+"/")
}
