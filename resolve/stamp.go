package resolve

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// Stamp is the time of an edit: a hybrid logical clock, or just a time, as
// [At] makes it. Stamps are ordered by time, counter and node, so that two
// nodes never disagree about which of two edits is the later one. The zero
// Stamp is unknown and older than all others.
type Stamp struct {
	Time time.Time
	// Counter tells edits of the same time apart.
	Counter uint32
	// Node that made the edit; empty if the system does not say.
	Node string
}

// At returns the stamp of a record whose system keeps nothing but a time.
func At(t time.Time) Stamp { return Stamp{Time: t} }

// Compare returns -1, 0 or 1 as s is older than, the same as, or newer than t.
func (s Stamp) Compare(t Stamp) int {
	if c := s.Time.Compare(t.Time); c != 0 {
		return c
	}
	if c := cmp.Compare(s.Counter, t.Counter); c != 0 {
		return c
	}
	return strings.Compare(s.Node, t.Node)
}

// Next returns the stamp of an edit that node makes at now, having seen s:
// later than s even if the node's clock is behind.
func (s Stamp) Next(now time.Time, node string) Stamp {
	if now.After(s.Time) {
		return Stamp{Time: now, Node: node}
	}
	return Stamp{Time: s.Time, Counter: s.Counter + 1, Node: node}
}

// MarshalText writes time, counter and node, separated by single spaces.
func (s Stamp) MarshalText() ([]byte, error) {
	text, err := s.Time.UTC().AppendText(nil)
	if err != nil {
		return nil, fmt.Errorf("write a stamp: %w", err)
	}
	text = strconv.AppendUint(append(text, ' '), uint64(s.Counter), 10)
	return append(append(text, ' '), s.Node...), nil
}

// UnmarshalText reads what MarshalText wrote.
func (s *Stamp) UnmarshalText(text []byte) error {
	parts := strings.SplitN(string(text), " ", 3)
	if len(parts) != 3 {
		return fmt.Errorf("read a stamp: want time, counter and node, not %q", text)
	}
	at, err := time.Parse(time.RFC3339Nano, parts[0])
	if err != nil {
		return fmt.Errorf("read a stamp: %w", err)
	}
	counter, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return fmt.Errorf("read a stamp: %w", err)
	}
	*s = Stamp{Time: at, Counter: uint32(counter), Node: parts[2]}
	return nil
}

func later(a, b Stamp) Stamp {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

// dominate returns a stamp for what was made at s that is not older than t.
func dominate(s, t Stamp) Stamp {
	if s.Compare(t) >= 0 {
		return s
	}
	return Stamp{Time: t.Time, Counter: t.Counter + 1, Node: s.Node}
}

// Times are the times of a record's fields by name. A field that is named but
// is not in the record was removed at that time; a field that is not named
// has the time of the record.
type Times map[string]Stamp

// same reports whether both mean the same times.
func (t Times) same(u Times) bool {
	return maps.EqualFunc(t, u, func(a, b Stamp) bool { return a.Compare(b) == 0 })
}

// Join returns the later time of every name.
func Join(t, u Times) Times {
	switch {
	case t == nil:
		return u
	case len(u) == 0:
		return t
	}
	joined := maps.Clone(t)
	for name, at := range u {
		joined[name] = later(joined[name], at)
	}
	return joined
}

// Edit returns the version of a record that node makes at now by giving it
// new data: fields that differ from those of prev get a new time, the others
// keep theirs. A zero prev creates the record; a deleted one is revived, with
// all that is in data.
func Edit(prev Side, data []byte, now time.Time, node string) (Side, error) {
	before, err := parse(prev.Data)
	if err != nil {
		return Side{}, fmt.Errorf("read the earlier version: %w", err)
	}
	after, err := parseRecord(data)
	if err != nil {
		return Side{}, fmt.Errorf("read the new version: %w", err)
	}
	next := prev
	next.Data, next.Deleted, next.ReplacedBy = data, false, ""
	next.Modified = prev.latest().Next(now, node)
	next.Times = make(Times, len(after.fields))
	maps.Copy(next.Times, prev.Times)
	for _, f := range after.fields {
		was, known := before.get(f.name)
		switch {
		case !known || !equal(was, f.raw):
			next.Times[f.name] = next.Modified
		case prev.Times == nil:
			next.Times[f.name] = prev.Modified
		}
	}
	for _, f := range before.fields {
		if _, stays := after.get(f.name); !stays {
			next.Times[f.name] = next.Modified
		}
	}
	if prev.Deleted {
		for name := range next.Times {
			next.Times[name] = next.Modified
		}
	}
	return next, nil
}

// Delete returns the tombstone that node leaves of prev at now. It keeps the
// last data, from which an edit that was made elsewhere in the meantime can
// revive the record.
func Delete(prev Side, now time.Time, node string) Side {
	next := prev
	next.Deleted, next.ReplacedBy = true, ""
	next.Modified = prev.latest().Next(now, node)
	next.Seen = Join(prev.Seen, prev.Times)
	return next
}

// latest returns the latest stamp that a side knows.
func (s *Side) latest() Stamp {
	latest := s.Modified
	for _, at := range s.Times {
		latest = later(latest, at)
	}
	return latest
}
