package server

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// maxOptions is how many values of a field are taken for options.
const maxOptions = 1000

// column is what the records of a table tell of one of its fields.
type column struct {
	name string
	// kind is the type that all values have in common.
	kind string
	// options are the values with the texts that stand for them; more says that
	// there are too many.
	options map[string]string
	more    bool
}

// fieldList is the document that lists fields; no schema is known but what the
// records show.
type fieldList struct {
	XMLName  xml.Name       `xml:"fields" json:"-"`
	Fields   []fieldElement `xml:"field" json:"field"`
	Resource string         `xml:"resource,attr" json:"@resource"`
}

type fieldElement struct {
	Name       string `xml:"name,attr" json:"@name"`
	Type       string `xml:"type,attr" json:"@type"`
	Readable   string `xml:"readable,attr" json:"@readable"`
	Writable   string `xml:"writable,attr" json:"@writable"`
	HasOptions string `xml:"has_options,attr" json:"@has_options"`
}

// optionList is the document with the options of one field.
type optionList struct {
	XMLName xml.Name        `xml:"select" json:"-"`
	Options []optionElement `xml:"option" json:"option"`
	Name    string          `xml:"name,attr" json:"@name"`
	ID      string          `xml:"id,attr" json:"@id"`
}

type optionElement struct {
	Value string `xml:"value,attr" json:"@value"`
	Text  string `xml:",chardata" json:"$"`
}

// optionLists is the document with the options of all fields.
type optionLists struct {
	XMLName  xml.Name     `xml:"options" json:"-"`
	Selects  []optionList `xml:"select" json:"select"`
	Resource string       `xml:"resource,attr" json:"@resource"`
}

// fields answers with the fields of a table.
func (c *exchange) fields() error {
	if err := c.methods(http.MethodGet); err != nil {
		return err
	}
	columns, err := c.columns()
	if err != nil {
		return err
	}
	writable := pythonBool(!strings.HasPrefix(c.table, ownPrefix))
	list := fieldList{Resource: c.table, Fields: []fieldElement{}}
	for _, one := range columns {
		list.Fields = append(list.Fields, fieldElement{one.name, one.kind, "True", writable, pythonBool(len(one.options) > 0)})
	}
	return c.describe(list)
}

// options answers with the options of one field or of all.
func (c *exchange) options() error {
	if err := c.methods(http.MethodGet); err != nil {
		return err
	}
	columns, err := c.columns()
	if err != nil {
		return err
	}
	wanted := readNames(c.query, "field")
	lists := optionLists{Resource: c.table, Selects: []optionList{}}
	for _, one := range columns {
		if len(one.options) == 0 || !wanted.has(one.name) {
			continue
		}
		list := optionList{Name: one.name, ID: c.table + "_" + one.name}
		for _, value := range slices.Sorted(maps.Keys(one.options)) {
			list.Options = append(list.Options, optionElement{value, one.options[value]})
		}
		lists.Selects = append(lists.Selects, list)
	}
	if len(wanted.list) != 1 {
		return c.describe(lists)
	}
	if len(lists.Selects) == 0 {
		return c.describe(optionList{Options: []optionElement{}})
	}
	return c.describe(lists.Selects[0])
}

func pythonBool(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// describe answers with a document that is no S3XML.
func (c *exchange) describe(document any) error {
	body, err := xml.Marshal(document)
	contentType := "text/xml"
	if c.format == s3.S3JSON {
		body, err = json.Marshal(document)
		contentType = "application/json"
	} else {
		body = append([]byte("<?xml version='1.0' encoding='utf-8'?>\n"), body...)
	}
	if err != nil {
		return fmt.Errorf("describe %s: %w", c.table, err)
	}
	c.w.Header().Set("Content-Type", contentType)
	c.begun = true
	_, err = c.w.Write(body)
	return err
}

// columns looks through the records of the table.
func (c *exchange) columns() ([]*column, error) {
	v, err := c.s.view(c.r.Context(), false)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	byName := map[string]*column{}
	err = v.Records(c.r.Context(), c.table, "", "", func(record gapless.Record) error {
		found, err := readStored(c.table, record)
		if err != nil {
			return err
		}
		r := &found.resource
		for i := range r.Fields {
			f := &r.Fields[i]
			columnOf(byName, f.Name).add(kindOf(f), f)
		}
		for i := range r.References {
			f := &r.References[i]
			kind := "reference " + f.Resource
			if f.UUIDs != nil {
				kind = "list:" + kind
			}
			columnOf(byName, f.Field).add(kind, nil)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the fields of %s: %w", c.table, err)
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b *column) int { return strings.Compare(a.name, b.name) }), nil
}

func columnOf(byName map[string]*column, name string) *column {
	if byName[name] == nil {
		byName[name] = &column{name: strings.Clone(name), options: map[string]string{}}
	}
	return byName[name]
}

// add counts a value in.
func (c *column) add(kind string, f *s3.Field) {
	switch {
	case kind == "" || c.kind == kind:
	case c.kind == "":
		c.kind = strings.Clone(kind)
	case c.kind == "integer" && kind == "double" || c.kind == "double" && kind == "integer":
		c.kind = "double"
	default:
		c.kind = "string"
	}
	if f == nil || f.Value == nil || f.Text == "" || c.more || kind != "integer" && kind != "string" {
		return
	}
	if value := gjson.ParseBytes(f.Value).String(); value != f.Text {
		c.options[strings.Clone(value)] = strings.Clone(f.Text)
	}
	if len(c.options) > maxOptions {
		c.options, c.more = nil, true
	}
}

// kindOf returns the type that a value looks like, or "" for none.
func kindOf(f *s3.Field) string {
	if f.Upload() != s3.UploadNone {
		return "upload"
	}
	if f.Value == nil {
		return "string"
	}
	v := gjson.ParseBytes(f.Value)
	switch {
	case v.Type == gjson.Null:
		return ""
	case v.IsBool():
		return "boolean"
	case v.Type == gjson.Number:
		if _, err := strconv.ParseInt(v.Raw, 10, 64); err == nil {
			return "integer"
		}
		return "double"
	case v.IsArray():
		if items := v.Array(); len(items) > 0 && items[0].Type == gjson.Number {
			return "list:integer"
		}
		return "list:string"
	case v.IsObject():
		return "json"
	}
	if _, ok := asTime(v.String()); ok {
		if len(v.String()) == len("2006-01-02") {
			return "date"
		}
		return "datetime"
	}
	return "string"
}
