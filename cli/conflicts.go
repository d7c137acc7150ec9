package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/service"
	"github.com/gapless-sync/gapless/state"
)

func newConflicts(w *world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "conflicts",
		Short: "Edits that two-way connectors did not take, and deciding about them",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConflictsList(w), newConflictsShow(w), newConflictsResolve(w))
	return cmd
}

type conflictOptions struct {
	projectFlags
	all, decided bool
	limit        int
}

func newConflictsList(w *world) *cobra.Command {
	var o conflictOptions
	cmd := &cobra.Command{
		Use:   "list [CONFIG] [CONNECTOR...]",
		Short: "List conflicts, the newest first",
		Long: `Lists the edits that lost against an edit of the other side, and those that wait
for a decision because the policy takes neither. An edit that lost stays here until
somebody has decided about it, or dismissed it.`,
		Example: `  gapless conflicts list
  gapless conflicts list relief --all --json`,
		RunE: w.onChosen(&o.projectFlags, func(ctx context.Context, p *service.Project, chosen []config.Connector) error {
			return w.listConflicts(ctx, p, chosen, o)
		}),
	}
	o.projectFlags.addNamed(w, cmd)
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "also those that are resolved")
	f.BoolVar(&o.decided, "decided", false, "only those whose decision a run has still to carry out")
	f.IntVar(&o.limit, "limit", 100, "list at most `N` of each connector")
	return cmd
}

// conflict is a conflict in JSON. Its values are as the sides gave them.
type conflict struct {
	ID         string `json:"id"`
	Connector  string `json:"connector"`
	Run        string `json:"run"`
	Collection string `json:"collection"`
	Key        string `json:"key"`
	// Field is empty if the deletion of the record was not taken.
	Field    string `json:"field,omitempty"`
	Deletion bool   `json:"deletion,omitempty"`
	// Loser is the side whose edit it was, Held that neither was changed.
	Loser      state.Side      `json:"loser"`
	Held       bool            `json:"held,omitempty"`
	Rule       string          `json:"rule"`
	Reason     string          `json:"reason"`
	This       json.RawMessage `json:"this,omitempty"`
	Other      json.RawMessage `json:"other,omitempty"`
	Edited     time.Time       `json:"edited,omitzero"`
	At         time.Time       `json:"at"`
	Decision   *decision       `json:"decision,omitempty"`
	ResolvedAt time.Time       `json:"resolved_at,omitzero"`
	ResolvedBy string          `json:"resolved_by,omitempty"`
}

// decision is what somebody decided about a conflict in JSON.
type decision struct {
	Take  string          `json:"take"`
	Value json.RawMessage `json:"value,omitempty"`
	By    string          `json:"by"`
	At    time.Time       `json:"at"`
}

func conflictOf(c state.Conflict) conflict {
	made := conflict{
		ID: c.ID, Connector: c.Connector, Run: c.Run, Collection: c.Collection, Key: c.Key, Field: c.Field, Deletion: c.Deletion,
		Loser: c.Loser, Held: c.Held, Rule: c.Rule, Reason: c.Reason, This: c.This, Other: c.Other,
		Edited: c.Edited, At: c.At, ResolvedAt: c.ResolvedAt, ResolvedBy: c.ResolvedBy,
	}
	if d := c.Decision; d.Take != "" {
		made.Decision = &decision{Take: d.Take, Value: d.Value, By: d.By, At: d.At}
	}
	return made
}

func (w *world) listConflicts(ctx context.Context, p *service.Project, chosen []config.Connector, o conflictOptions) error {
	conflicts := []conflict{}
	for _, c := range chosen {
		list, err := p.Store.Conflicts(ctx, state.ConflictFilter{Connector: c.Name, Open: !o.all, Decided: o.decided, Limit: o.limit})
		if err != nil {
			return fmt.Errorf("read conflicts: %w", err)
		}
		for _, one := range list {
			conflicts = append(conflicts, conflictOf(one))
		}
	}
	if w.json {
		return w.printJSON(conflicts)
	}
	if len(conflicts) == 0 {
		w.printf("no conflicts\n")
		return nil
	}
	t := newTable("ID", "CONNECTOR", "WHEN", "RECORD", "FIELD", "LOST", "STANDS", "WHY")
	for _, c := range conflicts {
		t.row(c.ID, c.Connector, moment(c.At), clean(c.Collection+"/"+c.Key), clean(fieldText(c)), lostText(c), clean(standText(c)), clean(c.Rule+" "+c.Reason))
	}
	t.print(w.out, w.bold)
	return nil
}

// fieldText names what was edited.
func fieldText(c conflict) string {
	if c.Deletion {
		return "(the deletion)"
	}
	return c.Field
}

// lostText says whose edit was not taken.
func lostText(c conflict) string {
	if c.Held {
		return "neither yet"
	}
	return c.Loser.String()
}

// standText says how far a conflict is.
func standText(c conflict) string {
	switch {
	case c.ResolvedBy != "":
		return "resolved by " + c.ResolvedBy
	case c.Decision != nil:
		return "decided: " + decisionText(*c.Decision)
	}
	return "open"
}

func decisionText(d decision) string {
	switch {
	case d.Take != state.TakeValue:
		return d.Take
	case d.Value == nil:
		return "remove"
	}
	return "value " + string(d.Value)
}

func newConflictsShow(w *world) *cobra.Command {
	var o projectFlags
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a conflict with the values of both sides",
		Example: `  gapless conflicts show x-4c1f09ab`,
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := w.locate(&o, nil)
			if err != nil {
				return err
			}
			return w.withProject(cmd.Context(), l, func(ctx context.Context, p *service.Project) error {
				found, err := findConflict(ctx, p, args[0])
				if err != nil {
					return err
				}
				if w.json {
					return w.printJSON(conflictOf(found))
				}
				w.printConflict(l, conflictOf(found))
				return nil
			})
		},
	}
	o.add(cmd)
	return cmd
}

func findConflict(ctx context.Context, p *service.Project, id string) (state.Conflict, error) {
	c, err := p.Store.Conflict(ctx, id)
	switch {
	case errors.Is(err, gapless.ErrNotFound):
		return c, gapless.Errorf(gapless.CodeNotFound, id, "there is no such conflict").WithHint("gapless conflicts list shows the ids")
	case err != nil:
		return c, fmt.Errorf("read conflict %s: %w", id, err)
	}
	return c, nil
}

func (w *world) printConflict(l *located, c conflict) {
	w.printf("%s  %s  %s\n", w.bold(c.ID), c.Connector, standText(c))
	var kinds [2]string
	if known, err := l.Connector(c.Connector); err == nil && known.Between != nil {
		kinds = [2]string{" (" + known.Between.Sides[0].Kind + ")", " (" + known.Between.Sides[1].Kind + ")"}
	}
	var f facts
	f.add("record", "%s", clean(c.Collection+"/"+c.Key))
	f.add("field", "%s", clean(fieldText(c)))
	f.add("this"+kinds[state.This], "%s", valueText(c.This))
	f.add("other"+kinds[state.Other], "%s", valueText(c.Other))
	f.add("lost", "%s", lostText(c))
	f.add("edited", "%s", moment(c.Edited))
	f.add("found", "%s by run %s", moment(c.At), c.Run)
	f.add("because", "%s", clean(c.Reason))
	if d := c.Decision; d != nil {
		f.add("decision", "%s, by %s at %s", clean(decisionText(*d)), clean(d.By), moment(d.At))
	}
	f.print(w.out, "  ")
	for _, r := range resolve.Rules() {
		if r.ID == c.Rule {
			w.printf("  %s\n", w.dim(fmt.Sprintf("rule %s: if %s, then %s", r.ID, r.Facts, r.Decision)))
		}
	}
}

func valueText(value []byte) string {
	if value == nil {
		return "-"
	}
	return clean(string(value))
}
