package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/search/query"

	"github.com/gapless-sync/gapless"
)

const (
	defaultHits = 10
	maxHits     = 1000
	// maxHitsBehind bounds how far behind the best hit a page may begin.
	maxHitsBehind = 100_000
	// maxQueryWords bounds the work of one query.
	maxQueryWords = 64
	titleBoost    = 3
)

// Query says what to look for.
type Query struct {
	// Text are words that all have to be there, in any order and case.
	// "Quoted words" have to follow one another, also in a word such as
	// foo_bar that consists of several. A minus before a word or a quote
	// excludes what has it. Without any word everything matches.
	Text string
	// Connector and Collection narrow the search unless empty; a collection
	// needs its connector.
	Connector, Collection string
	// Limit is how many hits are returned, 10 by default and 1000 at most,
	// behind the first Offset of them, 100,000 at most.
	Limit, Offset int
	// Filters narrow the search: of several that name one field with = one has
	// to let a record pass, of all others every one. 64 at most.
	Filters []Filter
	// Facets count what matches, on all pages. 16 at most.
	Facets []FacetOf
}

// Result is a page of hits, best first.
type Result struct {
	// Total is how many records match, on all pages.
	Total uint64
	Hits  []Hit
	// Facets are those that were asked for, in that order.
	Facets []Facet
}

// Hit is one record that matches, as it is in the synced view.
type Hit struct {
	Connector, Collection, Key string
	// Title is the record's title, name or path, or else its key.
	Title string
	// Score is higher for better matches; it compares within one result.
	Score float64
	// Fragments are the best places of the text, at most three.
	Fragments []Fragment
	// Data is the record's JSON object.
	Data []byte
}

// Search returns the records that match. It sees what is searchable; nothing
// that is not synced is ever found. It returns [ErrNoSearch] without search,
// and [gapless.ErrNotFound] for a connector or collection that there is not.
// What is wrong with a query carries [gapless.CodeUsage].
func (h *Hub) Search(ctx context.Context, q Query) (Result, error) {
	x := h.indexer()
	if x == nil {
		return Result{}, ErrNoSearch
	}
	if err := h.begin(); err != nil {
		return Result{}, err
	}
	defer h.end()
	terms, err := parseQuery(q.Text)
	if err != nil {
		return Result{}, err
	}
	request, inspect, err := h.request(q, terms)
	if err != nil {
		return Result{}, err
	}
	x.handle.RLock()
	defer x.handle.RUnlock()
	if x.index == nil {
		return Result{}, gapless.Recoverable(errors.New("the search index is being opened"))
	}
	found, err := x.index.SearchInContext(ctx, request)
	if err != nil {
		return Result{}, fmt.Errorf("search: %w", err)
	}
	result := Result{Total: found.Total, Facets: inspect.results()}
	v := h.views.acquire()
	defer h.views.release(v)
	marks := wanted(terms)
	for _, match := range found.Hits {
		hit, ok, err := h.hit(v, match.ID, marks)
		if err != nil {
			return Result{}, h.store.classifyRead(err)
		}
		if ok {
			hit.Score = match.Score
			result.Hits = append(result.Hits, hit)
		}
	}
	return result, nil
}

// hit reads a match from the view; false if it has been deleted since.
func (h *Hub) hit(v *view, id string, marks map[string]bool) (Hit, bool, error) {
	number, key, ok := fromDocID(id)
	c := h.names.byID(number)
	if !ok || c == nil {
		return Hit{}, false, nil
	}
	value, err := get(v.snap, idKey(spaceRecord, number, key))
	if err != nil || value == nil {
		return Hit{}, false, err
	}
	s, err := decodeStored(value)
	if err != nil {
		return Hit{}, false, err
	}
	text, err := h.indexedText([]byte(key), &s)
	if err != nil {
		return Hit{}, false, err
	}
	return Hit{
		Connector: c.connector.name, Collection: c.name, Key: key, Title: titleOf(key, s.data),
		Fragments: fragments(text.body, marks), Data: s.data,
	}, true, nil
}

// queryTerm is a word, or a phrase of several.
type queryTerm struct {
	words []string
	not   bool
}

// parseQuery reads the text of a query. A quote that is not closed reaches to
// the end.
func parseQuery(text string) (terms []queryTerm, err error) {
	count := 0
	for {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
		if text == "" {
			return terms, nil
		}
		var t queryTerm
		text, t.not = strings.CutPrefix(text, "-")
		var part string
		if quoted, ok := strings.CutPrefix(text, `"`); ok {
			part, text, _ = strings.Cut(quoted, `"`)
		} else if end := strings.IndexFunc(text, unicode.IsSpace); end >= 0 {
			part, text = text[:end], text[end:]
		} else {
			part, text = text, ""
		}
		if t.words = wordsOf(part); len(t.words) == 0 {
			continue
		}
		if count += len(t.words); count > maxQueryWords {
			return nil, gapless.Errorf(gapless.CodeUsage, "search", "a query has at most %d words", maxQueryWords)
		}
		terms = append(terms, t)
	}
}

func (h *Hub) request(q Query, terms []queryTerm) (*bleve.SearchRequest, *inspection, error) {
	if q.Limit < 0 || q.Offset < 0 || q.Offset > maxHitsBehind {
		return nil, nil, gapless.Errorf(gapless.CodeUsage, "search", "limit %d and offset %d: the offset is from 0 to %d", q.Limit, q.Offset, maxHitsBehind)
	}
	scope, err := h.scope(q)
	if err != nil {
		return nil, nil, err
	}
	inspect, err := newInspection(q)
	if err != nil {
		return nil, nil, err
	}
	var must, not []query.Query
	for _, t := range terms {
		if t.not {
			not = append(not, t.query())
		} else {
			must = append(must, t.query())
		}
	}
	if len(must) == 0 {
		must = append(must, query.NewMatchAllQuery())
	}
	all := query.NewBooleanQuery(must, nil, not)
	if scope != nil {
		all.AddFilter(scope) // it has no norm, so that it could not be scored
	}
	inspect.Query = all
	return bleve.NewSearchRequestOptions(inspect, min(cmp.Or(q.Limit, defaultHits), maxHits), q.Offset, false), inspect, nil
}

func (h *Hub) scope(q Query) (query.Query, error) {
	if q.Connector == "" {
		if q.Collection != "" {
			return nil, gapless.Errorf(gapless.CodeUsage, q.Collection, "a collection needs its connector").
				WithHint("name the connector as well")
		}
		return nil, nil
	}
	c := h.names.connector(q.Connector)
	if c == nil {
		return nil, gapless.Errorf(gapless.CodeNotFound, q.Connector, "the hub holds nothing of this connector: %w", gapless.ErrNotFound)
	}
	name := connectorScope(c.id)
	if q.Collection != "" {
		collection := h.names.collection(q.Connector, q.Collection)
		if collection == nil {
			return nil, gapless.Errorf(gapless.CodeNotFound, q.Connector, "it has no collection %s: %w", q.Collection, gapless.ErrNotFound)
		}
		name = collectionScope(collection.id)
	}
	t := query.NewTermQuery(name)
	t.SetField(fieldScope)
	return t, nil
}

// query matches the term in the title or in the body.
func (t queryTerm) query() query.Query {
	if len(t.words) == 1 {
		title, body := query.NewTermQuery(t.words[0]), query.NewTermQuery(t.words[0])
		title.SetField(fieldTitle)
		title.SetBoost(titleBoost)
		body.SetField(fieldBody)
		return query.NewDisjunctionQuery([]query.Query{title, body})
	}
	title, body := query.NewPhraseQuery(t.words, fieldTitle), query.NewPhraseQuery(t.words, fieldBody)
	title.SetBoost(titleBoost)
	return query.NewDisjunctionQuery([]query.Query{title, body})
}
