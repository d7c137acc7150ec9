package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
)

// Problem is one mistake in a configuration. It never contains a secret, nor
// any value that came from the environment.
type Problem struct {
	File string `json:"file"`
	// Line and Column count from 1, the column in characters.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Excerpt is the offending line with its number and a caret below it.
	Excerpt string `json:"excerpt,omitempty"`
	// Message says what is wrong, Fix what to write instead; Fix may be empty.
	Message string       `json:"message"`
	Fix     string       `json:"fix,omitempty"`
	Code    gapless.Code `json:"code"`
}

// String returns the problem as a terminal shows it: position, message and
// fix on one line, then the excerpt.
func (p Problem) String() string {
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	if p.Fix != "" {
		s += ": " + p.Fix
	}
	if p.Excerpt != "" {
		s += "\n" + p.Excerpt
	}
	return s
}

// AsError returns problems as one error with the code of the first, or nil
// without any.
func AsError(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = p.String()
	}
	e := gapless.Errorf(problems[0].Code, "", "%s", strings.Join(lines, "\n"))
	if fix := problems[0].Fix; fix != "" {
		return e.WithHint("%s", fix)
	}
	return e
}

// place is where something stands in the file, both counted from 1.
type place struct{ line, column int }

// reporter collects problems of one file.
type reporter struct {
	file     string
	words    words
	lines    []string
	problems []Problem
}

func newReporter(file, text string, w words) *reporter {
	return &reporter{file: file, words: w, lines: strings.Split(text, "\n")}
}

// maxProblems bounds the report: what follows the first hundred mistakes is
// noise.
const maxProblems = 100

func (r *reporter) add(at place, code gapless.Code, message, fix string) {
	if len(r.problems) > maxProblems {
		return
	}
	if len(r.problems) == maxProblems {
		message, fix = "there are more problems than these", ""
	}
	at.line = min(max(at.line, 1), len(r.lines))
	at.column = min(max(at.column, 1), utf8.RuneCountInString(r.lines[at.line-1])+1)
	r.problems = append(r.problems, Problem{
		File: r.file, Line: at.line, Column: at.column, Excerpt: r.excerpt(at),
		Message: hideUserinfo(message), Fix: fix, Code: code,
	})
}

// reported reports whether something is wrong at a place already.
func (r *reporter) reported(at place) bool {
	return slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Line == at.line && p.Column == at.column })
}

// sorted returns the problems in the order of the file.
func (r *reporter) sorted() []Problem {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.problems
}

// An excerpt shows this many characters before the caret and as many after.
const excerptReach = 70

func (r *reporter) excerpt(at place) string {
	line := []rune(strings.TrimRight(r.words.shown(r.lines, at.line-1), "\r"))
	if strings.TrimSpace(string(line)) == "" {
		return ""
	}
	caret := min(at.column-1, len(line))
	before, after := "", ""
	if end := caret + excerptReach; end < len(line) {
		line, after = line[:end], "..."
	}
	if start := caret - excerptReach; start > 0 {
		line, caret, before = line[start:], caret-start+3, "..."
	}
	shown := before + strings.Map(printable, string(line)) + after
	var pad strings.Builder
	for i, c := range []rune(shown) {
		if i >= caret {
			break
		}
		if c == '\t' {
			pad.WriteRune(c)
		} else {
			pad.WriteByte(' ')
		}
	}
	return fmt.Sprintf("%4d | %s\n     | %s^", at.line, shown, pad.String())
}

func printable(c rune) rune {
	if c == '\t' || unicode.IsPrint(c) {
		return c
	}
	return '.'
}

// addf is add with a formatted message; the fix comes first.
func (r *reporter) addf(at place, code gapless.Code, fix, format string, args ...any) {
	r.add(at, code, fmt.Sprintf(format, args...), fix)
}
