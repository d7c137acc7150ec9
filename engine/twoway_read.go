package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state"
)

var errPatch = errors.New("the source tells single fields; a two-way connector needs whole records")

// maxStaged is how many keys a half remembers to have staged. Beyond, it
// stages what is no news as well, which costs time only.
const maxStaged = 1 << 20

// staged remembers which keys have news, by their hashes: a record that is
// read again and is as the ledger has it takes the news back.
type staged struct {
	keys map[uint64]struct{}
	all  bool
}

func (s *staged) add(key gapless.Hash128) {
	if s.keys == nil {
		s.keys = map[uint64]struct{}{}
	}
	if s.all = s.all || len(s.keys) >= maxStaged; s.all {
		s.keys = nil
		return
	}
	s.keys[key.Lo] = struct{}{}
}

func (s *staged) has(key gapless.Hash128) bool { return s.certainly(key) || s.all }

// certainly reports whether it is remembered that a key has news.
func (s *staged) certainly(key gapless.Hash128) bool {
	_, there := s.keys[key.Lo]
	return there
}

// reads returns what reads the half's partition.
func (h *half) reads() *reader {
	return &reader{run: h.run, source: h.from.Source, side: h.from.index, partition: h.origin, name: h.partition.ID, decision: h.decision, process: h.take}
}

// read reads what the decision asks for. If the source turns out not to honour
// a position, it decides once more with that fact.
func (h *half) read(ctx context.Context) error {
	err := h.readDecided(ctx)
	again, ok := reconsider(h.facts, h.decision, h.task, err)
	if !ok {
		return err
	}
	h.decision = again
	h.books = newBooks(h.task)
	h.books.certificate.Mapped = true
	row, announced := h.announce()
	if announced {
		if err := h.commit(ctx, state.Commit{Partitions: []state.Partition{row}}); err != nil {
			return fmt.Errorf("record what has to be completed: %w", err)
		}
	}
	return h.readDecided(ctx)
}

func (h *half) readDecided(ctx context.Context) error {
	if h.decision.Mode == plan.ModeNothing {
		return nil
	}
	r := h.reads()
	if h.decision.Mode != plan.ModeRepair {
		if err := r.pump(ctx, r.readSource); err != nil {
			return err
		}
		h.enumerated = h.decision.Sweep
	}
	if h.decision.Repair {
		if err := h.fetch(ctx, h.known.Repair); err != nil {
			return err
		}
	}
	if h.decision.Keys {
		return h.readKeys(ctx)
	}
	return nil
}

// fetch reads single records.
func (h *half) fetch(ctx context.Context, keys []string) error {
	r := h.reads()
	return r.pump(ctx, func(ctx context.Context, out *gapless.Output) error { return r.fetch(ctx, keys, out) })
}

// readOn reads what changed since the position that the half has reached, if
// something was written to its side since.
func (h *half) readOn(ctx context.Context) error {
	positioner, ok := h.from.Source.(gapless.Positioner)
	_, reads := h.from.Source.(gapless.ChangeReader)
	again := h.pushed
	h.pushed = false
	if !ok || !reads || !again || h.narrowed {
		return nil
	}
	from := h.decision.To
	to, err := positioner.Position(ctx, h.origin)
	if err != nil {
		return fmt.Errorf("take position of %s: %w", h.partition.ID, err)
	}
	if from == "" || to == from {
		return nil
	}
	d := h.decision
	h.decision.Mode, h.decision.From, h.decision.To = plan.ModeIncremental, from, to
	r := h.reads()
	err = r.pump(ctx, r.readSource)
	h.decision = d
	if err != nil {
		return err
	}
	h.decision.To, h.books.certificate.To = to, to
	if d.Mode == plan.ModeNothing || d.Mode == plan.ModeRepair {
		h.becomes(plan.ModeIncremental, from)
	}
	return nil
}

// becomes changes the mode of a half that was to read nothing new.
func (h *half) becomes(mode plan.Mode, from gapless.Position) {
	h.decision.Mode, h.decision.From = mode, from
	h.books.certificate.Mode, h.books.certificate.From = string(mode), from
}

// take stages what a batch says that the ledger does not know.
func (h *half) take(ctx context.Context, b *gapless.Batch) error {
	before := h.books.counts
	identify(b)
	keys := make([]string, len(b.Rows))
	for i := range b.Rows {
		keys[i] = string(b.Key(i))
	}
	entries, err := h.Store.Entries(ctx, h.Connector, h.origin.Collection, keys)
	if err != nil {
		return fmt.Errorf("look up the ledger: %w", err)
	}
	news := make([]state.News, 0, len(b.Rows))
	for i := range b.Rows {
		n, err := h.news(b, i, entries[keys[i]].Value)
		if err != nil {
			return err
		}
		if n.Key != "" {
			news = append(news, n)
		}
	}
	for i := range b.Rejects {
		if n := h.rejected(&b.Rejects[i]); n.Key != "" {
			news = append(news, n)
		}
	}
	h.books.counts.Read += uint64(len(b.Rows) + len(b.Rejects))
	h.seen += uint64(len(b.Rows))
	if len(news) > 0 {
		if err := h.Store.Stage(ctx, h.lease.Lease, news); err != nil {
			return fmt.Errorf("stage what was read: %w", err)
		}
	}
	h.advance(difference(h.books.counts, before), int64(len(b.Buf)))
	return h.saveLetters(ctx)
}

// news accounts for a row and returns what it says; nothing if the ledger
// knows it and nobody asks whether it was seen.
func (h *half) news(b *gapless.Batch, i int, known []byte) (state.News, error) {
	c := b.Change(i)
	key, content := proof.RowHash(b, i)
	delivery := proof.Delivery(key, content)
	h.books.certificate.Read.Add(delivery)
	e, err := h.entry(c.Key, known)
	if err != nil {
		return state.News{}, err
	}
	n := state.News{
		Side: h.from.index, Collection: h.origin.Collection, Key: c.Key, Op: c.Op, Version: c.Version, Modified: c.Modified, Data: c.Data,
	}
	echo := false
	if c.Op == gapless.OpPatch {
		err = errPatch
	} else {
		echo, err = h.isEcho(&e.sides[h.from.index], &n, c.Parts)
	}
	if err != nil {
		h.books.certificate.Rejected.Add(delivery)
		h.books.counts.Rejected++
		h.raise(state.DeadLetter{
			Key: c.Key, Origin: b.Origin, Line: c.Line, Op: c.Op, Version: c.Version, Body: c.Data,
			HasBody: true, HasParts: len(c.Parts) > 0, Stage: state.StageRead, Reason: err.Error(),
		})
		return h.mark(c.Key), nil
	}
	if echo && !h.asked && !h.staged.has(key) {
		h.books.certificate.Unchanged.Add(delivery)
		h.books.counts.Unchanged++
		if !h.decision.Sweep && !h.decision.Keys {
			return state.News{}, nil
		}
		return h.mark(c.Key), nil
	}
	h.staged.add(key)
	n.Digest.Add(delivery)
	return n, nil
}

// isEcho leaves the content of what was read, with its parts listed, and
// reports whether the ledger has it so.
func (h *half) isEcho(was *held, n *state.News, parts []gapless.Part) (echo bool, err error) {
	if s, ok := h.from.Source.(gapless.Contenter); ok && h.from.pusher == nil && n.Op == gapless.OpUpsert {
		if n.Data, err = s.Content(n.Collection, n.Data); err != nil {
			return false, err
		}
	}
	if len(parts) > 0 && n.Op == gapless.OpUpsert {
		if !h.facts.CanFetch {
			return false, errParts
		}
		if n.Data, err = listParts(n.Data, parts); err != nil {
			return false, err
		}
	}
	echo, err = was.knows(n)
	echo = echo && !h.restates(was, n)
	if err == nil && !echo && n.Op == gapless.OpUpsert {
		err = resolve.Check(n.Data)
	}
	return echo, err
}

// restates reports whether a row that says nothing new says it in another way,
// where that matters: to who compares what is overwritten, or lists versions.
func (h *half) restates(was *held, n *state.News) bool {
	switch {
	case n.Op == gapless.OpDelete:
		return false
	case h.from.pusher != nil:
		return n.Version != was.version || !bytes.Equal(n.Data, was.at.Data)
	}
	return h.facts.Model == gapless.ModelModified && h.facts.CanReadKeys && n.Version != was.version
}

// rejected opens a dead letter for a record that the source could not deliver.
// With a key it counts as seen: forbidden is not deleted.
func (h *half) rejected(r *gapless.Rejection) state.News {
	d := proof.RejectionDelivery(r)
	h.books.certificate.Read.Add(d)
	h.books.certificate.Rejected.Add(d)
	h.books.counts.Rejected++
	h.raise(state.DeadLetter{
		Key: r.Key, Origin: r.Origin, Line: r.Line, Body: r.Raw, Stage: state.StageRead, Reason: r.Err.Error(),
	})
	if r.Key == "" {
		h.books.unidentified++
		return state.News{}
	}
	return h.mark(r.Key)
}

// mark returns news that say no more than that a record is there.
func (h *half) mark(key string) state.News {
	return state.News{Side: h.from.index, Collection: h.origin.Collection, Key: key, Seen: true}
}

// readKeys enumerates the keys of a source that cannot tell deletes, and
// fetches the records that its changes did not show.
func (h *half) readKeys(ctx context.Context) error {
	h.seen = 0 // what counts is whether the keys came
	var missed []string
	r := h.reads()
	r.process = func(ctx context.Context, b *gapless.Batch) error {
		more, err := h.untold(ctx, b)
		if err != nil {
			return err
		}
		missed = append(missed, more...)
		news := make([]state.News, 0, len(b.Rows)+len(b.Rejects))
		for i := range b.Rows {
			news = append(news, h.mark(string(b.Key(i))))
		}
		for i := range b.Rejects {
			if n := h.rejected(&b.Rejects[i]); n.Key != "" {
				news = append(news, n)
			}
		}
		h.books.counts.Read += uint64(len(b.Rejects))
		h.seen += uint64(len(b.Rows))
		return h.Store.Stage(ctx, h.lease.Lease, news)
	}
	err := r.pump(ctx, func(ctx context.Context, out *gapless.Output) error {
		return h.retry(ctx, &h.quiet[h.from.index], h.partition.ID, "read keys", func() error {
			discard(out)
			return h.from.Source.(gapless.KeyReader).ReadKeys(ctx, h.origin, out)
		})
	})
	if err != nil {
		return err
	}
	h.enumerated = true
	for keys := range slices.Chunk(missed, fetchKeys) {
		if !h.facts.CanFetch {
			return gapless.Unrecoverable(fmt.Errorf(
				"%d records, such as %q, were never told as changes, and the source cannot read single records", len(missed), missed[0]))
		}
		if err := h.fetch(ctx, keys); err != nil {
			return err
		}
	}
	return nil
}

// untold returns those keys of an enumeration of which the ledger has another
// version, or none, although no change was told.
func (h *half) untold(ctx context.Context, b *gapless.Batch) ([]string, error) {
	keys := make([]string, len(b.Rows))
	for i := range b.Rows {
		keys[i] = string(b.Key(i))
	}
	entries, err := h.Store.Entries(ctx, h.Connector, h.origin.Collection, keys)
	if err != nil {
		return nil, fmt.Errorf("look up the ledger: %w", err)
	}
	var untold []string
	for i, key := range keys {
		e, err := h.entry(key, entries[key].Value)
		if err != nil {
			return nil, err
		}
		was, version := &e.sides[h.from.index], string(b.Version(i))
		known := was.live() && (version == "" || version == was.version)
		if !known && !h.staged.certainly(proof.KeyHash([]byte(key))) {
			untold = append(untold, key)
		}
	}
	return untold, nil
}

// entry decodes an entry. What the ledger says about a side that has lost what
// it was given does not hold.
func (h *half) entry(key string, value []byte) (entry, error) {
	e, err := decodeEntry(value)
	if err != nil {
		return e, describe(h.origin.Collection, key, err)
	}
	if h.from.restored {
		e.sides[h.from.index] = held{}
	}
	return e, nil
}

// stageAbsent stages as deleted what a complete enumeration did not contain,
// if the guard allows it.
func (h *half) stageAbsent(ctx context.Context) error {
	if !h.enumerated || h.from.restored {
		return nil
	}
	s, collection, pre := h.from.index, h.origin.Collection, h.origin.Prefix
	unseen, live, err := h.Store.CountUnseen(ctx, h.Connector, collection, s, pre)
	if err != nil {
		return fmt.Errorf("count absent keys: %w", err)
	}
	if unseen == 0 {
		return nil
	}
	count := plan.Count{Partition: h.partition.ID, Known: true, Total: live, Deletes: unseen}
	var digest proof.Digest
	err = h.absent(ctx, func(keys []string) error {
		for _, key := range keys {
			digest.Add(proof.KeyHash([]byte(key)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	count.Absent = digest.String()
	if err := h.guard(ctx, count, h.seen); err != nil {
		return err
	}
	h.keepApproved(count)
	return h.absent(ctx, func(keys []string) error {
		news := make([]state.News, len(keys))
		for i, key := range keys {
			news[i] = state.News{Side: s, Collection: collection, Key: key, Op: gapless.OpDelete}
		}
		return h.Store.Stage(ctx, h.lease.Lease, news)
	})
}

// keepApproved takes over into the plan of this run what was approved, because
// another half may still be refused: nothing of a collection is deleted before
// all of it is approved.
func (h *half) keepApproved(count plan.Count) {
	code, reason := guarded(h.Settings, count, h.seen)
	if code == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.plan.Changes = append(h.plan.Changes, count)
	h.plan.Approvals = append(h.plan.Approvals, plan.Approval{Partition: count.Partition, Reason: reason})
}

// absent calls fn with the keys that the ledger has live on the side and that
// were not seen there, page by page.
func (h *half) absent(ctx context.Context, fn func(keys []string) error) error {
	after := ""
	for {
		keys, err := h.Store.Unseen(ctx, h.Connector, h.origin.Collection, h.from.index, h.origin.Prefix, after, h.Settings.BatchRows)
		if err != nil {
			return fmt.Errorf("find absent keys: %w", err)
		}
		if len(keys) == 0 {
			return nil
		}
		if err := fn(keys); err != nil {
			return err
		}
		after = keys[len(keys)-1]
	}
}

// observe returns what a side holds, given what it was last seen to hold and
// what was read there. An edit without a time counts as made now.
func (e *end) observe(prev held, n *state.News, now time.Time) (held, error) {
	when := now
	if !n.Modified.IsZero() {
		when = n.Modified
	}
	next := held{at: prev.at, version: n.Version}
	if n.Op == gapless.OpDelete {
		next.at = e.tombstone(prev.at, n, when)
		return next, nil
	}
	stamped := resolve.Side{Data: n.Data}
	if e.pusher != nil && readStamps(n.Version, &stamped) {
		next.at = stamped
		return next, nil
	}
	missing, err := lacking(n.Data, slices.Concat(prev.unshown, prev.uncarried))
	if err != nil {
		return next, err
	}
	data, err := resolve.Fill(n.Data, prev.at.Data, missing)
	if err != nil {
		return next, err
	}
	same := false
	if prev.live() {
		if same, err = resolve.Same(prev.at.Data, data); err != nil {
			return next, err
		}
	}
	if same { // it is what the side was given, so that what is missing is not kept there
		next.at.Data, next.uncarried = data, missing
		return next, nil
	}
	for _, name := range missing {
		if slices.Contains(prev.uncarried, name) {
			next.uncarried = append(next.uncarried, name)
		} else {
			next.unshown = append(next.unshown, name)
		}
	}
	next.at, err = resolve.Edit(prev.at, data, when, e.node)
	return next, err
}

// tombstone returns what a deletion leaves of a record. A side that keeps
// versions tells the times of whoever deleted it or, if that was somebody who
// knows nothing of them, of what was deleted.
func (e *end) tombstone(prev resolve.Side, n *state.News, when time.Time) resolve.Side {
	if e.pusher != nil {
		deleted := resolve.Side{Deleted: true, Data: prev.Data}
		if readStamps(n.Version, &deleted) {
			return deleted
		}
		if seen, ok := stampsOf(n.Version); ok {
			prev.Times, prev.Seen = resolve.Join(prev.Times, seen.Times), resolve.Join(prev.Seen, seen.Seen)
		}
	}
	if prev.Times == nil {
		prev.Times = resolve.Times{} // nothing of the record was known where it was deleted
	}
	return resolve.Delete(prev, when, e.node)
}

// lacking returns those of the fields named that data does not have.
func lacking(data []byte, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	there, err := resolve.Fields(data)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(there, name) }), nil
}

// knows reports whether the ledger has a row as it was read.
func (h *held) knows(n *state.News) (bool, error) {
	switch {
	case n.Op == gapless.OpDelete && !h.exists():
		// Without a time it may have been deleted before anybody else had it.
		_, stamped := stampsOf(n.Version)
		return n.Modified.IsZero() && !stamped, nil
	case n.Op == gapless.OpDelete:
		return h.at.Deleted, nil
	case !h.live():
		return false, nil
	case n.Version != h.version && readStamps(n.Version, &resolve.Side{Data: n.Data}):
		return false, nil
	case len(h.unshown) > 0:
		return false, nil // what it shows for the first time is worth an entry
	case len(h.uncarried) > 0:
		missing, err := lacking(n.Data, slices.Clone(h.uncarried))
		if err != nil || len(missing) < len(h.uncarried) {
			return false, err
		}
		data, err := resolve.Fill(n.Data, h.at.Data, missing)
		if err != nil {
			return false, err
		}
		return resolve.Same(h.at.Data, data)
	}
	return resolve.Same(h.at.Data, n.Data)
}
