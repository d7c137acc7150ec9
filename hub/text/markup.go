package text

import (
	"bytes"
	"html"
	"strings"
)

// readHTML leaves out scripts and styles, and joins words across tags that do
// not part them.
func readHTML(w *work, content []byte, charset string) error {
	return w.markup(content, charset, htmlTag)
}

func readXML(w *work, content []byte, charset string) error {
	return w.markup(content, charset, xmlTag)
}

// markup adds the text between tags, with entities decoded. Broken markup is
// no error. tag returns what follows the tag at the start of p, or the element
// without text that it opens, and whether words on both sides belong together.
func (w *work) markup(p []byte, charset string, tag func(p []byte) (rest []byte, inline bool)) error {
	if charset == "" {
		charset = charsetIn(p)
		if strings.HasPrefix(charset, "utf-16") {
			charset = "" // it was read as ASCII, so that is what it is
		}
	}
	p, err := decode(p, charset)
	if err != nil {
		return err
	}
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
		if data, found := bytes.CutPrefix(p, []byte("<![CDATA[")); found {
			data, p, _ = bytes.Cut(data, []byte("]]>"))
			text = append(text, html.EscapeString(string(data))...)
			continue
		}
		var inline bool
		if p, inline = skipDeclaration(p, tag); !inline {
			text = append(text, ' ')
		}
		if err := w.step(); err != nil {
			return err
		}
	}
	return w.add([]byte(html.UnescapeString(string(text))))
}

func isTag(p []byte) bool {
	if len(p) < 2 {
		return false
	}
	c := p[1]
	return c == '/' || c == '!' || c == '?' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c >= 0x80
}

// skipDeclaration skips a comment or a document type, or else what tag does.
func skipDeclaration(p []byte, tag func([]byte) ([]byte, bool)) (rest []byte, inline bool) {
	if bytes.HasPrefix(p, []byte("<!--")) {
		return after(p, "-->"), true
	}
	if len(p) < len("<!doctype") || !bytes.EqualFold(p[:len("<!doctype")], []byte("<!doctype")) {
		return tag(p)
	}
	if i := bytes.IndexAny(p, "[>"); i >= 0 && p[i] == '[' {
		p = after(p, "]")
	}
	return after(p, ">"), false
}

func xmlTag(p []byte) (rest []byte, inline bool) { return after(p, ">"), false }

func htmlTag(p []byte) (rest []byte, inline bool) {
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
	for n < len(p) && n < 16 && isAlphanumeric(p[n]) {
		n++
	}
	return strings.ToLower(string(p[:n]))
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

func after(p []byte, mark string) []byte {
	_, rest, _ := bytes.Cut(p, []byte(mark))
	return rest
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
