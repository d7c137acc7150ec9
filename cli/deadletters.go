package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/service"
	"github.com/gapless-sync/gapless/state"
)

func newDeadletters(w *world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deadletters",
		Short: "Records that could not be synced, each with its reason",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDeadlettersList(w), newDeadlettersRetry(w))
	return cmd
}

type letterOptions struct {
	projectFlags
	all   bool
	limit int
}

func newDeadlettersList(w *world) *cobra.Command {
	var o letterOptions
	cmd := &cobra.Command{
		Use:   "list [CONFIG] [CONNECTOR...]",
		Short: "List dead letters, the newest first",
		Example: `  gapless deadletters list
  gapless deadletters list docs --all --json`,
		RunE: w.onChosen(&o.projectFlags, func(ctx context.Context, p *service.Project, chosen []config.Connector) error {
			return w.listLetters(ctx, p, chosen, o)
		}),
	}
	o.projectFlags.addNamed(w, cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "also those that are resolved")
	cmd.Flags().IntVar(&o.limit, "limit", 100, "list at most `N` of each connector")
	return cmd
}

// letter is a dead letter in JSON.
type letter struct {
	ID         string    `json:"id"`
	Connector  string    `json:"connector"`
	Partition  string    `json:"partition"`
	Run        string    `json:"run"`
	Key        string    `json:"key,omitempty"`
	Origin     string    `json:"origin,omitempty"`
	Line       int       `json:"line,omitempty"`
	Stage      string    `json:"stage"`
	Reason     string    `json:"reason"`
	At         time.Time `json:"at"`
	ResolvedAt time.Time `json:"resolved_at,omitzero"`
	ResolvedBy string    `json:"resolved_by,omitempty"`
}

func letterOf(d state.DeadLetter) letter {
	return letter{
		ID: d.ID, Connector: d.Connector, Partition: d.Partition, Run: d.Run, Key: d.Key, Origin: d.Origin, Line: d.Line,
		Stage: d.Stage, Reason: d.Reason, At: d.At, ResolvedAt: d.ResolvedAt, ResolvedBy: d.ResolvedBy,
	}
}

func (w *world) listLetters(ctx context.Context, p *service.Project, chosen []config.Connector, o letterOptions) error {
	letters := []letter{}
	for _, c := range chosen {
		list, err := p.Store.DeadLetters(ctx, state.DeadLetterFilter{Connector: c.Name, Open: !o.all, Limit: o.limit})
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		for _, d := range list {
			letters = append(letters, letterOf(d))
		}
	}
	if w.json {
		return w.printJSON(letters)
	}
	if len(letters) == 0 {
		w.printf("no dead letters\n")
		return nil
	}
	t := newTable("ID", "CONNECTOR", "WHEN", "RECORD", "STAGE", "REASON")
	for _, d := range letters {
		reason := clean(d.Reason)
		if d.ResolvedBy != "" {
			reason = "resolved by " + clean(d.ResolvedBy) + ": " + reason
		}
		t.row(d.ID, d.Connector, moment(d.At), recordText(d), d.Stage, reason)
	}
	t.print(w.out, w.bold)
	return nil
}

// recordText names a record by key and place, as far as they are known.
func recordText(d letter) string {
	place := clean(d.Origin)
	if d.Line > 0 {
		place += ":" + strconv.Itoa(d.Line)
	}
	switch {
	case d.Key == "":
		return place
	case place == "":
		return clean(d.Key)
	}
	return clean(d.Key) + " (" + place + ")"
}

func newDeadlettersRetry(w *world) *cobra.Command {
	var o projectFlags
	cmd := &cobra.Command{
		Use:   "retry [CONNECTOR | ID...]",
		Short: "Read and push the records of dead letters once more",
		Long: `Has the source read the records of open dead letters again, all of a connector or
those named by id, and runs the connector. What a letter kept is not pushed: the
source may be further by now. Letters whose records get through are resolved.`,
		Example: `  gapless deadletters retry
  gapless deadletters retry docs
  gapless deadletters retry dl-1 dl-7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := w.locate(&o, nil)
			if err != nil {
				return err
			}
			return w.withProject(cmd.Context(), l, func(ctx context.Context, p *service.Project) error {
				return w.retry(ctx, p, l, args)
			})
		},
	}
	o.addNamed(w, cmd)
	return cmd
}

// retry redrives letters connector by connector. The error is the worst.
func (w *world) retry(ctx context.Context, p *service.Project, l *located, args []string) error {
	ids, err := openLetters(ctx, p, l, args)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		w.note("no open dead letters")
		return nil
	}
	w.orderly.Store(true)
	worst := 0
	for _, c := range l.Connectors {
		if len(ids[c.Name]) == 0 {
			continue
		}
		if w.stopped() {
			w.report(notRun(c.Name))
			worst = max(worst, gapless.ExitInterrupted)
			break
		}
		err := explain(c.Name, w.retryOne(ctx, p, c, ids[c.Name]))
		w.report(err)
		worst = max(worst, exitOf(err))
	}
	if worst != 0 {
		return exitError(worst)
	}
	return nil
}

// openLetters returns the ids meant, by connector.
func openLetters(ctx context.Context, p *service.Project, l *located, args []string) (map[string][]string, error) {
	ids := map[string][]string{}
	names := l.Names()
	if len(args) > 0 && !slices.Contains(names, args[0]) {
		for _, id := range args {
			d, err := p.Store.DeadLetter(ctx, id)
			if errors.Is(err, gapless.ErrNotFound) {
				return nil, gapless.Errorf(gapless.CodeNotFound, id, "neither a connector nor a dead letter").
					WithHint("gapless deadletters list shows the ids")
			}
			if err != nil {
				return nil, fmt.Errorf("read dead letter %s: %w", id, err)
			}
			ids[d.Connector] = append(ids[d.Connector], id)
		}
		return ids, nil
	}
	if len(args) > 0 {
		names = args
	}
	for _, name := range names {
		if _, err := l.Connector(name); err != nil {
			return nil, err
		}
		list, err := p.Store.DeadLetters(ctx, state.DeadLetterFilter{Connector: name, Open: true})
		if err != nil {
			return nil, fmt.Errorf("read dead letters: %w", err)
		}
		for _, d := range list {
			ids[name] = append(ids[name], d.ID)
		}
	}
	return ids, nil
}

func (w *world) retryOne(ctx context.Context, p *service.Project, c config.Connector, ids []string) (err error) {
	e, closeEnds, err := p.Engine(ctx, c, w.events())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEnds()) }()
	summary, err := e.Redrive(ctx, ids, engine.RunOptions{Stop: w.stop})
	if !w.json && summary.Run != "" {
		conflicts, unread := openConflicts(ctx, p, c)
		err = errors.Join(err, unread)
		w.printSummary(summary, "", conflicts)
	}
	return err
}
