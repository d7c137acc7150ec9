package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// patchRow changes fields of an edge or of vertices. What is not there is not
// made; the reply says how many rows matched.
func (s *Server) patchRow(c *exchange) error {
	collection := c.path[0]
	if !wire.IsName(collection) {
		return malformed("%q cannot be the name of a collection", clip(collection))
	}
	object, err := c.object()
	if err != nil {
		return err
	}
	patch, err := fields(object)
	if err != nil {
		return err
	}
	for _, name := range []string{fieldKey, "external_id", "_from", "_to", "_from_external_id", "_to_external_id"} {
		if _, ok := patch[name]; ok {
			return malformed("field %s identifies the row and cannot be changed", name)
		}
	}
	edge, known := s.schemas.current().isEdge(collection)
	if !known {
		_, _, edge = s.schemas.current().ends(collection)
	}
	matched := 0
	if edge {
		matched, err = s.patchEdge(c, collection, patch)
	} else {
		matched, err = s.patchVertices(c, collection, patch)
	}
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, map[string]any{"status": statusComplete, "matched": matched})
}

// spellings returns what a parameter can mean: clients write a plus for a
// space, or for a plus.
func (c *exchange) spellings(name string) ([]string, error) {
	text, err := c.required(name)
	if err != nil {
		return nil, err
	}
	list := []string{text}
	if raw, err := url.PathUnescape(rawValues(c.r.URL.RawQuery, name)[0]); err == nil && raw != text {
		list = append(list, raw)
	}
	return list, nil
}

func (s *Server) patchEdge(c *exchange, edge string, patch map[string]json.RawMessage) (matched int, err error) {
	sources, err := c.spellings("source")
	if err != nil {
		return 0, err
	}
	keys, err := s.edgeKeys(c, edge)
	if err != nil {
		return 0, err
	}
	ctx := c.r.Context()
	for _, name := range sources {
		src, err := s.source(ctx, name, false)
		if src == nil || err != nil {
			if _, ok := errors.AsType[*problem](err); ok || err == nil {
				continue // no source can have this spelling, or none has
			}
			return 0, err
		}
		for _, key := range keys {
			if matched, err = s.patchOne(ctx, src, edge, key, patch); err != nil || matched > 0 {
				return matched, err
			}
		}
	}
	return 0, nil
}

// edgeKeys returns the keys that an edge can have.
func (s *Server) edgeKeys(c *exchange, edge string) (keys []string, err error) {
	fromCollection, toCollection, _ := s.schemas.current().ends(edge)
	from, err := c.spellings("from")
	if err != nil {
		return nil, err
	}
	to, err := c.spellings("to")
	if err != nil {
		return nil, err
	}
	for _, a := range from {
		for _, b := range to {
			keys = append(keys, wire.EdgeKey(wire.VertexID(fromCollection, a), wire.VertexID(toCollection, b)))
		}
	}
	return keys, nil
}

// patchVertices changes the vertices of an id, in all sources that have it.
func (s *Server) patchVertices(c *exchange, collection string, patch map[string]json.RawMessage) (matched int, err error) {
	parameter := "external_id"
	for _, other := range []string{fieldKey, "key"} {
		if len(rawValues(c.r.URL.RawQuery, parameter)) == 0 {
			parameter = other
		}
	}
	ids, err := c.spellings(parameter)
	if err != nil {
		return 0, err
	}
	ctx := c.r.Context()
	sources, err := s.opts.Store.Sources(ctx)
	if err != nil {
		return 0, err
	}
	if only, set, err := c.parameter("source"); err != nil {
		return 0, err
	} else if set {
		sources = slices.DeleteFunc(sources, func(name string) bool { return name != only })
	}
	for _, name := range sources {
		src, err := s.source(ctx, name, false)
		if err != nil {
			return 0, err
		}
		if src == nil {
			continue
		}
		for _, id := range ids {
			n, err := s.patchOne(ctx, src, collection, wire.VertexID(collection, id), patch)
			if err != nil {
				return 0, err
			}
			if matched += n; n > 0 {
				break
			}
		}
	}
	return matched, nil
}

// patchOne changes one row and returns how many there were. An edge that is
// made inactive is retired; one that is made active again comes back as it was.
func (s *Server) patchOne(ctx context.Context, src *source, collection, key string, patch map[string]json.RawMessage) (matched int, err error) {
	edge, known := s.schemas.current().isEdge(collection)
	edge = edge || !known
	active := string(patch["active"])
	_, err = s.change(ctx, src, func(_ *document, _ bool, w *writing) (*document, error) {
		row, err := src.rowToPatch(ctx, collection, key, edge && active == "true")
		if err != nil || row == nil {
			return nil, err
		}
		matched = 1
		merged := mergeFields(row, patch)
		if len(merged) > maxRowBytes {
			return nil, malformed("the row would have %d bytes, more than %d", len(merged), maxRowBytes)
		}
		if edge && active == "false" {
			w.retire(collection, key, row, reasonInactive)
		} else {
			w.upsert(collection, key, merged)
		}
		return nil, nil //nolint:nilnil // the document stays
	})
	return matched, err
}

// rowToPatch returns a row, or nil. With retired it may be one that was
// retired.
func (src *source) rowToPatch(ctx context.Context, collection, key string, retired bool) ([]byte, error) {
	r, err := src.corpus.Get(ctx, collection, key)
	if err == nil {
		return r.Data, nil
	}
	if !errors.Is(err, gapless.ErrNotFound) {
		return nil, err
	}
	if !retired {
		return nil, nil
	}
	snapshot, err := src.corpus.Snapshot(ctx, true)
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	return lastRetired(ctx, snapshot, collection, key)
}

// mergeFields sets fields of a row; those that are null are removed.
func mergeFields(row []byte, patch map[string]json.RawMessage) []byte {
	dst := []byte{'{'}
	put := func(name, value string) {
		if value != "null" {
			dst = append(append(append(append(dst, name...), ':'), value...), ',')
		}
	}
	gjson.ParseBytes(row).ForEach(func(key, value gjson.Result) bool {
		if _, changed := patch[key.Str]; !changed {
			dst = append(append(append(append(dst, key.Raw...), ':'), value.Raw...), ',')
		}
		return true
	})
	for _, name := range sortedKeys(patch) {
		put(string(encode(name)), string(patch[name]))
	}
	if last := len(dst) - 1; dst[last] == ',' {
		dst = dst[:last]
	}
	return append(dst, '}')
}
