package hub

import (
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// gate is a file system that stops for good at the first write that fails:
// whoever holds the folder next finds what was there at that moment, whatever
// this process still tries.
//
// Pebble answers an error of its log with a panic that leaves locks in a state
// nobody can recover from, and that ends the process. So once the gate is
// armed, such a write does not return: its goroutine waits for ever, and
// [store.commit] leaves those behind that wait for it.
type gate struct {
	vfs.FS
	*latch
}

// latch keeps the first failure.
type latch struct {
	armed  atomic.Bool
	once   sync.Once
	failed chan struct{} // closed once err is set
	err    error
}

func newLatch() *latch { return &latch{failed: make(chan struct{})} }

// trip sets the failure unless there is one, and reports whether it did.
func (l *latch) trip(err error) (first bool) {
	l.once.Do(func() {
		l.err, first = err, true
		close(l.failed)
	})
	return first
}

// failure returns the first failure, or nil.
func (l *latch) failure() error {
	select {
	case <-l.failed:
		return l.err
	default:
		return nil
	}
}

// try runs a write unless one has failed before. An error of the log is
// never seen by an armed gate's caller.
func (l *latch) try(log bool, write func() error) error {
	err := l.failure()
	if err == nil {
		if err = write(); err == nil {
			return nil
		}
		l.trip(err)
	}
	if log && l.armed.Load() {
		select {}
	}
	return err
}

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

func (g gate) file(name string, open func() (vfs.File, error)) (file vfs.File, err error) {
	err = g.try(isLog(name), func() error {
		file, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return gateFile{file, g.latch, isLog(name)}, nil
}

func (g gate) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.file(name, func() (vfs.File, error) { return g.FS.Create(name, category) })
}

func (g gate) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return g.file(name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, category, opts...) })
}

func (g gate) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.file(newname, func() (vfs.File, error) { return g.FS.ReuseForWrite(oldname, newname, category) })
}

// Lock locks nothing: the hub's own lock covers the folder, and is released
// also when the store behind the gate has failed and cannot be closed.
func (gate) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// OpenDir returns a directory whose Sync counts as a write, of the log as
// well: a new log's name has to be synced.
func (g gate) OpenDir(name string) (vfs.File, error) {
	file, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return gateFile{file, g.latch, true}, nil
}

func (g gate) Link(oldname, newname string) error {
	return g.try(false, func() error { return g.FS.Link(oldname, newname) })
}

func (g gate) Rename(oldname, newname string) error {
	return g.try(isLog(newname), func() error { return g.FS.Rename(oldname, newname) })
}

// Remove is refused after a failure, but its own failure is harmless: the
// file is removed some other time.
func (g gate) Remove(name string) error {
	if err := g.failure(); err != nil {
		return err
	}
	return g.FS.Remove(name)
}

// RemoveAll is as Remove.
func (g gate) RemoveAll(name string) error {
	if err := g.failure(); err != nil {
		return err
	}
	return g.FS.RemoveAll(name)
}

// Unwrap returns the file system behind the gate.
func (g gate) Unwrap() vfs.FS { return g.FS }

type gateFile struct {
	vfs.File
	*latch
	log bool
}

func (f gateFile) Write(p []byte) (n int, err error) {
	err = f.try(f.log, func() error {
		n, err = f.File.Write(p)
		return err
	})
	return n, err
}

func (f gateFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.try(f.log, func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

func (f gateFile) Sync() error     { return f.try(f.log, f.File.Sync) }
func (f gateFile) SyncData() error { return f.try(f.log, f.File.SyncData) }

func (f gateFile) SyncTo(length int64) (full bool, err error) {
	err = f.try(f.log, func() error {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}
