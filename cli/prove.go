package cli

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/service"
)

type proveOptions struct {
	projectFlags
	since, until string
	sample       int
	seed         uint64
	all          bool
}

func newProve(w *world) *cobra.Command {
	var o proveOptions
	cmd := &cobra.Command{
		Use:   "prove [CONFIG] [CONNECTOR...]",
		Short: "Check the account of every run and name any gap",
		Long: `Checks the certificates of all runs: that none was altered or is missing, that
each continues where its predecessor ended, that every record read is accounted
for, and that state and destination agree with the last one. A gap is named with
the command that closes it, and the exit code is 20.

The source is not asked, unless records are to be compared as well: --sample draws
some of them by chance, --all reads everything at both ends. What differs without
a change since the last checkpoint is a gap like any other.

--since and --until take a time, such as 2026-03-01 or 2026-03-01T10:00:00Z, or how
long ago, such as 24h. They limit what is reported; everything is checked.`,
		Example: `  gapless prove
  gapless prove docs --json
  gapless prove --since 24h
  gapless prove docs --sample 1000
  gapless prove docs --all`,
		RunE: w.onChosen(&o.projectFlags, func(ctx context.Context, p *service.Project, chosen []config.Connector) error {
			options, err := o.options(w, p.Now())
			if err != nil {
				return err
			}
			return w.prove(ctx, p, chosen, options)
		}),
	}
	o.addNamed(w, cmd)
	f := cmd.Flags()
	f.StringVar(&o.since, "since", "", "report runs that began at this `TIME` or later")
	f.StringVar(&o.until, "until", "", "report runs that began at this `TIME` or earlier")
	f.IntVar(&o.sample, "sample", 0, "compare `N` records drawn by chance")
	f.Uint64Var(&o.seed, "seed", 0, "draw the same records as the report with this `SEED` did")
	f.BoolVar(&o.all, "all", false, "compare every record")
	return cmd
}

func (o *proveOptions) options(w *world, now time.Time) (engine.ProveOptions, error) {
	e := engine.ProveOptions{Sample: o.sample, Seed: o.seed, All: o.all, Stop: w.stop}
	if o.sample < 0 || o.sample > 0 && o.all {
		return e, usage("--sample takes a number of records, and goes without --all")
	}
	if e.Sample > 0 && e.Seed == 0 {
		var random [8]byte
		_, _ = rand.Read(random[:]) // it never fails
		e.Seed = binary.LittleEndian.Uint64(random[:]) >> 32
	}
	var err error
	if e.Since, err = instant(o.since, now); err != nil {
		return e, err
	}
	e.Until, err = instant(o.until, now)
	return e, err
}

// instant reads a time, or how long ago it was; empty is none.
func instant(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago.Abs()), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage("%q is no time", text).WithHint("write 2026-03-01, 2026-03-01T10:00:00Z, or how long ago: 24h")
}

func (w *world) prove(ctx context.Context, p *service.Project, chosen []config.Connector, o engine.ProveOptions) error {
	compared := chosen
	if o.All || o.Sample > 0 {
		w.orderly.Store(true)
		compared = w.comparable(chosen)
	}
	reports := make([]engine.Proved, 0, len(chosen))
	var unproved []string
	for _, c := range chosen {
		o := o
		if !slices.ContainsFunc(compared, func(d config.Connector) bool { return d.Name == c.Name }) {
			o.All, o.Sample = false, 0
		}
		r, err := w.proveOne(ctx, p, c, o)
		if err != nil {
			return explain(c.Name, err)
		}
		if !r.OK {
			unproved = append(unproved, c.Name)
		}
		reports = append(reports, r)
		if !w.json {
			w.printReport(&r, &o)
		}
	}
	if w.json {
		if err := w.printJSON(reports); err != nil {
			return err
		}
		if len(unproved) > 0 {
			return exitError(gapless.ExitUnrecoverable)
		}
		return nil
	}
	if len(unproved) > 0 {
		return gapless.Errorf(gapless.CodeGap, strings.Join(unproved, ", "), "completeness cannot be proved")
	}
	return nil
}

func (w *world) proveOne(ctx context.Context, p *service.Project, c config.Connector, o engine.ProveOptions) (r engine.Proved, err error) {
	var events func(engine.Event)
	if !w.json {
		events = w.events()
	}
	e, closeEnds, err := p.Engine(ctx, c, events)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, closeEnds()) }()
	return e.ProveWith(ctx, o)
}

func (w *world) printReport(r *engine.Proved, o *engine.ProveOptions) {
	w.printf("%s\n", cleanLines(r.Text()))
	for _, p := range r.Partitions {
		if p.OK && p.Last != "" {
			w.printf("  %s  %s: %s, ends with %s (%s %s, %s)\n", w.green("ok"), clean(p.Partition),
				plural(p.Certificates, "certificate"), p.Last, p.Rule, p.Mode, moment(p.Finished))
		}
	}
	if r.Contents == nil {
		return
	}
	t := r.Contents.Totals()
	what := "compared " + plural(t.Source.Records, "record") + " of the source and " + plural(t.Destination.Records, "record") + " of the destination"
	if o.Sample > 0 {
		what += ", drawn with --seed " + strconv.FormatUint(o.Seed, 10)
	}
	w.printf("  %s: %s; %s pending, %s rejected\n", what, plural(t.Gaps(), "gap"), count(t.Pending), count(t.Rejected))
}
