package sim

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/state"
)

// ledger is what is known of one collection of a two-way connector.
type ledger struct {
	entries map[string]state.Entry
	news    [2]map[string]state.News
	keys    *sortedKeys // of all that is or was in entries or news
}

// sortedKeys puts keys in order when they are asked for.
type sortedKeys struct {
	known  map[string]struct{}
	sorted []string
	dirty  bool
}

func (k *sortedKeys) add(key string) {
	if _, known := k.known[key]; known {
		return
	}
	k.known[key] = struct{}{}
	k.sorted, k.dirty = append(k.sorted, key), true
}

// behind returns the keys greater than after.
func (k *sortedKeys) behind(after string) []string {
	if k.dirty {
		slices.Sort(k.sorted)
		k.dirty = false
	}
	i, there := slices.BinarySearch(k.sorted, after)
	if there {
		i++
	}
	return k.sorted[i:]
}

func newLedger() ledger {
	return ledger{
		entries: map[string]state.Entry{}, news: [2]map[string]state.News{{}, {}}, keys: &sortedKeys{known: map[string]struct{}{}},
	}
}

func (l ledger) clone() ledger {
	return ledger{
		entries: maps.Clone(l.entries), news: [2]map[string]state.News{maps.Clone(l.news[0]), maps.Clone(l.news[1])},
		keys: &sortedKeys{known: maps.Clone(l.keys.known), sorted: slices.Clone(l.keys.sorted), dirty: l.keys.dirty},
	}
}

func (s *Store) ledger(connector, collection string) ledger {
	ledgers := in(s.held.ledgers, connector)
	l, known := ledgers[collection]
	if !known {
		l = newLedger()
		ledgers[collection] = l
	}
	return l
}

// settle stores entries and forgets the news of their keys.
func (s *Store) settle(connector string, entries []state.Entry) {
	for _, e := range entries {
		l := s.ledger(connector, e.Collection)
		e.Value = bytes.Clone(e.Value)
		l.keys.add(e.Key)
		l.entries[e.Key] = e
		if len(e.Value) == 0 {
			delete(l.entries, e.Key)
		}
		delete(l.news[state.This], e.Key)
		delete(l.news[state.Other], e.Key)
	}
}

// Stage implements [state.Stager].
func (s *Store) Stage(ctx context.Context, l state.Lease, news []state.News) error {
	for i := range news {
		if err := stageable(&news[i]); err != nil {
			return err
		}
	}
	return s.locked(ctx, "stage what "+l.Connector+" read", func() error {
		if err := s.current(l); err != nil {
			return err
		}
		for _, n := range news {
			s.ledger(l.Connector, n.Collection).stage(n)
		}
		return nil
	})
}

// stageable reports what is wrong with news.
func stageable(n *state.News) error {
	content := n.Op != gapless.OpUpsert || n.Version != "" || !n.Modified.IsZero() || len(n.Data) > 0
	if n.Collection == "" || n.Key == "" || len(n.Key) > gapless.MaxKeyBytes || n.Side > state.Other ||
		n.Op != gapless.OpUpsert && n.Op != gapless.OpDelete || n.Seen && content {
		return fmt.Errorf("news of %q in %q make no sense", n.Key, n.Collection)
	}
	return nil
}

func (l ledger) stage(n state.News) {
	n.Data, n.Modified = bytes.Clone(n.Data), stored(n.Modified)
	if earlier, known := l.news[n.Side][n.Key]; known {
		sum := earlier.Digest
		sum.Merge(n.Digest)
		if n.Seen {
			n = earlier
		}
		n.Digest = sum
	}
	l.keys.add(n.Key)
	l.news[n.Side][n.Key] = n
}

// Unstage implements [state.Stager].
func (s *Store) Unstage(ctx context.Context, l state.Lease) error {
	return s.locked(ctx, "unstage what "+l.Connector+" read", func() error {
		if err := s.current(l); err != nil {
			return err
		}
		for _, ledger := range s.held.ledgers[l.Connector] {
			clear(ledger.news[state.This])
			clear(ledger.news[state.Other])
		}
		return nil
	})
}

// Entries implements [state.LedgerReader].
func (s *Store) Entries(ctx context.Context, connector, collection string, keys []string) (map[string]state.Entry, error) {
	found := make(map[string]state.Entry, len(keys))
	err := s.locked(ctx, "read entries of "+connector, func() error {
		l := s.ledger(connector, collection)
		for _, key := range keys {
			if e, known := l.entries[key]; known {
				e.Value = bytes.Clone(e.Value)
				found[key] = e
			}
		}
		return nil
	})
	return found, err
}

// Unsettled implements [state.LedgerReader].
func (s *Store) Unsettled(
	ctx context.Context, connector, collection, after string, all bool, limit int,
) (page []state.Unsettled, err error) {
	err = s.locked(ctx, "read what is unsettled of "+connector, func() error {
		l := s.ledger(connector, collection)
		for _, key := range l.keys.behind(after) {
			if u, wanted := l.unsettled(key, all); wanted {
				page = append(page, u)
			}
			if len(page) == limit {
				break
			}
		}
		return nil
	})
	return page, err
}

func (l ledger) unsettled(key string, all bool) (u state.Unsettled, wanted bool) {
	e, known := l.entries[key]
	u = state.Unsettled{Key: key, Entry: bytes.Clone(e.Value)}
	wanted = known && (all || e.Open)
	for side := range l.news {
		if n, there := l.news[side][key]; there {
			n.Data = bytes.Clone(n.Data)
			u.News[side] = &n
			wanted = wanted || all || !n.Seen
		}
	}
	return u, wanted
}

// eachLive calls fn for the keys behind after that begin with prefix and are
// live on the side, and says whether there are news of them.
func (l ledger) eachLive(side state.Side, prefix, after string, fn func(key string, seen bool) bool) {
	for _, key := range l.keys.behind(after) {
		if e := l.entries[key]; !e.Live[side] || !strings.HasPrefix(key, prefix) {
			continue
		}
		if _, seen := l.news[side][key]; !fn(key, seen) {
			return
		}
	}
}

// Unseen implements [state.LedgerReader].
func (s *Store) Unseen(
	ctx context.Context, connector, collection string, side state.Side, prefix, after string, limit int,
) (keys []string, err error) {
	err = s.locked(ctx, "read unseen keys of "+connector, func() error {
		s.ledger(connector, collection).eachLive(side, prefix, after, func(key string, seen bool) bool {
			if !seen {
				keys = append(keys, key)
			}
			return len(keys) < limit
		})
		return nil
	})
	return keys, err
}

// CountUnseen implements [state.LedgerReader].
func (s *Store) CountUnseen(
	ctx context.Context, connector, collection string, side state.Side, prefix string,
) (unseen, live uint64, err error) {
	err = s.locked(ctx, "count unseen keys of "+connector, func() error {
		s.ledger(connector, collection).eachLive(side, prefix, "", func(_ string, seen bool) bool {
			live++
			if !seen {
				unseen++
			}
			return true
		})
		return nil
	})
	return unseen, live, err
}

// Ledgered implements [state.LedgerReader].
func (s *Store) Ledgered(ctx context.Context, connector string) (names []string, err error) {
	err = s.locked(ctx, "read collections of "+connector, func() error {
		for name, l := range s.held.ledgers[connector] {
			if len(l.entries) > 0 {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

// addConflict leaves a conflict alone that was decided. One that was settled
// and is found again is open again.
func (s *Store) addConflict(x state.Conflict) {
	known, again := s.held.conflicts[x.ID]
	if again && known.Decision.Take != "" {
		return
	}
	run, at, held, rule, reason := x.Run, stored(x.At), x.Held, x.Rule, legible(x.Reason)
	if again {
		x = known
	}
	x.Run, x.At, x.Held, x.Rule, x.Reason = run, at, held, rule, reason
	x.This, x.Other, x.Edited = bytes.Clone(x.This), bytes.Clone(x.Other), stored(x.Edited)
	x.Decision, x.ResolvedAt, x.ResolvedBy = state.Decision{}, time.Time{}, ""
	s.held.conflicts[x.ID] = x
}

// Decide implements [state.ConflictKeeper].
func (s *Store) Decide(ctx context.Context, id string, d state.Decision) error {
	doing := "decide conflict " + id
	if err := sensible(&d); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return s.locked(ctx, doing, func() error {
		x, known := s.held.conflicts[id]
		if !known || !x.ResolvedAt.IsZero() {
			return notFound(doing)
		}
		d.At, d.Value = stored(d.At), bytes.Clone(d.Value)
		x.Decision = d
		if d.Take == state.TakeNothing {
			x.ResolvedAt, x.ResolvedBy = d.At, d.By
		}
		s.held.conflicts[id] = x
		return nil
	})
}

func sensible(d *state.Decision) error {
	takes := []string{state.TakeThis, state.TakeOther, state.TakeValue, state.TakeNothing}
	if !slices.Contains(takes, d.Take) || d.By == "" || d.At.IsZero() ||
		d.Value != nil && (d.Take != state.TakeValue || !json.Valid(d.Value)) {
		return errors.New("the decision makes no sense")
	}
	return nil
}

// Conflict implements [state.ConflictKeeper].
func (s *Store) Conflict(ctx context.Context, id string) (x state.Conflict, err error) {
	err = s.locked(ctx, "read conflict "+id, func() error {
		known := false
		if x, known = s.held.conflicts[id]; !known {
			return notFound("read conflict " + id)
		}
		return nil
	})
	return x, err
}

// Conflicts implements [state.ConflictKeeper].
func (s *Store) Conflicts(ctx context.Context, f state.ConflictFilter) (all []state.Conflict, err error) {
	is := func(want, got string) bool { return want == "" || want == got }
	err = s.locked(ctx, "read conflicts", func() error {
		for _, x := range s.held.conflicts {
			open := x.ResolvedAt.IsZero()
			if is(f.Connector, x.Connector) && is(f.Collection, x.Collection) && is(f.Key, x.Key) && is(f.Run, x.Run) &&
				(open || !f.Open && !f.Decided) && (!f.Decided || x.Decision.Take != "") && (!f.Held || x.Held) {
				all = append(all, x)
			}
		}
		slices.SortFunc(all, func(a, b state.Conflict) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.ID, a.ID)) })
		return nil
	})
	return first(all, f.Limit), err
}
