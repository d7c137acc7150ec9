package hub

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-sync/gapless"
)

const (
	maxFacets      = 16
	defaultBuckets = 10
	maxBuckets     = 1000
	// maxFacetValues bounds the memory of all facets of a query. What has more
	// different values is no facet but a key.
	maxFacetValues = 100_000
)

// FacetOf asks for the values of a field, which are those that a [Filter] sees,
// among all records that match.
type FacetOf struct {
	Field string
	// Limit is how many values are returned, 10 by default and 1000 at most.
	Limit int
}

// Facet counts the records that match by their values of a field.
type Facet struct {
	Field string
	// Values are those of most records, in that order.
	Values []Bucket
	// Other is the sum of the counts of all values that are not among Values.
	Other uint64
	// Missing is how many records have no value.
	Missing uint64
}

// Bucket is a value and how many records have it.
type Bucket struct {
	Value string
	Count uint64
}

// ParseFacet reads FIELD or FIELD:N, where N is the limit.
func ParseFacet(text string) (FacetOf, error) {
	f := FacetOf{Field: text}
	if at := strings.LastIndexByte(text, ':'); at >= 0 {
		if n, err := strconv.Atoi(text[at+1:]); err == nil {
			f.Field, f.Limit = text[:at], n
			if n == 0 {
				return f, facetError(f.Field)
			}
		}
	}
	return f, f.check()
}

func (f FacetOf) check() error {
	if f.Field == "" || f.Limit < 0 || f.Limit > maxBuckets {
		return facetError(f.Field)
	}
	return nil
}

func facetError(field string) error {
	return gapless.Errorf(gapless.CodeUsage, field, "a facet is FIELD, or FIELD:N for up to %d values", maxBuckets).
		WithHint("write for example author or author:20")
}

// counter counts one facet. Its zero counts are ready for use.
type counter struct {
	FacetOf
	counts  map[string]*uint64
	seen    bool // a value in the record at hand
	missing uint64
}

func countersOf(facets []FacetOf) (list []counter, err error) {
	if len(facets) > maxFacets {
		return nil, gapless.Errorf(gapless.CodeUsage, "search", "a query has at most %d facets", maxFacets)
	}
	for _, f := range facets {
		if err := f.check(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(c counter) bool { return c.Field == f.Field }) {
			return nil, gapless.Errorf(gapless.CodeUsage, f.Field, "the facet is there twice")
		}
		f.Limit = cmp.Or(f.Limit, defaultBuckets)
		list = append(list, counter{FacetOf: f, counts: map[string]*uint64{}})
	}
	return list, nil
}

// add counts a value, a new one if there is room for it.
func (c *counter) add(value []byte, room *int) error {
	c.seen = true
	if n := c.counts[string(value)]; n != nil {
		*n++
		return nil
	}
	if *room--; *room < 0 {
		return gapless.Errorf(gapless.CodeUsage, c.Field, "the facets have more than %d different values", maxFacetValues).
			WithHint("narrow the search, or leave this facet out")
	}
	one := uint64(1)
	c.counts[string(value)] = &one
	return nil
}

// endRecord counts the record at hand as one without a value if it had none.
func (c *counter) endRecord() {
	if !c.seen {
		c.missing++
	}
	c.seen = false
}

func (c *counter) result() Facet {
	f := Facet{Field: c.Field, Missing: c.missing}
	all := make([]Bucket, 0, len(c.counts))
	for value, count := range c.counts {
		all = append(all, Bucket{value, *count})
	}
	slices.SortFunc(all, func(a, b Bucket) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value))
	})
	f.Values = all[:min(c.Limit, len(all))]
	for _, b := range all[len(f.Values):] {
		f.Other += b.Count
	}
	return f
}
