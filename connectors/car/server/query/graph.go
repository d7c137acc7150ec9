package query

import (
	"context"
	"time"
)

// Row is a vertex or an edge as it is stored.
type Row struct {
	// Key is the id of a vertex, or wire.EdgeKey of an edge's ends.
	Key string
	// Data is the row's JSON object as it was sent.
	Data []byte
	// Modified is when the row arrived; zero if that is not known.
	Modified time.Time
}

// Graph is what queries read. Its methods may be called from any goroutine.
//
// Retired rows of a collection are in the collection of that name and
// [HistorySuffix], under their key, an at sign and the milliseconds of their
// retirement; their data is an object of row, retired and reason.
type Graph interface {
	// Sources returns the names of all sources, in any order.
	Sources(ctx context.Context) ([]string, error)
	// Collections returns the collections that extensions have added or that
	// hold rows; those that every service has may be left out.
	Collections(ctx context.Context) (vertices, edges []string, err error)
	// Row returns an active row, or [gapless.ErrNotFound].
	Row(ctx context.Context, source, collection, key string) (Row, error)
	// Rows calls fn for the rows of a collection whose keys begin with prefix
	// and are greater than after, in ascending order of key bytes. Of unknown
	// sources and collections there are none. Data is valid until fn returns;
	// an error from fn ends the call and is returned as it is.
	Rows(ctx context.Context, source, collection, prefix, after string, fn func(Row) error) error
}

// HistorySuffix follows the name of a collection in that of its retired rows.
const HistorySuffix = "@history"

// Limits bound one request. A zero field is its default.
type Limits struct {
	// RequestBytes is the size of a request. Defaults to 1 MiB.
	RequestBytes int
	// Tokens is how many tokens a document has. Defaults to 50,000.
	Tokens int
	// Depth is how deep selections nest. Defaults to 8.
	Depth int
	// Fields is how many fields are selected, those of a fragment each time it
	// is used. Defaults to 1,000.
	Fields int
	// Values is how many comparisons and values all conditions have, those of
	// a variable each time it is used. Defaults to 20,000.
	Values int
	// Rows is how many rows are read from the graph, and how many are
	// returned. Defaults to 10,000,000.
	Rows int
	// HeldBytes is the memory for rows that cannot be written as they are
	// read, because they are sorted or nested. Defaults to 128 MiB.
	HeldBytes int
}

func (l Limits) withDefaults() Limits {
	for _, one := range []struct {
		limit   *int
		inherit int
	}{
		{&l.RequestBytes, 1 << 20},
		{&l.Tokens, 50_000},
		{&l.Depth, 8},
		{&l.Fields, 1000},
		{&l.Values, 20_000},
		{&l.Rows, 10_000_000},
		{&l.HeldBytes, 128 << 20},
	} {
		if *one.limit <= 0 {
			*one.limit = one.inherit
		}
	}
	return l
}
