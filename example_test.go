package gapless_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/gapless-sync/gapless"
)

// stock is a source in its smallest honest form: it says what it is, and
// enumerates. Everything else (retries, differences, deletes, checkpoints) is
// the engine's.
type stock map[string]int

func (s stock) Describe(context.Context) (gapless.Description, error) {
	return gapless.Description{Model: gapless.ModelFull, Collections: []string{"article"}}, nil
}

func (s stock) ReadAll(_ context.Context, _ gapless.Partition, _ gapless.Mark, out *gapless.Output) error {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		data, err := json.Marshal(map[string]int{"pieces": s[name]})
		if err != nil {
			return gapless.Reject(name, err)
		}
		if err := out.Upsert(gapless.Record{Key: name, Data: data}); err != nil {
			return err
		}
	}
	return nil // the proof that this was all
}

func Example() {
	source := stock{"bolt": 12, "nut": 40}
	show := func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Len() {
			fmt.Printf("%s %s %s\n", b.Rows[i].Op, b.Key(i), b.Data(i))
		}
		return b, nil
	}
	ctx, article := context.Background(), gapless.Partition{ID: "article", Collection: "article"}
	out := gapless.NewOutput(ctx, article, 0, 0, show)
	if err := source.ReadAll(ctx, article, "", out); err != nil {
		fmt.Println(err)
	}
	if err := out.Flush(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// upsert bolt {"pieces":12}
	// upsert nut {"pieces":40}
}
