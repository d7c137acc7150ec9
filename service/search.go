package service

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
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
	// Facets of all matches, by field.
	Facets map[string]Facet `json:"facets,omitempty"`
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

// Facet counts the records that match by their values of one field.
type Facet struct {
	// Values are those of most records, in that order.
	Values []Bucket `json:"values"`
	// Other is the sum of the counts of all other values.
	Other uint64 `json:"other"`
	// Missing is how many records have no value.
	Missing uint64 `json:"missing"`
}

// Bucket is a value and how many records have it.
type Bucket struct {
	Value string `json:"value"`
	Count uint64 `json:"count"`
}

// ParseSearch reads filters and facets as people write them into q: see
// [hub.ParseFilter] and [hub.ParseFacet].
func ParseSearch(q *hub.Query, filters, facets []string) error {
	for _, text := range filters {
		f, err := hub.ParseFilter(text)
		if err != nil {
			return err
		}
		q.Filters = append(q.Filters, f)
	}
	for _, text := range facets {
		f, err := hub.ParseFacet(text)
		if err != nil {
			return err
		}
		q.Facets = append(q.Facets, f)
	}
	return nil
}

// parseQuery reads the parameters of GET /search.
func parseQuery(raw string) (q hub.Query, err error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, gapless.Errorf(gapless.CodeUsage, "search", "read the parameters: %w", err)
	}
	texts := map[string]*string{"q": &q.Text, "connector": &q.Connector, "collection": &q.Collection}
	numbers := map[string]*int{"limit": &q.Limit, "offset": &q.Offset}
	for name, list := range values {
		text, number := texts[name], numbers[name]
		switch {
		case name == "filter" || name == "facet":
		case text == nil && number == nil:
			return q, unknownParameter(name)
		case len(list) > 1:
			return q, gapless.Errorf(gapless.CodeUsage, name, "the parameter is there %d times", len(list))
		case text != nil:
			*text = list[0]
		case list[0] != "":
			if *number, err = strconv.Atoi(list[0]); err != nil {
				return q, gapless.Errorf(gapless.CodeUsage, name, "want a number, not %q", list[0])
			}
		}
	}
	return q, ParseSearch(&q, values["filter"], values["facet"])
}

func unknownParameter(name string) error {
	names := []string{"q", "connector", "collection", "filter", "facet", "limit", "offset"}
	fix := gapless.DidYouMean(name, names)
	if fix == "" {
		fix = "choose from " + strings.Join(names, ", ")
	}
	return gapless.Errorf(gapless.CodeUsage, name, "the search has no such parameter: %s", fix).WithHint("%s", fix)
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
	for _, f := range result.Facets {
		if found.Facets == nil {
			found.Facets = map[string]Facet{}
		}
		found.Facets[f.Field] = facetOf(f)
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

func facetOf(f hub.Facet) Facet {
	facet := Facet{Values: make([]Bucket, len(f.Values)), Other: f.Other, Missing: f.Missing}
	for i, b := range f.Values {
		facet.Values[i] = Bucket(b)
	}
	return facet
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
