package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// verifyAgain looks at the records of keys once more, by partition. Where single
// records cannot be read, it verifies all of the partition; after a run that did more,
// everything.
func (e *Engine) verifyAgain(ctx context.Context, o RepairOptions, keys map[string][]string) (VerifyReport, error) {
	if o.Full || len(keys) == 0 {
		return e.Verify(ctx, VerifyOptions{Records: o.Verify.Records, Stop: o.Verify.Stop, Restart: true})
	}
	v := e.newVerification(VerifyOptions{Records: o.Verify.Records, Stop: o.Verify.Stop})
	err := v.stoppable(ctx, func(ctx context.Context) error { return v.onlyKeys(ctx, keys) })
	return v.report, v.conclude(err)
}

// onlyKeys verifies the partitions that have keys, and of them just these.
func (v *verification) onlyKeys(ctx context.Context, keys map[string][]string) error {
	s, err := v.survey(ctx, v.session, false)
	if err != nil {
		return err
	}
	v.scope, v.pass = s, &pass{}
	_, fetches := v.Source.(gapless.Fetcher)
	getter, gets := v.session.(gapless.Getter)
	var errs []error
	for i := range s.partitions {
		p := &s.partitions[i]
		some := keys[p.partition.ID]
		switch {
		case len(some) == 0:
			continue
		case fetches && gets:
			err = v.verifyKeys(ctx, p, getter, some)
		default:
			err = v.verifyPartition(ctx, p)
		}
		if errs = append(errs, err); v.stopping.Err() != nil {
			break
		}
	}
	return worst(errs)
}

// verifyKeys fetches records from the source and compares them with what the
// destination gives back.
func (v *verification) verifyKeys(ctx context.Context, s *surveyed, getter gapless.Getter, keys []string) error {
	c := v.newCheck(s)
	c.result.Position, c.result.Checkpoint = c.facts.SourcePosition, c.facts.Start()
	c.result.Method, c.result.Compared = MethodKeys, ComparedContent
	v.reading = v.stopping
	l := &lookup{check: c, getter: getter}
	var err error
	for some := range slices.Chunk(keys, fetchKeys) {
		if err = l.fetch(ctx, some); err != nil {
			break
		}
	}
	err = errors.Join(err, c.settle(ctx))
	c.result.Complete = err == nil
	v.report.Partitions = append(v.report.Partitions, c.result)
	return err
}

// lookup compares single records.
type lookup struct {
	*check
	getter gapless.Getter
	mapped gapless.Batch
}

// fetch compares the records of keys.
func (l *lookup) fetch(ctx context.Context, keys []string) error {
	waiting := make(map[string]bool, len(keys))
	for _, key := range keys {
		waiting[key] = true
	}
	r := l.reader("", func(ctx context.Context, b *gapless.Batch) error {
		l.charge(&l.result.Source, b.Len(), len(b.Buf))
		identify(b)
		return l.compare(ctx, b, waiting)
	})
	err := r.pump(ctx, func(ctx context.Context, out *gapless.Output) error { return r.fetch(ctx, keys, out) })
	if err != nil {
		return err
	}
	// What the mapping does not let pass is expected to be absent.
	gone := &gapless.Batch{Partition: l.partition}
	for _, key := range keys {
		if waiting[key] {
			gone.Append(gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key}})
		}
	}
	return l.compareRows(ctx, gone)
}

// compare compares the records of one batch, which are waited for no longer.
func (l *lookup) compare(ctx context.Context, b *gapless.Batch, waiting map[string]bool) error {
	rejected := func(key []byte) error {
		delete(waiting, string(key))
		return l.note(key, Rejected, 0)
	}
	for i := range b.Rejects {
		if key := b.Rejects[i].Key; key != "" {
			if err := rejected([]byte(key)); err != nil {
				return err
			}
		}
	}
	work, err := l.outgoing(b, &l.mapped, rejected)
	if err != nil {
		return err
	}
	for i := range work.Rows {
		delete(waiting, string(work.Key(i)))
	}
	return l.compareRows(ctx, work)
}

func (l *lookup) compareRows(ctx context.Context, b *gapless.Batch) error {
	for i := range b.Rows {
		_, content := proof.RowHash(b, i)
		kind, err := l.lookUp(ctx, l.getter, b, i)
		if err == nil && kind != "" {
			err = l.note(b.Key(i), kind, content.Lo)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
