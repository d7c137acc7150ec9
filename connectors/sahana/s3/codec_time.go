package s3

import (
	"fmt"
	"strings"
	"time"
)

// TimeForm is a spelling of times in UTC with whole seconds.
type TimeForm uint8

const (
	// TimeNaive is 2026-11-01T10:00:00, as an Eden exports times, and the only
	// form of msince that it understands: it ignores any other silently.
	TimeNaive TimeForm = iota
	// TimeZulu is 2026-11-01T10:00:00Z, understood in documents and filters,
	// and the form of msince until 2010.
	TimeZulu
)

// FormatTime writes a time in UTC, fractions of a second dropped.
func FormatTime(t time.Time, f TimeForm) string { return string(appendTime(nil, t, f)) }

func appendTime(b []byte, t time.Time, f TimeForm) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendDigits(b, year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), second, 2)
	if f == TimeZulu {
		b = append(b, 'Z')
	}
	return b
}

func appendDigits(b []byte, n, width int) []byte {
	for divisor := [...]int{1, 10, 100, 1000}[width-1]; divisor > 0; divisor /= 10 {
		b = append(b, byte('0'+n/divisor%10))
	}
	return b
}

// ParseMSince reads the parameter msince in either of its exact forms and says
// in which.
func ParseMSince(text string) (time.Time, TimeForm, error) {
	naive, zulu := strings.CutSuffix(text, "Z")
	s := timeScan{rest: naive}
	t, ok := s.date()
	ok = ok && s.literal("T") && s.clock(true)
	if !ok || s.rest != "" {
		return time.Time{}, 0, fmt.Errorf("%q is no time of the form YYYY-MM-DDTHH:MM:SS, with or without a Z", clip(text))
	}
	t, err := s.on(t, text)
	if zulu {
		return t, TimeZulu, err
	}
	return t, TimeNaive, err
}

// ParseTime reads a time as an importer does: a date, then T or white space,
// hours and minutes, seconds and a fraction if there are any, then Z, an offset
// such as +02:00, +0200 or +02, or nothing, which means UTC. Fractions are
// dropped. A date alone is midnight, with [RulesEden] 08:00:00. Times beyond
// the years 1 to 9999, and the first second of year 1, are errors.
func ParseTime(text string, rules Rules) (time.Time, error) {
	s := timeScan{rest: strings.TrimSpace(text)}
	t, ok := s.date()
	if ok && s.rest == "" {
		if rules == RulesEden {
			s.seconds = 8 * 60 * 60
		}
		return s.on(t, text)
	}
	ok = ok && s.separator() && s.clock(false) && s.offset()
	if !ok || s.rest != "" {
		return time.Time{}, fmt.Errorf("%q is no time such as 2026-11-01T10:00:00", clip(text))
	}
	return s.on(t, text)
}

// timeScan reads a time from its left.
type timeScan struct {
	rest    string
	seconds int // since midnight, less the offset
}

func (s *timeScan) on(day time.Time, text string) (time.Time, error) {
	t := day.Add(time.Duration(s.seconds) * time.Second)
	if y := t.Year(); y < 1 || y > 9999 || t.IsZero() {
		return time.Time{}, fmt.Errorf("%q is beyond the years 1 to 9999", clip(text))
	}
	return t, nil
}

// digits reads a number of exactly n digits that is at most most.
func (s *timeScan) digits(n, most int) (int, bool) {
	if len(s.rest) < n {
		return 0, false
	}
	v := 0
	for i := range n {
		c := s.rest[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		v = 10*v + int(c-'0')
	}
	s.rest = s.rest[n:]
	return v, v <= most
}

func (s *timeScan) literal(text string) bool {
	rest, ok := strings.CutPrefix(s.rest, text)
	s.rest = rest
	return ok
}

func (s *timeScan) date() (time.Time, bool) {
	year, ok1 := s.digits(4, 9999)
	dash1 := s.literal("-")
	month, ok2 := s.digits(2, 12)
	dash2 := s.literal("-")
	day, ok3 := s.digits(2, 31)
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	return t, ok1 && dash1 && ok2 && dash2 && ok3 && month > 0 && t.Day() == day
}

func (s *timeScan) separator() bool {
	trimmed := strings.TrimLeft(s.rest, " \t")
	if len(trimmed) < len(s.rest) {
		s.rest = trimmed
		return true
	}
	return s.literal("T") || s.literal("t")
}

// clock reads hours, minutes and seconds; if not exactly these, seconds may be
// missing or have a fraction.
func (s *timeScan) clock(exactly bool) bool {
	hour, ok1 := s.digits(2, 23)
	colon := s.literal(":")
	minute, ok2 := s.digits(2, 59)
	s.seconds = (hour*60 + minute) * 60
	if !ok1 || !colon || !ok2 {
		return false
	}
	if !s.literal(":") {
		return !exactly
	}
	second, ok := s.digits(2, 59)
	s.seconds += second
	if !ok || exactly || !s.literal(".") && !s.literal(",") {
		return ok
	}
	fraction := strings.TrimLeft(s.rest, "0123456789")
	ok = len(fraction) < len(s.rest)
	s.rest = fraction
	return ok
}

// offset reads Z or an offset, and takes it off the seconds.
func (s *timeScan) offset() bool {
	s.rest = strings.TrimLeft(s.rest, " \t")
	if s.rest == "" || s.literal("Z") || s.literal("z") {
		return true
	}
	sign := 1
	if s.literal("-") {
		sign = -1
	} else if !s.literal("+") {
		return false
	}
	hours, ok := s.digits(2, 23)
	minutes, okMinutes := 0, true
	if s.literal(":") || s.rest != "" {
		minutes, okMinutes = s.digits(2, 59)
	}
	s.seconds -= sign * (hours*60 + minutes) * 60
	return ok && okMinutes
}

// parseClock reads a time of day, fractions dropped, as HH:MM:SS.
func parseClock(text string) (string, bool) {
	s := timeScan{rest: strings.TrimSpace(text)}
	if !s.clock(false) || s.rest != "" {
		return "", false
	}
	b := appendDigits(nil, s.seconds/3600, 2)
	b = appendDigits(append(b, ':'), s.seconds/60%60, 2)
	return string(appendDigits(append(b, ':'), s.seconds%60, 2)), true
}
