package main

import (
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

func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "docs/reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// measured returns what stands between the markers of a table.
func measured(t *testing.T, name string) string {
	t.Helper()
	table, err := between(page(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// origin is what a table says of where it was measured.
var origin = regexp.MustCompile("(?m)^Commit `[0-9a-f]{12}(-dirty)?`, .+, [0-9]+ cores, go1.+\\.$")

// TestEveryTableIsThere: each with the command that it comes from, and nothing
// between markers that no command writes.
func TestEveryTableIsThere(t *testing.T) {
	t.Parallel()
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
		table := measured(t, s.name)
		if !strings.Contains(table, "\n$ "+s.shown()+"\n") {
			t.Errorf("%s does not come from %s", s.name, s.shown())
		}
		if !origin.MatchString(table) {
			t.Errorf("%s does not say where it was measured", s.name)
		}
		if !strings.Contains(table, "\n| ") {
			t.Errorf("%s has no table", s.name)
		}
	}
	for _, marker := range regexp.MustCompile(`<!-- (\S+):begin -->`).FindAllStringSubmatch(page(t), -1) {
		if !slices.Contains(names, marker[1]) {
			t.Errorf("no command writes %s", marker[1])
		}
	}
}

// TestMutantsAreThoseOfTheCatalogue, and none of them survives.
func TestMutantsAreThoseOfTheCatalogue(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(top, "internal/mutation/catalogue/*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("catalogue %q: %v", files, err)
	}
	var want []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^mutant (\S+)$`).FindAllStringSubmatch(string(text), -1) {
			want = append(want, strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+m[1])
		}
	}
	slices.Sort(want)
	table := measured(t, "mutation")
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\S+)` \\|.*\\| ([a-z]+) \\|[^|]*\\|$").FindAllStringSubmatch(table, -1) {
		got = append(got, m[1])
		if m[2] != "noticed" {
			t.Errorf("%s is %s", m[1], m[2])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("run go run ./internal/reliability --only mutation (-catalogue +page):\n%s", diff)
	}
}

func TestCampaignIsComplete(t *testing.T) {
	t.Parallel()
	table := measured(t, "fault-campaign")
	if !regexp.MustCompile(`(?m)^[1-9][0-9]{3,} faults were planted, 0 of them noticed by nobody\. [1-9][0-9]{4,} clean runs gave 0 false alarms\.$`).MatchString(table) {
		t.Error("the page does not say that 1,000 faults or more were noticed, and that 10,000 clean runs gave no alarm")
	}
}

func TestRenderings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		section int
		text    string
		want    []string
	}{
		{0, `{"mutants":[{"id":"b","invariants":[1,2],"keeps":"x | y","outcome":"survived"},
		{"id":"a","invariants":[3],"keeps":"z","outcome":"noticed","by":["T","U"]}]}`,
			[]string{"2 lines were taken out, 1 were noticed.", "| `a` | 3 | z | noticed | T, U |\n| `b` | 1, 2 | x \\| y | survived |  |\n"}},
		{1, `{"table":"fault-campaign","where":"w","fault":"f","planted":3,"by":{"plan":2,"nobody":1},"harmless":4}
{"table":"another"}
{"table":"clean-runs","runs":10,"alarms":2}`,
			[]string{"3 faults were planted, 1 of them noticed by nobody. 10 clean runs gave 2 false alarms.", "| w | f | 3 | 0 | 2 | 0 | 0 | 0 | 1 | 4 |\n"}},
		{2, `{"table":"partial-failures","name":"n","false_deletes":3,"true_deletes_gone":false}
{"table":"partial-failures","name":"m","true_deletes_gone":true}`,
			[]string{"2 failures, 3 records deleted that exist, 1 failures after which", "| n | 3 | no |\n| m | 0 | yes |\n"}},
		{3, `{"table":"certificate-overhead","case":"c","records":5,"rounds":6,"nanoseconds":7.4,"overhead":1.25,"control":-0.5,"digests":2}`,
			[]string{"| c | 5 | 6 | 7 ns a record | +1.2 % | -0.5 % | 2.0 % |\n"}},
	}
	for _, tt := range tests {
		s := sections()[tt.section]
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			rows, err := s.read([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.render(rows)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
		})
	}
}

func TestExchange(t *testing.T) {
	t.Parallel()
	const text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
	got, err := exchange(text, "x", "new\n\n")
	if want := "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n"; err != nil || got != want {
		t.Errorf("got %q: %v", got, err)
	}
	for _, broken := range []string{"a", strings.Replace(text, "end", "fin", 1), text + text, "<!-- x:end --><!-- x:begin -->"} {
		if got, err := exchange(broken, "x", "new"); err == nil {
			t.Errorf("%q became %q", broken, got)
		}
	}
}
