package mapping_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/mapping"
)

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		spec   mapping.Spec
		want   string
		column int
	}{
		{"unfinished", mapping.Spec{Filter: "size <"}, "filter: unexpected token EOF at line 1, column 6 of size <", 6},
		{"second line", mapping.Spec{Filter: "size < 1 &&\n lang = 'en'"}, "at line 2, column 7", 7},
		{"no condition", mapping.Spec{Filter: "'text'"}, "filter: expected bool, but got string", 0},
		{"no condition, computed", mapping.Spec{Filter: "len(name)"}, "filter: expected bool, but got int", 0},
		{"unknown function", mapping.Spec{Set: map[string]string{"t": "1 + uper(name)"}}, "map.t: there is no function uper() at line 1, column 5", 5},
		{"method", mapping.Spec{Set: map[string]string{"t": "name.upper()"}}, "name.upper is not a function; write upper(name), not name.upper()", 6},
		{"clock", mapping.Spec{Filter: "now() > date('2026-01-01')"}, "now() is not available: a mapping must give the same result on every run", 1},
		{"unordered", mapping.Spec{Set: map[string]string{"t": "labels | keys()"}}, "keys() is not available: the order", 10},
		{"whole record", mapping.Spec{Set: map[string]string{"t": "$env"}}, "$env needs a field name", 1},
		{"computed name", mapping.Spec{Set: map[string]string{"t": "$env[name]"}}, "$env needs a field name", 1},
		{"constant that fails", mapping.Spec{Set: map[string]string{"t": "1 / 0"}}, "map.t: the result is not a finite number", 0},
		{"bad pattern", mapping.Spec{Filter: "name matches '('"}, "error parsing regexp: missing closing )", 6},
		{"type mismatch", mapping.Spec{Set: map[string]string{"t": "len(name) + 'x'"}}, "invalid operation: + (mismatched types int and string)", 11},
		{"endless", mapping.Spec{Filter: strings.Repeat("(", 1<<20)}, "the expression is longer than 16384 bytes", 0},
		{"too many nodes", mapping.Spec{Set: map[string]string{"t": "[" + strings.Repeat("a,", 5000) + "a]"}}, "exceeds maximum allowed nodes", 4003},
		{"keep and drop", mapping.Spec{Keep: []string{"a"}, Drop: []string{"b"}}, "keep and drop exclude each other", 0},
		{"set and renamed", mapping.Spec{Rename: map[string]string{"a": "b"}, Set: map[string]string{"b": "1"}}, "map.b: rename.a gives the field this name as well", 0},
		{"two of one name", mapping.Spec{Rename: map[string]string{"a": "x", "b": "x"}}, "rename: a and b both become x", 0},
		{"set and dropped", mapping.Spec{Drop: []string{"a"}, Set: map[string]string{"a": "1"}}, "drop: a is set or renamed elsewhere", 0},
		{"renamed and dropped", mapping.Spec{Drop: []string{"a"}, Rename: map[string]string{"a": "b"}}, "drop: a is set or renamed elsewhere", 0},
		{"no new name", mapping.Spec{Rename: map[string]string{"a": ""}}, "rename.a: the new name is empty", 0},
		{"no expression", mapping.Spec{Set: map[string]string{"a": " "}}, "map.a: field and expression must not be empty", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := mapping.Compile(test.spec)
			if err == nil {
				t.Fatal("compiled")
			}
			if !strings.Contains(err.Error(), test.want) || len(err.Error()) > 20_000 || strings.Contains(err.Error(), "@") {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			e, ok := errors.AsType[*gapless.Error](err)
			if !ok || e.Code != gapless.CodeConfig || gapless.HintFor(e) == "" || gapless.ExitCode(err) != gapless.ExitUsage {
				t.Errorf("error %+v", e)
			}
			if at, ok := errors.AsType[*mapping.ExpressionError](err); ok && at.Column != test.column {
				t.Errorf("column %d, want %d", at.Column, test.column)
			}
		})
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	base := mapping.Spec{
		Filter: `size < 1000 && lang == "en"`,
		Set:    map[string]string{"title": "author.name", "kind": "'doc'"},
		Rename: map[string]string{"a": "b"},
		Keep:   []string{"x", "y"},
	}
	edit := func(fn func(s *mapping.Spec)) mapping.Spec {
		s := base
		s.Set = map[string]string{"title": "author.name", "kind": "'doc'"}
		fn(&s)
		return s
	}
	want := compile(t, base).Fingerprint()
	tests := []struct {
		name string
		spec mapping.Spec
		same bool
	}{
		{"itself", base, true},
		{"white space and quotes", edit(func(s *mapping.Spec) { s.Filter = `  size<1000&&lang=='en' ` }), true},
		{"order of keep", edit(func(s *mapping.Spec) { s.Keep = []string{"y", "x", "y"} }), true},
		{"spelling of a path", edit(func(s *mapping.Spec) { s.Set["title"] = `author?.["name"]` }), true},
		{"parentheses that mean nothing", edit(func(s *mapping.Spec) { s.Set["title"] = `(author.name)` }), true},
		{"filter", edit(func(s *mapping.Spec) { s.Filter = `size < 1001 && lang == "en"` }), false},
		{"no filter", edit(func(s *mapping.Spec) { s.Filter = "" }), false},
		{"parentheses that matter", edit(func(s *mapping.Spec) { s.Set["title"] = "a - (b - c)" }), false},
		{"expression", edit(func(s *mapping.Spec) { s.Set["kind"] = "'Doc'" }), false},
		{"field", edit(func(s *mapping.Spec) { s.Set["kin"] = "'doc'" }), false},
		{"rename", edit(func(s *mapping.Spec) { s.Rename = map[string]string{"a": "c"} }), false},
		{"keep", edit(func(s *mapping.Spec) { s.Keep = []string{"x"} }), false},
		{"keep none", edit(func(s *mapping.Spec) { s.Keep = []string{} }), false},
		{"keep all", edit(func(s *mapping.Spec) { s.Keep = nil }), false},
		{"drop", edit(func(s *mapping.Spec) { s.Keep, s.Drop = nil, []string{"x"} }), false},
	}
	seen := map[string]string{}
	for _, test := range tests {
		got := compile(t, test.spec).Fingerprint()
		if (got == want) != test.same {
			t.Errorf("%s: %s, base %s, want same=%v", test.name, got, want, test.same)
		}
		if other, twice := seen[got]; twice && !test.same {
			t.Errorf("%s has the fingerprint of %s", test.name, other)
		}
		seen[got] = test.name
	}
	a := compile(t, mapping.Spec{Set: map[string]string{"t": "a - b - c"}}).Fingerprint()
	if b := compile(t, mapping.Spec{Set: map[string]string{"t": "a - (b - c)"}}).Fingerprint(); a == b {
		t.Error("grouping is not part of the fingerprint")
	}
}

// TestFingerprintIsStable pins the stored form: a fingerprint that changes
// makes the next run of every mapped connector a full one.
func TestFingerprintIsStable(t *testing.T) {
	t.Parallel()
	p := compile(t, mapping.Spec{Filter: "size < 1000", Set: map[string]string{"t": "author.name ?? 'x'"}})
	if want := "m1-674f29a377d3762cd99b9597"; p.Fingerprint() != want {
		t.Errorf("got %s, want %s", p.Fingerprint(), want)
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	for _, s := range []mapping.Spec{{}, {Filter: " \n"}, {Rename: map[string]string{"a": "a"}}, {Drop: []string{}, Set: map[string]string{}}} {
		if p := compile(t, s); !p.IsIdentity() || p.Fingerprint() != "" {
			t.Errorf("%+v is not the identity: %q", s, p.Fingerprint())
		}
	}
	for _, s := range []mapping.Spec{{Filter: "true"}, {Keep: []string{}}, {Drop: []string{"a"}}} {
		if p := compile(t, s); p.IsIdentity() || p.Fingerprint() == "" {
			t.Errorf("%+v is the identity", s)
		}
	}
}

// TestSpecSurvivesJSON asserts that an empty keep list stays one.
func TestSpecSurvivesJSON(t *testing.T) {
	t.Parallel()
	encoded, err := json.Marshal(mapping.Spec{Keep: []string{}, Set: map[string]string{"a": "b"}})
	if err != nil || string(encoded) != `{"map":{"a":"b"},"keep":[]}` {
		t.Fatalf("%s, %v", encoded, err)
	}
	var s mapping.Spec
	if err := json.Unmarshal([]byte(`{"keep":[]}`), &s); err != nil || s.Keep == nil {
		t.Errorf("%+v, %v", s, err)
	}
}
