package car

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// maxCollections bounds what is remembered of collections of any name.
const maxCollections = 10_000

// collections are those of a graph: the core ones, those of a schema
// extension, and others as they come.
type collections struct {
	byName map[string]*collection
	// extra vertices beyond the core.
	extra []string
}

// newCollections returns the core collections and those of an extension.
func newCollections(e *Extension) (collections, error) {
	k := collections{byName: map[string]*collection{}}
	var schema struct {
		Vertices []struct {
			Name string `json:"name"`
		} `json:"vertices"`
		Edges []struct {
			End1 string `json:"end1"`
			End2 string `json:"end2"`
		} `json:"edges"`
	}
	if e != nil {
		if err := json.Unmarshal(e.Schema, &schema); err != nil {
			return k, fmt.Errorf("decode the schema: %w", err)
		}
	}
	for _, v := range schema.Vertices {
		if !wire.IsName(v.Name) {
			return k, fmt.Errorf("%q cannot be the name of a vertex collection", clip(v.Name))
		}
		k.extra = append(k.extra, v.Name)
	}
	for _, name := range slices.Concat(wire.Vertices(), k.extra) {
		k.byName[name] = newCollection(name, false, nil)
	}
	for _, name := range wire.Edges() {
		k.byName[name] = newCollection(name, true, nil)
	}
	for _, edge := range schema.Edges {
		name := edge.End1 + "_" + edge.End2
		if edge.End1 == "" || edge.End2 == "" || !wire.IsName(name) {
			return k, fmt.Errorf("%q cannot be the name of an edge collection", clip(name))
		}
		c := newCollection(name, true, nil)
		c.from, c.to = edge.End1, edge.End2
		k.byName[name] = c
	}
	return k, nil
}

// of returns the collection of a name. One that is not known is one of edges if
// its name joins two that are, or if the key is that of an edge.
func (k *collections) of(name, id string) (*collection, error) {
	if c := k.byName[name]; c != nil {
		return c, nil
	}
	if !wire.IsName(name) || name == wire.SourceField || name == wire.ReportField || len(k.byName) >= maxCollections {
		return nil, fmt.Errorf("%q cannot be the name of a collection", clip(name))
	}
	from, to, joined := wire.Ends(name, k.extra...)
	edge, entry := false, name
	switch {
	case joined && k.byName[from] != nil && k.byName[to] != nil:
		edge = true
	case joined: // it hangs on the key
		_, _, edge = wire.SplitEdgeKey(id)
		entry = fmt.Sprint(name, " ", edge)
	}
	c := k.byName[entry]
	if c == nil {
		c = newCollection(name, edge, k.extra)
		k.byName[entry] = c
	}
	return c, nil
}
