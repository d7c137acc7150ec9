package server

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/gapless-sync/gapless/transfer"
)

// errChanged says that a file is not what it was when it was verified.
var errChanged = errors.New("the file has changed since it was verified")

// reader reads an archive from any offset on. Every file is hashed while it is
// read, and the last piece of it, which is some bytes at least, is given out
// only if the hash is right: an archive that breaks off because of a file
// always breaks off inside that file.
type reader struct {
	ctx     context.Context //nolint:containedctx // a reader lives for one request and has no other way to be cancelled
	files   Files
	archive *archive

	offset int64
	header bytes.Buffer
	zeros  [trailer]byte // what padding and trailer are made of
	// pending is what comes first: a header, padding or the trailer.
	pending []byte
	next    int // entry behind what is being read
	content *piece
	err     error // stays
}

var _ io.ReadSeeker = (*reader)(nil)

func newReader(ctx context.Context, files Files, a *archive) *reader {
	return &reader{ctx: ctx, files: files, archive: a}
}

// Seek moves to an offset; nothing is read.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.archive.size()
	}
	if offset < 0 || offset > r.archive.size() {
		return 0, fmt.Errorf("seek to %d in an archive of %d bytes", offset, r.archive.size())
	}
	r.close()
	r.offset, r.pending, r.next = offset, nil, -1
	if errors.Is(r.err, io.EOF) {
		r.err = nil
	}
	return offset, nil
}

// Read fills p as far as the archive goes.
func (r *reader) Read(p []byte) (n int, err error) {
	if r.next < 0 && r.err == nil {
		r.err = r.begin()
	}
	for n < len(p) && r.err == nil {
		switch {
		case len(r.pending) > 0:
			k := copy(p[n:], r.pending)
			r.pending = r.pending[k:]
			n += k
		case r.content != nil:
			var k int
			k, r.err = r.content.read(p[n:])
			n += k
			if r.err == nil && r.content.left == 0 {
				r.endContent()
			}
		default:
			r.err = r.advance()
		}
	}
	r.offset += int64(n)
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, r.err
}

// begin finds what is at the offset.
func (r *reader) begin() error {
	i := r.archive.find(r.offset)
	r.next = i
	if err := r.advance(); err != nil {
		return err
	}
	within := r.offset - r.archive.starts[i]
	skipped := min(within, int64(len(r.pending)))
	r.pending = r.pending[skipped:]
	within -= skipped
	if within == 0 {
		return nil
	}
	if r.content == nil {
		return io.EOF // behind the trailer
	}
	left := r.content.left
	if err := r.content.skip(min(within, left)); err != nil || within < left {
		return err
	}
	r.endContent()
	r.pending = r.pending[within-left:]
	return nil
}

// advance makes the header of the next entry, or the trailer, pending.
func (r *reader) advance() error {
	switch i := r.next; {
	case i > len(r.archive.entries):
		return io.EOF
	case i == len(r.archive.entries):
		r.pending = r.zeros[:]
	default:
		if err := r.archive.header(&r.header, i); err != nil {
			return err
		}
		r.pending = r.header.Bytes()
		r.content = &piece{ctx: r.ctx, files: r.files, entry: &r.archive.entries[i], left: r.archive.entries[i].Size}
	}
	r.next++
	return nil
}

// endContent ends the file being read and makes its padding pending.
func (r *reader) endContent() {
	size := r.content.entry.Size
	r.pending = r.zeros[:padded(size)-size]
	r.close()
}

// failure returns why reading ended before its time, nil if it did not.
func (r *reader) failure() error {
	if errors.Is(r.err, io.EOF) {
		return nil
	}
	return r.err
}

// close releases the file being read.
func (r *reader) close() {
	if r.content != nil && r.content.body != nil {
		_ = r.content.body.Close() // what was only read loses nothing
	}
	r.content = nil
}

// piece is one file, or what is left of it, being read. It is opened by the
// first read.
type piece struct {
	ctx   context.Context //nolint:containedctx // as in reader
	files Files
	entry *entry

	body    io.ReadCloser
	version string
	hash    hash.Hash // nil if the start was passed over
	left    int64
}

func (c *piece) open() error {
	content, err := c.files.Open(c.ctx, c.entry.wanted())
	if err != nil {
		return c.wrap(err)
	}
	c.body, c.version = content.Body, content.Version
	if content.Size != c.entry.Size {
		return c.wrap(fmt.Errorf("%w: its size is %d, not %d", errChanged, content.Size, c.entry.Size))
	}
	c.hash = transfer.NewHash(c.entry.Algorithm)
	return nil
}

// read reads some bytes. The last are given out only if all were right.
func (c *piece) read(p []byte) (int, error) {
	if c.body == nil {
		if err := c.open(); err != nil {
			return 0, err
		}
	}
	p = p[:min(int64(len(p)), c.left)]
	n, err := io.ReadFull(c.body, p)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return 0, c.wrap(fmt.Errorf("%w: it has become shorter", errChanged))
	case err != nil:
		return 0, c.wrap(err)
	}
	if c.hash != nil {
		_, _ = c.hash.Write(p) // a hash never fails
	}
	c.left -= int64(n)
	if c.left > 0 {
		return n, nil
	}
	if err := c.check(); err != nil {
		return 0, err
	}
	return n, nil
}

// check returns whether what was read is what was verified.
func (c *piece) check() error {
	if c.hash == nil {
		return c.sameVersion()
	}
	if sum := hex.EncodeToString(c.hash.Sum(nil)); sum != c.entry.Hash {
		return c.wrap(fmt.Errorf("%w: its %s is %s, not %s", errChanged, c.entry.Algorithm, sum, c.entry.Hash))
	}
	return nil
}

// sameVersion looks whether the file has the version that was verified.
func (c *piece) sameVersion() error {
	content, err := c.files.Open(c.ctx, c.entry.wanted())
	if err != nil {
		return c.wrap(err)
	}
	defer content.Body.Close()
	if content.Version != c.entry.Version {
		return c.wrap(errChanged)
	}
	return nil
}

// skip passes over the first n bytes: without reading them if the version says
// that they are what was verified, else by hashing them.
func (c *piece) skip(n int64) error {
	if n == c.left {
		c.left = 0
		return nil // nothing of the content is wanted
	}
	if err := c.open(); err != nil {
		return err
	}
	if seeker, ok := c.body.(io.Seeker); ok && c.version != "" && c.version == c.entry.Version {
		if _, err := seeker.Seek(n, io.SeekStart); err != nil {
			return c.wrap(err)
		}
		c.hash = nil
		c.left -= n
		return nil
	}
	buffer := make([]byte, min(n, copyBytes))
	for n > 0 {
		k, err := c.read(buffer[:min(n, copyBytes)])
		if err != nil {
			return err
		}
		n -= int64(k)
	}
	return nil
}

func (c *piece) wrap(err error) error { return fmt.Errorf("%v: %w", c.entry, err) }
