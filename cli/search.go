package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

type searchOptions struct {
	projectFlags
	connector, collection string
	filters, facets       []string
	limit, offset         int
	rebuild               bool
}

func newSearch(w *world) *cobra.Command {
	var o searchOptions
	cmd := &cobra.Command{
		Use:   "search [WORD...]",
		Short: "Find records in the hub",
		Long: `Finds the records that have all words, best first, in any case and order. Quoted
words have to follow one another; a minus before a word excludes what has it.
What was synced a moment ago may not be found yet; the command then says so.

A field is an element at the top of a record's data: for documents of the Push
API, a meta. --filter keeps records with a value in a field; of several with = for
one field one is enough, all others have to be met. With <, <=, > and >= numbers
and RFC 3339 dates are compared. --facet counts all records that match, on every
page, by the values of a field. Filters and facets see texts of up to 256 bytes,
numbers and booleans as they are written, and the elements of arrays.`,
		Example: `  gapless search "memory model"
  gapless search '"happens before"' channel -mutex --connector docs
  gapless search goroutine --limit 20 --offset 20 --json
  gapless search report --filter author=ann --filter author=bob --filter 'size>=1000'
  gapless search --filter 'modified>=2026-01-01' --facet author --facet type:3
  gapless search --rebuild`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.rebuild:
				return between(0, 0)(cmd, args)
			case len(o.filters)+len(o.facets) > 0:
				return between(0, 100)(cmd, args)
			}
			return between(1, 100)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			q := hub.Query{
				Text: strings.Join(args, " "), Connector: o.connector, Collection: o.collection, Limit: o.limit, Offset: o.offset,
			}
			if err := service.ParseSearch(&q, o.filters, o.facets); err != nil {
				return err
			}
			l, err := w.locate(&o.projectFlags, nil)
			if err != nil {
				return err
			}
			return w.withProject(cmd.Context(), l, func(ctx context.Context, p *service.Project) error {
				if o.rebuild {
					return w.rebuild(ctx, p)
				}
				return w.search(ctx, p, q)
			})
		},
	}
	o.projectFlags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.connector, "connector", "", "only records of this `CONNECTOR`")
	f.StringVar(&o.collection, "collection", "", "only records of this `COLLECTION` of the connector")
	f.StringArrayVar(&o.filters, "filter", nil, "only records with `FIELD=VALUE`, or with <, <=, > or >=; repeatable")
	f.StringArrayVar(&o.facets, "facet", nil, "count the values of `FIELD[:N]` and show the top N, 10 by default; repeatable")
	f.IntVar(&o.limit, "limit", 10, "show at most `N` hits")
	f.IntVar(&o.offset, "offset", 0, "leave out the first `N` hits")
	f.BoolVar(&o.rebuild, "rebuild", false, "build the search index anew from the records")
	return cmd
}

func (w *world) search(ctx context.Context, p *service.Project, q hub.Query) error {
	found, err := p.Search(ctx, q)
	if err != nil {
		return err
	}
	if w.json {
		return w.printJSON(found)
	}
	for _, h := range found.Hits {
		w.printHit(h)
	}
	last := q.Offset + len(found.Hits)
	switch {
	case len(found.Hits) == 0 && q.Offset == 0:
		w.printf("nothing found\n")
	case uint64(last) < found.Total:
		w.printf("%s\n", w.dim(fmt.Sprintf("%d to %d of %s; more with --offset %d", q.Offset+1, last, plural(found.Total, "hit"), last)))
	default:
		w.printf("%s\n", w.dim(plural(found.Total, "hit")))
	}
	for _, f := range q.Facets {
		w.printf("\n")
		w.printFacet(f.Field, found.Facets[f.Field])
	}
	if found.Behind > 0 {
		w.note("%s", w.dim(plural(found.Behind, "change")+" cannot be found yet"))
	}
	return nil
}

func (w *world) printHit(h service.Hit) {
	w.printf("%s  %s\n", w.bold(clean(h.Key)), w.dim(clean(h.Connector+"/"+h.Collection)))
	if !strings.HasSuffix(h.Key, h.Title) {
		w.printf("  %s\n", clean(h.Title))
	}
	for _, f := range h.Fragments[:min(2, len(h.Fragments))] {
		w.printf("  %s\n", w.marked(f))
	}
}

// printFacet shows the values of a facet, and what they leave out.
func (w *world) printFacet(field string, f service.Facet) {
	t := newTable(clean(field), "-records")
	for _, b := range f.Values {
		t.row(clean(b.Value), count(b.Count))
	}
	if f.Other > 0 {
		t.row("(others)", count(f.Other))
	}
	if f.Missing > 0 {
		t.row("(none)", count(f.Missing))
	}
	t.print(w.out, w.dim)
}

// marked shows a fragment, and the words that were looked for in bold.
func (w *world) marked(f service.Fragment) string {
	var b strings.Builder
	at := 0
	for _, m := range f.Marks {
		if m[0] < at || m[1] < m[0] || m[1] > len(f.Text) {
			continue
		}
		b.WriteString(clean(f.Text[at:m[0]]) + w.bold(clean(f.Text[m[0]:m[1]])))
		at = m[1]
	}
	return b.String() + clean(f.Text[at:])
}

func (w *world) rebuild(ctx context.Context, p *service.Project) error {
	last := catchup{Connector: "search", Started: p.Now()}
	show := func() {
		if last.Time = p.Now(); !w.json {
			w.progress.show(tick{Catchup: &last})
		}
	}
	err := p.RebuildSearch(ctx, func(done, total uint64) {
		last.Done, last.Total = done, total
		show()
	})
	last.End = true
	show()
	if err != nil {
		return err
	}
	if w.json {
		return w.printJSON(map[string]bool{"rebuilt": true})
	}
	w.printf("the search index is built anew\n")
	return nil
}
