package repocheck

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// TestMutableStateIsFound shows the rule what it is there to find.
func TestMutableStateIsFound(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, code string
		want       int
	}{
		{"sentinel", `var ErrX = errors.New("x")`, 0},
		{"guard", `var _ I = T{}`, 0},
		{"table", `var table = map[string]int{"a": 1}; func f() int { return table["a"] }`, 0},
		{"computed table", `var table = func() (t [4]int) { t[0] = 1; return t }()`, 0},
		{"shadowed", `var table = map[string]int{}; func f() { table := map[string]int{}; table["a"] = 1 }`, 0},
		{"embedded", "\n//go:embed x\nvar files embed.FS", 0},
		{"field of the same name", `var table = []int{1}; type s struct{ table []int }; func (x *s) f() { x.table = nil }`, 0},
		{"no value", `var count int`, 1},
		{"constant", `var most = 10`, 1},
		{"exported table", `var Table = []string{"a"}`, 1},
		{"assigned", `var table = []int{1}; func f() { table = nil }`, 1},
		{"element assigned", `var table = []int{1}; func f() { table[0] = 2 }`, 1},
		{"deleted from", `var table = map[string]int{}; func f() { delete(table, "a") }`, 1},
		{"unknown constructor", `var client = http.NewClient()`, 1},
		{"counted", `var x = struct{ n int }{}; func f() { x.n++ }`, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, "x.go", "package x\n"+test.code, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if got := mutableState([]source{{name: "x.go", set: set, File: f}}); len(got) != test.want {
				t.Errorf("%d problems, want %d: %s", len(got), test.want, strings.Join(got, "; "))
			}
		})
	}
}
