package resolve_test

import (
	"testing"

	"github.com/gapless-sync/gapless/resolve"
)

func TestSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, a, b string
		want       bool
	}{
		{"bytes", `{"a":1}`, `{"a":1}`, true},
		{"spelling", `{"a":1.0,"b":"\u00e9"}`, ` { "b":"é", "a":1 } `, true},
		{"value", `{"a":1}`, `{"a":2}`, false},
		{"name", `{"a":1}`, `{"b":1}`, false},
		{"null is a value", `{"a":null}`, `{}`, false},
		{"nothing is empty", ``, `{}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got, err := resolve.Same([]byte(c.a), []byte(c.b)); err != nil || got != c.want {
				t.Errorf("%t, %v, want %t", got, err, c.want)
			}
		})
	}
	if _, err := resolve.Same([]byte(`{"a":1}`), []byte(`[1]`)); err == nil {
		t.Error("a list is no object")
	}
}

func TestPatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, from, to, want string
		ok                   bool
	}{
		{"nothing", `{"a":1}`, `{"a":1.0}`, `{}`, true},
		{"set, add, remove", `{"a":1,"b":2}`, `{"a":3,"c":{"d":[]}}`, `{"a":3,"c":{"d":[]},"b":null}`, true},
		{"null cannot be said", `{"a":1}`, `{"a":null}`, ``, false},
		{"null that stays", `{"a":null,"b":1}`, `{"a":null,"b":2}`, `{"b":2}`, true},
		{"from nothing", ``, `{"a":1}`, `{"a":1}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, ok, err := resolve.Patch([]byte(c.from), []byte(c.to))
			if err != nil || ok != c.ok || string(got) != c.want {
				t.Errorf("%s, %t, %v", got, ok, err)
			}
		})
	}
}

func TestWithAndFill(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, want string }{
		{"a", `7`, `{"a":7,"b":2}`},
		{"b", ``, `{"a":1}`},
		{"c", ``, `{"a":1,"b":2}`},
		{"c \"q\"", `{"x":null}`, `{"a":1,"b":2,"c \"q\"":{"x":null}}`},
	} {
		got, err := resolve.With([]byte(`{"a":1,"b":2}`), c.name, []byte(c.value))
		if err != nil || string(got) != c.want {
			t.Errorf("%s to %s: %s, %v", c.name, c.value, got, err)
		}
	}
	if _, err := resolve.With([]byte(`{}`), "a", []byte(`{`)); err == nil {
		t.Error("a value that is no JSON was taken")
	}
	got, err := resolve.Fill([]byte(`{"a":1}`), []byte(`{"a":2,"b":3,"c":4}`), []string{"a", "b", "z"})
	if err != nil || string(got) != `{"a":1,"b":3}` {
		t.Errorf("%s, %v", got, err)
	}
	names, err := resolve.Fields([]byte(`{"b":1,"a":2,"b":3}`))
	if err != nil || len(names) != 2 || names[0] != "b" || names[1] != "a" {
		t.Errorf("%q, %v", names, err)
	}
	value, err := resolve.Field([]byte(`{"a":[1, 2]}`), "a")
	if err != nil || string(value) != `[1, 2]` {
		t.Errorf("%s, %v", value, err)
	}
}
