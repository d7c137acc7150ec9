package hub

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

const (
	// boundaryBits is how many of the lowest bits of a key's hash are zero if
	// a stretch begins at it: one of 64 keys.
	boundaryBits = 6
	// sumsVersion says how stretches are cut and summed up; sums of another
	// version are computed anew.
	sumsVersion = 1
)

// What comes behind the id in keys of the space of sums.
const (
	sumsMark = iota
	sumsStretch
)

// rangeSums is what a collection needs to keep sums of its ranges.
type rangeSums struct {
	turn chan struct{} // held by who brings them up to date
	// dirtyBytes bounds the keys of stretches that wait for being summed up.
	dirtyBytes int
	// batchBytes is about how much is written at a time.
	batchBytes int
	read       atomic.Uint64 // records that were read so far
}

func newRangeSums() rangeSums {
	return rangeSums{turn: make(chan struct{}, 1), dirtyBytes: 8 << 20, batchBytes: 1 << 20}
}

// stretch is a range of keys whose sum is stored. The first one of a
// collection begins at the empty key, every other one at a record's key whose
// hash says so; each ends where the next one begins.
type stretch struct {
	gapless.KeyRange
	proof.Digest
}

func stretchKey[T string | []byte](collection uint32, from T) []byte {
	key := make([]byte, 0, 6+len(from))
	key = append(binary.BigEndian.AppendUint32(append(key, spaceSum), collection), sumsStretch)
	return append(key, from...)
}

// stretchFrom returns the first key of the stretch that is stored under key.
func stretchFrom(key []byte) []byte { return key[6:] }

func markKey(collection uint32) []byte {
	return append(idKey(spaceSum, collection, ""), sumsMark)
}

func encodeDigest(d proof.Digest) []byte {
	value := binary.AppendUvarint(make([]byte, 0, 26), d.Count)
	value = binary.BigEndian.AppendUint64(value, d.Hi)
	return binary.BigEndian.AppendUint64(value, d.Lo)
}

func decodeDigest(value []byte) (proof.Digest, error) {
	d := decoder{rest: value}
	sum := proof.Digest{Count: d.uvarint(), Hi: d.uint64(), Lo: d.uint64()}
	if len(d.rest) > 0 {
		d.fail("sum length")
	}
	return sum, d.err
}

// sumMark says what the stored sums of a collection hold. A stretch is the sum
// of its records as of the mark, or as of a later moment if one of them has
// changed since then.
type sumMark struct {
	serial  uint64 // of the last change of the connector
	ordinal uint64 // of the next one
	records uint64 // of the collection
}

func (m *sumMark) encode() []byte {
	value := binary.AppendUvarint([]byte{sumsVersion}, m.serial)
	return binary.AppendUvarint(binary.AppendUvarint(value, m.ordinal), m.records)
}

// decodeMark reports false for a mark that is of another version, or none.
func decodeMark(value []byte) (sumMark, bool) {
	d := decoder{rest: value}
	version := d.byte()
	m := sumMark{serial: d.uvarint(), ordinal: d.uvarint(), records: d.uvarint()}
	return m, version == sumsVersion && d.err == nil && len(d.rest) == 0
}

// currentStretch returns the stretch at which it stands, whose end is not
// known yet.
func currentStretch(it *pebble.Iterator) (stretch, error) {
	value, err := it.ValueAndErr()
	if err != nil {
		return stretch{}, err
	}
	s := stretch{KeyRange: gapless.KeyRange{From: string(stretchFrom(it.Key()))}}
	s.Digest, err = decodeDigest(value)
	return s, err
}

var errNoStretch = fmt.Errorf("%w: sums without their first stretch", errDamagedValue)

// stretches calls fn for all stretches that have keys of r, in order.
func (m *moment) stretches(ctx context.Context, r gapless.KeyRange, fn func(stretch) error) (err error) {
	it, err := newStretchIter(m.sums.snap, m.collection)
	if err != nil {
		return err
	}
	defer closing(it, &err)
	if !it.SeekLT(stretchKey(m.collection.id, r.From+"\x00")) {
		return errNoStretch
	}
	s, err := currentStretch(it)
	for n := 0; err == nil; n++ {
		if n%checkEvery == 0 {
			if err := context.Cause(ctx); err != nil {
				return err
			}
		}
		if !it.Next() {
			return fn(s)
		}
		var next stretch
		if next, err = currentStretch(it); err != nil {
			return err
		}
		s.To = next.From
		if err := fn(s); err != nil || r.To != "" && s.To >= r.To {
			return err
		}
		s = next
	}
	return err
}

func newStretchIter(r pebble.Reader, c *collection) (*pebble.Iterator, error) {
	prefix := stretchKey(c.id, "")
	return r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
}
