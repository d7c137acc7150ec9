package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// vertexView is one row, a vertex or an edge, with what belongs to it.
type vertexView struct {
	ID string
	// Gone says that the row is retired: only its history is shown.
	Gone bool
	// Ends are those of an edge.
	Ends    []endView
	Fields  []fieldView
	Joined  []joinedView
	History []historyView
}

type endView struct {
	Collection string
	link
}

// fieldView is a field; Block says that it is a list or an object.
type fieldView struct {
	Name, Value string
	Block       bool
}

// joinedView is the edges of one collection that a vertex has.
type joinedView struct {
	link
	Other   string // the collection at the other end
	Count   string
	Columns []string
	Rows    []rowView
	// More leads to all edges if they are not all shown.
	More string
}

// historyView is a row as it was retired.
type historyView struct {
	Retired, Reason string
	Fields          []fieldView
}

// historyRows is how many retired rows a page shows.
const historyRows = 20

// join is an edge collection as seen from one of its ends.
type join struct {
	place
	// at is the end where the vertex is, from or to, other the opposite one.
	at, other string
}

// joins returns the edge collections that have a vertex collection as an end;
// one that joins it with itself is there twice.
func (at place) joins() []join {
	var list []join
	for _, c := range at.all {
		edges := place{c, at.source, at.all}
		if c.From == at.Name {
			list = append(list, join{edges, "from", "to"})
		}
		if c.To == at.Name {
			list = append(list, join{edges, "to", "from"})
		}
	}
	return list
}

func (j join) otherCollection() string {
	if j.other == "from" {
		return j.From
	}
	return j.To
}

func (p *pages) vertex(ctx context.Context, at place, key string) (page, error) {
	joins := at.joins()
	var text strings.Builder
	fmt.Fprintf(&text, `{ rows: %[1]s(source: $source, where: {_key: {_eq: $key}}) { id name _row `, at.Name)
	for i, j := range joins {
		end := fmt.Sprintf("{%s_external_id: {_eq: $external}}", j.at)
		fmt.Fprintf(&text, `e%[1]d: %[2]s(where: %[3]s, limit: %[4]d) { _key _row %[5]s } n%[1]d: %[2]s_aggregate(where: %[3]s) { aggregate { count } } `,
			i, j.Name, end, pageRows, j.endFields())
	}
	fmt.Fprintf(&text, `} %s }`, at.historyField())
	data, err := p.ask(ctx, text.String(), map[string]string{
		"source": at.source, "key": key, "external": wire.ExternalID(at.Name, key),
	})
	if err != nil {
		return page{}, err
	}
	v, row, err := viewRow(data)
	if err != nil {
		return page{}, err
	}
	for i, j := range joins {
		count := int(row.Get(fmt.Sprintf("n%d.aggregate.count", i)).Int())
		if count > 0 {
			v.Joined = append(v.Joined, j.view(row.Get(fmt.Sprintf("e%d", i)).Array(), count, wire.ExternalID(at.Name, key)))
		}
	}
	title := cmp.Or(row.Get("name").String(), key)
	return page{Title: title, Trail: at.trail(at.link()), Vertex: v}, nil
}

func (j join) view(edges []gjson.Result, count int, id string) joinedView {
	v := joinedView{link: j.link(), Other: j.otherCollection(), Count: thousands(count)}
	if count > len(edges) {
		v.More = j.address() + "?" + url.Values{j.at: {id}}.Encode()
	}
	var l listView
	l.fill(j.place, edges)
	v.Columns, v.Rows = l.Columns, l.Rows
	for i := range v.Rows {
		if j.other == "from" {
			v.Rows[i].To = v.Rows[i].From
		}
	}
	return v
}

func (p *pages) edge(ctx context.Context, at place, key string) (page, error) {
	text := fmt.Sprintf(`{ rows: %s(source: $source, where: {_key: {_eq: $key}}) { id _key _row %s } %s }`, at.Name, at.endFields(), at.historyField())
	data, err := p.ask(ctx, text, map[string]string{"source": at.source, "key": key})
	if err != nil {
		return page{}, err
	}
	v, row, err := viewRow(data)
	if err != nil {
		return page{}, err
	}
	if !v.Gone {
		v.Ends = []endView{{at.From, at.end(row, "from", at.From)}, {at.To, at.end(row, "to", at.To)}}
	}
	return page{Title: key, Trail: at.trail(at.link()), Vertex: v}, nil
}

// historyField asks for the latest retired rows of one key.
func (at place) historyField() string {
	return fmt.Sprintf(`history: %s_history(source: $source, where: {_key: {_eq: $key}}, order_by: {retired: desc}, limit: %d) { id retired reason _row }`, at.Name, historyRows)
}

// viewRow reads the row that was found, and its history.
func viewRow(data gjson.Result) (*vertexView, gjson.Result, error) {
	row := data.Get("rows.0")
	v := &vertexView{ID: row.Get("id").Str, Gone: !row.Exists(), Fields: fieldsOf(row.Get("_row"))}
	for _, old := range data.Get("history").Array() {
		v.ID = old.Get("id").Str
		v.History = append(v.History, historyView{
			Retired: time.UnixMilli(old.Get("retired").Int()).UTC().Format("2006-01-02 15:04:05 UTC"),
			Reason:  old.Get("reason").Str, Fields: fieldsOf(old.Get("_row")),
		})
	}
	if v.Gone && len(v.History) == 0 {
		return nil, row, errNoPage
	}
	return v, row, nil
}

func fieldsOf(row gjson.Result) []fieldView {
	var fields []fieldView
	row.ForEach(func(name, value gjson.Result) bool {
		f := fieldView{Name: name.String(), Value: value.String()}
		switch value.Type {
		case gjson.JSON:
			var text bytes.Buffer
			if json.Indent(&text, []byte(value.Raw), "", "  ") == nil {
				f.Value, f.Block = text.String(), true
			}
		case gjson.Null:
			f.Value = "null"
		case gjson.Number:
			f.Value = value.Raw
		}
		fields = append(fields, f)
		return true
	})
	return fields
}
