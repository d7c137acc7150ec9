package engine

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
	"github.com/gapless-sync/gapless/mapping"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// rowHash is what one row counts as.
type rowHash struct{ key, content, delivery gapless.Hash128 }

// readAndPush reads the source and processes its batches, in order. It returns
// nil only if the source was read to its end and everything was pushed.
func (t *task) readAndPush(ctx context.Context) error {
	if t.decision.Mode != plan.ModeRepair {
		r := t.reader()
		if err := r.pump(ctx, r.readSource); err != nil {
			return err
		}
	}
	if t.decision.Repair && t.compare == nil {
		return t.fetch(ctx, t.known.Repair)
	}
	return nil
}

func (t *task) reader() *reader {
	return &reader{run: t.run, source: t.Source, partition: t.partition, name: t.partition.ID, decision: t.decision, process: t.process}
}

// fetch reads single records and pushes them.
func (t *task) fetch(ctx context.Context, keys []string) error {
	r := t.reader()
	return r.pump(ctx, func(ctx context.Context, out *gapless.Output) error { return r.fetch(ctx, keys, out) })
}

// process takes one batch from the source to the destination.
func (t *task) process(ctx context.Context, b *gapless.Batch) error {
	before := t.books.counts
	bytes := int64(len(b.Buf))
	t.comesFrom(b.Origin)
	identify(b)
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
		if err := t.pushSparing(ctx, work); err != nil {
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
	t.marked.mark, t.marked.books, t.marked.behind = mark, *t.books, t.marked.behind[:0]
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
func identify(b *gapless.Batch) {
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
	if t.undigested {
		t.hashCompared(b)
		return
	}
	for i := range b.Rows {
		key, content := proof.RowHash(b, i)
		t.hashes = append(t.hashes, rowHash{key, content, proof.Delivery(key, content)})
	}
}

// hashCompared is hash of what a comparison needs, and nothing for digests.
func (t *task) hashCompared(b *gapless.Batch) {
	for i := range b.Rows {
		var h rowHash
		if t.compare != nil {
			h.key, h.content = proof.RowHash(b, i)
		}
		t.hashes = append(t.hashes, h)
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
	t.marked.passed(t.hashes)
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
