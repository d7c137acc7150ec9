package repocheck

import (
	"fmt"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
)

// RenderCodes returns docs/errors.md: every code with its exit code and what
// to do next.
func RenderCodes(codes []gapless.CodeInfo) string {
	var b strings.Builder
	b.WriteString("# Errors\n\nGenerated from the table in `codes.go`. Every error of a command carries one of these codes; numbers are never reused.\n\n")
	b.WriteString("| code | what happened | what to do next | exit |\n|---|---|---|---|\n")
	for _, c := range codes {
		exit := "of the cause"
		if c.Exit != 0 {
			exit = fmt.Sprint(c.Exit)
		}
		fmt.Fprintf(&b, "| <a id=%q></a>%s | %s | %s | %s |\n", strings.ToLower(c.Code.String()), c.Code, cell(c.Title), cell(c.Hint), exit)
	}
	return b.String()
}

// RenderOptions returns the generated part of a connector's page: the options
// of each side that it has, as Markdown.
func RenderOptions(c gapless.Connector) string {
	var b strings.Builder
	if c.Example != "" {
		fmt.Fprintf(&b, "```yaml\n%s\n```\n\n", strings.TrimSpace(c.Example))
	}
	var source, destination []gapless.Option
	if c.Source != nil {
		source = c.Source.Options
	}
	if c.Destination != nil {
		destination = c.Destination.Options
	}
	switch {
	case c.Source != nil && c.Destination != nil && optionTable(source) == optionTable(destination):
		b.WriteString("As a source (`from`) and as a destination (`to`):\n\n" + optionTable(source))
	case c.Source != nil && c.Destination != nil:
		b.WriteString("As a source (`from`):\n\n" + optionTable(source) + "\nAs a destination (`to`):\n\n" + optionTable(destination))
	case c.Source != nil:
		b.WriteString("As a source (`from`):\n\n" + optionTable(source))
	case c.Destination != nil:
		b.WriteString("As a destination (`to`):\n\n" + optionTable(destination))
	}
	return b.String()
}

func optionTable(options []gapless.Option) string {
	if len(options) == 0 {
		return "It has no options.\n"
	}
	var b strings.Builder
	b.WriteString("| option | type | default | meaning |\n|---|---|---|---|\n")
	for _, o := range options {
		kind := o.Type
		if len(o.Enum) > 0 {
			kind = "`" + strings.Join(o.Enum, "`, `") + "`"
		}
		standard := "-"
		switch {
		case o.Required:
			standard = "required"
		case o.Default != "":
			standard = "`" + o.Default + "`"
		}
		help := o.Help
		if o.Example != "" {
			help += " Example: `" + o.Example + "`."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", o.Name, cell(kind), cell(standard), cell(help))
	}
	return b.String()
}

// cell keeps text within one cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " ")
}

// ReplaceSection returns page with what stands between the markers
// <!-- name:begin --> and <!-- name:end --> replaced by content. It is an
// error if either marker is missing. For a connector's options the name is
// "options", and the begin marker is <!-- options:begin NAME -->; argument is
// that NAME, or empty.
func ReplaceSection(page, name, argument, content string) (string, error) {
	begin, end := "<!-- "+name+":begin -->", "<!-- "+name+":end -->"
	if argument != "" {
		begin = "<!-- " + name + ":begin " + argument + " -->"
	}
	before, rest, found := strings.Cut(page, begin)
	if !found {
		return "", fmt.Errorf("the marker %s is missing", begin)
	}
	_, after, found := strings.Cut(rest, end)
	if !found {
		return "", fmt.Errorf("the marker %s is missing after %s", end, begin)
	}
	return before + begin + "\n" + strings.TrimSpace(content) + "\n" + end + after, nil
}

// RenderConnector returns a connector's whole page.
func RenderConnector(c gapless.Connector) string {
	return "# " + c.Name + "\n\n" + c.Summary + ".\n\n" + strings.TrimSpace(c.Help) + "\n\n## Configuration\n\n" + RenderOptions(c)
}

// RenderRules returns the decision table as a page.
func RenderRules(rules []plan.Rule) string {
	var b strings.Builder
	b.WriteString("# How a run decides\n\n" +
		"Before anything is written, a run gathers the facts about each partition: what the source says, what the destination holds, " +
		"and what state remembers. The first rule that matches decides; `gapless plan`, `gapless why` and the summary of a run name it.\n\n" +
		"| rule | facts | decision |\n|---|---|---|\n")
	for _, r := range rules {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.ID, cell(r.Facts), cell(r.Decision))
	}
	return b.String()
}

// RenderResolution renders docs/resolution.md from the table of the rules.
func RenderResolution(table string) string {
	return "# How two versions of a record are resolved\n\n" +
		"Two sides hold a record, and both may have edited it. The strategy says which methods may be applied, the resolution whose value " +
		"wins, for the record or for each field. Every field that differs is decided by one of these rules; an edit that was not taken is " +
		"reported together with its rule. Programs ask package `resolve`.\n\n" + table
}
