package pushapi

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// ContentTypeError is the content type of an error's body.
const ContentTypeError = "text/xml; charset=utf-8"

// maxErrorBytes bounds the body of an error.
const maxErrorBytes = 64 << 10

// AppendError appends the XML body of an error. Characters that XML cannot
// carry become U+FFFD.
func AppendError(dst []byte, e *Error) []byte {
	b := bytes.NewBuffer(dst)
	element := func(name, text string) {
		b.WriteString("<" + name + ">")
		_ = xml.EscapeText(b, []byte(text)) // fails only if the buffer does
		b.WriteString("</" + name + ">")
	}
	b.WriteString("<error>")
	element("type", string(e.Type))
	element("short_message", e.Short)
	plain := *e
	plain.Command = ""
	element("message", plain.Error())
	b.WriteString("</error>\n")
	return b.Bytes()
}

// ReadError reads the body of an error, whatever a server made of it: XML with
// elements of the three names at any depth, of which the first of each counts,
// or text, which becomes the message. Fields without an element stay empty.
func ReadError(r io.Reader) *Error {
	body, err := io.ReadAll(io.LimitReader(r, maxErrorBytes))
	e := &Error{}
	if len(body) == 0 {
		e.Err = err
		return e
	}
	texts := errorElements(body)
	e.Type = ErrorType(clip(texts["type"]))
	e.Short, e.Message = texts["short_message"], texts["message"]
	if len(texts) == 0 && !bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) {
		e.Message = clip(strings.TrimSpace(strings.ToValidUTF8(string(body), string(utf8.RuneError))))
	}
	return e
}

// errorElements returns the text of the first element of each name.
func errorElements(body []byte) map[string]string {
	d := xml.NewDecoder(bytes.NewReader(body))
	d.Strict = false
	d.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	texts := map[string]string{}
	for {
		token, err := d.Token()
		if err != nil {
			return texts
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		name := start.Name.Local
		if _, seen := texts[name]; seen || name != "type" && name != "short_message" && name != "message" {
			continue
		}
		text, err := elementText(d)
		texts[name] = strings.TrimSpace(text)
		if err != nil {
			return texts
		}
	}
}

// elementText returns all text up to the end of the element just begun.
func elementText(d *xml.Decoder) (string, error) {
	var text strings.Builder
	for depth := 1; depth > 0; {
		token, err := d.Token()
		if err != nil {
			return text.String(), err
		}
		switch t := token.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		case xml.CharData:
			text.Write(t)
		}
		if depth > 10_000 {
			return "", errors.New("nested too deeply")
		}
	}
	return text.String(), nil
}
