package hub

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// deletes returns what the source of "docs" tells of deletes after a serial.
func deletes(t *testing.T, h *Hub, after string) (list []gapless.Change) {
	t.Helper()
	source := h.Source("docs").(gapless.ChangeReader) //nolint:forcetypeassert // it is one
	out := gapless.NewOutput(t.Context(), items, 0, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Rows {
			if c := b.Change(i); c.Op == gapless.OpDelete {
				list = append(list, c)
			}
		}
		return b, nil
	})
	if err := source.ReadChanges(t.Context(), items, gapless.Position(h.ID()+after), "", out); err != nil {
		t.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	return list
}

func deletion(key, version string, modified time.Time) gapless.Change {
	return gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key, Version: version, Modified: modified}}
}

func TestDeletesTravelWithTheirTime(t *testing.T) {
	t.Parallel()
	fs := crashable()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		long := now.Add(-24 * time.Hour)
		h := open(t, Options{Dir: "hub", fs: fs})
		s := session(t, h, "docs", 1)
		block := strings.Repeat("v", feedBlockBytes)
		push(t, s, upsert("a", `{}`), upsert("b", `{}`), deletion("a", "v2", long), deletion("b", "", time.Time{}),
			deletion("c", block, time.Time{}), deletion("d", "", time.Unix(0, -1)), upsert("e", `{}`))
		syncNow(t, s)
		want := []gapless.Change{
			deletion("a", "v2", long), deletion("b", "", now), deletion("c", block, now), deletion("d", "", time.Unix(0, -1).UTC()),
		}
		if diff := cmp.Diff(want, deletes(t, h, "/0")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		h = open(t, Options{Dir: "hub", fs: fs})
		if diff := cmp.Diff(want[2:], deletes(t, h, "/4")); diff != "" {
			t.Errorf("later, from the middle (-want +got):\n%s", diff)
		}
	})
}

// TestFirstFormatsDeletesAreRead checks a block as the first format wrote it.
func TestFirstFormatsDeletesAreRead(t *testing.T) {
	t.Parallel()
	block, err := decodeBlock(feedKey(1, 7), []byte("\x05\x02\x03\x00\x01a\x02\x02bc\x01\x01d"))
	if err != nil {
		t.Fatal(err)
	}
	var got []feedEntry
	if err := block.each(0, func(e feedEntry) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	want := []feedEntry{
		{serial: 7, ordinal: 5, collection: 2, op: gapless.OpUpsert, key: []byte("a")},
		{serial: 8, ordinal: 6, collection: 2, op: gapless.OpDelete, key: []byte("bc")},
		{serial: 9, ordinal: 7, collection: 2, op: gapless.OpPatch, key: []byte("d")},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(feedEntry{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
