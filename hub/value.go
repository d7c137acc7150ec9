package hub

import (
	"encoding/binary"

	"github.com/gapless-sync/gapless"
)

// Flags of a stored record.
const (
	hasModified = 1 << iota
	hasVersion
	hasParts
	flagsEnd
)

// stored is a record as its value holds it. Slices are views of the value.
type stored struct {
	serial   uint64
	modified int64
	version  []byte
	manifest []byte
	data     []byte
}

// size returns the length of the encoding.
func (s *stored) size() int {
	n := 1 + uvarintLen(s.serial) + len(s.data)
	if s.modified != 0 {
		n += 8
	}
	if len(s.version) > 0 {
		n += uvarintLen(uint64(len(s.version))) + len(s.version)
	}
	if len(s.manifest) > 0 {
		n += uvarintLen(uint64(len(s.manifest))) + len(s.manifest)
	}
	return n
}

// append appends the encoding to dst, which has room for size more bytes if
// nothing is to be allocated.
func (s *stored) append(dst []byte) []byte {
	at := len(dst)
	dst = binary.AppendUvarint(append(dst, 0), s.serial)
	if s.modified != 0 {
		dst[at] |= hasModified
		dst = binary.BigEndian.AppendUint64(dst, uint64(s.modified))
	}
	if len(s.version) > 0 {
		dst[at] |= hasVersion
		dst = appendSized(dst, s.version)
	}
	if len(s.manifest) > 0 {
		dst[at] |= hasParts
		dst = appendSized(dst, s.manifest)
	}
	return append(dst, s.data...)
}

func decodeStored(value []byte) (stored, error) {
	d := decoder{rest: value}
	flags := d.byte()
	s := stored{serial: d.uvarint()}
	if flags&hasModified != 0 {
		s.modified = int64(d.uint64())
	}
	if flags&hasVersion != 0 {
		s.version = d.sized()
	}
	if flags&hasParts != 0 {
		s.manifest = d.sized()
	}
	if flags >= flagsEnd {
		d.fail("flags")
	}
	s.data = d.rest
	return s, d.err
}

// storedPart is one part as a record's manifest lists it.
type storedPart struct {
	name, media, version string
	size                 int64
	hash                 gapless.Hash128
	blob                 blobID
}

// chunkCount returns how many chunks hold the part.
func (p *storedPart) chunkCount() uint32 {
	return uint32((p.size + chunkBytes - 1) / chunkBytes)
}

func encodeManifest(parts []storedPart) []byte {
	if len(parts) == 0 {
		return nil
	}
	dst := binary.AppendUvarint(nil, uint64(len(parts)))
	for i := range parts {
		p := &parts[i]
		dst = appendSized(dst, p.name)
		dst = appendSized(dst, p.media)
		dst = appendSized(dst, p.version)
		dst = binary.AppendUvarint(dst, uint64(p.size))
		dst = binary.BigEndian.AppendUint64(dst, p.hash.Hi)
		dst = binary.BigEndian.AppendUint64(dst, p.hash.Lo)
		dst = append(dst, p.blob[:]...)
	}
	return dst
}

func decodeManifest(manifest []byte) ([]storedPart, error) {
	if len(manifest) == 0 {
		return nil, nil
	}
	d := decoder{rest: manifest}
	var parts []storedPart
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		p := storedPart{name: string(d.sized()), media: string(d.sized()), version: string(d.sized())}
		p.size = int64(d.uvarint())
		p.hash = gapless.Hash128{Hi: d.uint64(), Lo: d.uint64()}
		copy(p.blob[:], d.bytes(uint64(len(p.blob))))
		if p.size < 0 || p.size > chunkBytes*(1<<32-1) {
			d.fail("part size")
		}
		parts = append(parts, p)
	}
	if d.err == nil && len(d.rest) > 0 {
		d.fail("manifest length")
	}
	return parts, d.err
}

// encodeCheckpoint keeps every byte of a position, which need not be UTF-8.
// The partition is in the key.
func encodeCheckpoint(c *gapless.Checkpoint) []byte {
	value := appendSized(nil, c.Position)
	value = appendSized(value, c.Mark)
	value = appendSized(value, c.Target)
	value = appendSized(value, c.Run)
	return binary.AppendUvarint(binary.AppendUvarint(value, c.Seq), c.Epoch)
}

func decodeCheckpoint(value []byte) (gapless.Checkpoint, error) {
	d := decoder{rest: value}
	c := gapless.Checkpoint{Position: gapless.Position(d.sized()), Mark: gapless.Mark(d.sized()), Target: gapless.Position(d.sized()), Run: string(d.sized())}
	c.Seq, c.Epoch = d.uvarint(), d.uvarint()
	return c, d.err
}
