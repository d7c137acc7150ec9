package car

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// DeleteVertices retires vertices of a collection by their ids, and with them
// their edges, in as many requests as their length asks for. Ids that the
// service does not have are no error.
func (c *Client) DeleteVertices(ctx context.Context, source, collection string, ids []string) error {
	parameter := "external_ids"
	if wire.Keyed(collection) {
		parameter = "keys"
	}
	address := c.v2 + "/source/" + escape(source) + "/" + escape(collection) + "?" + parameter + "="
	var list strings.Builder
	for i, id := range ids {
		if list.Len() > 0 {
			list.WriteByte(',')
		}
		list.WriteString(escape(id))
		if i < len(ids)-1 && list.Len()+len(ids[i+1]) < maxIDBytes {
			continue
		}
		request := &call{what: "delete from " + collection, method: http.MethodDelete, url: address + list.String()}
		if err := c.exchange(ctx, request, nil); err != nil {
			return err
		}
		list.Reset()
	}
	return nil
}

// PatchEdge changes fields of an edge; false for active retires it. Its ends
// are ids of vertices.
func (c *Client) PatchEdge(ctx context.Context, edge, source, from, to string, fields map[string]any) error {
	fromCollection, toCollection, ok := wire.Ends(edge)
	if !ok {
		return gapless.Unrecoverable(fmt.Errorf("%s is not the name of an edge collection", edge))
	}
	end := func(collection, id string) string {
		return escape(wire.ExternalID(collection, wire.VertexID(collection, id)))
	}
	return c.patch(ctx, "update an edge of "+edge,
		"/"+escape(edge)+"?source="+escape(source)+"&from="+end(fromCollection, from)+"&to="+end(toCollection, to), fields)
}

// PatchVertex changes fields of a vertex. Services take name and
// pending_update.
func (c *Client) PatchVertex(ctx context.Context, collection, id string, fields map[string]any) error {
	return c.patch(ctx, "update a vertex of "+collection, "/"+escape(collection)+"?external_id="+escape(wire.ExternalID(collection, id)), fields)
}

// Search returns the documents of a collection with this value of an
// attribute, by a request that newer services replace by queries.
func (c *Client) Search(ctx context.Context, collection, attribute, value string) (documents []json.RawMessage, err error) {
	request := &call{
		what: "search " + collection, method: http.MethodGet, url: c.v2 + "/" + escape(collection) + "?" + escape(attribute) + "=" + escape(value),
	}
	err = c.exchange(ctx, request, func(r reply) error { return json.Unmarshal(r.body, &documents) })
	return documents, err
}

// ImportSchema returns the JSON Schema of reports.
func (c *Client) ImportSchema(ctx context.Context) (json.RawMessage, error) {
	var answer struct {
		Schema json.RawMessage `json:"schema"`
	}
	request := &call{what: "read the import schema", method: http.MethodGet, url: c.v3 + "/importSchema?version=v2"}
	err := c.exchange(ctx, request, func(r reply) error {
		if err := json.Unmarshal(r.body, &answer); err != nil {
			return err
		}
		if len(answer.Schema) == 0 || answer.Schema[0] != '{' {
			return errors.New("it has no schema")
		}
		return nil
	})
	return answer.Schema, unsettled(err)
}

// Extension is a schema extension: collections and fields beyond the core.
type Extension struct {
	// Key is a UUID of the author.
	Key   string `json:"key"`
	Owner string `json:"owner"`
	// Version is an integer as text.
	Version string `json:"version"`
	// Schema is an object with vertices and edges.
	Schema json.RawMessage `json:"schema"`
}

// Extension reads a schema extension, or [gapless.ErrNotFound].
func (c *Client) Extension(ctx context.Context, key string) (Extension, error) {
	var e Extension
	request := &call{
		what: "read schema extension " + key, method: http.MethodGet, url: c.v3 + "/carSchema/" + escape(key), takes: []int{http.StatusNotFound},
	}
	err := c.exchange(ctx, request, func(r reply) error {
		if r.status == http.StatusNotFound {
			return gapless.Unrecoverable(fmt.Errorf("schema extension %s: %w", key, gapless.ErrNotFound))
		}
		var err error
		e, err = decodeExtension(r.body)
		return err
	})
	return e, unsettled(err)
}

func decodeExtension(body []byte) (Extension, error) {
	var e Extension
	if err := json.Unmarshal(body, &e); err != nil {
		return e, err
	}
	if e.Version == "" {
		return e, errors.New("it has no version")
	}
	return e, nil
}

// PutExtension stores a schema extension in place of an older one.
func (c *Client) PutExtension(ctx context.Context, e Extension) error {
	body, err := json.Marshal(e)
	if err != nil {
		return gapless.Misconfigured(fmt.Errorf("encode schema extension %s: %w", e.Key, err))
	}
	err = c.exchange(ctx, &call{what: "store schema extension " + e.Key, method: http.MethodPost, url: c.v3 + "/carSchema", body: body}, nil)
	if err != nil && gapless.KindOf(err) == gapless.KindUnrecoverable {
		err = gapless.Misconfigured(err) // nothing was imported yet
	}
	return err
}

// Extend stores a schema extension unless the service has this version. A
// newer one there is [gapless.Misconfigured].
func (c *Client) Extend(ctx context.Context, e Extension) error {
	held, err := c.Extension(ctx, e.Key)
	if errors.Is(err, gapless.ErrNotFound) {
		return c.PutExtension(ctx, e)
	}
	if err != nil || held.Version == e.Version {
		return err
	}
	theirs, theirErr := strconv.ParseUint(held.Version, 10, 64)
	ours, err := strconv.ParseUint(e.Version, 10, 64)
	switch {
	case err != nil:
		return gapless.Misconfigured(fmt.Errorf("schema extension %s: version %q is not a number", e.Key, clip(e.Version)))
	case theirErr == nil && theirs > ours:
		return gapless.Misconfigured(fmt.Errorf("schema extension %s: the service has version %d, which is newer than %d", e.Key, theirs, ours))
	}
	return c.PutExtension(ctx, e)
}

// QueryError is what a service has against a query.
type QueryError struct{ Messages []string }

// Error returns the messages on one line.
func (e *QueryError) Error() string {
	return "the query has errors: " + clip(strings.Join(e.Messages, "; "))
}

// Query runs a GraphQL query and returns its data object. Errors of the query
// itself are a [QueryError].
func (c *Client) Query(ctx context.Context, graphql string) (json.RawMessage, error) {
	body, err := queryBody(graphql)
	if err != nil {
		return nil, err
	}
	var data json.RawMessage
	err = c.exchange(ctx, &call{what: "query", method: http.MethodPost, url: c.v3 + "/query", body: body}, func(r reply) error {
		data, err = decodeQuery(r.body)
		return err
	})
	return data, unsettled(err)
}

func queryBody(graphql string) ([]byte, error) {
	body, err := json.Marshal(map[string]string{"query": graphql})
	if err != nil {
		return nil, gapless.Unrecoverable(fmt.Errorf("encode query: %w", err))
	}
	return body, nil
}

func decodeQuery(body []byte) (json.RawMessage, error) {
	var answer struct {
		Data   json.RawMessage   `json:"data"`
		Errors []json.RawMessage `json:"errors"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	if len(answer.Errors) > 0 {
		return nil, gapless.Unrecoverable(queryError(answer.Errors))
	}
	if len(answer.Data) == 0 || answer.Data[0] != '{' {
		return nil, errors.New("it has no data")
	}
	return answer.Data, nil
}

func queryError(list []json.RawMessage) *QueryError {
	e := &QueryError{}
	for _, entry := range list {
		var one struct {
			Message text `json:"message"`
		}
		if json.Unmarshal(entry, &one) != nil || one.Message == "" {
			one.Message = text(entry)
		}
		e.Messages = append(e.Messages, string(one.Message))
	}
	return e
}
