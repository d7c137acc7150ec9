// Package wire has the facts of the CAR protocol that its client, its server
// and its queries share: collections, how rows and edges are identified, and
// what a status means.
//
// Only facts live here: no requests, no storage, no decoding of whole bodies.
package wire
