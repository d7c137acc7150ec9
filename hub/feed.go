package hub

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gapless-sync/gapless"
)

const (
	// feedBlockBytes is about how large a block of the feed becomes.
	feedBlockBytes = 64 << 10
	// feedPatience is by how many times the feed may outgrow its bound while
	// the search index has not read it yet.
	feedPatience = 16
)

// FeedChange is one entry of a connector's change feed. The record's data is
// not in it: read the record, whose state may be a later one.
type FeedChange struct {
	Serial uint64
	// Op is upsert, patch or delete, as it was pushed.
	Op         gapless.Op
	Collection string
	// Key is valid until the callback returns.
	Key []byte
}

// Changes calls fn for every synced change of connector after a serial, in
// order, and returns the serial up to which it got: that is where to continue.
// A serial that the feed does not reach back to, or has not reached, is
// [gapless.Expired]. An error from fn ends the call and is returned.
func (h *Hub) Changes(ctx context.Context, connector string, after uint64, fn func(FeedChange) error) (through uint64, err error) {
	if err := h.begin(); err != nil {
		return after, err
	}
	defer h.end()
	v := h.views.acquire()
	defer h.views.release(v)
	c := h.names.connector(connector)
	if c == nil {
		return after, feedBounds{}.reaches(after)
	}
	if quiet, err := h.quietSince(v, c, after); err != nil || quiet {
		return after, h.store.classifyRead(err)
	}
	through = after
	err = h.readFeed(ctx, v, c, after, func(e feedEntry) error {
		change := FeedChange{Serial: e.serial, Op: e.op, Key: e.key}
		if collection := h.names.byID(e.collection); collection != nil {
			change.Collection = collection.name
		}
		if err := fn(change); err != nil {
			return err
		}
		through = e.serial
		return nil
	})
	return through, h.store.classifyRead(err)
}

// quietSince reports whether after is a serial that the view has, behind the
// last change of c: other connectors' serials, and those of checkpoints.
func (h *Hub) quietSince(v *view, c *connector, after uint64) (bool, error) {
	ends, err := feedEnds(v, c)
	return err == nil && ends.last < after && after <= v.serial && h.known(after) == nil, err
}

// feedBounds is where the feed of one connector begins and ends.
type feedBounds struct {
	trimmed uint64 // serial of the last change that is no longer kept
	last    uint64 // serial of the last change
	first   uint64 // ordinal of the oldest change kept
	count   uint64 // ordinal of the next change
}

func (f *feedBounds) load(r pebble.Reader, connector uint32) (err error) {
	prefix := idKey(spaceFeed, connector, "")
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return err
	}
	defer closing(it, &err)
	if !it.First() {
		return nil
	}
	oldest, err := currentBlock(it)
	if err != nil {
		return err
	}
	f.first = oldest.ordinal
	if !it.Last() {
		return nil
	}
	latest, err := currentBlock(it)
	if err != nil {
		return err
	}
	f.last, f.count = latest.lastSerial(), latest.ordinal+latest.count
	return nil
}

// feedBlock is a run of changes with consecutive serials.
type feedBlock struct {
	serial     uint64 // of the first change
	ordinal    uint64 // of the first change
	count      uint64
	collection uint32
	entries    []byte
}

func (b *feedBlock) lastSerial() uint64 { return b.serial + b.count - 1 }

func currentBlock(it *pebble.Iterator) (feedBlock, error) {
	value, err := it.ValueAndErr()
	if err != nil {
		return feedBlock{}, err
	}
	return decodeBlock(it.Key(), value)
}

func decodeBlock(key, value []byte) (feedBlock, error) {
	if len(key) != 13 {
		return feedBlock{}, fmt.Errorf("%w: feed key", errDamagedValue)
	}
	d := decoder{rest: value}
	b := feedBlock{serial: binary.BigEndian.Uint64(key[5:]), ordinal: d.uvarint(), collection: uint32(d.uvarint()), count: d.uvarint()}
	if b.entries = d.rest; b.count == 0 || b.count > uint64(len(b.entries)) {
		d.fail("feed block")
	}
	return b, d.err
}

// Flags of an entry, in the byte of its operation. Only a delete has them: the
// record itself tells the rest of any other change.
const (
	feedModified = 1 << (6 + iota)
	feedVersion
	feedOp = feedModified - 1
)

type feedEntry struct {
	serial     uint64
	ordinal    uint64
	op         gapless.Op
	collection uint32
	key        []byte
	modified   int64  // of a delete; 0 if unknown
	version    []byte // of a delete
}

// append appends the encoding to dst.
func (e *feedEntry) append(dst []byte) []byte {
	at := len(dst)
	dst = appendSized(append(dst, byte(e.op)), e.key)
	if e.modified != 0 {
		dst[at] |= feedModified
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.modified))
	}
	if len(e.version) > 0 {
		dst[at] |= feedVersion
		dst = appendSized(dst, e.version)
	}
	return dst
}

// each calls fn for the block's changes after a serial.
func (b *feedBlock) each(after uint64, fn func(feedEntry) error) error {
	d := decoder{rest: b.entries}
	for i := range b.count {
		flags := d.byte()
		e := feedEntry{serial: b.serial + i, ordinal: b.ordinal + i, collection: b.collection, op: gapless.Op(flags & feedOp), key: d.sized()}
		if flags&feedModified != 0 {
			e.modified = int64(d.uint64())
		}
		if flags&feedVersion != 0 {
			e.version = d.sized()
		}
		if d.err != nil {
			return d.err
		}
		if e.serial <= after {
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// feedEnds returns the bounds of the feed as the view has them, but for first.
func feedEnds(v *view, c *connector) (f feedBounds, err error) {
	value, err := get(v.snap, append([]byte{spaceConnector}, c.name...))
	if err != nil || value == nil {
		return f, err
	}
	d := decoder{rest: value[min(12, len(value)):]}
	if f.trimmed = d.uint64(); d.err != nil {
		return f, d.err
	}
	prefix := idKey(spaceFeed, c.id, "")
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return f, err
	}
	defer closing(it, &err)
	if !it.Last() {
		return f, nil
	}
	latest, err := currentBlock(it)
	f.last, f.count = latest.lastSerial(), latest.ordinal+latest.count
	return f, err
}

// reaches returns [gapless.Expired] unless the feed can be read after serial.
func (f feedBounds) reaches(serial uint64) error {
	if f.trimmed <= serial && serial <= f.last {
		return nil
	}
	return gapless.Expired(fmt.Errorf("the change feed reaches from serial %d to %d: nothing is known after %d", f.trimmed, f.last, serial))
}

// readFeed calls fn for the connector's changes in v after a serial.
func (h *Hub) readFeed(ctx context.Context, v *view, c *connector, after uint64, fn func(feedEntry) error) (err error) {
	ends, err := feedEnds(v, c)
	if err != nil {
		return err
	}
	if err := ends.reaches(after); err != nil || after == ends.last {
		return err
	}
	prefix := idKey(spaceFeed, c.id, "")
	it, err := v.snap.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return err
	}
	defer closing(it, &err)
	// The block that begins at or before the first wanted serial, else the first.
	ok := it.SeekLT(feedKey(c.id, after+2)) || it.First()
	for ; ok; ok = it.Next() {
		block, err := currentBlock(it)
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = block.each(after, fn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// trimFeed puts into b what forgets the oldest changes of c, once there are
// a quarter more than have to be kept. The caller holds mu.
func (h *Hub) trimFeed(c *connector, b *pebble.Batch) (err error) {
	keep, kept := uint64(h.opts.FeedChanges), c.feed.count-c.feed.first
	if kept <= keep+keep/4 {
		return nil
	}
	indexed := h.indexedThrough(c)
	if kept > keep*feedPatience {
		indexed = c.feed.last
	}
	prefix := idKey(spaceFeed, c.id, "")
	it, err := h.store.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return err
	}
	defer closing(it, &err)
	bounds := c.feed
	for ok := it.First(); ok; ok = it.Next() {
		block, err := currentBlock(it)
		if err != nil {
			return err
		}
		next := block.ordinal + block.count
		if c.feed.count-next < keep || block.lastSerial() > indexed {
			break
		}
		bounds.first, bounds.trimmed = next, block.lastSerial()
	}
	if bounds == c.feed {
		return nil
	}
	c.feed = bounds
	return errors.Join(b.DeleteRange(prefix, feedKey(c.id, bounds.trimmed+1), nil), c.save(b))
}
