package hub_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/hub"
)

// A record is pushed, synced together with a checkpoint, and found.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "hub")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	h, err := hub.Open(ctx, hub.Options{Dir: dir, Search: true})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()

	session, err := h.Open(ctx, "docs", 1)
	if err != nil {
		log.Fatal(err)
	}
	batch := &gapless.Batch{Partition: gapless.Partition{ID: "page", Collection: "page"}}
	batch.Append(gapless.Change{Record: gapless.Record{Key: "go/mem", Version: "7", Data: []byte(`{"title":"The Go Memory Model"}`)}})
	if _, err := session.Push(ctx, batch); err != nil {
		log.Fatal(err)
	}
	receipt, err := session.Sync(ctx, []gapless.Checkpoint{{Partition: "page", Position: "rev 7"}})
	if err != nil {
		log.Fatal(err)
	}

	if err := h.WaitSearchable(ctx, receipt.Serial); err != nil {
		log.Fatal(err)
	}
	found, err := h.Search(ctx, hub.Query{Text: "memory model"})
	if err != nil {
		log.Fatal(err)
	}
	for _, hit := range found.Hits {
		fmt.Println(hit.Connector, hit.Key, hit.Title)
	}
	// Output: docs go/mem The Go Memory Model
}
