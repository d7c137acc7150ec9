// Command mutation takes out the lines that keep a sync gapless, one at a
// time, and shows that a test notices each time:
//
//	go run ./internal/mutation                      # all of them
//	go run ./internal/mutation --only engine,hub/whole
//	go run ./internal/mutation --list
//	go run ./internal/mutation --json > mutants.json
//
// The catalogue names every such line: what it keeps, which invariants that
// serves, by the numbers of the ten claims of docs/reliability.md, the exact text,
// what stands there instead, and the tests that must fail then. A text that is not
// in its file exactly once is an error, and so is a mutant that does not compile or
// a test that fails without it: a mutant counts as noticed only if a test fails, or
// the program crashes, and nothing but the missing line can be the reason. A
// process that ends in another way judges nothing.
//
// Everything happens in copies of the working tree below a temporary folder.
// The exit code is 1 if a mutant survives, runs out of time, or cannot be
// judged.
//
// No package of the module is imported here: the program judges them all.
package main
