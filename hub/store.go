package hub

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gapless-sync/gapless"
)

const (
	formatFile    = "FORMAT"
	formatVersion = 2
	formatText    = "gapless hub %d\n"
	newSuffix     = ".new"
	lockFile      = "LOCK"
	recordsDir    = "records"

	defaultCacheBytes = 16 << 20
	memTableBytes     = 16 << 20
	// failedPause keeps a failed store's background work from spinning.
	failedPause = 50 * time.Millisecond
)

// store is Pebble behind a gate: it either works or has failed for good.
type store struct {
	*latch
	db        *pebble.DB
	dir       string
	log       *slog.Logger
	lock      io.Closer
	abandoned atomic.Bool
}

func openStore(o *Options) (*store, error) {
	s := &store{latch: newLatch(), dir: o.Dir, log: o.Logger}
	fs := vfs.FS(gate{o.fs, s.latch})
	dir := fs.PathJoin(o.Dir, recordsDir)
	if err := makeFolder(fs, dir); err != nil {
		return nil, s.classify(fmt.Errorf("create the store's folder: %w", err))
	}
	lock, err := o.fs.Lock(fs.PathJoin(o.Dir, lockFile))
	if err != nil {
		return nil, s.lockError(err)
	}
	s.lock = lock
	if err := checkFormat(fs, o.Dir); err != nil {
		return nil, errors.Join(s.classify(err), lock.Close())
	}
	if err := s.openPebble(o, fs, dir); err != nil {
		err = fmt.Errorf("open the record store: %w", err)
		if _, ok := errors.AsType[syscall.Errno](err); !ok { // nothing is wrong but what is in the files
			err = gapless.Errorf(gapless.CodeStoreDamaged, o.Dir, "%w", err)
		}
		return nil, errors.Join(s.classify(err), lock.Close())
	}
	return s, nil
}

func (s *store) lockError(err error) error {
	if _, ok := errors.AsType[*os.PathError](err); ok {
		return s.classify(fmt.Errorf("lock the store: %w", err))
	}
	return gapless.Recoverable(gapless.Errorf(gapless.CodeStoreLocked, s.dir, "the hub is open elsewhere: %w", err))
}

func (s *store) openPebble(o *Options, fs vfs.FS, dir string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = asError(r)
		}
	}()
	cache := pebble.NewCache(o.CacheBytes)
	defer cache.Unref()
	db, err := pebble.Open(dir, &pebble.Options{
		FS:                          fs,
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       20,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                256,
		Logger:                      pebbleLog{s},
		EventListener: &pebble.EventListener{
			BackgroundError: s.backgroundError,
			DataCorruption: func(c pebble.DataCorruptionInfo) {
				s.fail(fmt.Errorf("%w: %s: %w", pebble.ErrCorruption, c.Path, c.Details))
			},
		},
	})
	if err != nil {
		return err
	}
	s.db = db
	s.armed.Store(true)
	if err := s.failure(); err != nil {
		s.abandoned.Store(true)
		return err
	}
	return nil
}

// makeFolder creates a folder and those above it that are missing, and syncs
// the names of all that may be new.
func makeFolder(fs vfs.FS, dir string) error {
	above := []string{fs.PathDir(dir)}
	for {
		next := above[len(above)-1]
		_, err := fs.Stat(next)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err == nil && len(above) > 1 || fs.PathDir(next) == next {
			break
		}
		above = append(above, fs.PathDir(next))
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range above {
		if err := syncFolder(fs, name); err != nil {
			return err
		}
	}
	return nil
}

func syncFolder(fs vfs.FS, name string) error {
	folder, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// checkFormat refuses a folder that a newer version wrote, and begins a new
// one: a file FORMAT.new says from then until finishFormat that nothing worth
// keeping can be in it.
func checkFormat(fs vfs.FS, dir string) error {
	version, err := readFormat(fs, dir)
	if errors.Is(err, os.ErrNotExist) {
		return beginFormat(fs, dir)
	}
	if err == nil && version > formatVersion {
		return gapless.Errorf(gapless.CodeStoreVersion, dir, "the hub has format %d, this program knows up to %d", version, formatVersion)
	}
	return err
}

func readFormat(fs vfs.FS, dir string) (version int, err error) {
	file, err := fs.Open(fs.PathJoin(dir, formatFile))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	text := make([]byte, 64)
	n, _ := file.ReadAt(text, 0) // what was read is judged below
	if _, err := fmt.Sscanf(string(text[:n]), formatText, &version); err != nil || version < 1 {
		return 0, gapless.Errorf(gapless.CodeStoreDamaged, dir, "its file %s does not name a format", formatFile)
	}
	return version, nil
}

func beginFormat(fs vfs.FS, dir string) error {
	records := fs.PathJoin(dir, recordsDir)
	entries, err := fs.List(records)
	if err != nil {
		return err
	}
	_, err = fs.Stat(fs.PathJoin(dir, formatFile+newSuffix))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	unfinished := err == nil
	for _, name := range entries {
		if !unfinished {
			return gapless.Errorf(gapless.CodeStoreDamaged, dir, "its file %s is missing", formatFile)
		}
		if err := fs.RemoveAll(fs.PathJoin(records, name)); err != nil {
			return err
		}
	}
	name := fs.PathJoin(dir, formatFile+newSuffix)
	if err := writeFile(fs, name, fmt.Sprintf(formatText, formatVersion)); err != nil {
		return err
	}
	return syncFolder(fs, dir)
}

// finishFormat gives a folder this program's format: a new one, now that the
// store in it is durable, and one of an earlier format, all of which this
// program reads, before anything is written that the earlier one does not know.
func finishFormat(fs vfs.FS, dir string) error {
	name := fs.PathJoin(dir, formatFile)
	version, err := readFormat(fs, dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil || version == formatVersion:
		return err
	default:
		if err := writeFile(fs, name+newSuffix, fmt.Sprintf(formatText, formatVersion)); err != nil {
			return err
		}
	}
	if err := fs.Rename(name+newSuffix, name); err != nil {
		return err
	}
	return syncFolder(fs, dir)
}

func writeFile(fs vfs.FS, name, text string) error {
	file, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write([]byte(text))
	return errors.Join(err, file.Sync(), file.Close())
}

// commit applies a batch; with sync it returns once the disk holds it and
// everything before it. A batch that failed is left to the collector, for the
// store may still be using it.
func (s *store) commit(b *pebble.Batch, o *pebble.WriteOptions) error {
	return s.await(func() error {
		if err := b.Commit(o); err != nil {
			return err
		}
		return b.Close()
	})
}

// await runs a call that writes. It returns when the call does or when the
// store fails, in which case the call may hang for ever.
func (s *store) await(call func() error) error {
	if err := s.check(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- s.run(call) }()
	select {
	case err := <-done:
		return err
	case <-s.failed:
		return s.check()
	}
}

func (s *store) run(call func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = asError(r)
		}
		if err != nil {
			s.fail(err)
		}
		if failed := s.check(); failed != nil {
			err = failed
		}
	}()
	return call()
}

// asError returns what a panic of the store is about.
func asError(recovered any) error {
	if err, ok := recovered.(error); ok {
		return fmt.Errorf("the record store gave up: %w", err)
	}
	return fmt.Errorf("the record store gave up: %v", recovered)
}

// flushLog returns once the disk holds everything applied before the call.
func (s *store) flushLog() error {
	b := s.db.NewBatch()
	if err := b.LogData([]byte{0}, nil); err != nil {
		return err
	}
	return s.commit(b, pebble.Sync)
}

// close ends the store. One that has failed is left behind the gate, where it
// can do no harm: it cannot be closed without its log.
func (s *store) close() error {
	err := s.failure()
	if err == nil {
		if err = s.await(s.db.Close); err == nil {
			return s.lock.Close()
		}
	}
	s.abandoned.Store(true)
	return errors.Join(s.check(), s.lock.Close())
}

// fail stops the store; the first failure stays.
func (s *store) fail(err error) {
	if s.trip(err) {
		s.log.Error("the hub has stopped", "dir", s.dir, "error", err)
	}
}

// check returns the store's failure as callers see it, or nil.
func (s *store) check() error {
	return s.classify(s.failure())
}

// classify gives an error of the store its code and class. No error of the
// store leaves a gap: what is not synced has no checkpoint.
func (s *store) classify(err error) error {
	if _, ok := errors.AsType[*gapless.Failure](err); ok || err == nil {
		return err
	}
	coded, ok := errors.AsType[*gapless.Error](err)
	switch {
	case ok && coded.Code == gapless.CodeStoreVersion, errors.Is(err, os.ErrPermission):
		return gapless.Misconfigured(err)
	case ok:
		return gapless.Recoverable(err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return gapless.Recoverable(gapless.Errorf(gapless.CodeStoreFull, s.dir, "write: %w", err))
	case errors.Is(err, pebble.ErrCorruption), errors.Is(err, errDamagedValue), errors.Is(err, os.ErrNotExist):
		return gapless.Recoverable(gapless.Errorf(gapless.CodeStoreDamaged, s.dir, "%w", err))
	}
	return gapless.Recoverable(fmt.Errorf("hub %s: %w", s.dir, err))
}

// classifyRead classifies what damage does to a read, and leaves every other
// error as it is: it may be a callback's.
func (s *store) classifyRead(err error) error {
	if errors.Is(err, pebble.ErrCorruption) || errors.Is(err, errDamagedValue) {
		return s.classify(err)
	}
	return err
}

// backgroundError hears of failed flushes and compactions. Those that could
// not write have tripped the gate; the store would repeat them without pause.
func (s *store) backgroundError(err error) {
	if errors.Is(err, pebble.ErrCorruption) {
		s.fail(err)
	}
	if s.abandoned.Load() {
		select {} // nobody waits for this store any more
	}
	if s.failure() != nil {
		<-time.After(failedPause)
		return
	}
	s.log.Warn("the hub's background work will be repeated", "dir", s.dir, "error", err)
}

// pebbleLog passes on what matters: what Pebble calls fatal stops the store,
// not the process.
type pebbleLog struct{ *store }

func (pebbleLog) Infof(string, ...any) {}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Warn("record store", "dir", l.dir, "message", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			err = cause
		}
	}
	l.fail(err)
}
