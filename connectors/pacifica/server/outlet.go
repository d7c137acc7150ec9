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

// outlet sends large pieces, reads the next while one is sent, and gives up a
// client that has stopped reading: it must not pin a cart for ever.
type outlet struct {
	http.ResponseWriter
	ctx     context.Context //nolint:containedctx // an outlet lives for one request
	buffers *sync.Pool
	err     error // of the client
}

// chunk is what is read and sent at a time.
type chunk [copyBytes]byte

// filled is what one read brought.
type filled struct {
	chunk *chunk
	n     int
	err   error
}

// ReadFrom implements [io.ReaderFrom]. The source is not used any more when it
// returns.
func (o *outlet) ReadFrom(src io.Reader) (total int64, err error) {
	spare, full := make(chan *chunk, 2), make(chan filled)
	for range cap(spare) {
		b, _ := o.buffers.Get().(*chunk)
		spare <- b
	}
	go func() {
		defer close(full)
		for b := range spare {
			n, err := src.Read(b[:])
			full <- filled{b, n, err}
			if err != nil {
				return
			}
		}
	}()
	total, err = o.send(full, spare)
	close(spare)
	for f := range full {
		o.buffers.Put(f.chunk)
	}
	for b := range spare {
		o.buffers.Put(b)
	}
	return total, err
}

// send sends what is read until that ends, and hands buffers back.
func (o *outlet) send(full <-chan filled, spare chan<- *chunk) (total int64, err error) {
	control := http.NewResponseController(o.ResponseWriter)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	for f := range full {
		if f.n > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(sendPatience)) // where there are none, there is none
			n, err := o.Write(f.chunk[:f.n])
			total += int64(n)
			o.err = err
		}
		spare <- f.chunk
		switch {
		case o.err != nil:
			return total, o.err
		case errors.Is(f.err, io.EOF):
			return total, nil
		case f.err != nil:
			return total, f.err
		case o.ctx.Err() != nil:
			return total, context.Cause(o.ctx)
		}
	}
	return total, nil
}
