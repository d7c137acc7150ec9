package s3

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"
	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
)

// Sections of a record's data, beside its fields. Names of fields that begin
// with an underscore, which no Eden allows, get another one in front.
const (
	sectionComponents = "_components"
	sectionReferences = "_references"
	sectionFields     = "_fields"
	sectionMeta       = "_meta"
	// metaAttributes of an element are those that have no name of their own.
	metaAttributes = "attributes"
)

// Record returns the resource as a record of the collection named by its table:
// keyed by uuid, versioned by its modification time and the hash of its data.
//
// The data is one JSON object with a plain member for each field and each
// reference, in order, and sections for how they travel:
//
//	{
//	  "name": "Example Relief",                a text
//	  "year": 1999,                            a value
//	  "region_id": "urn:acme:reg:1",           a reference: the key; a list of keys;
//	                                           null if it has none
//	  "_components": {"org_office": [{...}]},  objects like this one, by table
//	  "_references": {"region_id": {"resource": "org_region", "text": "North"}},
//	  "_fields": {"year": {"text": "1999"}},   representations, url and filename
//	                                           of uploads, errors
//	  "_meta": {"uuid": "urn:acme:org:1", "modified_on": "2026-11-01T10:00:00", "mci": 1}
//	}
//
// The names within the sections are those of the attributes; attributes that
// the format does not know are members of "attributes". Empty sections are
// left out. A resource without a uuid, with two values of one field, or with
// texts that are not UTF-8 is refused as rejected.
func (r *Resource) Record() (gapless.Record, error) {
	data, err := appendObject(nil, r)
	switch {
	case err != nil:
	case r.UUID == "":
		err = errors.New("a record needs a uuid")
	case len(r.UUID) > gapless.MaxKeyBytes:
		err = fmt.Errorf("the uuid has more than %d bytes", gapless.MaxKeyBytes)
	case len(data) > gapless.MaxDataBytes:
		err = fmt.Errorf("the data has more than %d bytes", gapless.MaxDataBytes)
	case !utf8.Valid(data):
		err = errNotUTF8
	}
	if err != nil {
		return gapless.Record{}, rejected(r, err)
	}
	version := strconv.FormatUint(xxh3.Hash(data), 16)
	if !r.ModifiedOn.IsZero() {
		version = FormatTime(r.ModifiedOn, TimeNaive) + "." + version
	}
	return gapless.Record{Key: r.UUID, Version: version, Modified: r.ModifiedOn, Data: data}, nil
}

// Change returns the resource as a change: a tombstone deletes, anything else
// is an upsert. The data of a tombstone says what replaced it.
func (r *Resource) Change() (gapless.Change, error) {
	record, err := r.Record()
	if r.Deleted {
		return gapless.Change{Op: gapless.OpDelete, Record: record}, err
	}
	return gapless.Change{Op: gapless.OpUpsert, Record: record}, err
}

// appendObject appends the data of a record or of a component.
func appendObject(b []byte, r *Resource) ([]byte, error) {
	if err := r.checkNames(); err != nil {
		return b, err
	}
	b = append(b, '{')
	for i := range r.Fields {
		f := &r.Fields[i]
		b = appendFieldName(b, f.Name)
		if f.Value == nil {
			b = appendString(b, f.Text)
		} else if !json.Valid(f.Value) {
			return b, fmt.Errorf("the value of field %q is not JSON", clip(f.Name))
		} else {
			b = append(b, canonical(gjson.ParseBytes(f.Value))...)
		}
	}
	for i := range r.References {
		b = appendKeys(appendFieldName(b, r.References[i].Field), &r.References[i])
	}
	b, err := appendTables(b, sectionComponents, r.Components)
	if err == nil {
		b, err = appendReferences(b, r.References)
	}
	if err == nil {
		b, err = appendFields(b, r.Fields)
	}
	if err == nil {
		b, err = appendMeta(b, r)
	}
	return append(b, '}'), err
}

// appendKeys appends the uuids of what is referenced.
func appendKeys(b []byte, f *Reference) []byte {
	switch {
	case f.UUIDs != nil:
		return appendStrings(b, f.UUIDs)
	case f.UUID != "":
		return appendString(b, f.UUID)
	}
	return append(b, "null"...)
}

// appendFieldName appends the name of a field's member.
func appendFieldName(b []byte, name string) []byte {
	if strings.HasPrefix(name, "_") {
		return appendMember(b, "_", name)
	}
	return appendMember(b, "", name)
}

// appendTables appends resources by table, as a member unless there are none.
func appendTables(b []byte, member string, list []Resource) (_ []byte, err error) {
	if len(list) == 0 {
		return b, nil
	}
	b = append(appendMember(b, "", member), '{')
	for table, members := range runs(byTable(list)) {
		if table == "" {
			return b, errNoName
		}
		b = append(appendMember(b, "", table), '[')
		for i := range members {
			if b, err = appendObject(appendComma(b), &members[i]); err != nil {
				return b, err
			}
		}
		b = append(b, ']')
	}
	return append(b, '}'), nil
}

func appendReferences(b []byte, list []Reference) (_ []byte, err error) {
	if len(list) == 0 {
		return b, nil
	}
	b = append(appendMember(b, "", sectionReferences), '{')
	for i := range list {
		f := &list[i]
		b = append(appendMember(b, "", f.Field), '{')
		m := members{b}
		if f.Resource != "" {
			m.text("resource", f.Resource)
		}
		known := *f
		known.Other = nil
		known.attributes(func(name, value string) {
			if (name == "lat" || name == "lon") && isNumber(value) {
				m.raw(name, value)
			} else {
				m.text(name, value)
			}
		})
		if f.Text != "" {
			m.text("text", f.Text)
		}
		if err := m.others("reference", f.Other); err != nil {
			return m.b, err
		}
		if b, err = appendTables(m.b, "inline", f.Inline); err != nil {
			return b, err
		}
		b = append(b, '}')
	}
	return append(b, '}'), nil
}

func appendFields(b []byte, list []Field) ([]byte, error) {
	begun := false
	for i := range list {
		f := &list[i]
		// A value that is a string needs an empty text, or it would be one.
		hasText := f.Value != nil && (f.Text != "" || gjson.ParseBytes(f.Value).Type == gjson.String)
		if !hasText && f.URL == "" && f.Filename == "" && f.Error == "" && len(f.Other) == 0 {
			continue
		}
		if !begun {
			b = append(appendMember(b, "", sectionFields), '{')
			begun = true
		}
		m := members{append(appendMember(b, "", f.Name), '{')}
		if hasText {
			m.text("text", f.Text)
		}
		known := *f
		known.Other = nil
		known.attributes(m.text)
		if err := m.others("data", f.Other); err != nil {
			return m.b, err
		}
		b = m.b
		b = append(b, '}')
	}
	if begun {
		b = append(b, '}')
	}
	return b, nil
}

func appendMeta(b []byte, r *Resource) ([]byte, error) {
	m := members{append(appendMember(b, "", sectionMeta), '{')}
	begin := len(m.b)
	known := *r
	known.Other = nil
	known.attributes(TimeNaive, func(name, value string) {
		switch name {
		case "mci", "approved":
			m.raw(name, value)
		case "deleted":
			m.raw(name, "true")
		default:
			m.text(name, value)
		}
	})
	if err := m.others("resource", r.Other); err != nil {
		return m.b, err
	}
	if len(m.b) == begin {
		return b, nil
	}
	return append(m.b, '}'), nil
}

// members appends members of an object.
type members struct{ b []byte }

func (m *members) text(name, value string) { m.b = appendString(appendMember(m.b, "", name), value) }

func (m *members) raw(name, value string) { m.b = append(appendMember(m.b, "", name), value...) }

func (m *members) others(element string, other []Attribute) error {
	if len(other) == 0 {
		return nil
	}
	m.b = append(appendMember(m.b, "", metaAttributes), '{')
	for _, a := range other {
		m.text(a.Name, a.Value)
	}
	m.b = append(m.b, '}')
	return checkOther(element, other)
}

// FromRecord returns the resource that a record of a table is: what
// [Resource.Record] was called on, or what a mapping made from other data in
// the same form. In the latter strings are texts, everything else values, and
// a reference is what has an entry in _references. The uuid is the key; a
// record without modified_on has the time of [gapless.Record.Modified].
// Data of any other form is refused as rejected.
func FromRecord(table string, record gapless.Record) (Resource, error) {
	refuse := func(err error) (Resource, error) {
		return Resource{}, gapless.Reject(record.Key, fmt.Errorf("%s %q: %w", table, clip(record.Key), err))
	}
	v := gjson.ParseBytes(record.Data)
	switch {
	case !json.Valid(record.Data) || !v.IsObject():
		return refuse(errors.New("the data is no JSON object"))
	case !utf8.Valid(record.Data):
		return refuse(errNotUTF8)
	}
	r, err := recordReader(1).object(table, v)
	if err != nil {
		return refuse(err)
	}
	if r.UUID != "" && r.UUID != record.Key {
		return refuse(fmt.Errorf("the data has the uuid %q", clip(r.UUID)))
	}
	r.UUID = record.Key
	if r.ModifiedOn.IsZero() && !record.Modified.IsZero() {
		r.ModifiedOn = record.Modified.UTC().Truncate(time.Second)
		if y := r.ModifiedOn.Year(); y < 1 || y > 9999 {
			return refuse(fmt.Errorf("modified in the year %d", y))
		}
	}
	return r, nil
}
