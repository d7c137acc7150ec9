package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
	"github.com/gapless-sync/gapless/mapping"
	"github.com/gapless-sync/gapless/proof"
)

// looksEvery is after how many records of a listing the bounds are looked at.
const looksEvery = 1024

// enumeration compares everything the source has with everything the
// destination holds. What the destination lists becomes a table on disk, which
// every record of the source is looked up in.
type enumeration struct {
	*check
	// What the session can do; nil where it cannot.
	sums   gapless.RangeSummer
	getter gapless.Getter
	lister gapless.Enumerator
	// compare is nil if the destination cannot list what it holds.
	compare *delta.Comparison
	table   *delta.Table
	mapped  gapless.Batch
	unnamed int // records of the source without a key
	bare    int // records of which nothing but the key could be compared
}

func newEnumeration(c *check) *enumeration {
	e := &enumeration{check: c}
	e.sums, _ = c.session.(gapless.RangeSummer)
	e.getter, _ = c.session.(gapless.Getter)
	e.lister, _ = c.session.(gapless.Enumerator)
	return e
}

// whole compares the partition. It cannot be continued: what the source emits
// has no order that could be relied on.
func (e *enumeration) whole(ctx context.Context) error {
	if e.sums == nil && e.getter == nil && e.lister == nil {
		return gapless.Misconfigured(gapless.Errorf(gapless.CodeUnverifiable, e.Connector, "the destination cannot read back what it holds").
			WithHint("gapless prove %s checks the account of the runs; gapless run %s --full brings everything once more", e.Connector, e.Connector))
	}
	was := e.result
	e.result = Verified{Partition: was.Partition, Position: was.Position, Checkpoint: was.Checkpoint, Due: was.Due, Method: MethodEnumeration, Compared: ComparedContent}
	if err := e.list(); err != nil {
		return err
	}
	if err := e.read(ctx); err != nil {
		return err
	}
	if e.bare > 0 {
		e.result.Compared = ComparedKeys
	}
	return e.findExtra()
}

// list makes the table of what the destination holds.
func (e *enumeration) list() error {
	if e.sums == nil && e.lister == nil {
		return nil
	}
	if e.sums == nil && e.getter == nil {
		e.result.Compared = ComparedVersions
	}
	table, err := e.scratch.tabulate(e.Settings.Memory, func(all *delta.Comparison) error {
		each := func(key []byte, known bool, content uint64, bytes int) error {
			e.charge(&e.result.Destination, 1, len(key)+bytes)
			if e.result.Destination.Records%looksEvery == 0 {
				if err := e.pause(); err != nil {
					return err
				}
			}
			if !known {
				return all.Keep(key, proof.KeyHash(key), 0)
			}
			_, err := all.Add(key, proof.KeyHash(key), content, 0)
			return err
		}
		if e.sums != nil {
			return e.sums.Contents(e.reading, e.partition, gapless.KeyRange{}, func(key []byte, content gapless.Hash128) error {
				return each(key, true, content.Lo, 16)
			})
		}
		return e.lister.Enumerate(e.reading, e.partition, func(key, version []byte) error {
			return each(key, len(version) > 0, proof.KeyHash(version).Lo, len(version))
		})
	})
	if err != nil {
		return fmt.Errorf("list what the destination holds of %s: %w", e.partition.ID, err)
	}
	log, err := e.scratch.scratchFile()
	if err != nil {
		return err
	}
	e.table, e.compare = table, delta.New(table, log, e.Settings.Memory)
	e.result.Held = table.Len()
	return nil
}

// read takes every record of the source through the mapping and compares it.
// Where nothing but versions can be compared, keys with versions are all that
// is read, if the source can.
func (e *enumeration) read(ctx context.Context) error {
	r := e.reader("", e.process)
	read := r.readSource
	if keys, ok := e.Source.(gapless.KeyReader); ok && e.result.Compared == ComparedVersions && e.Mapping.IsIdentity() {
		read = func(ctx context.Context, out *gapless.Output) error { return keys.ReadKeys(ctx, e.partition, out) }
	}
	return r.pump(ctx, read)
}

// process compares one batch of the source.
func (e *enumeration) process(ctx context.Context, b *gapless.Batch) error {
	if err := e.pause(); err != nil {
		return err
	}
	e.charge(&e.result.Source, b.Len()+len(b.Rejects), len(b.Buf))
	e.result.Had += uint64(b.Len() + len(b.Rejects))
	identify(b)
	for i := range b.Rejects {
		if err := e.rejected([]byte(b.Rejects[i].Key)); err != nil {
			return err
		}
	}
	work, err := e.outgoing(b, &e.mapped, e.rejected)
	if err != nil {
		return err
	}
	for i := range work.Rows {
		if work.Rows[i].Op == gapless.OpDelete {
			continue
		}
		if err := e.row(ctx, work, i); err != nil {
			return err
		}
	}
	return nil
}

// outgoing returns the rows of b as the destination is to hold them; filtered
// ones are left out. It may be b itself, or mapped.
func (c *check) outgoing(b, mapped *gapless.Batch, rejected func(key []byte) error) (*gapless.Batch, error) {
	if c.Mapping.IsIdentity() {
		return b, nil
	}
	mapped.Reset()
	mapped.Partition = b.Partition
	var failed error
	err := c.Mapping.Apply(b, mapped, func(i int, v mapping.Verdict, _ error) {
		if v == mapping.Rejected {
			failed = errors.Join(failed, rejected(b.Key(i)))
		}
	})
	return mapped, errors.Join(err, failed)
}

// rejected notes a record that exists at the source and cannot be delivered.
func (e *enumeration) rejected(key []byte) error {
	if len(key) == 0 {
		e.unnamed++
		e.result.Rejected++
		return nil
	}
	if e.compare != nil {
		if err := e.compare.Keep(key, proof.KeyHash(key), 0); err != nil {
			return fmt.Errorf("compare with what is listed: %w", err)
		}
	}
	return e.note(key, Rejected, 0)
}

// row compares one record of the source.
func (e *enumeration) row(ctx context.Context, b *gapless.Batch, i int) error {
	hash, content := proof.RowHash(b, i)
	key := b.Key(i)
	if e.compare == nil {
		return e.look(ctx, b, i, content.Lo)
	}
	known := content.Lo
	if e.sums == nil {
		known = proof.KeyHash(b.Version(i)).Lo
	}
	verdict, err := e.compare.Add(key, hash, known, 0)
	switch {
	case err != nil:
		return fmt.Errorf("compare with what is listed: %w", err)
	case verdict == delta.Created:
		return e.note(key, proof.Missing, content.Lo)
	case e.sums != nil && verdict == delta.Unchanged:
		return nil
	case e.getter != nil:
		return e.look(ctx, b, i, content.Lo)
	case e.sums != nil:
		return e.note(key, proof.Differs, content.Lo)
	}
	held, _, err := e.table.Lookup(hash)
	if err != nil {
		return fmt.Errorf("compare with what is listed: %w", err)
	}
	if held == 0 || b.Rows[i].Version.Len == 0 {
		e.bare++
		return nil
	}
	if verdict == delta.Updated {
		return e.note(key, proof.Differs, content.Lo)
	}
	return nil
}

// look compares a record with what the destination gives back of it.
func (e *enumeration) look(ctx context.Context, b *gapless.Batch, i int, content uint64) error {
	kind, err := e.lookUp(ctx, e.getter, b, i)
	if err != nil || kind == "" {
		return err
	}
	return e.note(b.Key(i), kind, content)
}

// findExtra notes what the destination holds and the source has not.
func (e *enumeration) findExtra() error {
	switch {
	case e.compare == nil:
		e.result.ExtraUnknown = "the destination cannot list what it holds"
		return nil
	case e.unnamed > 0:
		e.result.ExtraUnknown = fmt.Sprintf("%d records of the source could not be identified and may be among them", e.unnamed)
	}
	if err := e.compare.Finish(e.scratch.scratchFile); err != nil {
		return fmt.Errorf("sort keys: %w", err)
	}
	if e.unnamed > 0 {
		return nil
	}
	err := e.compare.Absent(func(key []byte) error { return e.note(key, proof.Extra, 0) })
	if err != nil {
		return fmt.Errorf("find extra keys: %w", err)
	}
	return nil
}
