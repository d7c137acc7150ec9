package cli_test

import (
	"context"
	"encoding/json"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// plant CONNECTOR FILE commits the conflicts of a JSON file as a run of the
// connector would, and the ids of those it has carried out.
func plant(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: plant CONNECTOR FILE")
	}
	var c state.Commit
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &c))
	ctx := context.Background()
	store, err := sqlite.Open(ctx, ts.MkAbs(".gapless"))
	ts.Check(err)
	c.At = time.Now()
	for i := range c.Conflicts {
		c.Conflicts[i].Connector, c.Conflicts[i].At = args[0], c.At
	}
	l, err := store.Acquire(ctx, args[0], "plant", time.Minute, c.At)
	ts.Check(err)
	ts.Check(store.Commit(ctx, l, c))
	ts.Check(store.Release(ctx, l))
	ts.Check(store.Close())
}
