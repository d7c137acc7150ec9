package pushapi

import (
	"strings"
)

// FieldKind says what a field of a form is.
type FieldKind uint8

// The kinds of fields.
const (
	// FieldParameter is not part of a document: Name is the whole name.
	FieldParameter FieldKind = iota
	FieldURI
	FieldStamp
	FieldMeta
	// FieldDirective is a directive of a document, also one of those that are
	// written without the prefix, and whatever is not known.
	FieldDirective
	FieldPartDirective
	FieldPartBytes
)

// Field is the name of one field of a form, PAPI_DOC:KIND[:PART][:NAME].
type Field struct {
	Kind FieldKind
	// Doc groups the fields of one document within a request.
	Doc string
	// Part is the name of the part concerned.
	Part string
	// Name of the meta, the directive or the parameter.
	Name string
}

const fieldPrefix = "PAPI_"

// ParseField reads the name of a field. What decides is the name alone, never
// a file name beside it. Part and Name may come out empty: [FormDecoder] sees
// to that.
func ParseField(name string) Field {
	rest, ok := strings.CutPrefix(name, fieldPrefix)
	doc, rest, found := strings.Cut(rest, ":")
	if !ok || !found || !isDocID(doc) {
		return Field{Kind: FieldParameter, Name: name}
	}
	kind, argument, _ := strings.Cut(rest, ":")
	f := Field{Doc: doc}
	switch {
	case rest == "uri":
		f.Kind = FieldURI
	case rest == "stamp":
		f.Kind = FieldStamp
	case kind == "meta":
		f.Kind, f.Name = FieldMeta, argument
	case kind == "directive":
		f.Kind, f.Name = FieldDirective, argument
	case kind == "part_directive":
		f.Kind = FieldPartDirective
		f.Part, f.Name, _ = strings.Cut(argument, ":")
	case kind == "part_bytes":
		f.Kind, f.Part = FieldPartBytes, argument
	default:
		f.Kind, f.Name = FieldDirective, rest
	}
	return f
}

// isDocID reports whether text groups fields: [A-Za-z0-9_.-]+, at most 128.
func isDocID(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return text != "" && len(text) <= 128
}

// String returns the name on the wire.
func (f Field) String() string {
	doc := fieldPrefix + f.Doc + ":"
	switch f.Kind {
	case FieldURI:
		return doc + "uri"
	case FieldStamp:
		return doc + "stamp"
	case FieldMeta:
		return doc + "meta:" + f.Name
	case FieldDirective:
		if f.Name == DirectiveForcedDid || f.Name == DirectiveForcedSlice {
			return doc + f.Name
		}
		return doc + "directive:" + f.Name
	case FieldPartDirective:
		return doc + "part_directive:" + f.Part + ":" + f.Name
	case FieldPartBytes:
		return doc + "part_bytes:" + f.Part
	}
	return f.Name
}
