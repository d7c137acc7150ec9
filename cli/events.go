package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/service"
)

func newEvents(w *world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "CloudEvents that wait to be acted on, and those that could not be",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEventsList(w), newEventsRetry(w))
	return cmd
}

// onEvents is a command about the project's queue of events.
func (w *world) onEvents(o *projectFlags, do func(p *service.Project, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		l, err := w.locate(o, nil)
		if err != nil {
			return err
		}
		return w.withProject(cmd.Context(), l, func(_ context.Context, p *service.Project) error { return do(p, args) })
	}
}

func newEventsList(w *world) *cobra.Command {
	var o projectFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List events that were received and not acted on yet, the oldest first",
		Long: `Lists the events that gapless serve has received and that wait for their turn, or
to be tried again, and the dead ones: those whose handling failed in a way that
trying again does not mend. What mends it is in the reason; then gapless events
retry has them handled again.`,
		Example: `  gapless events list
  gapless events list --json | jq '.[] | select(.dead)'`,
		Args: noArgs,
	}
	cmd.RunE = w.onEvents(&o, func(p *service.Project, _ []string) error {
		list, err := p.PendingEvents()
		if err != nil {
			return err
		}
		if w.json {
			if list == nil {
				list = []service.PendingEvent{}
			}
			return w.printJSON(list)
		}
		w.showEvents(list)
		return nil
	})
	o.addNamed(w, cmd)
	return cmd
}

func (w *world) showEvents(list []service.PendingEvent) {
	if len(list) == 0 {
		w.printf("no events wait\n")
		return
	}
	t := newTable("EVENT", "TYPE", "RECEIVED", "STATUS", "REASON")
	for _, e := range list {
		status := "waits"
		switch {
		case e.Dead:
			status = "dead"
		case e.Attempts > 0:
			status = "tried " + plural(e.Attempts, "time")
		}
		t.row(e.Name[:min(len(e.Name), 12)], clean(e.Type), moment(e.Queued), status, clean(e.Reason))
	}
	t.print(w.out, w.bold)
}

func newEventsRetry(w *world) *cobra.Command {
	var o projectFlags
	cmd := &cobra.Command{
		Use:   "retry EVENT...",
		Short: "Have dead events handled again",
		Long: `Puts dead events back into the queue, by the names that gapless events list shows;
the beginning of a name is enough. gapless serve acts on them, at once if it runs.`,
		Example: `  gapless events retry 3f2a9c01d4e7`,
		Args:    cobra.MinimumNArgs(1),
	}
	cmd.RunE = w.onEvents(&o, func(p *service.Project, args []string) error {
		list, err := p.PendingEvents()
		if err != nil {
			return err
		}
		for _, name := range args {
			e, err := deadEvent(list, name)
			if err != nil {
				return err
			}
			if err := p.RequeueEvent(e.Name); err != nil {
				return err
			}
			w.note("%s waits again", name)
		}
		return nil
	})
	o.addNamed(w, cmd)
	return cmd
}

// deadEvent finds the only dead event whose name begins with prefix.
func deadEvent(list []service.PendingEvent, prefix string) (service.PendingEvent, error) {
	var found []service.PendingEvent
	for _, e := range list {
		if e.Dead && len(prefix) > 0 && len(prefix) <= len(e.Name) && e.Name[:len(prefix)] == prefix {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		return service.PendingEvent{}, gapless.Errorf(gapless.CodeNotFound, prefix, "%d dead events have a name that begins so", len(found)).
			WithHint("gapless events list shows the names")
	}
	return found[0], nil
}
