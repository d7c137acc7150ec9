package server

import (
	"context"
	"io"
	"time"

	"github.com/gapless-sync/gapless/transfer"
)

// Files is where the files of carts come from. Open may be called from any
// goroutine.
type Files interface {
	// Open returns the file that an order asks for: Origin is its id, Path the
	// place in the archive. A file that there is not is [gapless.ErrNotFound].
	// Errors that pass by themselves are recoverable, and the file is asked
	// for again a little later; all others fail the cart.
	Open(ctx context.Context, wanted transfer.File) (Content, error)
}

// Content is an open file.
type Content struct {
	// Size in bytes.
	Size int64
	// Modified is sent in whole seconds.
	Modified time.Time
	// Version differs from that of every other content of the file; empty if
	// that cannot be told.
	Version string
	// Body runs from the start of the file, and is closed by the receiver. If
	// it is an [io.Seeker], and only then, a part of the file is sent without
	// reading what is before it; that the file is still the one that was
	// verified is then known from its version.
	Body io.ReadCloser
}
