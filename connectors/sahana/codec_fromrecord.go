package sahana

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// maxRecordDepth is how deep resources may stand within resources in the data
// of a record.
const maxRecordDepth = 32

// recordReader reads the data of records, at a depth.
type recordReader int

// object reads the data of a record or of a component.
func (d recordReader) object(table string, v gjson.Result) (Resource, error) {
	r := Resource{Name: table}
	if d > maxRecordDepth {
		return r, fmt.Errorf("more than %d levels of resources", maxRecordDepth)
	}
	sections, err := readSections(v)
	if err != nil {
		return r, err
	}
	references, fields := membersOf(sections[sectionReferences]), membersOf(sections[sectionFields])
	err = eachMember(v, func(name string, value gjson.Result) error {
		field, plain := fieldName(name)
		if !plain {
			return nil
		}
		if extra, ok := references[field]; ok {
			delete(references, field)
			f, err := d.reference(field, value, extra)
			r.References = append(r.References, f)
			return err
		}
		f, err := readField(field, value, fields[field])
		r.Fields = append(r.Fields, f)
		delete(fields, field)
		return err
	})
	if err != nil {
		return r, err
	}
	for name := range references {
		return r, fmt.Errorf("%s has %q, which is no member", sectionReferences, clip(name))
	}
	for name := range fields {
		return r, fmt.Errorf("%s has %q, which is no field", sectionFields, clip(name))
	}
	if r.Components, err = (d + 1).tables(sections[sectionComponents]); err != nil {
		return r, err
	}
	err = readAttributes(sections[sectionMeta], func(name, value string) error {
		return r.setAttribute(name, value, RulesPlain)
	})
	return r, err
}

// fieldName returns the name of the field that a member holds, false if it is
// a section.
func fieldName(member string) (string, bool) {
	rest, marked := strings.CutPrefix(member, "_")
	if !marked {
		return member, true
	}
	return rest, strings.HasPrefix(rest, "_")
}

// readSections returns the sections by name.
func readSections(v gjson.Result) (map[string]gjson.Result, error) {
	sections := make(map[string]gjson.Result)
	err := eachMember(v, func(name string, value gjson.Result) error {
		if _, plain := fieldName(name); plain {
			return nil
		}
		switch name {
		case sectionComponents, sectionReferences, sectionFields, sectionMeta:
		default:
			return fmt.Errorf("%q is none of the sections %s, %s, %s and %s", clip(name), sectionComponents, sectionReferences, sectionFields, sectionMeta)
		}
		if !value.IsObject() {
			return fmt.Errorf("%s is no object", name)
		}
		sections[name] = value
		return nil
	})
	return sections, err
}

// membersOf returns the members of an object, nil if there is none.
func membersOf(v gjson.Result) map[string]gjson.Result {
	if !v.Exists() {
		return nil
	}
	return v.Map()
}

// eachMember calls fn for the members of an object until an error.
func eachMember(v gjson.Result, fn func(name string, value gjson.Result) error) error {
	var err error
	v.ForEach(func(key, value gjson.Result) bool {
		err = fn(key.String(), value)
		return err == nil
	})
	return err
}

// readAttributes reads the members of an entry as attributes, but those named
// in except.
func readAttributes(v gjson.Result, attribute func(name, value string) error, except ...string) error {
	return eachMember(v, func(name string, value gjson.Result) error {
		switch {
		case slices.Contains(except, name), value.Type == gjson.Null:
			return nil
		case name == metaAttributes && value.IsObject():
			return readOthers(value, attribute)
		case value.Type == gjson.JSON:
			return fmt.Errorf("attribute %q is no text", clip(name))
		case value.Type == gjson.String:
			return attribute(name, value.String())
		}
		return attribute(name, value.Raw)
	})
}

// readOthers reads attributes that have no name of their own.
func readOthers(v gjson.Result, attribute func(name, value string) error) error {
	return eachMember(v, func(name string, value gjson.Result) error {
		if value.Type != gjson.String {
			return fmt.Errorf("attribute %q is no text", clip(name))
		}
		return attribute(name, value.String())
	})
}

func readField(name string, v, extra gjson.Result) (Field, error) {
	f := Field{Name: name}
	if extra.Exists() && !extra.IsObject() {
		return f, fmt.Errorf("the entry of %q in %s is no object", clip(name), sectionFields)
	}
	if v.Type == gjson.String && !extra.Get("text").Exists() {
		f.Text = v.String()
	} else {
		f.Value = canonical(v)
	}
	err := readAttributes(extra, func(name, value string) error {
		if name == "text" {
			f.Text = value
		} else {
			f.setAttribute(name, value)
		}
		return nil
	})
	return f, err
}

func (d recordReader) reference(field string, v, extra gjson.Result) (Reference, error) {
	f := Reference{Field: field}
	if !extra.IsObject() {
		return f, fmt.Errorf("the entry of %q in %s is no object", clip(field), sectionReferences)
	}
	switch {
	case v.Type == gjson.String:
		f.UUID = v.String()
	case v.IsArray():
		f.UUIDs = []string{}
		for _, one := range v.Array() {
			if one.Type != gjson.String {
				return f, fmt.Errorf("reference %q has a key that is no text", clip(field))
			}
			f.UUIDs = append(f.UUIDs, one.String())
		}
	case v.Type != gjson.Null:
		return f, fmt.Errorf("reference %q is no key, list of keys or null", clip(field))
	}
	inline, err := (d + 1).tables(extra.Get("inline"))
	if err != nil {
		return f, err
	}
	f.Inline = inline
	err = readAttributes(extra, func(name, value string) error {
		switch name {
		case "uuid":
			return fmt.Errorf("the key of reference %q stands in %s", clip(field), sectionReferences)
		case "text":
			f.Text = value
		default:
			f.setAttribute(name, value)
		}
		return nil
	}, "inline")
	return f, err
}

// tables reads resources by table.
func (d recordReader) tables(v gjson.Result) ([]Resource, error) {
	var list []Resource
	if v.Exists() && !v.IsObject() {
		return nil, errors.New("resources do not stand in an object by table")
	}
	err := eachMember(v, func(table string, value gjson.Result) error {
		if !value.IsArray() {
			return fmt.Errorf("the resources of table %q are no list", clip(table))
		}
		for _, one := range value.Array() {
			if !one.IsObject() {
				return fmt.Errorf("a resource of table %q is no object", clip(table))
			}
			r, err := d.object(table, one)
			if err != nil {
				return err
			}
			list = append(list, r)
		}
		return nil
	})
	return list, err
}
