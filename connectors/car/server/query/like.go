package query

import (
	"unicode"
	"unicode/utf8"
)

// patternBytes bounds the length of a pattern, and with it the time that one
// value takes: at most its length times that of the pattern.
const patternBytes = 256

// pattern is what _like and _ilike look for.
type pattern struct {
	steps []step
	fold  bool
}

// step is one character, any one, or any number of them.
type step struct {
	kind stepKind
	char rune
}

type stepKind uint8

const (
	oneStep stepKind = iota
	anyStep
	manyStep
)

// compilePattern reads % as any characters, _ as one, and a backslash as
// making the next character ordinary.
func compilePattern(text string, fold bool) pattern {
	p := pattern{fold: fold}
	escaped := false
	for _, r := range text {
		switch {
		case !escaped && r == '\\':
			escaped = true
			continue
		case !escaped && r == '%':
			if n := len(p.steps); n == 0 || p.steps[n-1].kind != manyStep {
				p.steps = append(p.steps, step{kind: manyStep})
			}
		case !escaped && r == '_':
			p.steps = append(p.steps, step{kind: anyStep})
		default:
			p.steps = append(p.steps, step{char: p.folded(r)})
		}
		escaped = false
	}
	if escaped {
		p.steps = append(p.steps, step{char: '\\'})
	}
	return p
}

func (p pattern) folded(r rune) rune {
	if !p.fold {
		return r
	}
	return unicode.ToLower(unicode.ToUpper(r))
}

// match goes through the text once; where it does not go on, only the last
// stretch of any characters is made longer.
func (p pattern) match(text string) bool {
	at, retry, from := 0, -1, 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case at < len(p.steps) && p.steps[at].kind == manyStep:
			retry, from = at, i
			at++
			continue
		case at < len(p.steps) && (p.steps[at].kind == anyStep || p.steps[at].char == p.folded(r)):
			at++
			i += size
			continue
		case retry < 0:
			return false
		}
		_, size = utf8.DecodeRuneInString(text[from:])
		from += size
		at, i = retry+1, from
	}
	for at < len(p.steps) && p.steps[at].kind == manyStep {
		at++
	}
	return at == len(p.steps)
}
