package config_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
)

// A mistake is reported with its place and what to write instead.
func ExampleLoad() {
	type options struct {
		Path string `option:"path,required" help:"Folder to read." example:"./docs"`
	}
	connectors := []gapless.Connector{{
		Name: "files",
		Source: gapless.OpenSource(func(context.Context, options, gapless.Env) (gapless.Source, error) {
			return nil, gapless.ErrNotFound
		}),
		Destination: gapless.OpenDestination(func(context.Context, options, gapless.Env) (gapless.Destination, error) {
			return nil, gapless.ErrNotFound
		}),
	}}
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	text := `connectors:
  docs:
    from:
      files:
        pth: ./docs
        path: ${FOLDER:-.}
    to: {files: {path: out}}
`
	if err := os.WriteFile(filepath.Join(dir, config.FileName), []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	_, problems, err := config.Load(dir, os.LookupEnv, connectors)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range problems {
		p.File = config.FileName
		fmt.Println(p)
	}
	// Output:
	// gapless.yaml:5:9: option pth is not known: did you mean path?
	//    5 |         pth: ./docs
	//      |         ^
}
