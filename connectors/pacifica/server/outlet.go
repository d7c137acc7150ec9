package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// sendPatience bounds how long a client may take nothing.
const sendPatience = 2 * time.Minute

// outlet sends large pieces, and gives up a client that has stopped reading:
// it must not pin a cart for ever.
type outlet struct {
	http.ResponseWriter
	ctx     context.Context //nolint:containedctx // an outlet lives for one request
	buffers *sync.Pool
	err     error // of the client
}

// ReadFrom implements [io.ReaderFrom].
func (o *outlet) ReadFrom(src io.Reader) (total int64, err error) {
	buffer, _ := o.buffers.Get().(*[copyBytes]byte)
	defer o.buffers.Put(buffer)
	control := http.NewResponseController(o.ResponseWriter)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	for o.ctx.Err() == nil {
		n, err := src.Read(buffer[:])
		if n > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(sendPatience)) // where there are none, there is none
			written, err := o.Write(buffer[:n])
			total += int64(written)
			if err != nil {
				o.err = err
				return total, err
			}
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
	return total, context.Cause(o.ctx)
}
