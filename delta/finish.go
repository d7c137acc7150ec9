package delta

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/gapless-sync/gapless"
)

// refBytes is what a run needs for each entry beyond its bytes.
const refBytes = 16

// sortShare is the part of the memory that sorting takes: the garbage of
// reading is still around by then.
const sortShare = 4

// Finish says that the enumeration has come to its end, so that what was not
// added is absent. It puts the log in order; scratch is called at most once,
// for an empty file, if the log needs more than the memory allowed.
func (c *Comparison) Finish(scratch func() (File, error)) error {
	switch {
	case c.err != nil:
		return c.err
	case c.finished:
		return errors.New("the enumeration is finished already")
	}
	c.finished, c.held, c.block = true, nil, nil
	if c.base != nil {
		c.totals.Absent = c.base.records
		for _, word := range c.seen {
			c.totals.Absent -= uint64(bits.OnesCount64(word))
		}
	}
	if c.err = c.sort(scratch); c.err != nil {
		return c.err
	}
	c.err = c.eachRepeated(func(e *entry) error {
		switch e.kind {
		case kindCreated:
			c.totals.Created--
			c.totals.Repeated++
		case kindKept:
			c.totals.Kept--
			c.totals.Repeated++
		case kindUpdated, kindAgain, kindDistrust: // counted by Add
		}
		return nil
	})
	return c.err
}

// sort makes the log readable in order: from memory if nothing was written yet,
// by merging its runs if memory has room for a frame of each, and otherwise by
// sorting it once more.
func (c *Comparison) sort(scratch func() (File, error)) error {
	if c.log.size == 0 && c.pending.size() <= c.memory {
		c.pending.sort()
		c.run = &c.pending
		return nil
	}
	if err := c.endRun(); err != nil {
		return err
	}
	c.pending = run{}
	if len(c.runs) == 0 || len(c.runs) > c.memory/sortShare/flushBytes {
		return c.sortAgain(scratch)
	}
	for i, r := range c.runs {
		c.spilled = append(c.spilled, mergeReader{logReader: logReader{r: c.log.file, at: r.from, end: r.to}, number: i})
	}
	return nil
}

// sortAgain brings the log into runs of the memory allowed: one that stays, or
// several in a scratch file.
func (c *Comparison) sortAgain(scratch func() (File, error)) error {
	memory := c.memory / sortShare
	count, size := c.log.entries, int(c.log.size)
	r := &run{}
	if whole := size + count*refBytes; whole <= memory {
		r.bytes, r.refs = make([]byte, 0, size+entryBytes-gapless.MaxKeyBytes), make([]ref, 0, count)
	} else {
		each := size/count + 1
		count = max(memory/(each+refBytes), 1)
		r.bytes, r.refs = make([]byte, 0, count*each), make([]ref, 0, count)
	}
	var out *logWriter
	entries := c.reader()
	for {
		more, err := entries.next()
		if err != nil {
			return err
		}
		if more && r.fits(&entries.entry) {
			r.add(&entries.entry)
			continue
		}
		r.sort()
		if !more && out == nil {
			c.run = r
			return nil
		}
		if out == nil {
			if out, err = c.openScratch(scratch); err != nil {
				return err
			}
		}
		if err := c.spill(r, out); err != nil || !more {
			return err
		}
		r.reset()
		r.add(&entries.entry)
	}
}

func (c *Comparison) openScratch(scratch func() (File, error)) (*logWriter, error) {
	memory := c.memory / sortShare
	file, err := scratch()
	if err != nil {
		return nil, fmt.Errorf("open scratch space for sorting: %w", err)
	}
	// Merging holds one frame of each run.
	runs := int(c.log.size)/max(memory, 1) + 1
	return newLogWriter(file, 0, min(max(memory/runs, 4<<10), flushBytes)), nil
}

// spill writes a sorted run to the scratch file.
func (c *Comparison) spill(r *run, out *logWriter) error {
	from := out.size
	for entries := (runReader{run: r}); ; {
		e, err := entries.next()
		if err != nil {
			return err
		}
		if e == nil {
			break
		}
		if err := out.add(e); err != nil {
			return err
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	c.spilled = append(c.spilled, mergeReader{logReader: logReader{r: out.file, at: from, end: out.size}, number: len(c.spilled)})
	return nil
}

// entries yields the log in order.
func (c *Comparison) entries() sorted {
	if c.run != nil {
		return &runReader{run: c.run}
	}
	m := &merge{}
	for _, r := range c.spilled {
		m.readers = append(m.readers, &r)
	}
	return m
}

// ready returns an error unless Finish has succeeded.
func (c *Comparison) ready() error {
	if c.err == nil && !c.finished {
		return errors.New("the enumeration is not finished")
	}
	return c.err
}

// Absent calls fn for each key of the base table that was neither added nor
// kept, in the order of the table. key is valid until fn returns; an error of
// fn ends it and is returned.
func (c *Comparison) Absent(fn func(key []byte) error) error {
	return c.eachAbsent(func(s *scanner) error { return fn(s.key) })
}

// AbsentDigest stands for the absent keys: how many there are, and the sum of
// their hashes modulo 2^128. Whoever approved their deletion approved those
// and no others.
func (c *Comparison) AbsentDigest() (count uint64, sum gapless.Hash128, err error) {
	err = c.eachAbsent(func(s *scanner) error {
		var carry uint64
		sum.Lo, carry = bits.Add64(sum.Lo, s.kh.Lo, 0)
		sum.Hi, _ = bits.Add64(sum.Hi, s.kh.Hi, carry)
		count++
		return nil
	})
	return count, sum, err
}

// eachAbsent reads just the blocks that have absent records.
func (c *Comparison) eachAbsent(fn func(*scanner) error) error {
	if err := c.ready(); err != nil || c.base == nil {
		return err
	}
	s := &scanner{t: c.base}
	for i, word := range c.seen {
		if bits.OnesCount64(word) == c.base.rows(i) {
			continue
		}
		if err := s.seek(i); err != nil {
			return err
		}
		for row := range c.base.rows(i) {
			if _, err := s.advance(); err != nil {
				return err
			}
			if word>>row&1 != 0 {
				continue
			}
			if err := fn(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// Repeated calls fn for each time that a key stood again, with the line of
// that time, in the order of key hashes and then of the enumeration. key is
// valid until fn returns; an error of fn ends it and is returned.
func (c *Comparison) Repeated(fn func(key []byte, line uint64) error) error {
	if err := c.ready(); err != nil || c.totals.Repeated == 0 {
		return err
	}
	return c.eachRepeated(func(e *entry) error { return fn(e.key, e.line) })
}

func (c *Comparison) eachRepeated(fn func(*entry) error) error {
	if c.run != nil && c.totals.Repeated == 0 && c.run.distinct() {
		return nil
	}
	var last gapless.Hash128
	stood := false
	for entries := c.entries(); ; {
		e, err := entries.next()
		if err != nil || e == nil {
			return err
		}
		if e.kind == kindDistrust {
			continue
		}
		if e.kind == kindAgain || stood && e.kh == last {
			if err := fn(e); err != nil {
				return err
			}
		}
		last, stood = e.kh, true
	}
}

// sortLate puts what was distrusted since Finish in order.
func (c *Comparison) sortLate() {
	slices.SortFunc(c.late, compareHashes)
	c.late = slices.Compact(c.late)
}

// isLate reports whether a key was distrusted since Finish.
func (c *Comparison) isLate(kh gapless.Hash128) bool {
	if len(c.late) == 0 {
		return false
	}
	_, found := slices.BinarySearchFunc(c.late, kh, compareHashes)
	return found
}

func compareHashes(a, b gapless.Hash128) int {
	switch {
	case less(a, b):
		return -1
	case a == b:
		return 0
	}
	return 1
}

// WriteTable writes the table that the next enumeration is to be compared
// with: the base with what was added and kept, without what is absent. label
// is kept with it. The caller makes it durable and puts it in the place of the
// base. It may be called again.
func (c *Comparison) WriteTable(w io.Writer, label []byte) error {
	if err := c.ready(); err != nil {
		return err
	}
	c.sortLate()
	next := next{c: c, base: scanner{t: c.base}, groups: groups{from: c.entries()}, out: newTableWriter(w)}
	if c.base == nil {
		next.base.t = &Table{}
	}
	if err := next.merge(); err != nil {
		return err
	}
	return next.out.finish(label)
}
