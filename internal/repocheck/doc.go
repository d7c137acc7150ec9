// Package repocheck holds this repository to its own rules by ordinary Go
// tests: who imports whom, what depends on what, how packages document
// themselves, and that generated pages are up to date.
//
// The lists live here, as plain values: [Rooms] for the floors and
// [Dependencies] for the modules. Nothing in the product imports this package.
//
//	go test ./internal/repocheck            # check
//	go test ./internal/repocheck -update    # rewrite what is generated
package repocheck
