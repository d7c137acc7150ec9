package engine

import (
	"context"
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
	"github.com/gapless-sync/gapless/proof"
)

// fetchKeys is how many records are fetched at once.
const fetchKeys = 500

// seed lists what the destination holds, as the base of a comparison. Without
// a destination that can be listed, stale records cannot be found; that is
// said, not guessed.
func (t *task) seed(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	lister, ok := t.session.(gapless.Enumerator)
	if !ok && t.full != nil {
		return nil // the destination retires them
	}
	if !ok {
		t.notes = append(t.notes, fmt.Sprintf(
			"partition %s: the destination cannot list what it holds, so records that no longer exist at the source may remain there", t.partition.ID))
		return nil
	}
	return t.base.seed(t.Settings.Memory, func(fn func(key, version []byte) error) error {
		return lister.Enumerate(ctx, t.partition, fn)
	})
}

// reconcile enumerates the keys of a source that cannot tell deletes, and
// compares them with what the destination holds. Records that the changes did
// not show, late or backdated ones, are fetched; what the source lacks is left
// to the sweep.
func (t *task) reconcile(ctx context.Context) error {
	if err := t.syncWith(ctx); err != nil { // what was pushed has to be listed
		return err
	}
	if err := t.seed(ctx); err != nil {
		return err
	}
	if t.base.table == nil {
		return nil // there is nothing to compare keys with
	}
	compare, err := t.base.start(t.Settings.Memory, true, true)
	if err != nil {
		return err
	}
	missed, err := t.readKeys(compare)
	if err != nil {
		return err
	}
	for len(missed) > 0 {
		n := min(len(missed), fetchKeys)
		if !t.facts.CanFetch {
			return gapless.Unrecoverable(fmt.Errorf(
				"%d records, such as %q, were never told as changes, and the source cannot read single records", len(missed), missed[0]))
		}
		if err := t.fetch(ctx, missed[:n]); err != nil {
			return err
		}
		missed = missed[n:]
	}
	t.compare = compare
	return nil
}

// readKeys adds every key of the source to compare, and returns those that the
// destination lacks or holds in another version.
func (t *task) readKeys(compare *delta.Comparison) ([]string, error) {
	var missed []string
	out := gapless.NewOutput(t.reading, t.partition, 0, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Rows {
			key := b.Key(i)
			version := b.Version(i)
			verdict, err := compare.Add(key, proof.KeyHash(key), proof.KeyHash(version).Lo, b.Rows[i].Line)
			if err != nil {
				return nil, fmt.Errorf("compare keys: %w", err)
			}
			if verdict == delta.Created || verdict == delta.Updated && len(version) > 0 {
				missed = append(missed, string(key))
			}
		}
		for i := range b.Rejects {
			r := &b.Rejects[i]
			if err := t.rejectedBySource(r); err != nil {
				return nil, err
			}
			if r.Key == "" {
				continue
			}
			if err := compare.Keep([]byte(r.Key), proof.KeyHash([]byte(r.Key)), uint64(max(r.Line, 0))); err != nil {
				return nil, fmt.Errorf("compare keys: %w", err)
			}
		}
		t.books.counts.Read += uint64(len(b.Rejects))
		return b, nil
	})
	err := t.Source.(gapless.KeyReader).ReadKeys(t.reading, t.partition, out)
	if err == nil {
		err = out.Flush()
	}
	if t.reading.Err() != nil {
		return nil, context.Cause(t.reading)
	}
	if err != nil {
		return nil, fmt.Errorf("read keys of %s: %w", t.partition.ID, err)
	}
	return missed, nil
}
