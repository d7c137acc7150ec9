package transfer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/gapless-sync/gapless"
)

const (
	// pieceSize is how much of a content is in memory at most.
	pieceSize = 256 << 10
	// leastPiece is what has come before anything is written, except at the end.
	leastPiece = 32 << 10
	// largeFile is the size from which a file is made durable by itself and its
	// validator is kept on disk.
	largeFile = 1 << 20
)

// pending is a file that has not come yet, or not all of it.
type pending struct {
	File
	part string
	// offset is how much of it is in the part, delivered under the validator.
	offset    int64
	validator string
	// hash is of those bytes; nil if they have not been read.
	hash hash.Hash
	// made is whether there is a part, validated whether there may be a
	// validator beside it.
	made, validated bool
	// best is the largest offset there was.
	best int64
	done bool
	// err is what was wrong with the last delivery.
	err error
}

// stopError is an error after which nothing more can be delivered.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

func (e *stopError) Unwrap() error { return e.err }

func stop(err error) error {
	if err == nil {
		return nil
	}
	return &stopError{err}
}

// receive takes a content. A stopError ends the transfer; any other error means
// that the file is wrong or not complete.
func (s *stream) receive(ctx context.Context, p *pending, c Content) error {
	switch {
	case c.Offset != 0 && c.Offset != p.offset:
		return unreadable("delivered from byte %d, while %d were here", c.Offset, p.offset)
	case p.Size >= 0 && c.Size >= 0 && c.Size != p.Size:
		return unreadable("there are %d bytes where %d were promised", c.Size, p.Size)
	}
	if p.Modified.IsZero() {
		p.Modified = c.Modified
	}
	file, err := s.open(ctx, p, c)
	if err != nil {
		return err
	}
	size := max(p.Size, c.Size)
	err = s.copy(ctx, p, c.Body, size, file)
	if err == nil {
		err = p.check(size)
	}
	if err == nil {
		return s.finish(ctx, p, file)
	}
	if closed := file.Close(); closed != nil {
		return stop(s.folder.problem("write a file", closed))
	}
	if wrong, ok := errors.AsType[*wrongError](err); ok {
		return errors.Join(wrong.err, s.forget(p))
	}
	return err
}

// wrongError says that what came of a file is of no use.
type wrongError struct{ err error }

func (e *wrongError) Error() string { return e.err.Error() }

func unreadable(format string, args ...any) error {
	return gapless.Because(gapless.CauseUnreadable, fmt.Errorf(format, args...))
}

// forget drops what is here of a file.
func (s *stream) forget(p *pending) error {
	p.offset, p.validator, p.hash, p.made, p.validated = 0, "", nil, false, false
	return stop(s.folder.dropPart(p.part))
}

// open opens the part that a content goes into, with the hash of what is in it.
func (s *stream) open(ctx context.Context, p *pending, c Content) (*os.File, error) {
	if c.Offset == 0 && p.made {
		if err := s.forget(p); err != nil {
			return nil, err
		}
	}
	if c.Offset == 0 {
		p.offset, p.hash = 0, NewHash(p.Algorithm)
	}
	if p.Algorithm != "" && p.hash == nil {
		h := NewHash(p.Algorithm)
		if n, err := sum(ctx, s.folder.parts, p.part, p.offset, h, s.buf); err != nil || n != p.offset {
			return nil, stop(s.folder.problem("read an unfinished file", errors.Join(err, context.Cause(ctx))))
		}
		p.hash = h
	}
	file, err := s.folder.openPart(p.part, p.offset)
	if err != nil {
		return nil, stop(err)
	}
	p.made = true
	if c.Offset == 0 || c.Validator != "" {
		p.validator = c.Validator
	}
	if p.keepsValidator(c.Size) && c.Offset == 0 {
		p.validated = true
		if err := s.folder.parts.WriteFile(p.part+validatorSuffix, []byte(p.validator), 0o600); err != nil {
			return nil, stop(s.folder.problem("remember where a file comes from", errors.Join(err, file.Close())))
		}
	}
	return file, nil
}

func (p *pending) keepsValidator(size int64) bool {
	return p.validator != "" && len(p.validator) <= maxValidator && (size < 0 || size >= largeFile)
}

// copy writes what comes until the end, or until it is more than size.
func (s *stream) copy(ctx context.Context, p *pending, body io.Reader, size int64, file *os.File) error {
	behind := &writeback{file: file}
	err := s.copyAll(ctx, p, body, size, behind)
	if failed := behind.wait(); failed != nil {
		return stop(s.folder.problem("write a file", failed))
	}
	return err
}

func (s *stream) copyAll(ctx context.Context, p *pending, body io.Reader, size int64, behind *writeback) error {
	body = guarded{body, guardOf(ctx)}
	out := s.job.through(behind.file)
	for {
		n, readErr := fill(body, s.buf)
		if size >= 0 && p.offset+int64(n) > size {
			return &wrongError{unreadable("more than the %d bytes that were promised", size)}
		}
		if n > 0 {
			if p.hash != nil {
				_, _ = p.hash.Write(s.buf[:n]) // a hash takes everything
			}
			_, err := out.Write(s.buf[:n])
			if err == nil {
				p.offset += int64(n)
				err = behind.grown(p.offset)
			}
			if err != nil {
				return stop(s.folder.problem("write a file", err))
			}
			s.tally.tell(Event{Kind: EventReceived, Path: p.Path, Bytes: int64(n)})
			if err := s.throttle.pass(ctx, n); err != nil {
				return stop(err)
			}
		}
		if errors.Is(readErr, io.EOF) && !errors.Is(readErr, io.ErrUnexpectedEOF) {
			return nil
		}
		if err := context.Cause(ctx); err != nil {
			return stop(err)
		}
		if readErr != nil {
			return gapless.Recoverable(fmt.Errorf("cut after %d bytes: %w", p.offset, readErr))
		}
	}
}

// fill reads until there is something worth writing, or an error.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for empty := 0; n < leastPiece && err == nil; {
		var more int
		more, err = r.Read(buf[n:])
		n += more
		if more > 0 {
			empty = 0
		} else if empty++; empty > 100 {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

// check returns why what is here is not the file.
func (p *pending) check(size int64) error {
	if size >= 0 && p.offset < size {
		return gapless.Recoverable(fmt.Errorf("ended after %d of %d bytes", p.offset, size))
	}
	if p.hash == nil {
		return nil
	}
	if is := hex.EncodeToString(p.hash.Sum(nil)); is != p.Hash {
		return &wrongError{unreadable("its %s is %s where %s was promised", p.Algorithm, is, p.Hash)}
	}
	return nil
}

// finish hands a file over to be committed.
func (s *stream) finish(ctx context.Context, p *pending, file *os.File) error {
	err := stampFile(s.folder.parts, p.part, p.Modified)
	info, statErr := file.Stat()
	if err == nil {
		err = statErr
	}
	large := p.offset >= largeFile
	if err == nil && large {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return stop(s.folder.problem("finish a file", err))
	}
	f := finished{File: p.File, part: p.part, modified: info.ModTime(), durable: large, validated: p.validated}
	f.Size = p.offset
	return s.hand(ctx, p, f)
}

// hand gives a file whose content is right to the committer.
func (s *stream) hand(ctx context.Context, p *pending, f finished) error {
	select {
	case s.done <- f:
		p.done = true
		return nil
	case <-ctx.Done():
		return stop(context.Cause(ctx))
	}
}
