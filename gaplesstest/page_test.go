package gaplesstest

import (
	"os"
	"strings"
	"testing"
)

// The page shows the test that is run, and every check.
func TestPageIsTrue(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/survival-kit.md")
	if err != nil {
		t.Fatal(err)
	}
	walk, err := os.ReadFile("walk_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(page), "```go\n")
	code, _, _ = strings.Cut(code, "```")
	if code == "" || !strings.HasSuffix(string(walk), "\n"+code) {
		t.Error("the code of docs/survival-kit.md is not the end of walk_test.go")
	}
	sources, destinations, ok := strings.Cut(string(page), "## What a destination survives")
	_, sources, _ = strings.Cut(sources, "## What a source survives")
	if !ok || sources == "" {
		t.Fatal("docs/survival-kit.md lacks a section")
	}
	for _, c := range sourceChecks() {
		if !strings.Contains(sources, "`"+c.name+"`") {
			t.Errorf("docs/survival-kit.md does not list the source check %s", c.name)
		}
	}
	for _, c := range destinationChecks() {
		if !strings.Contains(destinations, "`"+c.name+"`") {
			t.Errorf("docs/survival-kit.md does not list the destination check %s", c.name)
		}
	}
}
