package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

func newRecords(w *world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "records",
		Short: "Look at the records in the hub",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRecordsList(w), newRecordsGet(w))
	return cmd
}

type recordsOptions struct {
	projectFlags
	prefix, after string
	limit         int
}

func newRecordsList(w *world) *cobra.Command {
	var o recordsOptions
	cmd := &cobra.Command{
		Use:   "list [CONNECTOR[/COLLECTION]]",
		Short: "List collections, or the records of one in order of their keys",
		Long: `Without an argument, lists what collections the hub holds. With one, lists the
synced records of that collection in order of their keys. A connector with a
single collection needs no more than its name.`,
		Example: `  gapless records list
  gapless records list docs
  gapless records list docs/file --prefix src/ --limit 1000
  gapless records list docs --json | jq .data.path`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := w.locate(&o.projectFlags, nil)
			if err != nil {
				return err
			}
			return w.withProject(cmd.Context(), l, func(ctx context.Context, p *service.Project) error {
				h, err := p.Hub(ctx)
				if err != nil {
					return err
				}
				if len(args) == 0 {
					return w.listCollections(ctx, h)
				}
				return w.listRecords(ctx, h, args[0], o)
			})
		},
	}
	o.projectFlags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.prefix, "prefix", "", "only keys that begin with this `TEXT`")
	f.StringVar(&o.after, "after", "", "begin behind this `KEY`, such as the last one of the page before")
	f.IntVar(&o.limit, "limit", 50, "list at most `N` records; 0 lists all")
	return cmd
}

// place is a collection of a connector.
type place struct{ connector, collection string }

// findPlace reads CONNECTOR or CONNECTOR/COLLECTION; the first alone does if
// there is one collection.
func findPlace(ctx context.Context, h *hub.Hub, text string) (place, error) {
	connector, collection, given := strings.Cut(text, "/")
	if given {
		return place{connector, collection}, nil
	}
	stats, err := h.Stats(ctx)
	if err != nil {
		return place{}, err
	}
	var names []string
	for _, c := range stats.Connectors {
		names = append(names, c.Name)
		switch {
		case c.Name != connector:
		case len(c.Collections) == 1:
			return place{connector, c.Collections[0].Name}, nil
		case len(c.Collections) > 1:
			return place{}, usage("%s has %s, name one", connector, plural(len(c.Collections), "collection")).
				WithHint("for example %s/%s", connector, c.Collections[0].Name)
		}
	}
	e := gapless.Errorf(gapless.CodeNotFound, connector, "the hub holds nothing of this connector: %w", gapless.ErrNotFound)
	if fix := gapless.DidYouMean(connector, names); fix != "" {
		return place{}, e.WithHint("%s", fix)
	}
	return place{}, e.WithHint("gapless records list shows what there is")
}

// collectionLine is a collection in JSON.
type collectionLine struct {
	Connector  string `json:"connector"`
	Collection string `json:"collection"`
	Records    uint64 `json:"records"`
	Bytes      uint64 `json:"bytes"`
	PartBytes  uint64 `json:"part_bytes"`
}

func (w *world) listCollections(ctx context.Context, h *hub.Hub) error {
	stats, err := h.Stats(ctx)
	if err != nil {
		return err
	}
	lines := []collectionLine{}
	for _, c := range stats.Connectors {
		for _, one := range c.Collections {
			lines = append(lines, collectionLine{c.Name, one.Name, one.Records, one.Bytes, one.PartBytes})
		}
	}
	if w.json {
		return w.printJSON(lines)
	}
	t := newTable("COLLECTION", "-RECORDS", "-DATA", "-PARTS")
	for _, c := range lines {
		t.row(clean(c.Connector+"/"+c.Collection), count(c.Records), size(int64(c.Bytes)), size(int64(c.PartBytes)))
	}
	t.print(w.out, w.bold)
	return nil
}

// recordDoc is a record in JSON.
type recordDoc struct {
	Connector  string          `json:"connector"`
	Collection string          `json:"collection"`
	Key        string          `json:"key"`
	Version    string          `json:"version,omitempty"`
	Modified   time.Time       `json:"modified,omitzero"`
	Data       json.RawMessage `json:"data"`
	Parts      []partDoc       `json:"parts,omitempty"`
	// Searchable and Reason say whether queries find the record, and if not,
	// why; of single records only.
	Searchable *bool  `json:"searchable,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

type partDoc struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"`
	Size int64  `json:"size"`
	// Unread says why queries find nothing of the part.
	Unread string `json:"unread,omitempty"`
}

func docOf(at place, r gapless.Record) recordDoc {
	d := recordDoc{
		Connector: at.connector, Collection: at.collection, Key: r.Key, Version: r.Version, Modified: r.Modified,
		Data: append(json.RawMessage(nil), r.Data...),
	}
	for _, p := range r.Parts {
		d.Parts = append(d.Parts, partDoc{Name: p.Name, Type: p.Type, Size: p.Size})
	}
	return d
}

var errEnough = errors.New("enough")

// listRecords prints one line for each record as it comes: keys for people,
// documents for machines.
func (w *world) listRecords(ctx context.Context, h *hub.Hub, text string, o recordsOptions) error {
	at, err := findPlace(ctx, h, text)
	if err != nil {
		return err
	}
	shown := 0
	partition := gapless.Partition{ID: at.collection, Collection: at.collection, Prefix: o.prefix}
	err = h.Records(ctx, at.connector, partition, o.after, func(r gapless.Record) error {
		if o.limit > 0 && shown == o.limit {
			return errEnough
		}
		shown++
		if w.json {
			return w.printLine(docOf(at, r))
		}
		w.printRecord(r)
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
		w.note("%s", w.dim(fmt.Sprintf("there are more: --limit, or --after the last key (%d shown)", shown)))
		return nil
	case err == nil && shown == 0:
		w.note("no such records")
	}
	return err
}

func (w *world) printRecord(r gapless.Record) {
	var parts strings.Builder
	for _, p := range r.Parts {
		fmt.Fprintf(&parts, "  %s %s", clean(p.Name), size(p.Size))
	}
	w.printf("%s%s\n", clean(r.Key), w.dim(parts.String()))
}

type getOptions struct {
	projectFlags
	part, output string
}

func newRecordsGet(w *world) *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get CONNECTOR[/COLLECTION] KEY",
		Short: "Print a record, or one of its parts",
		Long: `Prints the data of a synced record as it is kept, byte for byte, and says if a
query would not find it or one of its parts, and why. With --json, prints a
document with all that, key, version and parts. With --part, prints the content
of that part.`,
		Example: `  gapless records get docs doc/go_mem.html
  gapless records get docs doc/go_mem.html --part content -o go_mem.html`,
		Args: between(2, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			l, err := w.locate(&o.projectFlags, nil)
			if err != nil {
				return err
			}
			closeFile, err := w.toFile(o.output)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, closeFile()) }()
			return w.withProject(cmd.Context(), l, func(ctx context.Context, p *service.Project) error {
				return w.getRecord(ctx, p, args[0], args[1], o.part)
			})
		},
	}
	o.projectFlags.add(cmd)
	cmd.Flags().StringVar(&o.part, "part", "", "print the content of the part of this `NAME`")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "write to this `FILE`, which must not exist")
	return cmd
}

func (w *world) getRecord(ctx context.Context, p *service.Project, text, key, part string) error {
	h, err := p.Hub(ctx)
	if err != nil {
		return err
	}
	at, err := findPlace(ctx, h, text)
	if err != nil {
		return err
	}
	r, err := h.Get(ctx, at.connector, at.collection, key)
	if errors.Is(err, gapless.ErrNotFound) {
		return gapless.Errorf(gapless.CodeNotFound, at.connector+"/"+at.collection, "no record has the key %q", clean(key)).
			WithHint("gapless records list %s/%s shows the keys", at.connector, at.collection)
	}
	if err != nil {
		return err
	}
	if part != "" {
		return w.printPart(ctx, r, part)
	}
	standing, err := p.Standing(ctx, at.connector, at.collection, key)
	if err != nil {
		return err
	}
	d := docOf(at, r)
	d.stand(standing)
	if w.json {
		return w.printJSON(d)
	}
	if d.Reason != "" {
		w.note("queries do not find it: %s", clean(d.Reason))
	}
	for _, p := range d.Parts {
		if p.Unread != "" {
			w.note("queries find nothing of part %s: %s", clean(p.Name), clean(p.Unread))
		}
	}
	_, err = fmt.Fprintf(w.out, "%s\n", r.Data)
	return err
}

// stand fills in what queries find of the record.
func (d *recordDoc) stand(standing hub.Standing) {
	searchable := standing.Stage == hub.StageSearchable
	d.Searchable, d.Reason = &searchable, standing.Reason
	for _, unread := range standing.Unread {
		for i := range d.Parts {
			if d.Parts[i].Name == unread.Name {
				d.Parts[i].Unread = unread.Reason
			}
		}
	}
}

func (w *world) printPart(ctx context.Context, r gapless.Record, name string) (err error) {
	var names []string
	for _, p := range r.Parts {
		if p.Name != name {
			names = append(names, p.Name)
			continue
		}
		content, err := p.Open(ctx)
		if err != nil {
			return fmt.Errorf("open part %s: %w", name, err)
		}
		_, err = io.Copy(w.out, content)
		return errors.Join(err, content.Close())
	}
	return gapless.Errorf(gapless.CodeNotFound, r.Key, "no part has the name %q", name).
		WithHint("the record has %s", strings.Join(append(names, "no others"), ", "))
}
