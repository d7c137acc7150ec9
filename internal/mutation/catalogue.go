package main

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// catalogueFiles are the rooms' lists, one file each, in this form:
//
//	mutant NAME
//	keeps 1 8: what the line is for, and the invariants that it serves
//	file engine/run.go
//	tests engine TestOne TestOther
//	 	a line of context
//	-	the line as it is
//	+	what stands there instead
//
// Blank lines separate entries; # begins a comment. The tests are run without
// -short: what that leaves out may be what notices.
//
//go:embed catalogue/*.txt
var catalogueFiles embed.FS

// mutant is one line taken out.
type mutant struct {
	// ID is the room, a slash, and the name.
	ID         string
	Invariants []int
	Keeps      string
	// File below the module, and the whole lines that are exchanged there.
	File     string
	Old, New string
	// Package that the tests are of, below the module.
	Package string
	Tests   []string
	// limit of the tests, if another than usual.
	limit time.Duration
}

// invariants is how many there are.
const invariants = 10

// catalogue returns all mutants, in the order of the rooms and of their files.
func catalogue() ([]mutant, error) {
	names, err := fs.Glob(catalogueFiles, "catalogue/*.txt")
	if err != nil {
		return nil, err
	}
	var all []mutant
	for _, name := range names {
		text, err := catalogueFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		room := strings.TrimSuffix(path.Base(name), ".txt")
		list, err := parse(room, string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, list...)
	}
	return all, unique(all)
}

func unique(all []mutant) error {
	seen := map[string]bool{}
	for _, m := range all {
		if seen[m.ID] {
			return fmt.Errorf("mutant %s is there twice", m.ID)
		}
		seen[m.ID] = true
	}
	return nil
}

// parse reads the list of one room.
func parse(room, text string) ([]mutant, error) {
	var list []mutant
	var current *mutant
	for i, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		if name, begins := strings.CutPrefix(line, "mutant "); begins {
			list = append(list, mutant{ID: room + "/" + name})
			current = &list[len(list)-1]
			continue
		}
		err := errors.New("stands before the first mutant")
		if current != nil {
			err = current.take(line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", i+1, line, err)
		}
	}
	for i := range list {
		if err := list[i].check(); err != nil {
			return nil, fmt.Errorf("mutant %s: %w", list[i].ID, err)
		}
	}
	return list, nil
}

// take reads one line of an entry.
func (m *mutant) take(line string) (err error) {
	switch line[0] {
	case ' ':
		m.Old, m.New = m.Old+line[1:]+"\n", m.New+line[1:]+"\n"
		return nil
	case '-':
		m.Old += line[1:] + "\n"
		return nil
	case '+':
		m.New += line[1:] + "\n"
		return nil
	}
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "keeps":
		numbers, text, _ := strings.Cut(rest, ": ")
		m.Keeps = text
		m.Invariants, err = numbersOf(numbers)
	case "file":
		m.File = rest
	case "tests":
		if names := strings.Fields(rest); len(names) > 0 {
			m.Package, m.Tests = names[0], names[1:]
		}
	default:
		err = errors.New("is none of keeps, file, tests and lines of code")
	}
	return err
}

func numbersOf(text string) ([]int, error) {
	var list []int
	for word := range strings.FieldsSeq(text) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > invariants {
			return nil, fmt.Errorf("%q is no number of an invariant", word)
		}
		list = append(list, n)
	}
	return list, nil
}

func (m *mutant) check() error {
	switch {
	case m.Keeps == "" || len(m.Invariants) == 0:
		return errors.New("does not say what it keeps, and which invariant that serves")
	case m.File == "" || m.Package == "" || len(m.Tests) == 0:
		return errors.New("has no file, or no tests")
	case m.Old == "" || m.Old == m.New:
		return errors.New("changes nothing")
	}
	return nil
}

// apply returns source with the mutation.
func (m *mutant) apply(source string) (string, error) {
	text := "\n" + source
	at := strings.Index(text, "\n"+m.Old)
	switch {
	case at < 0:
		return "", fmt.Errorf("%s does not have the lines to be taken out", m.File)
	case strings.Contains(text[at+1:], "\n"+m.Old):
		return "", fmt.Errorf("%s has the lines to be taken out more than once", m.File)
	}
	return source[:at] + m.New + source[at+len(m.Old):], nil
}

// choose returns the mutants that names asks for, by id or by room, separated
// by commas; all of them if it is empty.
func choose(all []mutant, names string) ([]mutant, error) {
	if names == "" {
		return all, nil
	}
	var chosen []mutant
	for name := range strings.SplitSeq(names, ",") {
		found := slices.DeleteFunc(slices.Clone(all), func(m mutant) bool {
			return m.ID != name && !strings.HasPrefix(m.ID, name+"/")
		})
		if len(found) == 0 {
			return nil, fmt.Errorf("no mutant and no room is called %q", name)
		}
		chosen = append(chosen, found...)
	}
	slices.SortStableFunc(chosen, func(a, b mutant) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(chosen, func(a, b mutant) bool { return a.ID == b.ID }), nil
}
