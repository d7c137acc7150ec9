package pacifica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/transfer"
)

// maxStretch bounds what is fetched ahead of the file that is asked for.
const maxStretch = 256 << 20

// spool brings the contents of records' parts by carts, verified, into a folder
// of its own. A cart for one file costs as much time as one for many, but which
// files are wanted is not known. So a stretch of files is fetched at a time: one,
// and then twice as many each time that the next file in line is asked for.
type spool struct {
	carts           *CartAPI
	parent          string // folder to make the spool's folder in
	wait            time.Duration
	allowUnverified bool

	mu      sync.Mutex // guards what follows
	dir     string     // empty until it is made
	stretch stretch    // that is here
}

// stretch is a run of files of a group.
type stretch struct {
	group     *group
	from, end int
}

// group is files that were listed together.
type group struct {
	spool *spool
	files []transfer.File
}

// open returns the content of file i. What is wrong with the file alone rejects
// it.
func (g *group) open(ctx context.Context, i int) (io.ReadCloser, error) {
	s := g.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	name := g.name(i)
	if s.stretch.group == g && i >= s.stretch.from && i < s.stretch.end {
		if f, err := os.Open(filepath.Join(s.dir, name)); err == nil {
			return f, nil
		}
	}
	width := 1
	if s.stretch.group == g && i == s.stretch.end {
		width = 2 * (s.stretch.end - s.stretch.from)
	}
	next := stretch{group: g, from: i, end: g.reach(i, width)}
	err := s.fetch(ctx, next)
	f, opened := os.Open(filepath.Join(s.dir, name))
	if opened == nil {
		return f, nil // what is missing beside it is asked for again, alone
	}
	if err != nil && next.end-next.from > 1 && ctx.Err() == nil {
		next.end = i + 1
		if err = s.fetch(ctx, next); err == nil {
			f, err = os.Open(filepath.Join(s.dir, name))
		}
	}
	if err == nil {
		return f, nil
	}
	return nil, verdict(g.files[i].Origin, err)
}

// name returns what file i is called in the spool.
func (g *group) name(i int) string {
	return strconv.Itoa(i) + "/" + path.Base(g.files[i].Path)
}

// reach returns the end of the stretch of up to width files from i on.
func (g *group) reach(i, width int) int {
	bytes := int64(0)
	for end := i; ; end++ {
		if end == len(g.files) || end == i+min(width, DefaultCartFiles) {
			return end
		}
		if bytes += max(g.files[end].Size, 0); bytes > maxStretch && end > i {
			return end
		}
	}
}

// fetch brings a stretch in place of the last one.
func (s *spool) fetch(ctx context.Context, next stretch) error {
	s.stretch = stretch{}
	if s.dir != "" {
		if err := os.RemoveAll(s.dir); err != nil {
			return gapless.Recoverable(fmt.Errorf("empty the spool: %w", err))
		}
		s.dir = ""
	}
	if err := os.MkdirAll(s.parent, 0o700); err != nil {
		return gapless.Recoverable(fmt.Errorf("make the spool: %w", err))
	}
	dir, err := os.MkdirTemp(s.parent, "pacifica-*")
	if err != nil {
		return gapless.Recoverable(fmt.Errorf("make the spool: %w", err))
	}
	s.dir, s.stretch = dir, next
	report, err := transfer.Run(ctx, transfer.Job{
		Dir: dir, Supplier: &Carts{API: s.carts, Wait: s.wait}, Group: DefaultCartFiles, Streams: 1, Attempts: 2, AllowUnverified: s.allowUnverified,
		Files: func(yield func(transfer.File, error) bool) {
			for i := next.from; i < next.end; i++ {
				file := next.group.files[i]
				file.Path = next.group.name(i)
				if !yield(file, nil) {
					return
				}
			}
		},
	})
	if next.end-next.from == 1 && len(report.Failures) == 1 {
		return report.Failures[0].Err
	}
	return err
}

// verdict tells what is wrong with one file from what is wrong with the world.
func verdict(id string, err error) error {
	if f, ok := errors.AsType[*gapless.Failure](err); ok && f.Cause != gapless.CauseUnknown && f.Cause != gapless.CauseUnreadable {
		return err
	}
	if _, ok := errors.AsType[*refusal](err); ok {
		return err
	}
	return gapless.Reject(id, err)
}

// close deletes the spool.
func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.carts.Close()
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}
