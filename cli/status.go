package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/service"
)

func newStatus(w *world) *cobra.Command {
	var o projectFlags
	cmd := &cobra.Command{
		Use:   "status [CONFIG] [CONNECTOR...]",
		Short: "Show what is synced, and how the last runs ended",
		Long: `Shows for every connector the last run, the records at the destination, open dead
letters and who is running it now, and how far the hub is: pushed (accepted),
synced (durable), searchable (can be found). No outside system is asked.`,
		Example: `  gapless status
  gapless status --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := w.locate(&o, args)
			if err != nil {
				return err
			}
			if _, err := l.chosen(); err != nil {
				return err
			}
			return w.withProject(cmd.Context(), l, func(ctx context.Context, p *service.Project) error {
				return w.status(ctx, p, l.named)
			})
		},
	}
	o.addNamed(w, cmd)
	return cmd
}

func (w *world) status(ctx context.Context, p *service.Project, names []string) error {
	s, err := p.Status(ctx, p.Now())
	if err != nil {
		return err
	}
	if w.daemon != nil {
		s.Daemon = w.daemon.Self()
	}
	if len(names) > 0 {
		s.Connectors = slices.DeleteFunc(s.Connectors, func(c service.ConnectorStatus) bool { return !slices.Contains(names, c.Name) })
	}
	if w.json {
		return w.printJSON(s)
	}
	w.printStatus(s)
	return nil
}

func (w *world) printStatus(s service.Status) {
	var f facts
	f.add("project", "%s", w.relative(s.Config))
	f.add("state", "%s", w.relative(s.State))
	if d := s.Daemon; d != nil {
		f.add("daemon", "process %d since %s, http://%s", d.Process, moment(d.Started), d.Address)
	}
	switch h := s.Hub; {
	case s.HubError != "":
		f.add("hub", "%s", clean(s.HubError))
	case h == nil:
	case h.Search:
		f.add("hub", "%s; serials pushed %s, synced %s, searchable %s", plural(h.Records, "record"), count(h.Pushed), count(h.Synced), count(h.Searchable))
	default:
		f.add("hub", "%s; serials pushed %s, synced %s, search is off", plural(h.Records, "record"), count(h.Pushed), count(h.Synced))
	}
	f.print(w.out, "")
	w.printf("\n")
	t := newTable("CONNECTOR", "ROUTE", "LAST RUN", "OUTCOME", "-RECORDS", "-DEAD LETTERS", "NOW")
	for _, c := range s.Connectors {
		when, outcome := "never", "-"
		if r := c.LastRun; r != nil {
			when, outcome = moment(r.Started), r.Status
		}
		t.row(c.Name, c.Route(), when, outcome, count(c.Records), count(c.DeadLetters), runnerText(c.Runner))
	}
	t.print(w.out, w.bold)
	for _, c := range s.Connectors {
		if c.Conflicts > 0 {
			w.printf("%s: %s, see gapless conflicts list\n", c.Name, plural(c.Conflicts, "open conflict"))
		}
	}
	w.printPartitions(s.Connectors)
}

func runnerText(r *service.Runner) string {
	if r == nil {
		return "idle"
	}
	return "run by " + clean(r.Holder)
}

// printPartitions prints the checkpoints, and the errors that stand.
func (w *world) printPartitions(connectors []service.ConnectorStatus) {
	t := newTable("PARTITION", "OUTCOME", "RULE", "-RECORDS", "CHECKPOINT")
	var problems []string
	for _, c := range connectors {
		for _, p := range c.Partitions {
			t.row(c.Name+"/"+clean(p.ID), outcomeText(p.Outcome), p.Rule, count(p.Records), checkpointText(p))
			if p.Error != "" {
				problems = append(problems, fmt.Sprintf("%s/%s: %s %s", c.Name, clean(p.ID), p.Code, clean(p.Error)))
			}
		}
	}
	if len(t.rows) == 0 {
		return
	}
	w.printf("\n")
	t.print(w.out, w.bold)
	for _, p := range problems {
		w.printf("%s\n", p)
	}
}

func outcomeText(o plan.Outcome) string {
	if o == plan.OutcomeNone {
		return "-"
	}
	return string(o)
}

func checkpointText(p service.PartitionStatus) string {
	c := p.Checkpoint
	switch {
	case c.Mark != "":
		return "unfinished, resumes behind " + tokenText(string(c.Mark))
	case c.Run == "":
		return "-"
	case c.Position == "":
		return "at the end of " + c.Run
	}
	return tokenText(string(c.Position))
}

// tokenText shows an opaque token: cut in the middle if it is long.
func tokenText(token string) string {
	const limit = 24
	token = strings.ReplaceAll(clean(token), " ", "_")
	if len(token) <= limit {
		return token
	}
	runes := []rune(token)
	return string(runes[:limit/2]) + "..." + string(runes[len(runes)-limit/2+3:])
}
