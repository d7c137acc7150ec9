// Package tabular reads and writes files of one record per row: JSON Lines and
// CSV.
//
// As a source it finds files by patterns, decompresses them, and turns rows
// into records without decoding more than the key; a row that is no record is
// rejected with its line. As a destination it keeps one file that always holds
// the current records: what is pushed goes into a journal in the folder
// PATH.gapless beside it, and the file is replaced as a whole.
//
// The package never decides what changed, never converts between the formats,
// and never edits a file in place.
package tabular
