package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless"
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

// matter is one key that has to be settled.
type matter struct {
	key  string
	news [2]*state.News
	// now is what the sides have, after what they will have once everything was
	// taken.
	now, after entry
	// wanted is what each side has with what was decided by hand.
	wanted    [2]resolve.Side
	give      [2]resolve.Method // what has to be done to each side; empty for nothing
	refused   [2]refusal
	conflicts []state.Conflict
	// settles are conflicts that are no more: decided, or held until now.
	settles []state.Conflict
}

// refusal says whether a side did not take what it was given.
type refusal uint8

const (
	taken refusal = iota
	declined
	// outdated: somebody else has written the record since it was read.
	outdated
)

// open reports whether the key has to be looked at again.
func (m *matter) open() bool { return m.refused != [2]refusal{} }

// settle takes every key that has news, or is open, page by page.
func (c *collection) settle(ctx context.Context) error {
	inbox, err := c.inbox(ctx)
	if err != nil {
		return err
	}
	all := !c.again && (c.ends[0].restored || c.ends[1].restored)
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
	if len(lost) > 0 {
		if err := c.commit(ctx, state.Commit{Conflicts: lost}); err != nil {
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

// decide says what becomes of one key.
func (c *collection) decide(u *state.Unsettled, inbox []state.Conflict) (*matter, error) {
	m := &matter{key: u.Key, news: u.News}
	before, err := decodeEntry(u.Entry)
	if err != nil {
		return nil, err
	}
	m.now = before
	for i, e := range c.ends {
		if e.restored && !c.again {
			m.now.sides[i] = held{}
		}
		if n := m.news[i]; n != nil && !n.Seen {
			if m.now.sides[i], err = e.observe(m.now.sides[i], n, c.Now()); err != nil {
				return nil, err
			}
		}
		m.wanted[i] = m.now.sides[i].at
	}
	m.findOwner()
	for i := range inbox {
		if inbox[i].Decision.Take == "" {
			continue
		}
		if err := m.obey(c, &inbox[i]); err != nil {
			return nil, err
		}
	}
	held, err := m.resolve(c)
	m.settles = slices.DeleteFunc(slices.Clone(inbox), func(x state.Conflict) bool { return held && x.Decision.Take == "" })
	return m, err
}

// byHand names in times of edits who decided.
const byHand = "by hand"

// obey makes what a person decided an edit of both sides.
func (m *matter) obey(c *collection, d *state.Conflict) error {
	value := d.Decision.Value
	switch d.Decision.Take {
	case state.TakeThis:
		value = d.This
	case state.TakeOther:
		value = d.Other
	}
	if d.Deletion {
		return m.obeyFate(c, d, value)
	}
	for i := range m.wanted {
		if !m.now.sides[i].exists() {
			continue
		}
		data, err := resolve.With(m.wanted[i].Data, d.Field, value)
		if err != nil {
			return err
		}
		if m.wanted[i], err = resolve.Edit(m.wanted[i], data, c.Now(), byHand); err != nil {
			return err
		}
	}
	return nil
}

// obeyFate is obey for a record that one side has deleted: it is deleted, or
// it stays with the data given.
func (m *matter) obeyFate(c *collection, d *state.Conflict, data []byte) error {
	deletes := d.Decision.Take == d.Loser.String() || d.Decision.Take == state.TakeValue && data == nil
	for i := range m.wanted {
		if !m.now.sides[i].exists() {
			continue
		}
		if deletes {
			m.wanted[i] = resolve.Delete(m.wanted[i], c.Now(), byHand)
			continue
		}
		var err error
		if m.wanted[i], err = resolve.Edit(m.wanted[i], data, c.Now(), byHand); err != nil {
			return err
		}
	}
	return nil
}

// findOwner notes which side had the record first.
func (m *matter) findOwner() {
	first, second := m.now.sides[0].exists(), m.now.sides[1].exists()
	if m.now.owner == 0 && m.now.base == nil && first != second {
		m.now.owner = 1
		if second {
			m.now.owner = 2
		}
	}
}

// resolve asks the policy, and finds what has to be done to each side. It
// reports whether the policy leaves the record to a person.
func (m *matter) resolve(c *collection) (held bool, err error) {
	in := resolve.Input{
		Local: m.wanted[0], Remote: m.wanted[1], Base: m.now.base, BaseDeleted: m.now.baseDeleted, Now: c.Now(),
	}
	in.Local.MCI, in.Remote.MCI = m.handedOn()
	m.after = m.now
	result, err := c.resolver.Resolve(&in)
	if err != nil {
		return false, err
	}
	c.future += uint64(len(result.Future))
	m.report(c, &result)
	agreed := [2]resolve.Side{}
	for i := range agreed {
		agreed[i] = resolve.Side{
			Data: result.Data, Modified: result.Modified, Times: result.Times, Seen: result.Seen, Deleted: result.Deleted, ReplacedBy: result.ReplacedBy,
		}
	}
	held = result.Action == resolve.ActionConflict
	if held {
		agreed = m.wanted // each side keeps what it has, with what was decided by hand
	}
	for i := range agreed {
		if err := m.giveTo(c, i, agreed[i]); err != nil {
			return held, err
		}
	}
	return held, nil
}

// report puts what was not taken into the inbox.
func (m *matter) report(c *collection, result *resolve.Result) {
	for i := range result.Losers {
		l := &result.Losers[i]
		x := state.Conflict{
			Connector: c.Connector, Run: c.id, Collection: c.name, Key: m.key, Field: l.Field, Deletion: l.Deletion,
			Held: result.Action == resolve.ActionConflict, Rule: l.Rule, Reason: result.Reason,
			This: l.Local, Other: l.Remote, Edited: l.Stamp.Time, At: c.Now().UTC(),
		}
		if l.Side == resolve.ChoseRemote {
			x.Loser = state.Other
		}
		x.ID = lossID(&x, l.Stamp)
		m.conflicts = append(m.conflicts, x)
	}
}

// lossID is the same whenever the same edit is lost.
func lossID(x *state.Conflict, at resolve.Stamp) string {
	lost := x.This
	if x.Loser == state.Other {
		lost = x.Other
	}
	text := fmt.Appendf(nil, "%q %q %q %q %t %s ", x.Connector, x.Collection, x.Key, x.Field, x.Deletion, x.Loser)
	text = append(appendStamp(text, at), lost...)
	sum := sha256.Sum256(text)
	return "x-" + hex.EncodeToString(sum[:8])
}

// handedOn returns how often the record was handed on since its owner, as the
// first side has it and as the second one sends it.
func (m *matter) handedOn() (local, remote int) {
	switch m.now.owner {
	case 1:
		return 0, 2
	case 2:
		return 1, 1
	}
	return 2, 2
}

// giveTo makes what was agreed on what a side will have.
func (m *matter) giveTo(c *collection, i int, agreed resolve.Side) error {
	now, after := &m.now.sides[i], &m.after.sides[i]
	method, err := methodFor(now, &agreed)
	if err != nil {
		return err
	}
	if method == "" && now.live() && len(now.unshown) > 0 {
		method = resolve.Update // it was edited before it showed what it was given
	}
	if method != "" && !c.allows(method) {
		return nil
	}
	m.give[i] = method
	after.at = agreed
	switch {
	case method == "" && now.live():
		after.at.Data = now.at.Data // as it is written there
	case method == "":
	case c.ends[i].pusher != nil:
		after.version, after.unshown, after.uncarried = stampedVersion(&after.at), nil, nil
	default:
		after.version = m.now.sides[1-i].version
		return after.expectToShow(now)
	}
	return nil
}

// methodFor returns what has to be done to a side for it to have what was
// agreed on.
func methodFor(now *held, agreed *resolve.Side) (resolve.Method, error) {
	switch {
	case agreed.Deleted && now.live():
		return resolve.Remove, nil
	case agreed.Deleted, agreed.Data == nil:
		return "", nil
	case !now.live():
		return resolve.Create, nil
	}
	same, err := resolve.Same(now.at.Data, agreed.Data)
	if err != nil || same {
		return "", err
	}
	return resolve.Update, nil
}

// allows reports whether the strategy has a method.
func (c *collection) allows(method resolve.Method) bool {
	return c.Policy.Strategy == nil || slices.Contains(c.Policy.Strategy, method)
}

// expectToShow names the fields that a side is given and did not show before.
func (h *held) expectToShow(now *held) error {
	h.unshown = nil
	if h.at.Deleted {
		h.uncarried = nil
		return nil
	}
	given, err := resolve.Fields(h.at.Data)
	if err != nil {
		return err
	}
	h.uncarried = slices.DeleteFunc(slices.Clone(now.uncarried), func(name string) bool { return !slices.Contains(given, name) })
	var shown []string
	if now.live() {
		if shown, err = resolve.Fields(now.at.Data); err != nil {
			return err
		}
	}
	for _, name := range given {
		known := slices.Contains(shown, name) && !slices.Contains(now.unshown, name)
		if !known && !slices.Contains(h.uncarried, name) {
			h.unshown = append(h.unshown, name)
		}
	}
	return nil
}

// push gives a side what it lacks.
func (s *settling) push(ctx context.Context, e *end) error {
	b := &gapless.Batch{Partition: s.destinationOf(e)}
	var expected []gapless.Expectation
	var of []*matter
	for _, m := range s.keys {
		if m.give[e.index] == "" {
			continue
		}
		change, err := m.change(e)
		if err != nil {
			return describe(s.name, m.key, err)
		}
		b.Append(change)
		of = append(of, m)
		if e.pusher != nil {
			was := &m.now.sides[e.index]
			expected = append(expected, gapless.Expectation{Exists: was.live(), Version: []byte(was.version), Data: was.at.Data})
		}
	}
	if len(of) == 0 {
		return nil
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
	receipt, err = s.syncEnd(ctx, e)
	if err != nil {
		return err
	}
	if err := s.refuse(e, receipt.Rejected); err != nil {
		return err
	}
	later := slices.DeleteFunc(receipt.Rejected, func(r gapless.Rejection) bool { return s.byKey[r.Key] != nil })
	return s.refusedLater(ctx, e, later)
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
		if ok {
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
	err := w.retry(ctx, b.Partition.ID, "push", func() error {
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
		h.raise(state.DeadLetter{
			Key: r.Key, Version: after.version, Body: after.at.Data, HasBody: !after.at.Deleted, Stage: state.StagePush, Reason: r.Err.Error(),
		})
	}
	return nil
}

// refusedLater opens again what a side refuses after it was settled.
func (c *collection) refusedLater(ctx context.Context, e *end, rejected []gapless.Rejection) error {
	if len(rejected) == 0 {
		return nil
	}
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
		h := c.half(1-e.index, r.Key)
		if h == nil {
			continue
		}
		h.raise(state.DeadLetter{Key: r.Key, Stage: state.StageSync, Reason: r.Err.Error()})
		known, ok := entries[r.Key]
		if !ok {
			continue
		}
		was, err := decodeEntry(known.Value)
		if err != nil {
			return describe(c.name, r.Key, err)
		}
		was.sides[e.index], was.base = held{}, nil
		known.Live[e.index], known.Open, known.Value = false, true, was.encode()
		again = append(again, known)
	}
	for _, h := range c.halves {
		if err := h.saveLetters(ctx); err != nil {
			return err
		}
	}
	if err := c.commit(ctx, state.Commit{Entries: again}); err != nil {
		return fmt.Errorf("open what was refused: %w", err)
	}
	return nil
}

// remember stores what both sides have now, and accounts for the news.
func (s *settling) remember(ctx context.Context) error {
	commit := state.Commit{Entries: make([]state.Entry, 0, len(s.keys))}
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
		}
		if n != nil && n.Op == gapless.OpDelete && read.Count == 0 {
			h.books.deleting.Add(proof.KeyHash([]byte(m.key)))
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
