// Package gaplesstest is the survival kit for authors of connectors, and what
// tests of the engine use: outside systems in memory that can be edited, made to
// fail at any call, and crashed.
//
// [CheckSource] and [CheckDestination] take a connector, and a few hooks that
// edit the outside system behind its back, and run it through what is known to
// lose records in the field: records that share a time, positions that expire,
// pages that come back empty or cut, permissions that are withdrawn halfway,
// answers that are lost after the call took effect, processes that die between
// any two calls. Each is a subtest with a name; what cannot be checked is skipped
// with the reason. A [Breaker] between connector and outside system makes the
// calls fail.
//
// It is imported by tests alone, and knows no outside system but its own.
package gaplesstest
