package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadmeWalk runs the commands of the README in one shell and compares what
// they print.
func TestReadmeWalk(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	t.Parallel()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "walk")
	text := strings.NewReplacer(
		"/tmp/walk", dir, "127.0.0.1:8090", freeAddress(t), "127.0.0.1:10003", freeAddress(t), "127.0.0.1:10004", freeAddress(t),
	).Replace(string(page))
	script, want := walk(text)
	sh := exec.CommandContext(t.Context(), "bash", "-c", script)
	sh.Dir = "../.."
	out, err := sh.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("the walk prints something else (-README +printed):\n%s", diff)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// walk returns a script of all commands, each announced by a line, and what it
// prints according to the page.
func walk(page string) (script, want string) {
	script = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n"
	inside, n := false, 0
	for line := range strings.Lines(page) {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case line == "```console\n":
			inside = true
		case line == "```\n":
			inside = false
		case inside && isCommand:
			n++
			announcement := fmt.Sprintf("-- %d", n)
			script += "echo '" + announcement + "'\n" + command
			want += announcement + "\n"
		case inside:
			want += line
		}
	}
	return script, want
}
