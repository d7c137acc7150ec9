package s3

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// xmlWriter appends S3XML.
type xmlWriter struct {
	times TimeForm
	b     []byte
	err   error // the first problem of what is being written
}

func (w *xmlWriter) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// append runs write over b and returns what came of it.
func (w *xmlWriter) append(b []byte, write func()) ([]byte, error) {
	w.b, w.err = b, nil
	write()
	return w.b, w.err
}

func (w *xmlWriter) open(b []byte, d Document) ([]byte, error) {
	return w.append(b, func() {
		w.literal("<?xml version='1.0' encoding='utf-8'?>\n<s3xml")
		for _, a := range d.Attributes {
			w.attribute(a.Name, a.Value)
		}
		w.unique("s3xml", d.Attributes)
		w.literal(">")
	})
}

func (w *xmlWriter) resource(b []byte, r *Resource) ([]byte, error) {
	return w.append(b, func() { w.element(r) })
}

func (w *xmlWriter) close(b []byte) []byte { return append(b, "</s3xml>\n"...) }

func (w *xmlWriter) literal(text string) { w.b = append(w.b, text...) }

func (w *xmlWriter) element(r *Resource) {
	if r.Name == "" {
		w.fail("a resource without a name")
	}
	w.literal("<resource")
	w.attribute("name", r.Name)
	r.attributes(w.times, w.attribute)
	w.unique("resource", r.Other)
	if len(r.Fields)+len(r.References)+len(r.Components) == 0 {
		w.literal("/>")
		return
	}
	w.literal(">")
	for i := range r.Fields {
		w.data(&r.Fields[i])
	}
	for i := range r.References {
		w.reference(&r.References[i])
	}
	for i := range r.Components {
		w.element(&r.Components[i])
	}
	w.literal("</resource>")
}

func (w *xmlWriter) data(f *Field) {
	if f.Name == "" {
		w.fail("a field without a name")
	}
	w.literal("<data")
	w.attribute("field", f.Name)
	if f.Value != nil {
		w.value(f)
	}
	f.attributes(w.attribute)
	w.unique("data", f.Other)
	w.body(f.Text, nil, "</data>")
}

// value writes a JSON value, a string without quotes if it is taken for the
// same string then.
func (w *xmlWriter) value(f *Field) {
	if !json.Valid(f.Value) {
		w.fail("the value of field %q is not JSON", clip(f.Name))
		return
	}
	value := gjson.ParseBytes(f.Value)
	text := value.Raw
	if plain := value.String(); value.Type == gjson.String && !readsAsJSON(plain) && isXMLText(plain) {
		text = plain
	}
	w.attribute("value", text)
}

func (w *xmlWriter) reference(f *Reference) {
	if f.Field == "" {
		w.fail("a reference without a field")
	}
	w.literal("<reference")
	w.attribute("field", f.Field)
	if f.Resource != "" {
		w.attribute("resource", f.Resource)
	}
	if f.UUIDs != nil {
		w.attribute("uuid", string(appendStrings(nil, f.UUIDs)))
	} else if f.UUID != "" {
		w.attribute("uuid", f.UUID)
	}
	f.attributes(w.attribute)
	w.unique("reference", f.Other)
	w.body(f.Text, f.Inline, "</reference>")
}

func (w *xmlWriter) body(text string, inline []Resource, end string) {
	if text == "" && len(inline) == 0 {
		w.literal("/>")
		return
	}
	w.literal(">")
	w.escape(text, false)
	for i := range inline {
		w.element(&inline[i])
	}
	w.literal(end)
}

// unique checks attributes that have no member of their own.
func (w *xmlWriter) unique(element string, other []Attribute) {
	if len(other) > 0 && w.err == nil {
		w.err = checkOther(element, other)
	}
}

func (w *xmlWriter) attribute(name, value string) {
	w.b = append(append(append(w.b, ' '), name...), '=', '"')
	w.escape(value, true)
	w.b = append(w.b, '"')
}

// escape writes text so that it is read back byte for byte.
func (w *xmlWriter) escape(text string, attribute bool) {
	done := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '&' && c != '<' && c != '>' && c != '"' {
			continue
		}
		var escaped string
		switch {
		case c == '&':
			escaped = "&amp;"
		case c == '<':
			escaped = "&lt;"
		case c == '>':
			escaped = "&gt;"
		case c == '"' && attribute:
			escaped = "&quot;"
		case c == '\r':
			escaped = "&#13;"
		case c == '\n' && attribute:
			escaped = "&#10;"
		case c == '\t' && attribute:
			escaped = "&#9;"
		default:
			r, n := utf8.DecodeRuneInString(text[i:])
			if r == utf8.RuneError && n == 1 || !isXMLRune(r) {
				w.fail("%q holds a character that XML does not allow, %U", clip(text[i:]), r)
			}
			i += n - 1
			continue
		}
		w.b = append(append(w.b, text[done:i]...), escaped...)
		done = i + 1
	}
	w.b = append(w.b, text[done:]...)
}

// isXMLText reports whether XML can carry a text.
func isXMLText(text string) bool {
	for i, r := range text {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(text[i:]); n == 1 {
				return false
			}
		}
		if !isXMLRune(r) {
			return false
		}
	}
	return true
}

// checkOther says whether attributes can stand beside those that an element
// has members for.
func checkOther(element string, other []Attribute) error {
	seen := make(map[string]bool, len(other))
	for _, a := range other {
		if n := nameLength([]byte(a.Name)); n == 0 || n < len(a.Name) {
			return fmt.Errorf("%q is no name of an attribute", clip(a.Name))
		}
		if seen[a.Name] || known(element, a.Name) {
			return fmt.Errorf("attribute %q of a %s stands twice", clip(a.Name), element)
		}
		seen[a.Name] = true
	}
	return nil
}
