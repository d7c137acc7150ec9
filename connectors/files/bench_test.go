package files

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/gapless-sync/gapless"
)

// BenchmarkUnchanged is what a second run costs over 10,000 files in 500
// folders: the position, and the enumeration that follows if it differs.
func BenchmarkUnchanged(b *testing.B) {
	dir := b.TempDir()
	for i := range 500 {
		sub := filepath.Join(dir, fmt.Sprint(i%10), fmt.Sprint(i/10%10), fmt.Sprint(i/100))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 20 {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file-%d.md", j)), []byte("text"), 0o600); err != nil {
				b.Fatal(err)
			}
		}
	}
	s, err := Connector().Source.Open(b.Context(), map[string]any{"path": dir}, gapless.Env{})
	if err != nil {
		b.Fatal(err)
	}
	p := gapless.Partition{ID: "file", Collection: "file"}
	if _, err := s.(gapless.Positioner).Position(b.Context(), p); err != nil {
		b.Fatal(err)
	}
	b.Run("Position", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.(gapless.Positioner).Position(b.Context(), p); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ReadAll", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			out := gapless.NewOutput(b.Context(), p, 0, 0, func(_ context.Context, batch *gapless.Batch) (*gapless.Batch, error) {
				n += batch.Len()
				return batch, nil
			})
			if err := s.ReadAll(b.Context(), p, "", out); err != nil {
				b.Fatal(err)
			}
			if err := out.Flush(); err != nil {
				b.Fatal(err)
			}
			if n != 10_000 {
				b.Fatal(n)
			}
		}
	})
}
