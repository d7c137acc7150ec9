package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
)

// check is one partition of a verification.
type check struct {
	*verification
	surveyed
	result Verified
	// scratch is where its tables are.
	scratch *baseline
	found   spool
}

// verifyPartition compares one partition, as far as the bounds allow, and
// enters it in the report.
func (v *verification) verifyPartition(ctx context.Context, s *surveyed) error {
	c := v.newCheck(s)
	if u := v.pass.Under; u != nil && u.Partition == s.partition.ID {
		c.result = *u
	}
	c.result.Position, c.result.Checkpoint = c.facts.SourcePosition, c.facts.Start()
	err := c.compare(ctx)
	err = errors.Join(err, c.settle(ctx))
	c.result.Complete = err == nil
	stopped := errors.Is(err, errSpent) || errors.Is(err, gapless.ErrInterrupted)
	switch {
	case err == nil:
		v.pass.Done = append(v.pass.Done, c.result)
		v.pass.Under = nil
	case stopped:
		v.pass.Under = &c.result
	default:
		c.result.Error = err.Error()
	}
	v.report.Partitions = append(v.report.Partitions, c.result)
	return err
}

func (v *verification) newCheck(s *surveyed) *check {
	c := &check{verification: v, surveyed: *s, scratch: s.survey.baselines.of(s.partition.ID)}
	c.result.Partition = s.partition.ID
	c.result.Due = due(c.facts)
	return c
}

// due says why the next run reads everything and pushes everything, although
// nobody asked for it and it is not what every run does; empty if it does not.
// A run that may have left a gap is no excuse.
func due(f plan.Facts) string {
	f.Differences = 0
	d := plan.Decide(f)
	if d.Mode != plan.ModeFull && d.Mode != plan.ModeResume {
		return ""
	}
	switch d.Rule {
	case "P1", "P2", "P4", "P5", "P6", "P7":
		return d.Reason
	}
	return ""
}

// compare compares by the cheapest method that both ends can do.
func (c *check) compare(ctx context.Context) error {
	here, hereSums := c.Source.(gapless.RangeSummer)
	there, thereSums := c.session.(gapless.RangeSummer)
	if hereSums && thereSums && c.Mapping.IsIdentity() && !c.options.Records {
		return (&descent{check: c, here: here, there: there}).whole()
	}
	return newEnumeration(c).whole(ctx)
}

// settle judges what was found, looks whether a run wrote a checkpoint
// meanwhile, and gives back the files.
func (c *check) settle(ctx context.Context) error {
	err := c.judge(ctx)
	if err == nil {
		err = c.lookAgain(ctx)
	}
	return errors.Join(err, c.scratch.close())
}

// lookAgain reads the destination's checkpoint once more.
func (c *check) lookAgain(ctx context.Context) error {
	status, err := c.session.Status(ctx)
	if err != nil {
		return fmt.Errorf("read back destination: %w", err)
	}
	now := status.Checkpoints[c.partition.ID]
	c.result.RunBetween = c.result.RunBetween || !now.Same(c.facts.Destination)
	return nil
}

// note notes a difference, to be judged later. content is the fingerprint of
// what the source has, 0 if it has nothing or that is not known.
func (c *check) note(key []byte, kind proof.Difference, content uint64) error {
	if c.found.file == nil {
		file, err := c.scratch.scratchFile()
		if err != nil {
			return err
		}
		c.found = spool{file: file}
	}
	return c.found.add(key, kind, content)
}
