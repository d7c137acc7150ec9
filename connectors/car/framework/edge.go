package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// Edge is an edge by the ids of its ends: the external_id of a vertex, or its
// key where the collection has keys.
type Edge struct{ From, To string }

// ends knows the names of the two collections that an edge collection joins.
type ends struct{ from, to string }

// endsOf splits the name of an edge collection; extra are vertex collections
// that a schema extension declares.
func endsOf(collection string, extra []string) (ends, error) {
	from, to, ok := wire.Ends(collection, extra...)
	if !ok || !wire.IsName(collection) {
		return ends{}, fmt.Errorf("%.80q is not the name of an edge collection: it is that of two vertex collections, joined by an underscore", collection)
	}
	return ends{from, to}, nil
}

// edge returns an edge with the ids of its ends in their plain form.
func (e ends) edge(from, to string) Edge {
	return Edge{From: wire.VertexID(e.from, from), To: wire.VertexID(e.to, to)}
}

func (e Edge) key() string { return wire.EdgeKey(e.From, e.To) }

// Querier runs GraphQL queries on the service: [car.Client] does.
type Querier interface {
	// Query returns the data object of the reply.
	Query(ctx context.Context, graphql string) (json.RawMessage, error)
}

// EdgeQuery says which edges of the service are compared with those of the
// data source.
type EdgeQuery struct {
	// Source that reported them.
	Source string
	// Collection of edges, such as asset_ipaddress.
	Collection string
	// Owner is the one of the two vertex collections whose vertices own the
	// edges, such as asset, and Owners are the ids of those to look at.
	Owner  string
	Owners []string
	// Vertices lists vertex collections of a schema extension.
	Vertices []string
}

// ownersPerQuery is how many owners one query names.
const ownersPerQuery = 200

// VanishedEdges returns the edges that the service has of the owners and that
// are not current: those that the data source no longer has, although both of
// their ends may be there. The service is asked about some owners at a time;
// if it does not understand that question, for the whole collection at once.
func VanishedEdges(ctx context.Context, service Querier, q EdgeQuery, current func(Edge) bool) ([]Edge, error) {
	e, err := endsOf(q.Collection, q.Vertices)
	if err != nil {
		return nil, gapless.Unrecoverable(err)
	}
	if q.Owner != e.from && q.Owner != e.to {
		return nil, gapless.Unrecoverable(fmt.Errorf("%s is no end of the edges of %s", q.Owner, q.Collection))
	}
	var vanished []Edge
	note := func(found Edge) {
		if !current(found) {
			vanished = append(vanished, found)
		}
	}
	for some := range slices.Chunk(q.Owners, ownersPerQuery) {
		err = q.ask(ctx, service, e, q.ownedBy(some), note)
		if err == nil {
			continue
		}
		if _, refused := errors.AsType[*car.QueryError](err); refused { // the question itself
			vanished = nil
			err = q.askForAll(ctx, service, e, note)
		}
		break
	}
	return vanished, err
}

// askForAll asks for every edge of the collection and picks those of owners.
func (q *EdgeQuery) askForAll(ctx context.Context, service Querier, e ends, note func(Edge)) error {
	owners := make(map[string]bool, len(q.Owners))
	for _, id := range q.Owners {
		owners[wire.VertexID(q.Owner, id)] = true
	}
	return q.ask(ctx, service, e, "source: {_eq: "+quote(q.Source)+"}", func(found Edge) {
		if q.Owner == e.from && owners[found.From] || q.Owner == e.to && owners[found.To] {
			note(found)
		}
	})
}

// ownedBy is the condition that an edge belongs to one of owners.
func (q *EdgeQuery) ownedBy(owners []string) string {
	ids := make([]string, len(owners))
	for i, id := range owners {
		ids[i] = quote(wire.GraphID(q.Source, q.Owner, id))
	}
	return "_and: [{source: {_eq: " + quote(q.Source) + "}}, {" + q.Owner + "_id: {_in: [" + strings.Join(ids, ", ") + "]}}]"
}

// ask calls note for every edge that meets a condition.
func (q *EdgeQuery) ask(ctx context.Context, service Querier, e ends, where string, note func(Edge)) error {
	fromField, toField := e.from+"_id", e.to+"_id"
	data, err := service.Query(ctx, "{ "+q.Collection+"(where: {"+where+"}) { "+fromField+", "+toField+" } }")
	if err != nil {
		return fmt.Errorf("query %s: %w", q.Collection, err)
	}
	list := gjson.GetBytes(data, q.Collection)
	if !list.IsArray() {
		return gapless.Recoverable(fmt.Errorf("query %s: the reply has no list of them", q.Collection))
	}
	for _, entry := range list.Array() {
		from, fromOK := strings.CutPrefix(entry.Get(fromField).Str, q.Source+"/")
		to, toOK := strings.CutPrefix(entry.Get(toField).Str, q.Source+"/")
		if !fromOK || !toOK {
			return gapless.Recoverable(fmt.Errorf("query %s: an edge has no ids of source %s", q.Collection, q.Source))
		}
		note(e.edge(from, to))
	}
	return nil
}

// quote writes a GraphQL string; JSON's escapes are GraphQL's.
func quote(s string) string {
	text, _ := json.Marshal(s) // a string always can be
	return string(text)
}

// edgeOf reads the ends of an edge row, in any of their spellings.
func (e ends) edgeOf(row []byte) (Edge, error) {
	found := gjson.GetManyBytes(row, "_from_external_id", "_from", "_to_external_id", "_to")
	from, to := endOf(e.from, found[0], found[1]), endOf(e.to, found[2], found[3])
	if from == "" || to == "" {
		return Edge{}, errors.New("the edge lacks an end: it needs _from_external_id or _from, and _to_external_id or _to")
	}
	return e.edge(from, to), nil
}

// endOf returns the id of an end in a vertex collection: external has it as it
// is, plain may have the collection's name before it.
func endOf(collection string, external, plain gjson.Result) string {
	if id := idOf(external); id != "" {
		return id
	}
	return wire.EndID(collection, idOf(plain))
}

// idOf returns the id that a value of JSON is: a string or a number.
func idOf(r gjson.Result) string {
	switch r.Type {
	case gjson.String:
		return r.Str
	case gjson.Number:
		return r.Raw
	}
	return ""
}
