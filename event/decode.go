package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of what is decoded. Callers may want tighter ones.
const (
	// MaxSize of an event or a batch in bytes.
	MaxSize = 64 << 20
	// MaxBatch is how many events a batch may have.
	MaxBatch = 1000
	maxDepth = 100
)

// Errors that [errors.Is] finds in those of the decoders. All errors of the
// decoders are rejections: the same bytes will never be readable.
var (
	// ErrTooLarge: there are more bytes, or events in a batch, than the bounds
	// allow.
	ErrTooLarge = errors.New("too large")
	// ErrMediaType: the content is no CloudEvent of a form that is read.
	ErrMediaType = errors.New("want application/cloudevents+json, application/cloudevents-batch+json, JSON, or attributes in headers")
)

// Decode reads one event from a JSON document: the structured form.
func Decode(doc []byte) (Event, error) {
	if err := check(doc, maxDepth); err != nil {
		return Event{}, err
	}
	return decode(doc)
}

// DecodeBatch reads a JSON list of events. If one of them cannot be read, none
// is returned.
func DecodeBatch(doc []byte) ([]Event, error) {
	if err := check(doc, maxDepth); err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(doc, &list); err != nil || list == nil {
		return nil, unreadable("a batch is a list of events")
	}
	if len(list) > MaxBatch {
		return nil, unreadable("%d events in one batch: %w: at most %d", len(list), ErrTooLarge, MaxBatch)
	}
	events := make([]Event, len(list))
	for i, doc := range list {
		var err error
		if events[i], err = decode(doc); err != nil {
			return nil, fmt.Errorf("event %d of the batch: %w", i+1, err)
		}
	}
	return events, nil
}

// check bounds a document of strangers before anything else looks at it.
func check(doc []byte, deepest int) error {
	switch {
	case len(doc) > MaxSize:
		return unreadable("%d bytes: %w: at most %d", len(doc), ErrTooLarge, MaxSize)
	case !utf8.Valid(doc):
		return unreadable("it is not UTF-8")
	case depth(doc) > deepest:
		return unreadable("its values are nested more than %d deep", deepest)
	}
	if !json.Valid(doc) {
		var value json.RawMessage
		return unreadable("%w", json.Unmarshal(doc, &value))
	}
	return nil
}

// depth returns how deep the values of a document are nested, without
// recursion.
func depth(doc []byte) (deepest int) {
	level, quoted := 0, false
	for i := 0; i < len(doc); i++ {
		switch c := doc[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// envelope is an event on its way from the wire, whatever its form.
type envelope struct {
	version string
	// attributes and extensions by their names of version 1.0.
	attributes, extensions map[string]string
	data                   json.RawMessage
	encoded                []byte // data that came as bytes
}

// isAttribute tells names that version 1.0 gives a meaning to; extensions must
// not have them.
func isAttribute(name string) bool {
	return slices.Contains([]string{"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "data", "data_base64"}, name)
}

// renamed are the names of version 0.1, in lower case, that 1.0 has changed.
var renamed = map[string]string{
	"cloudeventsversion": "specversion", "eventid": "id", "eventtype": "type", "eventtime": "time", "contenttype": "datacontenttype", "schemaurl": "dataschema",
}

// decode reads a document that was checked.
func decode(doc []byte) (Event, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(doc, &fields); err != nil || fields == nil {
		return Event{}, unreadable("a CloudEvent is a JSON object")
	}
	v := envelope{attributes: map[string]string{}, extensions: map[string]string{}}
	if fields["specversion"] != nil {
		v.version = Version1
	} else if fields["cloudEventsVersion"] != nil {
		v.version = Version01
	}
	for name, value := range fields {
		if err := v.field(name, value); err != nil {
			return Event{}, err
		}
	}
	return v.event()
}

// field takes a member of the document.
func (v *envelope) field(name string, value json.RawMessage) error {
	switch {
	case string(value) == "null":
		return nil
	case name == "data":
		v.data = value
		return nil
	case name == "data_base64":
		if value[0] != '"' || json.Unmarshal(value, &v.encoded) != nil {
			return unreadable("its data_base64 is no base64")
		}
		return nil
	case name == "extensions" && v.version == Version01:
		var extensions map[string]json.RawMessage
		if err := json.Unmarshal(value, &extensions); err != nil {
			return unreadable("its extensions are no object")
		}
		for name, value := range extensions {
			if string(value) == "null" {
				continue
			}
			if err := v.extension(name, plain(value)); err != nil {
				return err
			}
		}
		return nil
	}
	if isAttribute(v.name(name)) && value[0] != '"' {
		return unreadable("its %s is no string", name)
	}
	return v.attribute(name, plain(value))
}

// name returns the name that version 1.0 has for an attribute.
func (v *envelope) name(name string) string {
	if v.version != Version01 {
		return name
	}
	name = strings.ToLower(name)
	if now, ok := renamed[name]; ok {
		return now
	}
	return name
}

// attribute takes an attribute, or an extension that stands beside them.
func (v *envelope) attribute(name, value string) error {
	if name = v.name(name); !isAttribute(name) {
		return v.extension(name, value)
	}
	if _, again := v.attributes[name]; again {
		return unreadable("its %s is there twice", name)
	}
	v.attributes[name] = value
	return nil
}

// extension takes an extension under a name that version 1.0 allows.
func (v *envelope) extension(name, value string) error {
	allowed := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(name))
	if allowed == "" || isAttribute(allowed) {
		allowed = "x" + allowed
	}
	if _, again := v.extensions[allowed]; again {
		return unreadable("two extensions are named %q", clip(allowed))
	}
	v.extensions[allowed] = value
	return nil
}

// plain returns the text of a string, and JSON text of anything else.
func plain(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	var out bytes.Buffer
	_ = json.Compact(&out, value) // it is valid
	return out.String()
}

// event returns what the envelope holds, checked.
func (v *envelope) event() (Event, error) {
	switch version := v.attributes["specversion"]; {
	case v.version == "":
		return Event{}, unreadable("it has neither specversion nor cloudEventsVersion, and is no CloudEvent")
	case version != v.version:
		return Event{}, unreadable("version %q of CloudEvents is not known: %s and %s are", clip(version), Version1, Version01)
	}
	at := v.attributes
	e := Event{
		Version: v.version, ID: at["id"], Source: at["source"], Type: at["type"], Subject: at["subject"],
		DataContentType: at["datacontenttype"], DataSchema: at["dataschema"],
	}
	if len(v.extensions) > 0 {
		e.Extensions = v.extensions
	}
	var err error
	if e.Time, err = readTime(at["time"]); err != nil {
		return Event{}, err
	}
	if err := v.content(&e); err != nil {
		return Event{}, err
	}
	attributes, err := e.attributes()
	if err != nil {
		return Event{}, err
	}
	if attributes.DataSchema != nil {
		e.DataSchema = attributes.DataSchema.String()
	}
	return e, nil
}

// readTime reads RFC 3339, and the same without a zone.
func readTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t, err = time.ParseInLocation("2006-01-02T15:04:05", text, time.Local)
	}
	if year := t.UTC().Year(); err != nil || year < 1 || year > 9999 {
		return time.Time{}, unreadable("its time %q is not of the form 2006-01-02T15:04:05Z", clip(text))
	}
	return t, nil
}

// content gives the event its data.
func (v *envelope) content(e *Event) error {
	media, parameters, err := mime.ParseMediaType(e.DataContentType)
	if err != nil && e.DataContentType != "" {
		return unreadable("its content type %q is none", clip(e.DataContentType))
	}
	structured := isJSON(media)
	switch {
	case v.data != nil && v.encoded != nil:
		return unreadable("it has both data and data_base64")
	case v.data != nil:
		if !structured && v.data[0] != '"' {
			return unreadable("its data is of type %s, and should be a string", media)
		}
		e.Data = v.data
	case len(v.encoded) == 0: // no data
	case structured:
		err := check(v.encoded, maxDepth-1) // it will be inside of a document
		switch {
		case err == nil:
			if value := bytes.TrimSpace(v.encoded); string(value) != "null" {
				e.Data = value
			}
		case media == "": // JSON is a guess then
			e.Binary = v.encoded
		default:
			return err
		}
	case strings.HasPrefix(media, "text/") && utf8.Valid(v.encoded) && isUTF8(parameters):
		e.Data, err = json.Marshal(string(v.encoded))
		return err
	default:
		e.Binary = v.encoded
	}
	return nil
}

// isJSON tells media types of JSON, and the absence of one.
func isJSON(media string) bool {
	return media == "" || strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
}

func isUTF8(parameters map[string]string) bool {
	charset := strings.ToLower(parameters["charset"])
	return charset == "" || charset == "utf-8" || charset == "us-ascii"
}
