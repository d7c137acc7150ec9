package hub

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

func batchOf(collection string, changes ...gapless.Change) *gapless.Batch {
	b := batch(changes...)
	b.Partition = gapless.Partition{ID: collection, Collection: collection}
	return b
}

// TestCommitOfSeveralCollections checks records, serials and feed of one
// commit, also behind a restart.
func TestCommitOfSeveralCollections(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := open(t, Options{Dir: dir})
	s := session(t, h, "c", 1)
	push(t, s, upsert("old", `{"a":1}`))
	receipt, err := s.Commit(t.Context(), Commit{
		Batch: batchOf("items", upsert("x", `{"b":1}`), remove("old")),
		More:  []*gapless.Batch{batchOf("history", upsert("old@1", `{"a":1}`)), batchOf("empty"), batchOf("other", upsert("y", `{"c":1}`))},
	})
	if err != nil || receipt.Serial != 5 {
		t.Fatalf("serial %d, %v", receipt.Serial, err)
	}
	if synced, err := h.Synced(5); err != nil || synced {
		t.Errorf("synced %v, %v, before the sync", synced, err)
	}
	if _, err := s.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if synced, err := h.Synced(5); err != nil || !synced {
		t.Errorf("synced %v, %v", synced, err)
	}
	if _, err := h.Synced(6); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("a serial to come: %v", err)
	}
	check := func(h *Hub) {
		t.Helper()
		var feed []string
		_, err := h.Changes(t.Context(), "c", 0, func(c FeedChange) error {
			feed = append(feed, strings.Join([]string{string(rune('0' + c.Serial)), c.Collection, string(c.Key)}, " "))
			return nil
		})
		want := []string{"1 items old", "2 items x", "3 items old", "4 history old@1", "5 other y"}
		if diff := cmp.Diff(want, feed); diff != "" || err != nil {
			t.Errorf("feed %v (-want +got):\n%s", err, diff)
		}
	}
	check(h)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, Options{Dir: dir})
	check(h)
	reader := session(t, h, "c", 0)
	names, err := reader.Collections()
	if diff := cmp.Diff([]string{"history", "items", "other"}, names); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if names, err := h.Connectors(); err != nil || len(names) != 1 || names[0] != "c" {
		t.Errorf("connectors %q, %v", names, err)
	}
	n, err := reader.Snapshot(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	var rows []string
	err = n.Records(t.Context(), items, "", func(r gapless.Record) error {
		rows = append(rows, r.Key+" "+r.Version+" "+string(r.Data))
		return nil
	})
	if diff := cmp.Diff([]string{`x vx {"b":1}`}, rows); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestCommitOfSeveralIsWhole refuses all collections for a row of one.
func TestCommitOfSeveralIsWhole(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	s := session(t, h, "c", 1)
	receipt, err := s.Commit(t.Context(), Commit{
		Whole: true,
		Batch: batchOf("items", upsert("x", `{}`)),
		More:  []*gapless.Batch{batchOf("other", upsert("", `{}`), upsert("p", `{}`, gapless.Part{Name: "a"}))},
	})
	if !errors.Is(err, ErrRefused) || len(receipt.Rejected) != 2 {
		t.Fatalf("%+v, %v", receipt, err)
	}
	if _, err := s.GetPushed(t.Context(), items, "x"); !errors.Is(err, gapless.ErrNotFound) {
		t.Errorf("a row of a commit that was refused: %v", err)
	}
}
