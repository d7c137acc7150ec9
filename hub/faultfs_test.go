package hub

import (
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func isWrite(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpLink, errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpFileWrite, errorfs.OpFileWriteAt,
		errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return true
	}
	return false
}

// fullDisk refuses the write of number at, and with forGood all later ones.
type fullDisk struct {
	at      atomic.Int64
	forGood bool
	only    atomic.Pointer[string] // if set, just files that end so
	count   atomic.Int64
}

func (d *fullDisk) String() string { return "full disk" }

func (d *fullDisk) MaybeError(op errorfs.Op) error {
	if only := d.only.Load(); !isWrite(op) || only != nil && !strings.HasSuffix(op.Path, *only) {
		return nil
	}
	n := d.count.Add(1) - 1
	if n == d.at.Load() || d.forGood && n > d.at.Load() {
		return syscall.ENOSPC
	}
	return nil
}
