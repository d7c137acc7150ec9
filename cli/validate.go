package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
)

func newValidate(w *world) *cobra.Command {
	var o projectFlags
	cmd := &cobra.Command{
		Use:   "validate [CONFIG]",
		Short: "Check the configuration and report every mistake",
		Long: `Reads the configuration and reports every mistake with file, line, column and what
to write instead. Nothing is opened and nothing is changed.`,
		Example: `  gapless validate
  gapless validate examples/quickstart --json`,
		Args: between(0, 2),
		RunE: func(_ *cobra.Command, args []string) error { return w.validate(&o, args) },
	}
	o.add(cmd)
	return cmd
}

// validation is the result in JSON.
type validation struct {
	Config     string           `json:"config"`
	OK         bool             `json:"ok"`
	Connectors []string         `json:"connectors"`
	Problems   []config.Problem `json:"problems"`
}

func (w *world) validate(o *projectFlags, args []string) error {
	l, err := w.locate(o, args)
	if u, ok := errors.AsType[*unusable](err); ok {
		return w.invalid(u.problems)
	}
	if err != nil {
		return err
	}
	if _, err := l.chosen(); err != nil {
		return err
	}
	if w.json {
		return w.printJSON(validation{Config: l.File, OK: true, Connectors: l.Names(), Problems: []config.Problem{}})
	}
	w.printf("%s is valid: %s (%s)\n", w.relative(l.File), plural(len(l.Connectors), "connector"), strings.Join(l.Names(), ", "))
	return nil
}

func (w *world) invalid(problems []config.Problem) error {
	if w.json {
		_ = w.printJSON(validation{Config: problems[0].File, Connectors: []string{}, Problems: problems}) // the exit code says it too
		return exitError(gapless.ExitUsage)
	}
	for _, p := range problems {
		fmt.Fprintf(w.err, "%s %s\n", w.red(p.Code.String()), cleanLines(p.String()))
	}
	return gapless.Errorf(gapless.CodeConfig, problems[0].File, "%s", plural(len(problems), "problem"))
}
