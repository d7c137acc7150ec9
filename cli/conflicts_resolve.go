package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os/user"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/service"
	"github.com/gapless-sync/gapless/state"
)

type resolveOptions struct {
	projectFlags
	take, value          string
	remove, dismiss, run bool
}

func newConflictsResolve(w *world) *cobra.Command {
	var o resolveOptions
	cmd := &cobra.Command{
		Use:   "resolve ID... --take this|other | --value JSON | --remove | --dismiss",
		Short: "Decide what becomes of conflicts",
		Long: `Stores what is to become of conflicts: the value of one side, one of your own, no
value at all, or nothing but taking note. The next run of the connector carries it
out on both sides; until then it can be decided anew. "this" is the side that the
configuration names first.`,
		Example: `  gapless conflicts resolve x-4c1f09ab --take other
  gapless conflicts resolve x-4c1f09ab --value '"+41 44 632 11 11"' --run
  gapless conflicts resolve x-4c1f09ab x-77d20e13 --dismiss`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("no conflict is named").WithHint("gapless conflicts list shows the ids")
			}
			d, err := o.decision(cmd.Flags().Changed("value"))
			if err != nil {
				return err
			}
			l, err := w.locate(&o.projectFlags, nil)
			if err != nil {
				return err
			}
			return w.withProject(cmd.Context(), l, func(ctx context.Context, p *service.Project) error {
				return w.resolve(ctx, p, d, args, o.run)
			})
		},
	}
	o.projectFlags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.take, "take", "", "take the value of this `SIDE`: this or other")
	f.StringVar(&o.value, "value", "", "take this value: `JSON`, a text in double quotes")
	f.BoolVar(&o.remove, "remove", false, "remove the field from both sides")
	f.BoolVar(&o.dismiss, "dismiss", false, "leave both sides as they are and close the conflict")
	f.BoolVar(&o.run, "run", false, "run the connectors concerned at once")
	return cmd
}

// decision reads the flags, exactly one of which decides.
func (o *resolveOptions) decision(valued bool) (state.Decision, error) {
	given := 0
	for _, one := range []bool{o.take != "", valued, o.remove, o.dismiss} {
		if one {
			given++
		}
	}
	switch {
	case given != 1:
		return state.Decision{}, usage("decide by exactly one of --take, --value, --remove and --dismiss").WithHint("see gapless conflicts resolve --help")
	case o.dismiss && o.run:
		return state.Decision{}, usage("there is nothing to run: --dismiss changes no side")
	case o.dismiss:
		return state.Decision{Take: state.TakeNothing}, nil
	case o.remove:
		return state.Decision{Take: state.TakeValue}, nil
	case !valued && o.take != state.TakeThis && o.take != state.TakeOther:
		return state.Decision{}, usage("--take wants this or other, not %q", o.take)
	case !valued:
		return state.Decision{Take: o.take}, nil
	case !json.Valid([]byte(o.value)):
		return state.Decision{}, usage("--value wants JSON, not %s", o.value).WithHint(`a text needs double quotes of its own: --value '"text"'`)
	}
	return state.Decision{Take: state.TakeValue, Value: []byte(o.value)}, nil
}

// resolve stores a decision about conflicts, none of them if one cannot be
// decided that way, and says how it is carried out, or does so.
func (w *world) resolve(ctx context.Context, p *service.Project, d state.Decision, ids []string, run bool) error {
	d.By, d.At = decider(), p.Now()
	var names []string
	for _, id := range ids {
		c, err := decidable(ctx, p, id, d)
		if err != nil {
			return err
		}
		if !slices.Contains(names, c.Connector) {
			names = append(names, c.Connector)
		}
	}
	var chosen []config.Connector
	for _, name := range names {
		c, err := p.Config.Connector(name)
		if err != nil {
			return err
		}
		chosen = append(chosen, c)
	}
	for _, id := range ids {
		if err := p.Store.Decide(ctx, id, d); err != nil {
			return fmt.Errorf("store the decision about %s: %w", id, err)
		}
	}
	switch {
	case run:
		return w.run(ctx, p, chosen, runOptions{})
	case w.json:
		return w.printDecided(ctx, p, ids)
	case d.Take == state.TakeNothing:
		w.printf("%s dismissed\n", plural(len(ids), "conflict"))
		return nil
	}
	w.printf("%s decided\n", plural(len(ids), "conflict"))
	for _, name := range names {
		w.printf("  gapless run %s carries it out\n", name)
	}
	return nil
}

// decidable returns a conflict that can be decided in this way.
func decidable(ctx context.Context, p *service.Project, id string, d state.Decision) (state.Conflict, error) {
	c, err := findConflict(ctx, p, id)
	switch {
	case err != nil:
		return c, err
	case c.ResolvedBy != "":
		return c, gapless.Errorf(gapless.CodeNotFound, id, "the conflict was resolved by %s", c.ResolvedBy).
			WithHint("change the record on either side; the next run brings it to the other")
	case c.Deletion && d.Take == state.TakeValue:
		return c, usage("%s is about a deletion, which has no value", id).WithHint("take this or other")
	}
	return c, nil
}

// printDecided prints the conflicts as they stand after a decision.
func (w *world) printDecided(ctx context.Context, p *service.Project, ids []string) error {
	conflicts := make([]conflict, len(ids))
	for i, id := range ids {
		c, err := findConflict(ctx, p, id)
		if err != nil {
			return err
		}
		conflicts[i] = conflictOf(c)
	}
	return w.printJSON(conflicts)
}

// decider names who decides: the user that this process belongs to.
func decider() string {
	u, err := user.Current()
	if err == nil && u.Username != "" {
		return u.Username
	}
	return "somebody"
}
