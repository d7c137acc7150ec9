package stamp

import (
	"context"
	"crypto/rand"
	"io/fs"
	"strconv"
	"time"
)

// Stamp is what the file system says about one file or folder without reading
// it. Two equal stamps of the same path mean the same content, unless the
// stamp is fresh.
type Stamp struct {
	// Size in bytes.
	Size int64
	// Modified is in Unix nanoseconds, as programs may set it.
	Modified int64
	// Changed is in Unix nanoseconds, as the kernel set it.
	Changed int64
	// Inode is the file's number within its file system; 0 if not known.
	Inode uint64
}

// Of returns the stamp in what a stat call returned.
func Of(info fs.FileInfo) Stamp {
	s := Stamp{Size: info.Size(), Modified: info.ModTime().UnixNano()}
	s.Changed, s.Inode = changedAt(info)
	return s
}

// Append writes the stamp in a form that differs whenever the stamp does.
func (s Stamp) Append(dst []byte) []byte {
	dst = strconv.AppendInt(dst, s.Size, 36)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, s.Modified, 36)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, s.Changed, 36)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, s.Inode, 36)
}

// Clocks of file systems advance in steps: by the kernel's tick, or by whole
// seconds on some network and removable file systems (two on FAT).
const (
	FineStep   = 20 * time.Millisecond
	CoarseStep = 2 * time.Second
)

// Step returns how coarse the clock is that made the stamp.
func (s Stamp) Step() time.Duration {
	if s.Changed%int64(time.Second) == 0 {
		return CoarseStep
	}
	return FineStep
}

// Fresh reports whether the file could change after the moment seen without
// its stamp changing, because both fall into one step of the clock.
func (s Stamp) Fresh(seen time.Time) bool {
	return s.Changed > seen.Add(-s.Step()).UnixNano()
}

// AppendSalt writes something that never occurs again, so that whatever it is
// part of equals nothing that was or will be.
func AppendSalt(dst []byte) []byte {
	return append(append(dst, '~'), rand.Text()...)
}

// Clock is the time as a source sees it.
type Clock struct {
	Now func() time.Time
	// Wait returns after d, or earlier with the cause of the context's end.
	Wait func(ctx context.Context, d time.Duration) error
}

// SystemClock is the clock of this machine.
func SystemClock() Clock { return Clock{Now: time.Now, Wait: wait} }

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
