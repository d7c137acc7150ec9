package stamp

import (
	"io/fs"
	"syscall"
)

// changedAt returns when the kernel last saw the file change, which no program
// can set, and the number of the file within its file system.
func changedAt(info fs.FileInfo) (nanos int64, inode uint64) {
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		return sys.Ctim.Nano(), sys.Ino
	}
	return info.ModTime().UnixNano(), 0
}
