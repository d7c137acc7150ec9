package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
	"github.com/gapless-sync/gapless/mapping"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// Batches on their way between reader and pusher; with one being filled and
// one being pushed they bound the memory of a partition.
const batchesInFlight = 2

// rowHash is what one row counts as.
type rowHash struct{ key, content, delivery gapless.Hash128 }

// readAndPush reads the source on one goroutine and processes its batches, in
// order, on this one. It returns nil only if the source was read to its end
// and everything was pushed.
func (t *task) readAndPush(ctx context.Context) error {
	if t.decision.Mode != plan.ModeRepair {
		if err := t.pump(ctx, t.readSource); err != nil {
			return err
		}
	}
	if t.decision.Repair && t.compare == nil {
		return t.pump(ctx, func(ctx context.Context, out *gapless.Output) error { return t.fetch(ctx, t.known.Repair, out) })
	}
	return nil
}

// pump runs read on a goroutine of its own and processes what it emits.
func (t *task) pump(ctx context.Context, read func(context.Context, *gapless.Output) error) error {
	reading, stop := context.WithCancelCause(t.reading)
	defer stop(nil)
	full := make(chan *gapless.Batch, batchesInFlight)
	free := make(chan *gapless.Batch, batchesInFlight+1)
	var readErr error
	go func() {
		defer close(full)
		readErr = t.drive(reading, full, free, read)
	}()
	var err error
	for b := range full {
		if err == nil {
			if err = t.process(ctx, b); err != nil {
				stop(err)
			}
		}
		select {
		case free <- b:
		default:
		}
	}
	if err != nil {
		return err
	}
	return readErr
}

// drive calls read once, with an output that feeds full. A read that ends
// after it was told to stop has not seen the end, whatever it returns.
func (t *task) drive(ctx context.Context, full chan<- *gapless.Batch, free <-chan *gapless.Batch, read func(context.Context, *gapless.Output) error) error {
	t.fed = feed{}
	emit := func(ctx context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		t.fed.sinceMark++
		if b.Mark != "" {
			t.fed = feed{mark: b.Mark}
		}
		select {
		case full <- b:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		select {
		case empty := <-free:
			return empty, nil
		default:
			return &gapless.Batch{}, nil
		}
	}
	out := gapless.NewOutput(ctx, t.partition, t.Settings.BatchRows, t.Settings.BatchBytes, emit)
	err := read(ctx, out)
	if err == nil {
		err = out.Flush()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("read partition %s: %w", t.partition.ID, err)
	}
	return nil
}

// feed is what the reading goroutine has handed over so far.
type feed struct {
	mark      gapless.Mark
	sinceMark int // batches
}

// readSource calls the read method that the decision asks for. After a
// recoverable failure it is called again from the last mark, unless that
// would emit records of an enumeration twice.
func (t *task) readSource(ctx context.Context, out *gapless.Output) error {
	return t.retry(ctx, t.partition.ID, "read", func() error {
		discard(out)
		if t.decision.Mode == plan.ModeIncremental {
			from := t.decision.From
			if t.fed.mark != "" {
				from = gapless.Position(t.fed.mark)
			}
			return t.Source.(gapless.ChangeReader).ReadChanges(ctx, t.partition, from, t.decision.To, out)
		}
		after := t.decision.Mark
		if t.fed.mark != "" {
			after = t.fed.mark
		}
		err := t.Source.ReadAll(ctx, t.partition, after, out)
		if err != nil && t.fed.sinceMark > 0 {
			return &final{err}
		}
		return err
	})
}

// discard forgets what was emitted but not handed over by a failed attempt.
func discard(out *gapless.Output) {
	b := out.Batch()
	p := b.Partition
	b.Reset()
	b.Partition = p
}

// fetch reads single records. A record whose key is not known cannot be.
func (t *task) fetch(ctx context.Context, keys []string, out *gapless.Output) error {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == "" })
	return t.retry(ctx, t.partition.ID, "fetch", func() error {
		return t.Source.(gapless.Fetcher).Fetch(ctx, t.partition, keys, out)
	})
}

// process takes one batch from the source to the destination.
func (t *task) process(ctx context.Context, b *gapless.Batch) error {
	before := t.books.counts
	bytes := int64(len(b.Buf))
	t.comesFrom(b.Origin)
	t.identify(b)
	for i := range b.Rejects {
		if err := t.rejectedBySource(&b.Rejects[i]); err != nil {
			return err
		}
	}
	t.hash(b)
	for i := range b.Rows {
		t.books.certificate.Read.Add(t.hashes[i].delivery)
		for _, part := range b.Parts(i) {
			bytes += max(part.Size, 0)
		}
	}
	t.books.counts.Read += uint64(len(b.Rows) + len(b.Rejects))
	work := b
	if !t.Mapping.IsIdentity() {
		if err := t.mapRows(b); err != nil {
			return err
		}
		work = &t.mapped
		t.hash(work)
	}
	if t.compare != nil {
		if err := t.compareRows(work); err != nil {
			return err
		}
	}
	if work.Len() > 0 {
		if err := t.pushBatch(ctx, work); err != nil {
			return err
		}
	}
	if b.Mark != "" {
		if err := t.reach(b.Mark); err != nil {
			return err
		}
	}
	if len(t.letters) >= maxLetters {
		if err := t.saveLetters(ctx); err != nil {
			return err
		}
	}
	t.advance(difference(t.books.counts, before), bytes)
	return t.maybeSync(ctx)
}

// reach notes that everything up to mark is pushed.
func (t *task) reach(mark gapless.Mark) error {
	t.marked.mark, t.marked.books = mark, *t.books
	if t.compare == nil || t.dry {
		return nil
	}
	size, err := t.compare.Flush()
	if err != nil {
		return fmt.Errorf("write log of fingerprints: %w", err)
	}
	t.marked.logSize = size
	return nil
}

func difference(a, b Counts) Counts {
	return Counts{
		Read: a.Read - b.Read, Unchanged: a.Unchanged - b.Unchanged, Filtered: a.Filtered - b.Filtered,
		Rejected: a.Rejected - b.Rejected, Created: a.Created - b.Created, Updated: a.Updated - b.Updated,
		Deleted: a.Deleted - b.Deleted, Pushed: a.Pushed - b.Pushed,
	}
}

// identify turns rows whose key cannot be one into rejections.
func (t *task) identify(b *gapless.Batch) {
	kept := b.Rows[:0]
	for i, r := range b.Rows {
		key := b.Key(i)
		if len(key) > 0 && len(key) <= gapless.MaxKeyBytes && utf8.Valid(key) {
			kept = append(kept, r)
			continue
		}
		raw := b.Data(i)
		b.Rejects = append(b.Rejects, gapless.Rejection{
			Origin: b.Origin, Line: int(r.Line), Raw: append([]byte(nil), raw[:min(len(raw), gapless.MaxRejectBytes)]...),
			Err: fmt.Errorf("key of %d bytes is empty, longer than %d bytes, or not UTF-8", len(key), gapless.MaxKeyBytes),
		})
	}
	b.Rows = kept
}

// hash fills t.hashes with the hashes of the rows of b.
func (t *task) hash(b *gapless.Batch) {
	t.hashes = t.hashes[:0]
	for i := range b.Rows {
		key, content := proof.RowHash(b, i)
		t.hashes = append(t.hashes, rowHash{key, content, proof.Delivery(key, content)})
	}
}

// mapRows fills t.mapped with what the mapping makes of b. Outside an
// enumeration, a record that the filter does not want may have been wanted
// before: it is pushed as a delete. Within one, its absence is enough.
func (t *task) mapRows(b *gapless.Batch) error {
	t.mapped.Reset()
	t.mapped.Partition, t.mapped.Origin = b.Partition, b.Origin
	var failed error
	err := t.Mapping.Apply(b, &t.mapped, func(i int, v mapping.Verdict, err error) {
		h := t.hashes[i]
		switch v {
		case mapping.Filtered:
			t.books.counts.Filtered++
			if t.compare != nil {
				t.books.certificate.Filtered.Add(h.delivery)
				return
			}
			t.leaving++
			t.mapped.AppendRow(gapless.Row{Op: gapless.OpDelete, Key: t.mapped.AppendBytes(b.Key(i)), Line: b.Rows[i].Line})
		case mapping.Rejected:
			t.books.certificate.Rejected.Add(h.delivery)
			failed = errors.Join(failed, t.refused(b, i, h, state.StageMap, err))
		}
	})
	return errors.Join(err, failed)
}

// compareRows drops the rows of b that the destination has already.
func (t *task) compareRows(b *gapless.Batch) error {
	rows, hashes := b.Rows[:0], t.hashes[:0]
	for i, r := range b.Rows {
		h := t.hashes[i]
		verdict, err := t.compare.Add(b.Key(i), h.key, h.content.Lo, t.origin.mark|r.Line)
		if err != nil {
			return fmt.Errorf("compare with fingerprints: %w", err)
		}
		if verdict == delta.Unchanged && t.decision.Mode == plan.ModeCompare {
			t.books.certificate.Unchanged.Add(h.delivery)
			t.books.counts.Unchanged++
			continue
		}
		if verdict == delta.Created && (t.decision.Mode == plan.ModeCompare || t.facts.DestinationEmpty) {
			t.created++
		}
		rows, hashes = append(rows, r), append(hashes, h)
	}
	b.Rows, t.hashes = rows, hashes
	return nil
}

// pushBatch pushes b, whose rows t.hashes describes, and accounts for it.
func (t *task) pushBatch(ctx context.Context, b *gapless.Batch) error {
	if t.compare != nil && !t.dry {
		if err := t.base.protect(t.compare); err != nil {
			return err
		}
	}
	var receipt gapless.Receipt
	if !t.dry {
		var err error
		if receipt, err = t.push(ctx, b); err != nil {
			return fmt.Errorf("push to destination: %w", err)
		}
	}
	var rejected map[string]error
	if len(receipt.Rejected) > 0 {
		rejected = make(map[string]error, len(receipt.Rejected))
		for _, r := range receipt.Rejected {
			rejected[r.Key] = r.Err
		}
	}
	t.sinceSync += b.Len()
	var accepted, deleted uint64
	for i := range b.Rows {
		h := t.hashes[i]
		if rejected != nil {
			if reason, ok := rejected[string(b.Key(i))]; ok {
				t.books.certificate.Rejected.Add(h.delivery)
				if err := t.refused(b, i, h, state.StagePush, reason); err != nil {
					return err
				}
				continue
			}
		}
		t.books.certificate.Pushed.Add(h.delivery)
		accepted++
		if len(t.open) > 0 && t.open[string(b.Key(i))] {
			t.settled[string(b.Key(i))] = true
		}
		if b.Rows[i].Op == gapless.OpDelete {
			deleted++
		}
	}
	deleted -= min(t.leaving, deleted) // counted as filtered
	accepted -= min(t.leaving, accepted)
	created := min(t.created, accepted-deleted)
	t.created, t.leaving = 0, 0
	c := &t.books.counts
	c.Pushed += accepted
	c.Deleted += deleted
	c.Created += created
	c.Updated += accepted - deleted - created
	return nil
}
