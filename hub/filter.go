package hub

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
)

// maxFilters bounds the work of one query.
const maxFilters = 64

// Filter lets records pass that have a value in a field: an element at the top
// of their data, such as a meta of a document. Of an array every element is a
// value; texts of more than 256 bytes and what is nested are none.
type Filter struct {
	Field string
	// Op is = for the value itself, as it is written, or one of <, <=, > and >=
	// for values that are numbers or RFC 3339 dates as Value is.
	Op    string
	Value string
}

// ParseFilter reads FIELD=VALUE, and the same with <, <=, > or >=. A date
// without a time is its first moment, UTC.
func ParseFilter(text string) (Filter, error) {
	at := strings.IndexAny(text, "=<>")
	if at <= 0 {
		return Filter{}, gapless.Errorf(gapless.CodeUsage, text, "a filter is FIELD=VALUE").
			WithHint("write for example author=ann, size>=1000 or modified<2026-01-01")
	}
	f := Filter{Field: text[:at], Op: text[at : at+1], Value: text[at+1:]}
	if value, ok := strings.CutPrefix(f.Value, "="); ok && f.Op != "=" {
		f.Op, f.Value = f.Op+"=", value
	}
	_, err := f.bound()
	return f, err
}

// bound is what < and > compare with.
type bound struct {
	value magnitude
	// least and most are the results of a comparison that pass.
	least, most int
}

// bound returns what the filter compares with; everything passes = here.
func (f Filter) bound() (b bound, err error) {
	switch f.Op {
	case "=":
		return bound{}, nil
	case "<":
		b.least, b.most = -1, -1
	case "<=":
		b.least, b.most = -1, 0
	case ">":
		b.least, b.most = 1, 1
	case ">=":
		b.least, b.most = 0, 1
	default:
		return b, gapless.Errorf(gapless.CodeUsage, f.Field, "a filter cannot compare by %q", f.Op).WithHint("choose from =, <, <=, > and >=")
	}
	var ok bool
	if b.value, ok = magnitudeOf(f.Value); !ok {
		return b, gapless.Errorf(gapless.CodeUsage, f.Field, "%q is neither a number nor a date", f.Value).
			WithHint("write for example 12.5, 2026-01-31 or 2026-01-31T15:04:05Z")
	}
	return b, nil
}

func (b *bound) accepts(m magnitude) bool {
	if m.kind != b.value.kind {
		return false
	}
	order := cmp.Or(cmp.Compare(m.whole, b.value.whole), cmp.Compare(m.fraction, b.value.fraction))
	return b.least <= order && order <= b.most
}

// magnitude is a number or a moment.
type magnitude struct {
	kind     byte
	whole    int64   // seconds of a moment; a number of that size
	fraction float64 // nanoseconds of a moment; the rest of a number
}

const (
	kindNumber = 'n'
	kindMoment = 'm'
)

func magnitudeOf(text string) (magnitude, bool) {
	if text == "" || len(text) > 64 {
		return magnitude{}, false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return magnitude{kindNumber, n, 0}, true
	}
	if !strings.ContainsAny(text, "xXiIpP_") { // what JSON knows no number of
		if n, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(n) {
			return magnitudeOfFloat(n), true
		}
	}
	for _, layout := range [...]string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return magnitude{kindMoment, t.Unix(), float64(t.Nanosecond())}, true
		}
	}
	return magnitude{}, false
}

// magnitudeOfFloat splits a number so that it compares with integers of any
// size.
func magnitudeOfFloat(n float64) magnitude {
	whole := math.Trunc(n)
	switch {
	case whole >= math.MaxInt64:
		return magnitude{kindNumber, math.MaxInt64, n}
	case whole < math.MinInt64:
		return magnitude{kindNumber, math.MinInt64, n}
	}
	return magnitude{kindNumber, int64(whole), n - whole}
}

// fieldFilter is everything that a query wants of one field: one value that is
// among those named, if any are, and within all bounds.
type fieldFilter struct {
	name   string
	equal  []string
	bounds []bound
}

// filtersOf puts the filters of each field together.
func filtersOf(filters []Filter) (list []fieldFilter, err error) {
	if len(filters) > maxFilters {
		return nil, gapless.Errorf(gapless.CodeUsage, "search", "a query has at most %d filters", maxFilters)
	}
	for _, f := range filters {
		b, err := f.bound()
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(list, func(have fieldFilter) bool { return have.name == f.Field })
		if i < 0 {
			i, list = len(list), append(list, fieldFilter{name: f.Field})
		}
		if f.Op == "=" {
			list[i].equal = append(list[i].equal, f.Value)
		} else {
			list[i].bounds = append(list[i].bounds, b)
		}
	}
	return list, nil
}

func (f *fieldFilter) accepts(value []byte) bool {
	if len(f.equal) > 0 && !slices.Contains(f.equal, string(value)) {
		return false
	}
	if len(f.bounds) == 0 {
		return true
	}
	m, ok := magnitudeOf(string(value))
	return ok && !slices.ContainsFunc(f.bounds, func(b bound) bool { return !b.accepts(m) })
}
