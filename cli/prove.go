package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/service"
)

func newProve(w *world) *cobra.Command {
	var o projectFlags
	cmd := &cobra.Command{
		Use:   "prove [CONFIG] [CONNECTOR...]",
		Short: "Check the account of every run and name any gap",
		Long: `Checks the certificates of all runs: that none was altered or is missing, that
each continues where its predecessor ended, that every record read is accounted
for, and that state and destination agree with the last one. The source is not
asked. A gap is named with the command that closes it, and the exit code is 20.`,
		Example: `  gapless prove
  gapless prove docs --json`,
		RunE: w.onChosen(&o, w.prove),
	}
	o.addNamed(w, cmd)
	return cmd
}

func (w *world) prove(ctx context.Context, p *service.Project, chosen []config.Connector) error {
	reports := make([]proof.Report, 0, len(chosen))
	var unproved []string
	for _, c := range chosen {
		r, err := proveOne(ctx, p, c)
		if err != nil {
			return explain(c.Name, err)
		}
		if !r.OK {
			unproved = append(unproved, c.Name)
		}
		reports = append(reports, r)
		if !w.json {
			w.printReport(r)
		}
	}
	if w.json {
		if err := w.printJSON(reports); err != nil {
			return err
		}
		if len(unproved) > 0 {
			return exitError(gapless.ExitUnrecoverable)
		}
		return nil
	}
	if len(unproved) > 0 {
		return gapless.Errorf(gapless.CodeGap, strings.Join(unproved, ", "), "completeness cannot be proved")
	}
	return nil
}

func proveOne(ctx context.Context, p *service.Project, c config.Connector) (r proof.Report, err error) {
	e, closeEnds, err := p.Engine(ctx, c, nil)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, closeEnds()) }()
	return e.Prove(ctx)
}

func (w *world) printReport(r proof.Report) {
	w.printf("%s", r.Text())
	for _, p := range r.Partitions {
		if p.OK && p.Last != "" {
			w.printf("  %s  %s: %s, ends with %s (%s %s, %s)\n", w.green("ok"), clean(p.Partition),
				plural(p.Certificates, "certificate"), p.Last, p.Rule, p.Mode, moment(p.Finished))
		}
	}
}
