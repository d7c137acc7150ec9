package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/files"
	"github.com/gapless-sync/gapless/connectors/tabular"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/mapping"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// run runs the engine once over j's folder, as the command line would.
func (j job) run(ctx context.Context, source gapless.Source, destination gapless.Destination, program *mapping.Program) (s engine.Summary, err error) {
	store, err := sqlite.Open(ctx, filepath.Join(j.Dir, "state"))
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	e, err := engine.New(engine.Config{
		Connector: "bench", Source: source, Destination: destination, Mapping: program,
		Store: store, Dir: filepath.Join(j.Dir, "fingerprints"),
	})
	if err != nil {
		return s, err
	}
	return e.Run(ctx, engine.RunOptions{})
}

func (j job) env() gapless.Env {
	return gapless.Env{Connector: "bench", Dir: j.Dir, State: filepath.Join(j.Dir, "state")}
}

func (j job) records(ctx context.Context) (gapless.Source, error) {
	return tabular.JSONL().Source.Open(ctx, map[string]any{"path": j.Input, "key": "id"}, j.env())
}

// want fails unless the run did what the case is about: what was not done was
// not measured either.
func want(s engine.Summary, counts engine.Counts) error {
	if s.Counts != counts {
		return fmt.Errorf("the run counted %+v, want %+v", s.Counts, counts)
	}
	for _, p := range s.Partitions {
		if p.Certificate == "" {
			return fmt.Errorf("partition %s has no certificate", p.Partition)
		}
	}
	return nil
}

// all is what a run counts that pushes everything, for the first time.
func (j job) all() engine.Counts {
	n := uint64(j.Records)
	return engine.Counts{Read: n, Created: n, Pushed: n, Synced: n}
}

// readAlone is the source without an engine: what a comparison has to add to.
func readAlone(ctx context.Context, j job) (d done, err error) {
	source, err := j.records(ctx)
	if err != nil {
		return d, err
	}
	var spare gapless.Batch
	p := gapless.Partition{ID: "record", Collection: "record"}
	out := gapless.NewOutput(ctx, p, 0, 0, func(_ context.Context, full *gapless.Batch) (*gapless.Batch, error) {
		d.Records += full.Len()
		d.Bytes += int64(len(full.Buf))
		empty := spare
		spare = *full
		return &empty, nil
	})
	if err := source.ReadAll(ctx, p, "", out); err != nil {
		return d, err
	}
	if err := out.Flush(); err != nil || d.Records != j.Records {
		return d, fmt.Errorf("read %d of %d records: %w", d.Records, j.Records, err)
	}
	return d, nil
}

func copyRecords(ctx context.Context, j job) (done, error) {
	s, err := j.toFile(ctx, nil)
	if err != nil {
		return done{}, err
	}
	in, err := os.Stat(j.Input)
	if err != nil {
		return done{}, err
	}
	out, err := os.Stat(j.output())
	if err != nil {
		return done{}, err
	}
	if in.Size() != out.Size() {
		return done{}, fmt.Errorf("%d of %d bytes arrived", out.Size(), in.Size())
	}
	return done{Records: j.Records, Bytes: s.Bytes}, want(s, j.all())
}

// toFile runs from records to one file of records.
func (j job) toFile(ctx context.Context, program *mapping.Program) (s engine.Summary, err error) {
	source, err := j.records(ctx)
	if err != nil {
		return s, err
	}
	file, err := tabular.JSONL().Destination.Open(ctx, map[string]any{"path": j.output()}, j.env())
	if err != nil {
		return s, err
	}
	return j.run(ctx, source, file, program)
}

// mapRecords filters about a tenth away and gives three fields a value: two of
// them a field of the record, one the result of a computation.
func mapRecords(ctx context.Context, j job) (done, error) {
	program, err := mapping.Compile(mapping.Spec{
		Filter: "active and score < 990",
		Set:    map[string]string{"title": "name", "mail": "owner.mail", "rank": "score / 10"},
	})
	if err != nil {
		return done{}, err
	}
	s, err := j.toFile(ctx, program)
	if err != nil {
		return done{}, err
	}
	c := s.Counts
	if c.Read != uint64(j.Records) || c.Filtered == 0 || c.Synced == 0 || c.Filtered+c.Synced != c.Read {
		return done{}, fmt.Errorf("the run counted %+v", c)
	}
	return done{Records: j.Records, Bytes: s.Bytes}, nil
}

// toHub runs into the hub of j's folder.
func (j job) toHub(ctx context.Context, source gapless.Source) (s engine.Summary, err error) {
	h, err := hub.Open(ctx, hub.Options{Dir: filepath.Join(j.Dir, "hub")})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	return j.run(ctx, source, h, nil)
}

func fillHub(ctx context.Context, j job) (done, error) {
	source, err := j.records(ctx)
	if err != nil {
		return done{}, err
	}
	s, err := j.toHub(ctx, source)
	if err != nil {
		return done{}, err
	}
	return done{Records: j.Records, Bytes: s.Bytes}, want(s, j.all())
}

// compareWithHub reads everything and pushes what differs from the last run.
func compareWithHub(ctx context.Context, j job) (done, error) {
	source, err := j.records(ctx)
	if err != nil {
		return done{}, err
	}
	s, err := j.toHub(ctx, source)
	if err != nil {
		return done{}, err
	}
	n, changed := uint64(j.Records), uint64(j.Changed)
	return done{Records: j.Records, Bytes: s.Bytes}, want(s, engine.Counts{
		Read: n, Unchanged: n - changed, Updated: changed, Pushed: changed, Synced: changed,
	})
}

func (j job) tree(ctx context.Context) (engine.Summary, error) {
	source, err := files.Connector().Source.Open(ctx, map[string]any{"path": j.Input}, j.env())
	if err != nil {
		return engine.Summary{}, err
	}
	return j.toHub(ctx, source)
}

func filesToHub(ctx context.Context, j job) (done, error) {
	s, err := j.tree(ctx)
	if err != nil {
		return done{}, err
	}
	return done{Records: j.Records, Bytes: s.Bytes}, want(s, j.all())
}

// filesAgain runs once more where nothing has changed.
func filesAgain(ctx context.Context, j job) (done, error) {
	s, err := j.tree(ctx)
	if err != nil {
		return done{}, err
	}
	if p := s.Partitions[0]; p.Mode != string(plan.ModeNothing) {
		return done{}, fmt.Errorf("the second run was not idle but %s (%s)", p.Mode, p.Reason)
	}
	return done{Records: j.Records}, want(s, engine.Counts{})
}

// decideRepeats makes the start of the process disappear beside the decisions.
const decideRepeats = 50

// decide decides about j.Records partitions whose facts differ in what the
// rules look at, and seals the plan, several times.
func decide(_ context.Context, j job) (done, error) {
	facts := make([]plan.Facts, j.Records)
	for i := range facts {
		facts[i] = factsOf(i)
	}
	rules := map[string]bool{}
	for range decideRepeats {
		p := plan.Plan{Connector: "bench", Decisions: make([]plan.Decision, 0, len(facts))}
		for i := range facts {
			p.Decisions = append(p.Decisions, plan.Decide(facts[i]))
		}
		p.Seal()
		for _, d := range p.Decisions[:min(len(facts), 1000)] {
			rules[d.Rule] = true
		}
	}
	if len(rules) < 4 {
		return done{}, fmt.Errorf("only the rules %v fired", rules)
	}
	return done{Records: decideRepeats * len(facts)}, nil
}

func factsOf(i int) plan.Facts {
	models := []gapless.ChangeModel{gapless.ModelFull, gapless.ModelModified, gapless.ModelLog}
	random := spread(uint64(i))
	bit := func(n int) bool { return random>>n&1 == 1 }
	at := gapless.Checkpoint{Partition: strconv.Itoa(i), Position: "p1", Run: "r1", Seq: uint64(i + 1), Epoch: 1}
	f := plan.Facts{
		Partition: at.Partition, Model: models[i%len(models)], Destination: at, State: at, SourcePosition: "p2",
		LastOutcome: plan.OutcomeComplete, DestinationNew: bit(0) && bit(1), PositionExpired: bit(2) && bit(3),
		FingerprintChanged: bit(4) && bit(5), BaselineValid: bit(6) || bit(7), CanReadKeys: bit(8), ReconcileDue: bit(9),
	}
	if bit(10) {
		f.SourcePosition = at.Position
	}
	if bit(11) && bit(12) {
		f.State.Seq--
	}
	return f
}
