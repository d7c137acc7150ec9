package resolve

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// Same reports whether two JSON objects mean the same: order of keys, white
// space, escapes and the spelling of numbers do not count. No data is an
// object without fields.
func Same(a, b []byte) (bool, error) {
	if string(a) == string(b) {
		return true, nil
	}
	before, after, err := parseBoth(a, b)
	if err != nil || len(before.fields) != len(after.fields) {
		return false, err
	}
	for _, f := range before.fields {
		if raw, ok := after.get(f.name); !ok || !equal(f.raw, raw) {
			return false, nil
		}
	}
	return true, nil
}

// Check refuses data that is not a JSON object, or is nested too deeply.
func Check(data []byte) error {
	if len(data) == 0 {
		return errObject
	}
	return validObject(data)
}

// Fields returns the names of the fields of a JSON object, in its order.
func Fields(data []byte) ([]string, error) {
	o, err := parse(data)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(o.fields))
	for i, f := range o.fields {
		names[i] = f.name
	}
	return names, nil
}

// Field returns the value of a field as it is written, or nil.
func Field(data []byte, name string) ([]byte, error) {
	o, err := parse(data)
	if err != nil {
		return nil, err
	}
	raw, _ := o.get(name)
	return bytesOf(raw), nil
}

// Fill returns data with those of the fields named that it lacks and from has,
// as from has them.
func Fill(data, from []byte, names []string) ([]byte, error) {
	if len(names) == 0 {
		return data, nil
	}
	into, out, err := parseBoth(data, from)
	if err != nil {
		return nil, err
	}
	fields := into.fields
	for _, name := range names {
		if _, there := into.get(name); there {
			continue
		}
		if i := out.find(name); i >= 0 {
			fields = append(fields, out.fields[i])
		}
	}
	if len(fields) == len(into.fields) {
		return data, nil
	}
	return write(fields), nil
}

// With returns data with the field set to a value, which is JSON, or without
// it if there is none.
func With(data []byte, name string, value []byte) ([]byte, error) {
	o, err := parse(data)
	if err != nil {
		return nil, err
	}
	if len(value) > 0 {
		if err := check(string(value)); err != nil {
			return nil, fmt.Errorf("value of %s: %w", name, err)
		}
	}
	fields, i := slices.Clone(o.fields), o.find(name)
	switch {
	case len(value) == 0 && i >= 0:
		fields = slices.Delete(fields, i, i+1)
	case len(value) == 0:
	case i >= 0:
		fields[i].raw = string(value)
	default:
		fields = append(fields, field{name, string(gjson.AppendJSONString(nil, name)), string(value)})
	}
	return write(fields), nil
}

// Patch returns the fields that have to be set in from to make it mean the
// same as to; a field that is null has to be removed. It reports false if that
// cannot be said in a patch: a field has to be set to null.
func Patch(from, to []byte) (patch []byte, ok bool, err error) {
	before, after, err := parseBoth(from, to)
	if err != nil {
		return nil, false, err
	}
	var fields []field
	for _, f := range after.fields {
		if was, there := before.get(f.name); there && equal(was, f.raw) {
			continue
		}
		if f.raw == "null" {
			return nil, false, nil
		}
		fields = append(fields, f)
	}
	for _, f := range before.fields {
		if after.find(f.name) < 0 {
			fields = append(fields, field{f.name, f.key, "null"})
		}
	}
	return write(fields), true, nil
}

func parseBoth(a, b []byte) (first, second object, err error) {
	if first, err = parse(a); err != nil {
		return
	}
	second, err = parse(b)
	return
}

// write writes an object of fields.
func write(fields []field) []byte {
	var b strings.Builder
	b.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(f.key)
		b.WriteByte(':')
		b.WriteString(f.raw)
	}
	b.WriteByte('}')
	return []byte(b.String())
}
