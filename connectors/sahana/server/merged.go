package server

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// maxMerges is how often a record may have been merged in a row.
const maxMerges = 32

// merge notes what a record was merged into, or that it is not any longer.
func (w *writing) merge(r *s3.Resource, old *stored) {
	key := r.Name + " " + r.UUID
	switch {
	case r.Deleted && r.ReplacedBy != "":
		data := append(appendString([]byte(`{"by":`), r.ReplacedBy), '}')
		w.change(collectionMerged, gapless.Change{Op: gapless.OpUpsert, Record: gapless.Record{Key: key, Data: data}})
	case old != nil && old.resource.Deleted && old.resource.ReplacedBy != "":
		w.change(collectionMerged, gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key}})
	}
}

// merged returns the survivors of a table's records by the uuids of those that
// were merged into them.
func (v view) merged(ctx context.Context, table string) (map[string]string, error) {
	list := map[string]string{}
	prefix := table + " "
	err := v.Records(ctx, collectionMerged, prefix, "", func(record gapless.Record) error {
		list[strings.TrimPrefix(record.Key, prefix)] = gjson.GetBytes(record.Data, "by").String()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what was merged of %s: %w", table, err)
	}
	return list, nil
}

// survivor returns the uuid of what a record has become by merges: its own
// unless it was merged.
func (e *export) survivor(id ident) string {
	list, known := e.survivors[id.table]
	if !known {
		var err error
		if list, err = e.view.merged(e.c.r.Context(), id.table); err != nil {
			e.failed = err
		}
		e.survivors[id.table] = list
	}
	for range maxMerges {
		by, ok := list[id.uuid]
		if !ok {
			break
		}
		id.uuid = by
	}
	return id.uuid
}

// repoint makes a record refer to what others have become that it refers to.
func (e *export) repoint(r *s3.Resource) {
	for i := range r.References {
		f := &r.References[i]
		if f.Resource == "" {
			continue
		}
		if by := e.survivor(ident{f.Resource, f.UUID}); by != f.UUID {
			f.UUID, f.Text = by, ""
		}
		kept := f.UUIDs[:0]
		for _, uuid := range f.UUIDs {
			if by := e.survivor(ident{f.Resource, uuid}); !slices.Contains(kept, by) {
				kept = append(kept, by)
			}
		}
		if f.UUIDs != nil {
			f.UUIDs = kept
		}
	}
	for i := range r.Components {
		e.repoint(&r.Components[i])
	}
}

// load returns the record of an entry as it is exported, and find that of a
// name, or nil.
func (e *export) load(entry *entry) (*stored, error) {
	found, err := e.view.load(e.c.r.Context(), e.table, entry)
	return e.repointed(found, err)
}

func (e *export) find(id ident) (*stored, error) {
	found, err := e.view.find(e.c.r.Context(), id)
	return e.repointed(found, err)
}

func (e *export) repointed(found *stored, err error) (*stored, error) {
	if found == nil || err != nil {
		return nil, err
	}
	e.repoint(&found.resource)
	return found, e.failed
}

// finder returns what filters see of records that are referred to.
func (e *export) finder() finder {
	return func(id ident) *s3.Resource {
		if r, known := e.seen[id]; known {
			return r
		}
		if len(e.seen) >= maxSeen {
			clear(e.seen)
		}
		found, err := e.find(id)
		if err != nil {
			e.failed = err
			return nil
		}
		e.seen[id] = nil
		if found != nil && !found.resource.Deleted {
			e.seen[id] = &found.resource
		}
		return e.seen[id]
	}
}

// maxSeen is how many records that are referred to are kept for filters.
const maxSeen = 1000
