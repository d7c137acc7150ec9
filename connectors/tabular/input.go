package tabular

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/stamp"
)

// standardInput is the path that stands for it.
const standardInput = "-"

// input is one file to read.
type input struct {
	path  string
	stamp stamp.Stamp
	// regular files can be read again, and from the middle.
	regular bool
}

// listing is the files that the configured paths stand for at one moment.
type listing struct {
	started time.Time
	inputs  []input
	folders []input // that were searched
}

// list resolves patterns, in their order, the matches of each sorted. Unlike
// [filepath.Glob] it fails if a folder cannot be searched, and if a path stands
// for nothing at all: that is an absent source, not an empty one.
func list(paths []string, now time.Time) (*listing, error) {
	l := &listing{started: now}
	for _, path := range paths {
		if path == standardInput {
			l.inputs = append(l.inputs, input{path: path})
			continue
		}
		if err := l.add(path); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *listing) add(path string) error {
	_, err := os.Lstat(path)
	literal := err == nil || !hasMeta(path)
	matches := []string{path}
	if !literal {
		if matches, err = l.expand(path); err != nil {
			return unreachable(err)
		}
	}
	found := false
	for _, match := range matches {
		info, err := os.Stat(match)
		switch {
		case err != nil:
			return unreachable(err)
		case info.IsDir() && literal:
			return gapless.Misconfigured(gapless.OptionError{
				Option: "path", Problem: match + " is a folder", Fix: "write " + match + "/* for the files in it", Code: gapless.CodeInvalidOption,
			})
		case info.IsDir():
			continue
		}
		found = true
		if !slices.ContainsFunc(l.inputs, func(in input) bool { return in.path == match }) {
			l.inputs = append(l.inputs, input{path: match, stamp: stamp.Of(info), regular: info.Mode().IsRegular()})
		}
	}
	if !found {
		return unreachable(fmt.Errorf("no file matches %s", path))
	}
	return nil
}

func hasMeta(path string) bool { return strings.ContainsAny(path, `*?[\`) }

// expand returns the paths that match a pattern, sorted.
func (l *listing) expand(pattern string) ([]string, error) {
	dir, last := filepath.Split(pattern)
	dir = filepath.Clean(dir)
	dirs := []string{dir}
	searched := hasMeta(dir) && dir != pattern
	if searched {
		var err error
		if dirs, err = l.expand(dir); err != nil {
			return nil, err
		}
	}
	var matches []string
	for _, dir := range dirs {
		names, err := l.names(dir)
		if searched && errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			ok, err := filepath.Match(last, name)
			if err != nil {
				return nil, fmt.Errorf("pattern %s: %w", pattern, err)
			}
			if ok {
				matches = append(matches, filepath.Join(dir, name))
			}
		}
	}
	return matches, nil
}

func (l *listing) names(dir string) ([]string, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	l.folders = append(l.folders, input{path: dir, stamp: stamp.Of(info)})
	entries, err := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, err
}

// position returns a digest that is equal for two listings only if no file
// changed in between. It is empty if the files cannot be read twice, and equal
// to none if something is fresh.
func (l *listing) position() gapless.Position {
	h := xxh3.New128()
	var line []byte
	for _, in := range l.inputs {
		if !in.regular {
			return ""
		}
		line = in.stamp.Append(append(append(line[:0], in.path...), 0))
		_, _ = h.Write(append(line, 0)) // a hash never fails
	}
	for _, in := range l.folders {
		in.stamp.Size = 0
		line = in.stamp.Append(append(append(line[:0], in.path...), 1))
		_, _ = h.Write(append(line, 0))
	}
	sum := h.Sum128().Bytes()
	position := hex.AppendEncode(nil, sum[:])
	if l.freshest() > 0 {
		position = stamp.AppendSalt(position)
	}
	return gapless.Position(position)
}

// freshest returns the coarsest clock step among the files that could still
// change unseen; 0 if there are none.
func (l *listing) freshest() time.Duration {
	var step time.Duration
	for _, in := range slices.Concat(l.inputs, l.folders) {
		if in.path != standardInput && in.stamp.Fresh(l.started) {
			step = max(step, in.stamp.Step())
		}
	}
	return step
}

// settled lists once more, a step of the clock later, if that is all it takes
// for the position to be one that can be equal to another.
func settled(ctx context.Context, paths []string, c stamp.Clock) (*listing, error) {
	l, err := list(paths, c.Now())
	if err != nil || l.freshest() != stamp.FineStep {
		return l, err
	}
	if err := c.Wait(ctx, stamp.FineStep); err != nil {
		return nil, err
	}
	return list(paths, c.Now())
}

// unreachable classifies the error of finding or opening a file.
func unreachable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return gapless.Because(gapless.CauseForbidden, err)
	}
	return gapless.Because(gapless.CauseUnreachable, err)
}
