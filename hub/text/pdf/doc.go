// Package pdf reads the text of PDF files.
//
// It is made for files of strangers. Everything is bounded: what streams
// unpack to, how many objects there are, how deep they nest and what one
// holds; a context ends it at any moment; nothing panics, and no goroutine is
// started. Offsets that the file states are never followed: objects are found
// by looking for them, so that a damaged cross-reference table does no harm.
//
// # Lives here, and never does
//
// The syntax of objects and streams, the encodings of fonts, and where text is
// on a page, as far as words and lines have to be told apart. Pictures,
// drawing, forms to fill in, passwords and everything else about PDF do not.
//
// Facts are those of ISO 32000-1:2008.
package pdf
