package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/service"
	"github.com/gapless-sync/gapless/state"
)

type runOptions struct {
	projectFlags
	full, dryRun, noWait bool
	approve              string
}

func newRun(w *world) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [CONFIG] [CONNECTOR...] [FOLDER]",
		Short: "Bring destinations into step with their sources",
		Long: `Plans and runs the connectors of a project, one after the other: all of them, or
those named. CONFIG is a configuration file or its folder. FOLDER gives ${FOLDER}
a value in it.

The first interrupt ends the run in good order: what was read is pushed and
synced, and a checkpoint is written. The second ends it at once; then the next
run continues from the last checkpoint. After the run the command waits until
everything synced can be found by search, which can be interrupted without harm.`,
		Example: `  gapless run
  gapless run examples/quickstart
  gapless run examples/quickstart ./docs
  gapless run --approve p-3f2a9c01d4e7
  gapless run --json | jq .`,
		RunE: w.onChosen(&o.projectFlags, func(ctx context.Context, p *service.Project, chosen []config.Connector) error {
			if o.dryRun {
				return w.plan(ctx, p, chosen, planOptions{full: o.full})
			}
			return w.run(ctx, p, chosen, o)
		}),
	}
	o.projectFlags.addNamed(w, cmd)
	f := cmd.Flags()
	f.BoolVar(&o.full, "full", false, "read every partition in full, whatever the plan would say")
	f.BoolVar(&o.dryRun, "dry-run", false, "only plan and count, as gapless plan does")
	f.StringVar(&o.approve, "approve", "", "approve the deletes of this `PLAN`, and of no other")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait until everything can be found by search")
	return cmd
}

// run runs connectors one after the other. The error is the worst.
func (w *world) run(ctx context.Context, p *service.Project, chosen []config.Connector, o runOptions) error {
	approved, err := approvedConnector(ctx, p, o.approve, chosen)
	if err != nil {
		return err
	}
	return w.eachOf(chosen, func(c config.Connector) error {
		options := engine.RunOptions{Full: o.full, Stop: w.stop}
		if c.Name == approved {
			options.Approve = o.approve
		}
		return w.runOne(ctx, p, c, options, o.noWait)
	})
}

// approvedConnector returns the connector that an approved plan is for.
func approvedConnector(ctx context.Context, p *service.Project, id string, chosen []config.Connector) (string, error) {
	if id == "" {
		return "", nil
	}
	approved, err := p.Store.Plan(ctx, id)
	if errors.Is(err, gapless.ErrNotFound) {
		return "", gapless.Errorf(gapless.CodeApproval, id, "no such plan is known").WithHint("see gapless plan for the plan's id")
	}
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(chosen, func(c config.Connector) bool { return c.Name == approved.Connector }) {
		return "", gapless.Errorf(gapless.CodeApproval, id, "the plan is for %s, which is not among those to run", approved.Connector)
	}
	return approved.Connector, nil
}

// notRun says that an interrupt came before a connector's turn.
func notRun(name string) error {
	return fmt.Errorf("%s: %w before it was run", name, gapless.ErrInterrupted)
}

func (w *world) stopped() bool {
	select {
	case <-w.stop:
		return true
	case <-w.abort:
		return true
	default:
		return false
	}
}

func (w *world) runOne(ctx context.Context, p *service.Project, c config.Connector, o engine.RunOptions, noWait bool) (err error) {
	e, closeEnds, err := p.Engine(ctx, c, w.events())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEnds()) }()
	summary, err := e.Run(ctx, o)
	searchable := ""
	if !noWait && summary.Serial > 0 {
		searchable = w.waitSearchable(ctx, p, c, summary.Serial)
	}
	if !w.json && summary.Run != "" {
		conflicts, unread := openConflicts(ctx, p, c)
		err = errors.Join(err, unread)
		w.printSummary(summary, searchable, conflicts)
	}
	return err
}

// openConflicts says how many conflicts a two-way connector has; empty if it is
// none.
func openConflicts(ctx context.Context, p *service.Project, c config.Connector) (string, error) {
	if c.Between == nil {
		return "", nil
	}
	open, err := p.Store.Conflicts(context.WithoutCancel(ctx), state.ConflictFilter{Connector: c.Name, Open: true})
	switch {
	case err != nil:
		return "", fmt.Errorf("read conflicts: %w", err)
	case len(open) == 0:
		return "0 open", nil
	}
	return count(len(open)) + " open, see gapless conflicts list", nil
}

// events returns what shows the events of a run: as bars or lines, and as JSON
// lines if those are asked for.
func (w *world) events() func(engine.Event) {
	return func(e engine.Event) {
		if w.json {
			_ = w.printLine(e) // a reader that has gone away must not end the run
			return
		}
		w.progress.show(tick{Event: &e})
	}
}

// waitSearchable waits until readers see the change of a serial and says how
// that went; empty if the destination knows no search.
func (w *world) waitSearchable(ctx context.Context, p *service.Project, c config.Connector, serial uint64) string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-w.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	last := catchup{Connector: c.Name, Started: p.Now()}
	show := func() {
		if last.Time = p.Now(); !w.json {
			w.progress.show(tick{Catchup: &last})
		}
	}
	searchable, err := p.WaitSearchable(ctx, c, serial, func(done, total uint64) {
		last.Done, last.Total = done, total
		show()
	})
	last.End = true
	show()
	switch {
	case searchable:
		return "everything"
	case err == nil:
		return ""
	case ctx.Err() != nil && last.Total == 0:
		return "not yet"
	case ctx.Err() != nil:
		return fmt.Sprintf("%s of %s changes so far; the rest follows as soon as the hub is open again", count(last.Done), count(last.Total))
	}
	return "no: " + clean(err.Error())
}

// printSummary prints the account of a run.
func (w *world) printSummary(s engine.Summary, searchable, conflicts string) {
	w.printf("%s  %s in %s  %s\n", w.bold(s.Connector), w.outcome(s), seconds(s.Seconds), w.dim("run "+s.Run))
	var f facts
	for _, group := range byRule(s.Partitions) {
		f.add("rule", "%s", group)
	}
	n := s.Counts
	f.add("read", "%s, %s", plural(n.Read, "record"), size(s.Bytes))
	f.add("changed", "%s", changeText(n))
	f.add("rejected", "%s", rejectedText(n.Rejected))
	f.add("pushed", "%s, synced %s", count(n.Pushed), count(n.Synced))
	if searchable != "" {
		f.add("searchable", "%s", searchable)
	}
	if conflicts != "" {
		f.add("conflicts", "%s", conflicts)
	}
	for _, note := range s.Notes {
		f.add("note", "%s", clean(note))
	}
	for _, c := range certificates(s.Partitions) {
		f.add("certificate", "%s", c)
	}
	f.print(w.out, "  ")
}

func (w *world) outcome(s engine.Summary) string {
	switch {
	case s.Exit == 0:
		return w.green(s.Status)
	case s.Status == string(plan.OutcomeRecoverable), s.Status == string(plan.OutcomeUnrecoverable):
		return w.red("failed (" + s.Status + ")")
	}
	return w.red(s.Status)
}

func rejectedText(n uint64) string {
	if n == 0 {
		return "0"
	}
	return count(n) + ", see gapless deadletters list"
}

func changeText(n engine.Counts) string {
	text := count(n.Changed())
	if n.Changed() == 0 {
		return text
	}
	return fmt.Sprintf("%s: %s created, %s updated, %s deleted", text, count(n.Created), count(n.Updated), count(n.Deleted))
}

// byRule says once for each rule and reason which partitions it fired for.
func byRule(partitions []engine.PartitionSummary) []string {
	type group struct {
		text  string
		names []string
	}
	var groups []*group
	for _, p := range partitions {
		text := p.Rule + " " + p.Mode + ": " + p.Reason
		i := slices.IndexFunc(groups, func(g *group) bool { return g.text == text })
		if i < 0 {
			groups = append(groups, &group{text: text})
			i = len(groups) - 1
		}
		groups[i].names = append(groups[i].names, p.Partition)
	}
	var list []string
	for _, g := range groups {
		list = append(list, someOf(g.names, len(partitions))+g.text)
	}
	return list
}

// someOf names partitions before a text that is not about all of them.
func someOf(names []string, all int) string {
	switch {
	case all == 1 || len(names) == all:
		return ""
	case len(names) > 3:
		return plural(len(names), "partition") + ": "
	}
	return clean(strings.Join(names, ", ")) + ": "
}

// certificates lists the newest certificates, a few of many.
func certificates(partitions []engine.PartitionSummary) []string {
	const most = 5
	var list []string
	for _, p := range partitions {
		switch {
		case p.Certificate == "":
		case len(partitions) == 1:
			list = append(list, p.Certificate)
		default:
			list = append(list, p.Certificate+"  "+clean(p.Partition))
		}
	}
	if len(list) > most {
		list = append(list[:most], fmt.Sprintf("and %d more, see gapless prove", len(list)-most))
	}
	return list
}
