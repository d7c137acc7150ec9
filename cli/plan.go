package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/service"
	"github.com/gapless-sync/gapless/state"
)

type planOptions struct {
	projectFlags
	full, quick bool
}

func newPlan(w *world) *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan [CONFIG] [CONNECTOR...] [FOLDER]",
		Short: "Show what a run would do, and why",
		Long: `Decides for every partition what a run would do now, names the rule that fired,
and counts what would be created, updated and deleted. Nothing is written to the
destination. If the delete guard would stop the run, the plan says so, and how to
approve exactly these deletes.`,
		Example: `  gapless plan
  gapless plan examples/quickstart ./docs
  gapless plan --quick --json`,
		RunE: w.onChosen(&o.projectFlags, func(ctx context.Context, p *service.Project, chosen []config.Connector) error {
			return w.plan(ctx, p, chosen, o)
		}),
	}
	o.projectFlags.addNamed(w, cmd)
	cmd.Flags().BoolVar(&o.full, "full", false, "plan a run with --full")
	cmd.Flags().BoolVar(&o.quick, "quick", false, "decide only; do not read the source to count")
	return cmd
}

func (w *world) plan(ctx context.Context, p *service.Project, chosen []config.Connector, o planOptions) error {
	plans := make([]plan.Plan, 0, len(chosen))
	for _, c := range chosen {
		one, err := planOne(ctx, p, c, o)
		if err != nil {
			return explain(c.Name, err)
		}
		plans = append(plans, one)
		if w.json {
			continue
		}
		w.printPlan(one)
		if c.Between == nil {
			continue
		}
		decided, err := p.Store.Conflicts(ctx, state.ConflictFilter{Connector: c.Name, Decided: true})
		if err != nil {
			return fmt.Errorf("read conflicts: %w", err)
		}
		if len(decided) > 0 {
			w.printf("  and carry out %s about conflicts\n", plural(len(decided), "decision"))
		}
	}
	if w.json {
		return w.printJSON(plans)
	}
	return nil
}

func planOne(ctx context.Context, p *service.Project, c config.Connector, o planOptions) (made plan.Plan, err error) {
	e, closeEnds, err := p.Engine(ctx, c, nil)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, closeEnds()) }()
	return e.Plan(ctx, engine.PlanOptions{Full: o.full, Count: !o.quick})
}

func (w *world) printPlan(p plan.Plan) {
	w.printf("%s  %s\n", w.bold(p.Connector), w.dim("plan "+p.ID))
	counts := map[string]plan.Count{}
	for _, c := range p.Changes {
		counts[c.Partition] = c
	}
	for _, d := range p.Decisions {
		w.printf("  %s  %s %s: %s\n", clean(d.Partition), w.bold(d.Rule), d.Mode, clean(d.Reason))
		if d.Disagreement {
			w.printf("    destination and state disagree on the checkpoint\n")
		}
		w.printf("    %s\n", countsText(d, counts[d.Partition]))
	}
	for _, a := range p.Approvals {
		w.printf("  %s %s: %s\n", w.red("guard"), clean(a.Partition), clean(a.Reason))
	}
	if len(p.Approvals) > 0 {
		w.printf("  a run would stop before it deletes; to approve these deletes:\n    gapless run %s --approve %s\n", p.Connector, p.ID)
	}
}

func countsText(d plan.Decision, c plan.Count) string {
	switch {
	case d.Mode == plan.ModeNothing:
		return "nothing to do"
	case !c.Known:
		return "changes not counted"
	}
	return fmt.Sprintf("create %s, update %s, delete %s, leave %s", count(c.Creates), count(c.Updates), count(c.Deletes), count(c.Unchanged))
}
