// Package delta finds out what changed in a source that cannot tell. Such a
// source is enumerated, and every record's key hash and content fingerprint is
// compared with the [Table] of the last enumeration that came to its end: the
// [Comparison] says which records are new, changed or the same, which keys are
// gone, and which stood twice, and writes the next table.
//
// Memory is bounded by what the caller allows, whatever the number of records,
// apart from about half a byte per record of the table. A table is never
// changed: a comparison that is given up leaves everything as it was.
//
// Nothing here opens, names, syncs or removes a file, reads a clock or starts
// a goroutine: files are handed in.
//
// # A run
//
//	c := delta.New(base, log, memory)   // base is nil the first time
//	c.Add(...), c.Keep(...)             // every record, in any order
//	c.Finish(scratch)                   // the source said: that was all
//	c.Absent(...), c.Repeated(...)      // what is gone, what stood twice
//	c.WriteTable(w, label)              // once everything is synced
//
// # Never equal
//
// The fingerprint 0 stands for "equal to nothing": a record with it is updated
// next time, whatever it contains. It is given to records that could not be
// read ([Comparison.Keep]), that a destination refused ([Comparison.Distrust]),
// and that stood twice with different contents, since it depends on the reader
// which of the two the destination has.
//
// # The table's form
//
// All numbers are little endian, all checksums CRC-32C.
//
//	header   "gapdelt", version byte
//	blocks   of 64 records (the last of 1 to 64), ascending by key hash:
//	           per record: key hash (Lo 8, Hi 8), content fingerprint (8)
//	           checksum of these (4)
//	           per record: length of the key (uvarint), key
//	           checksum of these (4)
//	index    per block: key hash of its first record (Lo 8, Hi 8), offset (8)
//	label    as given
//	footer   records (8), offset of the index (8), length of the label (8),
//	         checksum of index, label and the three numbers (4), header again
package delta
