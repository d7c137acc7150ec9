package gapless

import "context"

// KeyRange is the keys from From on and before To, in the order of their
// bytes. An empty To is no bound.
type KeyRange struct {
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Holds reports whether key is in the range.
func (r KeyRange) Holds(key string) bool { return key >= r.From && (r.To == "" || key < r.To) }

// RangeSum stands for the records of a range of keys, whatever their order.
type RangeSum struct {
	KeyRange
	// Count of the records.
	Count uint64
	// Sum of what package proof calls their deliveries, as upserts, modulo
	// 2^128.
	Sum Hash128
}

// RangeSummer is a source or a session that can say what a range of keys holds
// without handing over its records: two sides are compared by sums, and only
// where these differ are records looked at. A session answers for what is
// synced.
//
// A range of a partition holds only keys that begin with the partition's
// prefix.
type RangeSummer interface {
	// Split returns keys, in ascending order and inside of r, that cut r into
	// about n ranges; fewer if there is little to cut, none if nothing. They are
	// where this side sums up cheaply.
	Split(ctx context.Context, p Partition, r KeyRange, n int) ([]string, error)
	// Sum returns the sums of the len(cuts)+1 ranges that cuts, ascending and
	// inside of r, make of r, in order and of one moment.
	Sum(ctx context.Context, p Partition, r KeyRange, cuts []string) ([]RangeSum, error)
	// Contents calls fn for each record of r, in ascending order of key, with
	// the hash of its content: what [RangeSum.Sum] sums up, one by one. key is
	// valid until fn returns; an error of fn ends it and is returned.
	Contents(ctx context.Context, p Partition, r KeyRange, fn func(key []byte, content Hash128) error) error
}
