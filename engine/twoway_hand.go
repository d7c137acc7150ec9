package engine

import (
	"fmt"

	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state"
)

// byHand names in times of edits who decided.
const byHand = "by hand"

// obeyAll carries out what people decided, and returns which decisions those
// were. One that does not fit the record is left, with a note.
func (m *matter) obeyAll(c *collection, before *entry, inbox []state.Conflict) (done []state.Conflict, err error) {
	for i := range inbox {
		d := &inbox[i]
		if d.Decision.Take == "" {
			continue
		}
		wanted := m.wanted
		if err := m.obey(c, d); err != nil {
			m.wanted = wanted
			c.notes = append(c.notes, fmt.Sprintf("what was decided about %s cannot be carried out: %v", d.ID, err))
			continue
		}
		done = append(done, *d)
	}
	if len(done) == 0 {
		return nil, nil
	}
	for i := range m.wanted {
		if err := m.overruled(c, before, state.Side(i)); err != nil {
			return nil, err
		}
	}
	return done, nil
}

// obey makes what a person decided an edit of both sides. Who takes the value
// of a side that has deleted the record takes the deletion.
func (m *matter) obey(c *collection, d *state.Conflict) error {
	value := d.Decision.Value
	from, loses := state.Side(0), false
	switch d.Decision.Take {
	case state.TakeThis:
		from, value = state.This, d.This
	case state.TakeOther:
		from, value = state.Other, d.Other
	}
	if d.Decision.Take != state.TakeValue {
		loses = from == d.Loser
		if !d.Deletion && !loses && m.now.sides[from].at.Deleted {
			return m.obeyFate(c, true, nil)
		}
	}
	if d.Deletion {
		return m.obeyFate(c, loses || d.Decision.Take == state.TakeValue && value == nil, value)
	}
	for i := range m.wanted {
		if !m.now.sides[i].exists() {
			continue
		}
		had := m.wanted[i].Data
		if other := &m.wanted[1-i]; m.wanted[i].Deleted && !other.Deleted && other.Data != nil {
			had = other.Data // it is the other side's that comes back
		}
		data, err := resolve.With(had, d.Field, value)
		if err != nil {
			return err
		}
		if m.wanted[i], err = resolve.Edit(m.wanted[i], data, c.Now(), byHand); err != nil {
			return err
		}
	}
	return nil
}

// obeyFate is obey where it is about all of the record: it is deleted, or it
// stays with the data given.
func (m *matter) obeyFate(c *collection, deletes bool, data []byte) error {
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

// overruled puts into the inbox what was edited at a side since it was last
// seen, and is replaced by a decision whose maker could not know of it.
func (m *matter) overruled(c *collection, before *entry, side state.Side) error {
	was, now, wanted := &before.sides[side], &m.now.sides[side], &m.wanted[side]
	if m.news[side] == nil || m.news[side].Seen {
		return nil
	}
	x := state.Conflict{Loser: side, Rule: byHand, Reason: "a decision by hand replaces what was edited after it had been asked for"}
	if !now.live() {
		if was.live() && !wanted.Deleted {
			x.Deletion, x.This, x.Other = true, m.now.sides[0].at.Data, m.now.sides[1].at.Data
			m.lose(c, x, now.at.Modified)
		}
		return nil
	}
	fields, err := changedFields(was.at.Data, now.at.Data)
	if err != nil {
		return err
	}
	for _, name := range fields {
		replaced, err := differ(name, now.at.Data, wanted.Data)
		if err != nil {
			return err
		}
		if !replaced && !wanted.Deleted {
			continue
		}
		x.Field = name
		if x.This, err = resolve.Field(m.now.sides[0].at.Data, name); err != nil {
			return err
		}
		if x.Other, err = resolve.Field(m.now.sides[1].at.Data, name); err != nil {
			return err
		}
		m.lose(c, x, now.at.Times[name])
	}
	return nil
}
