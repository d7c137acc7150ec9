// Package query answers GraphQL queries about the vertices and edges of a CAR
// service: it parses, bounds and executes them over a small view of the store,
// [Graph], and writes the reply as it reads.
//
// What collections and fields there are is known at run time only, so there is
// no schema to validate against: root fields are collections, fields are what
// rows have stored, and a field that a row does not have is null. The language
// is described in docs/wire/car-query.md.
//
// No HTTP, no storage and no credentials live here.
package query
