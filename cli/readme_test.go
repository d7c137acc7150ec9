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
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, tour := t.TempDir(), filepath.Join(t.TempDir(), "tour")
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS("../examples")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "examples", "quickstart", ".gapless")); err != nil {
		t.Fatal(err)
	}
	steps := walkOf(string(page))
	if len(steps) < 15 {
		t.Fatalf("the README has %d steps", len(steps))
	}
	for _, s := range steps {
		if strings.HasPrefix(s.command, "go build ") || strings.HasPrefix(s.command, "export PATH=") {
			continue // the test has the command on its path
		}
		command := strings.ReplaceAll(s.command, "go run ./cmd/gapless", "gapless")
		command = strings.ReplaceAll(command, "/tmp/tour", tour)
		sh := exec.Command("sh", "-c", command)
		sh.Dir = dir
		sh.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, ".cache"), "GOROOT=", "FOLDER=", "GAPLESS_CONFIG=")
		out, err := sh.CombinedOutput()
		text := strings.ReplaceAll(string(out), tour, "/tmp/tour")
		if refused := strings.Contains(text, " refused in "); (err != nil) != refused {
			t.Fatalf("%s: %v\n%s", s.command, err, text)
		}
		if diff := compare(shape(s.prints), shape(strings.Split(text, "\n"))); diff != "" {
			t.Errorf("%s prints something else (-README +printed):\n%s", s.command, diff)
		}
	}
}

var (
	progressLine = regexp.MustCompile(`^docs: (searchable: )?[\d,]+ (of|records?)\b`)
	varying      = regexp.MustCompile(`\b[rcp]-[0-9a-v]{12,}|\b[0-9a-f]{12}\.\.\.[0-9a-f]+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|[\d,.]*\d (ms|s|B|kB|MB)\b|[\d,.]*\d`)
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
