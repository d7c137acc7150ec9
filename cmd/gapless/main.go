// Command gapless keeps destinations in step with sources and can say, with
// proof, what it has not synced. Copy this file and add connectors of your own
// with catalog.Builtin().With(mine) to build a command that has them, too.
package main

import (
	"os"

	"github.com/gapless-sync/gapless/catalog"
	"github.com/gapless-sync/gapless/cli"
)

func main() {
	os.Exit(cli.Main(catalog.Builtin()))
}
