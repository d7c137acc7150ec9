package tabular

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gapless-sync/gapless"
)

// Names of the steps that leave a trace on disk.
const (
	stepCreate  = "create"
	stepWrite   = "write"
	stepSync    = "sync"
	stepRename  = "rename"
	stepSyncDir = "sync folder"
	stepRemove  = "remove"
)

// disk does everything that leaves a trace on disk.
type disk struct {
	// fault, if set, is asked before each step and may make it fail; half of
	// a failing write is written.
	fault func(step, path string) error
}

func (d *disk) check(step, path string) error {
	if d.fault == nil {
		return nil
	}
	if err := d.fault(step, path); err != nil {
		return fmt.Errorf("%s %s: %w", step, path, err)
	}
	return nil
}

// create makes a new file, replacing one of that name.
func (d *disk) create(path string) (*diskFile, error) {
	if err := d.check(stepCreate, path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644) //nolint:gosec // an output is as readable as the umask allows
	if err != nil {
		return nil, err
	}
	return &diskFile{disk: d, file: f}, nil
}

func (d *disk) rename(from, to string) error {
	if err := d.check(stepRename, to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// syncDir makes the names in a folder durable.
func (d *disk) syncDir(dir string) error {
	if err := d.check(stepSyncDir, dir); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

func (d *disk) remove(path string) error {
	if err := d.check(stepRemove, path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// replace puts content at path so that there is either the old file or the new
// one, whenever the machine stops.
func (d *disk) replace(path string, content []byte) error {
	f, err := d.create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.rename(path+".new", path); err != nil {
		return err
	}
	return d.syncDir(filepath.Dir(path))
}

// writeBuffer is how much is written at once; larger pieces are not copied.
const writeBuffer = 64 << 10

// diskFile is an open file that is only appended to.
type diskFile struct {
	disk *disk
	file *os.File
	// buffer holds what Append has not written yet.
	buffer []byte
	// size counts everything appended.
	size int64
}

// Write writes p at once.
func (f *diskFile) Write(p []byte) (int, error) {
	if err := f.disk.check(stepWrite, f.file.Name()); err != nil {
		n, _ := f.file.Write(p[:len(p)/2])
		return n, err
	}
	return f.file.Write(p)
}

// Append writes p sooner or later.
func (f *diskFile) Append(p []byte) error {
	f.size += int64(len(p))
	if len(f.buffer)+len(p) > writeBuffer {
		if err := f.flush(); err != nil {
			return err
		}
	}
	if len(p) >= writeBuffer {
		_, err := f.Write(p)
		return err
	}
	f.buffer = append(f.buffer, p...)
	return nil
}

func (f *diskFile) flush() error {
	if len(f.buffer) == 0 {
		return nil
	}
	_, err := f.Write(f.buffer)
	f.buffer = f.buffer[:0]
	return err
}

// Sync makes everything appended durable.
func (f *diskFile) Sync() error {
	if err := f.flush(); err != nil {
		return err
	}
	if err := f.disk.check(stepSync, f.file.Name()); err != nil {
		return err
	}
	return f.file.Sync()
}

// Close closes the file without writing what is left.
func (f *diskFile) Close() error { return f.file.Close() }

// broken classifies an error of the disk. None of them leaves a gap: what the
// destination says it holds was written and synced before.
func broken(path string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*gapless.Failure](err); ok || errors.Is(err, gapless.ErrFenced) || errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return gapless.Errorf(gapless.CodeStoreFull, path, "%w", gapless.Recoverable(err))
	}
	if errors.Is(err, fs.ErrPermission) { // trying again would not help
		return gapless.Because(gapless.CauseForbidden, fmt.Errorf("write %s: %w", path, err))
	}
	return gapless.Recoverable(fmt.Errorf("write %s: %w", path, err))
}

// copyBytes copies exactly n bytes.
func copyBytes(dst io.Writer, src *bufio.Reader, n int64) error {
	for n > 0 {
		chunk, err := src.Peek(int(min(n, int64(src.Size()))))
		if len(chunk) == 0 {
			return fmt.Errorf("%d bytes are missing: %w", n, errors.Join(io.ErrUnexpectedEOF, err))
		}
		if _, err := dst.Write(chunk); err != nil {
			return err
		}
		if _, err := src.Discard(len(chunk)); err != nil {
			return err
		}
		n -= int64(len(chunk))
	}
	return nil
}
