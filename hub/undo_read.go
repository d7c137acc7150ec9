package hub

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
)

// KeptRuns implements [gapless.Undoer] on the synced view.
func (s *Session) KeptRuns(ctx context.Context) ([]gapless.KeptRun, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	h := s.hub
	defer h.end()
	v := h.views.acquire()
	defer h.views.release(v)
	kept, err := s.keptIn(v)
	if err != nil {
		return nil, h.store.classifyRead(err)
	}
	list := make([]gapless.KeptRun, 0, len(kept))
	for _, k := range kept {
		run := gapless.KeptRun{Run: k.run, Until: time.Unix(0, k.until).UTC()}
		err := h.eachKept(ctx, v, k, func(r *formerRecord) error {
			switch {
			case !r.existed:
				run.Created++
			case !r.left:
				run.Deleted++
			default:
				run.Replaced++
			}
			return nil
		})
		if err != nil {
			return nil, h.store.classifyRead(err)
		}
		if run.Created+run.Replaced+run.Deleted > 0 {
			list = append(list, run)
		}
	}
	return list, nil
}

// keptIn returns the runs of the session's writer whose time is not over.
func (s *Session) keptIn(v *view) ([]*keptRun, error) {
	now := s.hub.opts.now().UnixNano()
	list, err := listKept(v.snap)
	return slices.DeleteFunc(list, func(k *keptRun) bool {
		return k.connector != s.connector.id || k.writer != s.writer.id || k.until < now
	}), err
}

// Kept implements [gapless.Undoer] on the synced view.
func (s *Session) Kept(ctx context.Context, run string, fn func(gapless.KeptRecord) error) error {
	if err := s.begin(); err != nil {
		return err
	}
	h := s.hub
	defer h.end()
	v := h.views.acquire()
	defer h.views.release(v)
	kept, err := s.keptIn(v)
	if err != nil {
		return h.store.classifyRead(err)
	}
	i := slices.IndexFunc(kept, func(k *keptRun) bool { return k.run == run })
	if i < 0 {
		return fmt.Errorf("hub: what run %q replaced: %w", run, gapless.ErrNotFound)
	}
	hash := xxh3.New()
	return h.store.classifyRead(h.eachKept(ctx, v, kept[i], func(r *formerRecord) error {
		record, err := h.keptRecord(v, r, hash)
		if err != nil {
			return err
		}
		return fn(record)
	}))
}

// formerRecord is a former state and whose it is.
type formerRecord struct {
	formerState
	collection *collection
	key        []byte
	was        state // if it existed
}

// eachKept calls fn for every record that the run left otherwise than it was.
func (h *Hub) eachKept(ctx context.Context, v *view, k *keptRun, fn func(*formerRecord) error) error {
	hash, count := xxh3.New(), 0
	return scan(v.snap, k.states(), func(key, value []byte) error {
		if count++; count%checkEvery == 0 {
			if err := context.Cause(ctx); err != nil {
				return err
			}
		}
		of := decoder{rest: key[9:]}
		r := &formerRecord{collection: h.names.byID(of.uint32()), key: of.rest}
		var err error
		if r.formerState, err = decodeFormer(value); err != nil {
			return err
		}
		if r.collection == nil || of.err != nil {
			return fmt.Errorf("%w: former state of an unknown collection", errDamagedValue)
		}
		if r.existed {
			if r.was, err = decodeState(r.before); err != nil {
				return err
			}
		}
		if r.existed == r.left && (!r.existed || r.was.hash(hash) == r.after) {
			return nil // it changed the record, and changed it back
		}
		return fn(r)
	})
}

func decodeState(value []byte) (state, error) {
	s, err := decodeStored(value)
	if err != nil {
		return state{}, err
	}
	parts, err := decodeManifest(s.manifest)
	return state{&s, parts, true}, err
}

// keptRecord returns the SDK's form, with how the record stands now.
func (h *Hub) keptRecord(v *view, r *formerRecord, hash *xxh3.Hasher) (gapless.KeptRecord, error) {
	record := gapless.KeptRecord{Collection: r.collection.name, Existed: r.existed, Left: r.left, Before: gapless.Record{Key: string(r.key)}}
	if r.existed {
		was := &record.Before
		was.Version, was.Modified, was.Data = string(r.was.version), timeOf(r.was.modified), r.was.data
		for _, p := range r.was.parts {
			was.Parts = append(was.Parts, h.keptPart(v, p))
		}
	}
	now := state{}
	value, err := get(v.snap, idKey(spaceRecord, r.collection.id, r.key))
	if err == nil && value != nil {
		now, err = decodeState(value)
	}
	if err != nil {
		return record, err
	}
	if now.exists {
		record.Current = gapless.Expectation{Exists: true, Version: now.version, Data: now.data}
	}
	switch {
	case r.existed == now.exists && (!r.existed || r.was.same(now)):
		record.Standing = gapless.StandsAsBefore
	case r.left == now.exists && (!r.left || now.hash(hash) == r.after):
		record.Standing = gapless.StandsAsLeft
	default:
		record.Standing = gapless.StandsChanged
	}
	return record, nil
}

// keptPart returns the SDK's form of a part of a former state, exactly as it
// was pushed. It can be opened as long as the view is held.
func (h *Hub) keptPart(v *view, s storedPart) gapless.Part {
	return gapless.Part{
		Name: s.name, Type: s.media, Size: s.size, Version: s.version,
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			return h.openPartOf(ctx, s, func() *view { return h.views.retain(v) })
		},
	}
}
