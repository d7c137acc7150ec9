//go:build linux || darwin

package transfer

import (
	"errors"
	"os"
	"syscall"
)

// lock keeps other processes and runs out of a folder until unlock, or the end
// of this process.
func lock(root *os.Root) (unlock func(), err error) {
	f, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return func() {}, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		return func() {}, errors.Join(err, f.Close())
	}
	return func() {
		// A process that is being started may share the file for a moment, so
		// that closing it is not enough. Nothing was written to it.
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		_ = f.Close()
	}, nil
}

// freeBytes returns how much can be written below a folder, and whether that is
// known.
func freeBytes(dir string) (int64, bool) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return 0, false
	}
	return int64(stat.Bavail) * int64(stat.Bsize), true //nolint:unconvert // it is an int32 on darwin
}

// syncFlag opens a file to make it durable.
const syncFlag = os.O_RDONLY

// syncFolder makes the entries of a folder durable.
func syncFolder(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
