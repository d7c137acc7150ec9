package engine

import (
	"context"
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// rangeRecords is how many records a range has, at most, when its contents are
// listed rather than its sums compared.
const rangeRecords = 256

// sumBytes is what one sum counts as, besides its bound.
const sumBytes = 24

// descent compares sums of ranges, and cuts those that differ until they are
// short enough to be listed. Ranges are looked at in the order of their keys.
type descent struct {
	*check
	here, there gapless.RangeSummer
}

// whole compares the partition from where an earlier verification has stopped.
func (d *descent) whole() error {
	d.result.Method, d.result.Compared = MethodRanges, ComparedContent
	unequal, err := d.compareSums(gapless.KeyRange{From: d.result.Next}, nil)
	if err != nil {
		return err
	}
	for _, u := range unequal {
		if err := d.descend(u); err != nil {
			return err
		}
	}
	d.result.Next = ""
	return nil
}

// descend looks for the differences in a range.
func (d *descent) descend(u proof.Unequal) error {
	n := u.Pieces(rangeRecords)
	if n == 1 {
		return d.list(u)
	}
	cuts, err := d.here.Split(d.reading, d.partition, u.KeyRange, n)
	if err == nil && len(cuts) == 0 {
		cuts, err = d.there.Split(d.reading, d.partition, u.KeyRange, n)
	}
	if err != nil {
		return fmt.Errorf("cut a range of %s: %w", d.partition.ID, err)
	}
	if len(cuts) == 0 {
		return d.list(u)
	}
	unequal, err := d.compareSums(u.KeyRange, cuts)
	if err != nil {
		return err
	}
	for _, u := range unequal {
		if err := d.descend(u); err != nil {
			return err
		}
	}
	return nil
}

// compareSums returns those of the ranges between cuts in which the sides
// differ.
func (d *descent) compareSums(r gapless.KeyRange, cuts []string) ([]proof.Unequal, error) {
	here, err := d.sums(d.here, &d.result.Source, r, cuts)
	if err != nil {
		return nil, fmt.Errorf("sum up the source's part of %s: %w", d.partition.ID, err)
	}
	there, err := d.sums(d.there, &d.result.Destination, r, cuts)
	if err != nil {
		return nil, fmt.Errorf("sum up the destination's part of %s: %w", d.partition.ID, err)
	}
	if len(cuts) == 0 && len(here) == 1 && len(there) == 1 {
		d.result.Had, d.result.Held = max(d.result.Had, here[0].Count), max(d.result.Held, there[0].Count)
	}
	unequal, err := proof.CompareSums(here, there, rangeRecords)
	if err != nil {
		return nil, fmt.Errorf("compare sums of %s: %w", d.partition.ID, err)
	}
	return unequal, nil
}

func (d *descent) sums(side gapless.RangeSummer, reading *Reading, r gapless.KeyRange, cuts []string) ([]gapless.RangeSum, error) {
	if err := d.interrupted(); err != nil {
		return nil, err
	}
	sums, err := side.Sum(d.reading, d.partition, r, cuts)
	bytes := 0
	for i := range sums {
		bytes += sumBytes + len(sums[i].To)
	}
	d.charge(reading, 0, bytes)
	return sums, err
}

// interrupted returns why reading has to stop at once.
func (d *descent) interrupted() error {
	if d.reading.Err() != nil {
		return context.Cause(d.reading)
	}
	return nil
}

// list compares the records of a range one by one, unless the verification has
// to stop before it.
func (d *descent) list(u proof.Unequal) error {
	d.result.Next = u.From
	if err := d.pause(); err != nil {
		return err
	}
	contents := func(side gapless.RangeSummer, reading *Reading) proof.Contents {
		return func(fn func(key []byte, content gapless.Hash128) error) error {
			return side.Contents(d.reading, d.partition, u.KeyRange, func(key []byte, content gapless.Hash128) error {
				d.charge(reading, 1, len(key)+16)
				return fn(key, content)
			})
		}
	}
	err := proof.CompareContents(contents(d.here, &d.result.Source), contents(d.there, &d.result.Destination), func(key []byte, kind proof.Difference) error {
		return d.note(key, kind, 0)
	})
	if err != nil {
		return fmt.Errorf("compare records of %s: %w", d.partition.ID, err)
	}
	return nil
}
