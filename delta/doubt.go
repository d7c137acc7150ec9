package delta

import (
	"io"

	"github.com/gapless-sync/gapless"
)

// Doubt notes, before the enumeration begins, that what the destination holds
// of a key may be something else than the base table says: the key is not
// found unchanged.
func (c *Comparison) Doubt(kh gapless.Hash128) {
	if c.doubted == nil {
		c.doubted = map[gapless.Hash128]struct{}{}
	}
	c.doubted[kh] = struct{}{}
}

// isDoubted reports whether a key is in doubt.
func (c *Comparison) isDoubted(kh gapless.Hash128) bool {
	_, doubted := c.doubted[kh]
	return doubted
}

// Keys calls fn for each key of the table, in order of their hashes. key is
// valid until fn returns; an error of fn ends it and is returned.
func (t *Table) Keys(fn func(key []byte) error) error {
	s := &scanner{t: t}
	for {
		more, err := s.advance()
		if err != nil || !more {
			return err
		}
		if err := fn(s.key); err != nil {
			return err
		}
	}
}

// LogKeys calls fn for the key of each record in a log that a killed process
// left behind. A tail that was not written whole is passed over: a process
// hands the log on before it acts on it. Anything else that was not written so
// is [ErrDamaged]. key is valid until fn returns; an error of fn ends it and is
// returned.
func LogKeys(log io.ReaderAt, size int64, fn func(key []byte) error) error {
	var header [headerBytes]byte
	if size < int64(headerBytes) {
		return nil
	}
	if err := readAt(log, header[:], 0); err != nil {
		return err
	}
	if err := checkHeader(header[:], logMagic); err != nil {
		return err
	}
	r := logReader{r: log, at: int64(headerBytes), end: size}
	for {
		more, err := r.next()
		if r.torn || err == nil && !more {
			return nil
		}
		if err != nil {
			return err
		}
		if r.entry.kind == kindDistrust {
			continue
		}
		if err := fn(r.entry.key); err != nil {
			return err
		}
	}
}
