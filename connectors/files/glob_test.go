package files

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern string
		yes, no string
	}{
		{"*.md", "a.md x/y/a.md", "a.txt a.md/x"},
		{"/*.md", "a.md", "x/a.md"},
		{"a/**", "a a/b a/b/c", "b x/a"},
		{"**/c", "c b/c a/b/c", "a/b cc"},
		{"a/**/c", "a/c a/b/c a/b/b/c", "a/b c"},
		{"a/**/**/c", "a/c a/x/y/c", "a"},
		{"a/*/c", "a/b/c", "a/c a/b/b/c"},
		{"docs/", "docs x/docs", "docs/a"},
		{"[a-c]?.go", "ab.go x/cz.go", "dd.go a.go"},
		{`\*`, "*", "a"},
	} {
		g, err := parseGlob(test.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for name := range strings.FieldsSeq(test.yes) {
			if !g.match(name) {
				t.Errorf("%s does not match %s", test.pattern, name)
			}
		}
		for name := range strings.FieldsSeq(test.no) {
			if g.match(name) {
				t.Errorf("%s matches %s", test.pattern, name)
			}
		}
	}
}

// FuzzGlob compares the matcher with a plain recursive one.
func FuzzGlob(f *testing.F) {
	for _, seed := range []string{"a/**/b\na/x/b", "**/**\na", "*.md\nx/y.md", "[\na", "a//b\na/b", "/**/a/**/a/**\na/a/a/b", "\\\n\\", "\n"} {
		pattern, name, _ := strings.Cut(seed, "\n")
		f.Add(pattern, name)
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		g, err := parseGlob(pattern)
		if err != nil || strings.Count(pattern, "**") > 6 || len(name) > 100 {
			return
		}
		if got, want := g.match(name), plainMatch(g, strings.Split(name, "/")); got != want {
			t.Errorf("%q as %q on %q: %t, want %t", pattern, g, name, got, want)
		}
	})
}

func plainMatch(pattern, name []string) bool {
	if len(pattern) == 0 {
		return len(name) == 0
	}
	if pattern[0] == "**" {
		return plainMatch(pattern[1:], name) || len(name) > 0 && plainMatch(pattern, name[1:])
	}
	if len(name) == 0 {
		return false
	}
	ok, _ := path.Match(pattern[0], name[0])
	return ok && plainMatch(pattern[1:], name[1:])
}

func TestGlobTimeIsBounded(t *testing.T) {
	t.Parallel()
	g, err := parseGlob(strings.Repeat("**/a/", 200) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if g.match(strings.Repeat("a/", 2000) + "c") {
		t.Error("matches")
	}
}

func TestConnectorIsDocumented(t *testing.T) {
	t.Parallel()
	c := Connector()
	if c.Help == "" || c.Example == "" || !regexp.MustCompile(`^[a-z-]+$`).MatchString(c.Name) {
		t.Errorf("%+v", c)
	}
	for _, o := range c.Source.Options {
		if len(o.Help) < 10 || !strings.HasSuffix(o.Help, ".") {
			t.Errorf("option %s: help %q", o.Name, o.Help)
		}
	}
}
