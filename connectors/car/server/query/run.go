package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
)

// execution is one request under way.
type execution struct {
	ctx    context.Context //nolint:containedctx // lives as long as the request
	graph  Graph
	limits Limits
	out    output
	// sources are all there are; read when first needed.
	sources []string
	// read, returned and held are what the limits bound.
	read, returned, held int
}

// item is a row that is kept.
type item struct {
	view
	// slots are the nested rows, one for each nested field.
	slots []slot
	// rows is how many rows are written for this one and all below it.
	rows int
	// bytes is what the row counts for in the memory that is held.
	bytes int
}

// slot is what a nested field of a row has.
type slot struct {
	items []*item
	count int
	// pick and ids gather the rows: edges, and the ids of neighbours.
	pick *picker
	ids  []string
}

// errEnough ends a scan whose further rows are not needed.
var errEnough = errors.New("enough")

// blockRows is how many rows of a list get their nested rows together.
const blockRows = 512

func (x *execution) run(roots []root) error {
	x.out.raw(`{"data":{`)
	for _, r := range roots {
		x.out.buf = append(x.out.buf, r.key...)
		var err error
		switch {
		case r.list == nil:
			x.out.text(r.typename)
		case r.list.count != nil:
			err = x.countRoot(r.list)
		default:
			err = x.listRoot(r.list)
		}
		if err != nil {
			return err
		}
	}
	x.out.raw("}}")
	return x.out.flush()
}

func (x *execution) countRoot(l *list) error {
	n := 0
	sources, err := x.sourcesOf(l)
	if err != nil {
		return err
	}
	err = x.scan(l, sources, func(*view) error {
		n++
		return nil
	})
	x.out.count(l.count, n)
	return err
}

func (x *execution) listRoot(l *list) error {
	sources, err := x.sourcesOf(l)
	if err != nil {
		return err
	}
	x.out.raw("[")
	x.held = 0
	w := &rowWriter{x: x, list: l}
	if l.asStored(sources) {
		err = x.stream(l, sources, w)
	} else {
		err = x.sort(l, sources, w)
	}
	if err == nil {
		err = w.flush()
	}
	x.out.raw("]")
	return err
}

// stream writes rows as they come.
func (x *execution) stream(l *list, sources []string, w *rowWriter) error {
	if l.limit == 0 {
		return nil
	}
	seen := 0
	err := x.scan(l, sources, func(v *view) error {
		if seen++; seen <= l.offset {
			return nil
		}
		if err := w.add(v); err != nil {
			return err
		}
		if seen == l.end() {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// sort writes rows once all have been seen.
func (x *execution) sort(l *list, sources []string, w *rowWriter) error {
	pick := &picker{list: l, sorted: true}
	err := x.scan(l, sources, func(v *view) error {
		if pick.full() {
			return errEnough
		}
		it, err := x.keep(v, len(l.order))
		if err != nil {
			return err
		}
		x.drop(pick.add(it))
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	items, dropped := pick.finish()
	x.drop(dropped...)
	for _, it := range items {
		if err := w.addItem(it); err != nil {
			return err
		}
	}
	return nil
}

// rowWriter writes the rows of a list, in blocks where others are nested in
// them.
type rowWriter struct {
	x     *execution
	list  *list
	block []*item
	// row is written from here where nothing is nested.
	row     item
	written bool
}

// add writes a row that is valid until add returns.
func (w *rowWriter) add(v *view) error {
	if len(w.list.sel.nested) == 0 {
		w.row.view = *v
		return w.write(&w.row)
	}
	it, err := w.x.keep(v, 0)
	if err != nil {
		return err
	}
	return w.addItem(it)
}

func (w *rowWriter) addItem(it *item) error {
	if len(w.list.sel.nested) == 0 {
		return w.write(it)
	}
	w.block = append(w.block, it)
	if len(w.block) < blockRows || w.list.sel.scans {
		return nil
	}
	return w.flush()
}

// flush reads what is nested in the rows of the block and writes them.
func (w *rowWriter) flush() error {
	if len(w.block) == 0 {
		return nil
	}
	held := w.x.held
	if err := w.x.expand(w.list.sel, w.block); err != nil {
		return err
	}
	if err := w.returned(w.block...); err != nil {
		return err
	}
	for _, it := range w.block {
		if err := w.write(it); err != nil {
			return err
		}
		it.slots = nil
	}
	w.x.held = held
	w.x.drop(w.block...)
	w.block = w.block[:0]
	return nil
}

// returned counts rows before they are written, with all that is nested.
func (w *rowWriter) returned(items ...*item) error {
	for _, it := range items {
		if w.x.returned += it.rows; w.x.returned > w.x.limits.Rows {
			return mistake(nil, "the reply has more than %d rows: narrow it with where, source or limit", w.x.limits.Rows)
		}
	}
	return nil
}

func (w *rowWriter) write(it *item) error {
	if w.written {
		w.x.out.raw(",")
	}
	w.written = true
	return w.x.out.row(w.list.sel, it)
}

// sourcesOf returns the sources whose rows a list can mean, in order of the
// ids of their rows.
func (x *execution) sourcesOf(l *list) ([]string, error) {
	if l.sources != nil {
		return l.sources, nil
	}
	for _, t := range conjuncts(l.where, nil) {
		if texts, ok := t.choices(); ok && t.attribute.kind == sourceAttribute {
			return inOrder(texts), nil
		}
	}
	if x.sources == nil {
		sources, err := x.graph.Sources(x.ctx)
		if err != nil {
			return nil, fmt.Errorf("read the sources: %w", err)
		}
		x.sources = inOrder(slices.Clone(sources))
	}
	return x.sources, nil
}

func inOrder(sources []string) []string {
	slices.SortFunc(sources, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	return sources
}

// scan calls fn for the rows that a list means, in order of source and key,
// regardless of limit and offset. The view is valid until fn returns.
func (x *execution) scan(l *list, sources []string, fn func(*view) error) error {
	for _, source := range sources {
		for _, s := range l.spans(source) {
			if err := x.scanSpan(l, source, s, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *execution) scanSpan(l *list, source string, s span, fn func(*view) error) error {
	match := func(v *view) error {
		if s.key != "" && s.key != v.key || l.where != nil && !l.where.match(v) {
			return nil
		}
		return fn(v)
	}
	if s.one {
		v, err := x.lookup(l.c, source, s.key)
		if v == nil || err != nil {
			return err
		}
		return match(v)
	}
	return x.rows(l.c, source, s.prefix, s.after, match)
}

// rows calls fn for rows of the graph. The view is valid until fn returns.
func (x *execution) rows(c *collection, source, prefix, after string, fn func(*view) error) error {
	var v view
	mine := error(nil)
	err := x.graph.Rows(x.ctx, source, c.stored(), prefix, after, func(r Row) error {
		if mine = x.count(); mine == nil {
			v = viewOf(c, source, r)
			mine = fn(&v)
		}
		return mine
	})
	if err == nil || mine != nil {
		return mine
	}
	return fmt.Errorf("read %s of %s: %w", c.stored(), source, err)
}

// lookup returns one row; nil if there is none.
func (x *execution) lookup(c *collection, source, key string) (*view, error) {
	if err := x.count(); err != nil {
		return nil, err
	}
	r, err := x.graph.Row(x.ctx, source, c.stored(), key)
	if errors.Is(err, gapless.ErrNotFound) {
		return nil, nil //nolint:nilnil // a row that is not there is no failure
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", c.stored(), source, err)
	}
	v := viewOf(c, source, r)
	return &v, nil
}

// count counts a row that is read.
func (x *execution) count() error {
	if x.read++; x.read > x.limits.Rows {
		return mistake(nil, "the query reads more than %d rows: narrow it with where, source or limit", x.limits.Rows)
	}
	if x.read%256 == 0 {
		return context.Cause(x.ctx)
	}
	return nil
}

// itemBytes is about what an item needs besides its row, and valueBytes what
// every value needs that sorts it.
const (
	itemBytes  = 256
	valueBytes = 96
)

// keep returns a row as one that stays in memory, sorted by so many values.
func (x *execution) keep(v *view, values int) (*item, error) {
	it := &item{view: *v, bytes: itemBytes + values*valueBytes + len(v.text) + len(v.outer) + len(v.key)}
	return it, x.hold(it.bytes)
}

func (x *execution) hold(bytes int) error {
	if x.held += bytes; x.held > x.limits.HeldBytes {
		return mistake(nil, "sorting and nesting these rows needs more than %d MiB: narrow the query with where, source or limit, or order by id", cmp.Or(x.limits.HeldBytes>>20, 1))
	}
	return nil
}

// drop gives up rows that were kept.
func (x *execution) drop(items ...*item) {
	for _, it := range items {
		if it != nil {
			x.held -= it.bytes
		}
	}
}
