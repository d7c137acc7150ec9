package hub

import (
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

// patchRecord turns a patch into the whole record; it returns why that cannot
// be done. Version and modified time stay unless the patch has its own.
func patchRecord(s, old *stored, found bool) error {
	if !found {
		return fmt.Errorf("a patch needs the record: %w", gapless.ErrNotFound)
	}
	data, err := mergeObjects(old.data, s.data)
	if err != nil {
		return err
	}
	if len(data) > gapless.MaxDataBytes {
		return fmt.Errorf("the patched record has %d bytes, more than %d", len(data), gapless.MaxDataBytes)
	}
	s.data = data
	if len(s.version) == 0 {
		s.version = old.version
	}
	if s.modified == 0 {
		s.modified = old.modified
	}
	return nil
}

// patchParts returns the parts that a record has after a patch, and those
// that are replaced.
func patchParts(had, patch []storedPart) (now, replaced []storedPart) {
	byName := make(map[string]storedPart, len(patch))
	for _, p := range patch {
		byName[p.name] = p
	}
	for _, p := range had {
		if q, ok := byName[p.name]; ok {
			replaced = append(replaced, p)
			delete(byName, p.name)
			p = q
		}
		now = append(now, p)
	}
	for _, p := range patch {
		if _, ok := byName[p.name]; ok {
			now = append(now, p)
		}
	}
	return now, replaced
}

type member struct {
	name       string
	raw, value string
	used       bool
}

// mergeObjects sets the top-level fields of patch in data; a field that is
// null is removed. Fields that the patch does not name keep their bytes and
// their order. An empty patch changes nothing.
func mergeObjects(data, patch []byte) ([]byte, error) {
	if len(patch) == 0 {
		return append([]byte(nil), data...), nil
	}
	if !gjson.ValidBytes(patch) || !gjson.ParseBytes(patch).IsObject() {
		return nil, errors.New("the patch is not a JSON object")
	}
	if !gjson.ValidBytes(data) || !gjson.ParseBytes(data).IsObject() {
		return nil, errors.New("the record is not a JSON object and cannot be patched")
	}
	fields := members(patch)
	index := make(map[string]int, len(fields))
	for i, f := range fields {
		index[f.name] = i // of several with one name the last counts
	}
	merged := append(make([]byte, 0, len(data)+len(patch)), '{')
	for _, old := range members(data) {
		i, ok := index[old.name]
		if !ok {
			merged = appendMember(merged, old.raw, old.value)
			continue
		}
		if !fields[i].used && fields[i].value != "null" {
			merged = appendMember(merged, old.raw, fields[i].value)
		}
		fields[i].used = true
	}
	for i, f := range fields {
		if index[f.name] == i && !f.used && f.value != "null" {
			merged = appendMember(merged, f.raw, f.value)
		}
	}
	return append(merged, '}'), nil
}

func members(object []byte) (list []member) {
	gjson.ParseBytes(object).ForEach(func(key, value gjson.Result) bool {
		list = append(list, member{name: key.String(), raw: key.Raw, value: value.Raw})
		return true
	})
	return list
}

func appendMember(dst []byte, name, value string) []byte {
	if len(dst) > 1 {
		dst = append(dst, ',')
	}
	dst = append(append(dst, name...), ':')
	return append(dst, value...)
}
