package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
)

// sample draws records of all partitions, each with the same chance, without
// knowing how many there are.
type sample struct {
	*verification
	size   int
	chance *rand.Rand
	seen   uint64
	drawn  []draw
}

// draw is a record that was drawn: its key, or all of it.
type draw struct {
	partition int
	change    gapless.Change
}

// verifySample compares records drawn by chance. Where the source can read
// single records they are drawn from what the destination lists; elsewhere from
// what the source emits, all of which is read then.
func (e *Engine) verifySample(ctx context.Context, o *ProveOptions, collect func(Difference) error) (VerifyReport, error) {
	v := e.newVerification(VerifyOptions{Stop: o.Stop})
	v.collect = collect
	s := &sample{verification: v, size: o.Sample, chance: rand.New(rand.NewPCG(o.Seed, 0))}
	err := v.stoppable(ctx, s.everything)
	return v.report, v.conclude(err)
}

func (s *sample) everything(ctx context.Context) error {
	survey, err := s.survey(ctx, s.session, false)
	if err != nil {
		return err
	}
	s.scope = survey
	getter, gets := s.session.(gapless.Getter)
	if !gets {
		return gapless.Misconfigured(gapless.Errorf(gapless.CodeUnverifiable, s.Connector, "the destination gives no single records back").
			WithHint("gapless prove %s --all compares what it can list", s.Connector))
	}
	lister, lists := s.session.(gapless.Enumerator)
	_, fetches := s.Source.(gapless.Fetcher)
	for i := range survey.partitions {
		if fetches && lists {
			err = s.fromDestination(lister, i)
		} else {
			err = s.fromSource(ctx, i)
		}
		if err != nil {
			return err
		}
	}
	var errs []error
	for i := range survey.partitions {
		s.reading = s.stopping
		errs = append(errs, s.compare(ctx, i, getter, fetches && lists))
	}
	return worst(errs)
}

// offer draws a record or leaves it, so that in the end each was drawn with the
// same chance.
func (s *sample) offer(partition int, change func() gapless.Change) {
	s.seen++
	if len(s.drawn) < s.size {
		s.drawn = append(s.drawn, draw{partition, change()})
		return
	}
	if at := s.chance.Uint64N(s.seen); at < uint64(s.size) {
		s.drawn[at] = draw{partition, change()}
	}
}

func (s *sample) fromDestination(lister gapless.Enumerator, i int) error {
	p := s.scope.partitions[i].partition
	err := lister.Enumerate(s.reading, p, func(key, _ []byte) error {
		s.offer(i, func() gapless.Change { return gapless.Change{Record: gapless.Record{Key: string(key)}} })
		return nil
	})
	if err != nil {
		return fmt.Errorf("list what the destination holds of %s: %w", p.ID, err)
	}
	return nil
}

func (s *sample) fromSource(ctx context.Context, i int) error {
	c := s.newCheck(&s.scope.partitions[i])
	var mapped gapless.Batch
	r := c.reader(plan.ModeFull, func(_ context.Context, b *gapless.Batch) error {
		if err := c.pause(); err != nil {
			return err
		}
		identify(b)
		work, err := c.outgoing(b, &mapped, func([]byte) error { return nil })
		if err != nil {
			return err
		}
		for row := range work.Rows {
			s.offer(i, func() gapless.Change { return work.Change(row) })
		}
		return nil
	})
	return r.pump(ctx, r.readSource)
}

// compare compares what was drawn of one partition.
func (s *sample) compare(ctx context.Context, i int, getter gapless.Getter, fetch bool) error {
	b := &gapless.Batch{Partition: s.scope.partitions[i].partition}
	var keys []string
	for _, d := range s.drawn {
		if d.partition == i {
			keys = append(keys, d.change.Key)
			b.Append(d.change)
		}
	}
	switch {
	case len(keys) == 0:
		return nil
	case fetch:
		return s.verifyKeys(ctx, &s.scope.partitions[i], getter, keys)
	}
	c := s.newCheck(&s.scope.partitions[i])
	c.result.Position, c.result.Checkpoint = c.facts.SourcePosition, c.facts.Start()
	c.result.Method, c.result.Compared = MethodKeys, ComparedContent
	c.charge(&c.result.Source, b.Len(), len(b.Buf))
	err := (&lookup{check: c, getter: getter}).compareRows(ctx, b)
	err = errors.Join(err, c.settle(ctx))
	c.result.Complete = err == nil
	s.report.Partitions = append(s.report.Partitions, c.result)
	return err
}
