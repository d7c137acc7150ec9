package sahana

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// release writes the rows whose wait is over, again and again, until none is
// left that could be.
func (s *session) release(ctx context.Context) error {
	for {
		ready, circle := s.waiting.ready()
		switch {
		case len(ready) > 0:
			if err := s.deliver(ctx, ready, false); err != nil {
				return err
			}
		case len(circle) > 0:
			if err := s.deliver(ctx, circle, true); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// ready returns the places of the rows that want nothing any more, and of those
// that want nothing but one another.
func (w *waiting) ready() (ready, circle []int) {
	able, keys := make([]bool, len(w.Rows)), map[ident]bool{}
	for i := range w.Rows {
		r := &w.Rows[i]
		able[i] = r.Refused == ""
		if _, missing := w.missing(r.wants); able[i] && !missing {
			ready = append(ready, i)
		}
		keys[ident{r.Partition.Collection, r.Key}] = able[i]
	}
	if len(ready) > 0 {
		return ready, nil
	}
	for changed := true; changed; {
		changed = false
		for i := range w.Rows {
			r := &w.Rows[i]
			if able[i] && slices.ContainsFunc(r.wants, func(one target) bool { return !w.has(one.ident) && !keys[one.ident] }) {
				able[i], changed = false, true
				keys[ident{r.Partition.Collection, r.Key}] = false
			}
		}
	}
	for i := range able {
		if able[i] {
			circle = append(circle, i)
		}
	}
	return nil, circle
}

// deliver writes rows that waited, of one partition after the other, and
// forgets them, or notes why they are refused. Bare, they are written without
// the references that lead nowhere yet, and are kept.
func (s *session) deliver(ctx context.Context, places []int, bare bool) error {
	w := s.waiting
	batches, order := map[string]*gapless.Batch{}, []*gapless.Batch(nil)
	rows := map[*gapless.Batch][]int{}
	for _, at := range places {
		r := &w.Rows[at]
		b := batches[r.Partition.ID]
		if b == nil {
			b = &gapless.Batch{Partition: r.Partition}
			batches[r.Partition.ID] = b
			order = append(order, b)
		}
		b.Append(gapless.Change{Op: r.Op, Record: gapless.Record{Key: r.Key, Data: r.Data, Modified: time.Unix(0, r.Modified)}})
		rows[b] = append(rows[b], at)
	}
	written := map[int]bool{}
	for _, b := range order {
		p := s.shipment(b)
		p.bare = bare
		items := p.items()
		for i := range items {
			at := rows[b][items[i].row]
			items[i].rewritten = w.Rows[at].bare
			if bare {
				items[i].strip(w)
			}
			if err := p.take(ctx, items[i]); err != nil {
				return err
			}
		}
		if err := p.flush(ctx); err != nil {
			return err
		}
		refused := map[string]error{}
		for _, r := range p.receipt.Rejected {
			refused[r.Key] = r.Err
		}
		for _, at := range rows[b] {
			r := &w.Rows[at]
			if err, ok := refused[r.Key]; ok {
				w.refuse(r.Partition.Collection, r.Key, err)
				continue
			}
			w.note(ident{b.Partition.Collection, r.Key}, true)
			written[at] = !bare
			r.bare = bare
		}
	}
	at := -1
	w.remove(func(*waitingRow) bool { at++; return written[at] })
	return nil
}

// strip takes out the references that lead nowhere yet.
func (it *item) strip(w *waiting) {
	var strip func(r *s3.Resource)
	strip = func(r *s3.Resource) {
		r.References = slices.DeleteFunc(slices.Clone(r.References), func(f s3.Reference) bool {
			list := targetsOf(nil, &s3.Resource{References: []s3.Reference{f}})
			_, missing := w.missing(list)
			return missing && f.UUID != it.UUID
		})
		r.Components = slices.Clone(r.Components)
		for i := range r.Components {
			strip(&r.Components[i])
		}
	}
	strip(&it.Resource)
}

// settle returns the rows of a partition at its checkpoint that will not be
// written: those that were refused and, when the partition ends, those for
// which what they want can no longer come.
func (w *waiting) settle(c gapless.Checkpoint) (rejected []gapless.Rejection) {
	ended := c.Mark == ""
	reason := func(r *waitingRow) error {
		if r.Refused != "" {
			return errors.New(r.Refused)
		}
		one, missing := w.missing(r.wants)
		if !missing || !ended || r.Overs < maxOvers && !w.finished[one.table] {
			return nil
		}
		return one.reason()
	}
	w.remove(func(r *waitingRow) bool {
		if r.Partition.ID != c.Partition {
			return false
		}
		err := reason(r)
		if err == nil {
			return false
		}
		rejected = append(rejected, gapless.Rejection{
			Key: r.Key, Partition: c.Partition, Raw: r.Data[:min(len(r.Data), gapless.MaxRejectBytes)], Err: err,
		})
		return true
	})
	return rejected
}

// left is the failure of a session that leaves rows to the next.
func (w *waiting) left(connector string) error {
	if w.saved == 0 || len(w.Rows) == 0 {
		return nil
	}
	r := &w.Rows[0]
	reason := r.Refused
	if one, ok := w.missing(r.wants); ok && reason == "" {
		reason = one.reason().Error()
	}
	return gapless.Errorf(gapless.CodeRejectedRecords, connector,
		"%d records are not at the Eden yet because of others that they refer to, such as %s %q: %s", w.saved, r.Partition.Collection, clip(r.Key), reason).
		WithHint("they are kept and written when those come, or become dead letters with a later run; see that the tables they refer to are read, too")
}
