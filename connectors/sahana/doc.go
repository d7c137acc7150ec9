// Package sahana synchronises with installations of Sahana Eden, over the
// documents of package s3.
//
// What a document says and how it is written is known to s3 alone; which of
// two versions wins is decided by package resolve.
package sahana
