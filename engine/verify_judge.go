package engine

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
)

// finding is a difference that nobody has judged yet.
type finding struct {
	key  []byte
	kind proof.Difference
	// content is the fingerprint of what the source has; 0 if it has nothing or
	// that is not known.
	content uint64
}

// spool keeps findings in a file until all are there: whether one is pending is
// looked up last, when what the source changed meanwhile is known as well.
type spool struct {
	file  delta.File
	buf   []byte
	count uint64
}

var spoolKinds = [...]proof.Difference{proof.Missing, proof.Differs, proof.Extra, Rejected}

// flushSpool is how many bytes are held before they are written.
const flushSpool = 64 << 10

func (s *spool) add(key []byte, kind proof.Difference, content uint64) error {
	for i, k := range spoolKinds {
		if k == kind {
			s.buf = append(s.buf, byte(i))
		}
	}
	s.buf = binary.LittleEndian.AppendUint64(s.buf, content)
	s.buf = binary.AppendUvarint(s.buf, uint64(len(key)))
	s.buf = append(s.buf, key...)
	s.count++
	if len(s.buf) < flushSpool {
		return nil
	}
	return s.flush()
}

func (s *spool) flush() error {
	if _, err := s.file.Write(s.buf); err != nil {
		return fmt.Errorf("write differences to a scratch file: %w", err)
	}
	s.buf = s.buf[:0]
	return nil
}

// each calls fn for every finding, in order. A key is valid until fn returns.
func (s *spool) each(fn func(finding) error) error {
	if s.count == 0 {
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(s.file, 0, math.MaxInt64), flushSpool)
	var f finding
	var head [9]byte
	for range s.count {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return fmt.Errorf("read differences back: %w", err)
		}
		size, err := binary.ReadUvarint(r)
		if err != nil {
			return fmt.Errorf("read differences back: %w", err)
		}
		f.kind, f.content = spoolKinds[head[0]], binary.LittleEndian.Uint64(head[1:])
		f.key = append(f.key[:0], make([]byte, size)...)
		if _, err := io.ReadFull(r, f.key); err != nil {
			return fmt.Errorf("read differences back: %w", err)
		}
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

// judge says of every finding what it is, and reports it.
func (c *check) judge(ctx context.Context) error {
	if c.found.count == 0 {
		return nil
	}
	open, err := c.openKeys(ctx)
	if err != nil {
		return err
	}
	c.reading = ctx // to judge is in order even after a stop
	fingerprints := c.survey.baselines.of(c.partition.ID)
	pending, err := c.pending(ctx, fingerprints)
	if err == nil {
		err = c.found.each(func(f finding) error {
			d := Difference{Partition: c.partition.ID, Key: string(f.key), Kind: f.kind}
			if open[d.Key] {
				d.Kind = Rejected
			}
			if d.Kind != Rejected {
				var err error
				if d.Pending, err = pending(f); err != nil {
					return err
				}
			}
			return c.tell(d)
		})
	}
	c.found = spool{}
	return errors.Join(err, fingerprints.close())
}

// openKeys returns the keys that dead letters are open of.
func (c *check) openKeys(ctx context.Context) (map[string]bool, error) {
	t := &task{run: c.run, surveyed: c.surveyed}
	list, err := t.stillOpen(ctx, 0)
	if err != nil {
		return nil, err
	}
	open := make(map[string]bool, len(list))
	for i := range list {
		if key := list[i].Key; key != "" {
			open[key] = true
		}
	}
	return open, nil
}

// tell counts a difference and hands it on.
func (c *check) tell(d Difference) error {
	switch {
	case d.Kind == Rejected:
		c.result.Rejected++
	case d.Pending:
		c.result.Pending++
	case d.Kind == proof.Missing:
		c.result.Missing++
	case d.Kind == proof.Differs:
		c.result.Differs++
	default:
		c.result.Extra++
	}
	if len(c.report.Differences) < keptDifferences {
		c.report.Differences = append(c.report.Differences, d)
	}
	c.emit(Event{Type: EventDifference, Partition: d.Partition, Difference: &d})
	if c.collect != nil && d.gap() {
		return c.collect(d)
	}
	return nil
}

// pending returns what tells whether the source changed a record after the
// checkpoint. What cannot be told counts as a gap.
func (c *check) pending(ctx context.Context, fingerprints *baseline) (func(finding) (bool, error), error) {
	always := func(answer bool) func(finding) (bool, error) {
		return func(finding) (bool, error) { return answer, nil }
	}
	if c.result.Due != "" {
		return always(true), nil
	}
	now := gapless.Position("")
	if positioner, ok := c.Source.(gapless.Positioner); ok {
		var err error
		if now, err = positioner.Position(ctx, c.partition); err != nil {
			return nil, fmt.Errorf("take position: %w", err)
		}
	}
	from := c.facts.Start()
	reader, tells := c.Source.(gapless.ChangeReader)
	switch {
	case now != "" && now == from:
		return always(false), nil
	case c.facts.Model == gapless.ModelFull:
		return c.sinceTable(fingerprints)
	case !tells || from == "" || now == "":
		return always(false), nil
	}
	return c.sinceCheckpoint(reader, from, now)
}

// sinceTable tells by the fingerprints of the last run what the source has
// changed since.
func (c *check) sinceTable(fingerprints *baseline) (func(finding) (bool, error), error) {
	found, err := fingerprints.open(c.facts.Destination)
	if err != nil || !found {
		return func(finding) (bool, error) { return false, nil }, err
	}
	doubted := make(map[string]bool, len(fingerprints.doubted))
	for _, key := range fingerprints.doubted {
		doubted[string(key)] = true
	}
	for _, key := range c.known.Repair { // found before, and still to be repaired
		delete(doubted, key)
	}
	return func(f finding) (bool, error) {
		if doubted[string(f.key)] {
			return true, nil // the next run pushes it in any case
		}
		content, had, err := fingerprints.table.Lookup(proof.KeyHash(f.key))
		switch {
		case err != nil:
			return false, fmt.Errorf("look up a fingerprint: %w", err)
		case f.kind == proof.Extra:
			return had, nil // the source had it then
		case f.content == 0:
			return false, nil
		}
		return !had || content != f.content, nil
	}, nil
}

// sinceCheckpoint tells by what the source says has changed.
func (c *check) sinceCheckpoint(reader gapless.ChangeReader, from, to gapless.Position) (func(finding) (bool, error), error) {
	table, err := c.scratch.tabulate(c.Settings.Memory, func(changed *delta.Comparison) error {
		r := c.reader(plan.ModeIncremental, func(_ context.Context, b *gapless.Batch) error {
			identify(b)
			for i := range b.Rows {
				if err := changed.Keep(b.Key(i), proof.KeyHash(b.Key(i)), 0); err != nil {
					return err
				}
			}
			c.charge(&c.result.Source, b.Len(), len(b.Buf))
			return nil
		})
		return r.pump(c.reading, func(ctx context.Context, out *gapless.Output) error {
			return reader.ReadChanges(ctx, c.partition, from, to, out)
		})
	})
	if err != nil && gapless.KindOf(err) == gapless.KindExpired {
		c.result.Due = "the source says that the checkpoint's position has expired"
		return func(finding) (bool, error) { return true, nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what changed since the checkpoint: %w", err)
	}
	return func(f finding) (bool, error) {
		if f.kind == proof.Extra && c.facts.Model == gapless.ModelModified && c.facts.ReconcileDue {
			return true, nil // such a source tells no deletes, and the next run looks at all keys
		}
		_, changed, err := table.Lookup(proof.KeyHash(f.key))
		return changed, err
	}, nil
}

// reader reads the partition for process.
func (c *check) reader(mode plan.Mode, process func(context.Context, *gapless.Batch) error) *reader {
	return &reader{
		run: c.run, source: c.Source, partition: c.partition, name: c.partition.ID,
		decision: plan.Decision{Mode: mode}, process: process,
	}
}
