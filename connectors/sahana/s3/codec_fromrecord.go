package s3

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
	plain, sections, err := readSections(v)
	if err != nil {
		return r, err
	}
	references, fields := entriesOf(sections.references), entriesOf(sections.fields)
	for _, m := range plain {
		if extra, ok := references.take(m.name); ok {
			f, err := d.reference(m.name, m.value, extra)
			if err != nil {
				return r, err
			}
			r.References = append(r.References, f)
			continue
		}
		extra, _ := fields.take(m.name)
		f, err := readField(m.name, m.value, extra)
		if err != nil {
			return r, err
		}
		r.Fields = append(r.Fields, f)
	}
	if err := r.checkNames(); err != nil {
		return r, err
	}
	if references.left > 0 || fields.left > 0 {
		return r, fmt.Errorf("%s or %s name fields that are no members", sectionReferences, sectionFields)
	}
	if r.Components, err = (d + 1).tables(sections.components); err != nil {
		return r, err
	}
	err = readAttributes(sections.meta, func(name, value string) error {
		return r.setAttribute(name, value, RulesPlain)
	})
	return r, err
}

// entry is a member of an object.
type entry struct {
	name  string
	value gjson.Result
}

// entries are the members of a section, each to be taken once. They are found
// at once if they are taken in order.
type entries struct {
	list  []entry
	next  int
	left  int
	index map[string]int
}

func entriesOf(v gjson.Result) entries {
	var e entries
	if v.Exists() {
		v.ForEach(func(key, value gjson.Result) bool {
			e.list = append(e.list, entry{key.String(), value})
			return true
		})
	}
	e.left = len(e.list)
	return e
}

// take returns the entry of a field, false if there is none.
func (e *entries) take(name string) (gjson.Result, bool) {
	if e.left == 0 {
		return gjson.Result{}, false
	}
	i := e.next
	if i >= len(e.list) || e.list[i].name != name {
		if e.index == nil {
			e.index = make(map[string]int, len(e.list))
			for i, entry := range e.list {
				e.index[entry.name] = i
			}
		}
		at, ok := e.index[name]
		if !ok {
			return gjson.Result{}, false
		}
		i = at
	}
	e.next = i + 1
	e.left--
	return e.list[i].value, true
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

// sections are the parts of a record's data beside its fields.
type sections struct{ components, references, fields, meta gjson.Result }

// readSections returns the members that are fields, by the fields' names, and
// the sections.
func readSections(v gjson.Result) (plain []entry, s sections, err error) {
	err = eachMember(v, func(name string, value gjson.Result) error {
		if field, ok := fieldName(name); ok {
			plain = append(plain, entry{field, value})
			return nil
		}
		if !value.IsObject() {
			return fmt.Errorf("%q is no object", clip(name))
		}
		switch name {
		case sectionComponents:
			s.components = value
		case sectionReferences:
			s.references = value
		case sectionFields:
			s.fields = value
		case sectionMeta:
			s.meta = value
		default:
			return fmt.Errorf("%q is none of the sections %s, %s, %s and %s", clip(name), sectionComponents, sectionReferences, sectionFields, sectionMeta)
		}
		return nil
	})
	return plain, s, err
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
