// Command bench measures how fast whole runs are, and how close that is to
// what the machine can do at all:
//
//	go run ./internal/bench                        # all cases, a million records
//	go run ./internal/bench -cases copy,map -runs 5
//	go run ./internal/bench -check -o bench.md     # exit 1 if a target is missed
//
// What is measured is what a user runs: the engine with its state in SQLite,
// the real connectors, certificates, and everything synced to a disk. Each
// measurement is a process of its own, so that processor time and memory are
// those of one case alone. Before and after each of them a bare loop reads,
// validates and writes the same bytes; a case is judged by its ratio to both,
// and the ratio of the two to each other, the A/A column, says how much of a
// difference means nothing.
//
// The ranking figure is processor time, which survives a busy machine; rates
// are those of the moment. How a case works inside is never known here: a case
// that has to look behind the SDK belongs beside the code it measures.
package main
