package framework

import (
	"bytes"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// compareGolden compares with a file below testdata.
func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", name, diff)
	}
}

func TestLogLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &settings{name: "demo", source: "my-src", version: "1.0", secrets: []string{`pa"ss/word`, "abc", ""}}
	s.now = func() time.Time { return time.Date(2026, 2, 3, 4, 5, 6, 7000, time.FixedZone("", 3600)) }
	log := newLog(&out, s)
	log.Debug("not shown")
	log.Info("Attempting incremental import...")
	log.Warn("A row is not sent.", "collection", "asset", "key", "a<b&ü\n", "n", 3, "secret", gapless.Secret("hidden"))
	log.Error("It failed.", "error", gapless.Errorf(gapless.CodeGuard, "my-src", "wrong: %w", errors.New("cause")))
	log.Info(`The password pa"ss/word is pa%22ss%2Fword, abc`, "label", "other", "as", `pa"ss/word`)
	log.With("a", 1).WithGroup("g").Info("Grouped.", "b", slog.GroupValue(slog.Int("c", 2)), "channel", make(chan int) == nil)
	s.debug, s.name, s.version = true, "", ""
	newLog(&out, s).Debug("shown")
	compareGolden(t, "log.jsonl", out.Bytes())
}
