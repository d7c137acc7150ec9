package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/gapless-sync/gapless"
)

// The versions of CloudEvents that are read.
const (
	Version1  = "1.0"
	Version01 = "0.1"
)

// Event is one CloudEvent. ID, Source and Type are never empty in an event
// that was decoded, and have no control characters.
type Event struct {
	// Version is the one that the event was written in: [Version1] or
	// [Version01].
	Version string
	ID      string
	// Source is kept as it came, whether it is a proper URI or not.
	Source string
	Type   string
	// Time is zero if the event has none. Times without a zone are local.
	Time    time.Time
	Subject string
	// DataContentType is a media type; empty means JSON.
	DataContentType string
	// DataSchema is an absolute URI, or empty.
	DataSchema string
	// Extensions by name, in lower-case letters and digits. Values that are no
	// strings are JSON text.
	Extensions map[string]string
	// Data is any JSON value, a string if the content is text; nil if there is
	// no data, or if it is in Binary.
	Data json.RawMessage
	// Binary is content that is neither JSON nor text.
	Binary []byte
}

// Key identifies the event: a sender that sends an event again keeps source
// and id, and no other event of that source has this id.
func (e *Event) Key() string { return e.Source + "\n" + e.ID }

// Encode writes the event as a JSON document of version 1.0, on one line.
// Decoding it returns the same event but for its version. The error is
// [ErrTooLarge] if the document would be: text and bytes grow in it.
func (e *Event) Encode() ([]byte, error) {
	attributes, err := e.attributes()
	if err != nil {
		return nil, err
	}
	doc, err := event.Event{Context: attributes}.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode the event: %w", err)
	}
	// The data is put in here: the SDK writes JSON of media types other than
	// application/json as text.
	doc = doc[:len(doc)-1]
	switch {
	case e.Data != nil:
		out := bytes.NewBuffer(append(doc, `,"data":`...))
		if err := json.Compact(out, e.Data); err != nil {
			return nil, unreadable("its data: %w", err)
		}
		doc = out.Bytes()
	case e.Binary != nil:
		doc = append(doc, `,"data_base64":"`...)
		doc = base64.StdEncoding.AppendEncode(doc, e.Binary)
		doc = append(doc, '"')
	}
	if doc = append(doc, '}'); len(doc) > MaxSize {
		return nil, unreadable("%d bytes as a document: %w: at most %d", len(doc), ErrTooLarge, MaxSize)
	}
	return doc, nil
}

// attributes returns all but the data, checked against version 1.0.
func (e *Event) attributes() (*event.EventContextV1, error) {
	for _, a := range []struct{ name, value string }{{"id", e.ID}, {"source", e.Source}, {"type", e.Type}} {
		if strings.ContainsFunc(a.value, unicode.IsControl) {
			return nil, unreadable("its %s has control characters", a.name)
		}
	}
	c := &event.EventContextV1{ID: e.ID, Type: e.Type}
	c.Source.URL = url.URL{Opaque: e.Source} // as it came: taking it apart would change its spelling
	if e.Subject != "" {
		c.Subject = &e.Subject
	}
	if e.DataContentType != "" {
		c.DataContentType = &e.DataContentType
	}
	if e.DataSchema != "" {
		if c.DataSchema = types.ParseURI(e.DataSchema); c.DataSchema == nil {
			return nil, unreadable("its data schema %q is no URI", clip(e.DataSchema))
		}
	}
	if !e.Time.IsZero() {
		c.Time = &types.Timestamp{Time: e.Time}
	}
	for name, value := range e.Extensions {
		if err := c.SetExtension(name, value); err != nil {
			return nil, unreadable("its extension %q: %w", clip(name), err)
		}
	}
	if invalid := c.Validate(); invalid != nil {
		return nil, unreadable("%w", invalid)
	}
	return c, nil
}

// unreadable is the error for events that will never be readable.
func unreadable(format string, args ...any) error {
	return gapless.Reject("", fmt.Errorf("read the event: "+format, args...))
}

// clip shortens what a stranger wrote for a message.
func clip(text string) string {
	const most = 100
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}
