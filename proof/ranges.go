package proof

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
)

// MaxCuts is into how many ranges less one a range is cut at once.
const MaxCuts = 1 << 14

var (
	// ErrCuts says that cuts do not ascend, are not inside of their range, or
	// are more than [MaxCuts].
	ErrCuts = errors.New("the cuts of the range are not in order")
	// ErrRanges says that two lists of sums are not of the same ranges.
	ErrRanges = errors.New("the sums are not of the same ranges")
	// ErrOrder says that contents did not come in ascending order of key.
	ErrOrder = errors.New("the contents are not in ascending order of key")
)

// RecordHash returns the hash of a record's content: what [RowHash] returns
// for the record as an upsert.
func RecordHash(version, data []byte, parts []gapless.Part) gapless.Hash128 {
	return contentHash(gapless.OpUpsert, version, data, parts)
}

// DigestOf returns what s says of its range.
func DigestOf(s gapless.RangeSum) Digest {
	return Digest{Count: s.Count, Hi: s.Sum.Hi, Lo: s.Sum.Lo}
}

// Over returns d as the sum of a range; [DigestOf] is the way back.
func (d Digest) Over(r gapless.KeyRange) gapless.RangeSum {
	return gapless.RangeSum{KeyRange: r, Count: d.Count, Sum: gapless.Hash128{Hi: d.Hi, Lo: d.Lo}}
}

// Sums adds up records over the ranges that cuts make of a range. Its memory
// is that of the cuts.
type Sums struct {
	within gapless.KeyRange
	cuts   []string
	sums   []Digest
	last   int // the range of the last key: often that of the next one
}

// NewSums returns empty sums over the len(cuts)+1 ranges that cuts make of r,
// or [ErrCuts].
func NewSums(r gapless.KeyRange, cuts []string) (*Sums, error) {
	if len(cuts) > MaxCuts {
		return nil, fmt.Errorf("%w: %d of them, more than %d", ErrCuts, len(cuts), MaxCuts)
	}
	before := r.From
	for _, cut := range cuts {
		if cut <= before || r.To != "" && cut >= r.To || len(cut) > gapless.MaxKeyBytes {
			return nil, fmt.Errorf("%w: %.80q", ErrCuts, cut)
		}
		before = cut
	}
	return &Sums{within: r, cuts: cuts, sums: make([]Digest, len(cuts)+1)}, nil
}

// Add adds one record with the hash of its content; in any order, each once.
// What is outside of the range does not count.
func (s *Sums) Add(key []byte, content gapless.Hash128) {
	var one Digest
	one.Add(Delivery(KeyHash(key), content))
	s.AddDigest(key, one)
}

// AddDigest adds the records that d stands for, all of which are in the range
// that holds key.
func (s *Sums) AddDigest(key []byte, d Digest) {
	if string(key) < s.within.From || s.within.To != "" && string(key) >= s.within.To {
		return
	}
	if string(key) < s.from(s.last) || s.last < len(s.cuts) && string(key) >= s.cuts[s.last] {
		at, found := slices.BinarySearchFunc(s.cuts, key, func(cut string, key []byte) int { return strings.Compare(cut, string(key)) })
		if found {
			at++
		}
		s.last = at
	}
	s.sums[s.last].Merge(d)
}

func (s *Sums) from(i int) string {
	if i == 0 {
		return s.within.From
	}
	return s.cuts[i-1]
}

// Ranges returns the sums so far, in order of the ranges.
func (s *Sums) Ranges() []gapless.RangeSum {
	list := make([]gapless.RangeSum, len(s.sums))
	for i, d := range s.sums {
		list[i] = d.Over(gapless.KeyRange{From: s.from(i), To: s.within.To})
		if i < len(s.cuts) {
			list[i].To = s.cuts[i]
		}
	}
	return list
}

// Unequal is a range in which two sides do not hold the same.
type Unequal struct {
	gapless.KeyRange
	// Source and Destination are how many records each side has in it.
	Source, Destination uint64
}

// CompareSums returns the ranges in which two sides differ, given their sums
// of the same ranges in ascending order, or [ErrRanges]. Neighbours that have
// together no more than list records on either side become one range.
func CompareSums(source, destination []gapless.RangeSum, list uint64) ([]Unequal, error) {
	if len(source) != len(destination) {
		return nil, fmt.Errorf("%w: %d and %d", ErrRanges, len(source), len(destination))
	}
	var found []Unequal
	for i := range source {
		s, d := &source[i], &destination[i]
		if s.KeyRange != d.KeyRange {
			return nil, fmt.Errorf("%w: %.80q and %.80q", ErrRanges, s.KeyRange, d.KeyRange)
		}
		if DigestOf(*s) == DigestOf(*d) {
			continue
		}
		next := Unequal{KeyRange: s.KeyRange, Source: s.Count, Destination: d.Count}
		if n := len(found); n == 0 || !found[n-1].join(next, list) {
			found = append(found, next)
		}
	}
	return found, nil
}

// join adds a range that follows u, unless there is something between them or
// they have too many records.
func (u *Unequal) join(next Unequal, list uint64) bool {
	if u.To != next.From || u.Source+next.Source > list || u.Destination+next.Destination > list {
		return false
	}
	u.To = next.To
	u.Source += next.Source
	u.Destination += next.Destination
	return true
}

// Pieces returns into how many ranges u is to be cut next, so that those that
// differ are found with about list records each. 1 says that it is time to
// list: there are few records, or one side has none. A side that cannot cut
// the range any more is listed as well.
func (u Unequal) Pieces(list uint64) int {
	records := max(u.Source, u.Destination)
	if min(u.Source, u.Destination) == 0 || records <= list {
		return 1
	}
	return int(min(records/max(list, 1)+1, MaxCuts+1))
}

// Difference says how a key of the destination differs from the source.
type Difference string

// The differences.
const (
	// Missing: the source has a record, the destination has not.
	Missing Difference = "missing"
	// Differs: both have one, with other content.
	Differs Difference = "differs"
	// Extra: the destination has a record, the source has not.
	Extra Difference = "extra"
)

// Contents lists records by calling fn for each, in ascending order of key, as
// [gapless.RangeSummer] does.
type Contents func(fn func(key []byte, content gapless.Hash128) error) error

// CompareContents lists both sides at once, in constant memory, and calls fn
// for each key in which they differ, in ascending order. key is valid until fn
// returns; an error of fn ends it and is returned, as does one of either side.
// A side whose keys do not ascend is [ErrOrder]: what it seems to lack may
// come later.
func CompareContents(source, destination Contents, fn func(key []byte, d Difference) error) error {
	var err error
	next, stop := iter.Pull(destination.entries(&err))
	defer stop()
	there, more := next()
	// before passes on what only the destination has before a key; nil is the
	// end of all keys.
	before := func(key []byte) error {
		for ; more && (key == nil || bytes.Compare(there.key, key) < 0); there, more = next() {
			if err := fn(there.key, Extra); err != nil {
				return err
			}
		}
		return err
	}
	listed := source.inOrder(func(key []byte, content gapless.Hash128) error {
		if err := before(key); err != nil {
			return err
		}
		if !more || !bytes.Equal(there.key, key) {
			return fn(key, Missing)
		}
		same := there.content == content
		if there, more = next(); same {
			return err
		}
		return errors.Join(err, fn(key, Differs))
	})
	if listed != nil {
		return listed
	}
	return before(nil)
}

type entry struct {
	key     []byte
	content gapless.Hash128
}

var errStopped = errors.New("the listing was stopped")

// entries is inOrder as an iterator; failed is what ended it too early.
func (c Contents) entries(failed *error) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		err := c.inOrder(func(key []byte, content gapless.Hash128) error {
			if !yield(entry{key, content}) {
				return errStopped
			}
			return nil
		})
		if !errors.Is(err, errStopped) {
			*failed = err
		}
	}
}

// inOrder is c with a look at the order of keys.
func (c Contents) inOrder(fn func(key []byte, content gapless.Hash128) error) error {
	var last []byte
	begun := false
	return c(func(key []byte, content gapless.Hash128) error {
		if begun && bytes.Compare(key, last) <= 0 {
			return fmt.Errorf("%w: %.80q behind %.80q", ErrOrder, key, last)
		}
		begun, last = true, append(last[:0], key...)
		return fn(key, content)
	})
}
