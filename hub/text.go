package hub

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

const (
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
	body   []byte // every other string of the data, and the text of parts
}

// textOf collects the text of a record and those of its parts.
func textOf(key []byte, s *stored, parts []partText) recordText {
	t := recordText{titles: bytes.ToValidUTF8(key, nil)}
	t.collect(gjson.ParseBytes(s.data), 0)
	for i := range parts {
		if len(parts[i].text) > 0 {
			t.body = append(append(t.body, breakByte), parts[i].text...)
		}
	}
	if !utf8.Valid(t.body) {
		t.body = bytes.ToValidUTF8(t.body, []byte("?"))
	}
	return t
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
