package tabular

import (
	"context"
	"crypto/rand"
	"io/fs"
	"strconv"
	"time"
)

// stamp is what the file system says about one file or folder without reading
// it. Two equal stamps of the same path mean the same content, unless the
// stamp is fresh.
type stamp struct {
	size     int64
	modified int64 // Unix nanoseconds, as programs may set it
	changed  int64 // Unix nanoseconds, as the kernel set it
	inode    uint64
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime().UnixNano()}
	s.changed, s.inode = changedAt(info)
	return s
}

// append writes the stamp in a form that differs whenever the stamp does.
func (s stamp) append(dst []byte) []byte {
	dst = strconv.AppendInt(dst, s.size, 36)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, s.modified, 36)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, s.changed, 36)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, s.inode, 36)
}

// Clocks of file systems advance in steps: by the kernel's tick, or by whole
// seconds on some network and removable file systems (two on FAT).
const (
	fineStep   = 20 * time.Millisecond
	coarseStep = 2 * time.Second
)

// step returns how coarse the clock is that made the stamp.
func (s stamp) step() time.Duration {
	if s.changed%int64(time.Second) == 0 {
		return coarseStep
	}
	return fineStep
}

// fresh reports whether the file could change after the moment seen without
// its stamp changing, because both fall into one step of the clock.
func (s stamp) fresh(seen time.Time) bool {
	return s.changed > seen.Add(-s.step()).UnixNano()
}

// appendSalt writes something that never occurs again, so that whatever it is
// part of equals nothing that was or will be.
func appendSalt(dst []byte) []byte {
	return append(append(dst, '~'), rand.Text()...)
}

// clock is the time as the source sees it.
type clock struct {
	now  func() time.Time
	wait func(ctx context.Context, d time.Duration) error
}

func systemClock() clock { return clock{now: time.Now, wait: wait} }

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
