package files

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/stamp"
)

// errChanged rejects a file that was written to while it was read: what was
// read may be neither the old content nor the new.
var errChanged = errors.New("the file changed while it was read; the next run reads it again")

// content reads one file and vouches at its end that it is still the file that
// was listed.
type content struct {
	file *os.File
	key  string
	want stamp.Stamp
	read int64
}

// openContent opens the file of key below the tree's root.
func (t *tree) openContent(key string, want stamp.Stamp) (io.ReadCloser, error) {
	if err := t.check("open", key); err != nil {
		return nil, gapless.Reject(key, fmt.Errorf("open: %w", err))
	}
	top, err := t.open()
	if err != nil {
		return nil, err
	}
	defer top.Close()
	// Without O_NONBLOCK a pipe that took the file's place would block.
	f, err := top.OpenFile(key, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, gapless.Reject(key, fmt.Errorf("open: %w", err))
	}
	c := &content{file: f, key: key, want: want}
	if err := c.verify(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return c, nil
}

// Read returns the file's bytes, and an error instead of io.EOF if the file is
// no longer the one that was listed.
func (c *content) Read(p []byte) (int, error) {
	n, err := c.file.Read(p)
	c.read += int64(n)
	switch {
	case c.read > c.want.Size, errors.Is(err, io.EOF) && c.read != c.want.Size:
		return n, gapless.Reject(c.key, errChanged)
	case errors.Is(err, io.EOF):
		if err := c.verify(); err != nil {
			return n, err
		}
		return n, io.EOF
	case err != nil:
		return n, gapless.Reject(c.key, fmt.Errorf("read: %w", err))
	}
	return n, nil
}

// Close closes the file.
func (c *content) Close() error { return c.file.Close() }

func (c *content) verify() error {
	info, err := c.file.Stat()
	if err != nil {
		return gapless.Reject(c.key, fmt.Errorf("stat: %w", err))
	}
	now := stamp.Of(info)
	if !info.Mode().IsRegular() || now.Size != c.want.Size || now.Modified != c.want.Modified || now.Inode != c.want.Inode {
		return gapless.Reject(c.key, errChanged)
	}
	return nil
}

// hasher computes hashes of file contents and reuses its memory.
type hasher struct {
	tree   *tree
	buffer []byte
}

// append appends the hash of a file's content.
func (h *hasher) append(ctx context.Context, dst []byte, key string, want stamp.Stamp) ([]byte, error) {
	r, err := h.tree.openContent(key, want)
	if err != nil {
		return dst, err
	}
	defer r.Close()
	if h.buffer == nil {
		h.buffer = make([]byte, 64<<10)
	}
	digest := xxh3.New128()
	for {
		n, err := r.Read(h.buffer)
		_, _ = digest.Write(h.buffer[:n]) // a hash never fails
		if errors.Is(err, io.EOF) {
			sum := digest.Sum128().Bytes()
			return hex.AppendEncode(dst, sum[:]), nil
		}
		if err != nil {
			return dst, err
		}
		if ctx.Err() != nil {
			return dst, context.Cause(ctx)
		}
	}
}
