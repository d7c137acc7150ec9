package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// maxLetters is how many dead letters are held before they are stored, and how
// many open ones are looked at: where there are more, nobody reads them singly.
const maxLetters = 1000

// undelivered is what is known of records that could not be synced.
type undelivered struct {
	letters []state.DeadLetter // not stored yet
	// open are the keys of open letters, settled those of them that this run
	// has pushed.
	open, settled map[string]bool
	// tabled is how many records had been rejected when the next fingerprints
	// were written.
	tabled uint64
	// origins that this run has read, by their marks.
	origins map[uint64]string
}

// rejectedBySource opens a dead letter for a record that the source could not
// deliver. With a key it counts as present: forbidden is not deleted. Without
// one, nothing in the partition may be deleted by absence.
func (t *task) rejectedBySource(r *gapless.Rejection) error {
	h := proof.RejectionDelivery(r)
	t.books.certificate.Read.Add(h)
	t.books.certificate.Rejected.Add(h)
	t.books.counts.Rejected++
	if r.Key == "" {
		t.books.unidentified++
	} else if t.compare != nil {
		if err := t.compare.Keep([]byte(r.Key), proof.KeyHash([]byte(r.Key)), uint64(max(r.Line, 0))); err != nil {
			return fmt.Errorf("compare with fingerprints: %w", err)
		}
	}
	t.raise(state.DeadLetter{
		Key: r.Key, Origin: r.Origin, Line: r.Line, Body: r.Raw, Stage: state.StageRead, Reason: r.Err.Error(),
	})
	return nil
}

// refused opens a dead letter for row i of b, refused by the mapping or by the
// destination. The caller has entered it in the certificate.
func (t *task) refused(b *gapless.Batch, i int, h rowHash, stage string, reason error) error {
	t.books.counts.Rejected++
	c := b.Change(i)
	if t.compare != nil {
		t.compare.Distrust(h.key)
		if stage == state.StageMap {
			if err := t.compare.Keep([]byte(c.Key), h.key, uint64(c.Line)); err != nil {
				return fmt.Errorf("compare with fingerprints: %w", err)
			}
		}
	}
	t.raise(state.DeadLetter{
		Key: c.Key, Origin: b.Origin, Line: c.Line, Op: c.Op, Version: c.Version, Body: c.Data,
		HasBody: true, HasParts: len(c.Parts) > 0, Stage: stage, Reason: reason.Error(),
	})
	return nil
}

// refusedLate opens a dead letter for a row of an earlier batch, and takes it
// off the accounts that it counts as pushed in: also that of the mark, unless it
// was pushed behind it.
func (t *task) refusedLate(r gapless.Rejection) {
	t.books.refusedLate()
	if at := &t.marked; at.open() && !slices.Contains(at.behind, proof.KeyHash([]byte(r.Key)).Lo) {
		at.books.refusedLate()
	}
	t.raiseLate(r)
}

// refusedUncounted is refusedLate where no row that counts as pushed waits to be
// synced: the one refused is of a push that failed.
func (t *task) refusedUncounted(r gapless.Rejection) {
	t.books.certificate.Mapped = true
	t.books.counts.Rejected++
	t.raiseLate(r)
}

func (t *task) raiseLate(r gapless.Rejection) {
	if t.compare != nil {
		t.compare.Distrust(proof.KeyHash([]byte(r.Key)))
	}
	t.raise(state.DeadLetter{Key: r.Key, Stage: state.StageSync, Reason: r.Err.Error()})
}

// keptDespite accounts for what a sync has refused. Deletes by absence are no
// records of the source that could become dead letters: refused is the error
// that ends the run before the checkpoint, so that the next one finds them again.
func (t *task) keptDespite(rejected []gapless.Rejection) (refused, err error) {
	count := 0
	for _, r := range rejected {
		swept, err := t.swept([]byte(r.Key))
		if err != nil {
			return nil, err
		}
		if swept {
			count++
			refused = cmp.Or(refused, r.Err)
			continue
		}
		if c := &t.books.certificate; c.Pushed.Count > c.Synced.Count {
			t.refusedLate(r)
		} else { // nothing waits to be synced
			t.refusedUncounted(r)
		}
	}
	if count > 0 {
		refused = gapless.Recoverable(fmt.Errorf("the destination refuses %d deletes: %w", count, refused))
	}
	return refused, nil
}

// swept reports whether a key was deleted by absence since the last sync, and
// takes it out of the account of such deletes.
func (t *task) swept(key []byte) (bool, error) {
	if t.seen == nil || t.books.deleting.Count == 0 {
		return false, nil
	}
	_, seen, err := t.seen.Lookup(proof.KeyHash(key))
	if err != nil || seen {
		return false, err
	}
	var b gapless.Batch
	b.AppendRow(gapless.Row{Op: gapless.OpDelete, Key: b.AppendBytes(key)})
	hash, content := proof.RowHash(&b, 0)
	t.books.deleting.Remove(proof.Delivery(hash, content))
	t.books.counts.Deleted--
	t.books.counts.Pushed--
	return true, nil
}

// distrustRefused notes once more what the enumeration that is resumed has been
// refused: a sync finds that out behind the mark, where its log is cut.
func (t *task) distrustRefused(ctx context.Context) error {
	list, err := t.stillOpen(ctx, 0)
	for _, l := range list {
		if l.Key != "" {
			t.compare.Distrust(proof.KeyHash([]byte(l.Key)))
		}
	}
	return err
}

// raise opens a dead letter; saveLetters stores it.
func (t *task) raise(l state.DeadLetter) {
	l.Connector, l.Partition, l.Run, l.At = t.Connector, t.partition.ID, t.id, t.Now().UTC()
	t.letters = append(t.letters, l)
}

// saveLetters stores the dead letters held, before anything passes them.
func (t *task) saveLetters(ctx context.Context) error {
	if len(t.letters) == 0 {
		return nil
	}
	if err := t.commit(ctx, state.Commit{DeadLetters: t.letters}); err != nil {
		return fmt.Errorf("store dead letters: %w", err)
	}
	t.letters = t.letters[:0]
	return nil
}

// openLetters reads which records of earlier runs are still not synced.
func (t *task) openLetters(ctx context.Context) error {
	list, err := t.stillOpen(ctx, maxLetters)
	if err != nil {
		return err
	}
	t.open, t.settled = make(map[string]bool, len(list)), map[string]bool{}
	for _, l := range list {
		t.open[l.Key] = true
	}
	return nil
}

// stillOpen returns the newest open letters of the partition, all if limit is
// 0.
func (t *task) stillOpen(ctx context.Context, limit int) ([]state.DeadLetter, error) {
	list, err := t.Store.DeadLetters(ctx, state.DeadLetterFilter{
		Connector: t.Connector, Partition: t.partition.ID, Open: true, Limit: limit,
	})
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	return list, nil
}

// settledLetters returns the letters of earlier runs that this one has not
// raised again, although it pushed their records or, in a complete
// enumeration, would have come across them.
func (t *task) settledLetters(ctx context.Context) ([]string, error) {
	list, err := t.stillOpen(ctx, 0)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, l := range list {
		if l.Run != t.id && (t.decision.Sweep && l.At.Before(t.books.certificate.Started) || l.Key != "" && t.settled[l.Key]) {
			ids = append(ids, l.ID)
		}
	}
	return ids, nil
}

// notSynced returns an error as long as records of the partition are in the
// dead letters, whichever run put them there: the destination is not complete.
func (t *task) notSynced(ctx context.Context) error {
	list, err := t.stillOpen(ctx, maxLetters)
	if err != nil || len(list) == 0 {
		return err
	}
	count := fmt.Sprintf("%d records of %s are", len(list), t.partition.ID)
	switch len(list) {
	case 1:
		count = fmt.Sprintf("1 record of %s is", t.partition.ID)
	case maxLetters:
		count = fmt.Sprintf("%d or more records of %s are", len(list), t.partition.ID)
	}
	return gapless.Errorf(gapless.CodeRejectedRecords, t.Connector, "%s not synced", count)
}
