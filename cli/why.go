package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/service"
)

func newWhy(w *world) *cobra.Command {
	var o projectFlags
	cmd := &cobra.Command{
		Use:   "why [CONFIG] [CONNECTOR...] [FOLDER]",
		Short: "Explain the last decision, what came of it, and the next one",
		Long: `Tells the chain of causes of each connector: which rule the last run followed and
for what reason, what happened then, and what the next run would do, decided on
both ends as they are now. If an end cannot be reached, what is remembered is
shown, and why the rest is missing.`,
		Example: `  gapless why
  gapless why docs --json`,
		RunE: w.onChosen(&o, w.why),
	}
	o.addNamed(w, cmd)
	return cmd
}

// cause is the chain of causes of one connector.
type cause struct {
	Connector string             `json:"connector"`
	Last      *service.RunStatus `json:"last,omitempty"`
	// Rules are those of the decision table that last and next run follow.
	Rules []plan.Rule `json:"rules"`
	Next  *plan.Plan  `json:"next,omitempty"`
	// NextError says why the next decision cannot be taken now.
	NextError string `json:"next_error,omitempty"`
}

func (w *world) why(ctx context.Context, p *service.Project, chosen []config.Connector) error {
	causes := make([]cause, 0, len(chosen))
	for _, c := range chosen {
		one, err := causeOf(ctx, p, c)
		if err != nil {
			return err
		}
		causes = append(causes, one)
	}
	if w.json {
		return w.printJSON(causes)
	}
	for i, c := range causes {
		if i > 0 {
			w.printf("\n")
		}
		w.printCause(c)
	}
	return nil
}

func causeOf(ctx context.Context, p *service.Project, c config.Connector) (cause, error) {
	why := cause{Connector: c.Name, Rules: []plan.Rule{}}
	var err error
	if why.Last, err = service.LastRun(ctx, p.Store, c.Name); err != nil {
		return why, err
	}
	next, err := planOne(ctx, p, c, planOptions{quick: true})
	switch {
	case errors.Is(err, context.Canceled):
		return why, err
	case err != nil:
		why.NextError = err.Error()
	default:
		why.Next = &next
	}
	why.Rules = rulesOf(why)
	return why, nil
}

// rulesOf returns the rules that a chain of causes names, in their order.
func rulesOf(c cause) []plan.Rule {
	named := map[string]bool{}
	if c.Last != nil && c.Last.Summary != nil {
		for _, p := range c.Last.Summary.Partitions {
			named[p.Rule] = true
		}
	}
	if c.Next != nil {
		for _, d := range c.Next.Decisions {
			named[d.Rule] = true
		}
	}
	rules := []plan.Rule{}
	for _, r := range plan.Rules() {
		if named[r.ID] {
			rules = append(rules, r)
		}
	}
	return rules
}

func (w *world) printCause(c cause) {
	w.printf("%s\n", w.bold(c.Connector))
	if c.Last == nil {
		w.printf("  last run   none\n")
	} else {
		w.printLast(*c.Last)
	}
	switch {
	case c.NextError != "":
		w.printf("  next run   cannot be decided now: %s\n", clean(c.NextError))
	case c.Next != nil:
		for _, group := range byDecision(c.Next.Decisions) {
			w.printf("  next run   %s\n", group)
		}
	}
	for _, r := range c.Rules {
		w.printf("  %s\n", w.dim(fmt.Sprintf("rule %-5s if %s, then %s", r.ID, r.Facts, r.Decision)))
	}
}

func (w *world) printLast(r service.RunStatus) {
	w.printf("  last run   %s  %s\n", moment(r.Started), w.dim(r.ID))
	if s := r.Summary; s != nil {
		for _, group := range byRule(s.Partitions) {
			w.printf("  because    %s\n", group)
		}
		w.printf("  it         read %s, changed %s, rejected %s, pushed %s, synced %s\n",
			count(s.Counts.Read), count(s.Counts.Changed()), count(s.Counts.Rejected), count(s.Counts.Pushed), count(s.Counts.Synced))
	}
	outcome := r.Status
	if r.Error != "" {
		outcome += ": " + clean(r.Error)
	}
	w.printf("  and ended  %s, exit code %d\n", outcome, r.Exit)
	if r.Error != "" && r.Hint != "" {
		w.printf("             -> %s\n", clean(r.Hint))
	}
	if s := r.Summary; s != nil {
		for _, p := range s.Partitions {
			if p.Outcome != string(plan.OutcomeComplete) {
				w.printf("             %s: %s%s\n", clean(p.Partition), p.Outcome, errorText(p))
			}
		}
	}
	if r.Exit == gapless.ExitGuard {
		w.printf("             gapless plan shows what would be deleted\n")
	}
}

func errorText(p engine.PartitionSummary) string {
	if p.Error == "" {
		return ""
	}
	return ": " + clean(p.Error)
}

// byDecision says once for each rule and reason which partitions it fires for.
func byDecision(decisions []plan.Decision) []string {
	partitions := make([]engine.PartitionSummary, len(decisions))
	for i, d := range decisions {
		partitions[i] = engine.PartitionSummary{Partition: d.Partition, Rule: d.Rule, Mode: string(d.Mode), Reason: d.Reason}
	}
	return byRule(partitions)
}
