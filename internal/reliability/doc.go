// Command reliability writes the tables of docs/reliability.md, from the
// commands that measure them:
//
//	go run ./internal/reliability                    # all of them; some ten minutes
//	go run ./internal/reliability --jobs 2           # two mutants at a time
//	go run ./internal/reliability --only fault-campaign,certificate-overhead
//
// Each table stands between two markers, with the command, the commit and the
// machine that it comes from, and is exchanged as a whole. The commit is that of the
// tree before the first row was measured, and dirty if the tree was changed. The
// prose around the tables is written by hand.
//
// Tests and benchmarks hand over their rows in the file that the environment
// variable GAPLESS_REPORT names: a line of JSON each, whose member "table" says
// where it belongs. Nothing is measured here.
package main
