package hub

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// seekCost is as how many records it counts to find the stretch of a change.
const seekCost = 4

// dirtyEntryBytes is about what a key takes in a map beside its bytes.
const dirtyEntryBytes = 64

// sumsWriter brings the stored sums of a collection up to a view. Whatever it
// writes last, the sums are good: a stretch that the mark does not stand for has
// a change behind the mark, for which it will be summed up again.
type sumsWriter struct {
	hub        *Hub
	collection *collection
	view       *view
	mark       sumMark
	known      bool // there is a mark in the store
	out        *pebble.Batch
}

// followSums brings the stored sums of c up to v; the caller has the turn.
func (h *Hub) followSums(ctx context.Context, v *view, c *collection, anew bool) error {
	ends, err := feedEnds(v, c.connector)
	if err != nil {
		return err
	}
	value, err := get(h.store.db, markKey(c.id))
	if err != nil {
		return err
	}
	w := &sumsWriter{hub: h, collection: c, view: v, out: h.store.db.NewBatch()}
	w.mark, w.known = decodeMark(value)
	switch {
	case anew, !w.known, ends.reaches(w.mark.serial) != nil, ends.count < w.mark.ordinal, w.mark.records < seekCost*(ends.count-w.mark.ordinal):
		err = w.all(ctx)
	case w.mark.serial == ends.last:
		return w.out.Close()
	default:
		err = w.changed(ctx)
	}
	if err != nil {
		return err
	}
	w.mark.serial, w.mark.ordinal, w.known = ends.last, ends.count, true
	return w.commit()
}

func (w *sumsWriter) commit() error {
	if w.known {
		if err := w.out.Set(markKey(w.collection.id), w.mark.encode(), nil); err != nil {
			return err
		}
	}
	err := w.hub.store.commit(w.out, pebble.NoSync)
	w.out = w.hub.store.db.NewBatch()
	return err
}

func (w *sumsWriter) commitIfLarge() error {
	if w.out.Len() < w.collection.sums.batchBytes {
		return nil
	}
	return w.commit()
}

// all sums up everything, and forgets what was stored first.
func (w *sumsWriter) all(ctx context.Context) error {
	w.mark, w.known = sumMark{}, false
	prefix := idKey(spaceSum, w.collection.id, "")
	if err := w.out.DeleteRange(prefix, prefixEnd(prefix), nil); err != nil {
		return err
	}
	return w.sum(ctx, &run{})
}

// changed sums up the stretches that have changes behind the mark.
func (w *sumsWriter) changed(ctx context.Context) (err error) {
	it, err := newStretchIter(w.hub.store.db, w.collection)
	if err != nil {
		return err
	}
	defer closing(it, &err)
	dirty, size := map[string]struct{}{}, 0
	prefix := stretchKey(w.collection.id, "")
	var target []byte
	err = w.hub.readFeed(ctx, w.view, w.collection.connector, w.mark.serial, func(e feedEntry) error {
		if e.collection != w.collection.id {
			return nil
		}
		target = append(append(append(target[:0], prefix...), e.key...), 0)
		if !it.SeekLT(target) {
			return errNoStretch
		}
		from := stretchFrom(it.Key())
		if _, ok := dirty[string(from)]; ok {
			return nil
		}
		dirty[string(from)] = struct{}{}
		if size += len(from) + dirtyEntryBytes; size < w.collection.sums.dirtyBytes {
			return nil
		}
		err := w.sumStretches(ctx, dirty)
		clear(dirty)
		size = 0
		return errors.Join(err, w.commit())
	})
	if err != nil {
		return err
	}
	return w.sumStretches(ctx, dirty)
}

// run is some stretches side by side that are summed up anew.
type run struct {
	gapless.KeyRange
	records uint64   // that they had
	gone    []string // of their first keys, those that are no records any more
}

// sumStretches sums up the stretches that begin at the keys of dirty, together
// with those before them if they cannot begin there any more.
func (w *sumsWriter) sumStretches(ctx context.Context, dirty map[string]struct{}) (err error) {
	it, err := newStretchIter(w.hub.store.db, w.collection)
	if err != nil {
		return err
	}
	defer closing(it, &err)
	var last *run
	for _, key := range slices.Sorted(maps.Keys(dirty)) {
		if last != nil && (last.To == "" || key < last.To) {
			continue
		}
		next, err := w.around(it, key, last)
		if err != nil {
			return err
		}
		if next != last {
			if err := w.sum(ctx, last); err != nil {
				return err
			}
		}
		last = next
	}
	return w.sum(ctx, last)
}

// around returns the run that holds key, which is last if they touch.
func (w *sumsWriter) around(it *pebble.Iterator, key string, last *run) (*run, error) {
	r := &run{}
	ok := it.SeekGE(stretchKey(w.collection.id, key+"\x00"))
	if ok {
		r.To = string(stretchFrom(it.Key()))
		ok = it.Prev()
	} else {
		ok = it.Last()
	}
	for ; ok; ok = it.Prev() {
		s, err := currentStretch(it)
		if err != nil {
			return nil, err
		}
		if last != nil && s.From < last.To {
			last.To, last.records, last.gone = r.To, last.records+r.records, append(last.gone, r.gone...)
			return last, nil
		}
		r.From = s.From
		r.records += s.Count
		stays, err := w.begins(s.From)
		if err != nil || stays {
			return r, err
		}
		r.gone = append(r.gone, s.From)
	}
	return nil, errNoStretch
}

// begins reports whether a stretch can begin at a key at which one has begun.
func (w *sumsWriter) begins(key string) (bool, error) {
	if key == "" {
		return true, nil
	}
	_, closer, err := w.view.snap.Get(idKey(spaceRecord, w.collection.id, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, closer.Close()
}

// sum stores the sums of a run, if there is one.
func (w *sumsWriter) sum(ctx context.Context, r *run) error {
	if r == nil {
		return nil
	}
	w.mark.records -= r.records
	for _, key := range r.gone {
		if err := w.out.Delete(stretchKey(w.collection.id, key), nil); err != nil {
			return err
		}
	}
	from, sum := []byte(r.From), proof.Digest{}
	put := func() error {
		w.mark.records += sum.Count
		return w.out.Set(stretchKey(w.collection.id, from), encodeDigest(sum), nil)
	}
	err := w.hub.eachContent(ctx, w.view, w.collection, r.KeyRange, func(key []byte, content gapless.Hash128) error {
		hash := proof.KeyHash(key)
		if hashLevel(hash) >= boundaryBits && string(key) != r.From {
			if err := errors.Join(put(), w.commitIfLarge()); err != nil {
				return err
			}
			from, sum = append(from[:0], key...), proof.Digest{}
		}
		sum.Add(proof.Delivery(hash, content))
		return nil
	})
	if err != nil {
		return err
	}
	return put()
}
