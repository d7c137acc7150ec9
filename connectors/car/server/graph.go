package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/server/query"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

var _ query.Graph = Graph{}

// Graph is what a server holds as queries read it: what is durable.
type Graph struct{ server *Server }

// Graph returns the rows of the server for queries.
func (s *Server) Graph() Graph { return Graph{s} }

// Sources implements [query.Graph].
func (g Graph) Sources(ctx context.Context) ([]string, error) {
	names, err := g.server.opts.Store.Sources(ctx)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, name := range names {
		err := g.server.readSource(ctx, name, func(n Snapshot) error {
			_, err := n.Get(ctx, wire.SourceField, name)
			if err == nil {
				list = append(list, name)
			}
			return err
		})
		if err != nil && !errors.Is(err, gapless.ErrNotFound) {
			return nil, err
		}
	}
	return list, nil
}

// Collections implements [query.Graph].
func (g Graph) Collections(ctx context.Context) (vertices, edges []string, err error) {
	schema := g.server.schemas.current()
	vertices, edges = schema.collections()
	names, err := g.server.opts.Store.Sources(ctx)
	if err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	for _, name := range append(vertices, edges...) {
		seen[name] = true
	}
	add := func(list *[]string, names []string) {
		for _, name := range names {
			if !seen[name] {
				seen[name] = true
				*list = append(*list, name)
			}
		}
	}
	for _, name := range names {
		src, err := g.server.source(ctx, name, false)
		if err != nil {
			return nil, nil, err
		}
		if src == nil {
			continue
		}
		present, err := src.corpus.Collections(ctx)
		if err != nil {
			return nil, nil, err
		}
		v, e := schema.rows(present)
		add(&vertices, v)
		add(&edges, e)
	}
	return vertices, edges, nil
}

// Row implements [query.Graph].
func (g Graph) Row(ctx context.Context, source, collection, key string) (row query.Row, err error) {
	row, err = query.Row{}, fmt.Errorf("source %q: %w", source, gapless.ErrNotFound)
	if checkSourceName(source) != nil {
		return row, err
	}
	readErr := g.server.readSource(ctx, source, func(n Snapshot) error {
		r, getErr := n.Get(ctx, collection, key)
		row, err = query.Row{Key: key, Data: r.Data, Modified: r.Modified}, getErr
		return nil
	})
	return row, errors.Join(readErr, err)
}

// Rows implements [query.Graph].
func (g Graph) Rows(ctx context.Context, source, collection, prefix, after string, fn func(query.Row) error) error {
	if checkSourceName(source) != nil {
		return nil //nolint:nilerr // no source has such a name
	}
	return g.server.readSource(ctx, source, func(n Snapshot) error {
		return n.Records(ctx, collection, prefix, after, func(r gapless.Record) error {
			return fn(query.Row{Key: r.Key, Data: r.Data, Modified: r.Modified})
		})
	})
}

// streamBuffer is how much of a streamed reply is sent at a time.
const streamBuffer = 64 << 10

// stream begins the reply with the first bytes that are written.
type stream struct {
	c     *exchange
	began bool
}

func (w *stream) Write(p []byte) (int, error) {
	if !w.began {
		w.began = true
		w.c.w.Header().Set("Content-Type", "application/json")
		w.c.w.WriteHeader(http.StatusOK)
	}
	return w.c.w.Write(p)
}

const (
	// maxQueries is how many queries are answered at a time; others wait.
	maxQueries = 8
	// queryTime bounds the wait for a query and the answer to it.
	queryTime = 10 * time.Minute
)

// query hands a request to package query. A reply that cannot be completed
// ends the connection with [http.ErrAbortHandler]: it never looks complete.
func (s *Server) query(c *exchange) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	body = queryOf(body)
	tooLong := &query.Error{Message: "the query took longer than " + queryTime.String()}
	ctx, cancel := context.WithTimeoutCause(c.r.Context(), queryTime, tooLong)
	defer cancel()
	select {
	case s.queries <- struct{}{}:
		defer func() { <-s.queries }()
	case <-ctx.Done():
		return c.queryFailed(context.Cause(ctx))
	}
	out := &stream{c: c}
	buffered := bufio.NewWriterSize(out, streamBuffer)
	err = query.Execute(ctx, s.Graph(), s.opts.Query, body, buffered)
	if err == nil {
		return buffered.Flush()
	}
	if out.began {
		panic(http.ErrAbortHandler)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return c.queryFailed(err)
}

// queryFailed answers with what is wrong with a query, as clients expect it.
func (c *exchange) queryFailed(err error) error {
	if e, ok := errors.AsType[*query.Error](err); ok {
		return c.reply(http.StatusOK, map[string]any{"errors": []any{map[string]string{"message": e.Error()}}})
	}
	return err
}

// queryOf returns the JSON of a request: some versions of the original
// framework send the query as a form, and call it JSON.
func queryOf(body []byte) []byte {
	if !bytes.HasPrefix(body, []byte("query=")) {
		return body
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return body
	}
	return encode(map[string]string{"query": form.Get("query")})
}
