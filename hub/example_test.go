package hub_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/hub"
)

// A record is pushed, synced together with a checkpoint, and found.
func Example() {
	dir, err := os.MkdirTemp("", "hub")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := pushAndFind(context.Background(), dir); err != nil {
		fmt.Println(err)
	}
	// Output: docs go/mem The Go Memory Model
}

func pushAndFind(ctx context.Context, dir string) error {
	h, err := hub.Open(ctx, hub.Options{Dir: dir, Search: true})
	if err != nil {
		return err
	}
	defer h.Close()
	session, err := h.Open(ctx, "docs", 1)
	if err != nil {
		return err
	}
	batch := &gapless.Batch{Partition: gapless.Partition{ID: "page", Collection: "page"}}
	batch.Append(gapless.Change{Record: gapless.Record{Key: "go/mem", Version: "7", Data: []byte(`{"title":"The Go Memory Model"}`)}})
	if _, err := session.Push(ctx, batch); err != nil {
		return err
	}
	receipt, err := session.Sync(ctx, []gapless.Checkpoint{{Partition: "page", Position: "rev 7"}})
	if err != nil {
		return err
	}
	if err := h.WaitSearchable(ctx, receipt.Serial); err != nil {
		return err
	}
	found, err := h.Search(ctx, hub.Query{Text: "memory model"})
	for _, hit := range found.Hits {
		fmt.Println(hit.Connector, hit.Key, hit.Title)
	}
	return err
}
