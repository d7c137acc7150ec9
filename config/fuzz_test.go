package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// FuzzLoad checks, for any bytes, that loading ends with either a
// configuration or problems that lie within the file, that nothing of the
// environment is shown, and that the schema accepts what loads.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		input, _, _ := strings.Cut(string(data), dashes)
		f.Add([]byte(strings.ReplaceAll(input, canary, "opensesame")))
	}
	f.Add([]byte(Sample(testConnectors())))
	schema := resolvedSchema(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, problems := parse("f", "/nowhere", data, testLookup, testConnectors())
		if (c == nil) == (len(problems) == 0) {
			t.Fatalf("configuration %v with %d problems", c, len(problems))
		}
		lines := strings.Count(string(data), "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" || p.Code == 0 || !utf8.ValidString(p.String()) {
				t.Errorf("problem %+v", p)
			}
			if strings.Contains(p.String(), canary) {
				t.Errorf("shows a secret: %s", p)
			}
		}
		if c == nil {
			return
		}
		var value any
		if err := yaml.Unmarshal(data, &value); err != nil {
			return // such as keys that are no text
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("loads, but the schema refuses it: %v\n%s", err, data)
		}
	})
}
