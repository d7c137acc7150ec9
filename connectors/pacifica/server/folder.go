package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"syscall"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/stamp"
	"github.com/gapless-sync/gapless/transfer"
)

// Folder is the files below a folder; nothing outside of it is ever opened,
// whatever links there are.
type Folder struct{ root *os.Root }

var _ Files = (*Folder)(nil)

// OpenFolder returns the files below dir.
func OpenFolder(dir string) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of files: %w", err)
	}
	return &Folder{root}, nil
}

// Close releases the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Open finds a file by its id, which is its path below the folder; or by its
// number, where the archive of a Pacifica keeps it; or else by the path that it
// is ordered as.
func (f *Folder) Open(_ context.Context, wanted transfer.File) (Content, error) {
	for _, name := range [...]string{wanted.Origin, archivePath(wanted.Origin), wanted.Path} {
		if !fs.ValidPath(name) || name == "." {
			continue
		}
		c, err := f.open(name)
		if !missing(err) {
			return c, err
		}
	}
	return Content{}, gapless.ErrNotFound
}

func (f *Folder) open(name string) (Content, error) {
	now := time.Now()
	// Without O_NONBLOCK a pipe would block.
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Content{}, err
	}
	info, err := file.Stat()
	if err != nil {
		return Content{}, errors.Join(err, file.Close())
	}
	if !info.Mode().IsRegular() {
		return Content{}, errors.Join(fmt.Errorf("%s: %w", name, errNotRegular), file.Close())
	}
	c := Content{Size: info.Size(), Modified: info.ModTime(), Body: file}
	if s := stamp.Of(info); !s.Fresh(now) {
		c.Version = string(s.Append(nil))
	}
	return c, nil
}

// errNotRegular says that a name is that of a folder or a device.
var errNotRegular = errors.New("not a regular file")

// missing reports whether there is no such file, so that another name may be
// tried.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotRegular) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}

// archivePath returns where the archive interface of Pacifica keeps the file of
// a number: below a folder for each byte from the right, in hexadecimal, but
// for the leftmost; "" if the id is no number.
func archivePath(id string) string {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return ""
	}
	digits := strconv.FormatUint(n, 16)
	if len(digits) <= 2 {
		return "file." + digits
	}
	var folders string
	for rest := digits; len(rest) > 2; rest = rest[:len(rest)-2] {
		folders = path.Join(folders, rest[len(rest)-2:])
	}
	return path.Join(folders, digits)
}
