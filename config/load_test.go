package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

var update = flag.Bool("update", false, "rewrite testdata with what the code does now")

const dashes = "\n----------\n"

// TestScenarios reads testdata/*.txt: a configuration, a line of dashes, and
// the problems or the configuration that it loads as.
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(data), dashes)
			got := outcome(t, input)
			if *update {
				if err := os.WriteFile(file, []byte(input+dashes+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func outcome(t *testing.T, input string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{FileName: input, "token.txt": canary + "\n", "empty.txt": "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, problems, err := Load(dir, testLookup, testConnectors())
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		return strings.ReplaceAll(texts(problems), dir+string(filepath.Separator), "")
	}
	return strings.ReplaceAll(describe(c), dir, "DIR")
}

func texts(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s\n", p)
	}
	return b.String()
}

func describe(c *Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "state %s, search %v\n", c.State, c.Hub.Search)
	if c.Cart.Listen != "" {
		fmt.Fprintf(&b, "cart %+v\n", c.Cart)
	}
	for _, r := range c.Events.On {
		fmt.Fprintf(&b, "%s: %+v, keys %q", r, r.Rule(), r.Keys)
		if r.Download != nil {
			fmt.Fprintf(&b, ", %+v", *r.Download)
		}
		b.WriteByte('\n')
	}
	if n := c.Events.NATS; n != nil {
		fmt.Fprintf(&b, "nats %+v\n", *n)
	}
	for _, k := range c.Connectors {
		fmt.Fprintf(&b, "%s (line %d)\n", k.Name, k.Line)
		if two := k.Between; two != nil {
			for _, s := range two.Sides {
				fmt.Fprintf(&b, "  side %s\n    from %s\n    to %s\n", s, s.Source, s.Destination)
			}
			fmt.Fprintf(&b, "  %+v\n", two.Policy)
		} else {
			fmt.Fprintf(&b, "  from %s\n  to %s\n", k.From, k.To)
		}
		if m := k.Mapping; m.Filter != "" || m.Set != nil || m.Rename != nil || m.Keep != nil || m.Drop != nil {
			fmt.Fprintf(&b, "  filter %q map %q rename %q keep %q drop %q\n", m.Filter, m.Set, m.Rename, m.Keep, m.Drop)
		}
		fmt.Fprintf(&b, "  %+v reconcile %s %+v parallel %d %+v %+v\n", k.Deletes, k.Reconcile, k.Sync, k.Parallel, k.Batch, k.Retry)
	}
	return b.String()
}

func TestLoadFindsTheFileInAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, _, err := Load(dir, testLookup, nil); !errors.Is(err, os.ErrNotExist) || gapless.ExitCode(err) != gapless.ExitUsage {
		t.Errorf("without a file: %v, exit %d", err, gapless.ExitCode(err))
	}
	file := filepath.Join(dir, FileName)
	if err := os.WriteFile(file, []byte("connectors: {a: {from: hub, to: printer}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, file} {
		c, problems, err := Load(path, testLookup, testConnectors())
		if err != nil || len(problems) > 0 {
			t.Fatalf("%v %v", err, problems)
		}
		if c.File != file || c.Dir != dir || c.State != filepath.Join(dir, ".gapless") {
			t.Errorf("%s loads as %q in %q with state %q", path, c.File, c.Dir, c.State)
		}
		if got, want := c.Env("a"), (gapless.Env{Connector: "a", Dir: dir, State: c.State}); got != want {
			t.Errorf("env %+v, want %+v", got, want)
		}
	}
}

func TestSecretsAreResolvedAndNeverShown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token.txt"), []byte(canary+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"environment": "${TOKEN}", "default": "${NONE:-${TOKEN}}", "file": "file:token.txt",
		"file named by a default": "file:${NONE:-token}.txt", "absolute file": "file:" + filepath.Join(dir, "token.txt"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			input := fmt.Sprintf("connectors: {a: {from: {api: {url: x, token: %q}}, to: hub}}", text)
			c, problems := parse("f", dir, []byte(input), testLookup, testConnectors())
			if len(problems) > 0 {
				t.Fatal(texts(problems))
			}
			if got := c.Connectors[0].From.Options["token"]; got != canary {
				t.Errorf("token is %q", got)
			}
			marshalled, _ := c.Connectors[0].From.MarshalText()
			for _, shown := range []string{
				fmt.Sprintf("%v %+v %#v %s", c.Connectors, *c, c.Connectors[0], c.Connectors[0].From), string(marshalled), c.Connectors[0].From.LogValue().String(),
			} {
				if strings.Contains(shown, canary) {
					t.Errorf("shown: %s", shown)
				}
			}
		})
	}
}

func TestEveryMistakeIsReportedAtOnceInOrder(t *testing.T) {
	t.Parallel()
	input := "hbu: 1\nconnectors:\n  a: {from: {files: {pth: x}}, to: nowhere, parallel: many}\n  b: 3\n"
	_, problems := parse("f", "/", []byte(input), testLookup, testConnectors())
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Code))
	}
	want := []string{"1:1 GAP-1002", "3:14 GAP-1003", "3:22 GAP-1002", "3:36 GAP-1005", "3:55 GAP-1004", "4:3 GAP-1004"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, texts(problems))
	}
	if err := AsError(problems); gapless.ExitCode(err) != gapless.ExitUsage || !strings.Contains(err.Error(), "f:4:3: ") {
		t.Errorf("as an error: %v", err)
	}
	if AsError(nil) != nil {
		t.Error("no problems are an error")
	}
}

func TestHostileFilesAreRefusedQuickly(t *testing.T) {
	t.Parallel()
	size := maxFileBytes
	if testing.Short() { // such as under the race detector
		size >>= 4
	}
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	bomb += "connectors: {a: {from: {api: {url: x, headers: {x: *j}}}, to: hub}}\n"
	var keys strings.Builder
	for i := range size / 18 {
		fmt.Fprintf(&keys, "k%d: v\n", i)
	}
	for name, input := range map[string]string{
		"alias bomb": bomb, "brackets": strings.Repeat("[", size), "braces": strings.Repeat("{a: ", size/4), "dashes": strings.Repeat("- ", size/2),
		"question marks": strings.Repeat("? ", size/2), "tags": strings.Repeat("!!a ", size/4), "anchors": strings.Repeat("&a ", size/4),
		"keys": keys.String(), "colons": strings.Repeat("a: ", size/4), "huge": strings.Repeat("#", maxFileBytes+1), "one long string": "state: " + strings.Repeat("x ", size/2-10),
		"indentation": indented(1300), "references": "state: " + strings.Repeat("${A:-", size/16) + strings.Repeat("}", size/16),
		"self reference": "a: &a [*a]\n", "tab": "\tstate: x\n", "nul": "state: \x00\n", "latin1": "state: caf\xe9\n", "empty": "", "comments": "# nothing\n", "scalar": "hello\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := parse("f", "/", []byte(input), testLookup, testConnectors())
			if len(problems) == 0 || len(problems) > maxProblems+1 {
				t.Fatalf("%d problems", len(problems))
			}
			if name == "alias bomb" && !strings.Contains(texts(problems), "too large") {
				t.Error(texts(problems))
			}
		})
	}
}

func indented(levels int) string {
	var b strings.Builder
	for i := range levels {
		fmt.Fprintf(&b, "%*sa:\n", i, "")
	}
	return b.String()
}

func TestUnknownConnectorNameSuggests(t *testing.T) {
	t.Parallel()
	c := &Config{File: "f", Connectors: []Connector{{Name: "docs"}, {Name: "people"}}}
	for name, hint := range map[string]string{"dcos": "did you mean docs?", "zzzzzz": "it configures docs, people"} {
		_, err := c.Connector(name)
		e, ok := errors.AsType[*gapless.Error](err)
		if !ok || e.Code != gapless.CodeUnknownName || e.Hint != hint {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := c.Connector("people"); err != nil || got.Name != "people" {
		t.Errorf("people: %v %v", got, err)
	}
}
