package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/transfer"
)

const (
	// cartsAtATime is how many carts are verified at a time; others wait.
	cartsAtATime = 4
	// attempts is how often a file is asked for that cannot be read at the
	// moment; the wait between them doubles from firstWait on.
	attempts  = 5
	firstWait = 200 * time.Millisecond
	// copyBytes is how much is read of a file at a time.
	copyBytes = 256 << 10
)

// begin verifies a cart in the background.
func (s *Server) begin(c *cart) {
	s.carts.mu.Lock()
	defer s.carts.mu.Unlock()
	if s.running.Err() != nil || s.carts.all[c.key] != c {
		return // nobody waits for it any more
	}
	ctx, stop := context.WithCancel(s.running)
	c.stop = stop
	s.staging.Go(func() {
		defer stop()
		select {
		case s.places <- struct{}{}:
			defer func() { <-s.places }()
		case <-ctx.Done():
			return
		}
		if err := s.stage(ctx, c); err != nil && ctx.Err() == nil {
			s.opts.Logger.Warn("a cart could not be verified", "cart", c.key.uid, "error", err)
		}
	})
}

// stage verifies all files of a cart, and settles it.
func (s *Server) stage(ctx context.Context, c *cart) error {
	l, entries, err := s.carts.shelf.read(c.key.file())
	if ctx.Err() != nil || err == nil && l.Serial != c.serial {
		return nil
	}
	if err != nil {
		return errors.Join(err, s.carts.settle(c, nil, internal))
	}
	err = s.verifyAll(ctx, c, entries)
	if ctx.Err() != nil {
		return nil // it is verified anew when the server starts again
	}
	var failure string
	if err != nil {
		failure = reason(err)
	}
	return errors.Join(hidden(err), s.carts.settle(c, entries, failure))
}

// internal is the message of what is the server's own fault.
const internal = "the server cannot work at the moment; its log says why"

// mismatch is what is wrong with a file in a way that the client may know.
type mismatch struct{ text string }

func (m *mismatch) Error() string { return m.text }

// reason returns the message for a client.
func reason(err error) string {
	if m, ok := errors.AsType[*mismatch](err); ok {
		return m.Error()
	}
	return internal
}

// hidden returns what clients are not told, nil if they are told all.
func hidden(err error) error {
	if _, ok := errors.AsType[*mismatch](err); ok {
		return nil
	}
	return err
}

// verifyAll verifies entries, several at a time, and fills in what was found.
// It returns the first error.
func (s *Server) verifyAll(ctx context.Context, c *cart, entries []entry) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(len(entries), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			buffer := make([]byte, copyBytes)
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(entries) {
					return
				}
				if err := s.verify(ctx, &entries[i], buffer); err != nil {
					cancel(err)
					return
				}
				c.staged.Add(1)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// verify reads a file until it is known to be right or wrong.
func (s *Server) verify(ctx context.Context, e *entry, buffer []byte) error {
	wait := firstWait
	for attempt := 1; ; attempt++ {
		err := s.verifyOnce(ctx, e, buffer)
		if err == nil || attempt == attempts || gapless.KindOf(err) != gapless.KindRecoverable {
			return err
		}
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
		wait *= 2
	}
}

func (s *Server) verifyOnce(ctx context.Context, e *entry, buffer []byte) error {
	content, err := s.opts.Files.Open(ctx, e.wanted())
	switch {
	case errors.Is(err, gapless.ErrNotFound):
		return &mismatch{fmt.Sprintf("%v: there is no such file", e)}
	case err != nil:
		return fmt.Errorf("open %v: %w", e, err)
	}
	defer content.Body.Close()
	h := transfer.NewHash(e.Algorithm)
	var size int64
	for {
		n, err := content.Body.Read(buffer)
		_, _ = h.Write(buffer[:n]) // a hash never fails
		size += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %v: %w", e, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != e.Hash {
		return &mismatch{fmt.Sprintf("%v: File hash does not match provided hash: its %s is %s, not %s", e, e.Algorithm, sum, e.Hash)}
	}
	e.Size, e.Modified, e.Version = size, max(0, content.Modified.Unix()), content.Version
	return nil
}
