package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/service"
)

type repairOptions struct {
	verifyOptions
	approve      string
	full, dryRun bool
}

func newRepair(w *world) *cobra.Command {
	var o repairOptions
	cmd := &cobra.Command{
		Use:   "repair [CONFIG] [CONNECTOR...]",
		Short: "Bring just the records that verify finds to differ",
		Long: `Verifies, and then runs so that the records are brought that no other run would
bring: what is missing or differs is read again and pushed, what is extra is
deleted once its absence at the source is proved. What is pending comes with the
same run. Then it looks at the same records once more.

Extra records are deleted under the guard. If it says no, nothing is changed and
the exit code is 7: look at what is named, then repeat with --approve and the plan.
Where too much differs, more than half of a partition, a full run is the better
cure: --full does that.

A source that cannot read single records is read as a whole.

Exit codes: 0 nothing is left, 7 stopped by the guard, 20 gaps are left, 55
rejected records, 10 not everything was looked at, 130 interrupted.`,
		Example: `  gapless repair
  gapless repair docs --dry-run
  gapless repair docs --approve p-3f2a9c01d4e7`,
		RunE: w.onChosen(&o.projectFlags, func(ctx context.Context, p *service.Project, chosen []config.Connector) error {
			approved, err := approvedConnector(ctx, p, o.approve, chosen)
			if err != nil {
				return err
			}
			return w.eachOf(w.comparable(chosen), func(c config.Connector) error {
				options := engine.RepairOptions{Verify: o.options(w), Full: o.full, DryRun: o.dryRun}
				if c.Name == approved {
					options.Approve = o.approve
				}
				return w.repairOne(ctx, p, c, options)
			})
		}),
	}
	o.add(w, cmd)
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "only verify, and say what the guard would say")
	f.StringVar(&o.approve, "approve", "", "approve the deletes of this `PLAN`, and of no other")
	f.BoolVar(&o.full, "full", false, "repair by a full run, whatever differs")
	return cmd
}

func (w *world) repairOne(ctx context.Context, p *service.Project, c config.Connector, o engine.RepairOptions) (err error) {
	e, closeEnds, err := p.Engine(ctx, c, w.events())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEnds()) }()
	report, err := e.Repair(ctx, o)
	if w.json {
		return err
	}
	w.printVerified(&report.Before)
	if report.Run != nil {
		w.printSummary(*report.Run, "", "")
	}
	if report.After != nil {
		w.printVerified(report.After)
	}
	return err
}
