// Package gapless is the SDK and the vocabulary of Gapless: records and
// batches, positions and checkpoints, the contracts of sources and
// destinations, and the failures that decide what the next run may do.
//
// Only the words live here: no store, no planner, no clock, no network. The
// package imports nothing but the standard library, and everything else in
// the module builds on it.
//
// A connector author implements [Source] (two methods) or [Destination] (one
// method that opens a [Session] of four). Everything more is an optional
// interface, of one method as a rule, that the engine finds by assertion:
// [Partitioner], [Positioner], [ChangeReader], [KeyReader], [Fetcher], [Resumer],
// [Contenter], [Estimator] for sources; [Enumerator], [Getter],
// [ConditionalPusher], [Searchable], [FullRunner], [Keeper], [Undoer] for
// sessions; [RangeSummer] for both.
package gapless
