package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

var (
	// errEnd is returned behind the end of a document.
	errEnd = errors.New("the end of the document")
	// errCut is returned where a stream ends within something. Errors of the
	// reader, which may be any, are neither.
	errCut = errors.New("the stream has ended")
)

// windowBytes is how much a window holds if no token is longer.
const windowBytes = 64 << 10

// window is the part of a stream that is being looked at: at least everything
// from start on.
type window struct {
	r     io.Reader
	buf   []byte
	start int // of the current token
	pos   int // where reading goes on
	// before counts what has left the window.
	before int64
	eof    bool
	// total bounds the stream and token what lies between start and its end.
	total int64
	token int
}

func newWindow(r io.Reader, total int64, token int) window {
	return window{r: r, total: total, token: token}
}

// offset returns how many bytes lay before the place of reading.
func (w *window) offset() int64 { return w.before + int64(w.pos) }

// rest returns what of the window has not been read yet.
func (w *window) rest() []byte { return w.buf[w.pos:] }

// more reads on, and returns false at the end of the stream. Whatever pointed
// into the window is void afterwards; offsets from pos stay.
func (w *window) more() (bool, error) {
	if w.eof {
		return false, nil
	}
	if err := w.fits(len(w.buf) - w.start); err != nil {
		return false, err
	}
	if w.start > 0 {
		n := copy(w.buf, w.buf[w.start:])
		w.buf = w.buf[:n]
		w.before += int64(w.start)
		w.pos -= w.start
		w.start = 0
	}
	if len(w.buf) == cap(w.buf) {
		w.buf = append(make([]byte, 0, max(windowBytes, 2*cap(w.buf))), w.buf...)
	}
	for range 100 {
		n, err := w.r.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
		if w.before+int64(len(w.buf)) > w.total {
			return false, &LimitError{"bytes of a document", w.total}
		}
		w.eof = err == io.EOF
		if err != nil && !w.eof {
			return false, fmt.Errorf("read the document: %w", err)
		}
		if n > 0 || w.eof {
			return n > 0, nil
		}
	}
	return false, fmt.Errorf("read the document: %w", io.ErrNoProgress)
}

func (w *window) fits(token int) error {
	if token > w.token {
		return &LimitError{"bytes of a tag, a text or a value", int64(w.token)}
	}
	return nil
}

// peek returns the next byte, false at the end of the stream.
func (w *window) peek() (byte, bool, error) {
	for w.pos == len(w.buf) {
		if ok, err := w.more(); !ok {
			return 0, false, err
		}
	}
	return w.buf[w.pos], true, nil
}

// need sees to it that n bytes can be read.
func (w *window) need(n int) error {
	for len(w.rest()) < n {
		if ok, err := w.more(); err != nil {
			return err
		} else if !ok {
			return errCut
		}
	}
	return nil
}

func (w *window) hasPrefix(text string) bool { return bytes.HasPrefix(w.rest(), []byte(text)) }

// take returns the next n bytes, which the window holds, and goes behind them.
func (w *window) take(n int) ([]byte, error) {
	w.pos += n
	return w.buf[w.pos-n : w.pos], w.fits(n)
}

// until returns what lies before the next c, or before the end.
func (w *window) until(c byte) ([]byte, error) {
	for from := 0; ; {
		if i := bytes.IndexByte(w.rest()[from:], c); i >= 0 {
			return w.take(from + i)
		}
		from = len(w.rest())
		if ok, err := w.more(); err != nil {
			return nil, err
		} else if !ok {
			return w.take(from)
		}
	}
}

// through returns everything up to the end of text, which lies behind the first
// bytes that were looked at already; errCut if it does not come.
func (w *window) through(first int, text string) ([]byte, error) {
	for from := first; ; {
		if i := bytes.Index(w.rest()[from:], []byte(text)); i >= 0 {
			return w.take(from + i + len(text))
		}
		from = max(first, len(w.rest())-len(text)+1)
		if ok, err := w.more(); err != nil {
			return nil, err
		} else if !ok {
			return nil, errCut
		}
	}
}

// scan feeds the bytes that follow to a state until it is done with one, and
// returns them all; errCut if that does not come.
func (w *window) scan(step func(c byte) (done bool, err error)) ([]byte, error) {
	for from := 0; ; {
		for i, c := range w.rest()[from:] {
			if done, err := step(c); err != nil {
				return nil, err
			} else if done {
				return w.take(from + i + 1)
			}
		}
		from = len(w.rest())
		if ok, err := w.more(); err != nil {
			return nil, err
		} else if !ok {
			return nil, errCut
		}
	}
}

// interner keeps one copy of names, which come again and again.
type interner map[string]string

func (n interner) name(b []byte) string {
	const most, longest = 4096, 128
	if s, ok := n[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(n) < most && len(s) <= longest {
		n[s] = s
	}
	return s
}

// arena makes many short strings of few allocations.
type arena struct{ chunk strings.Builder }

func (a *arena) string(b []byte) string {
	const chunk, longest = 4096, 512
	if len(b) == 0 || len(b) > longest {
		return string(b)
	}
	if a.chunk.Cap()-a.chunk.Len() < len(b) {
		a.chunk = strings.Builder{}
		a.chunk.Grow(chunk)
	}
	n := a.chunk.Len()
	a.chunk.Write(b)
	return a.chunk.String()[n:]
}
