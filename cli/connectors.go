package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
)

func newConnectors(w *world) *cobra.Command {
	return &cobra.Command{
		Use:   "connectors [NAME]",
		Short: "List the kinds of connectors, or show one with its options",
		Example: `  gapless connectors
  gapless connectors files`,
		Args: between(0, 1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return w.kindNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return w.listKinds()
			}
			c, ok := w.catalog.Lookup(args[0])
			if !ok {
				return w.unknownKind(args[0])
			}
			return w.showKind(c)
		},
	}
}

func (w *world) kindNames() []string {
	var names []string
	for _, c := range w.catalog.Connectors() {
		names = append(names, c.Name)
	}
	return names
}

func (w *world) unknownKind(name string) error {
	e := gapless.Errorf(gapless.CodeUnknownKind, name, "there is no connector of that name")
	if fix := gapless.DidYouMean(name, w.kindNames()); fix != "" {
		return e.WithHint("%s", fix)
	}
	return e.WithHint("there is %s", strings.Join(w.kindNames(), ", "))
}

// kind is a connector in JSON.
type kind struct {
	Name        string            `json:"name"`
	Summary     string            `json:"summary"`
	Help        string            `json:"help,omitempty"`
	Example     string            `json:"example,omitempty"`
	Source      *[]gapless.Option `json:"source,omitempty"`
	Destination *[]gapless.Option `json:"destination,omitempty"`
}

func kindOf(c gapless.Connector) kind {
	k := kind{Name: c.Name, Summary: c.Summary, Help: c.Help, Example: c.Example}
	if c.Source != nil {
		k.Source = &c.Source.Options
	}
	if c.Destination != nil {
		k.Destination = &c.Destination.Options
	}
	return k
}

func (w *world) listKinds() error {
	if w.json {
		kinds := []kind{}
		for _, c := range w.catalog.Connectors() {
			kinds = append(kinds, kindOf(c))
		}
		return w.printJSON(kinds)
	}
	t := newTable("NAME", "USE AS", "WHAT IT IS")
	for _, c := range w.catalog.Connectors() {
		t.row(c.Name, usableAs(c), c.Summary)
	}
	t.print(w.out, w.bold)
	return nil
}

func usableAs(c gapless.Connector) string {
	var sides []string
	if c.Source != nil {
		sides = append(sides, "from")
	}
	if c.Destination != nil {
		sides = append(sides, "to")
	}
	return strings.Join(sides, ", ")
}

func (w *world) showKind(c gapless.Connector) error {
	if w.json {
		return w.printJSON(kindOf(c))
	}
	w.printf("%s  %s\n", w.bold(c.Name), c.Summary)
	if help := strings.TrimSpace(c.Help); help != "" {
		w.printf("\n%s\n", help)
	}
	if c.Source != nil {
		w.printOptions("from", c.Source.Options)
	}
	if c.Destination != nil {
		w.printOptions("to", c.Destination.Options)
	}
	if example := strings.TrimRight(c.Example, "\n"); example != "" {
		w.printf("\n%s\n  %s\n", w.bold("Example"), strings.ReplaceAll(example, "\n", "\n  "))
	}
	return nil
}

func (w *world) printOptions(side string, options []gapless.Option) {
	w.printf("\n%s\n", w.bold("Options of "+side+":"))
	if len(options) == 0 {
		w.printf("  none\n")
	}
	for _, o := range options {
		w.printf("  %s  %s\n      %s\n", o.Name, w.dim(optionFacts(o)), o.Help)
	}
}

func optionFacts(o gapless.Option) string {
	text := o.Type
	if len(o.Enum) > 0 {
		text = strings.Join(o.Enum, " | ")
	}
	switch {
	case o.Required:
		text += ", required"
	case o.Default != "":
		text += fmt.Sprintf(", default %s", o.Default)
	}
	return text
}
