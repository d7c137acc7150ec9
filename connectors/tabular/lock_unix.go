//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package tabular

import (
	"errors"
	"os"
	"syscall"
)

// lockFile waits until no other process or session holds path, and returns how
// to let go of it. A process that dies lets go.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // nothing was written
}
