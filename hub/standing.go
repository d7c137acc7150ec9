package hub

import (
	"context"
	"fmt"

	"github.com/gapless-sync/gapless"
)

// Stage is how far the latest change of a record has come.
type Stage uint8

// The stages, each of which includes those before it.
const (
	// StageAbsent: there is no such record.
	StageAbsent Stage = iota
	StagePushed
	StageSynced
	StageSearchable
)

// Standing says how far a record has come, and what is in its way.
type Standing struct {
	Stage Stage
	// Serial of the record's latest change; 0 if it is absent.
	Serial uint64
	// Reason says why the record has not come further; empty if it is
	// searchable.
	Reason string
	// Unread are the parts that queries do not find anything of, by name, with
	// the reason. Before the index has read the record they are those of which
	// the type and the size say so.
	Unread []UnreadPart
}

// UnreadPart is a part without text for queries.
type UnreadPart struct{ Name, Reason string }

// Standing says how far the record of key has come.
func (s *Session) Standing(_ context.Context, p gapless.Partition, key string) (Standing, error) {
	if err := s.begin(); err != nil {
		return Standing{}, err
	}
	h := s.hub
	defer h.end()
	c := h.names.collection(s.connector.name, p.Collection)
	if c == nil {
		return absent(), nil
	}
	value, err := get(h.store.db, idKey(spaceRecord, c.id, key))
	if err != nil {
		return Standing{}, h.store.classifyRead(err)
	}
	if value == nil {
		return absent(), nil
	}
	record, err := decodeStored(value)
	if err != nil {
		return Standing{}, h.store.classifyRead(err)
	}
	st := Standing{Serial: record.serial}
	st.Stage, st.Reason = h.stage(record.serial)
	if st.Unread, err = h.unread([]byte(key), &record); err != nil {
		return Standing{}, h.store.classifyRead(err)
	}
	return st, nil
}

func absent() Standing {
	return Standing{Reason: "nothing of this key has been pushed, or it was deleted"}
}

// stage returns how far a serial has come, and what it waits for.
func (h *Hub) stage(serial uint64) (Stage, string) {
	if serial > h.views.serial() {
		return StagePushed, "it has not been synced: a crash may lose it"
	}
	x := h.indexer()
	if x == nil {
		return StageSynced, ErrNoSearch.Error()
	}
	switch searchable, pending, err := x.progress(); {
	case serial <= searchable:
		return StageSearchable, ""
	case err != nil:
		return StageSynced, fmt.Sprintf("the search index does not advance: %v", err)
	default:
		return StageSynced, fmt.Sprintf("the search index has %d changes to read", pending)
	}
}
