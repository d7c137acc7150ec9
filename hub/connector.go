package hub

import (
	"context"
	"path/filepath"

	"github.com/gapless-sync/gapless"
)

const connectorHelp = `The hub is the store that comes with Gapless: one folder, no server. As a
destination it keeps every record with its parts, tells what is pushed, synced
and searchable, and can be searched with ` + "`gapless search`" + `.

As a source it gives the records of one of its connectors to another
destination, and tells every change, deletions with their times included.
Changes are kept for the last million per connector; a reader that was away for longer reads
everything once.

Several connectors can write the records of one, each with its own checkpoints:
` + "`connector`" + ` says whose. So two-way connectors share records with each other and
with the daemon's servers.

### Search

A search finds records by words and by the fields of their data: the elements at
its top, which for documents of the Push API are their metas.

    gapless search report --filter author=ann --filter author=bob
    gapless search --filter 'size>=1000' --filter 'modified<2026-01-01'
    gapless search report --facet author --facet type:3

Of several filters that name one field with = one has to be met, of all others
every one; with <, <=, > and >= numbers and RFC 3339 dates are compared. A facet
counts all hits, on every page, by the values of a field. Of an array every
element is a value. Texts of more than 256 bytes and what is nested are none,
nor are more than 256 values of one record.

The daemon answers the same at /search, with the parameters q, connector,
collection, filter, facet, limit and offset; filter and facet may be repeated.`

const connectorExample = `hub:
  search: true
`

// destinationOptions are declared in the catalogue.
type destinationOptions struct {
	Connector string `option:"connector" help:"Name of the connector whose records are written, if not this one's own. A one-way connector deletes of them what its source does not have." example:"docs"`
	Path      string `option:"path" help:"Folder of the hub. By default the folder hub in the project's state." example:"./hub"`
	Search    bool   `option:"search" default:"true" help:"Keep a full-text index of all records."`
}

// sourceOptions are declared in the catalogue.
type sourceOptions struct {
	Connector string `option:"connector,required" help:"Name of the connector whose records are read." example:"docs"`
	Path      string `option:"path" help:"Folder of the hub. By default the folder hub in the project's state." example:"./hub"`
}

// Connector declares the hub to the catalogue. Sources and destinations share
// the pool's hubs, which stay open until the pool is closed.
func Connector(pool *Pool) gapless.Connector {
	return gapless.Connector{
		Name:    "hub",
		Summary: "The embedded store, with search and a change feed",
		Help:    connectorHelp,
		Example: connectorExample,
		Source: gapless.OpenSource(func(ctx context.Context, o sourceOptions, env gapless.Env) (gapless.Source, error) {
			h, err := pool.Open(ctx, folder(o.Path, env), false)
			if err != nil {
				return nil, err
			}
			return h.Source(o.Connector), nil
		}),
		Destination: gapless.OpenDestination(func(ctx context.Context, o destinationOptions, env gapless.Env) (gapless.Destination, error) {
			h, err := pool.Open(ctx, folder(o.Path, env), o.Search)
			if err != nil {
				return nil, err
			}
			return h.Shared(o.Connector), nil
		}),
	}
}

func folder(path string, env gapless.Env) string {
	switch {
	case path == "":
		return filepath.Join(env.State, "hub")
	case filepath.IsAbs(path):
		return path
	}
	return filepath.Join(env.Dir, path)
}
