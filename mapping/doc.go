// Package mapping filters and reshapes records as raw bytes: a [Spec] is
// compiled once into a [Program], which runs over whole batches.
//
// What a program does not touch is copied byte for byte, in its order, with
// its white space and its numbers as they were written; nothing is decoded
// that no expression reads. Plain paths, comparisons with constants, and what
// joins them (and, or, not, ??, ?:) work on the bytes directly; every other
// expression runs in the virtual machine of expr, which is given only the
// fields that the expression reads.
//
// No store, clock or goroutine ever lives here, and no result depends on
// anything but the record: functions that look at the clock or at the order
// of a hash table are not available to expressions.
package mapping
