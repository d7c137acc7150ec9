package cli_test

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// plant CONNECTOR FILE commits the conflicts of a JSON file as a run of the
// connector would, and settles those that it has carried out.
func plant(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: plant CONNECTOR FILE")
	}
	var planted struct {
		Conflicts []state.Conflict
		Carried   []string
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &planted))
	ctx := context.Background()
	store, err := sqlite.Open(ctx, ts.MkAbs(".gapless"))
	ts.Check(err)
	c := state.Commit{Conflicts: planted.Conflicts, At: time.Now()}
	for i := range c.Conflicts {
		c.Conflicts[i].Connector, c.Conflicts[i].At = args[0], c.At
	}
	for _, id := range planted.Carried {
		settled, err := store.Conflict(ctx, id)
		ts.Check(err)
		c.Settled = append(c.Settled, settled)
	}
	l, err := store.Acquire(ctx, args[0], "plant", time.Minute, c.At)
	ts.Check(err)
	ts.Check(store.Commit(ctx, l, c))
	ts.Check(store.Release(ctx, l))
	ts.Check(store.Close())
}

// resolve FIELD FLAG... decides about the open conflict of a field.
func resolve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: resolve FIELD FLAG...")
	}
	ts.Check(ts.Exec("gapless", "conflicts", "list", "--json"))
	var open []struct{ ID, Field string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &open))
	i := slices.IndexFunc(open, func(c struct{ ID, Field string }) bool { return c.Field == args[0] })
	if i < 0 {
		ts.Fatalf("no open conflict about %s", args[0])
	}
	ts.Check(ts.Exec("gapless", append([]string{"conflicts", "resolve", open[i].ID}, args[1:]...)...))
}
