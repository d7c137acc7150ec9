package proof

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/gapless-sync/gapless"
)

// Digest stands for a multiset of rows, whatever their order: how many there
// are, and the sum of their hashes modulo 2^128. The zero value is the digest
// of nothing. Two digests are equal exactly if the multisets are, up to hash
// collisions; it is no defence against somebody who chooses the rows.
type Digest struct {
	Count, Hi, Lo uint64
}

// Add puts one row into the digest; h is its [Delivery].
func (d *Digest) Add(h gapless.Hash128) { d.Merge(Digest{Count: 1, Hi: h.Hi, Lo: h.Lo}) }

// Remove takes out a row that was added before.
func (d *Digest) Remove(h gapless.Hash128) { *d = d.Minus(Digest{Count: 1, Hi: h.Hi, Lo: h.Lo}) }

// Merge puts all rows of o into d.
func (d *Digest) Merge(o Digest) {
	var carry uint64
	d.Lo, carry = bits.Add64(d.Lo, o.Lo, 0)
	d.Hi, _ = bits.Add64(d.Hi, o.Hi, carry)
	d.Count += o.Count
}

// Minus returns d without the rows of o, all of which must be in d.
func (d Digest) Minus(o Digest) Digest {
	var borrow uint64
	d.Lo, borrow = bits.Sub64(d.Lo, o.Lo, 0)
	d.Hi, _ = bits.Sub64(d.Hi, o.Hi, borrow)
	d.Count -= o.Count
	return d
}

// Equal reports whether d and o stand for the same rows.
func (d Digest) Equal(o Digest) bool { return d == o }

// String returns the count in decimal, a colon, and the sum as 32 lower-case
// hexadecimal digits.
func (d Digest) String() string { return fmt.Sprintf("%d:%016x%016x", d.Count, d.Hi, d.Lo) }

// MarshalText returns the form of [Digest.String].
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the form of [Digest.String] and no other: no signs, no
// upper case, no leading zeros in the count.
func (d *Digest) UnmarshalText(text []byte) error {
	count, sum, _ := strings.Cut(string(text), ":")
	var parsed Digest
	var err error
	if parsed.Count, err = strconv.ParseUint(count, 10, 64); err != nil {
		return fmt.Errorf("digest %q: count: %w", text, err)
	}
	if len(sum) != 32 {
		return fmt.Errorf("digest %q: sum is not 32 hexadecimal digits", text)
	}
	if parsed.Hi, err = strconv.ParseUint(sum[:16], 16, 64); err != nil {
		return fmt.Errorf("digest %q: sum: %w", text, err)
	}
	if parsed.Lo, err = strconv.ParseUint(sum[16:], 16, 64); err != nil {
		return fmt.Errorf("digest %q: sum: %w", text, err)
	}
	if parsed.String() != string(text) {
		return fmt.Errorf("digest %q is not written as %q", text, parsed)
	}
	*d = parsed
	return nil
}
