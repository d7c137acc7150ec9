package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/service"
	"github.com/gapless-sync/gapless/state"
)

func newCheck(w *world) *cobra.Command {
	var o projectFlags
	cmd := &cobra.Command{
		Use:   "check [CONFIG] [CONNECTOR...] [FOLDER]",
		Short: "Reach for both ends and show what is seen there",
		Long: `Opens source and destination of every connector, or both sides, and shows what they
say: the source's change model, partitions, positions and sizes, and what the
destination holds. No record is read and nothing is written.`,
		Example: `  gapless check
  gapless check docs --json`,
		RunE: w.onChosen(&o, w.check),
	}
	o.addNamed(w, cmd)
	return cmd
}

// check looks at every connector, also behind one that fails. The error is the
// worst.
func (w *world) check(ctx context.Context, p *service.Project, chosen []config.Connector) error {
	reports := []engine.CheckReport{}
	worst := 0
	for _, c := range chosen {
		r, err := checkOne(ctx, p, c)
		if err != nil {
			err = explain(c.Name, err)
			w.report(err)
			worst = max(worst, exitOf(err))
			continue
		}
		reports = append(reports, r)
		if !w.json {
			w.printCheck(c, r)
		}
	}
	if w.json && len(reports) > 0 {
		if err := w.printJSON(reports); err != nil {
			return err
		}
	}
	if worst != 0 {
		return exitError(worst)
	}
	return nil
}

func checkOne(ctx context.Context, p *service.Project, c config.Connector) (r engine.CheckReport, err error) {
	e, closeEnds, err := p.Engine(ctx, c, nil)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, closeEnds()) }()
	return e.Check(ctx)
}

func (w *world) printCheck(c config.Connector, r engine.CheckReport) {
	w.printf("%s  %s\n", w.bold(c.Name), w.green("both ends can be reached"))
	var f facts
	t := newTable("  PARTITION", "COLLECTION", "-RECORDS", "-SIZE", "POSITION", "CHECKPOINT")
	if c.Between != nil && r.Back != nil {
		// What is read at one side is written, and checkpointed, at the other.
		addSide(&f, state.This, c, r.Source, r.Back.Destination)
		addSide(&f, state.Other, c, r.Back.Source, r.Destination)
		addPartitions(t, state.This.String()+"/", r.Partitions)
		addPartitions(t, state.Other.String()+"/", r.Back.Partitions)
	} else {
		f.add("from", "%s", clean(c.From.String()))
		f.add("source", "%s", sourceText(r.Source))
		f.add("to", "%s", clean(c.To.String()))
		f.add("destination", "%s", destinationText(r.Destination))
		addPartitions(t, "", r.Partitions)
	}
	f.print(w.out, "  ")
	t.print(w.out, w.bold)
}

// addSide adds what a side of a two-way connector says of itself.
func addSide(f *facts, s state.Side, c config.Connector, source gapless.Description, destination gapless.Status) {
	f.add(s.String(), "%s", clean(c.Between.Sides[s].String()))
	f.add("source", "%s", sourceText(source))
	f.add("destination", "%s", destinationText(destination))
}

func addPartitions(t *table, prefix string, partitions []engine.PartitionCheck) {
	for _, p := range partitions {
		t.row("  "+clean(prefix+p.Partition.ID), clean(p.Partition.Collection), estimate(p.Records, count), estimate(p.Bytes, size),
			tokenText(string(p.Position)), tokenText(string(p.Checkpoint.Position)))
	}
}

func sourceText(d gapless.Description) string {
	return fmt.Sprintf("change model %s; %s", d.Model, modelText(d.Model))
}

func modelText(model gapless.ChangeModel) string {
	switch model {
	case gapless.ModelModified:
		return "tells creates and updates, deletes come from enumerating keys"
	case gapless.ModelLog:
		return "tells every change"
	case gapless.ModelFull:
	}
	return "is enumerated and compared"
}

func destinationText(d gapless.Status) string {
	holds := "holds nothing of this connector"
	if d.Holds {
		holds = "holds records of this connector"
	}
	parts := []string{holds, plural(len(d.Checkpoints), "checkpoint")}
	if d.ID != "" {
		parts = append(parts, "store "+tokenText(d.ID))
	}
	return strings.Join(parts, ", ")
}

func estimate(n int64, text func(int64) string) string {
	if n < 0 {
		return "-"
	}
	return text(n)
}
