package gaplesstest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// A record that is put whole comes out whole.
func TestSourcePutRecord(t *testing.T) {
	t.Parallel()
	s := NewSource("c")
	want := gapless.Record{
		Key: "k", Version: "7", Modified: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Data: []byte(`{"n":1}`),
		Parts: []gapless.Part{{Name: "scan", Type: "image/png", Size: 3}},
	}
	s.PutRecord("c", want)
	var got []gapless.Record
	p := gapless.Partition{ID: "c", Collection: "c"}
	out := gapless.NewOutput(t.Context(), p, batchRows, 0,
		func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
			for i := range b.Rows {
				got = append(got, b.Change(i).Record)
			}
			return &gapless.Batch{}, nil
		})
	if err := s.As(gapless.ModelLog).ReadAll(t.Context(), p, "", out); err != nil {
		t.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]gapless.Record{want}, got); diff != "" {
		t.Errorf("a record (-put +read):\n%s", diff)
	}
}

// Positions that are not in the log, or not in that order, are not known.
func TestSourceUnknownPositions(t *testing.T) {
	t.Parallel()
	s := NewSource("c")
	s.Put("c", "a", "{}")
	s.Put("c", "b", "{}")
	p := gapless.Partition{ID: "c", Collection: "c"}
	out := gapless.NewOutput(t.Context(), p, batchRows, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) { return b, nil })
	for _, test := range []struct {
		name     string
		from, to gapless.Position
	}{
		{"from behind the end", "3", "3"},
		{"from before the start", "-1", "2"},
		{"to behind the end", "0", "3"},
		{"to before from", "2", "1"},
		{"to nothing", "0", "soon"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := s.As(gapless.ModelLog).(gapless.ChangeReader).ReadChanges(t.Context(), p, test.from, test.to, out)
			if err == nil || gapless.KindOf(err) != gapless.KindExpired {
				t.Errorf("ReadChanges from %s to %s: %v", test.from, test.to, err)
			}
		})
	}
}

// A collection that is not the source's is named.
func TestSourceUnknownCollection(t *testing.T) {
	t.Parallel()
	defer func() {
		if got, want := fmt.Sprint(recover()), `gaplesstest: NewSource was not given a collection "d" but ["c"]`; got != want {
			t.Errorf("Put says %s", got)
		}
	}()
	NewSource("c").Put("d", "a", "{}")
}

// The check of runs takes partitions that lie in one collection, and records
// with versions of their own.
func TestEngineCheckOfSlices(t *testing.T) {
	t.Parallel()
	r := verdict(t, check[*inside]{"engine", checkDestinationEngine}, func(t testing.TB) *inside {
		c := memoryDestination()
		system := c.New
		c.New = func(t testing.TB, b *Breaker) DestinationSystem {
			d := system(t, b)
			d.Partitions = []gapless.Partition{{ID: "r:1", Collection: "r"}, {ID: "r:2", Collection: "r"}}
			return d
		}
		w := c.world(t)
		w.brief = true
		return w
	})
	if r.failed || r.skipped {
		t.Errorf("the check says: %q", r.log)
	}
}
