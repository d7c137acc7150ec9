package service

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/hub"
)

// hubFolder of a project's state folder holds its hub.
const hubFolder = "hub"

// hubKind is the name of the hub's connector.
const hubKind = "hub"

// Hub opens the project's hub, creating it if there is none. It is closed with
// the project.
func (p *Project) Hub(ctx context.Context) (*hub.Hub, error) {
	return p.kinds.Hubs.Open(ctx, filepath.Join(p.Config.State, hubFolder), p.Config.Hub.Search)
}

// hasHub reports whether there is a hub to open, so that asking for the status
// creates none.
func (p *Project) hasHub() bool {
	_, err := os.Stat(filepath.Join(p.Config.State, hubFolder))
	return err == nil
}

func (p *Project) hubStatus(ctx context.Context) (*HubStatus, error) {
	h, err := p.Hub(ctx)
	if err != nil {
		return nil, err
	}
	if p.Config.Hub.Search {
		awaitIndex(ctx, h)
	}
	stats, err := h.Stats(ctx)
	if err != nil {
		return nil, err
	}
	s := &HubStatus{
		ID: stats.ID, Incarnation: stats.Incarnation, Search: p.Config.Hub.Search,
		Pushed: stats.Pushed, Synced: stats.Synced, Searchable: stats.Searchable, Disk: stats.DiskBytes,
	}
	for _, c := range stats.Connectors {
		for _, collection := range c.Collections {
			s.Records += collection.Records
			s.Collections = append(s.Collections, CollectionStatus{
				Connector: c.Name, Name: collection.Name, Records: collection.Records, Bytes: collection.Bytes + collection.PartBytes,
			})
		}
	}
	return s, nil
}

// Standing says how far a record of the hub has come, and which of its parts
// queries do not find.
func (p *Project) Standing(ctx context.Context, connector, collection, key string) (st hub.Standing, err error) {
	h, err := p.Hub(ctx)
	if err != nil {
		return st, err
	}
	if p.Config.Hub.Search {
		awaitIndex(ctx, h)
	}
	session, err := h.Session(ctx, connector, 0)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	return session.Standing(ctx, gapless.Partition{ID: collection, Collection: collection}, key)
}

// awaitIndex gives a hub that was just opened the moment it needs to find out
// how far its search index is.
func awaitIndex(ctx context.Context, h *hub.Hub) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 40 {
		if w := h.Watermarks(); w.Synced == 0 || w.Searchable > 0 || w.SearchErr != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// searchPoll is how often a destination is asked what readers see.
const searchPoll = 50 * time.Millisecond

// WaitSearchable waits until readers of a connector's destination see the
// change of a serial; of a two-way connector, until they see everything that is
// synced in the project's own hub, if that is one of its sides. It reports false
// at once if nothing there knows a search. Where that can be told, progress
// learns how many changes the search index has read since the call, out of how
// many.
func (p *Project) WaitSearchable(ctx context.Context, c config.Connector, serial uint64, progress func(done, total uint64)) (searchable bool, err error) {
	readers, closeThem, err := p.readers(ctx, c, &serial)
	if err != nil || readers == nil {
		return false, err
	}
	defer func() { err = errors.Join(err, closeThem()) }()
	pending := p.pending(ctx, c)
	total := uint64(0)
	tick := time.NewTicker(searchPoll)
	defer tick.Stop()
	for {
		left, err := pending()
		if err != nil {
			return false, err
		}
		if seen, err := readers.Searchable(ctx, serial); err != nil || seen {
			return seen, err
		}
		total = max(total, left)
		progress(total-left, total)
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// readers returns what knows how far readers of a connector's destination see,
// nil if nothing does. The serials of two sides are not to be told apart:
// serial becomes that of the project's own hub.
func (p *Project) readers(ctx context.Context, c config.Connector, serial *uint64) (gapless.Searchable, func() error, error) {
	if c.Between != nil {
		if !p.fillsHub(c) || !p.Config.Hub.Search {
			return nil, nil, nil
		}
		h, err := p.Hub(ctx)
		if err != nil {
			return nil, nil, err
		}
		*serial = h.Watermarks().Synced
		return h, func() error { return nil }, nil
	}
	destination, closeIt, err := p.Destination(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	session, err := destination.Open(ctx, c.Name, 0)
	if err != nil {
		return nil, nil, errors.Join(err, closeIt())
	}
	closeBoth := func() error { return errors.Join(session.Close(), closeIt()) }
	readers, ok := session.(gapless.Searchable)
	if !ok {
		return nil, nil, closeBoth()
	}
	return readers, closeBoth, nil
}

// fillsHub reports whether a connector writes to the project's own hub.
func (p *Project) fillsHub(c config.Connector) bool {
	ends := []config.Endpoint{c.To}
	if c.Between != nil {
		ends = []config.Endpoint{c.Between.Sides[0].Destination, c.Between.Sides[1].Destination}
	}
	return slices.ContainsFunc(ends, func(at config.Endpoint) bool { return at.Kind == hubKind && at.Options["path"] == nil })
}

// pending returns how many changes the search index has not read yet; 0 where
// the destination is not the project's own hub.
func (p *Project) pending(ctx context.Context, c config.Connector) func() (uint64, error) {
	none := func() (uint64, error) { return 0, nil }
	if !p.fillsHub(c) {
		return none
	}
	h, err := p.Hub(ctx)
	if err != nil {
		return none
	}
	return func() (uint64, error) {
		w := h.Watermarks()
		return w.Pending, w.SearchErr
	}
}
