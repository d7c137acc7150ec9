package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/service"
)

// verifyOptions are the flags that verifications and repairs have in common.
type verifyOptions struct {
	projectFlags
	maxReads uint64
	maxTime  time.Duration
	restart  bool
	records  bool
}

func (o *verifyOptions) add(w *world, cmd *cobra.Command) {
	o.addNamed(w, cmd)
	cmd.Args = func(*cobra.Command, []string) error {
		if o.maxTime < 0 {
			return usage("--max-time is less than nothing: %s", o.maxTime)
		}
		return nil
	}
	f := cmd.Flags()
	f.Uint64Var(&o.maxReads, "max-reads", 0, "read at most about `N` records of each connector, both ends together; 0 is no limit")
	f.DurationVar(&o.maxTime, "max-time", 0, "read each connector for at most about this `DURATION`, such as 10m; 0 is no limit")
	f.BoolVar(&o.restart, "restart", false, "begin anew instead of going on where the last one ended too early")
	f.BoolVar(&o.records, "records", false, "compare record by record, whatever sums of ranges say")
}

func (o *verifyOptions) options(w *world) engine.VerifyOptions {
	return engine.VerifyOptions{MaxReads: o.maxReads, MaxTime: o.maxTime, Restart: o.restart, Records: o.records, Stop: w.stop}
}

func newVerify(w *world) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [CONFIG] [CONNECTOR...]",
		Short: "Compare what source and destination hold now",
		Long: `Compares every record that a source has now with what the destination holds, and
names each that is missing, differs, or is extra. A difference is pending if the
source changed the record after the last checkpoint: the next run brings it. What
is not pending is a gap: no run would bring it, gapless repair does. A record in
the dead letters is told as rejected.

Nothing is written at either end and no run is kept from running. Where both ends
can sum up ranges of records, as hubs do, only ranges that differ are read;
elsewhere, and with --records, all of both ends is. The report says what was read.

An interrupt or a limit ends it in good order. By sums of ranges, the next gapless
verify goes on where this one was; a partition that is read as a whole is begun
anew, so that the limits have to allow all of it. The hint says which it is.

Two-way connectors cannot be compared, and are left out unless they are named.

Exit codes: 0 nothing but pending differences, 2 the two ends cannot be compared,
20 gaps, 55 rejected records, 10 not everything was compared, 130 interrupted.`,
		Example: `  gapless verify
  gapless verify docs --max-time 10m
  gapless verify --json | jq 'select(.type == "difference")'`,
		RunE: w.onChosen(&o.projectFlags, func(ctx context.Context, p *service.Project, chosen []config.Connector) error {
			return w.eachOf(w.comparable(chosen), func(c config.Connector) error { return w.verifyOne(ctx, p, c, o.options(w)) })
		}),
	}
	o.add(w, cmd)
	return cmd
}

// comparable leaves out, with a note, the two-way connectors that were chosen
// only because the arguments name none: their sides cannot be compared. If there
// are no others, they stay, and fail.
func (w *world) comparable(chosen []config.Connector) []config.Connector {
	unnamed := func(c config.Connector) bool { return c.Between != nil && !slices.Contains(w.named, c.Name) }
	list := slices.DeleteFunc(slices.Clone(chosen), unnamed)
	if len(list) == 0 {
		return chosen
	}
	for _, c := range chosen {
		if unnamed(c) {
			w.note("%s: not compared, its two sides may differ as long as an edit waits; see gapless conflicts list", c.Name)
		}
	}
	return list
}

// eachOf does something that ends in good order with one connector after the
// other. The error is the worst.
func (w *world) eachOf(chosen []config.Connector, do func(config.Connector) error) error {
	w.orderly.Store(true)
	worst := 0
	for _, c := range chosen {
		if w.stopped() {
			w.report(notRun(c.Name))
			worst = max(worst, gapless.ExitInterrupted)
			break
		}
		err := explain(c.Name, do(c))
		w.report(err)
		worst = max(worst, exitOf(err))
	}
	if worst != 0 {
		return exitError(worst)
	}
	return nil
}

func (w *world) verifyOne(ctx context.Context, p *service.Project, c config.Connector, o engine.VerifyOptions) (err error) {
	e, closeEnds, err := p.Engine(ctx, c, w.events())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEnds()) }()
	report, err := e.Verify(ctx, o)
	if !w.json {
		w.printVerified(&report)
	}
	return err
}

// shownDifferences is how many differences are printed; JSON has them all.
const shownDifferences = 20

// printVerified prints the account of a verification.
func (w *world) printVerified(r *engine.VerifyReport) {
	if len(r.Partitions) == 0 {
		return
	}
	t := r.Totals()
	w.printf("%s  %s in %s\n", w.bold(r.Connector), w.verdictOf(r, &t), seconds(r.Seconds))
	var f facts
	for i := range r.Partitions {
		if i == 5 && len(r.Partitions) > 6 {
			f.add("compared", "and %s more", plural(len(r.Partitions)-i, "partition"))
			break
		}
		f.add("compared", "%s", comparedText(&r.Partitions[i]))
	}
	f.add("read", "%s, %s at the source; %s, %s at the destination", plural(t.Source.Records, "record"), size(int64(t.Source.Bytes)),
		plural(t.Destination.Records, "record"), size(int64(t.Destination.Bytes)))
	f.add("gaps", "%s", gapsText(&t))
	f.add("pending", "%s", count(t.Pending))
	if t.Rejected > 0 {
		f.add("rejected", "%s", rejectedText(t.Rejected))
	}
	for i := range r.Partitions {
		for _, note := range notesOf(&r.Partitions[i]) {
			f.add("note", "%s: %s", clean(r.Partitions[i].Partition), clean(note))
		}
	}
	for i, d := range r.Differences {
		if i == shownDifferences {
			f.add("...", "--json tells all of them")
			break
		}
		f.add(string(d.Kind), "%s", differenceText(d))
	}
	f.print(w.out, "  ")
}

func (w *world) verdictOf(r *engine.VerifyReport, t *engine.Verified) string {
	switch {
	case t.Gaps() > 0:
		return w.red("not in step")
	case r.OK:
		return w.green("in step")
	case r.Complete:
		return w.red("not settled")
	}
	return w.red("not compared to the end")
}

func comparedText(p *engine.Verified) string {
	text := fmt.Sprintf("%s: %s", clean(p.Partition), methodText(p))
	if p.Had+p.Held > 0 {
		text += fmt.Sprintf(", %s here, %s there", count(p.Had), count(p.Held))
	}
	switch {
	case p.Complete:
		return text
	case p.Next != "":
		return text + fmt.Sprintf(", up to key %s", clean(p.Next))
	}
	return text + ", not to the end"
}

func methodText(p *engine.Verified) string {
	switch {
	case p.Method == "":
		return "not begun"
	case p.Method == engine.MethodRanges:
		return "by sums of ranges"
	case p.Method == engine.MethodKeys:
		return "record by record"
	case p.Compared == engine.ComparedVersions:
		return "by versions, the destination gives nothing more back"
	case p.Compared == engine.ComparedKeys:
		return "by keys, the destination gives nothing more back"
	}
	return "all of both ends"
}

func gapsText(t *engine.Verified) string {
	if t.Gaps() == 0 {
		return "0"
	}
	return fmt.Sprintf("%s: %s missing, %s different, %s extra", count(t.Gaps()), count(t.Missing), count(t.Differs), count(t.Extra))
}

// notesOf says what the counts do not show.
func notesOf(p *engine.Verified) []string {
	var list []string
	if p.Due != "" {
		list = append(list, "the next run reads everything: "+p.Due)
	}
	if p.ExtraUnknown != "" {
		list = append(list, "extra records cannot be told: "+p.ExtraUnknown)
	}
	if p.RunBetween {
		list = append(list, "a run wrote a checkpoint meanwhile")
	}
	if p.Error != "" {
		list = append(list, p.Error)
	}
	return list
}

func differenceText(d engine.Difference) string {
	text := clean(d.Partition) + " " + clean(d.Key)
	if d.Pending && d.Kind != proof.Extra {
		return text + ", the next run brings it"
	}
	if d.Pending {
		return text + ", the next run deletes it"
	}
	return text
}
