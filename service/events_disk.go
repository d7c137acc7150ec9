package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// eventDisk keeps small files in the folders of one folder. A file is there
// with all its bytes or not at all; it is sure to be there after a crash once
// its folder was synced.
type eventDisk struct {
	root *os.Root
	// watch, if set, is called before each step; an error ends the work there.
	watch func(step diskStep, path string) error
}

// diskStep is what a crash can come before.
type diskStep string

const (
	stepWrite      diskStep = "write"
	stepSyncFile   diskStep = "sync file"
	stepRename     diskStep = "rename"
	stepRemove     diskStep = "remove"
	stepSyncFolder diskStep = "sync folder"
)

// temporary is the ending of files that are being written.
const temporary = ".tmp"

// openEventDisk opens a folder, which is created with its folders if it is not
// there. Whatever a crash has left, it is on disk afterwards.
func openEventDisk(dir string, folders []string, watch func(diskStep, string) error) (*eventDisk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	d := &eventDisk{root: root, watch: watch}
	if err := d.prepare(dir, folders); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return d, nil
}

func (d *eventDisk) prepare(dir string, folders []string) error {
	for _, folder := range folders {
		if err := d.root.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		if err := d.sync(folder); err != nil {
			return err
		}
	}
	left, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, file := range left {
		if strings.HasSuffix(file.Name(), temporary) {
			if err := d.remove(".", file.Name()); err != nil {
				return err
			}
		}
	}
	if err := d.sync("."); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// put writes a file, and replaces one that is there. The time is shown by list.
func (d *eventDisk) put(folder, name string, content []byte, at time.Time) error {
	temp, path := name+temporary, filepath.Join(folder, name)
	err := d.write(temp, content, at)
	if err == nil {
		err = d.step(stepRename, path)
	}
	if err == nil {
		err = d.root.Rename(temp, path)
	}
	if err != nil {
		_ = d.root.Remove(temp) // the error says what matters
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (d *eventDisk) write(path string, content []byte, at time.Time) error {
	if err := d.step(stepWrite, path); err != nil {
		return err
	}
	file, err := d.root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = d.root.Chtimes(path, at, at)
	}
	if err == nil {
		err = d.step(stepSyncFile, path)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func (d *eventDisk) remove(folder, name string) error {
	path := filepath.Join(folder, name)
	if err := d.step(stepRemove, path); err != nil {
		return err
	}
	return d.root.Remove(path)
}

// sync makes sure that what was put into a folder, or removed from it, stays
// so.
func (d *eventDisk) sync(folder string) error {
	if err := d.step(stepSyncFolder, folder); err != nil {
		return err
	}
	f, err := d.root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// has reports whether a file is there.
func (d *eventDisk) has(folder, name string) (bool, error) {
	_, err := d.root.Lstat(filepath.Join(folder, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// list calls each for every file of a folder, in no order, with the time that
// it was put with.
func (d *eventDisk) list(folder string, each func(name string, at time.Time) error) error {
	entries, err := fs.ReadDir(d.root.FS(), folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed in the meantime
		}
		if err != nil {
			return err
		}
		if err := each(entry.Name(), info.ModTime()); err != nil {
			return err
		}
	}
	return nil
}

func (d *eventDisk) read(folder, name string) ([]byte, error) {
	return d.root.ReadFile(filepath.Join(folder, name))
}

func (d *eventDisk) step(step diskStep, path string) error {
	if d.watch == nil {
		return nil
	}
	return d.watch(step, path)
}
