package pushapi_test

import (
	"context"
	"fmt"

	"github.com/gapless-sync/gapless/connectors/pushapi"
)

// A connector pushes documents, then a checkpoint that saves them. Against a
// server, the client comes from Factory.NewHTTP instead.
func Example() {
	ctx := context.Background()
	var api pushapi.PushAPI = pushapi.Factory{}.NewFake("wiki")
	doc := pushapi.Document{URI: "space/home", Stamp: "rev 7"}
	doc.AddMeta("tag", "intro", "howto")
	doc.Parts = []pushapi.Part{pushapi.NewPart("", []byte("<p>Hello</p>"), pushapi.Directive{Name: pushapi.DirectiveMimeHint, Value: "text/html"})}
	if err := api.AddDocument(ctx, doc); err != nil {
		panic(err)
	}
	if _, err := api.SetCheckpoint(ctx, "event 8812", pushapi.CheckpointOptions{Sync: true}); err != nil {
		panic(err)
	}
	for entry, err := range api.EnumerateSyncedEntries(ctx, "space", pushapi.RecursiveDocuments) {
		if err != nil {
			panic(err)
		}
		fmt.Println(entry.URI, entry.Stamp)
	}
	// Output: space/home rev 7
}
