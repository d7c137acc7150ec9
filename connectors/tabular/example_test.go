package tabular_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/tabular"
)

// A destination keeps one file of current records; readers see it change as a
// whole.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	destination, err := tabular.JSONL().Destination.Open(ctx, map[string]any{"path": "records.jsonl"}, gapless.Env{Dir: dir})
	if err != nil {
		panic(err)
	}
	session, err := destination.Open(ctx, "example", 1)
	if err != nil {
		panic(err)
	}
	p := gapless.Partition{ID: "record", Collection: "record"}
	batch := &gapless.Batch{Partition: p}
	batch.Append(gapless.Change{Record: gapless.Record{Key: "a", Data: []byte(`{"id":"a"}`)}})
	batch.Append(gapless.Change{Record: gapless.Record{Key: "b", Data: []byte(`{"id":"b"}`)}})
	batch.Append(gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: "a"}})
	if _, err := session.Push(ctx, batch); err != nil {
		panic(err)
	}
	if _, err := session.Sync(ctx, []gapless.Checkpoint{{Partition: p.ID, Position: "1", Run: "r", Seq: 1}}); err != nil {
		panic(err)
	}
	if err := session.Close(); err != nil {
		panic(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "records.jsonl"))
	fmt.Printf("%s%v\n", text, err)
	// Output:
	// {"id":"b"}
	// <nil>
}
