// Package sim plays whole histories of a connector in virtual time: runs that
// compete, stop, die and wake up again, a source that is edited while it is
// read, destinations that crash, are restored and exchanged, a state that is
// rolled back or lost. One number, the seed, decides all of it: [Play] of the
// same seed does the same, call by call.
//
// An auditor that shares nothing with the engine sees the truth of both ends
// and of state, and checks the invariants I1 to I10, which are the ten claims of
// docs/reliability.md, at every call that has an effect. What it finds is a [Violation] with the name of the invariant.
//
// Everything here is in memory but the fingerprints of the engine, and nothing
// here is used outside tests. Systems for tests of connectors are in package
// gaplesstest.
package sim
