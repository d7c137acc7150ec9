package tabular

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/stamp"
)

// markEvery is how many bytes lie between two resume marks.
const markEvery = 64 << 20

// blockSize is how much is read at once.
const blockSize = 128 << 10

// decoder turns the text of one file into rows.
type decoder interface {
	// decode emits the records of s until its end. A decoder is used once.
	decode(s *scan) error
}

// scan is the reading of one file.
type scan struct {
	*stream
	out  *gapless.Output
	line uint64 // number of the last line consumed
	// resume, if not 0, is the offset to continue at, once whatever stands
	// at the head of the file has been read.
	resume int64
	// boundary is called between records, when all text before offset has
	// been emitted.
	boundary func(offset int64, line uint64) error
}

// rejection describes a record that cannot be delivered.
func (s *scan) rejection(key string, line uint64, raw []byte, err error) gapless.Rejection {
	raw = raw[:min(len(raw), gapless.MaxRejectBytes)]
	return gapless.Rejection{Key: key, Origin: s.path, Line: int(line), Raw: append([]byte(nil), raw...), Err: err}
}

// source reads files of one collection.
type source struct {
	paths       []string
	compression string
	collection  string
	schema      string
	decoder     func() decoder
	clock       stamp.Clock
	stdin       io.Reader
	consumed    map[string]bool // inputs that cannot be read again
}

var (
	_ gapless.Source     = (*source)(nil)
	_ gapless.Positioner = (*source)(nil)
	_ gapless.Resumer    = (*source)(nil)
	_ gapless.Estimator  = (*source)(nil)
)

func newSource(paths []string, env gapless.Env) *source {
	s := &source{clock: stamp.SystemClock(), stdin: os.Stdin, consumed: map[string]bool{}}
	for _, path := range paths {
		if path != standardInput && !filepath.IsAbs(path) {
			path = filepath.Join(env.Dir, path)
		}
		s.paths = append(s.paths, path)
	}
	return s
}

// Describe finds the files.
func (s *source) Describe(context.Context) (gapless.Description, error) {
	if _, err := list(s.paths, s.clock.Now()); err != nil {
		return gapless.Description{}, err
	}
	return gapless.Description{Model: gapless.ModelFull, Collections: []string{s.collection}, Schema: s.schema}, nil
}

// Position returns a digest of the files' names, sizes and times; empty for
// standard input and pipes.
func (s *source) Position(ctx context.Context, _ gapless.Partition) (gapless.Position, error) {
	l, err := settled(ctx, s.paths, s.clock)
	if err != nil {
		return "", err
	}
	return l.position(), nil
}

// Estimate returns the size of the files, compressed as they are.
func (s *source) Estimate(context.Context, gapless.Partition) (records, bytes int64, err error) {
	l, err := list(s.paths, s.clock.Now())
	if err != nil {
		return -1, -1, err
	}
	for _, in := range l.inputs {
		if !in.regular {
			return -1, -1, nil
		}
		bytes += in.stamp.Size
	}
	return -1, bytes, nil
}

// ReadAll emits the records of all files, one file after the other.
func (s *source) ReadAll(ctx context.Context, _ gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	l, err := settled(ctx, s.paths, s.clock)
	if err != nil {
		return err
	}
	position := l.position()
	from := place{position: position}
	if after != "" {
		if from, err = parseMark(after); err != nil || from.position != position || from.file >= len(l.inputs) {
			return gapless.Expired(errors.New("the files changed since the interrupted run"))
		}
	}
	marked := int64(0)
	for i, in := range l.inputs[from.file:] {
		at := place{position: position, file: from.file + i}
		if i == 0 {
			at.offset, at.line = from.offset, from.line
		}
		if marked >= markEvery && position != "" {
			marked = 0
			if err := out.Mark(at.mark()); err != nil {
				return err
			}
		}
		size, err := s.readFile(in, at, out)
		if err != nil {
			return err
		}
		marked += size
	}
	return nil
}

// readFile emits the records of one file from a place on and returns how many
// bytes lie between its last mark and its end.
func (s *source) readFile(in input, at place, out *gapless.Output) (unmarked int64, err error) {
	if !in.regular {
		if s.consumed[in.path] {
			return 0, gapless.Recoverable(fmt.Errorf("%s can be read only once", in.path))
		}
		s.consumed[in.path] = true
	}
	opened, err := openStream(in, s.compression, s.stdin)
	if err != nil {
		return 0, err
	}
	defer opened.Close()
	if out.Batch().Origin != opened.path {
		if err := out.Flush(); err != nil { // an origin is that of a whole batch
			return 0, err
		}
		out.Batch().Origin = opened.path
	}
	last := at.offset
	resumable := opened.plain && at.position != ""
	err = s.decoder().decode(&scan{
		stream: opened, out: out, line: at.line, resume: at.offset,
		boundary: func(offset int64, line uint64) error {
			if !resumable || offset-last < markEvery {
				return out.FlushIfFull()
			}
			last, at.offset, at.line = offset, offset, line
			return out.Mark(at.mark())
		},
	})
	return opened.offset - last, err
}

// CanResume reports whether the files are still those of the interrupted run.
func (s *source) CanResume(ctx context.Context, p gapless.Partition, after gapless.Mark, started gapless.Position) (bool, error) {
	at, err := parseMark(after)
	if err != nil || started == "" || at.position != started {
		return false, nil //nolint:nilerr // a mark that is none of ours cannot be honoured
	}
	now, err := s.Position(ctx, p)
	return now == started, err
}

// place is where a mark stands: everything before it has been emitted.
type place struct {
	position gapless.Position // of the files
	file     int
	offset   int64
	line     uint64
}

func (p place) mark() gapless.Mark {
	return gapless.Mark(fmt.Sprintf("%s %d %d %d", p.position, p.file, p.offset, p.line))
}

func parseMark(m gapless.Mark) (place, error) {
	parts := strings.Split(string(m), " ")
	if len(parts) != 4 || parts[0] == "" {
		return place{}, fmt.Errorf("mark %q has no place", m)
	}
	file, err1 := strconv.ParseUint(parts[1], 10, 31)
	offset, err2 := strconv.ParseInt(parts[2], 10, 64)
	line, err3 := strconv.ParseUint(parts[3], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil || offset < 0 {
		return place{}, fmt.Errorf("mark %q: %w", m, errors.Join(err, errors.New("not a place")))
	}
	return place{gapless.Position(parts[0]), int(file), offset, line}, nil
}
