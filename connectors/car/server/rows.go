package server

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// maxID bounds the key that is made of an id, or of the ids of both ends: that
// of a retired row is longer.
const maxID = gapless.MaxKeyBytes - 64

// rows are those of one collection in an import, decoded.
type rows struct {
	collection string
	edge       bool
	from, to   string // the collections of an edge's ends
	batch      *gapless.Batch
	seen       int
	// special says that a row has tags or retires an edge, so that it depends
	// on what is stored.
	special bool
}

// decodeRows reads the rows of a collection, at most as many as are left.
func decodeRows(name string, array gjson.Result, s *schema, problems *rowProblems, left int) (*rows, error) {
	r := &rows{collection: name}
	var known bool
	switch r.edge, known = s.isEdge(name); {
	case !wire.IsName(name):
		problems.add(name, -1, "", "%q cannot be the name of a collection", clip(name))
		return nil, nil //nolint:nilnil // the problem is told
	case !known:
		problems.add(name, -1, "", "there is no collection %s: declare it in a schema extension, by POST %scarSchema, before rows of it are sent", name, PathV3)
		return nil, nil //nolint:nilnil // the problem is told
	}
	if r.edge {
		r.from, r.to, _ = s.ends(name)
	}
	r.batch = &gapless.Batch{
		Partition: gapless.Partition{ID: name, Collection: name}, Origin: "car", Buf: make([]byte, 0, len(array.Raw)+len(array.Raw)/4),
	}
	d := rowDecoder{rows: r, problems: problems}
	field := d.field
	var err error
	array.ForEach(func(_, row gjson.Result) bool {
		if r.seen++; r.seen > left {
			err = tooManyRows()
			return false
		}
		d.row(row, field)
		return true
	})
	return r, err
}

// Fields that say what a row is of. Those of an end exclude one another, and so
// do those of a vertex's id.
const (
	fieldExternal = iota
	fieldOwnKey
	fieldName
	fieldFromExternal
	fieldFrom
	fieldToExternal
	fieldTo
	fieldActive
	fieldTag
	fieldUntag
	fieldTags
	fieldCount
)

var errTwice = errors.New("is there twice")

// rowDecoder decodes one row after the other.
type rowDecoder struct {
	rows     *rows
	problems *rowProblems
	values   [fieldCount]gjson.Result
	twice    string // a field that came twice
}

// field keeps the fields that matter.
func (d *rowDecoder) field(key, value gjson.Result) bool {
	at := d.which(key.Str)
	if at < 0 {
		return true
	}
	if d.values[at].Exists() {
		d.twice = key.Str
	}
	d.values[at] = value
	return true
}

func (d *rowDecoder) which(name string) int {
	if d.rows.edge {
		switch name {
		case "_from_external_id":
			return fieldFromExternal
		case "_from":
			return fieldFrom
		case "_to_external_id":
			return fieldToExternal
		case "_to":
			return fieldTo
		case "active":
			return fieldActive
		}
		return -1
	}
	switch name {
	case "external_id":
		return fieldExternal
	case fieldKey:
		return fieldOwnKey
	case "tag":
		return fieldTag
	case "untag":
		return fieldUntag
	case "tags":
		return fieldTags
	case nameField(d.rows.collection):
		return fieldName
	}
	return -1
}

// nameField returns the field that holds the id of a keyed vertex once more.
func nameField(collection string) string {
	switch collection {
	case "hostname":
		return "host_name"
	case "ipaddress", "macaddress":
		return "name"
	}
	return ""
}

// row puts one row into the batch, or says why it cannot.
func (d *rowDecoder) row(row gjson.Result, field func(key, value gjson.Result) bool) {
	r := d.rows
	index := r.seen - 1
	if !row.IsObject() {
		d.problems.add(r.collection, index, "", "it is not an object")
		return
	}
	if len(row.Raw) > maxRowBytes {
		d.problems.add(r.collection, index, "", "it has %d bytes, more than %d", len(row.Raw), maxRowBytes)
		return
	}
	d.values, d.twice = [fieldCount]gjson.Result{}, ""
	row.ForEach(field)
	key, err := d.key()
	if err == nil && d.twice != "" {
		key, err = d.twice, errTwice
	}
	if err == nil {
		err = d.qualify()
	}
	if err != nil {
		d.problems.add(r.collection, index, key, "%v", err)
		return
	}
	r.batch.AppendRow(gapless.Row{Op: gapless.OpUpsert, Line: uint64(index + 1), Key: appendText(r.batch, key), Data: appendText(r.batch, row.Raw)})
}

func appendText(b *gapless.Batch, text string) gapless.Span {
	at := len(b.Buf)
	b.Buf = append(b.Buf, text...)
	return gapless.Span{Off: uint32(at), Len: uint32(len(text))}
}

// key returns the key of a row.
func (d *rowDecoder) key() (key string, err error) {
	if !d.rows.edge {
		return d.vertexKey()
	}
	from, err := d.end("_from", fieldFromExternal, fieldFrom, d.rows.from)
	if err != nil {
		return from, err
	}
	to, err := d.end("_to", fieldToExternal, fieldTo, d.rows.to)
	if err != nil {
		return to, err
	}
	key = wire.EdgeKey(from, to)
	if len(key) > maxID {
		return clip(key), errLongID
	}
	return key, nil
}

var (
	errNoID      = errors.New("it has no id")
	errBothIDs   = errors.New("it has both external_id and _key")
	errNotText   = errors.New("its id is neither a text nor a number")
	errEmptyID   = errors.New("its id is empty")
	errLongID    = errors.New("its id is too long")
	errSurrogate = errors.New("its id has half of a surrogate pair")
)

func (d *rowDecoder) vertexKey() (string, error) {
	external, own := d.values[fieldExternal], d.values[fieldOwnKey]
	value := external
	switch keyed := wire.Keyed(d.rows.collection); {
	case external.Exists() && own.Exists():
		return external.String(), errBothIDs
	case keyed && own.Exists():
		value = own
	case keyed && !external.Exists():
		value = d.values[fieldName]
	}
	return checkID(value, d.rows.collection, wire.VertexID)
}

// end returns the id of one end of an edge, which may be spelled in two ways.
func (d *rowDecoder) end(name string, external, plain int, collection string) (string, error) {
	a, b := d.values[external], d.values[plain]
	spelled := wire.VertexID
	if !a.Exists() {
		a, spelled = b, wire.EndID
	}
	id, err := checkID(a, collection, spelled)
	if err == errNoID { //nolint:errorlint // it is not wrapped
		return "", errors.New("it has neither " + name + "_external_id nor " + name)
	}
	if err != nil || !b.Exists() {
		return id, err
	}
	if other, err := checkID(b, collection, wire.EndID); err != nil || other != id {
		return id, errors.New("its " + name + "_external_id and its " + name + " are not the same")
	}
	return id, nil
}

// checkID returns the id that a value stands for in the spelling of its field.
func checkID(value gjson.Result, collection string, spelled func(collection, value string) string) (string, error) {
	if !value.Exists() {
		return "", errNoID
	}
	text, ok := idText(value)
	id := spelled(collection, text)
	switch {
	case !ok:
		return clip(value.Raw), errNotText
	case id == "":
		return "", errEmptyID
	case len(id) > maxID:
		return clip(id), errLongID
	case strings.Contains(value.Raw, `\u`) && strings.ContainsRune(id, utf8.RuneError):
		return id, errSurrogate
	}
	return id, nil
}

// qualify notes what makes a row special.
func (d *rowDecoder) qualify() error {
	if d.values[fieldActive].Type == gjson.False {
		d.rows.special = true
	}
	for _, at := range []int{fieldTag, fieldUntag} {
		list := d.values[at]
		if !list.Exists() {
			continue
		}
		d.rows.special = true
		if _, ok := texts(list); !ok {
			return errors.New("tag and untag are lists of texts")
		}
		if own := d.values[fieldTags]; own.Exists() && own.Type != gjson.Null {
			if _, ok := texts(own); !ok {
				return errors.New("tag and untag change tags, which is no list of texts")
			}
		}
	}
	return nil
}

// texts returns the strings of an array.
func texts(array gjson.Result) (list []string, ok bool) {
	if !array.IsArray() {
		return nil, false
	}
	for _, value := range array.Array() {
		if value.Type != gjson.String {
			return nil, false
		}
		list = append(list, value.Str)
	}
	return list, true
}
