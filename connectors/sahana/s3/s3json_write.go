package s3

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

var (
	errNoName  = errors.New("a name is missing")
	errNotUTF8 = errors.New("a text is not UTF-8")
)

// jsonWriter appends S3JSON.
type jsonWriter struct {
	times TimeForm
	// table whose list is open; done are those whose lists have been.
	table string
	done  map[string]bool
	b     []byte
	err   error // the first problem of what is being written
}

// fail keeps the first problem.
func (w *jsonWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *jsonWriter) open(b []byte, d Document) ([]byte, error) {
	w.done = make(map[string]bool)
	w.b = b
	w.b = append(w.b, '{')
	for _, a := range d.Attributes {
		w.attribute(a.Name, a.Value)
	}
	w.others("s3xml", d.Attributes)
	return w.b, w.err
}

func (w *jsonWriter) resource(b []byte, r *Resource) ([]byte, error) {
	w.b, w.err = b, nil
	from := len(b)
	switch {
	case r.Name == "":
		w.fail(errNoName)
	case r.Name == w.table:
		w.b = append(w.b, ',')
	case w.done[r.Name]:
		w.fail(fmt.Errorf("resources of table %s do not stand together", r.Name))
	case w.table != "":
		w.b = append(appendEscaped(append(w.b, `],"$_`...), r.Name), `":[`...)
	default:
		w.b = append(appendMember(w.b, "$_", r.Name), '[')
	}
	w.element(r)
	if !utf8.Valid(w.b[from:]) {
		w.fail(errNotUTF8)
	}
	if w.err == nil && w.table != r.Name {
		w.table = r.Name
		w.done[r.Name] = true
	}
	return w.b, w.err
}

func (w *jsonWriter) close(b []byte) []byte {
	if w.table != "" {
		b = append(b, ']')
	}
	return append(b, '}', '\n')
}

func (w *jsonWriter) element(r *Resource) {
	w.b = append(w.b, '{')
	r.attributes(w.times, w.attribute)
	w.others("resource", r.Other)
	if err := r.checkNames(); err != nil {
		w.fail(err)
	}
	for i := range r.Fields {
		w.field(&r.Fields[i])
	}
	for i := range r.References {
		w.reference(&r.References[i])
	}
	w.tables(r.Components)
	w.b = append(w.b, '}')
}

// tables writes nested resources, a list for each table.
func (w *jsonWriter) tables(list []Resource) {
	for table, members := range runs(byTable(list)) {
		if table == "" {
			w.fail(errNoName)
		}
		w.b = append(appendMember(w.b, "$_", table), '[')
		for i := range members {
			w.b = appendComma(w.b)
			w.element(&members[i])
		}
		w.b = append(w.b, ']')
	}
}

func (w *jsonWriter) attribute(name, value string) {
	w.b = appendString(appendMember(w.b, "@", name), value)
}

// others checks attributes that have no member of their own.
func (w *jsonWriter) others(element string, other []Attribute) {
	if len(other) > 0 && w.err == nil {
		w.err = checkOther(element, other)
	}
}

func (w *jsonWriter) field(f *Field) {
	if strings.HasPrefix(f.Name, "@") || strings.HasPrefix(f.Name, "$") {
		w.fail(fmt.Errorf("S3JSON cannot name a field %q", clip(f.Name)))
	}
	w.b = appendMember(w.b, "", f.Name)
	if f.Value == nil && f.URL == "" && f.Filename == "" && f.Error == "" && len(f.Other) == 0 {
		w.b = appendString(w.b, f.Text)
		return
	}
	w.b = append(w.b, '{')
	if f.Value != nil {
		if !json.Valid(f.Value) {
			w.fail(fmt.Errorf("the value of field %q is not JSON", clip(f.Name)))
		}
		w.b = append(appendMember(w.b, "@", "value"), f.Value...)
	}
	f.attributes(w.attribute)
	w.others("data", f.Other)
	w.text(f.Text)
}

// text ends an object with the text node, if it is not empty.
func (w *jsonWriter) text(text string) {
	if text != "" {
		w.b = appendString(appendMember(w.b, "", "$"), text)
	}
	w.b = append(w.b, '}')
}

func (w *jsonWriter) reference(f *Reference) {
	w.b = append(appendMember(w.b, "$k_", f.Field), '{')
	if f.Resource != "" {
		w.attribute("resource", f.Resource)
	}
	if f.UUIDs != nil {
		w.b = appendStrings(appendMember(w.b, "@", "uuid"), f.UUIDs)
	} else if f.UUID != "" {
		w.attribute("uuid", f.UUID)
	}
	f.attributes(w.attribute)
	w.others("reference", f.Other)
	w.tables(f.Inline)
	w.text(f.Text)
}

// checkNames says whether each field and each reference has a name and no
// other has the same, as where they are members of an object.
func (r *Resource) checkNames() error {
	n := len(r.Fields) + len(r.References)
	name := func(i int) string {
		if i < len(r.Fields) {
			return r.Fields[i].Name
		}
		return r.References[i-len(r.Fields)].Field
	}
	const few = 16
	var seen map[string]bool
	if n > few {
		seen = make(map[string]bool, n)
	}
	for i := range n {
		twice := seen[name(i)]
		for j := 0; j < i && n <= few; j++ {
			twice = twice || name(j) == name(i)
		}
		switch {
		case name(i) == "":
			return errNoName
		case twice:
			return fmt.Errorf("field %q stands twice", clip(name(i)))
		case n > few:
			seen[name(i)] = true
		}
	}
	return nil
}
