package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state"
)

// settling is one page of keys on their way: decided, pushed, synced, and then
// remembered.
type settling struct {
	*collection
	keys []*matter
	// byKey finds them again.
	byKey map[string]*matter
}

// settle takes every key that has news, or is open, page by page.
func (c *collection) settle(ctx context.Context) error {
	inbox, err := c.inbox(ctx)
	if err != nil {
		return err
	}
	all := !c.again && (c.ends[0].restored || c.ends[1].restored || slices.ContainsFunc(c.halves, (*half).full))
	c.changed = [2][]string{}
	after := ""
	for {
		if c.reading.Err() != nil {
			return context.Cause(c.reading)
		}
		page, err := c.Store.Unsettled(ctx, c.Connector, c.name, after, all, c.Settings.BatchRows)
		if err != nil {
			return fmt.Errorf("read what has to be settled: %w", err)
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].Key
		if err := c.settlePage(ctx, page, inbox); err != nil {
			return err
		}
	}
	c.again = true
	return c.settleDecided(ctx, inbox)
}

// settleDecided settles keys that somebody decided about and that nothing else
// brought up.
func (c *collection) settleDecided(ctx context.Context, inbox map[string][]state.Conflict) error {
	var keys []string
	for key, list := range inbox {
		if slices.ContainsFunc(list, func(x state.Conflict) bool { return x.Decision.Take != "" }) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for some := range slices.Chunk(keys, c.Settings.BatchRows) {
		entries, err := c.Store.Entries(ctx, c.Connector, c.name, some)
		if err != nil {
			return fmt.Errorf("look up the ledger: %w", err)
		}
		var page []state.Unsettled
		for _, key := range some {
			if e, known := entries[key]; known {
				page = append(page, state.Unsettled{Key: key, Entry: e.Value})
			}
		}
		if err := c.settlePage(ctx, page, inbox); err != nil {
			return err
		}
	}
	return nil
}

// inbox returns, by key, what people decided about the collection, and what
// waits for them to decide.
func (c *collection) inbox(ctx context.Context) (map[string][]state.Conflict, error) {
	byKey := map[string][]state.Conflict{}
	for _, f := range []state.ConflictFilter{{Decided: true}, {Open: true, Held: true}} {
		f.Connector, f.Collection = c.Connector, c.name
		list, err := c.Store.Conflicts(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("read the inbox: %w", err)
		}
		for _, x := range list {
			if f.Decided || x.Decision.Take == "" {
				byKey[x.Key] = append(byKey[x.Key], x)
			}
		}
	}
	return byKey, nil
}

// settlePage decides on a page of keys, stores what is lost before it is lost,
// pushes, syncs, and remembers.
func (c *collection) settlePage(ctx context.Context, page []state.Unsettled, inbox map[string][]state.Conflict) error {
	s := &settling{collection: c, byKey: make(map[string]*matter, len(page))}
	var lost []state.Conflict
	for i := range page {
		m, err := c.decide(&page[i], inbox[page[i].Key])
		if err != nil {
			return describe(c.name, page[i].Key, err)
		}
		delete(inbox, m.key)
		s.keys, s.byKey[m.key] = append(s.keys, m), m
		lost = append(lost, m.conflicts...)
	}
	promises := s.promises()
	if len(lost)+len(promises) > 0 {
		if err := c.commit(ctx, state.Commit{Conflicts: lost, Entries: promises}); err != nil {
			return fmt.Errorf("store conflicts: %w", err)
		}
	}
	for _, e := range c.ends {
		if err := s.push(ctx, e); err != nil {
			return err
		}
	}
	return s.remember(ctx)
}

// push gives a side what it lacks.
func (s *settling) push(ctx context.Context, e *end) error {
	var gifts []gift
	for _, m := range s.keys {
		if m.give[e.index] == "" {
			continue
		}
		change, err := m.change(e)
		if err != nil {
			return describe(s.name, m.key, err)
		}
		gifts = append(gifts, gift{m, change})
	}
	gifts, err := s.withParts(ctx, e, gifts)
	if err != nil || len(gifts) == 0 {
		return err
	}
	b := &gapless.Batch{Partition: s.destinationOf(e)}
	var expected []gapless.Expectation
	for _, g := range gifts {
		b.Append(g.change)
		if e.pusher != nil {
			was := &g.now.sides[e.index]
			data, _ := cutParts(was.at.Data)
			expected = append(expected, gapless.Expectation{Exists: was.live(), Version: []byte(was.version), Data: data})
		}
	}
	receipt, err := s.pushTo(ctx, e, b, expected)
	if err != nil {
		return fmt.Errorf("push to %s: %w", e.index, err)
	}
	for _, h := range s.halves {
		h.pushed = h.pushed || h.from == e
	}
	if err := s.refuse(e, receipt.Rejected); err != nil {
		return err
	}
	receipt, err = s.syncAnchored(ctx, e)
	if err != nil {
		return err
	}
	var own, later []gapless.Rejection
	for _, r := range receipt.Rejected {
		m := s.byKey[r.Key]
		if m == nil || !s.owns(&r) {
			later = append(later, r)
			continue
		}
		if m.give[e.index] == "" { // it was pushed with an earlier page
			m.now.sides[e.index], m.after.base = held{}, nil
		}
		own = append(own, r)
	}
	if err := s.refuse(e, own); err != nil {
		return err
	}
	return s.refusedLater(ctx, e, later)
}

// syncAnchored syncs a side together with a checkpoint that moves no position.
// Without one, it would not be noticed that the side has lost what it was
// given, should it come back from a backup before the run has ended. A side
// that has come back is noticed until its records are settled.
func (s *settling) syncAnchored(ctx context.Context, e *end) (gapless.Receipt, error) {
	h := s.anchor(e)
	if h == nil {
		return s.syncEnd(ctx, e)
	}
	p := s.nextCheckpoint(h.partition.ID)
	p.Position = h.decision.From
	if h.decision.Mode == plan.ModeNothing { // what was read earlier is pushed once more
		h.becomes(plan.ModeRepair, p.Position)
	}
	receipt, err := s.syncEnd(ctx, e, p)
	if err == nil {
		h.checkpoint, h.anchored = p, true
	}
	return receipt, err
}

// anchor returns the half whose checkpoint stands for what a side was given.
func (c *collection) anchor(e *end) *half {
	if e.restored {
		return nil
	}
	for _, h := range c.halves {
		if h.from != e {
			return h
		}
	}
	return nil
}

// anchored returns the rows of partitions whose checkpoints were written with
// the page.
func (s *settling) anchored() []state.Partition {
	var rows []state.Partition
	for _, h := range s.halves {
		if h.anchored {
			h.known.Checkpoint, h.anchored = h.checkpoint, false
			h.known = h.row()
			rows = append(rows, h.known)
		}
	}
	return rows
}

// destinationOf returns the partition that rows for a side are pushed under:
// what was read at the other side.
func (c *collection) destinationOf(e *end) gapless.Partition {
	from := c.opposite(e)
	p := gapless.Partition{ID: prefix(from.index) + c.name, Collection: c.name}
	for _, h := range c.halves {
		if h.from == from {
			p.ID = h.partition.ID
			break
		}
	}
	return p
}

// change is what is pushed to a side: to one that can be asked whether the
// record is as it was read, all of it, to any other one, where that can be
// said, no more than the fields that differ.
func (m *matter) change(e *end) (gapless.Change, error) {
	now, after := &m.now.sides[e.index], &m.after.sides[e.index]
	c := gapless.Change{Op: gapless.OpUpsert, Record: gapless.Record{
		Key: m.key, Version: after.version, Modified: after.at.Modified.Time, Data: after.at.Data,
	}}
	switch {
	case after.at.Deleted:
		c.Op, c.Data = gapless.OpDelete, nil
	case e.pusher == nil && now.live():
		shown, err := now.shown()
		if err != nil {
			return c, err
		}
		patch, ok, err := resolve.Patch(shown, after.at.Data)
		if err != nil {
			return c, err
		}
		_, had := cutParts(shown)
		if _, has := cutParts(after.at.Data); ok && bytes.Equal(had, has) { // parts cannot be taken away by a patch
			c.Op, c.Data = gapless.OpPatch, patch
		}
	}
	return c, nil
}

// shown returns the data of a side without what it was given and has not shown.
func (h *held) shown() ([]byte, error) {
	data := h.at.Data
	for _, name := range h.unshown {
		var err error
		if data, err = resolve.With(data, name, nil); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// pushTo pushes a batch, again if it failed in a way that allows it.
func (w *twoWay) pushTo(ctx context.Context, e *end, b *gapless.Batch, expected []gapless.Expectation) (gapless.Receipt, error) {
	var receipt gapless.Receipt
	err := w.retry(ctx, &w.quiet[e.index], b.Partition.ID, "push", func() error {
		w.step("before push")
		var err error
		if e.pusher != nil {
			receipt, err = e.pusher.PushIf(ctx, b, expected)
		} else {
			receipt, err = e.session.Push(ctx, b)
		}
		w.step("after push")
		return err
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pushed, w.serial = true, max(w.serial, receipt.Serial)
	return receipt, err
}

// refuse notes which keys of the page a side did not take.
func (s *settling) refuse(e *end, rejected []gapless.Rejection) error {
	for _, r := range rejected {
		m := s.byKey[r.Key]
		if m == nil || m.refused[e.index] != taken {
			continue
		}
		m.refused[e.index] = declined
		if errors.Is(r.Err, gapless.ErrChanged) {
			m.refused[e.index] = outdated
			s.changed[e.index] = append(s.changed[e.index], r.Key)
			continue
		}
		h := s.half(1-e.index, r.Key)
		if h == nil {
			return gapless.Unrecoverable(fmt.Errorf("%s refuses record %q, which was never read: %w", e.index, r.Key, r.Err))
		}
		after := &m.after.sides[e.index]
		h.open[r.Key] = true
		delete(h.settled, r.Key)
		body, list := cutParts(after.at.Data)
		h.raise(state.DeadLetter{
			Key: r.Key, Version: after.version, Body: body, HasBody: !after.at.Deleted, HasParts: list != nil, Stage: state.StagePush, Reason: r.Err.Error(),
		})
	}
	return nil
}

// refusedLater opens again what a side refuses after it was settled, which
// may be of any collection.
func (w *twoWay) refusedLater(ctx context.Context, e *end, rejected []gapless.Rejection) error {
	if len(rejected) == 0 {
		return nil
	}
	for _, c := range w.collections() {
		if err := c.reopen(ctx, e, slices.DeleteFunc(slices.Clone(rejected), func(r gapless.Rejection) bool { return !c.owns(&r) })); err != nil {
			return err
		}
	}
	return nil
}

// owns reports whether a record that is refused is, or may be, of the
// collection.
func (c *collection) owns(r *gapless.Rejection) bool {
	return r.Partition == "" || slices.ContainsFunc(c.halves, func(h *half) bool { return h.partition.ID == r.Partition })
}

// reopen is refusedLater for one collection. What it has no entry of was never
// settled, and will be read again.
func (c *collection) reopen(ctx context.Context, e *end, rejected []gapless.Rejection) error {
	keys := make([]string, len(rejected))
	for i, r := range rejected {
		keys[i] = r.Key
	}
	entries, err := c.Store.Entries(ctx, c.Connector, c.name, keys)
	if err != nil {
		return fmt.Errorf("look up the ledger: %w", err)
	}
	var again []state.Entry
	for _, r := range rejected {
		known, ok := entries[r.Key]
		if !ok {
			continue
		}
		h := c.half(1-e.index, r.Key)
		if h == nil {
			return gapless.Unrecoverable(fmt.Errorf("%s refuses record %q, which was never read: %w", e.index, r.Key, r.Err))
		}
		before := h.books.counts
		h.takeBack(r)
		h.advance(difference(h.books.counts, before), 0)
		was, err := decodeEntry(known.Value)
		if err != nil {
			return describe(c.name, r.Key, err)
		}
		was.sides[e.index], was.base, was.promised = held{}, nil, nil
		known.Live[e.index], known.Open, known.Value = false, true, was.encode()
		again = append(again, known)
	}
	for _, h := range c.halves {
		if err := h.saveLetters(ctx); err != nil {
			return err
		}
	}
	if len(again) == 0 {
		return nil
	}
	if err := c.commit(ctx, state.Commit{Entries: again}); err != nil {
		return fmt.Errorf("open what was refused: %w", err)
	}
	return nil
}

// takeBack accounts for a row that was refused after it had counted as pushed.
func (h *half) takeBack(r gapless.Rejection) {
	delete(h.settled, r.Key)
	if h.books.certificate.Pushed.Count > 0 {
		h.refusedLate(r)
		return
	}
	h.books.counts.Rejected++
	h.raise(state.DeadLetter{Key: r.Key, Stage: state.StageSync, Reason: r.Err.Error()})
}

// remember stores what both sides have now, and accounts for the news.
func (s *settling) remember(ctx context.Context) error {
	commit := state.Commit{Entries: make([]state.Entry, 0, len(s.keys)), Partitions: s.anchored()}
	for _, m := range s.keys {
		e, err := m.settled(s.name)
		if err != nil {
			return describe(s.name, m.key, err)
		}
		commit.Entries = append(commit.Entries, e)
		if !m.open() {
			commit.Settled = append(commit.Settled, m.settles...)
		}
		for i := range m.news {
			s.count(m, state.Side(i))
		}
	}
	for _, h := range s.halves {
		before := h.books.counts
		h.books.synced()
		h.advance(Counts{Synced: h.books.counts.Synced - before.Synced}, 0)
		if err := h.saveLetters(ctx); err != nil {
			return err
		}
	}
	if len(commit.Settled) > 0 {
		commit.Run = s.run.row(state.StatusRunning) // it is who has settled them
	}
	if err := s.commit(ctx, commit); err != nil {
		return fmt.Errorf("remember what was settled: %w", err)
	}
	return nil
}

// settled returns the entry of a key as things stand.
func (m *matter) settled(collection string) (state.Entry, error) {
	e := m.after
	for i := range e.sides {
		if m.refused[i] != taken {
			e.sides[i] = m.now.sides[i]
		}
	}
	first, second := &e.sides[0], &e.sides[1]
	entry := state.Entry{Collection: collection, Key: m.key, Live: [2]bool{first.live(), second.live()}, Open: m.open()}
	if !first.exists() && !second.exists() {
		return entry, nil
	}
	same := first.at.Deleted && second.at.Deleted
	if first.live() && second.live() {
		var err error
		if same, err = resolve.Same(first.at.Data, second.at.Data); err != nil {
			return entry, err
		}
	}
	if same {
		e.base, e.baseDeleted = first.at.Data, first.at.Deleted
	}
	if m.once && m.open() {
		e.promised = &m.after.sides
	}
	entry.Value = e.encode()
	return entry, nil
}

// count accounts for what was read of a key at a side, and for what the other
// side was given.
func (s *settling) count(m *matter, from state.Side) {
	h := s.half(from, m.key)
	if h == nil {
		return
	}
	var read proof.Digest
	n := m.news[from]
	if n != nil {
		read = n.Digest
	}
	read.Merge(s.owed[from][m.key])
	delete(s.owed[from], m.key)
	before := h.books.counts
	counts, certificate, to := &h.books.counts, &h.books.certificate, 1-from
	given := m.give[to]
	switch {
	case m.refused[to] == outdated:
		if s.owed[from] == nil {
			s.owed[from] = map[string]proof.Digest{}
		}
		s.owed[from][m.key] = read
		return
	case m.refused[to] == declined:
		certificate.Rejected.Merge(read)
		counts.Rejected += read.Count
	case given == "" && m.withheld[to]:
		certificate.Filtered.Merge(read)
		counts.Filtered += read.Count
	case given == "":
		certificate.Unchanged.Merge(read)
		counts.Unchanged += read.Count
	default:
		certificate.Pushed.Merge(read)
		counts.Pushed += max(read.Count, 1)
		switch given {
		case resolve.Create:
			counts.Created++
		case resolve.Update:
			counts.Updated++
		case resolve.Remove:
			counts.Deleted++
			if n != nil && n.Op == gapless.OpDelete && read.Count == 0 {
				h.books.deleting.Add(proof.KeyHash([]byte(m.key)))
			}
		}
	}
	if h.open[m.key] && m.refused[to] == taken {
		h.settled[m.key] = true
	}
	h.advance(difference(h.books.counts, before), 0)
}

// fetchChanged reads again what somebody else has written in the meantime.
func (c *collection) fetchChanged(ctx context.Context) error {
	for i, keys := range c.changed {
		byHalf := map[*half][]string{}
		for _, key := range keys {
			h := c.half(state.Side(i), key)
			if h == nil || !h.facts.CanFetch {
				return gapless.Recoverable(fmt.Errorf("record %q of %s was changed by somebody else while it was synced, and %s cannot read single records", key, c.name, state.Side(i)))
			}
			byHalf[h] = append(byHalf[h], key)
		}
		for h, keys := range byHalf {
			h.asked = true
			err := h.fetch(ctx, keys)
			h.asked = false
			if err != nil {
				return err
			}
		}
	}
	return nil
}
