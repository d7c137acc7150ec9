package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// ProveOptions say what else to look at besides the certificates, and what to
// report.
type ProveOptions struct {
	// Since and Until limit what is reported to runs that began then; zero
	// means no limit. All certificates are checked in any case.
	Since, Until time.Time
	// Sample is how many records are compared at both ends, drawn by chance
	// with Seed; All compares all of them.
	Sample int
	Seed   uint64
	All    bool
	// Stop ends the comparison in order, see [VerifyOptions].
	Stop <-chan struct{}
}

// holds reports whether what began at t is to be reported.
func (o *ProveOptions) holds(t time.Time) bool {
	return t.IsZero() || !t.Before(o.Since) && (o.Until.IsZero() || !t.After(o.Until))
}

// Proved is the account of all runs of a connector, checked.
type Proved struct {
	proof.Report
	// Contents is the comparison of records; nil if none was asked for.
	Contents *VerifyReport `json:"contents,omitempty"`
}

// Prove checks the chain of certificates against state and destination, and
// names every gap. Nothing is read from the source and nothing is written.
func (e *Engine) Prove(ctx context.Context) (proof.Report, error) {
	r, err := e.ProveWith(ctx, ProveOptions{})
	return r.Report, err
}

// ProveWith is Prove with options. An error says that something could not be
// looked at; gaps are no error.
func (e *Engine) ProveWith(ctx context.Context, o ProveOptions) (Proved, error) {
	var proved Proved
	ends, err := e.readBack(ctx)
	if err != nil {
		return proved, err
	}
	known, err := e.Store.Partitions(ctx, e.Connector)
	if err != nil {
		return proved, fmt.Errorf("read state: %w", err)
	}
	remembered, held := map[string]gapless.Checkpoint{}, map[string]gapless.Checkpoint{}
	for i := range known {
		if c := known[i].Checkpoint; c.Run != "" {
			remembered[known[i].ID] = c
		}
	}
	for i := range ends {
		maps.Copy(held, ends[i].Checkpoints)
	}
	checker := proof.NewChecker(e.Connector)
	within := map[string]uint64{}
	for c, err := range e.Store.Certificates(ctx, e.Connector) {
		if err != nil {
			return proved, fmt.Errorf("read certificates: %w", err)
		}
		checker.Add(c)
		if o.holds(c.Started) {
			within[c.Partition]++
		}
	}
	r := &proved.Report
	*r = checker.Finish(remembered, held)
	for i := range known {
		e.proveState(r, &known[i], e.endOf(known[i].ID, ends))
	}
	if err := e.proveLetters(ctx, r); err != nil {
		return proved, err
	}
	limit(r, &o, within)
	if o.All || o.Sample > 0 {
		proved.Contents, err = e.proveContents(ctx, r, &o)
	}
	r.OK = len(r.Gaps) == 0
	return proved, err
}

// answer is what a destination says of itself.
type answer struct {
	gapless.Status
	known bool // what is remembered knows of all who could push
}

// readBack asks the destinations, in the order of the sides if there are two.
func (e *Engine) readBack(ctx context.Context) ([]answer, error) {
	destinations := []gapless.Destination{e.Destination}
	if len(e.Sides) > 0 {
		destinations = []gapless.Destination{e.Sides[0].Destination, e.Sides[1].Destination}
	}
	latest, err := e.latest()
	if err != nil {
		return nil, err
	}
	list := make([]answer, 0, len(destinations))
	for _, d := range destinations {
		session, err := d.Open(ctx, e.Connector, 0)
		if err != nil {
			return nil, fmt.Errorf("open destination: %w", err)
		}
		a := answer{known: true}
		if len(e.Sides) == 0 {
			a.known = latest.know(session)
		}
		a.Status, err = session.Status(ctx)
		if err := errors.Join(err, session.Close()); err != nil {
			return nil, fmt.Errorf("read back destination: %w", err)
		}
		list = append(list, a)
	}
	return list, nil
}

// endOf returns the destination that holds the checkpoint of a partition: what
// is read at one of two sides is kept at the other.
func (e *Engine) endOf(partition string, ends []answer) *answer {
	if len(ends) == 2 && strings.HasPrefix(partition, prefix(state.This)) {
		return &ends[1]
	}
	return &ends[0]
}

// proveState compares what state remembers of a partition, besides its
// checkpoint, with the destination and with the certificates.
func (e *Engine) proveState(r *proof.Report, p *state.Partition, end *answer) {
	last := proof.PartitionReport{}
	at := slices.IndexFunc(r.Partitions, func(q proof.PartitionReport) bool { return q.Partition == p.ID })
	if at >= 0 {
		last = r.Partitions[at]
	}
	gap := func(kind, what string, args ...any) {
		r.Gaps = append(r.Gaps, proof.Gap{
			Connector: e.Connector, Partition: p.ID, Kind: kind, What: fmt.Sprintf(what, args...), Since: p.Updated,
			Certificate: last.Last, To: p.Checkpoint.Position, Run: "gapless run " + e.Connector,
		})
		if at >= 0 {
			r.Partitions[at].OK = false
		}
	}
	if p.DestinationID != "" && end.ID != "" && p.DestinationID != end.ID {
		gap(proof.GapDestination, "the destination is store %q, and not %q, which was synced", end.ID, p.DestinationID)
	} else if disagree := slices.ContainsFunc(r.Gaps, func(g proof.Gap) bool {
		return g.Partition == p.ID && g.Kind == proof.GapCheckpoint
	}); disagree && p.Incarnation != "" && p.Incarnation != end.Incarnation {
		r.Notes = append(r.Notes, fmt.Sprintf("the destination has restarted since %s was synced (incarnation %q, now %q)",
			p.ID, p.Incarnation, end.Incarnation))
	}
	told := slices.ContainsFunc(r.Gaps, func(g proof.Gap) bool { return g.Partition == p.ID })
	if !end.known && !told {
		gap(proof.GapUnknownRun, "a run that is not remembered here could write to the destination: "+
			"state was restored from an older backup, or somebody else writes in the name of this connector")
		told = true
	}
	if p.Outcome == plan.OutcomeUnrecoverable && !told {
		gap(proof.GapIncomplete, "run %s failed in a way that may have left a gap: %s", p.LastRun, p.Error)
	}
	if n := len(p.Repair); n > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s of %s wait to be repaired by the next run", amountOf(uint64(n), "record"), p.ID))
	}
}

// proveLetters names the records that are not synced because they are dead
// letters: a certificate accounts for them, but they are not there.
func (e *Engine) proveLetters(ctx context.Context, r *proof.Report) error {
	letters, err := e.Store.DeadLetters(ctx, state.DeadLetterFilter{Connector: e.Connector, Open: true})
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	slices.Reverse(letters) // the oldest first
	byPartition := map[string][]state.DeadLetter{}
	for _, l := range letters {
		byPartition[l.Partition] = append(byPartition[l.Partition], l)
	}
	for _, partition := range slices.Sorted(maps.Keys(byPartition)) {
		list := byPartition[partition]
		g := proof.Gap{
			Connector: e.Connector, Partition: partition, Kind: proof.GapRejected, Since: list[0].At,
			What: amountOf(uint64(len(list)), "record") + " could not be synced, first " + whereOf(&list[0]) + ": " + strings.Join(strings.Fields(list[0].Reason), " "),
			Run:  "gapless deadletters list " + e.Connector,
		}
		if i := slices.IndexFunc(r.Partitions, func(p proof.PartitionReport) bool { return p.Partition == partition }); i >= 0 {
			r.Partitions[i].OK = false
			g.Certificate, g.To = r.Partitions[i].Last, r.Partitions[i].Position
		}
		r.Gaps = append(r.Gaps, g)
	}
	return nil
}

// whereOf names the record of a dead letter, or where it stood.
func whereOf(l *state.DeadLetter) string {
	if l.Key != "" {
		return fmt.Sprintf("%q", l.Key)
	}
	return fmt.Sprintf("line %d of %s", l.Line, l.Origin)
}

// limit leaves in a report what is of the time asked for.
func limit(r *proof.Report, o *ProveOptions, within map[string]uint64) {
	if o.Since.IsZero() && o.Until.IsZero() {
		return
	}
	before := len(r.Gaps)
	outside := func(g proof.Gap) bool { return !o.holds(g.Since) }
	r.Gaps, r.Closed = slices.DeleteFunc(r.Gaps, outside), slices.DeleteFunc(r.Closed, outside)
	r.Certificates = 0
	for i := range r.Partitions {
		p := &r.Partitions[i]
		p.Certificates = within[p.Partition]
		r.Certificates += int(p.Certificates)
		p.OK = !slices.ContainsFunc(r.Gaps, func(g proof.Gap) bool { return g.Partition == p.Partition })
	}
	if n := before - len(r.Gaps); n > 0 {
		r.Notes = append(r.Notes, amountOf(uint64(n), "gap")+" of other times not shown")
	}
}

// proveContents compares records at both ends, and makes a gap of each
// difference that is one.
func (e *Engine) proveContents(ctx context.Context, r *proof.Report, o *ProveOptions) (*VerifyReport, error) {
	since := map[string]*proof.PartitionReport{}
	for i := range r.Partitions {
		since[r.Partitions[i].Partition] = &r.Partitions[i]
	}
	more := 0
	found := func(d Difference) error {
		if more++; more > keptDifferences {
			return nil
		}
		g := proof.Gap{Connector: e.Connector, Partition: d.Partition, Kind: string(d.Kind), Run: "gapless repair " + e.Connector}
		switch d.Kind {
		case proof.Missing:
			g.What = fmt.Sprintf("the destination lacks record %q", d.Key)
		case proof.Differs:
			g.What = fmt.Sprintf("the destination holds other content of record %q", d.Key)
		default:
			g.What = fmt.Sprintf("the destination holds record %q, which the source has not", d.Key)
		}
		if p := since[d.Partition]; p != nil {
			g.Since, g.Certificate, g.To, p.OK = p.Finished, p.Last, p.Position, false
		}
		r.Gaps = append(r.Gaps, g)
		return nil
	}
	var contents VerifyReport
	var err error
	if o.All {
		contents, err = e.verifyWith(ctx, VerifyOptions{Restart: true, Records: true, Stop: o.Stop}, found)
	} else {
		contents, err = e.verifySample(ctx, o, found)
	}
	if more > keptDifferences {
		r.Notes = append(r.Notes, fmt.Sprintf("%d more records differ; gapless verify names all of them", more-keptDifferences))
	}
	if coded, ok := errors.AsType[*gapless.Error](err); ok && (coded.Code == gapless.CodeDiffer || coded.Code == gapless.CodeRejectedRecords) {
		err = nil // the gaps say so, or the dead letters do
	}
	return &contents, err
}
