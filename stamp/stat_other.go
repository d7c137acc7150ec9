//go:build !linux

package stamp

import "io/fs"

// changedAt falls back to the time of modification where the kernel's time of
// change is not portable to read.
func changedAt(info fs.FileInfo) (nanos int64, inode uint64) {
	return info.ModTime().UnixNano(), 0
}
