package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sort"

	"github.com/gapless-sync/gapless"
)

// ErrDamaged is wrapped by every error about bytes that are not what was
// written.
var ErrDamaged = errors.New("damaged")

const (
	tableMagic  = "gapdelt"
	version     = 1
	headerBytes = len(tableMagic) + 1
	footerBytes = 3*8 + checksumBytes + headerBytes
	indexBytes  = 24 // one block in the index
	recordBytes = 24 // one record without its key
	blockRows   = 64 // one bit each in a word of Comparison.seen

	checksumBytes = 4
	// scanBytes is how much of a table is read at once.
	scanBytes = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// Table is what is known of the records of one completed enumeration: key,
// key hash and content fingerprint of each, ascending by key hash. It is
// immutable and may be used by several goroutines if its reader may.
type Table struct {
	r       io.ReaderAt
	records uint64
	index   []blockRef
	end     int64 // of the blocks
	label   []byte
}

// blockRef says where a block is and which key hash it begins with.
type blockRef struct {
	first  gapless.Hash128
	offset int64
}

// OpenTable opens the table of size bytes in r. Header, index, label and
// footer are read and verified now, each block when it is read. Errors wrap
// [ErrDamaged], except those of r.
func OpenTable(r io.ReaderAt, size int64) (*Table, error) {
	if size < int64(headerBytes+footerBytes) {
		return nil, damaged("a table of %d bytes is cut off", size)
	}
	var header [headerBytes]byte
	if err := readAt(r, header[:], 0); err != nil {
		return nil, err
	}
	if err := checkHeader(header[:], tableMagic); err != nil {
		return nil, err
	}
	var footer [footerBytes]byte
	if err := readAt(r, footer[:], size-int64(footerBytes)); err != nil {
		return nil, err
	}
	if [headerBytes]byte(footer[footerBytes-headerBytes:]) != header {
		return nil, damaged("the table has no end")
	}
	return openTable(r, footer[:], size-int64(footerBytes))
}

// openTable reads index and label, which end at end.
func openTable(r io.ReaderAt, footer []byte, end int64) (*Table, error) {
	records, indexAt, labelLen := number(footer), number(footer[8:]), number(footer[16:])
	blocks := records/blockRows + min(records%blockRows, 1)
	if indexAt < uint64(headerBytes) || indexAt > uint64(end) || labelLen > uint64(end) || blocks > uint64(end)/indexBytes ||
		indexAt+blocks*indexBytes+labelLen != uint64(end) {
		return nil, damaged("the table's footer contradicts its size")
	}
	tail := make([]byte, end-int64(indexAt), end-int64(indexAt)+24)
	if err := readAt(r, tail, int64(indexAt)); err != nil {
		return nil, err
	}
	if checksum(append(tail, footer[:24]...)) != binary.LittleEndian.Uint32(footer[24:]) {
		return nil, damaged("the table's index has a wrong checksum")
	}
	t := &Table{r: r, records: records, end: int64(indexAt), index: make([]blockRef, blocks)}
	for i := range t.index {
		at := tail[i*indexBytes:]
		t.index[i] = blockRef{first: hash(at), offset: int64(number(at[16:]))}
	}
	t.label = slices.Clone(tail[blocks*indexBytes:])
	return t, t.checkIndex()
}

// checkIndex makes sure that blocks follow each other without a hole, are
// neither shorter nor longer than their records can be, and ascend.
func (t *Table) checkIndex() error {
	at := int64(headerBytes)
	for i, b := range t.index {
		from, to := t.bounds(i)
		rows := int64(t.rows(i))
		shortest := rows*(recordBytes+1) + 2*checksumBytes
		if from != at || to-from < shortest || to-from > shortest+rows*(gapless.MaxKeyBytes+1) {
			return damaged("block %d of the table cannot reach from %d to %d", i, from, to)
		}
		if i > 0 && !less(t.index[i-1].first, b.first) {
			return damaged("block %d of the table is out of order", i)
		}
		at = to
	}
	if at != t.end {
		return damaged("the table's blocks end at %d instead of %d", at, t.end)
	}
	return nil
}

// Label returns what [Comparison.WriteTable] was given to keep with the table.
func (t *Table) Label() []byte { return slices.Clone(t.label) }

// Len returns the number of records.
func (t *Table) Len() uint64 { return t.records }

// Lookup returns the content fingerprint of a key; found says whether the key
// is in the table. It reads one block.
func (t *Table) Lookup(kh gapless.Hash128) (content uint64, found bool, err error) {
	_, content, found, err = t.find(kh, make([]byte, blockRows*recordBytes+checksumBytes))
	return content, found, err
}

// find also returns the ordinal of the record, using buf for the block.
func (t *Table) find(kh gapless.Hash128, buf []byte) (ordinal int, content uint64, found bool, err error) {
	i := sort.Search(len(t.index), func(i int) bool { return less(kh, t.index[i].first) }) - 1
	if i < 0 {
		return 0, 0, false, nil
	}
	n := t.rows(i) * recordBytes
	buf = buf[:n+checksumBytes]
	if err := readAt(t.r, buf, t.index[i].offset); err != nil {
		return 0, 0, false, err
	}
	if checksum(buf[:n]) != binary.LittleEndian.Uint32(buf[n:]) {
		return 0, 0, false, damaged("block %d of the table has a wrong checksum", i)
	}
	row := sort.Search(t.rows(i), func(row int) bool { return !less(hash(buf[row*recordBytes:]), kh) })
	if row == t.rows(i) || hash(buf[row*recordBytes:]) != kh {
		return 0, 0, false, nil
	}
	return i*blockRows + row, number(buf[row*recordBytes+16:]), true, nil
}

// rows returns how many records block i has.
func (t *Table) rows(i int) int {
	return int(min(t.records-uint64(i)*blockRows, blockRows))
}

// bounds returns where block i begins and ends.
func (t *Table) bounds(i int) (from, to int64) {
	if i+1 < len(t.index) {
		return t.index[i].offset, t.index[i+1].offset
	}
	return t.index[i].offset, t.end
}

// readAt fills p from offset.
func readAt(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return damaged("the file ends at %d, before %d", offset+int64(n), offset+int64(len(p)))
	}
	return fmt.Errorf("read fingerprints at %d: %w", offset, err)
}

func checkHeader(header []byte, magic string) error {
	if string(header[:len(magic)]) != magic {
		return damaged("the file does not begin with %q", magic)
	}
	switch v := header[len(magic)]; {
	case v > version:
		return gapless.Errorf(gapless.CodeStoreVersion, "fingerprints", "written in form %d, this version knows %d", v, version)
	case v < version:
		return damaged("there is no form %d", v)
	}
	return nil
}

func damaged(format string, args ...any) error {
	return gapless.Errorf(gapless.CodeStoreDamaged, "fingerprints", "%w: "+format, append([]any{ErrDamaged}, args...)...)
}

func number(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

func hash(p []byte) gapless.Hash128 {
	return gapless.Hash128{Lo: binary.LittleEndian.Uint64(p), Hi: binary.LittleEndian.Uint64(p[8:])}
}

func appendHash(p []byte, h gapless.Hash128) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(p, h.Lo), h.Hi)
}

func less(a, b gapless.Hash128) bool {
	if a.Hi != b.Hi {
		return a.Hi < b.Hi
	}
	return a.Lo < b.Lo
}
