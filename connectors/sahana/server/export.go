package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// errEnough ends an enumeration.
var errEnough = errors.New("enough")

// get answers with the records of a table, or with one.
func (c *exchange) get(record string) error {
	q := question{table: c.table, domain: c.s.opts.Domain, deleted: c.format == s3.S3XML && isTrue(c.query.Get("include_deleted")), since: c.sinceTime()}
	if err := cmp.Or(q.filtersOf(c.query, false), q.readPage(c.query)); err != nil {
		return err
	}
	q.exposed, q.componentID = c.exposed(), c.componentID
	q.readShape(c.query)
	v, err := c.s.view(c.r.Context(), c.table == tableLog) // which is durable later
	if err != nil {
		return err
	}
	defer v.Close()
	e := c.newExport(v, &q)
	if record == "" {
		if err := e.choose(); err != nil {
			return err
		}
		return e.send()
	}
	found, err := v.byName(c.r.Context(), ident{c.table, c.s.localUUID(record)})
	if err != nil {
		return err
	}
	if found == nil || found.resource.Deleted {
		return notFound("there is no %s %q", c.table, clip(record))
	}
	if q.componentID != "" && !slices.ContainsFunc(found.resource.Components, func(r s3.Resource) bool {
		return r.UUID == q.componentID && !r.Deleted && q.exposed.has(componentName(&r))
	}) {
		return notFound("there is no %s %q of %s %q", clip(c.component), clip(q.componentID), c.table, clip(record))
	}
	e.chosen = []uint64{found.id}
	return e.send()
}

// exposed returns the components that the address names, or else the parameter.
func (c *exchange) exposed() names {
	if c.component != "" {
		return names{some: true, list: []string{c.component}}
	}
	return readNames(c.query, "components")
}

// view returns what is synced or, with pushed, everything.
func (s *Server) view(ctx context.Context, pushed bool) (view, error) {
	snapshot, err := s.opts.Store.Snapshot(ctx, pushed)
	if err != nil {
		return view{}, fmt.Errorf("read the store: %w", err)
	}
	return view{snapshot}, nil
}

// byName returns the record of a uuid or of a number, or nil.
func (v view) byName(ctx context.Context, id ident) (*stored, error) {
	found, err := v.find(ctx, id)
	if found != nil || err != nil {
		return found, err
	}
	number, err := strconv.ParseUint(id.uuid, 10, 64)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // not a number, so there is none
	}
	e, err := v.entry(ctx, id.table, number)
	if errors.Is(err, gapless.ErrNotFound) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	return v.load(ctx, id.table, &e)
}

// export is a document that is being written.
type export struct {
	c *exchange
	*question
	view view
	// chosen are the numbers of the records, in order; scanned is how many
	// entries were looked at for them.
	chosen  []uint64
	scanned int
	out     *s3.Encoder
	// wanted is what the chosen records refer to.
	wanted map[ident]bool
	// results counts the records of the table in the document; latest is the
	// time of the latest of them, in seconds.
	results int
	latest  int64
	// survivors are what merges have made of records, by table; seen are
	// records that filters have looked at. Failed is why one could not be read.
	survivors map[string]map[string]string
	seen      map[ident]*s3.Resource
	failed    error
}

func (c *exchange) newExport(v view, q *question) *export {
	return &export{c: c, view: v, question: q, survivors: map[string]map[string]string{}, seen: map[ident]*s3.Resource{}}
}

// choose finds the records that are asked for.
func (e *export) choose() error {
	if e.limit == 0 {
		return nil
	}
	var keys [][]string
	find := e.finder()
	skip := e.start
	own := e.filters[ownTable]
	loads := len(own) > 0 && !onlyIDs(own) || len(e.order) > 0
	err := e.view.Records(e.c.r.Context(), collectionIndex, indexPrefix(e.table), e.after(own), func(record gapless.Record) error {
		id, err := idOfKey(record.Key)
		if err != nil {
			return fmt.Errorf("read the index of %s: %w", e.table, err)
		}
		e.scanned++
		entry := readEntry(record.Data)
		if entry.deleted && !e.deleted || !e.since.has(&entry) {
			return nil
		}
		r := &s3.Resource{}
		if loads {
			found, err := e.load(&entry)
			if err != nil {
				return err
			}
			r = &found.resource
		}
		if !passes(own, id, r, find) {
			return e.failed
		}
		if len(e.order) > 0 {
			keys = append(keys, e.sortKey(id, r, find))
		} else if skip > 0 {
			skip--
			return nil
		}
		e.chosen = append(e.chosen, id)
		if len(e.order) == 0 && len(e.chosen) >= e.limit {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if len(e.order) > 0 {
		e.sort(keys)
	}
	return nil
}

func onlyIDs(filters []filter) bool {
	return !slices.ContainsFunc(filters, func(f filter) bool { return f.selector != selector{field: "id"} })
}

// after returns the key behind which the index has to be read: pages by number
// are not read from their beginning.
func (e *export) after(filters []filter) string {
	var after string
	for _, f := range filters {
		if f.op == "gt" && len(f.values) == 1 && f.selector == (selector{field: "id"}) {
			id, _ := strconv.ParseUint(f.values[0], 10, 64) // readFilter has seen to that
			after = max(after, indexKey(e.table, id))
		}
	}
	return after
}

func (e *export) sortKey(id uint64, r *s3.Resource, find finder) []string {
	key := make([]string, len(e.order))
	for i := range e.order {
		if values := e.order[i].selector.values(nil, id, r, find); len(values) > 0 {
			key[i] = values[0]
		}
	}
	return key
}

// sort puts what was chosen in order and takes the slice that is asked for.
func (e *export) sort(keys [][]string) {
	index := make([]int, len(e.chosen))
	for i := range index {
		index[i] = i
	}
	slices.SortStableFunc(index, func(a, b int) int {
		for i := range e.order {
			n := order(keys[a][i], keys[b][i])
			if e.order[i].down {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return 0
	})
	index = index[min(e.start, len(index)):]
	index = index[:min(e.limit, len(index))]
	chosen := make([]uint64, len(index))
	for i, at := range index {
		chosen[i] = e.chosen[at]
	}
	e.chosen = chosen
}

// send writes the document.
func (e *export) send() error {
	e.wanted = map[ident]bool{}
	root := s3.NewDocument(len(e.chosen))
	if e.start > 0 {
		root.Set("start", strconv.Itoa(e.start))
	}
	if e.c.query.Has("limit") {
		root.Set("limit", strconv.Itoa(e.limit))
	}
	root.Set("domain", e.c.s.opts.Domain)
	root.Set("url", e.address())
	contentType := "text/xml"
	if e.c.format == s3.S3JSON {
		contentType = "application/json"
	}
	e.c.w.Header().Set("Content-Type", contentType)
	e.out = s3.NewEncoder(started{e.c}, e.c.format, root, s3.EncodeOptions{})
	err := e.eachChosen(func(entry *entry) error {
		found, err := e.load(entry)
		if err != nil {
			return err
		}
		return e.write(found, 0)
	})
	if err != nil {
		return err
	}
	if err := e.sendReferenced(); err != nil {
		return err
	}
	return e.out.Close()
}

// eachChosen calls fn with the entries of what was chosen, in order. The index
// is read through if that is faster than looking them up.
func (e *export) eachChosen(fn func(*entry) error) error {
	ctx := e.c.r.Context()
	if len(e.order) > 0 || len(e.chosen) < e.scanned/8 || e.scanned == 0 {
		for _, id := range e.chosen {
			entry, err := e.view.entry(ctx, e.table, id)
			if err != nil {
				return err
			}
			if err := fn(&entry); err != nil {
				return err
			}
		}
		return nil
	}
	rest := e.chosen
	err := e.view.Records(ctx, collectionIndex, indexPrefix(e.table), "", func(record gapless.Record) error {
		if len(rest) == 0 {
			return errEnough
		}
		if id, err := idOfKey(record.Key); err != nil || id != rest[0] {
			return err
		}
		rest = rest[1:]
		entry := readEntry(record.Data)
		return fn(&entry)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// started notes that the answer is on its way.
type started struct{ c *exchange }

func (s started) Write(p []byte) (int, error) {
	s.c.begun = true
	return s.c.w.Write(p)
}

// address returns where the server is found, as the client has it.
func (e *export) address() string {
	scheme := "http://"
	if e.c.r.TLS != nil {
		scheme = "https://"
	}
	return scheme + e.c.r.Host + e.c.s.opts.Base
}

// write writes a record. Depth is how many references led to it; only those of
// the first have components.
func (e *export) write(found *stored, depth int) error {
	r := found.resource
	if r.Name == e.table {
		e.results++
		e.latest = max(e.latest, r.ModifiedOn.Unix())
	}
	if depth == 0 && e.depth > 0 && !r.Deleted {
		e.want(&r, 0, e.wanted)
	}
	out := e.outgoing(&r, depth)
	if e.failed != nil {
		return e.failed
	}
	if !r.Deleted {
		e.locate(&out, found.id)
	}
	return e.out.Encode(&out)
}

// locate says where a record is found.
func (e *export) locate(out *s3.Resource, id uint64) {
	number := strconv.FormatUint(id, 10)
	if e.ids {
		out.ID = number
	}
	if prefix, name, _ := strings.Cut(out.Name, "_"); e.urls {
		out.URL = e.address() + "/" + prefix + "/" + name + "/" + number
	}
}

// want notes what a record refers to, and its components do.
func (e *export) want(r *s3.Resource, depth int, list map[ident]bool) {
	for i := range r.References {
		f := &r.References[i]
		if !e.references.has(f.Field) || f.Resource == "" || !isTableName(f.Resource) || !readable(f.Resource) {
			continue
		}
		if f.UUID != "" && (f.UUID != r.UUID || f.Resource != r.Name) {
			list[ident{f.Resource, f.UUID}] = true
		}
		for _, uuid := range f.UUIDs {
			list[ident{f.Resource, uuid}] = true
		}
	}
	for i := range r.Components {
		if c := &r.Components[i]; !c.Deleted && e.exposes(r, c, depth) {
			e.want(c, 0, list)
		}
	}
}

// sendReferenced writes what is referenced and not in the document yet, and what that
// refers to, tables one after the other.
func (e *export) sendReferenced() error {
	slices.Sort(e.chosen)
	all, level := map[ident]uint64{}, e.wanted
	for depth := 1; depth <= e.depth && len(level) > 0; depth++ {
		next := map[ident]bool{}
		for id := range level {
			if _, known := all[id]; known {
				continue
			}
			found, err := e.find(id)
			if err != nil {
				return err
			}
			if found == nil || found.resource.Deleted || id.table == e.table && e.isChosen(found.id) || !passes(e.filters[id.table], found.id, &found.resource, e.finder()) {
				continue
			}
			all[id] = found.id
			e.want(&found.resource, depth, next)
		}
		level = next
	}
	order := slices.SortedFunc(maps.Keys(all), func(a, b ident) int { return e.before(a, b, all) })
	for _, id := range order {
		found, err := e.find(id)
		if err != nil {
			return err
		}
		if err := e.write(found, 1); err != nil {
			return err
		}
	}
	return nil
}

// before orders what is referenced: the table of the export first, then by
// table and number.
func (e *export) before(a, b ident, numbers map[ident]uint64) int {
	switch {
	case a.table == b.table:
		return cmp.Compare(numbers[a], numbers[b])
	case a.table == e.table:
		return -1
	case b.table == e.table:
		return 1
	}
	return strings.Compare(a.table, b.table)
}

// isChosen reports whether a record of the table is in the document already. The
// numbers are in order by then.
func (e *export) isChosen(id uint64) bool {
	_, found := slices.BinarySearch(e.chosen, id)
	return found
}

var _ http.Handler = (*Server)(nil)
