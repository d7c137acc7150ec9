package hub

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Spaces of the key layout; see the package comment.
const (
	spaceMeta       = 'm'
	spaceConnector  = 'c'
	spaceWriter     = 'w'
	spaceCollection = 'o'
	spaceCheckpoint = 'k'
	spaceRecord     = 'r'
	spaceFeed       = 'f'
	spaceChunk      = 'p'
	spaceOrphan     = 'g'
	spaceText       = 't'
	spaceSum        = 's'
	spaceKeptRun    = 'v'
	spaceKept       = 'u'
)

const (
	metaID          = "id"
	metaIncarnation = "incarnation"
	metaSerial      = "serial"
	metaLost        = "lost"
)

var errDamagedValue = errors.New("a stored value cannot be decoded")

func metaKey(name string) []byte { return append([]byte{spaceMeta}, name...) }

// idKey returns a key of one space: an id and what follows it.
func idKey[T string | []byte](space byte, id uint32, rest T) []byte {
	key := make([]byte, 0, 5+len(rest))
	key = binary.BigEndian.AppendUint32(append(key, space), id)
	return append(key, rest...)
}

func feedKey(connector uint32, serial uint64) []byte {
	return binary.BigEndian.AppendUint64(idKey(spaceFeed, connector, ""), serial)
}

// prefixEnd returns the smallest key behind all keys that begin with prefix;
// nil if there is none.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// pushID names the chunks of one push.
type pushID [12]byte

func newPushID(incarnation uint32, n uint64) (id pushID) {
	binary.BigEndian.PutUint32(id[:], incarnation)
	binary.BigEndian.PutUint64(id[4:], n)
	return id
}

// blobID names the chunks of one part: a push and the part's number in it.
type blobID [16]byte

func (p pushID) blob(part uint32) (id blobID) {
	copy(id[:], p[:])
	binary.BigEndian.PutUint32(id[12:], part)
	return id
}

func (id blobID) chunks() []byte { return append([]byte{spaceChunk}, id[:]...) }

func (id blobID) chunk(n uint32) []byte {
	return binary.BigEndian.AppendUint32(id.chunks(), n)
}

func (p pushID) chunks() []byte { return append([]byte{spaceChunk}, p[:]...) }

func (p pushID) orphan() []byte { return append([]byte{spaceOrphan}, p[:]...) }

// decoder reads values; the first thing that does not fit sets err, and
// everything after that reads as zero.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errDamagedValue, what)
	}
	d.rest = nil
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.fail("varint")
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail("length")
		return nil
	}
	p := d.rest[:n:n]
	d.rest = d.rest[n:]
	return p
}

func (d *decoder) sized() []byte { return d.bytes(d.uvarint()) }

func (d *decoder) byte() byte {
	if p := d.bytes(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if p := d.bytes(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if p := d.bytes(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func appendSized[T ~string | ~[]byte](dst []byte, p T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(p))), p...)
}

func uvarintLen(n uint64) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}
