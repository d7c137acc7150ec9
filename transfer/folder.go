package transfer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/gapless-sync/gapless"
)

// folder is the target. Everything happens below its root.
type folder struct {
	dir   string
	root  *os.Root // nil if it is only looked at and not there
	state *os.Root // nil if it is only looked at and not there
	parts *os.Root // nil if it is only looked at
	// resuming is whether something of an earlier run is not finished.
	resuming bool
	unlock   func()
}

const (
	partsFolder = "parts"
	lockName    = "lock"
)

var errLocked = errors.New("another transfer into this folder is running")

// openFolder opens the target; to write it makes what is not there, and no other
// run can.
func openFolder(dir string, writable bool) (*folder, error) {
	f := &folder{dir: dir, unlock: func() {}}
	err := f.open(writable)
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *folder) open(writable bool) (err error) {
	if writable {
		if err := os.MkdirAll(f.dir, 0o777); err != nil {
			return f.problem("make the folder", err)
		}
	}
	f.root, err = os.OpenRoot(f.dir)
	if !writable && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return f.problem("open the folder", err)
	}
	if f.state, err = f.below(f.root, stateFolder, writable); err != nil || !writable {
		return err
	}
	if f.parts, err = f.below(f.state, partsFolder, writable); err != nil {
		return err
	}
	if f.unlock, err = lock(f.state); errors.Is(err, errLocked) {
		return gapless.Errorf(gapless.CodeStoreLocked, f.dir, "%w", gapless.Recoverable(err)).WithHint("wait for the other to end, or choose another folder")
	} else if err != nil {
		return f.problem("lock the folder", err)
	}
	names, err := f.parts.Open(".")
	if err != nil {
		return f.problem("open the folder", err)
	}
	defer names.Close()
	some, err := names.Readdirnames(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return f.problem("list the folder", err)
	}
	f.resuming = len(some) > 0
	return nil
}

// below opens a folder that is none but a folder, or makes it.
func (f *folder) below(root *os.Root, name string, writable bool) (*os.Root, error) {
	var err error
	if writable {
		_, err = makeFolder(root, name, 0o700)
	} else if err = isFolder(root, name); errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is nothing to look at
	}
	if err != nil {
		return nil, f.problem("make the folder "+name, err)
	}
	child, err := root.OpenRoot(name)
	if err != nil {
		return nil, f.problem("open the folder "+name, err)
	}
	return child, nil
}

// makeFolder makes a folder, unless somebody has made it before.
func makeFolder(root *os.Root, name string, perm fs.FileMode) (made bool, err error) {
	err = root.Mkdir(name, perm)
	if errors.Is(err, fs.ErrExist) {
		return false, isFolder(root, name)
	}
	return err == nil, err
}

// isFolder refuses what is a file, or a link.
func isFolder(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%q is in the way: it is not a folder", name)
	}
	return err
}

func (f *folder) close() error {
	f.unlock()
	var err error
	for _, root := range []*os.Root{f.parts, f.state, f.root} {
		if root != nil {
			err = errors.Join(err, root.Close())
		}
	}
	return err
}

// fold maps paths that the folder takes for one to one.
func (f *folder) fold() func(string) string {
	if f.root == nil {
		return asItIs
	}
	if _, err := f.root.Lstat(strings.ToUpper(stateFolder)); err == nil {
		return foldCase
	}
	return asItIs
}

// looks returns what the file system says about a file, which may be a link.
func (f *folder) looks(path string) (fs.FileInfo, error) {
	if f.root == nil {
		return nil, fs.ErrNotExist
	}
	return f.root.Lstat(path)
}

// unfinished returns how many bytes of files are here that are not finished.
func (f *folder) unfinished() (bytes int64, err error) {
	if !f.resuming {
		return 0, nil
	}
	names, err := f.parts.Open(".")
	if err != nil {
		return 0, f.problem("list the folder", err)
	}
	defer names.Close()
	for {
		infos, err := names.Readdir(256)
		for _, info := range infos {
			bytes += info.Size()
		}
		if errors.Is(err, io.EOF) {
			return bytes, nil
		}
		if err != nil {
			return bytes, f.problem("list the folder", err)
		}
	}
}

// problem classifies what the file system says of the folder as a whole.
func (f *folder) problem(doing string, err error) error {
	err = fmt.Errorf("%s: %w", doing, err)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return gapless.Errorf(gapless.CodeStoreFull, f.dir, "%w", gapless.Recoverable(err))
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
		err = gapless.Misconfigured(err)
	default:
		err = gapless.Unrecoverable(err)
	}
	return gapless.Errorf(gapless.CodeFiles, f.dir, "%w", err).WithHint("files must be able to be written there")
}

// ofWhole reports whether a problem is not one of a single file.
func ofWhole(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO)
}

// partName is the name of a file that is not finished.
func partName(path string) string {
	key := keyOf(path)
	return hex.EncodeToString(key[:])
}

const validatorSuffix = ".validator"

// maxValidator is the length of the longest validator that is kept, in bytes.
const maxValidator = 1024

// part returns how much of an unfinished file is here, and the validator that it
// was delivered under.
func (f *folder) part(name string) (size int64, validator string) {
	info, err := f.parts.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return 0, ""
	}
	if text, err := f.parts.ReadFile(name + validatorSuffix); err == nil && len(text) <= maxValidator {
		validator = string(text)
	}
	return info.Size(), validator
}

// dropPart removes what is not finished of a file, if there is anything.
func (f *folder) dropPart(name string) error {
	if err := f.parts.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.problem("remove an unfinished file", err)
	}
	return f.dropValidator(name)
}

func (f *folder) dropValidator(name string) error {
	if err := f.parts.Remove(name + validatorSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.problem("remove an unfinished file", err)
	}
	return nil
}

// openPart opens an unfinished file at an offset, where it ends then.
func (f *folder) openPart(name string, offset int64) (*os.File, error) {
	flag := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if offset > 0 {
		flag = os.O_RDWR
	}
	file, err := f.parts.OpenFile(name, flag, 0o666)
	if err == nil && offset > 0 {
		if err = file.Truncate(offset); err == nil {
			_, err = file.Seek(offset, io.SeekStart)
		}
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}
	if err != nil {
		return nil, f.problem("open an unfinished file", err)
	}
	return file, nil
}

// sum feeds the first bytes of a file to a hash, all of them if limit is
// negative, and returns how many there were.
func sum(ctx context.Context, root *os.Root, name string, limit int64, h io.Writer, buf []byte) (int64, error) {
	file, err := root.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	total := int64(0)
	for limit < 0 || total < limit {
		if err := context.Cause(ctx); err != nil {
			return total, err
		}
		piece := buf
		if limit >= 0 {
			piece = buf[:min(int64(len(buf)), limit-total)]
		}
		n, err := file.Read(piece)
		_, _ = h.Write(piece[:n]) // a hash takes everything
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// holds reports whether a file has the content that is wanted; its hash is
// known.
func holds(ctx context.Context, root *os.Root, name string, wanted File, buf []byte) (bool, error) {
	h := NewHash(wanted.Algorithm)
	n, err := sum(ctx, root, name, -1, h, buf)
	if err != nil {
		return false, err
	}
	return (wanted.Size < 0 || n == wanted.Size) && hex.EncodeToString(h.Sum(nil)) == wanted.Hash, nil
}

// placer moves finished files to their names, in folders that are real ones.
type placer struct {
	folder *folder
	// real are folders that are known to be none but folders.
	real map[string]bool
	// touched are folders with entries that are not durable.
	touched map[string]bool
}

// maxFolders bounds how many folders a placer remembers.
const maxFolders = 4096

func (p *placer) place(part, to string) error {
	parent := path.Dir(to)
	if err := p.makeFolders(parent); err != nil {
		return err
	}
	p.touched[parent] = true
	return p.folder.root.Rename(path.Join(stateFolder, partsFolder, part), to)
}

// makeFolders makes a folder and those above it, and follows no links.
func (p *placer) makeFolders(name string) error {
	if name == "." || p.real[name] {
		return nil
	}
	parent := path.Dir(name)
	if err := p.makeFolders(parent); err != nil {
		return err
	}
	made, err := makeFolder(p.folder.root, name, 0o777)
	if err != nil {
		return err
	}
	if made {
		p.touched[parent] = true
	}
	if len(p.real) >= maxFolders {
		clear(p.real)
	}
	p.real[name] = true
	return nil
}

// sync makes the names of what was placed durable.
func (p *placer) sync() error {
	names := make([]string, 0, len(p.touched))
	for name := range p.touched {
		names = append(names, name)
	}
	clear(p.touched)
	return inParallel(names, func(name string) error {
		if err := syncFolder(p.folder.root, name); err != nil {
			return p.folder.problem("sync the folder "+name, err)
		}
		return nil
	})
}

// stampFile gives a file its time, unless that is not known.
func stampFile(root *os.Root, name string, modified time.Time) error {
	if modified.IsZero() {
		return nil
	}
	return root.Chtimes(name, modified, modified)
}
