package resolve

import (
	"math/big"
	"strconv"
	"strings"
)

// maxPlaces bounds the decimal places that a sum may span.
const maxPlaces = 1000

// decimal is a number as JSON writes it: digits times ten to the exponent.
// Digits have no zeros at their ends; those of zero are empty.
type decimal struct {
	negative bool
	digits   string
	exponent int64
	// beyond is how the number is written if its exponent is out of all
	// bounds; such numbers are equal only if they are written the same.
	beyond string
}

// parseDecimal reads a valid JSON number.
func parseDecimal(raw string) decimal {
	var d decimal
	rest, negative := strings.CutPrefix(raw, "-")
	mantissa := rest
	if e := strings.IndexAny(rest, "eE"); e >= 0 {
		mantissa = rest[:e]
		exponent, err := strconv.ParseInt(rest[e+1:], 10, 48)
		d.exponent = exponent // the nearest bound if it is out of range
		if err != nil {
			d.beyond = raw
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.exponent -= int64(len(fraction))
	digits := whole
	if fraction != "" {
		digits = whole + fraction
	}
	significant := strings.TrimRight(digits, "0")
	d.exponent += int64(len(digits) - len(significant))
	d.digits = strings.TrimLeft(significant, "0")
	if d.digits == "" {
		return decimal{}
	}
	d.negative = negative
	return d
}

func (d decimal) appendText(dst []byte) []byte {
	if d.beyond != "" {
		return append(append(dst, '#'), d.beyond...)
	}
	if d.negative {
		dst = append(dst, '-')
	}
	if d.digits == "" {
		return append(dst, '0')
	}
	dst = append(append(dst, d.digits...), 'e')
	return strconv.AppendInt(dst, d.exponent, 10)
}

// compare returns -1, 0 or 1.
func (d decimal) compare(e decimal) int {
	if s, t := d.sign(), e.sign(); s != t || s == 0 {
		return cmpInt(int64(s), int64(t))
	}
	c := cmpInt(d.exponent+int64(len(d.digits)), e.exponent+int64(len(e.digits)))
	if c == 0 {
		c = strings.Compare(d.digits, e.digits)
	}
	if d.negative {
		return -c
	}
	return c
}

func (d decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.negative:
		return -1
	}
	return 1
}

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// sum returns a + b - base exactly, written as JSON; false if the numbers
// span more places than anyone counts.
func sum(a, b, base string) (string, bool) {
	terms := [...]decimal{parseDecimal(a), parseDecimal(b), parseDecimal(base)}
	low, high := int64(0), int64(0)
	for _, d := range terms {
		low = min(low, d.exponent)
		high = max(high, d.exponent+int64(len(d.digits)))
	}
	if high-low > maxPlaces {
		return "", false
	}
	total := new(big.Int)
	for i, d := range terms {
		if d.digits == "" {
			continue
		}
		n, ok := new(big.Int).SetString(d.digits+strings.Repeat("0", int(d.exponent-low)), 10)
		if !ok {
			return "", false
		}
		if d.negative != (i == 2) {
			n.Neg(n)
		}
		total.Add(total, n)
	}
	return placePoint(total.String(), int(-low)), true
}

// placePoint writes digits with the given number of decimal places.
func placePoint(digits string, places int) string {
	if places == 0 || digits == "0" {
		return digits
	}
	rest, negative := strings.CutPrefix(digits, "-")
	if missing := places + 1 - len(rest); missing > 0 {
		rest = strings.Repeat("0", missing) + rest
	}
	whole, fraction := rest[:len(rest)-places], strings.TrimRight(rest[len(rest)-places:], "0")
	if fraction != "" {
		whole += "." + fraction
	}
	if negative {
		return "-" + whole
	}
	return whole
}
