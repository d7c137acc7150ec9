package transfer

import (
	"errors"
	"fmt"
	"io"

	"github.com/gapless-sync/gapless"
)

// tarBlock is what everything in an archive is a multiple of.
const tarBlock = 512

// counted is the stream of an archive. It knows how much of it was read and
// whether all of that was zero for a while.
type counted struct {
	r     io.Reader
	total int64
	// zeros is how many of the last bytes were zero, up to two blocks.
	zeros int
	// err is the error of the stream, not of the archive in it.
	err error
}

// Read counts.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.total += int64(n)
	trailing := 0
	for trailing < n && trailing < 2*tarBlock && p[n-1-trailing] == 0 {
		trailing++
	}
	if trailing == n {
		trailing = min(c.zeros+n, 2*tarBlock)
	}
	c.zeros = trailing
	if err != nil {
		c.err = err
	}
	return n, err
}

// checkEnd reports whether, of what came since begin, all after the padding is
// the two zero blocks.
func (c *counted) checkEnd(begin int64) error {
	padding := -begin & (tarBlock - 1)
	if c.total == begin+padding+2*tarBlock && c.zeros == 2*tarBlock {
		return nil
	}
	return c.failure("read the archive", io.ErrUnexpectedEOF)
}

// failure classifies an error of reading: that of the stream, or what was in it
// is no archive.
func (c *counted) failure(doing string, err error) error {
	err = fmt.Errorf("%s after %d bytes: %w", doing, c.total, err)
	if c.err != nil && !errors.Is(c.err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return gapless.Recoverable(err)
	}
	return gapless.Because(gapless.CauseUnreadable, err)
}
