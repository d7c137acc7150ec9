package hub

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// serialBlock is how many serials are reserved at a time.
	serialBlock = 1 << 20
	// maxLost bounds the list of lost intervals; the oldest are merged.
	maxLost = 256
)

// serials hands out serials from a durable reservation. The hub's mu guards
// it.
type serials struct {
	last     uint64 // handed out
	reserved uint64 // durably
	// base is the serial that this incarnation began with. It stands for
	// everything that the crash before it left, and for no change.
	base uint64
	lost []interval
}

// interval is a range of serials, both ends included.
type interval struct{ from, to uint64 }

// load continues behind everything that may ever have been handed out.
// present is the last serial that the store holds. After a crash the
// incarnation begins with a serial of its own, so that a checkpoint without
// any change before it does not stand behind a serial that is lost.
func (s *serials) load(r pebble.Reader, present uint64, b *pebble.Batch) error {
	value, err := get(r, metaKey(metaSerial))
	if err != nil {
		return err
	}
	if len(value) > 0 {
		d := decoder{rest: value}
		s.reserved, s.base = d.uint64(), d.uint64()
		if d.err != nil {
			return d.err
		}
	}
	if s.lost, err = loadLost(r); err != nil {
		return err
	}
	s.last = max(present, s.base)
	if s.reserved > s.last {
		s.lost = append(s.lost, interval{s.last + 1, s.reserved})
		s.last = s.reserved + 1
		s.base = s.last
	}
	if len(s.lost) > maxLost {
		s.lost[1].from = s.lost[0].from
		s.lost = s.lost[1:]
	}
	s.reserved = s.last + serialBlock
	return errors.Join(s.saveLost(b), s.save(b, s.reserved))
}

func loadLost(r pebble.Reader) (lost []interval, err error) {
	value, err := get(r, metaKey(metaLost))
	d := decoder{rest: value, err: err}
	for len(d.rest) > 0 {
		lost = append(lost, interval{d.uvarint(), d.uvarint()})
	}
	return lost, d.err
}

func (s *serials) saveLost(b *pebble.Batch) error {
	var value []byte
	for _, l := range s.lost {
		value = binary.AppendUvarint(binary.AppendUvarint(value, l.from), l.to)
	}
	return b.Set(metaKey(metaLost), value, nil)
}

func (s *serials) save(b *pebble.Batch, reserved uint64) error {
	value := binary.BigEndian.AppendUint64(nil, reserved)
	return b.Set(metaKey(metaSerial), binary.BigEndian.AppendUint64(value, s.base), nil)
}

// settle gives back what was reserved and not used; nothing is handed out
// after that.
func (s *serials) settle(b *pebble.Batch) error { return s.save(b, s.last) }

// isLost reports whether a crash took the change of that serial back.
func (s *serials) isLost(serial uint64) bool {
	for _, l := range s.lost {
		if l.from <= serial && serial <= l.to {
			return true
		}
	}
	return false
}

// reserve makes sure that n serials can be handed out.
func (s *serials) reserve(st *store, n uint64) error {
	if s.last+n <= s.reserved {
		return nil
	}
	b := st.db.NewBatch()
	reserved := s.last + n + serialBlock
	if err := s.save(b, reserved); err != nil {
		return err
	}
	if err := st.commit(b, pebble.Sync); err != nil {
		return err
	}
	s.reserved = reserved
	return nil
}

// get returns a copy of the value of key; nil if there is none.
func get(r pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return append([]byte{}, value...), nil
}
