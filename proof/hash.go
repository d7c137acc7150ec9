package proof

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
)

// KeyHash returns the hash that stands for a record's key.
func KeyHash(key []byte) gapless.Hash128 { return sum(key) }

// RowHash returns the hashes of row i: of its key, and of its content. Content
// is what a reader of the destination could tell apart: op, version, the bytes
// of the data, and each part's name, type, size and version in order. Modified
// and line are left out, the bytes of parts are never opened. It allocates
// nothing.
func RowHash(b *gapless.Batch, i int) (key, content gapless.Hash128) {
	return sum(b.Bytes(b.Rows[i].Key)), contentHash(b.Rows[i].Op, b.Version(i), b.Data(i), b.Parts(i))
}

func contentHash(op gapless.Op, version, data []byte, parts []gapless.Part) gapless.Hash128 {
	var frame [40]byte // every field at its fixed place, so no two rows share a frame
	put(frame[0:], sum(data))
	if len(version) > 0 {
		put(frame[16:], sum(version))
	}
	binary.LittleEndian.PutUint64(frame[32:], uint64(len(parts))<<9|uint64(min(len(version), 1))<<8|uint64(op))
	content := sum(frame[:])
	for p := range parts {
		content = partHash(content, &parts[p])
	}
	return content
}

func partHash(before gapless.Hash128, p *gapless.Part) gapless.Hash128 {
	var frame [72]byte
	put(frame[0:], before)
	put(frame[16:], fromXXH(xxh3.HashString128(p.Name)))
	put(frame[32:], fromXXH(xxh3.HashString128(p.Type)))
	put(frame[48:], fromXXH(xxh3.HashString128(p.Version)))
	binary.LittleEndian.PutUint64(frame[64:], uint64(p.Size))
	return sum(frame[:])
}

// Delivery returns the hash that digests add up: that this content was
// delivered for this key. The pair is hashed once more as a whole, because
// digests are sums: were the two merely combined by an addition or an
// exclusive or, exchanging the contents of two records would leave the sum as
// it was.
func Delivery(key, content gapless.Hash128) gapless.Hash128 {
	var frame [32]byte
	put(frame[0:], key)
	put(frame[16:], content)
	return sum(frame[:])
}

// RejectionDelivery returns what stands for a record that a source could not
// deliver as a row. It goes into both [Certificate.Read] and
// [Certificate.Rejected].
func RejectionDelivery(r *gapless.Rejection) gapless.Hash128 {
	var frame [40]byte
	put(frame[0:], sum(r.Raw))
	put(frame[16:], fromXXH(xxh3.HashString128(r.Origin)))
	binary.LittleEndian.PutUint64(frame[32:], uint64(r.Line))
	return Delivery(fromXXH(xxh3.HashString128(r.Key)), sum(frame[:]))
}

func sum(p []byte) gapless.Hash128 { return fromXXH(xxh3.Hash128(p)) }

func fromXXH(u xxh3.Uint128) gapless.Hash128 { return gapless.Hash128{Hi: u.Hi, Lo: u.Lo} }

func put(to []byte, h gapless.Hash128) {
	binary.LittleEndian.PutUint64(to, h.Lo)
	binary.LittleEndian.PutUint64(to[8:], h.Hi)
}
