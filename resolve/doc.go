// Package resolve decides what becomes of one record that two sides hold:
// which methods may be applied (strategy), and whose value wins, per record
// and per field (resolution).
//
// A [Policy] is compiled once into a [Resolver]; [Resolver.Resolve] is a pure
// function of an [Input]: the two sides, the last version that they had in
// common, and the time. Its [Result] says what to store, which rule of
// [Rules] decided each field that differs, whether both sides had edited the
// same one (a conflict), and every edit that was not taken, so that nothing
// is dropped silently. Data is spliced from raw JSON; a field that was not
// decided on is kept byte for byte.
//
// Under [Strict] replicas that keep the time of every field ([Times]) end up
// with the same record in whatever order they meet, for the resolutions
// newer, min, max, longest, and union without a base, and for every
// [DeletePolicy]. Three things are asked of them: the times of edits come from
// [Edit] and [Delete], the clocks that Now is read from agree within the
// policy's tolerance, and base and result are stored in one step. Counter, and
// union with a base, add up what each of two sides did since they last met;
// they suit replicas that meet along a tree (a hub and those around it), not
// in a ring, where the same addition would arrive twice. This, other, master
// and mastercopy name a side, and converge only where each side names the
// same.
//
// [Eden], [Eden21] and [Eden18] reproduce how lines of Sahana Eden decide,
// except that a stored time is never lowered while local data is kept.
//
// No clock, store, network or goroutine ever lives here; what happens to the
// losers is the caller's business.
package resolve
