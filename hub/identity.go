package hub

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
)

// identify reads the store's id, drawing one for a new store, and begins the
// next incarnation: a counter, so that none comes again, and random bits, so
// that a restored backup does not repeat those that followed it.
func (h *Hub) identify(b *pebble.Batch) error {
	id, err := get(h.store.db, metaKey(metaID))
	if err != nil {
		return err
	}
	if id == nil {
		id = make([]byte, 16)
		_, _ = rand.Read(id) // never fails
		if err := b.Set(metaKey(metaID), id, nil); err != nil {
			return err
		}
	}
	value, err := get(h.store.db, metaKey(metaIncarnation))
	if err != nil {
		return err
	}
	counter := uint32(1)
	if value != nil {
		d := decoder{rest: value}
		if counter = d.uint32() + 1; d.err != nil {
			return d.err
		}
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	n := 1<<62 | uint64(counter)<<32&(1<<62-1) | binary.BigEndian.Uint64(random[:])>>32
	h.id, h.incarnation, h.pushes.incarnation = hex.EncodeToString(id), strconv.FormatUint(n, 10), counter
	return b.Set(metaKey(metaIncarnation), binary.BigEndian.AppendUint32(nil, counter), nil)
}
