package sim

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// memory is state as the engine of a process sees it. What the engine does not
// ask for in runs between one source and one destination goes by unseen.
type memory struct {
	*Store
	*process
}

func (m memory) ask(ctx context.Context, place int, effect func() error) error {
	return m.call(ctx, call{endpoint: State, place: place}, effect)
}

// Acquire implements [state.Leaser].
func (m memory) Acquire(ctx context.Context, connector, holder string, ttl time.Duration, now time.Time) (l state.Lease, err error) {
	err = m.ask(ctx, noPlace, func() (err error) {
		l, err = m.Store.Acquire(ctx, connector, holder, ttl, now)
		m.world.trace.add("%d acquire: held %t", m.number, err != nil)
		if err == nil {
			m.world.audit.acquired(m.process, l)
		}
		return err
	})
	return l, err
}

// Renew implements [state.Leaser].
func (m memory) Renew(ctx context.Context, l state.Lease, ttl time.Duration, now time.Time) (renewed state.Lease, err error) {
	err = m.call(ctx, call{endpoint: State, place: noPlace, renewal: true}, func() (err error) {
		renewed, err = m.Store.Renew(ctx, l, ttl, now)
		m.world.trace.add("%d renew: fenced %t", m.number, err != nil)
		m.fenced = m.fenced || err != nil
		return err
	})
	return renewed, err
}

// Release implements [state.Leaser].
func (m memory) Release(ctx context.Context, l state.Lease) error {
	return m.ask(ctx, noPlace, func() error {
		err := m.Store.Release(ctx, l)
		m.world.trace.add("%d release: fenced %t", m.number, err != nil)
		return err
	})
}

// Commit implements [state.Committer].
func (m memory) Commit(ctx context.Context, l state.Lease, c state.Commit) error {
	return m.ask(ctx, m.placeOf(c), func() error {
		if c.Run != nil {
			m.runID = c.Run.ID
			m.world.audit.runs[c.Run.ID] = m.process
		}
		switch m.world.setup.Sabotage {
		case LostLetters:
			c.DeadLetters = nil
		case MildOutcome:
			c.Partitions = slices.Clone(c.Partitions)
			for i := range c.Partitions {
				if c.Partitions[i].Outcome == plan.OutcomeUnrecoverable {
					c.Partitions[i].Outcome = plan.OutcomeRecoverable
				}
			}
		}
		err := m.Store.Commit(ctx, l, c)
		m.fenced = m.fenced || err != nil
		m.traceCommit(c, err)
		if err == nil {
			m.world.audit.committed(m.process, l, c)
		}
		return err
	})
}

// placeOf returns the place of the one partition that a commit is about.
func (m memory) placeOf(c state.Commit) int {
	ids := map[string]bool{}
	for _, p := range c.Partitions {
		ids[p.ID] = true
	}
	for i := range c.Certificates {
		ids[c.Certificates[i].Partition] = true
	}
	for _, d := range c.DeadLetters {
		ids[d.Partition] = true
	}
	place := noPlace
	for id := range ids {
		place = m.world.placeOf(id)
	}
	if len(ids) > 1 {
		return noPlace
	}
	return place
}

func (m memory) traceCommit(c state.Commit, err error) {
	if !m.world.trace.wanted {
		return
	}
	var parts []string
	if c.Run != nil {
		parts = append(parts, "run "+c.Run.Status)
	}
	for _, p := range c.Partitions {
		parts = append(parts, fmt.Sprintf("%s %s at %q mark %q number %d, unfinished %t, repair %q",
			p.ID, p.Outcome, p.Checkpoint.Position, p.Checkpoint.Mark, p.Checkpoint.Seq, p.Unfinished, p.Repair))
	}
	for i := range c.Certificates {
		x := &c.Certificates[i]
		parts = append(parts, fmt.Sprintf("certificate %d of %s, %s %q-%q, complete %t, at %q mark %q number %d",
			x.Seq, x.Partition, x.Mode, x.From, x.To, x.Complete, x.Checkpoint.Position, x.Checkpoint.Mark, x.Checkpoint.Seq))
	}
	for _, d := range c.DeadLetters {
		parts = append(parts, fmt.Sprintf("letter of %s %q at %s", d.Partition, d.Key, d.Stage))
	}
	if len(c.Resolved) > 0 {
		parts = append(parts, fmt.Sprintf("%d letters resolved", len(c.Resolved)))
	}
	slices.Sort(parts)
	m.world.trace.add("%d commit: %s; fenced %t", m.number, strings.Join(parts, "; "), err != nil)
}

// Connector implements [state.ProgressReader].
func (m memory) Connector(ctx context.Context, name string) (c state.Connector, err error) {
	err = m.ask(ctx, noPlace, func() (err error) {
		c, err = m.Store.Connector(ctx, name)
		return err
	})
	return c, err
}

// Partitions implements [state.ProgressReader].
func (m memory) Partitions(ctx context.Context, connector string) (all []state.Partition, err error) {
	err = m.ask(ctx, noPlace, func() (err error) {
		all, err = m.Store.Partitions(ctx, connector)
		return err
	})
	return all, err
}

// SavePlan implements [state.PlanKeeper].
func (m memory) SavePlan(ctx context.Context, p plan.Plan) error {
	quick := m.world.setup.Settings.Parallel > 1
	return m.call(ctx, call{endpoint: State, place: noPlace, quick: quick}, func() error {
		for _, d := range p.Decisions {
			m.world.trace.add("%d plan: %s", m.number, d.Text())
		}
		return m.Store.SavePlan(ctx, p)
	})
}

// Plan implements [state.PlanKeeper].
func (m memory) Plan(ctx context.Context, id string) (p plan.Plan, err error) {
	err = m.ask(ctx, noPlace, func() (err error) {
		p, err = m.Store.Plan(ctx, id)
		return err
	})
	return p, err
}

// Certificates implements [state.CertificateReader].
func (m memory) Certificates(ctx context.Context, connector string) iter.Seq2[proof.Certificate, error] {
	return func(yield func(proof.Certificate, error) bool) {
		if err := m.ask(ctx, noPlace, func() error { return nil }); err != nil {
			yield(proof.Certificate{}, err)
			return
		}
		for c, err := range m.Store.Certificates(ctx, connector) {
			if !yield(c, err) {
				return
			}
		}
	}
}

// LastCertificate implements [state.CertificateReader].
func (m memory) LastCertificate(ctx context.Context, connector, partition string) (c proof.Certificate, err error) {
	err = m.ask(ctx, m.world.placeOf(partition), func() (err error) {
		c, err = m.Store.LastCertificate(ctx, connector, partition)
		return err
	})
	return c, err
}

// DeadLetters implements [state.DeadLetterReader].
func (m memory) DeadLetters(ctx context.Context, f state.DeadLetterFilter) (list []state.DeadLetter, err error) {
	err = m.ask(ctx, m.world.placeOf(f.Partition), func() (err error) {
		list, err = m.Store.DeadLetters(ctx, f)
		if m.world.setup.Sabotage == HiddenLetters {
			list = nil
		}
		return err
	})
	return list, err
}

var _ gapless.Session = (*session)(nil)
