package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

// bareBuffer is how much the bare loops read and write at once.
const bareBuffer = 256 << 10

// bareLoop reads, validates and writes the records and syncs the file: what
// nobody who does as much can do for less.
func bareLoop(_ context.Context, j job) (d done, err error) {
	out, err := os.Create(j.output())
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := bufio.NewWriterSize(out, bareBuffer)
	err = eachLine(j.Input, func(line []byte) error {
		if !gjson.ValidBytes(line[:len(line)-1]) {
			return fmt.Errorf("line %d is not valid", d.Records+1)
		}
		d.Records++
		d.Bytes += int64(len(line))
		_, err := w.Write(line)
		return err
	})
	return d, errors.Join(err, w.Flush(), out.Sync())
}

// eachLine calls fn for every line of a file, with its line break.
func eachLine(path string, fn func(line []byte) error) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	for r := bufio.NewReaderSize(in, bareBuffer); ; {
		line, err := r.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, io.EOF) && len(line) == 0 {
				return nil
			}
			return err
		}
		if err := fn(line); err != nil {
			return err
		}
	}
}

// bareFiles reads and validates all files of a tree, writes them into one, and
// syncs it.
func bareFiles(_ context.Context, j job) (d done, err error) {
	out, err := os.Create(j.output())
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := bufio.NewWriterSize(out, bareBuffer)
	err = filepath.WalkDir(j.Input, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !gjson.ValidBytes(text) {
			return fmt.Errorf("%s is not valid", path)
		}
		d.Records++
		d.Bytes += int64(len(text))
		_, err = w.Write(text)
		return err
	})
	return d, errors.Join(err, w.Flush(), out.Sync())
}

// syncEvery is how many records the engine pushes between two checkpoints.
const syncEvery = 500_000

// pebbleAlone puts the records into a store with the hub's settings, in the
// same batches and with the same syncs. It looks at nothing but line breaks:
// the keys stand at a known place.
func pebbleAlone(_ context.Context, j job) (d done, err error) {
	db, err := openPebble(filepath.Join(j.Dir, "pebble"))
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	newBatch := func() *pebble.Batch {
		return db.NewBatchWithSize(gapless.DefaultBatchBytes * 5 / 4)
	}
	b, rows, size, unsynced := newBatch(), 0, 0, 0
	push := func() error {
		err := errors.Join(b.Commit(pebble.NoSync), b.Close())
		unsynced += rows
		b, rows, size = newBatch(), 0, 0
		if err == nil && unsynced >= syncEvery {
			unsynced = 0
			err = db.LogData([]byte{0}, pebble.Sync)
		}
		return err
	}
	err = eachLine(j.Input, func(line []byte) error {
		data := line[:len(line)-1]
		op := b.SetDeferred(keyLength, len(data))
		copy(op.Key, data[keyStart:keyStart+keyLength])
		copy(op.Value, data)
		if err := op.Finish(); err != nil {
			return err
		}
		d.Records++
		d.Bytes += int64(len(line))
		rows, size = rows+1, size+len(line)
		if rows < gapless.DefaultBatchRows && size < gapless.DefaultBatchBytes {
			return nil
		}
		return push()
	})
	return d, errors.Join(err, push(), b.Close(), db.LogData([]byte{0}, pebble.Sync))
}

// openPebble opens a store with the settings of the hub.
func openPebble(dir string) (*pebble.DB, error) {
	cache := pebble.NewCache(16 << 20)
	defer cache.Unref()
	return pebble.Open(dir, &pebble.Options{
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                16 << 20,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       20,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                256,
		Logger:                      quiet{},
	})
}

// quiet passes over what Pebble has to say.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...)) // the measurement is void
}
