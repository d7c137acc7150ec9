package hub

import (
	"bytes"
	"html"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"
	"github.com/tidwall/gjson"
)

const (
	// partTextBytes is how much of each part is indexed.
	partTextBytes = 256 << 10
	// dataTextBytes is how much text of a record's data is indexed.
	dataTextBytes = 1 << 20
	// maxTextDepth is how deep in a record's data text is looked for.
	maxTextDepth = 64
)

// titleFields are the fields whose text counts more, by preference for the
// title shown.
var titleFields = [...]string{"title", "name", "path"}

// recordText is what a record can be found by.
type recordText struct {
	titles []byte // key and title fields
	body   []byte // every other string of the data, and parts that are text
}

// textOf collects the text of a record; r holds its parts.
func textOf(r pebble.Reader, key []byte, s *stored) (recordText, error) {
	t := recordText{titles: bytes.ToValidUTF8(key, nil)}
	data := gjson.ParseBytes(s.data)
	t.collect(data, 0)
	parts, err := decodeManifest(s.manifest)
	if err != nil {
		return t, err
	}
	for i := range parts {
		clean := textKind(parts[i].media)
		if clean == nil {
			continue
		}
		head, err := parts[i].head(r, partTextBytes)
		if err != nil {
			return t, err
		}
		t.body = append(append(t.body, breakByte), clean(head)...)
	}
	if !utf8.Valid(t.body) {
		t.body = bytes.ToValidUTF8(t.body, []byte("?"))
	}
	return t, nil
}

// collect adds the strings of a value.
func (t *recordText) collect(value gjson.Result, depth int) {
	room := dataTextBytes - len(t.body)
	if room <= 0 || depth > maxTextDepth {
		return
	}
	switch {
	case value.Type == gjson.String:
		t.body = append(append(t.body, breakByte), value.Str[:min(room, len(value.Str))]...)
	case value.IsObject():
		value.ForEach(func(name, v gjson.Result) bool {
			if depth == 0 && v.Type == gjson.String && isTitle(name.Str) {
				t.titles = append(append(t.titles, breakByte), v.Str...)
			} else {
				t.collect(v, depth+1)
			}
			return true
		})
	case value.IsArray():
		value.ForEach(func(_, v gjson.Result) bool {
			t.collect(v, depth+1)
			return true
		})
	}
}

func isTitle(name string) bool {
	for _, f := range titleFields {
		if f == name {
			return true
		}
	}
	return false
}

// titleOf returns what to call a record in a list.
func titleOf(key string, data []byte) string {
	for _, name := range titleFields {
		if v := gjson.GetBytes(data, name); v.Type == gjson.String && strings.TrimSpace(v.Str) != "" {
			return v.Str
		}
	}
	return key
}

// textKind returns how to read text of a media type; nil if it is no text.
func textKind(media string) func([]byte) []byte {
	kind, _, err := mime.ParseMediaType(media)
	if err != nil {
		return nil
	}
	switch {
	case kind == "text/html", kind == "application/xhtml+xml":
		return stripTags
	case kind == "text/xml", kind == "application/xml", strings.HasSuffix(kind, "+xml"):
		return stripTags
	case strings.HasPrefix(kind, "text/"), kind == "application/json", strings.HasSuffix(kind, "+json"),
		kind == "application/javascript", kind == "application/yaml", kind == "application/toml", kind == "application/sql":
		return plainText
	}
	return nil
}

// plainText keeps valid UTF-8; breaks are ours alone.
func plainText(p []byte) []byte {
	p = bytes.ToValidUTF8(p, []byte(" "))
	return bytes.ReplaceAll(p, []byte{breakByte}, []byte(" "))
}

// stripTags returns the text of HTML or XML: tags, comments, scripts and
// styles are left out and entities are decoded. Broken markup is no error.
func stripTags(p []byte) []byte {
	text := make([]byte, 0, len(p))
	for len(p) > 0 {
		open := bytes.IndexByte(p, '<')
		if open < 0 {
			text = append(text, p...)
			break
		}
		text = append(text, p[:open]...)
		p = p[open:]
		if !isTag(p) {
			text, p = append(text, '<'), p[1:]
			continue
		}
		var inline bool
		p, inline = skipMarkup(p)
		if !inline {
			text = append(text, ' ')
		}
	}
	return plainText([]byte(html.UnescapeString(string(text))))
}

func isTag(p []byte) bool {
	if len(p) < 2 {
		return false
	}
	c := p[1]
	return c == '/' || c == '!' || c == '?' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// skipMarkup returns what follows the tag, comment or element without text at
// the start of p, and whether words on both sides of it belong together.
func skipMarkup(p []byte) (rest []byte, inline bool) {
	if bytes.HasPrefix(p, []byte("<!--")) {
		return after(p, "-->"), true
	}
	name := tagName(p)
	switch name {
	case "script", "style":
		end := indexFold(p, "</"+name)
		if end < 0 {
			return nil, false
		}
		p = p[end:]
	case "b", "i", "em", "strong", "a", "code", "span", "u", "tt", "sub", "sup", "font", "mark", "small":
		inline = true
	}
	return after(p, ">"), inline
}

func tagName(p []byte) string {
	p = bytes.TrimPrefix(p[1:], []byte("/"))
	n := 0
	for n < len(p) && n < 16 && p[n] < utf8.RuneSelf && asciiWord[p[n]] != 0 {
		n++
	}
	return strings.ToLower(string(p[:n]))
}

func after(p []byte, mark string) []byte {
	i := bytes.Index(p, []byte(mark))
	if i < 0 {
		return nil
	}
	return p[i+len(mark):]
}

// indexFold is [bytes.Index] for lower-case ASCII in any case.
func indexFold(p []byte, lower string) int {
	for from := 0; ; {
		i := bytes.IndexByte(p[from:], lower[0])
		if i < 0 || len(p)-from-i < len(lower) {
			return -1
		}
		if bytes.EqualFold(p[from+i:from+i+len(lower)], []byte(lower)) {
			return from + i
		}
		from += i + 1
	}
}
