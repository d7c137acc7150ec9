package engine

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless/resolve"
)

// entry is what both sides were last seen to hold of one key.
type entry struct {
	// base is what they had in common when they last met; nil if they never
	// did. baseDeleted says that it was a tombstone.
	base        []byte
	baseDeleted bool
	// owner is the side that had the record first: 1 and 2 for the first and
	// second, 0 if that is not known.
	owner uint8
	sides [2]held
	// promised is what both sides are to hold after a push that may or may not
	// have happened; nil as a rule. It is kept where to decide again on what
	// came of it would count edits twice.
	promised *[2]held
}

// held is what one side was last seen to hold, or was given.
type held struct {
	at resolve.Side
	// version is the record's at the side.
	version string
	// unshown names fields of at that the side was given and has not shown
	// since, uncarried those that it has shown not to keep: their absence there
	// is no removal.
	unshown, uncarried []string
}

// exists reports whether anything is known of the record there.
func (h *held) exists() bool { return h.at.Deleted || h.at.Data != nil }

func (h *held) live() bool { return !h.at.Deleted && h.at.Data != nil }

// sameAs reports whether both are encoded alike.
func (h *held) sameAs(g *held) bool {
	return string(appendHeld(nil, h)) == string(appendHeld(nil, g))
}

// The layout of an entry: version, flags, owner, base, first side, second side
// unless it is the same, and what is promised to both. Numbers are varints, texts are sized.
const (
	entryVersion = 1

	flagBase          = 1
	flagBaseDeleted   = 2
	flagBaseIsFirst   = 4
	flagSecondIsFirst = 8
	flagPromised      = 16
	flagsOfEntry      = 31

	flagData     = 1
	flagDeleted  = 2
	flagTimes    = 4
	flagSeen     = 8
	flagsOfSides = 15
)

// encode returns the entry as the ledger keeps it.
func (e *entry) encode() []byte {
	flags := byte(0)
	if e.base != nil {
		flags |= flagBase
	}
	if e.baseDeleted {
		flags |= flagBaseDeleted
	}
	sameBase := e.base != nil && e.sides[0].at.Data != nil && string(e.base) == string(e.sides[0].at.Data)
	if sameBase {
		flags |= flagBaseIsFirst
	}
	same := e.sides[0].sameAs(&e.sides[1])
	if same {
		flags |= flagSecondIsFirst
	}
	if e.promised != nil {
		flags |= flagPromised
	}
	dst := append(make([]byte, 0, len(e.sides[0].at.Data)+256), entryVersion, flags, e.owner)
	if e.base != nil && !sameBase {
		dst = appendSized(dst, string(e.base))
	}
	dst = appendHeld(dst, &e.sides[0])
	if !same {
		dst = appendHeld(dst, &e.sides[1])
	}
	if e.promised != nil {
		dst = appendHeld(appendHeld(dst, &e.promised[0]), &e.promised[1])
	}
	return dst
}

func appendHeld(dst []byte, h *held) []byte {
	flags := byte(0)
	if h.at.Data != nil {
		flags |= flagData
	}
	if h.at.Deleted {
		flags |= flagDeleted
	}
	if h.at.Times != nil {
		flags |= flagTimes
	}
	if h.at.Seen != nil {
		flags |= flagSeen
	}
	dst = append(dst, flags)
	if h.at.Data != nil {
		dst = appendSized(dst, string(h.at.Data))
	}
	dst = appendSized(dst, h.version)
	for _, names := range [...][]string{h.unshown, h.uncarried} {
		dst = binary.AppendUvarint(dst, uint64(len(names)))
		for _, name := range names {
			dst = appendSized(dst, name)
		}
	}
	return appendStamps(dst, &h.at)
}

// appendStamps appends the times of a side: those of its record, of its
// fields, and what its deletion knew.
func appendStamps(dst []byte, s *resolve.Side) []byte {
	dst = appendStamp(dst, s.Modified)
	for _, times := range [...]resolve.Times{s.Times, s.Seen} {
		if times == nil {
			continue
		}
		names := make([]string, 0, len(times))
		for name := range times {
			names = append(names, name)
		}
		slices.Sort(names)
		dst = binary.AppendUvarint(dst, uint64(len(names)))
		for _, name := range names {
			dst = appendStamp(appendSized(dst, name), times[name])
		}
	}
	return dst
}

func appendStamp(dst []byte, s resolve.Stamp) []byte {
	seconds, nanos := int64(math.MinInt64), 0
	if !s.Time.IsZero() {
		seconds, nanos = s.Time.Unix(), s.Time.Nanosecond()
	}
	dst = binary.AppendVarint(dst, seconds)
	dst = binary.AppendUvarint(dst, uint64(nanos))
	dst = binary.AppendUvarint(dst, uint64(s.Counter))
	return appendSized(dst, s.Node)
}

func appendSized(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

var errEntry = errors.New("an entry of the ledger cannot be read")

// decodeEntry reads what encode wrote; no value is an entry that knows nothing.
func decodeEntry(value []byte) (entry, error) {
	if len(value) == 0 {
		return entry{}, nil
	}
	d := stampReader{rest: value}
	version, flags := d.byte(), d.byte()
	e := entry{owner: d.byte(), baseDeleted: flags&flagBaseDeleted != 0}
	if version != entryVersion || flags&^flagsOfEntry != 0 || e.owner > 2 {
		return entry{}, errEntry
	}
	if flags&flagBase != 0 && flags&flagBaseIsFirst == 0 {
		e.base = []byte(d.sized())
	}
	e.sides[0] = d.held()
	e.sides[1] = e.sides[0]
	if flags&flagSecondIsFirst == 0 {
		e.sides[1] = d.held()
	}
	if flags&flagBaseIsFirst != 0 {
		e.base = e.sides[0].at.Data
	}
	if flags&flagPromised != 0 {
		e.promised = &[2]held{d.held(), d.held()}
	}
	if d.failed || len(d.rest) > 0 {
		return entry{}, errEntry
	}
	return e, nil
}

// stampReader reads what the functions above append.
type stampReader struct {
	rest   []byte
	failed bool
}

func (d *stampReader) byte() byte {
	if len(d.rest) == 0 {
		d.failed = true
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *stampReader) uvarint() uint64 {
	n, width := binary.Uvarint(d.rest)
	if width <= 0 {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[width:]
	return n
}

func (d *stampReader) varint() int64 {
	n, width := binary.Varint(d.rest)
	if width <= 0 {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[width:]
	return n
}

func (d *stampReader) sized() string {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.failed, d.rest = true, nil
		return ""
	}
	text := string(d.rest[:n])
	d.rest = d.rest[n:]
	return text
}

func (d *stampReader) held() held {
	var h held
	flags := d.byte()
	d.failed = d.failed || flags&^flagsOfSides != 0
	if flags&flagData != 0 {
		h.at.Data = []byte(d.sized())
	}
	h.at.Deleted = flags&flagDeleted != 0
	h.version = d.sized()
	for _, names := range [...]*[]string{&h.unshown, &h.uncarried} {
		for n := d.uvarint(); n > 0 && !d.failed; n-- {
			*names = append(*names, d.sized())
		}
	}
	d.stamps(&h.at, flags&flagTimes != 0, flags&flagSeen != 0)
	return h
}

func (d *stampReader) stamps(s *resolve.Side, times, seen bool) {
	s.Modified = d.stamp()
	if times {
		s.Times = d.times()
	}
	if seen {
		s.Seen = d.times()
	}
}

func (d *stampReader) times() resolve.Times {
	n := d.uvarint()
	times := make(resolve.Times, min(n, 64))
	for ; n > 0 && !d.failed; n-- {
		name := d.sized()
		times[name] = d.stamp()
	}
	return times
}

func (d *stampReader) stamp() resolve.Stamp {
	seconds, nanos := d.varint(), d.uvarint()
	s := resolve.Stamp{Counter: uint32(d.uvarint()), Node: d.sized()}
	if seconds != math.MinInt64 {
		s.Time = time.Unix(seconds, int64(nanos%uint64(time.Second))).UTC()
	}
	return s
}

// stampPrefix begins the versions that carry the times of a record's fields.
const stampPrefix = "gapless-1:"

// stampedVersion returns a version for a store that keeps versions verbatim:
// it carries the times of the fields, and a hash of the data that they are of,
// so that a later edit by somebody who knows nothing of it shows.
func stampedVersion(s *resolve.Side) string {
	dst := binary.BigEndian.AppendUint64(make([]byte, 0, 128), dataHash(s))
	flags := byte(0)
	if s.Times != nil {
		flags |= flagTimes
	}
	if s.Seen != nil {
		flags |= flagSeen
	}
	dst = appendStamps(append(dst, flags), s)
	return stampPrefix + base64.RawURLEncoding.EncodeToString(dst)
}

func dataHash(s *resolve.Side) uint64 {
	if s.Deleted {
		return 0
	}
	return xxh3.Hash(s.Data)
}

// stampsOf returns the times that a version carries.
func stampsOf(version string) (resolve.Side, bool) {
	s, _, ok := decodeStamped(version)
	return s, ok
}

// readStamps reads a version that carries times into s, whose data it has to
// be of. It reports false if it is another kind of version, or of other data.
func readStamps(version string, s *resolve.Side) bool {
	stamped, hash, ok := decodeStamped(version)
	if !ok || hash != dataHash(s) {
		return false
	}
	s.Modified, s.Times, s.Seen = stamped.Modified, stamped.Times, stamped.Seen
	return true
}

// decodeStamped reads what stampedVersion wrote.
func decodeStamped(version string) (s resolve.Side, hash uint64, ok bool) {
	text, ok := strings.CutPrefix(version, stampPrefix)
	if !ok {
		return s, 0, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < 9 {
		return s, 0, false
	}
	flags := raw[8]
	d := stampReader{rest: raw[9:]}
	d.stamps(&s, flags&flagTimes != 0, flags&flagSeen != 0)
	if d.failed || len(d.rest) > 0 || flags&^(flagTimes|flagSeen) != 0 {
		return resolve.Side{}, 0, false
	}
	return s, binary.BigEndian.Uint64(raw), true
}

// describe says in errors which key an entry is of.
func describe(collection, key string, err error) error {
	return fmt.Errorf("record %q of %s: %w", key, collection, err)
}
