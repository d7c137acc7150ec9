package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// top is the folder of the module.
const top = "../.."

func all(t *testing.T) []mutant {
	t.Helper()
	list, err := catalogue()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestTextsAreThere: a catalogue that no longer fits the code proves nothing.
func TestTextsAreThere(t *testing.T) {
	t.Parallel()
	for _, m := range all(t) {
		text, err := os.ReadFile(filepath.Join(top, m.File))
		if err == nil {
			_, err = m.apply(string(text))
		}
		if err != nil {
			t.Errorf("%s: %v", m.ID, err)
		}
	}
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

func TestTestsAreThere(t *testing.T) {
	t.Parallel()
	known := map[string][]string{}
	for _, m := range all(t) {
		names, ok := known[m.Package]
		if !ok {
			files, err := filepath.Glob(filepath.Join(top, m.Package, "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for _, match := range testFunction.FindAllStringSubmatch(string(text), -1) {
					names = append(names, match[1])
				}
			}
			known[m.Package] = names
		}
		for _, name := range m.Tests {
			if !slices.Contains(names, name) {
				t.Errorf("%s: package %s has no test %s", m.ID, m.Package, name)
			}
		}
	}
}

// TestEveryInvariantIsServed: none of the ten goes without a mutant.
func TestEveryInvariantIsServed(t *testing.T) {
	t.Parallel()
	var served [invariants + 1]int
	list := all(t)
	for _, m := range list {
		for _, n := range m.Invariants {
			served[n]++
		}
	}
	for n := 1; n <= invariants; n++ {
		if served[n] == 0 {
			t.Errorf("no mutant is about invariant %d", n)
		}
	}
}

const entry = `# a comment
mutant name
keeps 1 8: a line
file some/file.go
tests some TestOne TestTwo
 	before
-	x := 1
+	x := 2
`

func TestParse(t *testing.T) {
	t.Parallel()
	list, err := parse("room", entry)
	if err != nil {
		t.Fatal(err)
	}
	want := []mutant{{
		ID: "room/name", Invariants: []int{1, 8}, Keeps: "a line", File: "some/file.go", Package: "some", Tests: []string{"TestOne", "TestTwo"},
		Old: "\tbefore\n\tx := 1\n", New: "\tbefore\n\tx := 2\n",
	}}
	if diff := cmp.Diff(want, list, cmp.AllowUnexported(mutant{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, old, new string }{
		{"nothing before a mutant", "mutant name\n", ""},
		{"no purpose", "keeps 1 8: a line\n", ""},
		{"no such invariant", "keeps 1 8", "keeps 11"},
		{"no file", "file some/file.go\n", ""},
		{"no tests", " TestOne TestTwo", ""},
		{"an unknown word", "file", "folder"},
		{"a kind of tests", "tests", "long tests"},
		{"no change", "+\tx := 2", "+\tx := 1"},
		{"nothing taken out", " \tbefore\n-\tx := 1\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(entry, tt.old, tt.new, 1)
			if text == entry {
				t.Fatal("nothing was replaced")
			}
			if list, err := parse("room", text); err == nil {
				t.Errorf("taken: %+v", list)
			}
		})
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	m := mutant{File: "f", Old: "b\n", New: "x\ny\n"}
	tests := []struct{ name, source, want string }{
		{"in the middle", "a\nb\nc\n", "a\nx\ny\nc\n"},
		{"at the beginning", "b\nc\n", "x\ny\nc\n"},
		{"whole lines alone", "ab\nb\n", "ab\nx\ny\n"},
		{"gone", "a\nab\n", ""},
		{"twice", "b\na\nb\n", ""},
		{"twice in a row", "b\nb\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := m.apply(tt.source)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q: %v", got, err)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	list := []mutant{{ID: "a/1"}, {ID: "a/2"}, {ID: "ab/1"}}
	tests := []struct {
		name, names string
		want        []string
	}{
		{"all", "", []string{"a/1", "a/2", "ab/1"}},
		{"a room", "a", []string{"a/1", "a/2"}},
		{"one, and its room", "a/2,a", []string{"a/1", "a/2"}},
		{"unknown", "b", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			chosen, err := choose(list, tt.names)
			var ids []string
			for _, m := range chosen {
				ids = append(ids, m.ID)
			}
			if diff := cmp.Diff(tt.want, ids); diff != "" || (err == nil) != (tt.want != nil) {
				t.Errorf("%s%v", diff, err)
			}
		})
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []string
	}{
		{"tests, not those within them", "=== RUN\n--- FAIL: TestB (0.1s)\n    --- FAIL: TestB/x (0.1s)\n--- PASS: TestC (0s)\n--- FAIL: TestA (0s)\n", []string{"TestA", "TestB"}},
		{"a panic", "=== RUN\npanic: oh\n", []string{"panic"}},
		{"the end of the program", "fatal error: all goroutines are asleep - deadlock!\n", []string{"panic"}},
		{"a test tells of a panic", "    x_test.go:1: panic: oh\n", nil},
		{"no memory", "fatal error: runtime: out of memory\n", nil},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, read(tt.text).failed); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	var out, stderr bytes.Buffer
	if code := command(t.Context(), []string{"--list"}, &out, &stderr); code != 0 || strings.Count(out.String(), "\n") != len(all(t)) {
		t.Errorf("exit %d:\n%s%s", code, &out, &stderr)
	}
	if code := command(t.Context(), []string{"--only", "nothing"}, &out, &stderr); code != 2 {
		t.Errorf("exit %d for an unknown name", code)
	}
}
