package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// step is a command of a page and what the page says it prints.
type step struct {
	command string
	prints  []string
}

// walkOf returns the steps in the console blocks of a page.
func walkOf(page string) []step {
	var steps []step
	inside := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case line == "```console":
			inside = true
		case line == "```":
			inside = false
		case !inside:
		case isCommand:
			steps = append(steps, step{command: command})
		default:
			last := &steps[len(steps)-1]
			last.prints = append(last.prints, line)
		}
	}
	return steps
}

// TestReadmeWalk runs the commands of the README in their order and compares
// the shape of what they print: words, not numbers.
func TestReadmeWalk(t *testing.T) {
	if testing.Short() {
		t.Skip("indexes the Go distribution")
	}
	t.Parallel()
	follow(t, "README.md", "/tmp/tour", 15)
}

// TestTwoWayWalk does the same with the page about two-way connectors.
func TestTwoWayWalk(t *testing.T) {
	t.Parallel()
	follow(t, "docs/two-way.md", "/tmp/relief", 15)
}

// TestUndoWalk does the same with the page about undo.
func TestUndoWalk(t *testing.T) {
	t.Parallel()
	follow(t, "docs/undo.md", "/tmp/stock", 15)
}

// follow runs the commands of a page that keeps what it makes in a folder, at
// least so many, in the repository's own folder or where the page changes to.
func follow(t *testing.T, page, folder string, least int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", page))
	if err != nil {
		t.Fatal(err)
	}
	dir, made := t.TempDir(), filepath.Join(t.TempDir(), filepath.Base(folder))
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS("../examples")); err != nil {
		t.Fatal(err)
	}
	for _, project := range []string{"quickstart", "two-way", "two-way/there", "undo"} {
		if err := os.RemoveAll(filepath.Join(dir, "examples", project, ".gapless")); err != nil {
			t.Fatal(err)
		}
	}
	env := append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, ".cache"), "GOROOT=", "FOLDER=", "GAPLESS_CONFIG=")
	steps := walkOf(string(text))
	if len(steps) < least {
		t.Fatalf("%s has %d steps", page, len(steps))
	}
	var ids []string // as shown and as printed, the latest first
	for _, s := range steps {
		command := strings.NewReplacer(ids...).Replace(strings.ReplaceAll(strings.ReplaceAll(s.command, "go run ./cmd/gapless", "gapless"), folder, made))
		if strings.HasPrefix(command, "go build ") || strings.HasPrefix(command, "export PATH=") {
			continue // the test has the command on its path
		}
		if to, changes := strings.CutPrefix(command, "cd "); changes {
			dir = to
			continue
		}
		sh := exec.Command("sh", "-c", command)
		sh.Dir, sh.Env = dir, env
		out, err := sh.CombinedOutput()
		printed := strings.ReplaceAll(string(out), made, folder)
		refused := strings.Contains(printed, " refused in ") || strings.Contains(strings.Join(s.prints, "\n"), "error GAP-")
		if (err != nil) != refused {
			t.Fatalf("%s: %v\n%s", s.command, err, printed)
		}
		if diff := compare(shape(s.prints), shape(strings.Split(printed, "\n"))); diff != "" {
			t.Errorf("%s prints something else (-page +printed):\n%s", s.command, diff)
		}
		ids = append(renamed(namedID.FindAllString(strings.Join(s.prints, "\n"), -1), namedID.FindAllString(printed, -1)), ids...)
	}
}

// renamed returns the ids of conflicts and runs that a page shows, each with the
// one that was printed in its place.
func renamed(shown, printed []string) []string {
	var pairs []string
	for i := range min(len(shown), len(printed)) {
		pairs = append(pairs, shown[i], printed[i])
	}
	return pairs
}

var (
	progressLine = regexp.MustCompile(`^docs: (searchable: )?[\d,]+ (of|records?)\b`)
	namedID      = regexp.MustCompile(`\b(x-[0-9a-f]{16}|r-[0-9a-v]{16})\b`)
	varying      = regexp.MustCompile(`\b[0-9a-f]{32}\b|\bx-[0-9a-f]{16}\b|\b[rcp]-[0-9a-v]{12,}|\b[0-9a-f]{12}\.\.\.[0-9a-f]+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|[\d,.]*\d (ms|s|B|kB|MB)\b|[\d,.]*\d`)
	spaces       = regexp.MustCompile(`\s+`)
)

// shape reduces lines to what is the same in every walk.
func shape(lines []string) []string {
	var shaped []string
	for _, line := range lines {
		if progressLine.MatchString(line) {
			continue
		}
		if line != "..." {
			line = varying.ReplaceAllString(line, "#")
		}
		if line = strings.TrimSpace(spaces.ReplaceAllString(line, " ")); line != "" {
			shaped = append(shaped, line)
		}
	}
	return shaped
}

// compare matches lines; three dots stand for any lines.
func compare(want, got []string) string {
	if matches(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

func matches(want, got []string) bool {
	switch {
	case len(want) == 0:
		return len(got) == 0
	case want[0] == "...":
		for skip := range len(got) + 1 {
			if matches(want[1:], got[skip:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && want[0] == got[0] && matches(want[1:], got[1:])
}
