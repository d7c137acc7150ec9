package query

import (
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/gapless-sync/gapless"
)

// planner turns a document into what is to be read and written.
type planner struct {
	limits    Limits
	schema    *schema
	operation *ast.OperationDefinition
	fragments map[string]*ast.FragmentDefinition
	variables map[string]literal
	// fields and values were counted so far.
	fields, values int
}

// root is a field of the operation.
type root struct {
	key []byte
	// typename is what the field answers unless it is a list.
	typename string
	list     *list
}

// list is rows of one collection to be chosen.
type list struct {
	c     *collection
	where filter
	// sources to look at; all if nil.
	sources []string
	order   []ordering
	// limit is -1 if there is none.
	limit, offset int
	sel           *selection
	// count is set where rows are counted instead.
	count []countField
}

// selection is what is written of each row.
type selection struct {
	c      *collection
	fields []field
	// nested are the fields that need other rows, by slot.
	nested []*nested
	// scans says that a collection is read whole for some nested field.
	scans bool
}

type field struct {
	key       []byte // "name": with the comma before it
	kind      fieldKind
	attribute attribute
	slot      int
}

type fieldKind uint8

const (
	attributeField fieldKind = iota
	typenameField
	nestedField
)

// nested is a field of a row that has other rows.
type nested struct {
	kind nestedKind
	// edges are the collections through which the rows are found.
	edges []*collection
	list  *list
}

type nestedKind uint8

const (
	edgesNested nestedKind = iota
	countNested
	neighboursNested
	fromNested
	toNested
)

// countField is a field of the object that counts rows.
type countField struct {
	key []byte
	// typename is what the field answers; empty for the count itself and for
	// the object that has it.
	typename string
	fields   []countField
}

// group is the fields of one name in a reply, whose selections are one.
type group struct {
	first *ast.Field
	all   []*ast.Field
}

func (g *group) sets() []ast.SelectionSet {
	var sets []ast.SelectionSet
	for _, f := range g.all {
		if len(f.SelectionSet) > 0 {
			sets = append(sets, f.SelectionSet)
		}
	}
	return sets
}

// roots plans the operation.
func (p *planner) roots() ([]root, error) {
	groups, err := p.collect(rootType, p.operation.SelectionSet)
	if err != nil {
		return nil, err
	}
	list := make([]root, 0, len(groups))
	for i, g := range groups {
		r := root{key: keyOf(g.first, i)}
		switch {
		case g.first.Name == typenameName:
			r.typename = rootType
		case strings.HasPrefix(g.first.Name, "__"):
			return nil, mistake(g.first.Position, "introspection is not supported: fields are whatever rows have stored")
		default:
			if r.list, err = p.rootList(g); err != nil {
				return nil, err
			}
		}
		list = append(list, r)
	}
	return list, nil
}

const (
	rootType     = "query_root"
	typenameName = "__typename"
)

func (p *planner) rootList(g *group) (*list, error) {
	name := g.first.Name
	if c := p.schema.byName[name]; c != nil {
		return p.rows(c, g, 1, true)
	}
	if c := p.schema.history(name); c != nil {
		return p.rows(c, g, 1, true)
	}
	if c := p.schema.counted(name); c != nil {
		return p.counts(c, g, 1, true)
	}
	e := mistake(g.first.Position, "there is no collection %s", name)
	e.Hint = gapless.DidYouMean(name, p.schema.names())
	return nil, e
}

// rows plans a list of rows.
func (p *planner) rows(c *collection, g *group, depth int, top bool) (*list, error) {
	l := &list{c: c, limit: -1}
	allowed := []string{"where", "limit", "offset", "order_by"}
	if top {
		allowed = append(allowed, "source")
	}
	if err := p.arguments(l, g.first, allowed); err != nil {
		return nil, err
	}
	sets := g.sets()
	if len(sets) == 0 {
		return nil, mistake(g.first.Position, "%s needs fields: %s { id }", g.first.Name, g.first.Name)
	}
	var err error
	l.sel, err = p.selection(c, sets, depth)
	return l, err
}

// counts plans the object that counts rows.
func (p *planner) counts(c *collection, g *group, depth int, top bool) (*list, error) {
	l := &list{c: c, limit: -1}
	allowed := []string{"where"}
	if top {
		allowed = append(allowed, "source")
	}
	if err := p.arguments(l, g.first, allowed); err != nil {
		return nil, err
	}
	typename := c.typename() + aggregateField
	var err error
	l.count, err = p.countFields(g, typename, depth, "aggregate", func(inner *group) (countField, error) {
		var f countField
		f.fields, err = p.countFields(inner, typename+"_fields", depth+1, "count", nil)
		return f, err
	})
	return l, err
}

// countFields plans an object with one field besides __typename; inner plans
// what that is, unless it is the count itself.
func (p *planner) countFields(g *group, typename string, depth int, only string, inner func(*group) (countField, error)) ([]countField, error) {
	if depth > p.limits.Depth {
		return nil, mistake(g.first.Position, "selections nest deeper than %d levels", p.limits.Depth)
	}
	groups, err := p.collect(typename, g.sets()...)
	if err != nil {
		return nil, err
	}
	var fields []countField
	for i, one := range groups {
		f := countField{typename: typename}
		switch {
		case one.first.Name == only && inner != nil:
			if f, err = inner(one); err != nil {
				return nil, err
			}
		case one.first.Name == only:
			f.typename = ""
		case one.first.Name != typenameName:
			return nil, mistake(one.first.Position, "%s has no field %s; write { aggregate { count } }", typename, one.first.Name)
		}
		if len(one.first.Arguments) > 0 || f.fields == nil && len(one.sets()) > 0 {
			return nil, mistake(one.first.Position, "%s takes neither arguments nor fields", one.first.Name)
		}
		f.key = keyOf(one.first, i)
		fields = append(fields, f)
	}
	if len(fields) == 0 {
		return nil, mistake(g.first.Position, "%s needs fields; write { aggregate { count } }", g.first.Name)
	}
	return fields, nil
}

// keyOf returns the i-th name of an object with what is around it.
func keyOf(f *ast.Field, i int) []byte {
	key := `"` + f.Alias + `":`
	if i > 0 {
		key = "," + key
	}
	return []byte(key)
}

// selection plans the fields of the rows of a collection.
func (p *planner) selection(c *collection, sets []ast.SelectionSet, depth int) (*selection, error) {
	if depth > p.limits.Depth {
		return nil, mistake(sets[0][0].GetPosition(), "selections nest deeper than %d levels", p.limits.Depth)
	}
	groups, err := p.collect(c.typename(), sets...)
	if err != nil {
		return nil, err
	}
	s := &selection{c: c}
	for i, g := range groups {
		f := field{key: keyOf(g.first, i)}
		n, err := p.nested(c, g, depth+1)
		switch {
		case err != nil:
			return nil, err
		case n != nil:
			f.kind, f.slot = nestedField, len(s.nested)
			s.nested = append(s.nested, n)
			s.scans = s.scans || n.scans(c)
		case g.first.Name == typenameName:
			f.kind = typenameField
		case strings.HasPrefix(g.first.Name, "__"):
			return nil, mistake(g.first.Position, "introspection is not supported")
		default:
			f.attribute = c.attribute(g.first.Name)
		}
		s.fields = append(s.fields, f)
	}
	return s, nil
}

// scans reports whether a collection is read whole for the field of a row of c,
// or below it.
func (n *nested) scans(c *collection) bool {
	below := n.list.sel != nil && n.list.sel.scans
	return below || slices.ContainsFunc(n.edges, func(e *collection) bool { return e.to == c.name })
}

// nested plans a field that needs other rows; nil if it does not.
func (p *planner) nested(c *collection, g *group, depth int) (n *nested, err error) {
	name := g.first.Name
	if len(g.sets()) == 0 {
		if len(g.first.Arguments) > 0 {
			return nil, mistake(g.first.Position, "%s needs fields, or takes no arguments", name)
		}
		return nil, nil //nolint:nilnil // a field of the row itself
	}
	if n = p.findNested(c, name); n == nil {
		return nil, mistake(g.first.Position, "%s of %s has no fields: it joins no collection of that name; objects that are stored are answered whole", name, c.typename())
	}
	switch n.kind {
	case countNested:
		n.list, err = p.counts(n.edges[0], g, depth, false)
	case edgesNested:
		n.list, err = p.rows(n.edges[0], g, depth, false)
	case neighboursNested:
		n.list, err = p.rows(p.schema.end(name), g, depth, false)
	case fromNested:
		n.list, err = p.endOf(c.from, g, depth)
	case toNested:
		n.list, err = p.endOf(c.to, g, depth)
	}
	return n, err
}

func (p *planner) findNested(c *collection, name string) *nested {
	if c.history {
		return nil
	}
	if c.edge() {
		switch name {
		case c.to, "to":
			return &nested{kind: toNested}
		case c.from, "from":
			return &nested{kind: fromNested}
		}
		return nil
	}
	if e := p.schema.byName[name]; e != nil && e.joins(c.name) {
		return &nested{kind: edgesNested, edges: []*collection{e}}
	}
	if e := p.schema.counted(name); e != nil && e.joins(c.name) && !e.history {
		return &nested{kind: countNested, edges: []*collection{e}}
	}
	if through := p.schema.between(c.name, name); len(through) > 0 {
		return &nested{kind: neighboursNested, edges: through}
	}
	return nil
}

// endOf plans the vertex at one end of an edge.
func (p *planner) endOf(name string, g *group, depth int) (*list, error) {
	if len(g.first.Arguments) > 0 {
		return nil, mistake(g.first.Position, "%s takes no arguments here: it is one vertex", g.first.Name)
	}
	c := p.schema.end(name)
	s, err := p.selection(c, g.sets(), depth)
	return &list{c: c, limit: -1, sel: s}, err
}

// arguments reads those of a list.
func (p *planner) arguments(l *list, f *ast.Field, allowed []string) error {
	seen := map[string]bool{}
	for _, a := range f.Arguments {
		switch {
		case !slices.Contains(allowed, a.Name):
			e := mistake(a.Position, "%s takes no argument %s here, but %s", f.Name, a.Name, strings.Join(allowed, ", "))
			e.Hint = gapless.DidYouMean(a.Name, allowed)
			return e
		case seen[a.Name]:
			return mistake(a.Position, "%s is given twice", a.Name)
		}
		seen[a.Name] = true
		value, err := literalOf(a.Value, p.variables)
		if err != nil {
			return err
		}
		if err := p.argument(l, a.Name, value); err != nil {
			return mistakeIn(err, a.Position, f.Name)
		}
	}
	return nil
}

func (p *planner) argument(l *list, name string, value literal) (err error) {
	switch name {
	case "where":
		l.where, err = p.where(l.c, value)
	case "limit":
		if value.kind != nullLiteral {
			l.limit, err = natural(name, value)
		}
	case "offset":
		if value.kind != nullLiteral {
			l.offset, err = natural(name, value)
		}
	case "order_by":
		l.order, err = p.orderings(l.c, value)
	case "source":
		switch value.kind {
		case nullLiteral:
		case textLiteral:
			l.sources = []string{value.text}
		default:
			return mistake(value.at, "source takes a string")
		}
	}
	return err
}

// maxNatural keeps sums of limits and offsets in range.
const maxNatural = 1 << 40

func natural(name string, l literal) (int, error) {
	n, err := strconv.ParseInt(l.text, 10, 64)
	if l.kind != numberLiteral || err != nil || n < 0 || n > maxNatural {
		return 0, mistake(l.at, "%s takes a whole number from 0", name)
	}
	return int(n), nil
}
