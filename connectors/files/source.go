package files

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/stamp"
)

// markEvery is how many files lie between two resume marks.
const markEvery = 4096

// source reads one tree.
type source struct {
	tree        *tree
	collection  string
	contentHash bool
	maxSize     int64
	clock       stamp.Clock
	// position is the last one taken; marks are good for the tree as it was
	// then.
	position gapless.Position
	// files and bytes are how much there was then.
	files, bytes int64
}

var (
	_ gapless.Source     = (*source)(nil)
	_ gapless.Positioner = (*source)(nil)
	_ gapless.Resumer    = (*source)(nil)
	_ gapless.Estimator  = (*source)(nil)
)

// Describe opens the root.
func (s *source) Describe(context.Context) (gapless.Description, error) {
	top, err := s.tree.open()
	if err != nil {
		return gapless.Description{}, err
	}
	defer top.Close()
	return gapless.Description{Model: gapless.ModelFull, Collections: []string{s.collection}, Schema: "files/1"}, nil
}

// Position returns a digest of the listing: two that are equal prove that no
// file and no folder changed in between. If something changed so recently that
// it could change again unseen, Position waits for the clock's next step; where
// that would take too long, the position equals no other.
func (s *source) Position(ctx context.Context, _ gapless.Partition) (gapless.Position, error) {
	sum, err := s.survey(ctx)
	if err == nil && sum.freshest == stamp.FineStep {
		if err := s.clock.Wait(ctx, stamp.FineStep); err != nil {
			return "", err
		}
		sum, err = s.survey(ctx)
	}
	if err != nil {
		return "", err
	}
	text := sum.hash.Sum128().Bytes()
	position := hex.AppendEncode(nil, text[:])
	if sum.freshest > 0 || sum.incomplete {
		position = stamp.AppendSalt(position)
	}
	s.position, s.files, s.bytes = gapless.Position(position), sum.files, sum.bytes
	return s.position, nil
}

// Estimate returns how many files there were when the last position was taken,
// and their size.
func (s *source) Estimate(ctx context.Context, p gapless.Partition) (records, bytes int64, err error) {
	if s.position == "" {
		_, err = s.Position(ctx, p)
	}
	return s.files, s.bytes, err
}

func (s *source) survey(ctx context.Context) (*survey, error) {
	sum := &survey{started: s.clock.Now(), hash: xxh3.New128()}
	return sum, s.tree.walk(ctx, sum, "")
}

// survey is the visitor that computes a position.
type survey struct {
	started    time.Time
	hash       *xxh3.Hasher128
	line       []byte
	freshest   time.Duration // coarsest clock step of what is fresh; 0: nothing
	incomplete bool
	files      int64
	bytes      int64
}

func (v *survey) folder(path string, st stamp.Stamp) error {
	st.Size = 0 // of a folder, it says nothing
	return v.add('d', path, st)
}

func (v *survey) file(path string, st stamp.Stamp) error {
	v.files++
	v.bytes += st.Size
	return v.add('f', path, st)
}

func (v *survey) add(kind byte, path string, st stamp.Stamp) error {
	if st.Fresh(v.started) {
		v.freshest = max(v.freshest, st.Step())
	}
	v.line = append(append(v.line[:0], kind), path...)
	v.line = st.Append(append(v.line, 0))
	_, err := v.hash.Write(append(v.line, 0))
	return err
}

func (v *survey) unlisted(string, error) error {
	v.incomplete = true
	return nil
}

func (v *survey) unreadable(path string, _ error) error { return v.add('u', path, stamp.Stamp{}) }

// ReadAll emits every file. Folders that cannot be listed are named in the
// error after everything else has been emitted.
func (s *source) ReadAll(ctx context.Context, p gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	v := &emitter{source: s, ctx: ctx, out: out, position: s.position, hasher: hasher{tree: s.tree}}
	if after != "" {
		if ok, err := s.CanResume(ctx, p, after, positionOf(after)); err != nil || !ok {
			return errors.Join(err, gapless.Expired(errors.New("the tree changed since the interrupted run")))
		}
		v.position = positionOf(after)
	}
	_, last, _ := strings.Cut(string(after), " ")
	v.started = s.clock.Now()
	out.Batch().Origin = s.tree.path
	if err := s.tree.walk(ctx, v, last); err != nil {
		return err
	}
	if len(v.problems) > 0 {
		return gapless.Recoverable(fmt.Errorf("%d of the folders could not be listed completely: %w", v.failed, errors.Join(v.problems...)))
	}
	return nil
}

// CanResume reports whether the tree is still as it was when the interrupted
// enumeration began.
func (s *source) CanResume(ctx context.Context, p gapless.Partition, after gapless.Mark, started gapless.Position) (bool, error) {
	if started == "" || positionOf(after) != started {
		return false, nil
	}
	now, err := s.Position(ctx, p)
	return now == started, err
}

// A mark is the position it belongs to, a space, and the last path emitted.
func markOf(p gapless.Position, path string) gapless.Mark {
	return gapless.Mark(string(p) + " " + path)
}

func positionOf(m gapless.Mark) gapless.Position {
	position, _, _ := strings.Cut(string(m), " ")
	return gapless.Position(position)
}

// maxProblems bounds how many folders an error names.
const maxProblems = 10

func (v *emitter) unlisted(path string, err error) error {
	v.failed++
	if len(v.problems) < maxProblems {
		v.problems = append(v.problems, fmt.Errorf("list %s: %w", v.source.tree.join(path), err))
	}
	return nil
}

func (v *emitter) unreadable(path string, err error) error {
	return v.reject(path, fmt.Errorf("look at %s: %w", v.source.tree.join(path), err))
}

func (t *tree) join(path string) string {
	if path == "" {
		return t.path
	}
	return t.path + "/" + path
}

// unreachable classifies the error of opening a root.
func unreachable(path string, err error) error {
	cause := gapless.CauseUnreachable
	if errors.Is(err, fs.ErrPermission) {
		cause = gapless.CauseForbidden
	}
	return gapless.Because(cause, fmt.Errorf("open folder %s: %w", path, err))
}
