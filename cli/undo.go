package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/service"
)

type undoOptions struct {
	projectFlags
	engine.UndoOptions
	list, noWait bool
}

func newUndo(w *world) *cobra.Command {
	var o undoOptions
	cmd := &cobra.Command{
		Use:   "undo RUN|--list [CONFIG] [CONNECTOR...]",
		Short: "Put back what a run replaced and deleted",
		Long: `Puts back, in the destination, what a run replaced and deleted, and deletes what
it created, as long as deletes.keep has had that kept. A record that a later run
or somebody else has changed since is a conflict: it is left as it is, all others
are put back, and the exit code is 7.

An undo changes the destination, not the source: until the next run, which reads
and compares everything, prove names it as a gap. That run deletes again what the
source still lacks, under the delete guard. An undo is a run itself, can be
undone, and goes on where it was interrupted if the command is repeated.

With connectors named, only their runs are listed or undone. --json prints a line
for each step and then one with the account.

Exit codes: 0 everything is as before the run, 7 conflicts are left, 2 nothing is
kept of the run, or it is of a connector that is not named.`,
		Example: `  gapless undo --list
  gapless undo r-06gvvqil931msf24 --dry-run
  gapless undo r-06gvvqil931msf24 --deleted-only`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.list && (o.DryRun || o.DeletedOnly || o.Force || o.noWait):
				return usage("--list goes without the flags of an undo").WithHint("see %s --help", cmd.CommandPath())
			case !o.list && len(args) == 0:
				return usage("an argument is missing: %s", cmd.UseLine()).WithHint("see %s --help", cmd.CommandPath())
			}
			return nil
		},
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.list {
			return w.onChosen(&o.projectFlags, w.listUndoable)(cmd, args)
		}
		return w.onChosen(&o.projectFlags, func(ctx context.Context, p *service.Project, chosen []config.Connector) error {
			return w.undo(ctx, p, chosen, args[0], o)
		})(cmd, args[1:])
	}
	o.projectFlags.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.list, "list", false, "list the runs that can be undone")
	f.BoolVar(&o.DryRun, "dry-run", false, "only list what would be done, key by key")
	f.BoolVar(&o.DeletedOnly, "deleted-only", false, "bring back what the run deleted and nothing else")
	f.BoolVar(&o.Force, "force", false, "also put back records that have been changed since")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait until everything can be found by search")
	return cmd
}

// undoable is a run that can be undone.
type undoable struct {
	Connector string `json:"connector"`
	gapless.KeptRun
}

// undoables lists the runs of connectors that can be undone, and notes which of
// them keep none.
func (w *world) undoables(ctx context.Context, p *service.Project, chosen []config.Connector) ([]undoable, error) {
	all := []undoable{}
	for _, c := range chosen {
		if c.Between != nil {
			continue
		}
		list, err := keptRuns(ctx, p, c)
		if e, ok := errors.AsType[*gapless.Error](err); ok && e.Code == gapless.CodeCannotKeep {
			w.note("%s: %s", c.Name, clean(e.Err.Error()))
			continue
		}
		if err != nil {
			return nil, explain(c.Name, err)
		}
		for _, k := range list {
			all = append(all, undoable{c.Name, k})
		}
	}
	return all, nil
}

func (w *world) listUndoable(ctx context.Context, p *service.Project, chosen []config.Connector) error {
	all, err := w.undoables(ctx, p, chosen)
	if err != nil {
		return err
	}
	if w.json {
		return w.printJSON(all)
	}
	if len(all) == 0 {
		w.printf("no run can be undone; deletes.keep has what runs replace and delete kept\n")
		return nil
	}
	t := newTable("RUN", "CONNECTOR", "-CREATED", "-REPLACED", "-DELETED", "KEPT UNTIL")
	for _, k := range all {
		t.row(k.Run, k.Connector, count(k.Created), count(k.Replaced), count(k.Deleted), moment(k.Until))
	}
	t.print(w.out, w.bold)
	return nil
}

func keptRuns(ctx context.Context, p *service.Project, c config.Connector) (list []gapless.KeptRun, err error) {
	e, closeEnds, err := p.Engine(ctx, c, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeEnds()) }()
	return e.KeptRuns(ctx)
}

// undo undoes a run of one of the chosen connectors.
func (w *world) undo(ctx context.Context, p *service.Project, chosen []config.Connector, run string, o undoOptions) error {
	name, err := w.connectorOf(ctx, p, chosen, run)
	if err != nil {
		return err
	}
	c, err := p.Config.Connector(name)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(chosen, func(c config.Connector) bool { return c.Name == name }) {
		return usage("run %s is of connector %s, which is not named", run, name).WithHint("gapless undo %s %s", run, name)
	}
	return explain(name, w.undoOne(ctx, p, c, run, o))
}

// connectorOf returns the connector whose run it is. If state has lost the run,
// the destination of one of the chosen may still keep what it replaced; but an
// undo needs to know the partitions, to mark them as not in step.
func (w *world) connectorOf(ctx context.Context, p *service.Project, chosen []config.Connector, run string) (string, error) {
	row, err := p.Store.Run(ctx, run)
	if err == nil {
		return row.Connector, nil
	}
	if !errors.Is(err, gapless.ErrNotFound) {
		return "", fmt.Errorf("look up the run: %w", err)
	}
	all, err := w.undoables(ctx, p, chosen)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(all, func(k undoable) bool { return k.Run == run })
	if i < 0 {
		return "", gapless.Errorf(gapless.CodeNotFound, run, "no such run is known").WithHint("gapless undo --list shows the runs that can be undone")
	}
	name := all[i].Connector
	known, err := p.Store.Partitions(ctx, name)
	if err != nil {
		return "", fmt.Errorf("look up the partitions: %w", err)
	}
	if len(known) == 0 {
		return "", gapless.Errorf(gapless.CodeNotFound, run, "the run is kept, but state has lost all of %s, and without it the next run could not make up for an undo", name).
			WithHint("gapless run %s fills state again; then the run can be undone", name)
	}
	return name, nil
}

// undoLine is a step in JSON.
type undoLine struct {
	Type string `json:"type"`
	engine.UndoStep
}

// undoneLine is the account in JSON.
type undoneLine struct {
	Type string `json:"type"`
	engine.UndoReport
}

// undoError says in words of the command line why a run was not undone, or not
// all of it.
func undoError(err error, connector, run string, dryRun bool) error {
	e, ok := errors.AsType[*gapless.Error](err)
	switch {
	case ok && e.Code == gapless.CodeNotFound:
		return gapless.Errorf(gapless.CodeNotFound, connector, "nothing is kept of run %s", run).
			WithHint("gapless undo --list %s shows the runs that can be undone; deletes.keep says for how long", connector)
	case ok && e.Code == gapless.CodeChangedSince && dryRun:
		return e.WithHint("to put back these as well: gapless undo %s %s --force", run, connector)
	case ok && e.Code == gapless.CodeChangedSince:
		return e.WithHint("look at gapless undo %s %s --dry-run; to put them back nevertheless add --force", run, connector)
	}
	return err
}

func (w *world) undoOne(ctx context.Context, p *service.Project, c config.Connector, run string, o undoOptions) (err error) {
	e, closeEnds, err := p.Engine(ctx, c, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEnds()) }()
	o.Each = func(s engine.UndoStep) {
		switch {
		case w.json:
			_ = w.printLine(undoLine{"step", s}) // the report that follows cannot be printed either
		case o.DryRun || s.Action == engine.UndoConflict:
			w.printf("%-9s  %s  %s\n", s.Action, clean(s.Partition), clean(s.Key))
		}
	}
	report, err := e.Undo(ctx, run, o.UndoOptions)
	err = undoError(err, c.Name, run, o.DryRun)
	if report.Run == "" && !o.DryRun || err != nil && gapless.ExitCode(err) != gapless.ExitGuard {
		return err
	}
	searchable := ""
	if !o.noWait && report.Serial > 0 {
		searchable = w.waitSearchable(ctx, p, c, report.Serial)
	}
	if w.json {
		return errors.Join(err, w.printLine(undoneLine{"undone", report}))
	}
	w.printUndo(report, searchable)
	return err
}

func (w *world) printUndo(r engine.UndoReport, searchable string) {
	if r.Run == "" {
		w.printf("%s  undoing %s would take\n", w.bold(r.Connector), r.Undone)
	} else {
		w.printf("%s  undid %s in %s  %s\n", w.bold(r.Connector), r.Undone, seconds(r.Seconds), w.dim("run "+r.Run))
	}
	var f facts
	f.add("created", "%s that it had deleted", count(r.Created))
	f.add("overwritten", "%s that it had replaced", count(r.Overwritten))
	f.add("deleted", "%s that it had created", count(r.Deleted))
	if r.Already > 0 {
		f.add("already", "%s as before", count(r.Already))
	}
	if r.Conflicts > 0 {
		f.add("conflicts", "%s changed since and left", count(r.Conflicts))
	}
	if searchable != "" {
		f.add("searchable", "%s", searchable)
	}
	if len(r.Partitions) > 0 {
		f.add("next", "gapless run %s reads and compares everything, so that it is in step again", r.Connector)
	}
	f.print(w.out, "  ")
}
