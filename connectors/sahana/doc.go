// Package sahana synchronises with installations of Sahana Eden, over the
// documents of package s3: as a source that reads tables and follows their
// changes, and as a destination that writes records and looks whether the Eden
// has really taken them.
//
// What a document says and how it is written is known to s3 alone; which of
// two versions wins is decided by package resolve.
package sahana
