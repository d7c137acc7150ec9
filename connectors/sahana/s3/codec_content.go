package s3

import (
	"errors"

	"github.com/tidwall/gjson"
)

// Content returns the data of a record, as [Resource.Record] makes it, without
// what differs from copy to copy: when and by whom it was written, how often it
// was handed on, and how values and references are shown. Of components the
// uuids stay.
func Content(data []byte) ([]byte, error) {
	if !gjson.ValidBytes(data) {
		return nil, errors.New("the data is not JSON")
	}
	root := gjson.ParseBytes(data)
	if !root.IsObject() {
		return nil, errors.New("the data is not a JSON object")
	}
	return appendContent(make([]byte, 0, len(data)), root, false, 0), nil
}

// appendContent appends a record without its meta data; that of a component
// names it.
func appendContent(dst []byte, record gjson.Result, component bool, depth int) []byte {
	if !record.IsObject() || depth > maxRecordDepth {
		return append(dst, record.Raw...)
	}
	dst = append(dst, '{')
	empty := true
	record.ForEach(func(name, value gjson.Result) bool {
		raw := []byte(value.Raw)
		switch name.Str {
		case sectionMeta:
			uuid := value.Get("uuid")
			if !component || !uuid.Exists() {
				return true
			}
			raw = append(append([]byte(`{"uuid":`), uuid.Raw...), '}')
		case sectionComponents:
			raw = appendComponents(nil, value, depth)
		case sectionReferences, sectionFields:
			if raw = appendUnshown(nil, value); len(raw) <= len("{}") {
				return true
			}
		}
		if !empty {
			dst = append(dst, ',')
		}
		empty = false
		dst = append(append(append(dst, name.Raw...), ':'), raw...)
		return true
	})
	return append(dst, '}')
}

// appendComponents appends the components of a record, which are lists by name.
func appendComponents(dst []byte, components gjson.Result, depth int) []byte {
	if !components.IsObject() {
		return append(dst, components.Raw...)
	}
	dst = append(dst, '{')
	components.ForEach(func(name, list gjson.Result) bool {
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, name.Raw...), ':')
		if !list.IsArray() {
			dst = append(dst, list.Raw...)
			return true
		}
		dst = append(dst, '[')
		for i, one := range list.Array() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendContent(dst, one, true, depth+1)
		}
		dst = append(dst, ']')
		return true
	})
	return append(dst, '}')
}

// appendUnshown appends what is said about fields, without how they are shown.
func appendUnshown(dst []byte, fields gjson.Result) []byte {
	if !fields.IsObject() {
		return append(dst, fields.Raw...)
	}
	dst = append(dst, '{')
	fields.ForEach(func(name, about gjson.Result) bool {
		rest := []byte(about.Raw)
		if about.IsObject() {
			rest = rest[:0:0]
			about.ForEach(func(attribute, value gjson.Result) bool {
				if attribute.Str != "text" && attribute.Str != "url" {
					rest = append(append(append(append(rest, ','), attribute.Raw...), ':'), value.Raw...)
				}
				return true
			})
			if len(rest) == 0 {
				return true
			}
			rest[0] = '{'
			rest = append(rest, '}')
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, name.Raw...), ':'), rest...)
		return true
	})
	return append(dst, '}')
}
