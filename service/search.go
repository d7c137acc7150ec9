package service

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/hub"
)

// Found is a page of search hits, best first, as the command line and the HTTP
// listener print it.
type Found struct {
	Total uint64 `json:"total"`
	// Behind is how many synced changes cannot be found yet.
	Behind uint64 `json:"behind"`
	Hits   []Hit  `json:"hits"`
}

// Hit is one record.
type Hit struct {
	Connector  string          `json:"connector"`
	Collection string          `json:"collection"`
	Key        string          `json:"key"`
	Title      string          `json:"title"`
	Score      float64         `json:"score"`
	Fragments  []Fragment      `json:"fragments,omitempty"`
	Data       json.RawMessage `json:"data"`
}

// Fragment is a piece of a record's text.
type Fragment struct {
	Text string `json:"text"`
	// Marks are the ranges of bytes in Text that were looked for, in order.
	Marks [][2]int `json:"marks"`
}

// Search looks for records in the project's hub.
func (p *Project) Search(ctx context.Context, q hub.Query) (Found, error) {
	found := Found{Hits: []Hit{}}
	h, err := p.Hub(ctx)
	if err != nil {
		return found, err
	}
	result, err := h.Search(ctx, q)
	if err != nil {
		return found, p.searchError(err)
	}
	found.Total, found.Behind = result.Total, h.Watermarks().Pending
	for _, hit := range result.Hits {
		found.Hits = append(found.Hits, hitOf(hit))
	}
	return found, nil
}

func hitOf(h hub.Hit) Hit {
	hit := Hit{
		Connector: h.Connector, Collection: h.Collection, Key: h.Key, Title: h.Title, Score: h.Score,
		Data: append(json.RawMessage(nil), h.Data...),
	}
	for _, f := range h.Fragments {
		hit.Fragments = append(hit.Fragments, Fragment{Text: f.Text, Marks: f.Marks})
	}
	return hit
}

// RebuildSearch builds the search index anew from the records and returns when
// it holds everything that was synced before; progress is as in
// [Project.WaitSearchable].
func (p *Project) RebuildSearch(ctx context.Context, progress func(done, total uint64)) error {
	h, err := p.Hub(ctx)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- h.Rebuild(ctx) }()
	tick := time.NewTicker(searchPoll)
	defer tick.Stop()
	total := uint64(0)
	for {
		select {
		case err := <-done:
			return p.searchError(err)
		case <-tick.C:
			left := h.Watermarks().Pending
			total = max(total, left)
			progress(total-left, total)
		}
	}
}

func (p *Project) searchError(err error) error {
	if errors.Is(err, hub.ErrNoSearch) {
		return gapless.Errorf(gapless.CodeConfig, p.Config.File, "search is switched off").
			WithHint("set search: true below hub:")
	}
	return err
}
