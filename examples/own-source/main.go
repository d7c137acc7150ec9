// Command own-source is Gapless with one connector more: the list of
// source.go. These two files are a complete program with every command.
package main

import (
	"context"
	"os"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/catalog"
	"github.com/gapless-sync/gapless/cli"
)

func main() {
	os.Exit(cli.Main(catalog.Builtin().With(gapless.Connector{
		Name:    "list",
		Summary: "A JSON array of objects behind a URL",
		Example: "list:\n  url: http://localhost:8000/items.json",
		Source: gapless.OpenSource(func(_ context.Context, l list, _ gapless.Env) (gapless.Source, error) {
			return l, nil
		}),
	})))
}
