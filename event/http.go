package event

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Media types of the structured form and of batches.
const (
	MediaType      = "application/cloudevents+json"
	MediaTypeBatch = "application/cloudevents-batch+json"
	mediaTypeBare  = "application/cloudevents" // as SDKs write it into NATS messages
)

// FromRequest reads the events of an HTTP request, or of another message with
// headers: a document, a batch, or a single event in the binary form, whose
// attributes are in headers that begin with ce-, while the body is its data.
// JSON without such headers is a document, and so is a body without any.
// Names of headers may be in any case.
func FromRequest(h http.Header, body []byte) ([]Event, error) {
	headers := map[string]string{}
	for name, values := range h {
		if len(values) > 0 {
			headers[strings.ToLower(name)] = values[0]
		}
	}
	content := headers["content-type"]
	media, parameters, err := mime.ParseMediaType(content)
	if err != nil && content != "" {
		return nil, unreadable("content type %q: %w", clip(content), ErrMediaType)
	}
	structured := media == MediaType || media == mediaTypeBare
	_, version1 := headers["ce-specversion"]
	_, version01 := headers["ce-cloudeventsversion"]
	switch {
	case media == MediaTypeBatch && isUTF8(parameters):
		return DecodeBatch(body)
	case !structured && strings.HasPrefix(media, "application/cloudevents"): // a format that is not read
	case !structured && (version1 || version01):
		return single(fromHeaders(headers, content, body))
	case (structured || isJSON(media)) && isUTF8(parameters):
		return single(Decode(body))
	}
	return nil, unreadable("content type %q: %w", clip(content), ErrMediaType)
}

func single(e Event, err error) ([]Event, error) {
	if err != nil {
		return nil, err
	}
	return []Event{e}, nil
}

// fromHeaders reads the binary form. Version 0.1 writes ce-x- before
// extensions, and strings as JSON does.
func fromHeaders(headers map[string]string, content string, body []byte) (Event, error) {
	if len(body) > MaxSize {
		return Event{}, unreadable("%d bytes: %w: at most %d", len(body), ErrTooLarge, MaxSize)
	}
	v := envelope{
		version: Version1, encoded: slices.Clone(body),
		attributes: map[string]string{}, extensions: map[string]string{},
	}
	if _, ok := headers["ce-specversion"]; !ok {
		v.version = Version01
	}
	for header, value := range headers {
		name, ok := strings.CutPrefix(header, "ce-")
		if !ok {
			continue
		}
		value, err := headerText(value)
		if err != nil {
			return Event{}, unreadable("header %s: %w", clip(header), err)
		}
		if extension, ok := strings.CutPrefix(name, "x-"); ok && v.version == Version01 {
			err = v.extension(extension, value)
		} else {
			err = v.attribute(name, value)
		}
		if err != nil {
			return Event{}, err
		}
	}
	if content != "" {
		v.attributes["datacontenttype"] = content
	}
	return v.event()
}

// headerText returns what a header's value stands for: quotes are removed,
// percent escapes decoded.
func headerText(value string) (string, error) {
	if inner := strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`); len(inner) == len(value)-2 {
		value = unescape(inner)
	}
	text, err := url.PathUnescape(value)
	if err != nil {
		return "", err
	}
	if !utf8.ValidString(text) {
		return "", errors.New("it is not UTF-8")
	}
	return text, nil
}

// unescape removes the backslashes of a quoted string.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
