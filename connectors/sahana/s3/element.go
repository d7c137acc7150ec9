package s3

import (
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"time"
)

// Attribute is an attribute of an element, by its name as written.
type Attribute struct{ Name, Value string }

// Document is the root of a document: its attributes in order. An export says
// success ("true" unless there are no records), results (master records in
// this document), start, limit, domain and url; importers ignore them all.
type Document struct{ Attributes []Attribute }

// NewDocument returns the root of an export of so many master records.
func NewDocument(results int) Document {
	return Document{Attributes: []Attribute{
		{"success", strconv.FormatBool(results > 0)},
		{"results", strconv.Itoa(results)},
	}}
}

// Get returns the value of an attribute, or "".
func (d Document) Get(name string) string {
	if i := d.index(name); i >= 0 {
		return d.Attributes[i].Value
	}
	return ""
}

// Set sets an attribute, in its old place if there is one.
func (d *Document) Set(name, value string) {
	if i := d.index(name); i >= 0 {
		d.Attributes[i].Value = value
		return
	}
	d.Attributes = append(d.Attributes, Attribute{name, value})
}

func (d Document) index(name string) int {
	return slices.IndexFunc(d.Attributes, func(a Attribute) bool { return a.Name == name })
}

// Resource is a record of a table as it travels: a resource element. The zero
// value of a member means that the document does not say; the comment of a
// member gives the attribute's meaning for importers.
type Resource struct {
	// Name is the table, prefix_name. Alias tells components of the same table
	// apart.
	Name, Alias string
	// UUID identifies the record in its table. TUID is a temporary identity
	// that holds within the document.
	UUID, TUID string
	// CreatedOn and ModifiedOn are whole seconds in UTC.
	CreatedOn, ModifiedOn time.Time
	// CreatedBy, ModifiedBy and OwnedByUser are e-mail addresses of users,
	// OwnedByGroup is the name of a role.
	CreatedBy, ModifiedBy, OwnedByUser, OwnedByGroup string
	// MCI counts the copies between this record and its origin: exports add one
	// to what is stored, so that 1 means sent by its owner. Nil means unsaid,
	// which importers store as 2.
	MCI *int
	// Deleted marks a tombstone; with ReplacedBy, the uuid of the survivor, a
	// merge.
	Deleted    bool
	ReplacedBy string
	// Unapproved leaves the record waiting for approval: approved="false".
	Unapproved bool
	// URL of the record and ID, its number at the sender, are for readers only.
	URL, ID string
	// Error is what an importer found wrong, in the tree of its answer.
	Error string
	// Other attributes, in order.
	Other []Attribute

	Fields     []Field
	References []Reference
	// Components are the records that belong to this one. S3JSON and records
	// keep those of a table together, in the order of their first appearance.
	Components []Resource
}

// Field is the value of a field: a data element.
type Field struct {
	Name string
	// Value is a JSON value, or nil if the element has none. It wins over Text,
	// which is then a representation for people. Strings are escaped as little
	// as JSON allows and nothing has white space around it; texts that are no
	// JSON have become strings.
	Value json.RawMessage
	// Text is the text node, verbatim: the value itself unless there is a
	// Value.
	Text string
	// URL and Filename belong to uploads: see [Field.Upload].
	URL, Filename string
	// Error is what an importer found wrong.
	Error string
	// Other attributes, in order.
	Other []Attribute
}

// Reference is a foreign key: a reference element.
type Reference struct {
	Field string
	// Resource is the table of what is referenced; of the instance for
	// references to a super entity.
	Resource string
	// UUID of the referenced record. A UUID that reads as a JSON list of
	// strings is taken for such a list.
	UUID string
	// UUIDs, if not nil, is the value of a field that holds a list of
	// references; UUID is then empty.
	UUIDs []string
	// TUID refers to a record of the same document.
	TUID string
	// Lat and Lon are decimal degrees of a location, as written.
	Lat, Lon string
	// Text is a representation for people.
	Text string
	// Error is what an importer found wrong.
	Error string
	// Other attributes, in order.
	Other []Attribute
	// Inline records stand within the reference and need no identity.
	Inline []Resource
}

// Field returns the field of a name, or nil.
func (r *Resource) Field(name string) *Field {
	if i := slices.IndexFunc(r.Fields, func(f Field) bool { return f.Name == name }); i >= 0 {
		return &r.Fields[i]
	}
	return nil
}

// Reference returns the reference of a field, or nil.
func (r *Resource) Reference(field string) *Reference {
	if i := slices.IndexFunc(r.References, func(f Reference) bool { return f.Field == field }); i >= 0 {
		return &r.References[i]
	}
	return nil
}

// byTable returns the components with those of each table together, tables in
// the order of their first appearance: list itself if it is like that already.
func byTable(list []Resource) []Resource {
	rank, together := make(map[string]int), true
	for i := range list {
		table := list[i].Name
		if _, seen := rank[table]; !seen {
			rank[table] = len(rank)
		} else if list[i-1].Name != table {
			together = false
		}
	}
	if together {
		return list
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Resource) int { return rank[a.Name] - rank[b.Name] })
	return list
}

// runs yields the neighbours of one table in a list that byTable has ordered.
func runs(list []Resource) iter.Seq2[string, []Resource] {
	return func(yield func(string, []Resource) bool) {
		for len(list) > 0 {
			n := 1
			for n < len(list) && list[n].Name == list[0].Name {
				n++
			}
			if !yield(list[0].Name, list[:n]) {
				return
			}
			list = list[n:]
		}
	}
}
