package transfer

import (
	"context"
	"io"
	"time"
)

// Wanted is a file to bring, and how much of it is here from an earlier
// attempt.
type Wanted struct {
	File
	// Offset is how many of its first bytes are here.
	Offset int64
	// Validator is what those bytes were delivered under; "" if there was none.
	Validator string
}

// Content is a file being delivered.
type Content struct {
	// Path as in [File].
	Path string
	// Offset of the first byte of Body: that of [Wanted], or 0, which is always
	// allowed.
	Offset int64
	// Size of the whole file in bytes; -1 if it is not known.
	Size int64
	// Validator changes whenever the content does, as a strong ETag; "" if
	// there is none. It is handed back with the offset.
	Validator string
	// Modified is given to the file if [File] has no such time; may be zero.
	Modified time.Time
	// Body runs from Offset to the end of the file.
	Body io.Reader
}

// Deliver takes one file. What turns out to be wrong with the file, or was not
// asked for, is no error: the supplier goes on with the next. An error means
// that the transfer as a whole has to stop.
type Deliver func(Content) error

// Supplier brings files. Several goroutines call it at a time, each for files of
// its own.
type Supplier interface {
	// Supply delivers the files one at a time and in any order, from the
	// goroutine that called it. It may deliver fewer than were asked for. Errors
	// of deliver are returned at once. Its own errors are classified as in the
	// SDK: after a recoverable one, or none, it is called again for what is
	// missing, later; a rejection gives up the file whose path is its key; after
	// any other, and where credentials are refused, the transfer stops.
	Supply(ctx context.Context, files []Wanted, deliver Deliver) error
}
