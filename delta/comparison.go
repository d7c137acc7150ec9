package delta

import (
	"errors"
	"fmt"

	"github.com/gapless-sync/gapless"
)

// Verdict is what a comparison says about a record.
type Verdict uint8

const (
	// Created means that the key was not there last time.
	Created Verdict = iota
	// Updated means that the key was there with another content.
	Updated
	// Unchanged means that the key was there with the same content.
	Unchanged
	// Repeated means that the key stood before in this enumeration. Add sees
	// that of keys in the base table only; [Comparison.Repeated] names them all.
	Repeated
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	if int(v) < len(verdicts) {
		return verdicts[v]
	}
	return "unknown"
}

var verdicts = [...]string{"created", "updated", "unchanged", "repeated"}

// Totals counts the records of an enumeration. Every record added or kept is
// in exactly one of the first five. Until Finish, a key that is not in the
// base table and stands twice counts as created twice.
type Totals struct {
	Created, Updated, Unchanged, Repeated uint64
	// Kept records could not be read.
	Kept uint64
	// Absent keys are in the base table and not in the enumeration; counted
	// by Finish.
	Absent uint64
}

// Comparison compares one enumeration with the table of the last. It is used
// by one goroutine. After an error from a file it stays unusable; the base
// table is as it was.
type Comparison struct {
	base   *Table
	log    *logWriter
	memory int
	// pending is what the log gets next, as one sorted run; runs are those that
	// it has.
	pending run
	runs    []extent

	// held is the base table in memory, if it fits; loaded once needed.
	held   *held
	loaded bool
	block  []byte
	// seen has a bit for each record of the base table, a word for a block.
	seen []uint64
	// doubted keys are not found unchanged.
	doubted map[gapless.Hash128]struct{}
	totals  Totals

	// Since Finish: the log in order, the run or the runs it was sorted into,
	// and what was distrusted since.
	finished bool
	run      *run
	spilled  []mergeReader
	late     []gapless.Hash128
	err      error
}

// New begins an enumeration to be compared with base, nil if it is the first.
// log is empty; it receives what differs. memory bounds, in bytes, how much of
// the base table is held for lookups, and later how much of the log is sorted
// at once.
func New(base *Table, log File, memory int) *Comparison {
	c := &Comparison{base: base, log: newLogWriter(log, 0, flushBytes), memory: memory}
	if base != nil {
		c.seen = make([]uint64, len(base.index))
	}
	return c
}

// Resume continues a first enumeration that was interrupted: the entries of
// log[:size] count as added, where size is what [Comparison.Flush] returned.
// What was written behind it must have been cut off. Errors wrap [ErrDamaged],
// except those of log.
func Resume(log File, size int64, memory int) (*Comparison, error) {
	c := New(nil, log, memory)
	if size == 0 {
		return c, nil
	}
	var header [headerBytes]byte
	if err := readAt(log, header[:], 0); err != nil {
		return nil, err
	}
	if err := checkHeader(header[:], logMagic); err != nil {
		return nil, err
	}
	c.log.size = size
	r, runs := c.reader(), &runFinder{}
	for {
		more, err := r.next()
		if err != nil {
			return nil, err
		}
		if !more {
			c.runs = runs.found(size)
			return c, nil
		}
		c.log.entries++
		runs.see(r)
		switch r.entry.kind {
		case kindCreated:
			c.totals.Created++
		case kindKept:
			c.totals.Kept++
		case kindDistrust:
		case kindUpdated, kindAgain:
			return nil, damaged("the log is not of a first enumeration")
		}
	}
}

// Add compares a record. key is not kept; kh is its hash and content the hash
// of everything that makes a difference. line, 0 if unknown, is given back by
// [Comparison.Repeated].
func (c *Comparison) Add(key []byte, kh gapless.Hash128, content, line uint64) (Verdict, error) {
	e := entry{record: record{kh: kh, content: max(content, 1)}, line: line, key: key}
	before, inBase, again, err := c.see(key, kh)
	switch {
	case err != nil:
		return 0, err
	case !inBase:
		c.totals.Created++
		return Created, c.note(&e)
	case again:
		c.totals.Repeated++
		e.kind = kindAgain
		return Repeated, c.note(&e)
	case before == e.content && !c.isDoubted(kh):
		c.totals.Unchanged++
		return Unchanged, nil
	}
	c.totals.Updated++
	e.kind = kindUpdated
	return Updated, c.note(&e)
}

// Keep notes a record that exists but could not be read: it is not absent, and
// not equal next time.
func (c *Comparison) Keep(key []byte, kh gapless.Hash128, line uint64) error {
	e := entry{record: record{kh: kh}, kind: kindKept, line: line, key: key}
	before, inBase, again, err := c.see(key, kh)
	switch {
	case err != nil:
		return err
	case again:
		c.totals.Repeated++
		e.kind = kindAgain
	default:
		c.totals.Kept++
		if inBase && before == 0 {
			return nil // the table says so already
		}
	}
	return c.note(&e)
}

// Distrust notes that the destination refused what it was pushed for a key:
// next time the record is not equal, or, if its delete was refused, absent
// again. It may be called until WriteTable.
func (c *Comparison) Distrust(kh gapless.Hash128) {
	if c.finished {
		c.late = append(c.late, kh)
		return
	}
	_ = c.note(&entry{record: record{kh: kh}, kind: kindDistrust}) // the next call returns the error
}

// Flush hands everything added so far to the log and returns the log's size,
// so that the caller can make it durable and [Resume] there.
func (c *Comparison) Flush() (logSize int64, err error) {
	if c.err == nil {
		c.err = c.endRun()
	}
	return c.log.size, c.err
}

// Totals returns the counts so far.
func (c *Comparison) Totals() Totals { return c.totals }

// Changed reports whether the next table will be another than the base; true
// if there is no base. It is meaningful after Finish.
func (c *Comparison) Changed() bool {
	return c.base == nil || c.log.entries > 0 || len(c.late) > 0 || c.totals.Absent > 0
}

// see marks a key as being in the enumeration. It returns its content in the
// base table, and whether it was marked before.
func (c *Comparison) see(key []byte, kh gapless.Hash128) (before uint64, inBase, again bool, err error) {
	switch {
	case c.err != nil:
		return 0, false, false, c.err
	case c.finished:
		return 0, false, false, errors.New("record added after the end of the enumeration")
	case len(key) == 0 || len(key) > gapless.MaxKeyBytes:
		return 0, false, false, fmt.Errorf("key of %d bytes", len(key))
	case c.base == nil:
		return 0, false, false, nil
	}
	ordinal, before, inBase, err := c.find(kh)
	if err != nil || !inBase {
		c.err = err
		return 0, false, false, err
	}
	word, bit := &c.seen[ordinal/blockRows], uint64(1)<<(ordinal%blockRows)
	again = *word&bit != 0
	*word |= bit
	return before, true, again, nil
}

// find looks up a key in the base table.
func (c *Comparison) find(kh gapless.Hash128) (ordinal int, content uint64, found bool, err error) {
	if !c.loaded {
		if err := c.load(); err != nil {
			return 0, 0, false, err
		}
	}
	if c.held == nil {
		return c.base.find(kh, c.block)
	}
	ordinal, content, found = c.held.find(kh)
	return ordinal, content, found, nil
}

// load holds the base table in memory if it fits.
func (c *Comparison) load() (err error) {
	c.loaded = true
	if c.base.records > uint64(max(c.memory, 0)/recordBytes) {
		c.block = make([]byte, blockRows*recordBytes+checksumBytes)
		return nil
	}
	c.held, err = c.base.hold()
	return err
}

// note adds an entry to the run that is pending.
func (c *Comparison) note(e *entry) error {
	if c.err != nil {
		return c.err
	}
	c.log.entries++
	c.pending.add(e)
	if c.pending.size() >= min(max(c.memory/sortShare, flushBytes), runBytes) {
		c.err = c.endRun()
	}
	return c.err
}

// endRun writes what is pending to the log, in order.
func (c *Comparison) endRun() error {
	if len(c.pending.refs) == 0 {
		return nil
	}
	if c.log.size == 0 {
		if err := write(c.log.file, append([]byte(logMagic), version)); err != nil {
			return err
		}
		c.log.size = int64(headerBytes)
	}
	from := c.log.size
	c.pending.sort()
	for _, at := range c.pending.refs {
		if err := c.log.put(c.pending.raw(at)); err != nil {
			return err
		}
	}
	if err := c.log.flush(); err != nil {
		return err
	}
	c.runs = append(c.runs, extent{from, c.log.size})
	c.pending.reset()
	return nil
}

// reader returns a reader of the whole log.
func (c *Comparison) reader() *logReader {
	return &logReader{r: c.log.file, at: int64(headerBytes), end: c.log.size}
}
