package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// A runner takes the lease, commits under it, and is fenced once somebody else
// has taken over.
func Example() {
	ctx, now := context.Background(), time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	dir, err := os.MkdirTemp("", "state")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store, err := sqlite.Open(ctx, dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	mine, err := store.Acquire(ctx, "docs", "host-a/17", time.Minute, now)
	fmt.Println("acquired:", err == nil)

	checkpoint := gapless.Checkpoint{Partition: "docs", Position: "41", Run: "r-1", Seq: 1, Epoch: mine.Epoch}
	done := state.Commit{Partitions: []state.Partition{{Connector: "docs", ID: "docs", Checkpoint: checkpoint}}}
	fmt.Println("committed:", store.Commit(ctx, mine, done) == nil)

	_, err = store.Acquire(ctx, "docs", "host-b/4", time.Minute, now.Add(time.Second))
	fmt.Println(err)

	_, err = store.Acquire(ctx, "docs", "host-b/4", time.Minute, now.Add(time.Minute))
	fmt.Println("taken over:", err == nil)
	fmt.Println("fenced:", errors.Is(store.Commit(ctx, mine, done), gapless.ErrFenced))
	// Output:
	// acquired: true
	// committed: true
	// docs: acquire the lease: being run by host-a/17 until 2026-11-21T12:01:00Z
	// taken over: true
	// fenced: true
}
