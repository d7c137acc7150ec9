package repocheck

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/catalog"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/resolve"
)

// TestErrorsPageListsEveryCode compares docs/errors.md with the table.
func TestErrorsPageListsEveryCode(t *testing.T) {
	t.Parallel()
	generated(t, "docs/errors.md", RenderCodes(gapless.Codes()))
}

// TestConnectorPages compares docs/connectors with what the connectors declare.
func TestConnectorPages(t *testing.T) {
	t.Parallel()
	index := "# Connectors\n\n| name | what | source | destination |\n|---|---|---|---|\n"
	side := map[bool]string{true: "yes", false: "-"}
	for _, c := range catalog.Builtin().Connectors() {
		generated(t, "docs/connectors/"+c.Name+".md", RenderConnector(c))
		index += "| [" + c.Name + "](" + c.Name + ".md) | " + c.Summary + " | " + side[c.Source != nil] + " | " + side[c.Destination != nil] + " |\n"
	}
	generated(t, "docs/connectors/README.md", index)
}

// TestRulesPage compares docs/rules.md with the decision table.
func TestRulesPage(t *testing.T) {
	t.Parallel()
	generated(t, "docs/rules.md", RenderRules(plan.Rules()))
}

// TestResolutionPage compares docs/resolution.md with the rules.
func TestResolutionPage(t *testing.T) {
	t.Parallel()
	generated(t, "docs/resolution.md", RenderResolution(resolve.RulesTable()))
}

func TestRenderOptions(t *testing.T) {
	t.Parallel()
	type options struct {
		Path string         `option:"path,required" help:"Folder to read." example:"./docs"`
		Mode string         `option:"mode" default:"skip" enum:"skip,follow" help:"One | the other."`
		Key  gapless.Secret `option:"key" help:"Credential."`
	}
	open := gapless.OpenSource(func(context.Context, options, gapless.Env) (gapless.Source, error) { return nil, gapless.ErrNotFound })
	sink := gapless.OpenDestination(func(context.Context, struct{}, gapless.Env) (gapless.Destination, error) {
		return nil, gapless.ErrNotFound
	})
	got := RenderOptions(gapless.Connector{Name: "files", Example: "files:\n  path: .\n", Source: open, Destination: sink})
	want := "```yaml\nfiles:\n  path: .\n```\n\nAs a source (`from`):\n\n" +
		"| option | type | default | meaning |\n|---|---|---|---|\n" +
		"| `path` | string | required | Folder to read. Example: `./docs`. |\n" +
		"| `mode` | `skip`, `follow` | `skip` | One \\| the other. |\n" +
		"| `key` | secret | - | Credential. |\n" +
		"\nAs a destination (`to`):\n\nIt has no options.\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReplaceSection(t *testing.T) {
	t.Parallel()
	page := "a\n<!-- options:begin files -->\nold\n<!-- options:end -->\nb\n<!-- options:begin jsonl -->\n<!-- options:end -->\n"
	got, err := ReplaceSection(page, "options", "jsonl", "new\n")
	if want := strings.Replace(page, "jsonl -->\n", "jsonl -->\nnew\n", 1); err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	for _, broken := range []string{"", "<!-- options:begin files -->", "<!-- options:end -->"} {
		if _, err := ReplaceSection(broken, "options", "files", ""); err == nil {
			t.Errorf("%q has both markers", broken)
		}
	}
}

// machine finds what belongs to one machine rather than to the repository.
// The parts are joined here so that this file does not match itself.
var machine = regexp.MustCompile(`(?:^|[\s"'=(:,` + "`" + `])/(?:` + "work|ro" + `ot)/|` + "proxy.go" + `lang|` + "sum.go" + `lang|registry\.` + `npmjs|pypi\.` + `org`)

// TestFilesHoldNoMachine refuses absolute paths of a workplace and hosts of
// package registries in everything that is, or would be, in the repository.
func TestFilesHoldNoMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("reads the whole repository")
	}
	t.Parallel()
	for _, name := range trackedFiles(t) {
		data, err := os.ReadFile(filepath.Join(top, name))
		if err != nil || bytes.IndexByte(data, 0) >= 0 {
			continue // deleted, a folder, or binary
		}
		for i, line := range bytes.Split(data, []byte("\n")) {
			if machine.Match(line) {
				t.Errorf("%s:%d names a machine: %s", name, i+1, bytes.TrimSpace(line))
			}
		}
	}
}

// trackedFiles lists what git has or would add; without git, every file.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = top
	if out, err := cmd.Output(); err == nil {
		return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	}
	var names []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2:
			return filepath.SkipDir
		case d.Type().IsRegular():
			short, err := filepath.Rel(top, path)
			names = append(names, short)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestMachinesAreFound(t *testing.T) {
	t.Parallel()
	for line, found := range map[string]bool{
		"see /wo" + "rk/main": true, `"/ro` + `ot/go"`: true, "https://proxy.go" + "lang.org": true,
		"docs/wo" + "rk/page": false, "below the root/": false, "a network/share": false, "/wo" + "rker/x": false,
	} {
		if machine.MatchString(line) != found {
			t.Errorf("%q: want %v", line, found)
		}
	}
}
