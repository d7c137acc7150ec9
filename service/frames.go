package service

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// protocol is the number of the exchange between a command and the daemon. A
// daemon of another number refuses, so that after an upgrade nobody misreads.
const protocol = 1

// What the daemon sends while it executes a command: frames of a type byte, a
// length in four bytes, big endian, and so many bytes.
const (
	frameOut  = 'o' // bytes for standard output
	frameErr  = 'e' // bytes for standard error
	frameTick = 't' // a JSON document about progress
	frameExit = 'x' // the exit code as JSON; the last frame
)

// What the command sends behind its request, one byte each.
const (
	controlStop   = 's' // end in good order
	controlCancel = 'c' // end at once
)

const (
	maxFrame   = 64 << 10
	maxRequest = 1 << 20
)

var errFrame = errors.New("not a frame of the daemon")

// frameWriter writes frames; its methods may be called concurrently. After an
// error everything is discarded: a command that has gone away must not end a
// run in disorder.
type frameWriter struct {
	mu  sync.Mutex // guards what follows
	w   io.Writer
	err error
	buf []byte
}

func (f *frameWriter) frame(kind byte, payload []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return
	}
	f.buf = append(f.buf[:0], kind)
	f.buf = binary.BigEndian.AppendUint32(f.buf, uint32(len(payload)))
	f.buf = append(f.buf, payload...)
	_, f.err = f.w.Write(f.buf)
}

// stream is an io.Writer for one kind of frame.
type stream struct {
	frames *frameWriter
	kind   byte
}

// Write never fails: see frameWriter.
func (s stream) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxFrame)
		s.frames.frame(s.kind, rest[:n])
		rest = rest[n:]
	}
	return len(p), nil
}

// Sink receives what a command prints. Tick may be nil.
type Sink struct {
	Out, Err io.Writer
	// Tick receives documents about progress; it is called from one goroutine.
	Tick func(json.RawMessage)
}

// readFrames hands frames to sink until the exit code, which it returns.
func readFrames(r io.Reader, sink Sink) (int, error) {
	var head [5]byte
	buf := make([]byte, maxFrame)
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return 0, fmt.Errorf("read from the daemon: %w", err)
		}
		n := binary.BigEndian.Uint32(head[1:])
		if n > maxFrame {
			return 0, fmt.Errorf("%w: %d bytes", errFrame, n)
		}
		payload := buf[:n]
		if _, err := io.ReadFull(r, payload); err != nil {
			return 0, fmt.Errorf("read from the daemon: %w", err)
		}
		switch head[0] {
		case frameOut:
			if _, err := sink.Out.Write(payload); err != nil {
				return 0, err
			}
		case frameErr:
			if _, err := sink.Err.Write(payload); err != nil {
				return 0, err
			}
		case frameTick:
			if sink.Tick != nil {
				sink.Tick(append(json.RawMessage(nil), payload...))
			}
		case frameExit:
			var code int
			if err := json.Unmarshal(payload, &code); err != nil {
				return 0, fmt.Errorf("%w: exit code %q", errFrame, payload)
			}
			return code, nil
		default:
			return 0, fmt.Errorf("%w: type %q", errFrame, head[0])
		}
	}
}
