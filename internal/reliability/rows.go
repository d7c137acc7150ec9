package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// row is one line of a table.
type row map[string]any

func (r row) text(name string) string {
	s, _ := r[name].(string) // what is not there is empty
	return s
}

func (r row) float(name string) float64 {
	f, _ := r[name].(float64) // what is not there is nothing
	return f
}

func (r row) number(name string) int { return int(r.float(name)) }

// list returns the elements of an array, separated by commas.
func (r row) list(name string) string {
	all, _ := r[name].([]any) // what is not there is none
	words := make([]string, len(all))
	for i, v := range all {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, ", ")
}

// cell keeps text within one cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " ")
}

// readLines reads rows, one on each line, that belong to a section.
func readLines(in io.Reader, s *section) ([]row, error) {
	var rows []row
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("row %q: %w", lines.Text(), err)
		}
		if name := r.text("table"); name == s.name || slices.Contains(s.more, name) {
			rows = append(rows, r)
		}
	}
	return rows, lines.Err()
}

// readDocuments reads rows from documents, and of which commits these are; of two
// rows with the same id the later one counts.
func readDocuments(text []byte) (rows []row, commits []string, err error) {
	in := json.NewDecoder(bytes.NewReader(text))
	for {
		var document struct {
			Commit  string `json:"commit"`
			Mutants []row  `json:"mutants"`
		}
		err := in.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the rows: %w", err)
		}
		if document.Commit != "" && !slices.Contains(commits, document.Commit) {
			commits = append(commits, document.Commit)
		}
		for _, r := range document.Mutants {
			rows = slices.DeleteFunc(rows, func(old row) bool { return old.text("id") == r.text("id") })
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return strings.Compare(a.text("id"), b.text("id")) })
	return rows, commits, nil
}
