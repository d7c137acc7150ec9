package server

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// maxFound bounds the reply of a search, in bytes.
const maxFound = 64 << 20

// found collects documents for a reply.
type found struct {
	text  []byte
	count int
}

func (f *found) add(document []byte) error {
	if f.count++; f.count > 1 {
		f.text = append(f.text, ',')
	}
	f.text = append(f.text, document...)
	if len(f.text) > maxFound {
		return refuse(http.StatusRequestEntityTooLarge, codeTooLarge, "what was found has more than %d bytes; ask by POST %squery, which takes limit and offset", maxFound, PathV3)
	}
	return nil
}

// search answers with the rows of a collection whose attributes have the
// values of the query.
func (s *Server) search(c *exchange) error {
	ctx := c.r.Context()
	collection := c.path[0]
	edge, known := s.schemas.current().isEdge(collection)
	if collection != wire.SourceField && !known {
		return notFound("there is no collection %q", clip(collection))
	}
	wanted, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return malformed("the query is not percent-encoded")
	}
	sources, err := s.opts.Store.Sources(ctx)
	if err != nil {
		return err
	}
	f := &found{text: []byte{'['}}
	for _, name := range sources {
		err := s.readSource(ctx, name, func(n Snapshot) error {
			return n.Records(ctx, collection, "", "", func(r gapless.Record) error {
				text := present(name, collection, r, edge)
				if !matches(text, wanted) {
					return nil
				}
				return f.add(text)
			})
		})
		if err != nil {
			return err
		}
	}
	return c.raw(http.StatusOK, append(f.text, ']'))
}

// readSource calls fn with the durable rows of a source, if there is one.
func (s *Server) readSource(ctx context.Context, name string, fn func(Snapshot) error) error {
	src, err := s.source(ctx, name, false)
	if err != nil || src == nil {
		return err
	}
	n, err := src.corpus.Snapshot(ctx, false)
	if err != nil {
		return err
	}
	defer n.Close()
	return fn(n)
}

// present returns a row as it is shown: with its source, and a vertex with its
// ids.
func present(source, collection string, r gapless.Record, edge bool) []byte {
	add := []struct{ name, value string }{{"source", source}}
	switch {
	case collection == wire.SourceField:
		return slices.Clone(r.Data)
	case !edge:
		add = append(add, struct{ name, value string }{"id", wire.GraphID(source, collection, r.Key)},
			struct{ name, value string }{"external_id", wire.ExternalID(collection, r.Key)})
	}
	dst := []byte{'{'}
	for _, a := range add {
		if !gjson.GetBytes(r.Data, a.name).Exists() {
			dst = append(append(append(append(dst, encode(a.name)...), ':'), encode(a.value)...), ',')
		}
	}
	rest := bytes.TrimSpace(r.Data)[1:]
	if bytes.Equal(bytes.TrimSpace(rest), []byte("}")) {
		dst = dst[:max(len(dst)-1, 1)]
	}
	return append(dst, rest...)
}

// matches reports whether a document has an attribute for every wanted value.
func matches(document []byte, wanted url.Values) bool {
	for name, values := range wanted {
		value := lastField(document, name)
		for _, want := range values {
			if !value.Exists() || value.String() != want {
				return false
			}
		}
	}
	return true
}

// graphOf answers with a vertex and its neighbours.
func (s *Server) graphOf(c *exchange) error {
	ctx := c.r.Context()
	collection, id := c.path[0], wire.VertexID(c.path[0], c.path[1])
	name, err := c.required("source")
	if err != nil {
		return err
	}
	src, err := s.source(ctx, name, false)
	if err != nil {
		return err
	}
	missing := notFound("source %q has no %s %q", clip(name), clip(collection), clip(id))
	if src == nil {
		return missing
	}
	n, err := src.corpus.Snapshot(ctx, false)
	if err != nil {
		return err
	}
	defer n.Close()
	vertex, err := n.Get(ctx, collection, id)
	if errors.Is(err, gapless.ErrNotFound) {
		return missing
	}
	if err != nil {
		return err
	}
	f := &found{}
	_, err = s.edgesOf(ctx, src, n, collection, map[string]bool{id: true}, func(edge string, r gapless.Record) error {
		return s.addNeighbours(ctx, f, n, name, edge, collection, id, r)
	})
	if err != nil {
		return err
	}
	text := append([]byte(`{"result":`), present(name, collection, vertex, false)...)
	text = append(append(append(text, `,"related":[`...), f.text...), ']', '}')
	return c.raw(http.StatusOK, text)
}

// addNeighbours adds the other end of an edge, which may not be there itself.
func (s *Server) addNeighbours(ctx context.Context, f *found, n Snapshot, source, edge, collection, id string, link gapless.Record) error {
	fromCollection, toCollection, _ := s.schemas.current().ends(edge)
	from, to, _ := wire.SplitEdgeKey(link.Key)
	otherCollection, other := toCollection, to
	if fromCollection != collection || from != id {
		otherCollection, other = fromCollection, from
	}
	vertex, err := n.Get(ctx, otherCollection, other)
	if errors.Is(err, gapless.ErrNotFound) {
		vertex, err = gapless.Record{Key: other, Data: []byte(`{}`)}, nil
	}
	if err != nil {
		return err
	}
	text := append([]byte(`{"node":`), present(source, otherCollection, vertex, false)...)
	text = append(append(append(text, `,"link":`...), present(source, edge, link, true)...), '}')
	return f.add(text)
}
