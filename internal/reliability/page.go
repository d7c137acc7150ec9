package main

import (
	"fmt"
	"strings"
)

// begin and end mark where a table stands.
func begin(name string) string { return "<!-- " + name + ":begin -->" }
func end(name string) string   { return "<!-- " + name + ":end -->" }

// between returns what stands between the markers of a table.
func between(page, name string) (string, error) {
	if strings.Count(page, begin(name)) != 1 || strings.Count(page, end(name)) != 1 {
		return "", fmt.Errorf("the page has not one marker %s and one marker %s", begin(name), end(name))
	}
	_, rest, _ := strings.Cut(page, begin(name))
	text, _, found := strings.Cut(rest, end(name))
	if !found {
		return "", fmt.Errorf("the marker %s is not behind %s", end(name), begin(name))
	}
	return text, nil
}

// exchange puts text between the markers of a table.
func exchange(page, name, text string) (string, error) {
	old, err := between(page, name)
	if err != nil {
		return "", err
	}
	return strings.Replace(page, begin(name)+old+end(name), begin(name)+"\n"+strings.TrimSpace(text)+"\n"+end(name), 1), nil
}
