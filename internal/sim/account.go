package sim

import (
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// certified checks what a certificate claims to have been pushed and synced.
func (a *auditor) certified(p *process, c *proof.Certificate) {
	part := a.world.part(c.Partition)
	x := &p.parts[part.number]
	if c.Run != p.runID {
		return // of a run that died; it claims what that had saved
	}
	pushed := c.Pushed
	pushed.Merge(c.Deleted)
	switch {
	case c.Mode == proof.ModeResume: // the account goes on with that of another run
	case !c.Complete && pushed.Count > x.pushed:
		a.fail("I7", "process %d certifies %d rows of %s, of %d accepted", p.number, pushed.Count, part.ID, x.pushed)
	case c.Complete && x.tardy == 0 && !pushed.Equal(x.accepted):
		a.fail("I7", "process %d certifies %s of %s, and %s were accepted", p.number, pushed, part.ID, x.accepted)
	case c.Complete && x.tardy > 0 && (pushed.Count >= x.accepted.Count || pushed.Count+x.tardy < x.accepted.Count):
		// A row that was pushed twice may be refused twice.
		a.fail("I7", "process %d certifies %d rows of %s, of %d accepted and %d refused later",
			p.number, pushed.Count, part.ID, x.accepted.Count, x.tardy)
	}
	if c.Complete && !a.synced[idOf(c.Checkpoint)] {
		a.fail("I7", "process %d certifies a checkpoint of %s that no destination has", p.number, part.ID)
	}
	if c.Complete {
		x.accepted, x.tardy = proof.Digest{}, 0
	}
}

// ended is told how a process has ended that did not die.
func (a *auditor) ended(p *process) {
	s, err := p.result.Summary, p.result.Err
	if s.Run == "" {
		return // it did not get the lease
	}
	if err == nil && s.Exit != gapless.ExitComplete {
		a.fail("I10", "process %d ends without an error and with %d", p.number, s.Exit)
	}
	if s.Counts.Pushed > p.rows.accepted || s.Counts.Synced > p.rows.synced {
		a.fail("I7", "process %d counts %d rows pushed and %d synced, but %d were accepted and %d synced",
			p.number, s.Counts.Pushed, s.Counts.Synced, p.rows.accepted, p.rows.synced)
	}
	letters := a.openLetters()
	for _, part := range a.world.source.parts {
		var results []engine.PartitionSummary
		for _, result := range s.Partitions {
			if result.Partition == part.ID {
				results = append(results, result)
			}
		}
		if len(results) > 0 {
			a.outcome(p, part, results)
			a.vanished(p, part, results, letters)
		}
	}
	if s.Exit == gapless.ExitComplete { // even if giving back the lease failed
		a.complete(p, letters)
	}
}

// subject is a record that a dead letter is about; of an unnamed one the line.
type subject struct {
	partition, key string
	line           int
}

// openLetters returns what the open dead letters are about.
func (a *auditor) openLetters() map[subject]bool {
	store := a.world.store
	store.mu.Lock()
	defer store.mu.Unlock()
	letters := map[subject]bool{}
	for s := range store.held.open {
		if s.key == "" {
			letters[subject{s.partition, "", s.line}] = true
		}
		letters[subject{partition: s.partition, key: s.key}] = true
	}
	return letters
}

// outcome checks that a failure that may have left a gap is remembered, and
// was made up for by whoever came next. An enumeration that was resumed has a
// second result, that of the changes since.
func (a *auditor) outcome(p *process, part *part, results []engine.PartitionSummary) {
	x := &p.parts[part.number]
	first, last := results[0], results[len(results)-1]
	if full := first.Mode == string(plan.ModeFull); x.mustBeFull && !full {
		a.fail("I3", "process %d does %s with %s, after a failure that may have left a gap", p.number, first.Mode, part.ID)
	} else if full && first.Outcome == string(plan.OutcomeComplete) {
		delete(a.doubt, part.number)
		x.mustBeFull = false
	}
	if !x.unclassified || p.stateFails > 0 || p.fenced || p.cancelled || p.epoch != a.epoch {
		return
	}
	if !slices.ContainsFunc(results, func(s engine.PartitionSummary) bool { return s.Outcome == string(plan.OutcomeUnrecoverable) }) {
		a.fail("I3", "process %d takes an unclassified failure in %s for %s", p.number, part.ID, last.Outcome)
	}
	a.doubt[part.number] = mustFull
}

// vanished checks that what was refused in a partition that is called complete
// is an open dead letter. A newer runner may have brought it since.
func (a *auditor) vanished(p *process, part *part, results []engine.PartitionSummary, letters map[subject]bool) {
	if p.fenced || p.epoch != a.epoch || slices.ContainsFunc(results, func(s engine.PartitionSummary) bool { return s.Outcome != string(plan.OutcomeComplete) }) {
		return
	}
	for i, key := range part.keys {
		length, refused := p.parts[part.number].rejected[key]
		r := part.records[key]
		if !refused || length != len(r.history) {
			continue
		}
		unnamed := subject{part.ID, "", i + 1}
		if !letters[subject{partition: part.ID, key: key}] && !letters[unnamed] {
			a.fail("I9", "process %d: %s was refused and is no dead letter", p.number, key)
		}
	}
}

// complete checks a run that says that it is.
func (a *auditor) complete(p *process, letters map[subject]bool) {
	w := a.world
	if p.dest != w.dest || p.epoch != a.epoch {
		return // somebody else has changed it since
	}
	for _, listed := range p.account.listed {
		part := w.part(listed.ID)
		if len(p.run.Options.Keys) > 0 && !p.parts[part.number].readAll {
			continue // just these were asked for
		}
		if letters[subject{partition: part.ID}] {
			a.fail("I10", "process %d is complete, but there are dead letters of %s", p.number, part.ID)
		}
		for _, key := range part.keys {
			if letters[subject{partition: part.ID, key: key}] {
				a.fail("I10", "process %d is complete, but %s is a dead letter", p.number, key)
			}
			if what := a.lacking(w.dest, part, key, p.began, p, true); what != "" {
				a.fail("I10", "process %d is complete, but %s", p.number, what)
			}
		}
	}
}

var _ state.Store = memory{}
