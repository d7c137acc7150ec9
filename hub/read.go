package hub

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gapless-sync/gapless"
)

// checkEvery is after how many records a scan looks at its context.
const checkEvery = 1024

// Enumerate implements [gapless.Enumerator] on the synced view.
func (s *Session) Enumerate(ctx context.Context, p gapless.Partition, fn func(key, version []byte) error) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.hub.end()
	return s.hub.Enumerate(ctx, s.connector.name, p, fn)
}

// Get implements [gapless.Getter] on the synced view. Parts are read when
// opened; one whose record has changed since then is [gapless.ErrNotFound].
func (s *Session) Get(ctx context.Context, p gapless.Partition, key string) (gapless.Record, error) {
	if err := s.begin(); err != nil {
		return gapless.Record{}, err
	}
	defer s.hub.end()
	return s.hub.Get(ctx, s.connector.name, p.Collection, key)
}

// GetPushed is Get on what has been pushed, synced or not.
func (s *Session) GetPushed(_ context.Context, p gapless.Partition, key string) (gapless.Record, error) {
	if err := s.begin(); err != nil {
		return gapless.Record{}, err
	}
	defer s.hub.end()
	return s.hub.record(s.hub.store.db, s.hub.names.collection(s.connector.name, p.Collection), key, true)
}

// Enumerate calls fn for every synced record of a connector's partition, in
// ascending order of key bytes. The slices are valid until fn returns. An
// error from fn ends the enumeration and is returned.
func (h *Hub) Enumerate(ctx context.Context, connector string, p gapless.Partition, fn func(key, version []byte) error) error {
	return h.walk(ctx, connector, p, "", func(key []byte, s *stored) error { return fn(key, s.version) })
}

// Records is Enumerate with whole records, and begins behind the key after
// unless that is empty. A record's Data is valid until fn returns.
func (h *Hub) Records(ctx context.Context, connector string, p gapless.Partition, after string, fn func(gapless.Record) error) error {
	return h.walk(ctx, connector, p, after, func(key []byte, s *stored) error {
		r, err := h.sdkRecord(string(key), s, false)
		if err != nil {
			return err
		}
		return fn(r)
	})
}

// Get returns a synced record, or [gapless.ErrNotFound].
func (h *Hub) Get(_ context.Context, connector, collection, key string) (gapless.Record, error) {
	if err := h.begin(); err != nil {
		return gapless.Record{}, err
	}
	defer h.end()
	v := h.views.acquire()
	defer h.views.release(v)
	return h.record(v.snap, h.names.collection(connector, collection), key, false)
}

func (h *Hub) walk(ctx context.Context, connector string, p gapless.Partition, after string, fn func(key []byte, s *stored) error) error {
	if err := h.begin(); err != nil {
		return err
	}
	defer h.end()
	c := h.names.collection(connector, p.Collection)
	if c == nil {
		return context.Cause(ctx)
	}
	v := h.views.acquire()
	defer h.views.release(v)
	return h.store.classifyRead(walk(ctx, v.snap, c.id, p.Prefix, after, fn))
}

// walk calls fn for the records of a collection in key order, behind after.
func walk(ctx context.Context, r pebble.Reader, collection uint32, prefix, after string, fn func(key []byte, s *stored) error) error {
	return leap(ctx, r, collection, prefix, after, func(key []byte, s *stored) ([]byte, error) { return nil, fn(key, s) })
}

// leap is walk for an fn that may say at which key to go on: everything before
// it is left out unread.
func leap(ctx context.Context, r pebble.Reader, collection uint32, prefix, after string, fn func(key []byte, s *stored) (to []byte, err error)) error {
	lower := idKey(spaceRecord, collection, prefix)
	upper := prefixEnd(lower)
	if behind := append(idKey(spaceRecord, collection, after), 0); after != "" && bytes.Compare(behind, lower) > 0 {
		lower = behind
	}
	return leapBetween(ctx, r, lower, upper, fn)
}

// leapBetween is leap for two keys of the store, between which are records of
// one collection only.
func leapBetween(ctx context.Context, r pebble.Reader, lower, upper []byte, fn func(key []byte, s *stored) (to []byte, err error)) (err error) {
	if bytes.Compare(lower, upper) >= 0 {
		return context.Cause(ctx)
	}
	it, err := r.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer closing(it, &err)
	ok := it.First()
	for n := 0; ok; n++ {
		if n%checkEvery == 0 {
			if err := context.Cause(ctx); err != nil {
				return err
			}
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		s, err := decodeStored(value)
		if err != nil {
			return err
		}
		to, err := fn(it.Key()[5:], &s)
		if err != nil {
			return err
		}
		if len(to) > 0 && bytes.Compare(to, it.Key()[5:]) > 0 {
			ok = it.SeekGE(append(bytes.Clone(lower[:5]), to...))
		} else {
			ok = it.Next()
		}
	}
	return nil
}

func (h *Hub) record(r pebble.Reader, c *collection, key string, pushed bool) (gapless.Record, error) {
	if c == nil {
		return gapless.Record{}, fmt.Errorf("record %q: %w", key, gapless.ErrNotFound)
	}
	value, err := get(r, idKey(spaceRecord, c.id, key))
	if err != nil {
		return gapless.Record{}, h.store.classifyRead(err)
	}
	if value == nil {
		return gapless.Record{}, fmt.Errorf("record %q of %s: %w", key, c.name, gapless.ErrNotFound)
	}
	s, err := decodeStored(value)
	if err != nil {
		return gapless.Record{}, h.store.classifyRead(err)
	}
	return h.sdkRecord(key, &s, pushed)
}

// sdkRecord returns the SDK's form of a record; its data is a view of s.
func (h *Hub) sdkRecord(key string, s *stored, pushed bool) (gapless.Record, error) {
	r := gapless.Record{Key: key, Version: string(s.version), Modified: timeOf(s.modified), Data: s.data}
	parts, err := decodeManifest(s.manifest)
	for _, p := range parts {
		r.Parts = append(r.Parts, h.part(p, pushed))
	}
	return r, h.store.classifyRead(err)
}

// timeOf returns the time of Unix nanoseconds; the zero time if they are 0.
func timeOf(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds).UTC()
}
