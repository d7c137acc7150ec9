package durable

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Write replaces the file at path, or creates it and its folder, with what
// write writes. Whatever fails and whenever the machine stops, the file then is
// the old one or the new one; after nil it stays the new one. Nobody else may
// read it. Two writers of the same path at once are for the caller to prevent.
func Write(path string, write func(io.Writer) error) error {
	folder, name := filepath.Split(path)
	if err := os.MkdirAll(filepath.Clean(folder), 0o700); err != nil {
		return fmt.Errorf("create the folder of %s: %w", name, err)
	}
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	w := bufio.NewWriterSize(f, 64<<10)
	err = write(w)
	if err == nil {
		err = errors.Join(w.Flush(), f.Sync())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(fmt.Errorf("put %s in place: %w", name, err), os.Remove(temp))
	}
	return SyncFolder(filepath.Clean(folder))
}

// WriteBytes is [Write] of content.
func WriteBytes(path string, content []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// SyncFolder makes durable which files a folder has.
func SyncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open folder to sync it: %w", err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
