package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Fixed sizes of cases that do not grow with -n.
const (
	partitions = 10_000
	starts     = 10
)

// benchCase is one row of the report.
type benchCase struct {
	name  string // for -cases
	title string
	// do is the job that is measured, unless measure says otherwise.
	do string
	// bare is the job that reads, validates and writes the same bytes and no
	// more; empty if the case has no bytes.
	bare string
	// before, if set, is a job that fills the folder, once, which all
	// measurements then share; otherwise each begins with an empty folder.
	before string
	// input makes the file or folder to read by the run-th measurement,
	// counted from 1. 0 stands for a run that is not measured, -1 for the job
	// before and for the bare loop.
	input func(b *bench, run int) (string, error)
	// changed and records, if set, say how many for the -n asked for.
	changed func(n int) int
	records func(n int) int
	measure func(ctx context.Context, b *bench) (sample, error)
}

func cases() []benchCase {
	perChange := func(n int) int { return (n + changedEvery - 1) / changedEvery }
	perFile := func(n int) int { return max(n/100, 1) }
	return []benchCase{
		{name: "read", title: "jsonl read, without a run", do: "read", bare: "bare", input: original},
		{name: "copy", title: "jsonl -> jsonl", do: "copy", bare: "bare", input: original},
		{name: "map", title: "jsonl -> jsonl, filter and mapping of three fields", do: "map", bare: "bare", input: original},
		{name: "pebble", title: "Pebble alone, same batches and syncs", do: "pebble", bare: "bare", input: original},
		{name: "hub", title: "jsonl -> hub, search off", do: "hub", bare: "bare", input: original},
		{name: "files", title: "files -> hub, search off", do: "files", bare: "bare-files", input: tree, records: perFile},
		{name: "changed", title: "delta, 1 % changed -> hub", do: "compare", bare: "bare", before: "hub", input: alternating, changed: perChange},
		{name: "unchanged", title: "delta, nothing changed -> hub", do: "compare", bare: "bare", before: "hub", input: touched},
		{name: "again", title: "files -> hub, second run without a change", do: "again", bare: "bare-files", before: "files", input: tree, records: perFile},
		{name: "plan", title: "planner, decisions about 10,000 partitions", do: "plan", records: func(int) int { return partitions }},
		{name: "version", title: "start of gapless version", measure: startVersion},
	}
}

// choose returns the cases of a list of names, in the order of the report.
func choose(names string) ([]benchCase, error) {
	all := cases()
	if names == "" {
		return all, nil
	}
	var chosen []benchCase
	asked := strings.Split(names, ",")
	for _, c := range all {
		if slices.Contains(asked, c.name) {
			chosen = append(chosen, c)
			asked = slices.DeleteFunc(asked, func(name string) bool { return name == c.name })
		}
	}
	if len(asked) > 0 {
		return nil, fmt.Errorf("bench: there is no case %s", strings.Join(asked, ", "))
	}
	return chosen, nil
}

func original(b *bench, _ int) (string, error) { return b.recordFile(0) }

// alternating returns two revisions of the records by turns: each differs from
// the one before in one record of a hundred.
func alternating(b *bench, run int) (string, error) { return b.recordFile((run + 1) % 2) }

// touched returns records that are the same as ever in a file that seems new.
func touched(b *bench, _ int) (string, error) {
	path, err := b.recordFile(0)
	if err != nil {
		return "", err
	}
	now := time.Now()
	return path, os.Chtimes(path, now, now)
}

func tree(b *bench, _ int) (string, error) {
	path := b.path("tree")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, writeTree(path, max(b.options.records/100, 1))
}

func (b *bench) recordFile(revision int) (string, error) {
	path := b.path(fmt.Sprintf("records-%d.jsonl", revision))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, writeRecords(path, b.options.records, revision)
}
