package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/connectors/car/server/query"
)

const (
	// pageRows is how many rows a list shows, and how many edges of each
	// collection the page of a vertex.
	pageRows = 50
	// pageCount is how many rows are counted for one page.
	pageCount = 2_000_000
	// pageQuery bounds what is looked for.
	pageQuery = 100
	// pageHeld bounds the memory for the rows of a page.
	pageHeld = 32 << 20
)

// place is a collection of a source.
type place struct {
	query.Collection
	source string
	all    []query.Collection
}

func placeOf(all []query.Collection, source, name string) (place, bool) {
	i := slices.IndexFunc(all, func(c query.Collection) bool { return c.Name == name })
	if i < 0 {
		return place{}, false
	}
	return place{all[i], source, all}, true
}

func (at place) edge() bool { return at.From != "" }

func (at place) trail(more ...link) []link {
	return append([]link{{"Sources", address()}, {at.source, address(at.source)}}, more...)
}

func (at place) link() link { return link{at.Name, at.address()} }

func (at place) address() string { return address(at.source, at.Name) }

// ask executes a query whose variables are $name: String.
func (p *pages) ask(ctx context.Context, text string, variables map[string]string) (gjson.Result, error) {
	encoded, err := json.Marshal(variables)
	if err != nil {
		return gjson.Result{}, fmt.Errorf("encode what is asked: %w", err)
	}
	var head []string
	for name := range variables {
		head = append(head, "$"+name+": String")
	}
	if len(head) > 0 {
		text = "query(" + strings.Join(head, ", ") + ") " + text
	}
	var reply bytes.Buffer
	err = query.Run(ctx, p.graph, query.Limits{HeldBytes: pageHeld}, query.Request{Query: text, Variables: encoded}, &reply)
	return gjson.GetBytes(reply.Bytes(), "data"), err
}

// sourceView is a source with the collections that hold rows.
type sourceView struct {
	link
	Vertices, Edges []countView
}

type countView struct {
	link
	Count string
}

func (p *pages) index(ctx context.Context, all []query.Collection, only string) (page, error) {
	sources, err := p.graph.Sources(ctx)
	if err != nil {
		return page{}, fmt.Errorf("read the sources: %w", err)
	}
	slices.Sort(sources)
	found := page{Title: "Sources"}
	if only != "" {
		if !slices.Contains(sources, only) {
			return page{}, errNoPage
		}
		sources = []string{only}
		found.Title, found.Trail = only, []link{{"Sources", address()}}
	}
	left := pageCount
	for _, source := range sources {
		view := sourceView{link: link{source, address(source)}}
		for _, c := range all {
			at := place{c, source, all}
			text, err := p.count(ctx, at, &left)
			if err != nil {
				return page{}, err
			}
			switch {
			case text == "":
			case at.edge():
				view.Edges = append(view.Edges, countView{at.link(), text})
			default:
				view.Vertices = append(view.Vertices, countView{at.link(), text})
			}
		}
		found.Index = append(found.Index, view)
	}
	if len(sources) == 0 {
		found.Notice = "Nothing was imported yet."
	}
	return found, nil
}

var errCounted = errors.New("counted enough")

// count returns how many rows a collection holds; empty if none.
func (p *pages) count(ctx context.Context, at place, left *int) (string, error) {
	n := 0
	err := p.graph.Rows(ctx, at.source, at.Name, "", "", func(query.Row) error {
		n++
		if *left--; *left < 0 {
			return errCounted
		}
		return nil
	})
	switch {
	case errors.Is(err, errCounted):
		return thousands(n) + " or more", nil
	case err != nil:
		return "", fmt.Errorf("count %s of %s: %w", at.Name, at.source, err)
	case n == 0:
		return "", nil
	}
	return thousands(n), nil
}

func thousands(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// listView is a page of rows.
type listView struct {
	Edge       bool
	From, To   string // names of the columns of an edge's ends
	Query      string
	Narrow     link // the vertex whose edges are listed, and the way back to all
	Columns    []string
	Rows       []rowView
	Next, Home string
}

// rowView is a row of a list: itself, or the ends of an edge; and its fields.
type rowView struct {
	Self, From, To link
	Name           string
	Cells          []string
}

func (p *pages) list(ctx context.Context, at place, asked url.Values) (page, error) {
	q := strings.TrimSpace(asked.Get("q"))
	if utf8.RuneCountInString(q) > pageQuery || !utf8.ValidString(q) {
		return page{}, &query.Error{Message: fmt.Sprintf("what is looked for has more than %d characters", pageQuery)}
	}
	v := &listView{Edge: at.edge(), From: at.From, To: at.To, Query: q, Home: at.address()}
	variables := map[string]string{"source": at.source}
	where := []string{}
	if after := asked.Get("after"); after != "" {
		variables["after"] = after
		where = append(where, "{id: {_gt: $after}}")
	}
	if q != "" {
		variables["q"] = "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(q) + "%"
		where = append(where, "{_or: [{name: {_ilike: $q}}, {_key: {_ilike: $q}}]}")
	}
	next := url.Values{}
	for _, end := range []string{"from", "to"} {
		id := asked.Get(end)
		if id == "" || !at.edge() {
			continue
		}
		variables[end] = id
		where = append(where, fmt.Sprintf("{%s_external_id: {_eq: $%s}}", end, end))
		v.Narrow = link{id, v.Home}
		next.Set(end, id)
	}
	data, err := p.ask(ctx, fmt.Sprintf(
		"{ rows: %s(source: $source, where: {_and: [%s]}, order_by: {id: asc}, limit: %d) { id _key _row %s } }",
		at.Name, strings.Join(where, ", "), pageRows+1, at.endFields()), variables)
	if err != nil {
		return page{}, err
	}
	rows := data.Get("rows").Array()
	if len(rows) > pageRows {
		rows = rows[:pageRows]
		next.Set("after", rows[pageRows-1].Get("id").Str)
		if q != "" {
			next.Set("q", q)
		}
		v.Next = "?" + next.Encode()
	}
	v.fill(at, rows)
	return page{Title: at.Name, Trail: at.trail(), List: v}, nil
}

// endFields asks for what the ends of an edge need to be shown, or the name of
// a vertex.
func (at place) endFields() string {
	if !at.edge() {
		return "name"
	}
	return "from_external_id to_external_id from { _key name } to { _key name }"
}

// columnCount is how many fields of rows a list shows.
const columnCount = 6

func (v *listView) fill(at place, rows []gjson.Result) {
	counts := map[string]int{}
	for _, row := range rows {
		row.Get("_row").ForEach(func(name, value gjson.Result) bool {
			if !isPlumbing(name.Str) && value.Type != gjson.JSON && value.Type != gjson.Null {
				if counts[name.Str]++; counts[name.Str] == 1 {
					v.Columns = append(v.Columns, name.Str)
				}
			}
			return true
		})
	}
	slices.SortStableFunc(v.Columns, func(a, b string) int { return counts[b] - counts[a] })
	v.Columns = v.Columns[:min(len(v.Columns), columnCount)]
	for _, row := range rows {
		view := rowView{Self: link{row.Get("_key").Str, address(at.source, at.Name, row.Get("_key").Str)}, Name: row.Get("name").String()}
		if at.edge() {
			view.From, view.To = at.end(row, "from", at.From), at.end(row, "to", at.To)
		}
		fields := membersOf(row.Get("_row"))
		for _, name := range v.Columns {
			view.Cells = append(view.Cells, clipped(fields[name].String()))
		}
		v.Rows = append(v.Rows, view)
	}
}

// isPlumbing reports whether a field says nothing of a row that its place does
// not say.
func isPlumbing(name string) bool {
	switch name {
	case "external_id", "_key", "name", "source", "report", "active", "timestamp", "_from", "_to", "_from_external_id", "_to_external_id":
		return true
	}
	return false
}

func membersOf(object gjson.Result) map[string]gjson.Result {
	fields := map[string]gjson.Result{}
	object.ForEach(func(name, value gjson.Result) bool {
		fields[name.String()] = value
		return true
	})
	return fields
}

// cellRunes is how much of a value a table shows.
const cellRunes = 60

func clipped(s string) string {
	if runes := []rune(s); len(runes) > cellRunes {
		return string(runes[:cellRunes]) + "…"
	}
	return s
}

// end links the vertex at one end of an edge; without address if there is
// none.
func (at place) end(edge gjson.Result, which, collection string) link {
	vertex := edge.Get(which)
	if !vertex.IsObject() {
		return link{Text: edge.Get(which + "_external_id").Str}
	}
	key := vertex.Get("_key").Str
	text := key
	if name := vertex.Get("name").String(); name != "" && name != key {
		text = clipped(name) + " (" + key + ")"
	}
	return link{text, address(at.source, collection, key)}
}
