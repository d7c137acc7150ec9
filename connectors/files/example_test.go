package files_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/files"
)

// A source lists a folder; contents are parts that are opened on demand.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "hello.md"), []byte("# Hello"), 0o600); err != nil {
		panic(err)
	}
	ctx := context.Background()
	source, err := files.Connector().Source.Open(ctx, map[string]any{"path": dir, "include": "*.md"}, gapless.Env{})
	if err != nil {
		panic(err)
	}
	show := func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Len() {
			fmt.Printf("%s %s\n", b.Key(i), b.Parts(i)[0].Type)
		}
		return b, nil
	}
	p := gapless.Partition{ID: "file", Collection: "file"}
	out := gapless.NewOutput(ctx, p, 0, 0, show)
	if err := source.ReadAll(ctx, p, "", out); err != nil {
		panic(err)
	}
	if err := out.Flush(); err != nil {
		panic(err)
	}
	// Output: hello.md text/markdown
}
