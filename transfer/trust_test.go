package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/gapless-sync/gapless"
)

// TestJournalOfAnotherContent: that a file was verified says nothing once
// another content of the same size is wanted.
func TestJournalOfAnotherContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before, after := set{"a": content("before", 1000)}, set{"a": content("after", 1000)}
	for _, s := range []set{before, after} {
		report, err := Run(t.Context(), Job{Dir: dir, Files: listOf(s.files("")...), Supplier: supplierFunc(s.supply)})
		if err != nil || report.Received != 1000 {
			t.Errorf("%+v: %v", report, err)
		}
		wantFolder(t, dir, s)
	}
}

// TestPartThatNothingVouchesFor: without a hash and a validator, what is here of
// a file may be of another one, in the same run and in the next.
func TestPartThatNothingVouchesFor(t *testing.T) {
	t.Parallel()
	for _, interrupted := range []bool{false, true} {
		t.Run(fmt.Sprintf("interrupted %t", interrupted), func(t *testing.T) {
			t.Parallel()
			data := content("x", 300_000)
			dir := t.TempDir()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var offsets []int64
			job := Job{
				Dir: dir, Files: listOf(File{Path: "x", Size: -1}), AllowUnverified: true, sleep: noWait,
				Supplier: supplierFunc(func(_ context.Context, files []Wanted, deliver Deliver) error {
					offsets = append(offsets, files[0].Offset)
					body := io.Reader(bytes.NewReader(data[files[0].Offset:]))
					if len(offsets) == 1 {
						body = io.MultiReader(io.LimitReader(body, 100_000), failing{errors.New("cut")})
						if interrupted { // the process ends here
							cancel(gapless.ErrInterrupted)
						}
					}
					return deliver(Content{Path: "x", Offset: files[0].Offset, Size: -1, Body: body})
				}),
			}
			if _, err := Run(ctx, job); interrupted && !errors.Is(err, gapless.ErrInterrupted) || !interrupted && err != nil {
				t.Fatal(err)
			}
			if _, err := Run(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			if len(offsets) < 2 || offsets[1] != 0 {
				t.Errorf("asked for the bytes behind %d", offsets)
			}
			wantFolder(t, dir, set{"x": data})
		})
	}
}

// TestLargeFileThatCannotBeSynced: it does not count as durable.
func TestLargeFileThatCannotBeSynced(t *testing.T) {
	t.Parallel()
	f, err := openFolder(t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.parts.WriteFile("p", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &stream{run: &run{folder: f, done: make(chan finished, 1)}}
	pipe, other, err := os.Pipe() // which cannot be synced
	if err != nil {
		t.Fatal(err)
	}
	if err := s.finish(t.Context(), &pending{part: "p", offset: largeFile}, pipe); err == nil || len(s.done) > 0 {
		t.Errorf("a file that was not synced is finished: %v", err)
	}
	if err := errors.Join(other.Close(), f.close()); err != nil {
		t.Error(err)
	}
}
