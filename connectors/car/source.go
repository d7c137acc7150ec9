package car

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// maxEnumeration bounds the reply of a service that gives a collection in one.
const maxEnumeration = 4 << 30

// SourceOptions say what to read of a service.
type SourceOptions struct {
	// Source is the id of the source whose rows are read.
	Source string
	// Collections to read; all core ones and those of the extension if empty.
	Collections []string
	// Fields to ask for in a collection, beside those that identify a row.
	// Without them, all that the service's schema of imports names.
	Fields map[string][]string
	// Extension has further collections; nil for none.
	Extension *Extension
	// PageRows is how many rows one query asks for. Defaults to 2,000.
	PageRows int
}

// Source reads what a service holds of one source.
type Source struct {
	client *Client
	opts   SourceOptions
	known  collections
}

var (
	_ gapless.Source = (*Source)(nil)
	_ gapless.Closer = (*Source)(nil)
)

// NewSource returns a source of client's service. Errors are
// [gapless.Misconfigured].
func NewSource(client *Client, opts SourceOptions) (*Source, error) {
	known, err := newCollections(opts.Extension)
	switch {
	case err != nil:
		return nil, invalidOption("extension", err)
	case opts.Source == "":
		return nil, invalidOption("source", errors.New("is empty"))
	case opts.PageRows < 0:
		return nil, invalidOption("page_rows", errors.New("is negative"))
	}
	opts.PageRows = cmp.Or(opts.PageRows, wire.PageRows)
	if len(opts.Collections) == 0 {
		opts.Collections = slices.Sorted(maps.Keys(known.byName))
	}
	slices.SortStableFunc(opts.Collections, func(a, b string) int { return kindOf(&known, a) - kindOf(&known, b) })
	for _, name := range opts.Collections {
		if _, err := known.of(name, ""); err != nil {
			return nil, invalidOption("collections", err)
		}
	}
	return &Source{client, opts, known}, nil
}

// kindOf orders vertices before edges.
func kindOf(known *collections, name string) int {
	if c := known.byName[name]; c != nil && c.edge {
		return 1
	}
	return 0
}

// Describe implements [gapless.Source].
func (s *Source) Describe(ctx context.Context) (gapless.Description, error) {
	_, err := s.client.Source(ctx, s.opts.Source)
	if errors.Is(err, gapless.ErrNotFound) {
		err = gapless.Because(gapless.CauseInvalidParameter, fmt.Errorf("the service has no source %s", s.opts.Source))
	}
	if err != nil {
		return gapless.Description{}, err
	}
	return gapless.Description{Model: gapless.ModelFull, Collections: s.opts.Collections, Schema: "car " + s.opts.Source}, nil
}

// ReadAll implements [gapless.Source]. The rows come in pages where the
// service can give them so, and in one reply otherwise. No marks are given: the
// order of the ids is the service's.
func (s *Source) ReadAll(ctx context.Context, p gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	if after != "" {
		return gapless.Expired(errors.New("an enumeration of a CAR service cannot be continued"))
	}
	known := collections{maps.Clone(s.known.byName), s.known.extra}
	c, err := known.of(p.Collection, "")
	if err != nil {
		return gapless.Misconfigured(err)
	}
	r := &reader{Source: s, c: c, out: out, fields: []string{"_row"}, whole: true}
	r.take = r.emit
	err = r.pages(ctx)
	if !r.refused(err) {
		return err
	}
	if r.fields, err = s.fields(ctx, c.name); err != nil {
		return err
	}
	r.whole = false
	if err = r.pages(ctx); !r.refused(err) {
		return err
	}
	return r.all(ctx)
}

// Close implements [gapless.Closer]: it drops the client's idle connections.
func (s *Source) Close() error {
	s.client.Close()
	return nil
}

// fields returns the names of what to ask for.
func (s *Source) fields(ctx context.Context, name string) ([]string, error) {
	if fields := s.opts.Fields[name]; len(fields) > 0 {
		return fields, nil
	}
	schema, err := s.client.ImportSchema(ctx)
	if err != nil {
		return nil, err
	}
	fields := schemaFields(schema, name)
	if len(fields) == 0 {
		return nil, invalidOption("fields", fmt.Errorf("lacks %s, whose fields the service does not tell", name))
	}
	return fields, nil
}

// schemaFields returns the properties that a schema of imports gives to the
// rows of a collection.
func schemaFields(schema []byte, collection string) []string {
	root := gjson.ParseBytes(schema)
	follow := func(r gjson.Result) gjson.Result {
		for range 8 {
			path, ok := strings.CutPrefix(r.Get("$ref").String(), "#/")
			if !ok {
				break
			}
			r = root
			for name := range strings.SplitSeq(path, "/") {
				r = r.Map()[name]
			}
		}
		return r
	}
	var names []string
	row := follow(follow(root.Get("properties").Map()[collection]).Get("items"))
	for name := range row.Get("properties").Map() {
		if wire.IsName(strings.TrimLeft(name, "_")) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// reader reads one collection.
type reader struct {
	*Source
	c      *collection
	fields []string
	whole  bool // the first field is the row itself
	out    *gapless.Output
	take   func(row gjson.Result) error
	taken  bool
}

// refused reports whether a service does not take this kind of query, and
// another may do.
func (r *reader) refused(err error) bool {
	_, ok := errors.AsType[*QueryError](err)
	return ok && !r.taken
}

// query returns the query for the rows behind an id, or for all if limit is 0.
func (r *reader) query(after string, limit int) string {
	b := append([]byte("{ "), r.c.name...)
	equal := string(gjson.AppendJSONString([]byte("{source: {_eq: "), r.opts.Source)) + "}}"
	switch {
	case limit == 0:
		b = append(append(b, "(where: "...), equal...)
	case after == "":
		b = append(append(b, "(where: "...), equal...)
		b = strconv.AppendInt(append(b, ", order_by: {id: asc}, limit: "...), int64(limit), 10)
	default:
		b = append(append(b, "(where: {_and: ["...), equal...)
		b = gjson.AppendJSONString(append(b, ", {id: {_gt: "...), after)
		b = strconv.AppendInt(append(b, "}}]}, order_by: {id: asc}, limit: "...), int64(limit), 10)
	}
	b = append(b, ") { "...)
	for _, name := range r.identity(limit > 0) {
		b = append(append(b, name...), ' ')
	}
	for _, name := range r.fields {
		if !slices.Contains(r.identity(true), name) {
			b = append(append(b, name...), ' ')
		}
	}
	return string(append(b, "} }"...))
}

// identity returns the fields that identify a row.
func (r *reader) identity(paged bool) []string {
	if !r.c.edge {
		return []string{"id"}
	}
	ends := []string{r.c.from + "_id", r.c.to + "_id"}
	if paged {
		ends = append(ends, "id")
	}
	return ends
}

// pages reads page after page until one is empty: a short one may be due to a
// limit of the service. An empty one has to come twice, for what it leaves out
// counts as deleted, and a service may answer so once that has lost its store.
func (r *reader) pages(ctx context.Context) error {
	after, ended := "", false
	for {
		data, err := r.client.Query(ctx, r.query(after, r.opts.PageRows))
		if err != nil {
			return err
		}
		rows := gjson.GetBytes(data, r.c.name)
		if !rows.IsArray() {
			return gapless.Recoverable(fmt.Errorf("the service's reply has no list of %s", r.c.name))
		}
		last, count := after, 0
		rows.ForEach(func(_, row gjson.Result) bool {
			last, count, r.taken = row.Get("id").String(), count+1, true
			err = r.take(row)
			return err == nil
		})
		switch {
		case err != nil || count == 0 && ended:
			return err
		case count == 0:
			ended = true
			continue
		case last == after || last == "":
			return gapless.Recoverable(fmt.Errorf("the service gives the page of %s behind %s again", r.c.name, clip(after)))
		}
		after, ended = last, false
	}
}

// all reads a collection that comes in one reply.
func (r *reader) all(ctx context.Context) error {
	body, err := queryBody(r.query("", 0))
	if err != nil {
		return err
	}
	request := &call{what: "read " + r.c.name, method: http.MethodPost, url: r.client.v3 + "/query", body: body, once: true}
	err = r.client.send(ctx, request, func(_ int, body io.Reader) error {
		limited := &io.LimitedReader{R: body, N: maxEnumeration}
		if err := r.stream(json.NewDecoder(limited)); err != nil {
			return unreadable(request, err)
		}
		return nil
	})
	return unsettled(err)
}

// stream reads a reply row by row. It is complete only if the whole of it is.
func (r *reader) stream(d *json.Decoder) error {
	seen := false
	err := eachField(d, func(name string) error {
		switch name {
		case "data":
			return eachField(d, func(name string) error {
				if name != r.c.name {
					return skip(d)
				}
				seen = true
				return r.rows(d)
			})
		case "errors":
			var list []json.RawMessage
			if err := d.Decode(&list); err != nil || len(list) == 0 {
				return err
			}
			return gapless.Recoverable(queryError(list))
		}
		return skip(d)
	})
	if err == nil && !seen {
		err = fmt.Errorf("it has no list of %s", r.c.name)
	}
	return err
}

func (r *reader) rows(d *json.Decoder) error {
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return cmp.Or(err, errors.New("it has no list"))
	}
	for d.More() {
		var row json.RawMessage
		if err := d.Decode(&row); err != nil {
			return err
		}
		r.taken = true
		if err := r.take(gjson.ParseBytes(row)); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// eachField calls fn with the decoder behind each name of an object.
func eachField(d *json.Decoder, fn func(name string) error) error {
	t, err := d.Token()
	if err == nil && t != json.Delim('{') {
		err = errors.New("it is no object")
	}
	if err != nil {
		return err
	}
	for d.More() {
		if t, err = d.Token(); err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return errors.New("it is no object")
		}
		if err := fn(name); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func skip(d *json.Decoder) error {
	var value json.RawMessage
	return d.Decode(&value)
}

// emit hands over one row, with the key that it has outside the service.
func (r *reader) emit(row gjson.Result) error {
	key, err := r.key(row)
	data := []byte(nil)
	if err == nil {
		data, err = r.data(row)
	}
	if err != nil {
		return r.out.Reject(gapless.Rejection{
			Key: key, Origin: r.c.name, Raw: []byte(row.Raw[:min(len(row.Raw), gapless.MaxRejectBytes)]), Err: err,
		})
	}
	b := r.out.Batch()
	b.AppendRow(gapless.Row{Key: b.AppendBytes([]byte(key)), Data: b.AppendBytes(data)})
	return r.out.FlushIfFull()
}

func (r *reader) key(row gjson.Result) (string, error) {
	if !r.c.edge {
		return r.plain(row.Get("id").String(), r.c.name)
	}
	from, err := r.plain(row.Get(r.c.from+"_id").String(), r.c.from)
	if err != nil {
		return "", err
	}
	to, err := r.plain(row.Get(r.c.to+"_id").String(), r.c.to)
	if err != nil {
		return "", err
	}
	return wire.EdgeKey(from, to), nil
}

// plain returns the id that a vertex has at its source.
func (r *reader) plain(id, collection string) (string, error) {
	rest, ok := strings.CutPrefix(id, r.opts.Source+"/")
	if ok {
		rest = wire.VertexID(collection, rest)
	}
	if !ok || rest == "" {
		return "", fmt.Errorf("the id %s is not one of source %s", clip(id), r.opts.Source)
	}
	return rest, nil
}

// data returns the row without what the service or the transport made of it.
func (r *reader) data(row gjson.Result) ([]byte, error) {
	made := []string{wire.SourceField, wire.ReportField}
	switch {
	case r.whole:
		row = row.Get("_row")
	case r.c.edge:
		made = append(made, "id", r.c.from+"_id", r.c.to+"_id")
	default:
		made = append(made, "id", "external_id")
	}
	if r.c.edge {
		made = append(made, "timestamp")
	}
	if !row.IsObject() {
		return nil, errors.New("the row is no object")
	}
	if r.whole && !r.c.edge {
		return []byte(row.Raw), nil
	}
	return withoutFields(row, made), nil
}

// withoutFields returns an object without some fields, and without those that
// are null.
func withoutFields(row gjson.Result, without []string) []byte {
	b := []byte{'{'}
	row.ForEach(func(name, value gjson.Result) bool {
		if value.Type == gjson.Null || slices.Contains(without, name.Str) {
			return true
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, name.Raw...), ':'), value.Raw...)
		return true
	})
	return append(b, '}')
}
