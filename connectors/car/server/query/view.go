package query

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// view is a row as queries see it.
type view struct {
	c      *collection
	source string
	// key of the row; without the time of its retirement.
	key string
	// text is the row's JSON object, outer that of a retired row's record.
	text, outer string
}

func viewOf(c *collection, source string, r Row) view {
	v := view{c: c, source: source, key: r.Key, text: string(r.Data)}
	if c.history {
		if at := strings.LastIndexByte(v.key, '@'); at >= 0 {
			v.key = v.key[:at]
		}
		v.outer = v.text
		v.text = gjson.Get(v.outer, "row").Raw
	}
	return v
}

// attribute is a field of a row: stored, or derived from what identifies it.
type attribute struct {
	kind attributeKind
	name string
}

type attributeKind uint8

const (
	storedAttribute attributeKind = iota
	keyedAttribute                // stored, or else the key
	activeAttribute
	idAttribute
	externalIDAttribute
	keyAttribute
	sourceAttribute
	rowAttribute
	fromIDAttribute
	toIDAttribute
	fromExternalIDAttribute
	toExternalIDAttribute
	retiredAttribute
)

// attribute returns what a field of this name is.
func (c *collection) attribute(name string) attribute {
	a := attribute{name: name}
	switch name {
	case "id":
		a.kind = idAttribute
	case "_key":
		a.kind = keyAttribute
	case "source":
		a.kind = sourceAttribute
	case "_row":
		a.kind = rowAttribute
	case "active":
		a.kind = activeAttribute
	case "retired", "reason":
		if c.history {
			a.kind = retiredAttribute
		}
	default:
		if c.edge() {
			a.kind = c.endAttribute(name)
		} else {
			a.kind = c.vertexAttribute(name)
		}
	}
	return a
}

func (c *collection) endAttribute(name string) attributeKind {
	switch name {
	case c.from + "_id":
		return fromIDAttribute
	case c.to + "_id":
		return toIDAttribute
	case "from_external_id":
		return fromExternalIDAttribute
	case "to_external_id":
		return toExternalIDAttribute
	}
	return storedAttribute
}

func (c *collection) vertexAttribute(name string) attributeKind {
	switch {
	case name == "external_id":
		return externalIDAttribute
	case name == "name" && wire.Keyed(c.name), name == "host_name" && c.name == "hostname":
		return keyedAttribute
	}
	return storedAttribute
}

// value returns a field of the row; it does not exist if the row has none.
func (v *view) value(a attribute) gjson.Result {
	switch a.kind {
	case idAttribute:
		return text(v.id())
	case keyAttribute:
		return text(v.key)
	case externalIDAttribute:
		return text(wire.ExternalID(v.c.name, v.key))
	case sourceAttribute:
		return text(v.source)
	case rowAttribute:
		return gjson.Result{Type: gjson.JSON, Raw: v.text}
	case retiredAttribute:
		return gjson.Get(v.outer, a.name)
	case fromIDAttribute:
		return text(wire.GraphID(v.source, v.c.from, v.from()))
	case toIDAttribute:
		return text(wire.GraphID(v.source, v.c.to, v.to()))
	case fromExternalIDAttribute:
		return text(wire.ExternalID(v.c.from, v.from()))
	case toExternalIDAttribute:
		return text(wire.ExternalID(v.c.to, v.to()))
	case storedAttribute, keyedAttribute, activeAttribute:
	}
	stored := gjson.Get(v.text, a.name)
	if stored.Type != gjson.Null {
		return stored
	}
	switch a.kind {
	case keyedAttribute:
		return text(v.key)
	case activeAttribute:
		if !v.c.history {
			return gjson.Result{Type: gjson.True, Raw: "true"}
		}
	}
	return stored
}

func text(s string) gjson.Result { return gjson.Result{Type: gjson.String, Str: s} }

func (v *view) id() string {
	if v.c.edge() {
		return v.source + "/" + v.key
	}
	return wire.GraphID(v.source, v.c.name, v.key)
}

func (v *view) from() string {
	from, _, _ := wire.SplitEdgeKey(v.key)
	return from
}

func (v *view) to() string {
	_, to, _ := wire.SplitEdgeKey(v.key)
	return to
}
