package delta

import (
	"encoding/binary"
	"math/bits"

	"github.com/gapless-sync/gapless"
)

// record is one record of a table without its key.
type record struct {
	kh      gapless.Hash128
	content uint64
}

// block is one verified block of a table.
type block struct {
	rows  int
	fixed []byte
	keys  []byte
}

// record returns the record at row.
func (b *block) record(row int) record {
	at := b.fixed[row*recordBytes:]
	return record{kh: hash(at), content: number(at[16:])}
}

// parse verifies block i, whose bytes are raw.
func (t *Table) parse(i int, raw []byte) (block, error) {
	rows := t.rows(i)
	n := rows * recordBytes
	b := block{rows: rows, fixed: raw[:n], keys: raw[n+checksumBytes : len(raw)-checksumBytes]}
	if checksum(b.fixed) != binary.LittleEndian.Uint32(raw[n:]) || checksum(b.keys) != binary.LittleEndian.Uint32(raw[len(raw)-checksumBytes:]) {
		return block{}, damaged("block %d of the table has a wrong checksum", i)
	}
	if b.record(0).kh != t.index[i].first {
		return block{}, damaged("block %d of the table is not the one in its index", i)
	}
	return b, nil
}

// scanner goes through the records of a table in order.
type scanner struct {
	t     *Table
	next  int    // block to read
	raw   []byte // blocks read, but not parsed
	buf   []byte
	block block
	row   int

	// The record at hand; key is valid until the next call of advance.
	record
	key     []byte
	ordinal int
}

// advance goes to the next record; false after the last.
func (s *scanner) advance() (bool, error) {
	if s.row == s.block.rows {
		if s.next == len(s.t.index) {
			return false, nil
		}
		if err := s.load(); err != nil {
			return false, err
		}
	}
	r := s.block.record(s.row)
	s.ordinal = (s.next-1)*blockRows + s.row
	if s.row > 0 && !less(s.kh, r.kh) {
		return false, damaged("record %d of the table is out of order", s.ordinal)
	}
	n, width := binary.Uvarint(s.block.keys)
	if width <= 0 || n > uint64(len(s.block.keys)-width) {
		return false, damaged("record %d of the table has no key", s.ordinal)
	}
	s.record, s.key = r, s.block.keys[width:width+int(n)]
	s.block.keys = s.block.keys[width+int(n):]
	s.row++
	return true, nil
}

// load makes the next block the one at hand.
func (s *scanner) load() error {
	from, to := s.t.bounds(s.next)
	if len(s.raw) == 0 {
		if err := s.fill(from, to); err != nil {
			return err
		}
	}
	b, err := s.t.parse(s.next, s.raw[:to-from])
	if err != nil {
		return err
	}
	if s.next > 0 && !less(s.kh, b.record(0).kh) {
		return damaged("block %d of the table overlaps the one before", s.next)
	}
	s.raw = s.raw[to-from:]
	s.block, s.row = b, 0
	s.next++
	return nil
}

// seek makes the first record of block i the next; the scanner has not stopped
// within a block, and i is not before the block it stopped behind.
func (s *scanner) seek(i int) error {
	from, to := s.t.bounds(i)
	if int64(cap(s.buf)) < to-from {
		s.buf = make([]byte, to-from)
	}
	s.next, s.raw = i, s.buf[:to-from]
	return readAt(s.t.r, s.raw, from)
}

// fill reads whole blocks, the first of which reaches from from to to.
func (s *scanner) fill(from, to int64) error {
	for i := s.next + 1; i < len(s.t.index); i++ {
		_, end := s.t.bounds(i)
		if end-from > scanBytes {
			break
		}
		to = end
	}
	if int64(cap(s.buf)) < to-from {
		s.buf = make([]byte, max(to-from, min(scanBytes, s.t.end-from)))
	}
	s.raw = s.buf[:to-from]
	return readAt(s.t.r, s.raw, from)
}

// held is a table without its keys, in memory, for lookups in random order.
type held struct {
	records []record
	// start says where the records begin whose key hash has these top bits.
	start []uint32
	shift int
}

// hold reads and verifies the whole table.
func (t *Table) hold() (*held, error) {
	width := bits.Len64(t.records / 8)
	h := &held{records: make([]record, 0, t.records), start: make([]uint32, 1<<width+1), shift: 64 - width}
	s := scanner{t: t}
	for {
		more, err := s.advance()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		h.records = append(h.records, s.record)
		h.start[s.kh.Hi>>h.shift+1]++
	}
	for i := range 1 << width {
		h.start[i+1] += h.start[i]
	}
	return h, nil
}

// find returns the ordinal of a key's record.
func (h *held) find(kh gapless.Hash128) (ordinal int, content uint64, found bool) {
	top := kh.Hi >> h.shift
	low, high := int(h.start[top]), int(h.start[top+1])
	for low < high {
		middle := int(uint(low+high) >> 1)
		if less(h.records[middle].kh, kh) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low < len(h.records) && h.records[low].kh == kh {
		return low, h.records[low].content, true
	}
	return 0, 0, false
}
