package files

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// Each record is a file as long as its revision, in one of ten folders.
func TestFilesSurvive(t *testing.T) {
	t.Parallel()
	for _, hash := range []bool{false, true} {
		t.Run(map[bool]string{false: "stamps", true: "hashes"}[hash], func(t *testing.T) {
			t.Parallel()
			gaplesstest.CheckSource(t, gaplesstest.SourceCase{
				New: func(t testing.TB, _ *gaplesstest.Breaker) gaplesstest.SourceSystem { return treeSystem(t, hash) },
			})
		})
	}
}

func treeSystem(t testing.TB, hash bool) gaplesstest.SourceSystem {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, "d"+name[len(name)-1:], name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	return gaplesstest.SourceSystem{
		Open: func() gapless.Source {
			s, err := Connector().Source.Open(t.Context(), map[string]any{"path": dir, "content_hash": hash}, gapless.Env{})
			must(err)
			return s
		},
		Put: func(name string, revision int) {
			if err := os.Mkdir(filepath.Dir(path(name)), 0o755); !errors.Is(err, os.ErrExist) {
				must(err)
			}
			must(os.WriteFile(path(name), bytes.Repeat([]byte("x"), revision), 0o600))
		},
		Remove: func(name string) {
			if err := os.Remove(path(name)); !errors.Is(err, os.ErrNotExist) {
				must(err)
			}
		},
		Read: func(_ gapless.Partition, c gapless.Change) (name string, revision int) {
			return filepath.Base(c.Key), int(gjson.GetBytes(c.Data, "size").Int())
		},
	}
}
