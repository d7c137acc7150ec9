package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// survey is what is known before anything is read: the source's description
// and the facts about each of its partitions.
type survey struct {
	source gapless.Source
	// prefix of the names of the partitions in state.
	prefix      string
	description gapless.Description
	// fingerprint of filter, mapping, key and schema.
	fingerprint string
	status      gapless.Status
	// baselines are the fingerprints, which are of no use between two sides.
	baselines baselines
	// believed says that what is remembered knows of all who could push.
	believed   bool
	chain      *chain // nil until it is asked for, see chainOf
	partitions []surveyed
	// vanished partitions are known to state but no longer to the source.
	vanished []string
}

type surveyed struct {
	survey    *survey
	partition gapless.Partition
	known     state.Partition
	facts     plan.Facts
	canaries  []string // keys that have to exist
}

// survey gathers the facts for a session that is read-only.
func (e *Engine) survey(ctx context.Context, session gapless.Session, full bool) (*survey, error) {
	latest, err := e.latest()
	if err != nil {
		return nil, err
	}
	return e.surveyOf(ctx, &survey{source: e.Source, baselines: latest}, session, full)
}

// surveyOf gathers the facts about the source and with the fingerprints that s
// has. The partitions of a source are known to state with a prefix; without one
// the source is the only one.
func (e *Engine) surveyOf(ctx context.Context, s *survey, session gapless.Session, full bool) (*survey, error) {
	source, prefix := s.source, s.prefix
	var err error
	s.description, err = source.Describe(ctx)
	if coded, ok := errors.AsType[*gapless.Error](err); ok && prefix != "" && coded.Code == gapless.CodeUnknownName {
		s.description, err = gapless.Description{Model: gapless.ModelLog}, nil // a side may begin with nothing
	}
	if err != nil {
		return nil, fmt.Errorf("describe source: %w", err)
	}
	if s.status, err = session.Status(ctx); err != nil {
		return nil, fmt.Errorf("read back destination: %w", err)
	}
	s.believed = s.baselines.know(session)
	s.fingerprint = fingerprintOf(s.description, e.Mapping.Fingerprint()+e.policyText())
	partitions, err := partitionsOf(ctx, source, s.description)
	if err != nil {
		return nil, err
	}
	known, err := e.Store.Partitions(ctx, e.Connector)
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	byID := make(map[string]state.Partition, len(known))
	listed := make(map[string]bool, len(partitions))
	for _, p := range partitions {
		listed[prefix+p.ID] = true
	}
	for _, k := range known {
		if !s.believed && prefix == "" {
			disbelieve(&k)
		}
		byID[k.ID] = k
		if strings.HasPrefix(k.ID, prefix) && !listed[k.ID] {
			s.vanished = append(s.vanished, k.ID)
		}
	}
	for _, p := range partitions {
		item := surveyed{survey: s, partition: p, known: byID[prefix+p.ID]}
		if item.facts, err = e.facts(ctx, s, p, item.known); err != nil {
			return nil, fmt.Errorf("partition %s: %w", prefix+p.ID, err)
		}
		item.facts.Forced = full
		s.partitions = append(s.partitions, item)
	}
	return s, s.placeCanaries(e.Connector, e.Settings.Canaries)
}

// partitionsOf lists what a source has now; without [gapless.Partitioner] it
// is one partition per collection.
func partitionsOf(ctx context.Context, source gapless.Source, d gapless.Description) ([]gapless.Partition, error) {
	lister, ok := source.(gapless.Partitioner)
	if !ok {
		var list []gapless.Partition
		for _, c := range d.Collections {
			list = append(list, gapless.Partition{ID: c, Collection: c})
		}
		return list, nil
	}
	list, err := lister.Partitions(ctx)
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	seen := map[string]bool{}
	for _, p := range list {
		if p.ID == "" || seen[p.ID] {
			return nil, gapless.Unrecoverable(fmt.Errorf("source lists partition %q twice or without a name", p.ID))
		}
		seen[p.ID] = true
	}
	return list, nil
}

func fingerprintOf(d gapless.Description, mapping string) string {
	sum := sha256.Sum256([]byte(string(d.Model) + "\x00" + d.Schema + "\x00" + mapping))
	return hex.EncodeToString(sum[:8])
}

func (e *Engine) facts(ctx context.Context, s *survey, p gapless.Partition, known state.Partition) (plan.Facts, error) {
	name := s.prefix + p.ID
	f := plan.Facts{
		Partition:        name,
		Model:            s.description.Model,
		DestinationNew:   known.ID == "",
		DestinationEmpty: !s.status.Holds,
		Destination:      s.status.Checkpoints[name],
		State:            known.Checkpoint,
		LastOutcome:      known.Outcome,
		Undone:           known.Outcome == plan.OutcomeUnrecoverable && known.ErrorCode == gapless.CodeUndone.String(),
		FullUnfinished:   known.Unfinished,
		Differences:      len(known.Repair),
	}
	f.DestinationReplaced = known.DestinationID != "" && s.status.ID != "" && known.DestinationID != s.status.ID
	f.FingerprintChanged = known.ID != "" && known.Fingerprint != s.fingerprint
	_, f.CanFetch = s.source.(gapless.Fetcher)
	_, f.CanReadKeys = s.source.(gapless.KeyReader)
	if positioner, ok := s.source.(gapless.Positioner); ok {
		position, err := positioner.Position(ctx, p)
		if err != nil {
			return f, fmt.Errorf("take position: %w", err)
		}
		f.SourcePosition = position
	}
	if f.Model == gapless.ModelModified {
		// One that was decided has not completed since, as long as there is no time.
		decided := known.ID != "" && known.Reconciled.IsZero()
		f.ReconcileDue = decided || e.Settings.Reconcile >= 0 && e.Now().Sub(known.Reconciled) >= e.Settings.Reconcile
	}
	if f.Model == gapless.ModelFull && s.prefix == "" && s.believed {
		if err := e.baselineFacts(ctx, s, &f, known); err != nil {
			return f, err
		}
	}
	if f.Model != gapless.ModelFull && f.Start() != "" && !f.Destination.Same(f.State) {
		accounted, err := e.accounted(ctx, s, &f)
		if err != nil {
			return f, err
		}
		f.Unaccounted = !accounted
	}
	return f, e.resumeFacts(ctx, s, &f, p, known)
}

// accounted reports whether the changes since the older of two checkpoints that
// disagree make up for what the destination lacks.
func (e *Engine) accounted(ctx context.Context, s *survey, f *plan.Facts) (bool, error) {
	chain, err := e.chainOf(ctx, s)
	if err != nil {
		return false, err
	}
	if f.State.Before(f.Destination) { // whoever is not remembered may have read by other rules
		if _, err := e.Store.Run(ctx, f.Destination.Run); errors.Is(err, gapless.ErrNotFound) {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("read state: %w", err)
		}
	}
	return chain.Covers(f.Partition, f.Start()) && !chain.brought[f.Partition], nil
}

// chain is what the certificates of a connector say.
type chain struct {
	*proof.Checker
	// brought are the partitions that were brought more than changes since the
	// destination's checkpoint.
	brought map[string]bool
}

// chainOf returns what the certificates say, which are read once.
func (e *Engine) chainOf(ctx context.Context, s *survey) (*chain, error) {
	if s.chain != nil {
		return s.chain, nil
	}
	read := &chain{proof.NewChecker(e.Connector), map[string]bool{}}
	for c, err := range e.Store.Certificates(ctx, e.Connector) {
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		read.Add(c)
		if s.status.Checkpoints[c.Partition].Before(c.Checkpoint) && (c.Mode != string(plan.ModeIncremental) || c.Repaired) {
			read.brought[c.Partition] = true
		}
	}
	s.chain = read
	return read, nil
}

// baselineFacts finds out whether the fingerprints belong to the destination's
// checkpoint. A run killed after its last sync left state one step behind:
// fingerprints labelled with exactly the destination's checkpoint prove that
// this step was taken, but no certificate accounts for it: it is built on only
// where those before it can be.
func (e *Engine) baselineFacts(ctx context.Context, s *survey, f *plan.Facts, known state.Partition) error {
	b := s.baselines.of(f.Partition)
	valid, err := b.open(f.Destination)
	if err != nil {
		return gapless.Errorf(gapless.CodeStoreDamaged, e.Connector, "check fingerprints of %s: %w", f.Partition, err).
			WithHint("move the file away and run again: the next run is full")
	}
	f.BaselineValid = valid
	if !valid || f.Destination.Run != known.LastRun || f.Destination.Seq <= f.State.Seq {
		return b.close()
	}
	chain, err := e.chainOf(ctx, s)
	if err != nil {
		return errors.Join(err, b.close())
	}
	if !chain.Continues(f.Partition, s.status.ID, s.fingerprint) {
		f.BaselineValid = false
		return b.close()
	}
	f.State, f.FullUnfinished = f.Destination, false
	if f.LastOutcome != plan.OutcomeUnrecoverable {
		f.LastOutcome = plan.OutcomeNone // so that a comparison follows, and state catches up
	}
	return b.close()
}

func (e *Engine) resumeFacts(ctx context.Context, s *survey, f *plan.Facts, p gapless.Partition, known state.Partition) error {
	d := f.Destination
	if d.Mark != "" && d.Same(known.Checkpoint) && len(known.Progress) > 0 {
		f.ProgressIntact = s.believed && s.baselines.of(f.Partition).canResume(known.LogSize)
		if resumer, ok := s.source.(gapless.Resumer); ok && f.ProgressIntact {
			honoured, err := resumer.CanResume(ctx, p, d.Mark, d.Target)
			if err != nil {
				return fmt.Errorf("ask source whether it can resume: %w", err)
			}
			f.ProgressHonoured = honoured
		}
	}
	checker, ok := s.source.(gapless.PositionChecker)
	if start := f.Start(); ok && start != "" {
		err := checker.CheckPosition(ctx, p, start)
		if err != nil && gapless.KindOf(err) != gapless.KindExpired {
			return fmt.Errorf("check position: %w", err)
		}
		f.PositionExpired = err != nil
	}
	return nil
}

// PlanOptions say what to plan for.
type PlanOptions struct {
	// Full plans a full run of every partition.
	Full bool
	// Count reads as much of the source as is needed to count creates, updates
	// and deletes where a comparison decides.
	Count bool
}

// Plan says what a run would do now, and why. Nothing is written but the plan
// itself, which can be approved by its id.
func (e *Engine) Plan(ctx context.Context, o PlanOptions) (plan.Plan, error) {
	if len(e.Sides) > 0 {
		return e.planBetween(ctx, o)
	}
	session, err := e.Destination.Open(ctx, e.Connector, 0)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("open destination: %w", err)
	}
	var p plan.Plan
	if err = e.keepFormer(ctx, session, ""); err == nil {
		p, err = e.planWith(ctx, session, o)
	}
	return p, errors.Join(err, session.Close())
}

func (e *Engine) planWith(ctx context.Context, session gapless.Session, o PlanOptions) (plan.Plan, error) {
	s, err := e.survey(ctx, session, o.Full)
	if err != nil {
		return plan.Plan{}, err
	}
	p := e.decide(s)
	if o.Count {
		if err := e.count(ctx, session, s, &p); err != nil {
			return p, err
		}
	}
	p.Seal()
	if err := e.Store.SavePlan(ctx, p); err != nil {
		return p, fmt.Errorf("save plan: %w", err)
	}
	return p, nil
}

func (e *Engine) decide(s *survey) plan.Plan {
	p := plan.Plan{Connector: e.Connector, Created: e.Now().UTC(), Decisions: make([]plan.Decision, 0, len(s.partitions))}
	for i := range s.partitions {
		p.Decisions = append(p.Decisions, plan.Decide(s.partitions[i].facts))
	}
	return p
}
