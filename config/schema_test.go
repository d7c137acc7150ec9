package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"
)

func resolvedSchema(t testing.TB) *jsonschema.Resolved {
	t.Helper()
	text, err := Schema(testConnectors())
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	resolved, err := s.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

func TestSchemaIsGolden(t *testing.T) {
	t.Parallel()
	got, err := Schema(testConnectors())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/schema.json", string(got))
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSchemaAndLoadAgree holds the schema to accepting whatever loads, and to
// refusing the scenarios whose mistakes a schema can express.
func TestSchemaAndLoadAgree(t *testing.T) {
	t.Parallel()
	schema := resolvedSchema(t)
	files, _ := filepath.Glob("testdata/*.txt")
	refused := map[string]bool{
		"unknown-keys": true, "wrong-types": true, "sides": true, "secrets": true, "no-connectors": true, "connectors-empty": true, "list": true, "windows": true, "between-mistakes": true,
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		input, want, _ := strings.Cut(string(data), dashes)
		var value any
		if err := yaml.Unmarshal([]byte(strings.TrimPrefix(input, "\ufeff")), &value); err != nil {
			continue
		}
		err = schema.Validate(value)
		switch loads := !strings.HasPrefix(want, FileName+":"); {
		case loads && err != nil:
			t.Errorf("%s loads, but the schema refuses it: %v", name, err)
		case refused[name] && err == nil:
			t.Errorf("the schema accepts %s", name)
		}
	}
}

func TestSampleLoads(t *testing.T) {
	t.Parallel()
	sample := Sample(testConnectors())
	golden(t, "testdata/sample.yaml", sample)
	c, problems := parse(FileName, "/", []byte(sample), testLookup, testConnectors())
	if len(problems) > 0 {
		t.Fatal(texts(problems))
	}
	if k := c.Connectors[0]; k.Name != "docs" || k.From.Kind != "files" || k.To.Kind != "hub" {
		t.Errorf("connector %+v", k)
	}
}

// TestSampleShowsTheDefaults uncomments everything that the sample shows: it
// must load, and as the same values.
func TestSampleShowsTheDefaults(t *testing.T) {
	t.Parallel()
	sample := Sample(testConnectors())
	var lines []string
	for line := range strings.Lines(sample) {
		lines = append(lines, regexp.MustCompile(`^(\s*)# ((?:  )?[a-z_]+:)(\s)`).ReplaceAllString(line, "$1$2$3"))
	}
	full := strings.Join(lines, "")
	full = regexp.MustCompile(`(?m)^ *(map|rename|keep|drop|canary): .*\n`).ReplaceAllString(full, "") // examples that contradict each other
	want, _ := parse(FileName, "/", []byte(sample), testLookup, testConnectors())
	got, problems := parse(FileName, "/", []byte(full), testLookup, testConnectors())
	if len(problems) > 0 {
		t.Fatalf("%s%s", full, texts(problems))
	}
	want.Connectors[0].Line, want.Connectors[0].From, want.Connectors[0].Mapping = got.Connectors[0].Line, got.Connectors[0].From, got.Connectors[0].Mapping
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Endpoint{})); diff != "" {
		t.Errorf("the defaults shown are not the defaults (-default +shown):\n%s", diff)
	}
}

func TestSampleOfOtherConnectors(t *testing.T) {
	t.Parallel()
	for _, connectors := range [][]int{{1}, {1, 3}, {2}, {2, 3}, {0, 3}} {
		list := testConnectors()[:0]
		for _, i := range connectors {
			list = append(list, testConnectors()[i])
		}
		if _, problems := parse(FileName, "/", []byte(Sample(list)), testLookup, list); len(problems) > 0 {
			t.Errorf("%v:\n%s\n%s", connectors, Sample(list), texts(problems))
		}
	}
}
