package hub

import (
	"context"
	"fmt"

	"github.com/gapless-sync/gapless"
)

// Connectors returns the names of all connectors that have been opened, in
// ascending order.
func (h *Hub) Connectors() ([]string, error) {
	if err := h.begin(); err != nil {
		return nil, err
	}
	defer h.end()
	var list []string
	for _, c := range h.names.all() {
		list = append(list, c.name)
	}
	return list, nil
}

// Collections returns the names of the collections of the session's connector
// that have ever had a record, in ascending order.
func (s *Session) Collections() ([]string, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.hub.end()
	var list []string
	for _, c := range s.hub.names.collectionsOf(s.connector) {
		list = append(list, c.name)
	}
	return list, nil
}

// Synced reports whether everything up to a serial is durable. A serial that
// was not handed out yet, or whose change a crash took back, is
// [gapless.ErrNotFound].
func (h *Hub) Synced(serial uint64) (bool, error) {
	if err := h.begin(); err != nil {
		return false, err
	}
	defer h.end()
	if err := h.known(serial); err != nil {
		return false, err
	}
	return serial <= h.views.serial(), nil
}

// Records calls fn for the records of p in ascending order of key bytes,
// behind the key after unless that is empty. A record's Data is valid until fn
// returns. An error from fn ends the enumeration and is returned.
func (n *Snapshot) Records(ctx context.Context, p gapless.Partition, after string, fn func(gapless.Record) error) error {
	if err := n.begin(); err != nil {
		return err
	}
	h := n.session.hub
	defer h.end()
	c := h.names.collection(n.session.connector.name, p.Collection)
	if c == nil {
		return context.Cause(ctx)
	}
	err := walk(ctx, n.view.snap, c.id, p.Prefix, after, func(key []byte, s *stored) error {
		r, err := h.sdkRecord(string(key), s, n.pushed)
		if err != nil {
			return fmt.Errorf("record %q: %w", key, err)
		}
		return fn(r)
	})
	return h.store.classifyRead(err)
}
