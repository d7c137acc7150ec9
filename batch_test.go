package gapless_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

func TestBatchKeepsChangesVerbatim(t *testing.T) {
	t.Parallel()
	want := []gapless.Change{
		{Record: gapless.Record{Key: "a", Version: "1", Data: []byte(`{"x":1}`), Modified: time.Unix(0, 5).UTC()}, Line: 1},
		{Op: gapless.OpDelete, Record: gapless.Record{Key: "b"}, Line: 2},
		{Op: gapless.OpPatch, Record: gapless.Record{Key: "ключ", Version: "ü", Data: []byte(`{}`), Parts: []gapless.Part{{Name: "p", Size: 3}}}},
	}
	var b gapless.Batch
	for range 2 { // a reset batch must not leak the first round
		b.Reset()
		for _, c := range want {
			b.Append(c)
		}
		for i := range want {
			got := b.Change(i)
			if len(got.Data) == 0 {
				got.Data = nil
			}
			if diff := cmp.Diff(want[i], got); diff != "" {
				t.Errorf("row %d (-want +got):\n%s", i, diff)
			}
		}
	}
}

func TestOutputBoundsBatchesAndKeepsOrder(t *testing.T) {
	t.Parallel()
	var got []string
	emit := func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		if b.Len() > 3 {
			t.Errorf("batch of %d rows, want at most 3", b.Len())
		}
		for i := range b.Len() {
			got = append(got, string(b.Key(i)))
		}
		if b.Mark != "" {
			got = append(got, "mark "+string(b.Mark))
		}
		return b, nil
	}
	out := gapless.NewOutput(t.Context(), gapless.Partition{ID: "p"}, 3, 0, emit)
	for key := range strings.FieldsSeq("a b c d e") {
		if err := out.Upsert(gapless.Record{Key: key, Data: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(out.Mark("m"), out.Delete("f"), out.Flush()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("a b c d e mark m f", strings.Join(got, " ")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOutputStopsWhenTheRunIsOver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gapless.ErrInterrupted)
	out := gapless.NewOutput(ctx, gapless.Partition{}, 0, 0, func(ctx context.Context, _ *gapless.Batch) (*gapless.Batch, error) {
		return nil, context.Cause(ctx)
	})
	if err := out.Flush(); !errors.Is(err, gapless.ErrInterrupted) {
		t.Errorf("empty flush: %v", err)
	}
	_ = out.Delete("k")
	if err := out.Flush(); !errors.Is(err, gapless.ErrInterrupted) {
		t.Errorf("flush: %v", err)
	}
}
