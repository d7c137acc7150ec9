package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
)

// VerifyOptions say how to verify.
type VerifyOptions struct {
	// MaxReads bounds how many records are read, of both sides together, and
	// MaxTime for how long; 0 means no bound. What is exhausted ends the
	// verification in order. The next one goes on with the partitions that are
	// not done: by ranges where this one was, otherwise from their beginnings.
	MaxReads uint64
	MaxTime  time.Duration
	// Restart begins anew, whatever an earlier verification left unfinished.
	Restart bool
	// Records compares record by record even where sums of ranges would do.
	Records bool
	// Stop, when closed, ends it in order like an exhausted bound, with
	// [gapless.ErrInterrupted]. Cancelling the context stops at once.
	Stop <-chan struct{}
}

// Rejected is the kind of difference that a dead letter explains, or a record
// that the source cannot deliver now. The others are those of package proof.
const Rejected proof.Difference = "rejected"

// Difference is a key of which the two ends do not hold the same.
type Difference struct {
	Partition string           `json:"partition"`
	Key       string           `json:"key"`
	Kind      proof.Difference `json:"kind"`
	// Pending: the source changed the record after the checkpoint, so that the
	// next run brings it. What is not pending, and not rejected, is a gap.
	Pending bool `json:"pending,omitempty"`
}

// gap reports whether no run would bring it.
func (d Difference) gap() bool { return !d.Pending && d.Kind != Rejected }

// Reading is what was read of one side.
type Reading struct {
	Records uint64 `json:"records"`
	// Bytes that were handed over: of records, or of keys with the hashes of
	// contents, or of sums.
	Bytes uint64 `json:"bytes"`
}

// Methods of comparing.
const (
	// MethodRanges compares sums of ranges, and lists only where they differ.
	MethodRanges = "ranges"
	// MethodEnumeration reads all of both sides.
	MethodEnumeration = "enumeration"
	// MethodKeys looks single records up at both sides.
	MethodKeys = "keys"
)

// What of the records was compared.
const (
	ComparedContent  = "content"
	ComparedVersions = "versions"
	ComparedKeys     = "keys"
)

// Verified is the account of one partition.
type Verified struct {
	Partition string `json:"partition"`
	// Method and Compared are one of the constants each.
	Method   string `json:"method"`
	Compared string `json:"compared"`
	// Position is where the source was when it began, Checkpoint what the
	// destination is said to hold.
	Position   gapless.Position `json:"position,omitempty"`
	Checkpoint gapless.Position `json:"checkpoint,omitempty"`
	// Complete: all of the partition was compared. Otherwise Next is the key at
	// which the next verification goes on; empty where it begins anew.
	Complete bool   `json:"complete"`
	Next     string `json:"next,omitempty"`

	Source      Reading `json:"source"`
	Destination Reading `json:"destination"`
	// Missing, Differs and Extra count gaps.
	Missing uint64 `json:"missing"`
	Differs uint64 `json:"differs"`
	Extra   uint64 `json:"extra"`
	// Pending and Rejected count the other differences.
	Pending  uint64 `json:"pending"`
	Rejected uint64 `json:"rejected"`
	// ExtraUnknown says why it cannot be told which keys are extra; empty if it
	// can.
	ExtraUnknown string `json:"extra_unknown,omitempty"`
	// Due says why the next run reads the partition in full; empty if it does
	// not. All differences are pending then.
	Due string `json:"due,omitempty"`
	// RunBetween: a run wrote a checkpoint meanwhile.
	RunBetween bool `json:"run_between,omitempty"`
	// Error says why the partition could not be compared to its end.
	Error string `json:"error,omitempty"`
	// Had and Held are how many records source and destination have, as far as
	// that was counted.
	Had  uint64 `json:"had"`
	Held uint64 `json:"held"`
}

// Gaps is how many differences no run would bring.
func (v *Verified) Gaps() uint64 { return v.Missing + v.Differs + v.Extra }

// keptDifferences is how many differences a report names; events name all.
const keptDifferences = 1000

// VerifyReport says how the two ends of a connector compare.
type VerifyReport struct {
	Connector  string     `json:"connector"`
	Partitions []Verified `json:"partitions"`
	// Differences are the first ones found; the counts are of all.
	Differences []Difference `json:"differences"`
	// Began is when the first of the verifications began that this one goes on
	// with; their counts are in this report, and their differences were named
	// then.
	Began time.Time `json:"began"`
	// Complete: every partition was compared to its end. OK: besides, there is
	// nothing but pending differences.
	Complete bool    `json:"complete"`
	OK       bool    `json:"ok"`
	Seconds  float64 `json:"seconds"`
	// Exit is the exit code that the report stands for.
	Exit  int    `json:"exit"`
	Error string `json:"error,omitempty"`
	Code  string `json:"code,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Totals adds up the partitions.
func (r *VerifyReport) Totals() Verified {
	var t Verified
	for i := range r.Partitions {
		p := &r.Partitions[i]
		t.Source.Records += p.Source.Records
		t.Source.Bytes += p.Source.Bytes
		t.Destination.Records += p.Destination.Records
		t.Destination.Bytes += p.Destination.Bytes
		t.Missing += p.Missing
		t.Differs += p.Differs
		t.Extra += p.Extra
		t.Pending += p.Pending
		t.Rejected += p.Rejected
	}
	return t
}

// errSpent ends a verification whose bounds are exhausted.
var errSpent = errors.New("the bounds of the verification are exhausted")

// verification is one Verify under way.
type verification struct {
	*run
	options  VerifyOptions
	report   VerifyReport
	deadline time.Time       // zero for none
	reads    uint64          // records so far, without those of earlier verifications
	stopping context.Context //nolint:containedctx // ends when the verification has to stop
	pass     *pass           // nil where nothing is to be continued
	// collect, if not nil, is given every gap.
	collect func(Difference) error
}

// Verify compares what the source holds now with what the destination holds,
// and names each difference. Nothing is written at either end, and no lease is
// taken. The report is valid even if an error is returned, which says what is
// wrong: gaps, records that are rejected, or that not everything was compared.
func (e *Engine) Verify(ctx context.Context, o VerifyOptions) (VerifyReport, error) {
	return e.verifyWith(ctx, o, nil)
}

func (e *Engine) verifyWith(ctx context.Context, o VerifyOptions, collect func(Difference) error) (VerifyReport, error) {
	v := e.newVerification(o)
	v.collect = collect
	err := v.stoppable(ctx, v.everything)
	return v.report, v.conclude(err)
}

func (e *Engine) newVerification(o VerifyOptions) *verification {
	started := e.Now()
	v := &verification{
		run: &run{Engine: e, started: started, lease: &lease{}}, options: o,
		report: VerifyReport{Connector: e.Connector, Partitions: []Verified{}, Differences: []Difference{}, Began: started.UTC()},
	}
	if o.MaxTime > 0 {
		v.deadline = started.Add(o.MaxTime)
	}
	return v
}

// stoppable opens the destination for reading and performs body with a context
// of reading that ends before that of the verification.
func (v *verification) stoppable(ctx context.Context, body func(context.Context) error) error {
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v.reading, v.stopping = reading, reading
	go func() {
		select {
		case <-v.options.Stop:
			cancel(gapless.ErrInterrupted)
		case <-reading.Done():
		}
	}()
	stopTicker := v.tickProgress()
	defer stopTicker()
	return v.withSession(ctx, body)
}

// withSession opens the destination for reading.
func (v *verification) withSession(ctx context.Context, body func(context.Context) error) error {
	if len(v.Sides) > 0 {
		return gapless.Misconfigured(gapless.Errorf(gapless.CodeUnverifiable, v.Connector, "the two sides of a connector are equal only where no edit waits for a decision").
			WithHint("gapless conflicts list shows what waits; gapless run %s --full reads both sides anew and makes them equal", v.Connector))
	}
	session, err := v.Destination.Open(ctx, v.Connector, 0)
	if err != nil {
		return fmt.Errorf("open destination: %w", err)
	}
	v.session = session
	return errors.Join(body(ctx), session.Close())
}

// everything verifies every partition. A failure in one does not stop the
// others.
func (v *verification) everything(ctx context.Context) error {
	s, err := v.survey(ctx, v.session, false)
	if err != nil {
		return err
	}
	v.scope = s
	v.expect(ctx)
	if v.pass, err = v.loadPass(s); err != nil {
		return err
	}
	v.report.Began = v.pass.Began
	v.report.Partitions = append(v.report.Partitions, v.pass.Done...)
	var errs []error
	for i := range s.partitions {
		p := &s.partitions[i]
		if slices.ContainsFunc(v.pass.Done, func(d Verified) bool { return d.Partition == p.partition.ID }) {
			continue
		}
		v.reading = v.stopping
		err := v.verifyPartition(ctx, p)
		if errs = append(errs, err); errors.Is(err, errSpent) || v.stopping.Err() != nil {
			break
		}
	}
	err = worst(errs)
	if errors.Is(err, errSpent) || errors.Is(err, gapless.ErrInterrupted) {
		return errors.Join(err, v.savePass())
	}
	return errors.Join(err, v.dropPass())
}

// expect asks the source how much there is, for the estimate of the time left.
func (v *verification) expect(ctx context.Context) {
	v.plan.Decisions = make([]plan.Decision, len(v.scope.partitions))
	for i := range v.plan.Decisions {
		v.plan.Decisions[i].Mode = plan.ModeFull // as much as that is read
	}
	v.run.expect(ctx)
}

// spent reports whether the bounds are exhausted. Whatever they are, something
// is read, so that going on by ranges again and again comes to an end. What is
// read as a whole only does with bounds that all of a partition fits in.
func (v *verification) spent() bool {
	return v.reads > 0 && (v.options.MaxReads > 0 && v.reads >= v.options.MaxReads ||
		!v.deadline.IsZero() && v.Now().After(v.deadline))
}

// pause returns why the verification has to stop here, if it has to.
func (v *verification) pause() error {
	select {
	case <-v.options.Stop:
		return gapless.ErrInterrupted
	default:
	}
	switch {
	case v.stopping.Err() != nil:
		return context.Cause(v.stopping)
	case v.spent():
		return errSpent
	}
	return nil
}

// charge counts what was read of a side.
func (v *verification) charge(side *Reading, records int, bytes int) {
	side.Records += uint64(records)
	side.Bytes += uint64(bytes)
	v.reads += uint64(records)
	v.advance(Counts{Read: uint64(records)}, int64(bytes))
}

// conclude fills in what the report comes to, announces it, and returns the
// error that it stands for.
func (v *verification) conclude(err error) error {
	r := &v.report
	t := r.Totals()
	r.Complete = err == nil && !slices.ContainsFunc(r.Partitions, func(p Verified) bool { return !p.Complete })
	err = v.verdict(&t, err)
	r.OK = err == nil
	r.Seconds, r.Exit = v.Now().Sub(v.started).Seconds(), gapless.ExitCode(err)
	if err != nil {
		r.Error = err.Error()
		if coded, ok := errors.AsType[*gapless.Error](err); ok {
			r.Code, r.Hint = coded.Code.String(), gapless.HintFor(coded)
		}
	}
	v.emit(Event{Type: EventVerified, Verified: r})
	return err
}

// verdict returns the error that a report stands for; failed is what ended the
// verification, if it did not come to its end.
func (v *verification) verdict(t *Verified, failed error) error {
	due := slices.IndexFunc(v.report.Partitions, func(p Verified) bool { return p.Due != "" })
	blind := slices.IndexFunc(v.report.Partitions, func(p Verified) bool { return p.ExtraUnknown != "" })
	switch {
	case failed != nil && !errors.Is(failed, errSpent):
		return failed
	case t.Gaps() > 0:
		return gapless.Errorf(gapless.CodeDiffer, v.Connector, "%s: %d missing, %d different, %d extra at the destination",
			amountOf(t.Gaps(), "gap"), t.Missing, t.Differs, t.Extra).WithHint("gapless repair %s", v.Connector)
	case failed != nil:
		return gapless.Errorf(gapless.CodeUnfinished, v.Connector, "%s were read, and not everything is compared", amountOf(v.reads, "record")).
			WithHint("%s", v.report.goingOn("verify"))
	case due >= 0:
		p := &v.report.Partitions[due]
		return gapless.Errorf(gapless.CodeUnfinished, v.Connector, "the next run reads %s in full: %s", p.Partition, p.Due).
			WithHint("gapless run %s, then verify", v.Connector)
	case t.Rejected > 0:
		return gapless.Errorf(gapless.CodeRejectedRecords, v.Connector, "%s not synced", amountOf(t.Rejected, "record"))
	case blind >= 0:
		p := &v.report.Partitions[blind]
		return gapless.Recoverable(gapless.Errorf(gapless.CodeUnverifiable, v.Connector, "extra records of %s cannot be found: %s", p.Partition, p.ExtraUnknown))
	}
	return nil
}

// goingOn says what a command does next that exhausted its bounds: of the last
// partition, in which it did.
func (r *VerifyReport) goingOn(command string) string {
	if n := len(r.Partitions); n > 0 && r.Partitions[n-1].Next == "" {
		return fmt.Sprintf("gapless %s %s begins %s anew: allow as many --max-reads and as much --max-time as all of it takes, or set neither",
			command, r.Connector, r.Partitions[n-1].Partition)
	}
	return fmt.Sprintf("gapless %s %s goes on; more at a time with --max-reads and --max-time", command, r.Connector)
}

func amountOf(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
