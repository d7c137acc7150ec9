package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state"
)

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
	// withheld says which side is not given what differs: by the strategy, or
	// because a person has to decide.
	withheld [2]bool
	// once: to decide again on what came of it would count edits twice.
	once bool
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

// promises returns entries that say what both sides are about to hold, of the
// keys for which a run that dies has to know.
func (s *settling) promises() []state.Entry {
	var list []state.Entry
	for _, m := range s.keys {
		if !m.once || m.give == [2]resolve.Method{} {
			continue
		}
		e := m.now
		e.promised = &m.after.sides
		list = append(list, state.Entry{
			Collection: s.name, Key: m.key, Live: [2]bool{e.sides[0].live(), e.sides[1].live()}, Open: true, Value: e.encode(),
		})
	}
	return list
}

// decide says what becomes of one key.
func (c *collection) decide(u *state.Unsettled, inbox []state.Conflict) (*matter, error) {
	m := &matter{key: u.Key, news: u.News}
	before, err := decodeEntry(u.Entry)
	if err != nil {
		return nil, err
	}
	if err := m.look(c, &before); err != nil {
		return nil, err
	}
	m.findOwner()
	done, err := m.obeyAll(c, &before, inbox)
	if err != nil {
		return nil, err
	}
	if err := m.resolve(c); err != nil {
		return nil, err
	}
	for _, x := range inbox {
		again := func(y state.Conflict) bool { return y.ID == x.ID }
		if slices.ContainsFunc(done, again) || x.Decision.Take == "" && !slices.ContainsFunc(m.conflicts, again) {
			m.settles = append(m.settles, x)
		}
	}
	return m, nil
}

// look finds out what both sides have now. What the ledger says of a side that
// lost what it was given does not hold, nor what the sides had in common; what
// such a side tells without a time is older than everything else.
func (m *matter) look(c *collection, before *entry) (err error) {
	m.now = *before
	m.now.promised = nil
	lost := !c.again && (c.ends[0].restored || c.ends[1].restored)
	if lost {
		m.now.base, m.now.baseDeleted = nil, false
	} else if before.promised != nil {
		if err := m.recall(c, before); err != nil {
			return err
		}
	}
	for i, e := range c.ends {
		now := c.Now()
		if lost && e.restored {
			m.now.sides[i], now = held{}, time.Time{}
		}
		if n := m.news[i]; n != nil && !n.Seen {
			if m.now.sides[i], err = e.observe(m.now.sides[i], n, now); err != nil {
				return err
			}
		}
		m.wanted[i] = m.now.sides[i].at
	}
	return nil
}

// recall finds out which side has taken what an earlier push promised. One
// that has, knows what the other one had then; that is what they have in
// common.
func (m *matter) recall(c *collection, before *entry) error {
	all := true
	for i := range before.sides {
		took, err := before.sides[i].took(&before.promised[i], m.news[i], c.ends[i].pusher != nil)
		if err != nil {
			return err
		}
		if all = all && took; took {
			known := &before.sides[1-i].at
			m.now.sides[i], m.now.base, m.now.baseDeleted = before.promised[i], known.Data, known.Deleted
		}
	}
	if all {
		m.now.base, m.now.baseDeleted = before.promised[0].at.Data, before.promised[0].at.Deleted
	}
	return nil
}

// took reports whether a side that was last seen as h has become what was
// promised, or had it already. Where versions are kept verbatim they tell it,
// elsewhere a field that has the value promised: somebody else may have given
// it the same.
func (h *held) took(promised *held, n *state.News, verbatim bool) (bool, error) {
	switch {
	case h.live() && promised.live():
		if same, err := resolve.Same(h.at.Data, promised.at.Data); same || err != nil {
			return same, err
		}
	case h.live() == promised.live():
		return true, nil
	}
	if n == nil || n.Seen || (n.Op == gapless.OpDelete) != promised.at.Deleted {
		return false, nil
	}
	switch {
	case promised.at.Deleted:
		return true, nil
	case verbatim:
		return n.Version == promised.version, nil
	case !h.live():
		return true, nil
	}
	fields, err := changedFields(h.at.Data, promised.at.Data)
	if err != nil {
		return false, err
	}
	for _, name := range fields {
		differs, err := differ(name, promised.at.Data, n.Data)
		if err != nil {
			return false, err
		}
		if !differs {
			return true, nil
		}
	}
	return false, nil
}

// changedFields returns the names of fields that are not the same in both.
func changedFields(from, to []byte) ([]string, error) {
	names, err := resolve.Fields(from)
	if err != nil {
		return nil, err
	}
	more, err := resolve.Fields(to)
	if err != nil {
		return nil, err
	}
	for _, name := range more {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var changed []string
	for _, name := range names {
		differs, err := differ(name, from, to)
		if err != nil {
			return nil, err
		}
		if differs {
			changed = append(changed, name)
		}
	}
	return changed, nil
}

// differ reports whether a field is not the same in both.
func differ(name string, a, b []byte) (bool, error) {
	here, err := resolve.Field(a, name)
	if err != nil {
		return false, err
	}
	there, err := resolve.Field(b, name)
	if err != nil || (here == nil) != (there == nil) {
		return true, err
	}
	first, err := resolve.With(nil, name, here)
	if err != nil {
		return false, err
	}
	second, err := resolve.With(nil, name, there)
	if err != nil {
		return false, err
	}
	same, err := resolve.Same(first, second)
	return !same, err
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

// resolve asks the policy, and finds what has to be done to each side.
func (m *matter) resolve(c *collection) error {
	in := resolve.Input{
		Local: m.wanted[0], Remote: m.wanted[1], Base: m.now.base, BaseDeleted: m.now.baseDeleted, Now: c.Now(),
	}
	in.Local.MCI, in.Remote.MCI = m.handedOn()
	m.after = m.now
	result, err := c.resolver.Resolve(&in)
	if err != nil {
		return err
	}
	c.future += uint64(len(result.Future))
	m.report(c, &result)
	agreed := [2]resolve.Side{}
	for i := range agreed {
		agreed[i] = resolve.Side{
			Data: result.Data, Modified: result.Modified, Times: result.Times, Seen: result.Seen, Deleted: result.Deleted, ReplacedBy: result.ReplacedBy,
		}
	}
	if result.Action == resolve.ActionConflict {
		agreed, m.withheld = m.wanted, [2]bool{true, true} // each side keeps what it has, with what was decided by hand
	}
	for i := range agreed {
		if err := m.giveTo(c, i, agreed[i]); err != nil {
			return err
		}
	}
	m.once = !result.Repeatable() && m.withheld == [2]bool{}
	return nil
}

// report puts what was not taken into the inbox.
func (m *matter) report(c *collection, result *resolve.Result) {
	for i := range result.Losers {
		l := &result.Losers[i]
		x := state.Conflict{
			Field: l.Field, Deletion: l.Deletion, Held: result.Action == resolve.ActionConflict, Rule: l.Rule, Reason: result.Reason,
			This: l.Local, Other: l.Remote,
		}
		if l.Side == resolve.ChoseRemote {
			x.Loser = state.Other
		}
		m.lose(c, x, l.Stamp)
	}
}

// lose puts an edit that was made at a time into the inbox.
func (m *matter) lose(c *collection, x state.Conflict, at resolve.Stamp) {
	x.Connector, x.Run, x.Collection, x.Key, x.Edited, x.At = c.Connector, c.id, c.name, m.key, at.Time, c.Now().UTC()
	x.ID = lossID(&x, at)
	m.conflicts = append(m.conflicts, x)
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
		m.withheld[i] = true
		return nil
	}
	if agreed.Data, err = settleParts(agreed.Data); err != nil {
		return err
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
