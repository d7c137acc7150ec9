package car

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
	"github.com/gapless-sync/gapless/proof"
)

// collection is what the rows of a collection have in common.
type collection struct {
	name string
	edge bool
	// id identifies a vertex; other must not stand beside it.
	id, other string
	// from and to are the collections that an edge joins.
	from, to string
	hash     gapless.Hash128
}

func newCollection(name string, edge bool, extra []string) *collection {
	c := &collection{name: name, edge: edge, id: "external_id", other: "_key", hash: proof.KeyHash([]byte(name))}
	if wire.Keyed(name) {
		c.id, c.other = c.other, c.id
	}
	if edge {
		c.from, c.to, _ = wire.Ends(name, extra...)
	}
	return c
}

// place identifies a row among those of all collections.
func (c *collection) place(id string) gapless.Hash128 {
	h := proof.KeyHash([]byte(id))
	return gapless.Hash128{Hi: h.Hi + c.hash.Hi, Lo: h.Lo ^ c.hash.Lo}
}

// envelope is what all imports of a run have around their rows.
type envelope struct {
	report string
	// prefix is the report's text up to the collections.
	prefix []byte
	// source and stamp are the fields that edges have beside their own.
	source, stamp []byte
}

// reportKey is the text of a time in ms, as a number with a fraction.
func reportKey(now time.Time) string {
	return strconv.FormatFloat(float64(now.UnixMicro())/1000, 'f', 3, 64)
}

func newEnvelope(o *DestinationOptions, report string) (*envelope, error) {
	source := map[string]any{"name": o.Source, "description": o.Description}
	maps.Copy(source, o.SourceFields)
	reported := map[string]any{"type": "gapless"}
	maps.Copy(reported, o.ReportFields)
	reported["timestamp"] = json.Number(report)
	e := &envelope{report: report}
	var err error
	if e.prefix, err = appendObject([]byte(`{"source":`), o.Source, source); err != nil {
		return nil, fmt.Errorf("encode the source: %w", err)
	}
	if e.prefix, err = appendObject(append(e.prefix, `,"report":`...), report, reported); err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	e.source = gjson.AppendJSONString([]byte(`"report":"`+report+`","source":`), o.Source)
	e.stamp = []byte(`,"timestamp":` + report)
	return e, nil
}

// appendObject appends an object with its _key before all other fields.
func appendObject(dst []byte, key string, fields map[string]any) ([]byte, error) {
	dst = gjson.AppendJSONString(append(dst, `{"_key":`...), key)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name == "_key" {
			continue
		}
		value, err := json.Marshal(fields[name])
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
		dst = append(gjson.AppendJSONString(append(dst, ','), name), ':')
		dst = append(dst, value...)
	}
	return append(dst, '}'), nil
}

// appendRow appends a row as it is sent: the data, with the fields that
// identify it.
func (e *envelope) appendRow(dst []byte, c *collection, id, data string) ([]byte, error) {
	data = strings.TrimSpace(data)
	if !gjson.Valid(data) || data == "" || data[0] != '{' {
		return dst, errors.New("the data is not one JSON object")
	}
	if c.edge {
		return e.appendEdge(dst, c, id, data)
	}
	return appendVertex(dst, c, id, data)
}

func appendVertex(dst []byte, c *collection, id, data string) ([]byte, error) {
	own, other := gjson.Result{}, false
	gjson.Parse(data).ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case c.id:
			own = value
		case c.other:
			other = true
		}
		return true
	})
	given := own.Exists() && own.Type != gjson.Null
	if given && !isID(own, id) {
		return dst, fmt.Errorf("%s is %s, which is not the record's key", c.id, clip(own.String()))
	}
	if given && own.Type == gjson.String && !other {
		return append(dst, data...), nil
	}
	dst = append(gjson.AppendJSONString(append(dst, '{'), c.id), ':')
	dst = gjson.AppendJSONString(dst, id)
	if !own.Exists() && !other {
		return appendRest(dst, data), nil
	}
	return append(appendFields(dst, data, c.id, c.other), '}'), nil
}

// isID reports whether a value is an id, or a number that is written like it.
func isID(value gjson.Result, id string) bool { return value.String() == id || value.Raw == id }

// appendRest appends the fields of an object, and its end, behind others.
func appendRest(dst []byte, data string) []byte {
	rest := strings.TrimLeft(data[1:], " \t\r\n")
	if rest != "}" {
		dst = append(dst, ',')
	}
	return append(dst, rest...)
}

// appendFields appends the fields of an object behind others, without some.
func appendFields(dst []byte, data string, without ...string) []byte {
	gjson.Parse(data).ForEach(func(name, value gjson.Result) bool {
		if !slices.Contains(without, name.Str) {
			dst = append(append(dst, ','), name.Raw...)
			dst = append(append(dst, ':'), value.Raw...)
		}
		return true
	})
	return dst
}

// edgeFields are the fields of an edge that matter here.
type edgeFields struct {
	from, to        gjson.Result
	without         []string // not to be sent
	active, stamped bool
}

func (f *edgeFields) see(name, value gjson.Result) bool {
	switch name.Str {
	case "_from", "_from_external_id":
		f.end(&f.from, name.Str, value)
	case "_to", "_to_external_id":
		f.end(&f.to, name.Str, value)
	case wire.SourceField, wire.ReportField: // of this import instead
		f.without = append(f.without, name.Str)
	case "active":
		f.active = true
	case "timestamp":
		f.stamped = true
	}
	return true
}

// end notes an end, unless it is given in the other spelling.
func (f *edgeFields) end(end *gjson.Result, name string, value gjson.Result) {
	if value.String() == "" {
		f.without = append(f.without, name)
		return
	}
	*end = value
}

func (e *envelope) appendEdge(dst []byte, c *collection, id, data string) ([]byte, error) {
	from, to, ok := wire.SplitEdgeKey(id)
	if !ok || from == "" || to == "" {
		return dst, fmt.Errorf("the key %s is not that of an edge, FROM|TO", clip(id))
	}
	var f edgeFields
	gjson.Parse(data).ForEach(f.see)
	for _, end := range []struct {
		given          gjson.Result
		collection, id string
	}{{f.from, c.from, from}, {f.to, c.to, to}} {
		if given := end.given.String(); end.given.Exists() && end.given.Raw != end.id &&
			wire.VertexID(end.collection, given) != end.id && wire.EndID(end.collection, given) != end.id {
			return dst, fmt.Errorf("an end is %s, which is not that of the record's key", clip(end.given.String()))
		}
	}
	dst = append(append(dst, '{'), e.source...)
	if !f.from.Exists() {
		dst = appendEnd(dst, `,"_from`, c.from, from)
	}
	if !f.to.Exists() {
		dst = appendEnd(dst, `,"_to`, c.to, to)
	}
	if !f.active {
		dst = append(dst, `,"active":true`...)
	}
	if !f.stamped {
		dst = append(dst, e.stamp...)
	}
	if len(f.without) > 0 {
		return append(appendFields(dst, data, f.without...), '}'), nil
	}
	return appendRest(dst, data), nil
}

// appendEnd appends one end of an edge: a plain id, or the collection's name
// and the id where that is the vertex's key.
func appendEnd(dst []byte, name, collection, id string) []byte {
	dst = append(dst, name...)
	if wire.Keyed(collection) {
		return gjson.AppendJSONString(append(dst, `":`...), collection+"/"+id)
	}
	return gjson.AppendJSONString(append(dst, `_external_id":`...), id)
}

// row is one row of a page, as spans of its bytes.
type row struct {
	collection *collection
	place      gapless.Hash128
	// number tells apart rows of the same place.
	number uint64
	start  uint32
	end    uint32
	// key as the engine knows it, up to keyEnd behind the row's end.
	keyEnd    uint32
	partition string
	origin    string
	line      uint64
}

// page is one import. Rows that were overtaken by others have number 0.
type page struct {
	buf  []byte
	rows []row
	// dead is how many rows were overtaken.
	dead int
	// fence says that everything before it has to be settled first.
	fence bool
	// sent is when the service accepted it as the import id.
	id   string
	sent time.Time
}

// bytes is about how long the page's report will be.
func (p *page) bytes() int64 { return int64(len(p.buf)) }

// live returns the rows that count.
func (p *page) live() []row {
	if p.dead > 0 {
		p.rows = slices.DeleteFunc(p.rows, func(r row) bool { return r.number == 0 })
		p.dead = 0
	}
	return p.rows
}

// render returns the report of a page. Rows of one collection stand together.
func (p *page) render(e *envelope) []byte {
	dst := make([]byte, 0, len(e.prefix)+len(p.buf)+len(p.rows)+64)
	dst = append(dst, e.prefix...)
	var open *collection
	for i := range p.rows {
		r := &p.rows[i]
		if r.collection == open {
			dst = append(dst, ',')
		} else {
			if open != nil {
				dst = append(dst, ']')
			}
			dst = append(gjson.AppendJSONString(append(dst, ','), r.collection.name), `:[`...)
			open = r.collection
		}
		dst = append(dst, p.buf[r.start:r.end]...)
	}
	if open != nil {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// split returns the page in two.
func (p *page) split() (a, b *page) {
	half := len(p.rows) / 2
	return &page{buf: p.buf, rows: p.rows[:half:half], fence: p.fence}, &page{buf: p.buf, rows: p.rows[half:]}
}

// merge appends another page.
func (p *page) merge(q *page) {
	shift := uint32(len(p.buf))
	p.buf = append(p.buf, q.buf...)
	for _, r := range q.rows {
		r.start, r.end, r.keyEnd = r.start+shift, r.end+shift, r.keyEnd+shift
		p.rows = append(p.rows, r)
	}
	p.fence = p.fence || q.fence
}

// find returns the index of a row that a service names by its collection and
// its place within it, or -1.
func (p *page) find(collection string, index int) int {
	for i := range p.rows {
		if p.rows[i].collection.name != collection {
			continue
		}
		if index == 0 {
			return i
		}
		index--
	}
	return -1
}

// rejection names a row as the engine knows it.
func (p *page) rejection(r *row, err error) gapless.Rejection {
	raw := p.buf[r.start:r.end]
	return gapless.Rejection{
		Key: string(p.buf[r.end:r.keyEnd]), Partition: r.partition, Origin: r.origin, Line: int(r.line),
		Raw: slices.Clone(raw[:min(len(raw), gapless.MaxRejectBytes)]), Err: err,
	}
}
