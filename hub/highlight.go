package hub

import (
	"bytes"
	"unicode/utf8"
)

const (
	maxFragments  = 3
	fragmentBytes = 200
	// fragmentLead is how much text comes before the first mark.
	fragmentLead = 40
)

// Fragment is a piece of a record's text on one line.
type Fragment struct {
	Text string
	// Marks are the ranges of bytes in Text that were looked for, in order.
	Marks [][2]int
}

// wanted returns the words to mark.
func wanted(terms []queryTerm) map[string]bool {
	marks := map[string]bool{}
	for _, t := range terms {
		for _, w := range t.words {
			if !t.not {
				marks[w] = true
			}
		}
	}
	return marks
}

// place is a fragment before it is cut out.
type place struct {
	from, to int // of the marks
	marks    [][2]int
	words    int // different ones among them
}

// fragments cuts the places of body with the most different wanted words out,
// in the order of the text.
func fragments(body []byte, marks map[string]bool) []Fragment {
	if len(marks) == 0 {
		return nil
	}
	best := bestPlaces(body, marks)
	list := make([]Fragment, 0, len(best))
	for _, p := range best {
		list = append(list, cut(body, p))
	}
	return list
}

func bestPlaces(body []byte, marks map[string]bool) (best []place) {
	var current place
	seen := map[string]bool{}
	flush := func() {
		if len(current.marks) > 0 {
			current.words = len(seen)
			best = keepBest(best, current)
		}
		current = place{}
		clear(seen)
	}
	for w := (words{text: body}); w.next(); {
		if !marks[string(w.word)] {
			continue
		}
		if len(current.marks) > 0 && w.end-current.from > fragmentBytes-fragmentLead {
			flush()
		}
		if len(current.marks) == 0 {
			current.from = w.start
		}
		seen[string(w.word)] = true
		current.to = w.end
		current.marks = append(current.marks, [2]int{w.start, w.end})
	}
	flush()
	return best
}

// keepBest adds p, and drops the least of too many; earlier ones win.
func keepBest(best []place, p place) []place {
	best = append(best, p)
	if len(best) <= maxFragments {
		return best
	}
	least := 0
	for i, q := range best {
		if q.words <= best[least].words {
			least = i
		}
	}
	return append(best[:least], best[least+1:]...)
}

// cut takes the valid UTF-8 around a place, from a word's start to a word's end and
// within one text.
func cut(body []byte, p place) Fragment {
	from := max(0, p.from-fragmentLead)
	if i := bytes.LastIndexByte(body[from:p.from], breakByte); i >= 0 {
		from += i + 1
	} else if from > 0 {
		from = nextSpace(body, from, p.from)
	}
	to := min(len(body), max(p.to, from+fragmentBytes))
	if i := bytes.IndexByte(body[p.to:to], breakByte); i >= 0 {
		to = p.to + i
	} else if to < len(body) {
		to = lastSpace(body, p.to, to)
	}
	return flatten(body[from:to], from, p.marks)
}

func nextSpace(body []byte, from, limit int) int {
	if i := bytes.IndexAny(body[from:limit], " \t\r\n"); i >= 0 {
		return from + i + 1
	}
	for from < limit && !utf8.RuneStart(body[from]) {
		from++
	}
	return from
}

func lastSpace(body []byte, limit, to int) int {
	if i := bytes.LastIndexAny(body[limit:to], " \t\r\n"); i >= 0 {
		return limit + i
	}
	for to > limit && !utf8.RuneStart(body[to]) {
		to--
	}
	return to
}

// flatten makes one line of text, which begins at from, and moves its marks
// along. A mark spans breaks in no case.
func flatten(text []byte, from int, marks [][2]int) Fragment {
	line := make([]byte, 0, len(text))
	f := Fragment{}
	space := true // leading space is dropped
	at := make([]int, len(text)+1)
	for i, c := range text {
		at[i] = len(line)
		if c <= ' ' {
			if !space {
				line = append(line, ' ')
			}
			space = true
			continue
		}
		line, space = append(line, c), false
	}
	at[len(text)] = len(line)
	line = bytes.TrimRight(line, " ")
	for _, m := range marks {
		if m[0] >= from && m[1]-from <= len(text) {
			f.Marks = append(f.Marks, [2]int{at[m[0]-from], at[m[1]-from]})
		}
	}
	f.Text = string(line)
	return f
}
