package hub

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/blevesearch/bleve/v2/index/scorch"
	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search"
	"github.com/blevesearch/bleve/v2/search/query"
	"github.com/blevesearch/bleve/v2/search/searcher"
	index "github.com/blevesearch/bleve_index_api"
)

// inspection is a query that reads the fields of everything that another one
// matches: it drops what the filters do not let pass and counts the facets of
// the rest. Fields are stored, not indexed: reading them costs about a
// microsecond per match, indexing them would cost more than the text. It
// serves for one search, as its outermost query, so that every match is
// counted once.
type inspection struct {
	query.Query
	filters []fieldFilter
	facets  []counter
	room    int // for more different values in facets
}

func newInspection(q Query) (n *inspection, err error) {
	n = &inspection{room: maxFacetValues}
	if n.filters, err = filtersOf(q.Filters); err == nil {
		n.facets, err = countersOf(q.Facets)
	}
	return n, err
}

// Searcher implements [query.Query].
func (n *inspection) Searcher(ctx context.Context, r index.IndexReader, m mapping.IndexMapping, o search.SearcherOptions) (search.Searcher, error) {
	matches, err := n.Query.Searcher(ctx, r, m, o)
	if err != nil || len(n.filters) == 0 && len(n.facets) == 0 {
		return matches, err
	}
	snapshot, ok := r.(*scorch.IndexSnapshot)
	if !ok {
		return nil, errors.Join(fmt.Errorf("read fields of an index of type %T", r), matches.Close())
	}
	fields := newFieldReader(snapshot)
	passed := uint64(0) // bit i: filter i
	accept := func(ctx context.Context, d *search.DocumentMatch) (bool, error) {
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		pairs, err := fields.read(d.IndexInternalID.Value())
		if err != nil {
			return false, err
		}
		passed = 0
		err = eachField(pairs, func(name, value []byte) {
			for i := range n.filters {
				if f := &n.filters[i]; f.name == string(name) && f.accepts(value) {
					passed |= 1 << i
				}
			}
		})
		if err != nil || passed != 1<<len(n.filters)-1 {
			return false, err
		}
		return true, n.count(pairs)
	}
	return searcher.NewCustomFilterSearcher(ctx, matches, accept, nil, nil, nil), nil
}

// count adds a record to the facets.
func (n *inspection) count(pairs []byte) error {
	var errs []error
	err := eachField(pairs, func(name, value []byte) {
		for i := range n.facets {
			if c := &n.facets[i]; c.Field == string(name) {
				if err := c.add(value, &n.room); err != nil {
					errs = append(errs, err)
				}
			}
		}
	})
	for i := range n.facets {
		n.facets[i].endRecord()
	}
	return errors.Join(append(errs, err)...)
}

func (n *inspection) results() []Facet {
	list := make([]Facet, len(n.facets))
	for i := range n.facets {
		list[i] = n.facets[i].result()
	}
	return list
}

// fieldReader reads the stored fields of documents by their number in an index
// snapshot, which counts the documents of its segments one after the other.
type fieldReader struct {
	segments []*scorch.SegmentSnapshot
	ends     []uint64 // of each segment's numbers
	pairs    []byte
}

func newFieldReader(snapshot *scorch.IndexSnapshot) *fieldReader {
	r := &fieldReader{segments: snapshot.Segments()}
	end := uint64(0)
	for _, s := range r.segments {
		end += uint64(s.FullSize())
		r.ends = append(r.ends, end)
	}
	return r
}

// read returns the pairs of fieldValues, valid until the next call.
func (r *fieldReader) read(number uint64) ([]byte, error) {
	i := sort.Search(len(r.ends), func(i int) bool { return number < r.ends[i] })
	if i == len(r.ends) {
		return nil, fmt.Errorf("%w: number %d of an indexed record", errDamagedValue, number)
	}
	if i > 0 {
		number -= r.ends[i-1]
	}
	r.pairs = r.pairs[:0]
	err := r.segments[i].VisitDocument(number, func(field string, _ byte, value []byte, _ []uint64) bool {
		if field == fieldData {
			r.pairs = append(r.pairs, value...)
		}
		return true
	})
	return r.pairs, err
}
