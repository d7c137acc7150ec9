package hub

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gapless-sync/gapless"
)

// markEvery is after how many records an enumeration can be resumed.
const markEvery = 8 * gapless.DefaultBatchRows

// source reads one connector's synced records back.
type source struct {
	hub       *Hub
	connector string
}

var (
	_ gapless.Source          = (*source)(nil)
	_ gapless.Positioner      = (*source)(nil)
	_ gapless.ChangeReader    = (*source)(nil)
	_ gapless.PositionChecker = (*source)(nil)
	_ gapless.Resumer         = (*source)(nil)
	_ gapless.Fetcher         = (*source)(nil)
)

// Source returns the records of one connector as a source that tells every
// change. Its partitions are the connector's collections; a position is the
// hub's id and the last synced serial of the connector, and expires when the
// feed no longer reaches back to it.
func (h *Hub) Source(connector string) gapless.Source { return &source{h, connector} }

// Describe implements [gapless.Source].
func (s *source) Describe(_ context.Context) (gapless.Description, error) {
	if err := s.hub.begin(); err != nil {
		return gapless.Description{}, err
	}
	defer s.hub.end()
	c := s.hub.names.connector(s.connector)
	if c == nil {
		known := make([]string, 0)
		for _, other := range s.hub.names.all() {
			known = append(known, other.name)
		}
		err := gapless.Errorf(gapless.CodeUnknownName, s.connector, "the hub holds nothing of this connector").
			WithHint("it holds: %s", strings.Join(known, ", "))
		return gapless.Description{}, gapless.Misconfigured(err)
	}
	d := gapless.Description{Model: gapless.ModelLog, Schema: "hub " + s.hub.id}
	for _, collection := range s.hub.names.collectionsOf(c) {
		d.Collections = append(d.Collections, collection.name)
	}
	return d, nil
}

// Position implements [gapless.Positioner].
func (s *source) Position(_ context.Context, _ gapless.Partition) (gapless.Position, error) {
	if err := s.hub.begin(); err != nil {
		return "", err
	}
	defer s.hub.end()
	v := s.hub.views.acquire()
	defer s.hub.views.release(v)
	ends, err := s.ends(v)
	return s.position(ends.last), err
}

// ends returns the bounds of the connector's feed; none if the view does not
// know the connector.
func (s *source) ends(v *view) (feedBounds, error) {
	c := s.hub.names.connector(s.connector)
	if c == nil {
		return feedBounds{}, nil
	}
	ends, err := feedEnds(v, c)
	return ends, s.hub.store.classifyRead(err)
}

func (s *source) position(serial uint64) gapless.Position {
	return gapless.Position(s.hub.id + "/" + strconv.FormatUint(serial, 10))
}

// serial reads a position of this hub back.
func (s *source) serial(p gapless.Position) (uint64, error) {
	text, ours := strings.CutPrefix(string(p), s.hub.id+"/")
	serial, err := strconv.ParseUint(text, 10, 64)
	if !ours || err != nil {
		return 0, gapless.Expired(fmt.Errorf("position %q is not one of hub %s", p, s.hub.id))
	}
	return serial, nil
}

// CheckPosition implements [gapless.PositionChecker].
func (s *source) CheckPosition(_ context.Context, _ gapless.Partition, from gapless.Position) error {
	serial, err := s.serial(from)
	if err != nil {
		return err
	}
	if err := s.hub.begin(); err != nil {
		return err
	}
	defer s.hub.end()
	v := s.hub.views.acquire()
	defer s.hub.views.release(v)
	ends, err := s.ends(v)
	if err != nil {
		return err
	}
	return ends.reaches(serial)
}

// ReadAll implements [gapless.Source]: the synced records in key order. A mark
// is the hub's id and a key.
func (s *source) ReadAll(ctx context.Context, p gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	key := ""
	if after != "" {
		var ours bool
		if key, ours = strings.CutPrefix(string(after), s.hub.id+"/"); !ours {
			return gapless.Expired(fmt.Errorf("mark %q is not one of hub %s", after, s.hub.id))
		}
	}
	count := 0
	return s.hub.Records(ctx, s.connector, p, key, func(r gapless.Record) error {
		if err := emitRecord(out, r); err != nil {
			return err
		}
		if count++; count%markEvery == 0 {
			return out.Mark(gapless.Mark(s.hub.id + "/" + r.Key))
		}
		return nil
	})
}

// CanResume implements [gapless.Resumer]: records behind the mark are read as
// they are now, and the feed from started tells what changed before it.
func (s *source) CanResume(ctx context.Context, p gapless.Partition, after gapless.Mark, started gapless.Position) (bool, error) {
	if !strings.HasPrefix(string(after), s.hub.id+"/") {
		return false, nil
	}
	err := s.CheckPosition(ctx, p, started)
	if err != nil && gapless.KindOf(err) == gapless.KindExpired {
		return false, nil
	}
	return err == nil, err
}

// ReadChanges implements [gapless.ChangeReader]: each record that changed is
// emitted once, as it is now; one that is deleted with the version and the time
// that its delete was pushed with, or else the time at which it was pushed.
func (s *source) ReadChanges(ctx context.Context, p gapless.Partition, from, _ gapless.Position, out *gapless.Output) error {
	after, err := s.serial(from)
	if err != nil {
		return err
	}
	h := s.hub
	if err := h.begin(); err != nil {
		return err
	}
	defer h.end()
	v := h.views.acquire()
	defer h.views.release(v)
	c := h.names.connector(s.connector)
	if c == nil {
		return feedBounds{}.reaches(after)
	}
	count := 0
	err = h.readLatest(ctx, v, c, after, func(e feedEntry, now *stored) error {
		collection := h.names.byID(e.collection)
		if collection == nil || collection.name != p.Collection || !strings.HasPrefix(string(e.key), p.Prefix) {
			return nil
		}
		if err := s.emit(out, e, now); err != nil {
			return err
		}
		if count++; count%markEvery == 0 {
			return out.Mark(gapless.Mark(s.position(e.serial)))
		}
		return nil
	})
	return h.store.classifyRead(err)
}

func (s *source) emit(out *gapless.Output, e feedEntry, now *stored) error {
	if now == nil {
		deleted := gapless.Record{Key: string(e.key), Version: string(e.version), Modified: timeOf(e.modified)}
		return out.Change(gapless.Change{Op: gapless.OpDelete, Record: deleted})
	}
	r, err := s.hub.sdkRecord(string(e.key), now, false)
	if err != nil {
		return err
	}
	return emitRecord(out, r)
}

// emitRecord is [gapless.Output.Upsert] for data that was checked when it came
// into the hub.
func emitRecord(out *gapless.Output, r gapless.Record) error {
	out.Batch().Append(gapless.Change{Op: gapless.OpUpsert, Record: r})
	return out.FlushIfFull()
}

// readLatest is readFeed without the changes that a later one has replaced.
// now is the record, valid until fn returns, or nil if it is deleted.
func (h *Hub) readLatest(ctx context.Context, v *view, c *connector, after uint64, fn func(e feedEntry, now *stored) error) error {
	return h.readFeed(ctx, v, c, after, func(e feedEntry) error {
		value, err := get(v.snap, idKey(spaceRecord, e.collection, e.key))
		if err != nil {
			return err
		}
		if value == nil {
			if e.op == gapless.OpDelete {
				return fn(e, nil)
			}
			return nil
		}
		now, err := decodeStored(value)
		if err != nil || now.serial != e.serial {
			return err
		}
		return fn(e, &now)
	})
}

// Fetch implements [gapless.Fetcher].
func (s *source) Fetch(ctx context.Context, p gapless.Partition, keys []string, out *gapless.Output) error {
	for _, key := range keys {
		r, err := s.hub.Get(ctx, s.connector, p.Collection, key)
		switch {
		case errors.Is(err, gapless.ErrNotFound):
			err = out.Delete(key)
		case err == nil:
			err = emitRecord(out, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
