package main

import (
	"bufio"
	"encoding/json"
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

// readDocument reads the rows of a document, in the order of their ids.
func readDocument(text []byte) ([]row, error) {
	var document struct {
		Mutants []row `json:"mutants"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("read the rows: %w", err)
	}
	slices.SortFunc(document.Mutants, func(a, b row) int { return strings.Compare(a.text("id"), b.text("id")) })
	return document.Mutants, nil
}
