package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/gapless-sync/gapless/stamp"
)

// maxLinkedDepth bounds how many linked folders may lie on one path: a tree of
// links among links would otherwise be as good as endless.
const maxLinkedDepth = 4

// visitor is told what a walk finds, in the order of pathLess. An error from
// a method ends the walk.
type visitor interface {
	// folder is called before anything within the folder.
	folder(path string, s stamp.Stamp) error
	// file is called for every regular file that is selected.
	file(path string, s stamp.Stamp) error
	// unlisted is called for a folder that could not be listed completely.
	unlisted(path string, err error) error
	// unreadable is called for a file that exists but cannot be looked at.
	unreadable(path string, err error) error
}

// walk goes through one tree. It opens nothing outside top.
type walk struct {
	top     *os.Root
	tree    *tree
	visitor visitor
	after   string // skip files up to and including this path; empty: none
}

// folder is one open folder on the way down.
type folder struct {
	root     *os.Root
	path     string // relative to top; empty for top itself
	included bool   // everything below is selected by an include pattern
	linked   int    // linked folders on the path
	info     fs.FileInfo
	parent   *folder
}

// list visits everything below f.
func (w *walk) list(ctx context.Context, f *folder) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	info, names, err := w.names(f)
	if info != nil {
		f.info = info
		if err := w.visitor.folder(f.path, stamp.Of(info)); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := w.entry(ctx, f, name); err != nil {
			return err
		}
	}
	if err != nil {
		return w.visitor.unlisted(f.path, err)
	}
	return nil
}

// names lists a folder in order; with an error it returns what it could list.
func (w *walk) names(f *folder) (fs.FileInfo, []string, error) {
	if err := w.tree.check("list", f.path); err != nil {
		return nil, nil, err
	}
	dir, err := f.root.Open(".")
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return nil, nil, err
	}
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return info, names, err
}

func (w *walk) entry(ctx context.Context, f *folder, name string) error {
	path := name
	if f.path != "" {
		path = f.path + "/" + name
	}
	if w.tree.exclude.match(path) {
		return nil
	}
	info, err := f.root.Lstat(name)
	if err == nil {
		err = w.tree.check("stat", path)
	}
	linked := err == nil && info.Mode().Type() == fs.ModeSymlink
	if linked {
		if !w.tree.follow {
			return nil
		}
		if info, err = w.top.Stat(path); leadsNowhere(err) {
			return nil
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // gone since the folder was listed: it is simply not there
	case err != nil:
		return w.visitor.unreadable(path, err)
	case info.IsDir():
		return w.descend(ctx, f, name, path, linked)
	case !info.Mode().IsRegular(), !f.included && !w.tree.included(path), w.passed(path):
		return nil
	}
	return w.visitor.file(path, stamp.Of(info))
}

// leadsNowhere reports whether a link could not be followed because of where
// it points: to nothing, to itself or out of the root. Anything else that the
// operating system reports is a fault.
func leadsNowhere(err error) bool {
	_, refused := errors.AsType[syscall.Errno](err)
	return err != nil && !refused || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR)
}

// descend lists the folder of path, found as name in parent.
func (w *walk) descend(ctx context.Context, parent *folder, name, path string, linked bool) error {
	sub := &folder{path: path, parent: parent, linked: parent.linked, included: parent.included || w.tree.included(path)}
	var err error
	if linked {
		sub.linked++
		sub.root, err = w.top.OpenRoot(path)
	} else {
		sub.root, err = parent.root.OpenRoot(name)
	}
	if err != nil {
		return w.visitor.unlisted(path, err)
	}
	defer sub.root.Close()
	if linked && (sub.linked > maxLinkedDepth || sub.loops()) {
		return nil
	}
	return w.list(ctx, sub)
}

// loops reports whether f is one of the folders that lead to it.
func (f *folder) loops() bool {
	info, err := f.root.Stat(".")
	if err != nil {
		return false // listing it reports the error
	}
	for up := f.parent; up != nil; up = up.parent {
		if os.SameFile(up.info, info) {
			return true
		}
	}
	return false
}

func (w *walk) passed(path string) bool { return w.after != "" && !pathLess(w.after, path) }

// pathLess orders paths as a walk meets them: segment by segment.
func pathLess(a, b string) bool {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' || b[i] == '/' {
			return a[i] == '/'
		}
		return a[i] < b[i]
	}
	return len(a) < len(b)
}

// tree says where the files are and which of them are selected.
type tree struct {
	path             string
	include, exclude globs
	follow           bool
	// fault, if set, may make a step fail.
	fault func(step, path string) error
}

func (t *tree) included(path string) bool { return len(t.include) == 0 || t.include.match(path) }

func (t *tree) check(step, path string) error {
	if t.fault == nil {
		return nil
	}
	return t.fault(step, path)
}

// walk visits the tree from the first file behind after.
func (t *tree) walk(ctx context.Context, v visitor, after string) error {
	top, err := t.open()
	if err != nil {
		return err
	}
	defer top.Close()
	w := &walk{top: top, tree: t, visitor: v, after: after}
	return w.list(ctx, &folder{root: top})
}

func (t *tree) open() (*os.Root, error) {
	top, err := os.OpenRoot(t.path)
	if err != nil {
		return nil, unreachable(t.path, err)
	}
	return top, nil
}

// base returns the last segment of a path.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
