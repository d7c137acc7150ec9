// Command reliability writes the tables of docs/reliability.md, from the
// commands that measure them:
//
//	go run ./internal/reliability                    # all of them; hours
//	go run ./internal/reliability --only fault-campaign,certificate-overhead
//	go run ./internal/mutation --json > mutants.json
//	go run ./internal/reliability --only mutation --rows mutants.json
//
// Each table stands between two markers, with the command, the commit and the
// machine that it comes from, and is exchanged as a whole. The prose around
// them is written by hand.
//
// Tests and benchmarks hand over their rows in the file that the environment
// variable GAPLESS_REPORT names: a line of JSON each, whose member "table" says
// where it belongs. Nothing is measured here.
package main
