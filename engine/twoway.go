package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// maxPasses bounds how often a run reads what happened since it began to read:
// its own writes, as a rule, so that the next run need not.
const maxPasses = 3

// twoWay is one run between two sides. Each collection goes its way alone:
// what changed on both sides is read and staged, settled key by key against
// the ledger, and then both checkpoints advance together.
//
// The checkpoint of what was read at one side is kept at the other one, in
// order with the data, as in a run that goes one way.
type twoWay struct {
	*run
	ends [2]*end
	// future counts edits whose time lies ahead.
	future uint64
}

// end is one side during a run.
type end struct {
	Side
	index   state.Side
	session gapless.Session
	// pusher is nil if the side cannot see whether a record has changed.
	pusher gapless.ConditionalPusher
	// node names the side in the times of edits.
	node string
	// survey is that of reading it, with the other side as destination.
	survey *survey
	// restored: it lost what it was given, or was replaced, so that what the
	// ledger says about it does not hold.
	restored bool
	halves   []*half
}

// half is one partition of one side: read there, written to the other side.
type half struct {
	*task
	from *end
	// origin is the partition as the source knows it.
	origin gapless.Partition
	// enumerated: everything there is has been read.
	enumerated bool
	seen       uint64 // records that an enumeration contained
	staged     staged
	pushed     bool // something was pushed to this side by the last pass
	asked      bool // what is read now is news in any case
	narrowed   bool // only some records are read, and the position stays
	anchored   bool // checkpoint is newer than what state knows
}

// full reports whether the half is read anew, so that all that is known of it
// is looked at again.
func (h *half) full() bool { return h.decision.Mode == plan.ModeFull }

// prefix begins the names that state knows partitions of a side by.
func prefix(s state.Side) string { return s.String() + "/" }

// performBetween is perform for two sides.
func (r *run) performBetween(ctx context.Context, o RunOptions) error {
	w, err := r.openSides(ctx, r.lease.Epoch)
	if err != nil {
		return err
	}
	return errors.Join(w.execute(ctx, o), w.close())
}

// openSides opens sessions at both sides; with epoch 0 for reading.
func (r *run) openSides(ctx context.Context, epoch uint64) (*twoWay, error) {
	w := &twoWay{run: r}
	for i, side := range r.Sides {
		session, err := side.Destination.Open(ctx, r.Connector, epoch)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", state.Side(i), err), w.close())
		}
		e := &end{Side: side, index: state.Side(i), session: session}
		e.pusher, _ = session.(gapless.ConditionalPusher)
		w.ends[i] = e
	}
	return w, nil
}

func (w *twoWay) close() error {
	var err error
	for _, e := range w.ends {
		if e != nil {
			err = errors.Join(err, e.session.Close())
		}
	}
	return err
}

// opposite returns the side that what is read at e is written to.
func (w *twoWay) opposite(e *end) *end { return w.ends[1-e.index] }

// look gathers the facts about both sides and decides what to read.
func (w *twoWay) look(ctx context.Context, full bool) error {
	for _, e := range w.ends {
		s, err := w.surveyOf(ctx, &survey{source: e.Source, prefix: prefix(e.index)}, w.opposite(e).session, full)
		if err != nil {
			return fmt.Errorf("%s: %w", e.index, err)
		}
		e.survey = s
	}
	for _, e := range w.ends {
		if err := e.survey.disjoint(); err != nil {
			return fmt.Errorf("%s: %w", e.index, err)
		}
		for i := range e.survey.partitions {
			f := &e.survey.partitions[i].facts
			f.ProgressIntact, f.ProgressHonoured = false, false
			f.BaselineValid = f.Model == gapless.ModelFull && f.State.Run != "" && f.Destination.Same(f.State)
			// The checkpoint of reading e is kept by the opposite side.
			w.opposite(e).restored = w.opposite(e).restored || f.DestinationReplaced || fellBehind(f)
		}
		// What reading the opposite side saw is that side's identity here.
		w.opposite(e).node = e.survey.status.ID
	}
	w.plan = plan.Plan{Connector: w.Connector, Created: w.Now().UTC(), Decisions: []plan.Decision{}}
	for _, e := range w.ends {
		if e.node == "" {
			e.node = w.Connector + "/" + e.index.String()
		}
		for i := range e.survey.partitions {
			s := &e.survey.partitions[i]
			// Where a restored side was when it was last read says nothing.
			s.facts.PositionExpired = s.facts.PositionExpired || e.restored
			w.plan.Decisions = append(w.plan.Decisions, plan.Decide(s.facts))
		}
	}
	return nil
}

// disjoint refuses slices of a collection of which nobody can tell where a key
// belongs.
func (s *survey) disjoint() error {
	for i := range s.partitions {
		for j := range i {
			p, q := &s.partitions[i].partition, &s.partitions[j].partition
			if p.Collection == q.Collection && (strings.HasPrefix(p.Prefix, q.Prefix) || strings.HasPrefix(q.Prefix, p.Prefix)) {
				return gapless.Misconfigured(fmt.Errorf("%s and %s are both of collection %s, and their keys do not tell them apart", p.ID, q.ID, p.Collection))
			}
		}
	}
	return nil
}

// fellBehind reports whether the destination has lost a checkpoint that it
// confirmed.
func fellBehind(f *plan.Facts) bool {
	d, s := &f.Destination, &f.State
	return s.Run != "" && (d.Run == "" || d.Epoch < s.Epoch || d.Epoch == s.Epoch && d.Seq < s.Seq)
}

func (w *twoWay) execute(ctx context.Context, o RunOptions) error {
	var late [2][]gapless.Rejection
	for i, e := range w.ends {
		receipt, err := w.syncEnd(ctx, e)
		if err != nil {
			return fmt.Errorf("sync what is left of an earlier run: %w", err)
		}
		late[i] = receipt.Rejected
	}
	if err := w.Store.Unstage(ctx, w.lease.Lease); err != nil {
		return fmt.Errorf("forget what an earlier run has read: %w", err)
	}
	if err := w.look(ctx, o.Full); err != nil {
		return err
	}
	decisions := w.plan.Decisions
	for _, e := range w.ends {
		for i := range e.survey.partitions {
			narrow(&e.survey.partitions[i], &decisions[0], o.Keys)
			decisions = decisions[1:]
		}
	}
	w.plan.Seal()
	if err := w.Store.SavePlan(ctx, w.plan); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	reading, stopReading := context.WithCancelCause(ctx)
	defer stopReading(nil)
	w.reading = reading
	go func() {
		select {
		case <-o.Stop:
			stopReading(gapless.ErrInterrupted)
		case <-reading.Done():
		}
	}()
	stopTicker := w.tickProgress()
	defer stopTicker()
	w.divide()
	for i, e := range w.ends {
		if err := w.refusedLater(ctx, e, late[i]); err != nil {
			return err
		}
	}
	err := w.everyCollection(ctx)
	if w.future > 0 {
		w.notes = append(w.notes, fmt.Sprintf("%d edits carry times that lie ahead; they count as made now", w.future))
	}
	for _, e := range w.ends {
		for _, name := range e.survey.vanished {
			w.notes = append(w.notes, fmt.Sprintf("partition %s is no longer listed by the source; its records are kept", name))
		}
	}
	return err
}

// divide makes a half of every partition.
func (w *twoWay) divide() {
	decisions := w.plan.Decisions
	for _, e := range w.ends {
		for i := range e.survey.partitions {
			s := e.survey.partitions[i]
			w.seq = max(w.seq, s.known.Seq, s.facts.Destination.Seq)
			h := &half{from: e, origin: s.partition, narrowed: decisions[0].Mode == plan.ModeRepair}
			s.partition.ID = e.survey.prefix + s.partition.ID
			h.task = &task{run: w.run, surveyed: s, decision: decisions[0], checkpoint: s.facts.Destination, lastSync: w.Now()}
			h.books = newBooks(h.task)
			h.books.certificate.Mapped = true // what is pushed is what was decided, not what was read
			e.halves = append(e.halves, h)
			decisions = decisions[1:]
		}
	}
}

// collections returns those of both sides, in the order in which the first
// side lists them.
func (w *twoWay) collections() []*collection {
	var list []*collection
	byName := map[string]*collection{}
	for _, e := range w.ends {
		for _, h := range e.halves {
			c := byName[h.origin.Collection]
			if c == nil {
				c = &collection{twoWay: w, name: h.origin.Collection}
				byName[c.name] = c
				list = append(list, c)
			}
			c.halves = append(c.halves, h)
		}
	}
	return list
}

// everyCollection takes the collections of both sides one after the other. A
// failure in one does not stop the others.
func (w *twoWay) everyCollection(ctx context.Context) error {
	var errs []error
	for _, c := range w.collections() {
		errs = append(errs, c.bringTogether(ctx)...)
		if gone := context.Cause(ctx); gone != nil {
			break
		}
	}
	return worst(errs)
}

// collection is what a run does with one collection.
type collection struct {
	*twoWay
	name   string
	halves []*half
	// changed lists keys that were written by somebody else between reading
	// and pushing.
	changed [2][]string
	// owed is what was read of keys that are to be settled again.
	owed [2]map[string]proof.Digest
	// again: the entries of restored sides have been written anew.
	again bool
}

// bringTogether reads, settles and completes, and returns how each half ended.
func (c *collection) bringTogether(ctx context.Context) []error {
	err := c.meet(ctx)
	if err == nil {
		err = c.complete(ctx)
	}
	errs := make([]error, len(c.halves))
	for i, h := range c.halves {
		errs[i] = h.finish(ctx, err)
	}
	return errs
}

// meet reads both sides and settles what was read, until nothing is new that
// it did not write itself.
func (c *collection) meet(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	if err := c.readAll(ctx, (*half).read); err != nil {
		return err
	}
	var refused error // what the guard says to all of it can be approved at once
	for _, h := range c.halves {
		refused = worst([]error{h.stageAbsent(ctx), refused})
	}
	if refused != nil {
		return refused
	}
	for pass := 1; ; pass++ {
		if err := c.settle(ctx); err != nil {
			return err
		}
		wrote := slices.ContainsFunc(c.halves, func(h *half) bool { return h.pushed })
		if !c.contested() && (pass >= maxPasses || !wrote) {
			return nil
		}
		if pass >= maxPasses+c.Settings.Attempts {
			return gapless.Recoverable(fmt.Errorf("%d records of %s are changed by somebody else again and again", len(c.changed[0])+len(c.changed[1]), c.name))
		}
		if err := c.fetchChanged(ctx); err != nil {
			return err
		}
		if err := c.readAll(ctx, (*half).readOn); err != nil {
			return err
		}
	}
}

// contested reports whether somebody else got in between.
func (c *collection) contested() bool { return len(c.changed[0])+len(c.changed[1]) > 0 }

// begin announces what will be done, and makes durable that everything has to
// be read where that was decided: its reason outlives a crash.
func (c *collection) begin(ctx context.Context) error {
	var rows []state.Partition
	for _, h := range c.halves {
		if err := h.openLetters(ctx); err != nil {
			return err
		}
		if row, announced := h.announce(); announced {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := c.commit(ctx, state.Commit{Partitions: rows}); err != nil {
		return fmt.Errorf("record what has to be completed: %w", err)
	}
	return nil
}

// announce says what will be done with a half, and returns its row if that has
// to be known should the run die.
func (h *half) announce() (state.Partition, bool) {
	d := h.decision
	h.emit(Event{Type: EventPlan, Run: h.id, Partition: d.Partition, Rule: d.Rule, Mode: string(d.Mode), Message: d.Reason})
	p := h.row()
	switch {
	case d.Mode == plan.ModeFull:
		h.inFull(&p, true)
	case d.Keys:
		p.Reconciled = time.Time{}
	default:
		return p, false
	}
	h.known = p
	return p, true
}

// readAll reads the halves of both sides at once, those of one side one after
// the other.
func (c *collection) readAll(ctx context.Context, read func(*half, context.Context) error) error {
	var errs [2]error
	var g errgroup.Group
	for i := range errs {
		g.Go(func() error {
			for _, h := range c.halves {
				if int(h.from.index) == i && errs[i] == nil {
					errs[i] = read(h, ctx)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return worst(errs[:])
}

// half returns the half of a side that a key belongs to.
func (c *collection) half(s state.Side, key string) *half {
	var found *half
	for _, h := range c.halves {
		if h.from.index == s && strings.HasPrefix(key, h.origin.Prefix) && (found == nil || len(h.origin.Prefix) > len(found.origin.Prefix)) {
			found = h
		}
	}
	return found
}

// syncEnd makes durable what was pushed to a side, together with checkpoints.
func (w *twoWay) syncEnd(ctx context.Context, e *end, checkpoints ...gapless.Checkpoint) (gapless.Receipt, error) {
	var receipt gapless.Receipt
	err := w.retry(ctx, &w.quiet[e.index], prefix(e.index), "sync", func() error {
		w.step("before sync")
		var err error
		receipt, err = e.session.Sync(ctx, checkpoints)
		w.step("after sync")
		return err
	})
	if err != nil {
		return receipt, fmt.Errorf("sync %s: %w", e.index, err)
	}
	return receipt, nil
}

// complete writes both checkpoints, and then remembers them together with the
// certificates in one step.
func (c *collection) complete(ctx context.Context) error {
	for _, e := range c.ends { // what was read at the other side is kept here
		var checkpoints []gapless.Checkpoint
		var of []*half
		for _, h := range c.halves {
			if h.from != e && h.decision.Mode != plan.ModeNothing {
				p := c.nextCheckpoint(h.partition.ID)
				p.Position = h.decision.To
				checkpoints, of = append(checkpoints, p), append(of, h)
			}
		}
		if len(of) == 0 {
			continue
		}
		receipt, err := c.syncEnd(ctx, e, checkpoints...)
		if err != nil {
			return err
		}
		for i, h := range of {
			h.checkpoint = checkpoints[i]
		}
		if err := c.refusedLater(ctx, e, receipt.Rejected); err != nil {
			return err
		}
	}
	var all state.Commit
	for _, h := range c.halves {
		if err := h.account(ctx, &all); err != nil {
			return err
		}
	}
	if len(all.Partitions)+len(all.Resolved) == 0 {
		return nil
	}
	if err := c.commit(ctx, all); err != nil {
		return fmt.Errorf("remember checkpoints: %w", err)
	}
	for i := range all.Certificates {
		h := c.halves[slices.IndexFunc(c.halves, func(h *half) bool { return h.partition.ID == all.Certificates[i].Partition })]
		h.certificate = all.Certificates[i].ID
	}
	return nil
}

// account puts into a commit what is to be remembered of a half that came to
// its end.
func (h *half) account(ctx context.Context, all *state.Commit) error {
	list, err := h.stillOpen(ctx, 0)
	if err != nil {
		return err
	}
	for _, l := range list {
		// What was refused before the run may have been taken, and so may be what
		// an earlier pass of it was refused.
		gone := h.decision.Sweep && l.Run != h.id && l.At.Before(h.books.certificate.Started)
		if gone || l.Key != "" && h.settled[l.Key] {
			all.Resolved = append(all.Resolved, l.ID)
		}
	}
	if h.decision.Mode == plan.ModeNothing {
		return nil
	}
	h.books.synced()
	p := h.row()
	p.Checkpoint, p.Outcome, p.Error, p.ErrorCode = h.checkpoint, plan.OutcomeComplete, "", ""
	p.Progress, p.LogSize, p.Started, p.Repair = nil, 0, "", nil
	if h.decision.Sweep {
		h.inFull(&p, false)
	}
	if h.enumerated {
		p.Reconciled = h.Now().UTC()
	}
	_, live, err := h.Store.CountUnseen(ctx, h.Connector, h.origin.Collection, h.from.index, h.origin.Prefix)
	if err != nil {
		return fmt.Errorf("count records: %w", err)
	}
	p.Records = live
	certificate, err := h.sealed(ctx, nil)
	if err != nil {
		return err
	}
	h.known = p
	all.Partitions = append(all.Partitions, p)
	all.Certificates = append(all.Certificates, certificate)
	return nil
}

// planBetween says what a run between two sides would do.
func (e *Engine) planBetween(ctx context.Context, o PlanOptions) (plan.Plan, error) {
	var p plan.Plan
	err := e.onlyLook(ctx, o.Full, func(w *twoWay) error {
		p = w.plan
		for _, d := range p.Decisions {
			if o.Count {
				p.Changes = append(p.Changes, plan.Count{Partition: d.Partition, Known: d.Mode == plan.ModeNothing})
			}
		}
		p.Seal()
		return e.Store.SavePlan(ctx, p)
	})
	return p, err
}

// checkBetween is Check for two sides.
func (e *Engine) checkBetween(ctx context.Context) (CheckReport, error) {
	there, back := CheckReport{Connector: e.Connector}, CheckReport{Connector: e.Connector}
	err := e.onlyLook(ctx, false, func(w *twoWay) error {
		return errors.Join(w.ends[0].survey.report(ctx, &there), w.ends[1].survey.report(ctx, &back))
	})
	there.Back = &back
	return there, err
}

// onlyLook gathers the facts about both sides without writing anything.
func (e *Engine) onlyLook(ctx context.Context, full bool, fn func(*twoWay) error) error {
	r := &run{Engine: e, reading: ctx, started: e.Now(), lease: &lease{}}
	w, err := r.openSides(ctx, 0)
	if err != nil {
		return err
	}
	if err = w.look(ctx, full); err == nil {
		err = fn(w)
	}
	return errors.Join(err, w.close())
}
