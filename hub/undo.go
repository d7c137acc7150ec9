package hub

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
)

// keptRun is a run of which former states are kept, as the store lists it.
type keptRun struct {
	number            uint64 // serial of its first change
	connector, writer uint32
	parts             bool  // former states may have parts
	until             int64 // Unix nanoseconds
	run               string
	gone              bool // purged, or being purged
}

const keptRunParts = 1

func (k *keptRun) key() []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceKeptRun}, k.number)
}

// states is what the keys of the run's former states begin with.
func (k *keptRun) states() []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceKept}, k.number)
}

func (k *keptRun) save(b *pebble.Batch) error {
	value := binary.BigEndian.AppendUint32(nil, k.connector)
	value = append(binary.BigEndian.AppendUint32(value, k.writer), 0)
	if k.parts {
		value[8] |= keptRunParts
	}
	value = binary.BigEndian.AppendUint64(value, uint64(k.until))
	return b.Set(k.key(), append(value, k.run...), nil)
}

func decodeKeptRun(key, value []byte) (*keptRun, error) {
	of, d := decoder{rest: key[1:]}, decoder{rest: value}
	k := &keptRun{number: of.uint64(), connector: d.uint32(), writer: d.uint32()}
	k.parts, k.until = d.byte()&keptRunParts != 0, int64(d.uint64())
	k.run = string(d.rest)
	return k, errors.Join(of.err, d.err)
}

// listKept returns the runs of which former states are kept, the oldest first.
func listKept(r pebble.Reader) (list []*keptRun, err error) {
	err = scan(r, []byte{spaceKeptRun}, func(key, value []byte) error {
		k, err := decodeKeptRun(key, value)
		list = append(list, k)
		return err
	})
	return list, err
}

// formerState is what is kept of one record.
type formerState struct {
	existed, left bool
	after         gapless.Hash128 // of what the run left, if it did
	before        []byte          // value of the record as it was, if it existed
}

const (
	formerExisted = 1 << iota
	formerLeft
	formerEnd
)

// size returns the length of the encoding.
func (f *formerState) size() int {
	n := 1 + len(f.before)
	if f.left {
		n += 16
	}
	return n
}

// append appends the encoding to dst.
func (f *formerState) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 0)
	if f.left {
		dst[at] |= formerLeft
		dst = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, f.after.Hi), f.after.Lo)
	}
	if f.existed {
		dst[at] |= formerExisted
		dst = append(dst, f.before...)
	}
	return dst
}

func decodeFormer(value []byte) (formerState, error) {
	d := decoder{rest: value}
	flags := d.byte()
	f := formerState{existed: flags&formerExisted != 0, left: flags&formerLeft != 0}
	if f.left {
		f.after = gapless.Hash128{Hi: d.uint64(), Lo: d.uint64()}
	}
	if f.existed {
		f.before = d.rest
		d.rest = nil
	}
	if flags >= formerEnd || len(d.rest) > 0 {
		d.fail("former state")
	}
	return f, d.err
}

// state is a record together with its parts; exists is false if there is none.
type state struct {
	*stored
	parts  []storedPart
	exists bool
}

// same reports whether nobody could tell a from b.
func (a state) same(b state) bool {
	if !a.exists || !b.exists {
		return a.exists == b.exists
	}
	return a.modified == b.modified && isRecord(a.stored, b.version, b.data) && slices.EqualFunc(a.parts, b.parts, func(p, q storedPart) bool {
		p.blob = q.blob
		return p == q
	})
}

// hash is the same for states that are the same.
func (a state) hash(h *xxh3.Hasher) gapless.Hash128 {
	h.Reset()
	head := binary.BigEndian.AppendUint64(make([]byte, 0, 64), uint64(a.modified))
	head = binary.AppendUvarint(appendSized(head, a.version), uint64(len(a.parts)))
	for _, p := range a.parts {
		p.blob = blobID{}
		head = append(head, encodeManifest([]storedPart{p})...)
	}
	_, _ = h.Write(head) // a hash accepts everything
	_, _ = h.Write(a.data)
	sum := h.Sum128()
	return gapless.Hash128{Hi: sum.Hi, Lo: sum.Lo}
}

// keeping is the run whose changes a session keeps the former states of.
type keeping struct {
	run    string
	window time.Duration
	kept   *keptRun // nil before the first change
	// replaces says that the run may have changed records that there were: of
	// one that is not there now it is not known whether it is one of them.
	replaces bool
}

// Keep implements [gapless.Keeper]. Nothing is written before the first change.
func (s *Session) Keep(_ context.Context, run string, window time.Duration) error {
	h := s.hub
	if err := h.begin(); err != nil {
		return err
	}
	defer h.end()
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := s.checkWrite(); err != nil {
		return err
	}
	if run == "" || len(run) > gapless.MaxKeyBytes || window <= 0 {
		return gapless.Misconfigured(fmt.Errorf("hub: keep what run %q replaces for %s", run, window))
	}
	s.keeping = &keeping{run: run, window: window}
	for _, k := range h.kept {
		if k.run == run && k.connector == s.connector.id && k.writer == s.writer.id {
			s.keeping.kept, s.keeping.replaces = k, true
		}
	}
	return nil
}

// former keeps the former states of the records that one commit changes.
type former struct {
	*keeping
	hub      *Hub
	next     keptRun // what the store lists once this is committed
	first    bool    // it does not list the run yet
	wrote    bool
	replaced bool
	copies   *stage // of parts that a patch leaves with the record
	hash     *xxh3.Hasher
	key      []byte
}

// newFormer returns nil if nothing is to be kept; the caller holds mu.
func (s *Session) newFormer(w *writer) *former {
	k := s.keeping
	if k == nil {
		return nil
	}
	f := &former{keeping: k, hub: s.hub, hash: xxh3.New()}
	if k.kept == nil || k.kept.gone {
		f.first, f.next = true, keptRun{number: w.next, connector: s.connector.id, writer: s.writer.id, run: k.run}
		k.replaces = k.kept != nil
	} else {
		f.next = *k.kept
	}
	f.key = f.next.states()
	return f
}

// keep keeps what the record of w.key was, unless that is kept already, and
// reports whether its parts are now with what is kept. dropped are those that
// are no longer the record's.
func (f *former) keep(w *writer, before, after state, dropped []storedPart) (bool, error) {
	if before.same(after) {
		return false, nil
	}
	f.wrote = true
	key := append(binary.BigEndian.AppendUint32(f.key[:9], w.collection.id), w.key[5:]...)
	f.key = key
	entry := formerState{existed: before.exists, left: after.exists}
	if after.exists {
		entry.after = after.hash(f.hash)
	}
	if f.mayHave(before) {
		value, err := get(w.out, key)
		if err != nil {
			return false, err
		}
		if value != nil {
			was, err := decodeFormer(value)
			entry.existed, entry.before = was.existed, was.before
			return false, errors.Join(err, entry.put(w.out, key))
		}
	}
	if before.exists {
		s := *before.stored
		parts, err := f.own(w, before.parts, dropped)
		if err != nil {
			return false, err
		}
		s.manifest = encodeManifest(parts)
		f.replaced, f.next.parts = true, f.next.parts || len(parts) > 0
		entry.before = s.append(make([]byte, 0, s.size()))
	}
	return true, entry.put(w.out, key)
}

// mayHave reports whether the run may have changed a record before: one that
// is older than its first change it has not.
func (f *former) mayHave(before state) bool {
	if before.exists {
		return before.serial >= f.next.number
	}
	return f.replaces || f.replaced
}

func (f *formerState) put(b *pebble.Batch, key []byte) error {
	op := b.SetDeferred(len(key), f.size())
	copy(op.Key, key)
	f.append(op.Value[:0])
	return op.Finish()
}

// own returns the parts of a former state, none of which is the record's: those
// that stay with the record are copied.
func (f *former) own(w *writer, parts, dropped []storedPart) ([]storedPart, error) {
	list := slices.Clone(parts)
	for i := range list {
		if slices.ContainsFunc(dropped, func(p storedPart) bool { return p.blob == list[i].blob }) {
			continue
		}
		if f.copies == nil {
			f.copies = f.hub.newStage()
		}
		blob := f.copies.newPart().blob
		for n := range list[i].chunkCount() {
			chunk, err := get(w.out, list[i].blob.chunk(n))
			if err != nil {
				return nil, err
			}
			if err := f.copies.keep(blob.chunk(n), chunk); err != nil {
				return nil, err
			}
		}
		list[i].blob = blob
	}
	return list, nil
}

// finish puts into b what belongs to the former states in it.
func (f *former) finish(b *pebble.Batch) error {
	if f == nil || !f.wrote {
		return nil
	}
	due := f.hub.opts.now().Add(f.window).UnixNano()
	if !f.first && f.next.until >= due && f.next.parts == f.kept.parts {
		return f.copies.into(b)
	}
	f.next.until = max(f.next.until, due+int64(f.window/64)) // not with every batch
	return errors.Join(f.copies.into(b), f.next.save(b))
}

// applied says that the batch is in the store; the caller holds mu.
func (f *former) applied() {
	if f == nil || !f.wrote {
		return
	}
	f.replaces = f.replaces || f.replaced
	if f.first {
		f.keeping.kept = &keptRun{}
		f.hub.kept = append(f.hub.kept, f.keeping.kept)
	}
	*f.keeping.kept = f.next
}

// discard forgets a commit that was not applied.
func (f *former) discard() error {
	if f == nil {
		return nil
	}
	return f.copies.discard()
}

// keptRuns are the runs of which former states are kept.
type keptRuns []*keptRun

func (l *keptRuns) load(r pebble.Reader) (err error) {
	*l, err = listKept(r)
	return err
}

// due reports whether there is something to purge.
func (l keptRuns) due(now time.Time) bool {
	return slices.ContainsFunc(l, func(k *keptRun) bool { return k.until < now.UnixNano() })
}

// purgeKept puts into b what removes former states whose time is over, as much
// as is due at once; the caller holds mu.
func (h *Hub) purgeKept(b *pebble.Batch) error {
	now, left := h.opts.now().UnixNano(), h.opts.purge
	for _, k := range h.kept {
		if k.until >= now || left <= 0 {
			continue
		}
		k.gone = true
		done, err := h.purgeRun(b, k, &left)
		if err != nil {
			return err
		}
		if done {
			h.kept = slices.DeleteFunc(slices.Clone(h.kept), func(other *keptRun) bool { return other == k })
		}
	}
	return nil
}

// purgeRun removes former states of one run, and reports whether none is left.
func (h *Hub) purgeRun(b *pebble.Batch, k *keptRun, left *int) (done bool, err error) {
	prefix := k.states()
	end := prefixEnd(prefix)
	if k.parts {
		if end, err = h.purgeParts(b, prefix, left); err != nil {
			return false, err
		}
	}
	*left--
	if err := b.DeleteRange(prefix, end, nil); err != nil || !bytes.Equal(end, prefixEnd(prefix)) {
		return false, err
	}
	return true, b.Delete(k.key(), nil)
}

// purgeParts puts into b what removes the parts of former states, up to where
// it returns.
func (h *Hub) purgeParts(b *pebble.Batch, prefix []byte, left *int) (end []byte, err error) {
	it, err := h.store.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return nil, err
	}
	defer closing(it, &err)
	for ok := it.First(); ok; ok = it.Next() {
		if *left <= 0 {
			return bytes.Clone(it.Key()), nil
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		parts, err := formerParts(value)
		if err != nil {
			return nil, err
		}
		for i := range parts {
			*left -= int(parts[i].chunkCount())
		}
		*left--
		if err := dropParts(b, parts); err != nil {
			return nil, err
		}
	}
	return prefixEnd(prefix), nil
}

func formerParts(value []byte) ([]storedPart, error) {
	f, err := decodeFormer(value)
	if err != nil || !f.existed {
		return nil, err
	}
	s, err := decodeStored(f.before)
	if err != nil {
		return nil, err
	}
	return decodeManifest(s.manifest)
}
