package sim

import (
	"fmt"
	"maps"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/state"
)

// auditor checks the invariants. It sees every effect at both ends and in
// state under the world's lock, and knows nothing of how the engine works.
type auditor struct {
	world *World
	found []Violation
	runs  map[string]*process // by the run's id
	// synced holds every checkpoint that ever was durable at a destination.
	synced map[checkpointID]bool
	// epoch of the last lease, and of the last session of each destination.
	epoch  uint64
	epochs map[*destination]uint64
	// doubt is what failures have left for later runs to make up for.
	doubt map[int]doubt
	// fingerprints, as state keeps them, and what they stand for.
	fingerprints map[string]shape
}

// checkpointID identifies a checkpoint.
type checkpointID struct {
	partition, run string
	seq            uint64
}

func idOf(c gapless.Checkpoint) checkpointID { return checkpointID{c.Partition, c.Run, c.Seq} }

// shape is what records look like: by which rule, in which schema.
type shape struct{ rule, generation int }

// doubt says how a partition has to be read next.
type doubt uint8

const (
	none      doubt = iota
	begunFull       // a full run has begun that may be resumed
	mustFull        // after an unclassified failure
)

func newAuditor(w *World) auditor {
	return auditor{
		world: w, runs: map[string]*process{}, synced: map[checkpointID]bool{}, epochs: map[*destination]uint64{},
		doubt: map[int]doubt{}, fingerprints: map[string]shape{},
	}
}

func (a *auditor) fail(invariant, format string, args ...any) {
	v := Violation{invariant, fmt.Sprintf(format, args...)}
	a.found = append(a.found, v)
	a.world.trace.add("## %s", v)
}

// stateLost is told when state is rolled back or lost: what it no longer
// remembers, nobody can be asked to keep to.
func (a *auditor) stateLost() { clear(a.doubt) }

// acquired is told of a lease.
func (a *auditor) acquired(p *process, l state.Lease) {
	if l.Epoch <= a.epoch && l.Epoch <= p.epoch {
		a.fail("I6", "epoch %d follows %d", l.Epoch, a.epoch)
	}
	a.epoch, p.epoch = l.Epoch, l.Epoch
	p.known = map[string]state.Partition{}
	store := a.world.store
	store.mu.Lock()
	defer store.mu.Unlock()
	maps.Copy(p.known, store.held.partitions[connector])
	for number, d := range a.doubt {
		p.parts[number].mustBeFull = d == mustFull
	}
}

// opened is told of a session.
func (a *auditor) opened(p *process, d *destination, epoch uint64) {
	p.dest, p.seen = d, false
	a.epochs[d] = max(a.epochs[d], epoch)
}

// current fails I6 if a newer runner has opened the destination.
func (a *auditor) current(p *process, d *destination, doing string) {
	if p.epoch < a.epochs[d] {
		a.fail("I6", "process %d of epoch %d %s after epoch %d had begun", p.number, p.epoch, doing, a.epochs[d])
	}
}

// reads is told when a process begins to read: from a place in the log,
// everything, or single records.
func (a *auditor) reads(p *process, part *part, from int) {
	x := &p.parts[part.number]
	if x.firstRead == notYet {
		x.firstRead = len(a.world.source.log)
	}
	switch {
	case from == fromStart:
		x.readAll = true
		if a.doubt[part.number] == mustFull && x.mustBeFull {
			a.doubt[part.number] = begunFull
		}
	case x.mustBeFull && !x.readAll:
		a.fail("I3", "process %d reads only a part of %s, after a failure that may have left a gap", p.number, part.ID)
	case x.readFrom == notYet:
		x.readFrom = from
	}
}

// pushes is told of a batch that is about to be accepted.
func (a *auditor) pushes(p *process, d *destination, part *part, b *gapless.Batch) {
	x := &p.parts[part.number]
	a.current(p, d, "pushed")
	a.looked(p, d, part)
	if x.pushing != "" && x.pushing != textOf(b) {
		a.fail("I8", "process %d goes on in %s behind a batch that failed", p.number, part.ID)
	}
	for i := range b.Rows {
		if key := string(b.Key(i)); b.Rows[i].Op == gapless.OpDelete && !x.told[key] {
			a.deletes(p, part, key)
		}
	}
}

// looked checks that a process knew what it has to know before it pushes.
func (a *auditor) looked(p *process, d *destination, part *part) {
	x := &p.parts[part.number]
	known, held := p.known[part.ID], d.checkpoints[part.ID]
	if !p.seen {
		a.fail("I5", "process %d pushes without having read back the destination", p.number)
	}
	if x.readAll {
		return
	}
	was, unlike := a.fingerprints[known.Fingerprint]
	unlike = !unlike || was != shape{p.rule, p.generation}
	switch {
	case known.DestinationID != d.id:
		a.fail("I5", "process %d pushes just changes of %s to %s, which was %s", p.number, part.ID, d.id, known.DestinationID)
	case held.Run == "":
		a.fail("I5", "process %d pushes just changes of %s, of which the destination has no checkpoint", p.number, part.ID)
	case unlike:
		a.fail("I5", "process %d pushes just changes of %s after filter, mapping or schema have changed", p.number, part.ID)
	}
	if x.readFrom < 0 {
		return
	}
	for _, c := range []gapless.Checkpoint{held, known.Checkpoint} {
		// A process pushes more than once, and its own checkpoints are later.
		if place, ok := a.world.source.place(c.Position); ok && c.Run != p.runID && x.readFrom > place {
			a.fail("I5", "process %d reads changes of %s from %d, behind the checkpoint at %d", p.number, part.ID, x.readFrom, place)
		}
	}
}

// deletes checks a delete that nobody has told: one by absence.
func (a *auditor) deletes(p *process, part *part, key string) {
	x := &p.parts[part.number]
	x.deleted[key] = true
	approved := p.run.Options.Approve != ""
	switch {
	case !x.enumerated:
		a.fail("I4", "process %d deletes %s without an enumeration that came to its end", p.number, key)
	case len(x.nameless) > 0:
		a.fail("I4", "process %d deletes %s although a record could not be named", p.number, key)
	case x.kept[key]:
		a.fail("I4", "process %d deletes %s, which the source has", p.number, key)
	case x.empty && !approved:
		a.fail("I4", "process %d deletes %s as %s came back empty", p.number, key, part.ID)
	case len(x.deleted) > a.world.setup.Settings.GuardRecords && !approved:
		a.fail("I4", "process %d deletes %d records of %s, above the guard", p.number, len(x.deleted), part.ID)
	}
}

// syncs is told of a sync that had its effect.
func (a *auditor) syncs(p *process, d *destination, checkpoints []gapless.Checkpoint) {
	a.current(p, d, "synced")
	for _, c := range checkpoints {
		part := a.world.part(c.Partition)
		x := &p.parts[part.number]
		if d.checkpoints[c.Partition] == c {
			a.synced[idOf(c)] = true
		}
		if place, ok := a.world.source.place(c.Position); c.Position != "" && (!ok || x.firstRead != notYet && place > x.firstRead) {
			a.fail("I2", "process %d saves %q for %s, but had begun to read at %d", p.number, c.Position, part.ID, x.firstRead)
		}
	}
	a.destination(d)
}

// destination checks that everything that the checkpoints of a destination
// promise is durable there. What is not to be there is found by those who
// enumerate, and may stay until then.
func (a *auditor) destination(d *destination) {
	s := &a.world.source
	for _, part := range s.parts {
		c, held := d.checkpoints[part.ID]
		by := a.runs[c.Run]
		if !held || by == nil {
			continue
		}
		x := &by.parts[part.number]
		from, until := x.firstRead, ""
		swept := c.Mark == "" && a.world.setup.Model != gapless.ModelModified
		if c.Mark != "" {
			until = string(c.Mark)
			c.Position = c.Target
		}
		if c.Position != "" {
			from, _ = s.place(c.Position)
		}
		if from < 0 {
			continue
		}
		for _, key := range part.keys {
			if until != "" && key > until {
				continue
			}
			if what := a.lacking(d, part, key, from, by, swept); what != "" && !d.excused[name(part.Partition, key)] {
				a.fail("I1", "%s is at checkpoint %d (%q %q), but %s", part.ID, c.Seq, c.Position, c.Mark, what)
			}
		}
	}
}

// lacking says what is wrong with a record at the destination; empty if it is
// as the source had it at a place in the log or later, in the shape that a
// process had been configured with or a later one. What is not to be there may
// be there unless it was swept.
func (a *auditor) lacking(d *destination, part *part, key string, from int, by *process, swept bool) string {
	w := a.world
	got, there := d.synced[name(part.Partition, key)]
	for _, v := range part.records[key].since(from) {
		for _, number := range w.config[by.config:] {
			rule := rules()[number]
			for generation := by.generation; generation <= w.source.generation; generation++ {
				data, wanted := rule.mapped(generation, v.value)
				switch {
				case wanted == there && (!wanted || data == string(got.Data)), there && !wanted && !swept:
					return ""
				}
			}
		}
	}
	if !there {
		return fmt.Sprintf("%s is not there", key)
	}
	return fmt.Sprintf("%s is %s", key, got.Data)
}

// committed is told of a commit that had its effect.
func (a *auditor) committed(p *process, l state.Lease, c state.Commit) {
	if l.Epoch != a.epoch {
		a.fail("I6", "process %d of epoch %d committed after epoch %d had begun", p.number, l.Epoch, a.epoch)
	}
	for _, row := range c.Partitions {
		if _, known := a.fingerprints[row.Fingerprint]; !known && row.Fingerprint != "" {
			a.fingerprints[row.Fingerprint] = shape{p.rule, p.generation}
		}
		if row.Checkpoint.Run != "" && !a.synced[idOf(row.Checkpoint)] {
			a.fail("I7", "state is at checkpoint %d of %s, which no destination has", row.Checkpoint.Seq, row.ID)
		}
	}
	for i := range c.Certificates {
		a.certified(p, &c.Certificates[i])
	}
}
