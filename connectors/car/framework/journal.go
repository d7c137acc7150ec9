package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/durable"
)

// lane is one of the files of a journal. They are read one after the other, so
// that edges follow the vertices that they join, and deletes follow both.
type lane int

const (
	laneVertices lane = iota
	laneEdges
	laneRest // deletes, and vertices that came when their lane had ended
	lanes
)

func (l lane) file() string { return [...]string{"vertices", "edges", "rest"}[l] }

// journal keeps on disk what an import collects, so that it can be read behind
// the hooks and, once it is complete, again after a crash. It is a folder:
//
//	vertices, edges, rest  frames, see frame.go
//	complete.json          written last: sizes and digests of the files
//
// One goroutine at a time writes, another may read.
type journal struct {
	dir string
	// news holds one token whenever more can be read than before.
	news chan struct{}

	mu    sync.Mutex // guards what follows
	lanes [lanes]laneFile
	// ended tells, by lane, that nothing more is coming; failed why the whole
	// collection ended early.
	ended  [lanes]bool
	failed error
}

// laneFile is one file of a journal that is being written.
type laneFile struct {
	file    *os.File
	pending []byte // frames not written yet
	size    int64  // of the frames written
	sum     *xxh3.Hasher
}

// flushBytes is how much of a lane is held before it is written.
const flushBytes = 256 << 10

// seal is what complete.json says.
type seal struct {
	Source string `json:"source"`
	// Position is the model state id that the import leads to.
	Position string             `json:"position"`
	Lanes    [lanes]sealedLane  `json:"lanes"`
	Counts   map[string]*counts `json:"counts"`
}

type sealedLane struct {
	Size int64  `json:"size"`
	Sum  uint64 `json:"sum,string"`
}

const sealFile = "complete.json"

// createJournal starts an empty journal in a folder of its own below dir.
func createJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create folder for the journal: %w", err)
	}
	own, err := os.MkdirTemp(dir, "import-*")
	if err != nil {
		return nil, fmt.Errorf("create folder for the journal: %w", err)
	}
	j := &journal{dir: own, news: make(chan struct{}, 1)}
	for l := range j.lanes {
		f, err := os.OpenFile(filepath.Join(own, lane(l).file()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("create journal: %w", err), j.close())
		}
		j.lanes[l] = laneFile{file: f, sum: xxh3.New()}
	}
	return j, nil
}

// append adds a frame to a lane that has not ended.
func (j *journal) append(l lane, f frame) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ended[l] {
		return gapless.Unrecoverable(errors.New("a row is added when the import has been read to its end"))
	}
	file := &j.lanes[l]
	file.pending = f.append(file.pending)
	if len(file.pending) < flushBytes {
		return nil
	}
	return j.flush(l)
}

// flush hands what is pending to readers. The lock is held.
func (j *journal) flush(l lane) error {
	file := &j.lanes[l]
	if len(file.pending) == 0 {
		return nil
	}
	if _, err := file.file.WriteAt(file.pending, file.size); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	_, _ = file.sum.Write(file.pending) // never fails
	file.size += int64(len(file.pending))
	file.pending = file.pending[:0]
	j.tell()
	return nil
}

// tell wakes the reader.
func (j *journal) tell() {
	select {
	case j.news <- struct{}{}:
	default:
	}
}

// end says that nothing more comes in a lane.
func (j *journal) end(l lane) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.flush(l)
	j.ended[l] = err == nil
	j.tell()
	return err
}

// fail ends the collection: readers get err instead of what is left.
func (j *journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failed = err
	j.tell()
}

// wait waits until a lane can be read beyond an offset, and returns how far: to
// the offset itself if the lane has ended there.
func (j *journal) wait(ctx context.Context, l lane, offset int64) (size int64, err error) {
	for {
		j.mu.Lock()
		size, ended, failed := j.lanes[l].size, j.ended[l], j.failed
		j.mu.Unlock()
		if failed != nil || size > offset || ended {
			return size, failed
		}
		select {
		case <-j.news:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// complete makes the journal durable and says so in the file that a later run
// looks for. Every lane has ended.
func (j *journal) complete(s seal) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for l := range j.lanes {
		if err := j.lanes[l].file.Sync(); err != nil {
			return fmt.Errorf("sync journal: %w", err)
		}
		s.Lanes[l] = sealedLane{Size: j.lanes[l].size, Sum: j.lanes[l].sum.Sum64()}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the seal of the journal: %w", err)
	}
	if err := durable.WriteBytes(filepath.Join(j.dir, sealFile), text); err != nil {
		return err
	}
	return durable.SyncFolder(filepath.Dir(j.dir))
}

// close closes the files and keeps them.
func (j *journal) close() error {
	var errs []error
	for l := range j.lanes {
		if f := j.lanes[l].file; f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// openJournal opens a complete journal that is to be read from a place on, and
// checks every byte of it. Whatever is missing, torn or altered is an error,
// and so is a place where no frame begins.
func openJournal(dir string, at place) (*journal, seal, error) {
	var s seal
	text, err := os.ReadFile(filepath.Join(dir, sealFile))
	if err != nil {
		return nil, s, fmt.Errorf("read the seal of the journal: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, s, fmt.Errorf("decode the seal of the journal: %w", err)
	}
	j := &journal{dir: dir, news: make(chan struct{}, 1)}
	for l := range j.lanes {
		f, err := os.Open(filepath.Join(dir, lane(l).file()))
		if err != nil {
			return nil, s, errors.Join(fmt.Errorf("open journal: %w", err), j.close())
		}
		j.lanes[l], j.ended[l] = laneFile{file: f, size: s.Lanes[l].Size}, true
		if err := verify(f, s.Lanes[l], at[l]); err != nil {
			return nil, s, errors.Join(fmt.Errorf("journal file %s: %w", lane(l).file(), err), j.close())
		}
	}
	return j, s, nil
}

// verify reads a lane to its end, and looks for a frame that begins at start.
func verify(f *os.File, sealed sealedLane, start int64) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if info.Size() != sealed.Size {
		return fmt.Errorf("%d bytes instead of %d", info.Size(), sealed.Size)
	}
	sum, found := xxh3.New(), start == sealed.Size
	r := laneReader{file: f}
	for r.offset < sealed.Size {
		chunk, err := r.next(sealed.Size)
		if err != nil {
			return err
		}
		_, _ = sum.Write(chunk) // never fails
		for at := r.offset - int64(len(chunk)); len(chunk) > 0; {
			found = found || at == start
			_, size, err := cutFrame(chunk)
			if err != nil {
				return fmt.Errorf("at byte %d: %w", at, err)
			}
			at, chunk = at+int64(size), chunk[size:]
		}
	}
	if sum.Sum64() != sealed.Sum {
		return errors.New("its digest is another one")
	}
	if !found {
		return fmt.Errorf("no frame begins at byte %d", start)
	}
	return nil
}

// forget removes every journal below dir.
func forget(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list journals: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove journal: %w", err)
		}
	}
	return nil
}

// place is how far a journal was read: the offset in each lane. With the name
// of the journal it is the mark that an import resumes behind.
type place [lanes]int64

func (p place) mark(j *journal) string {
	text := []byte(filepath.Base(j.dir))
	for _, offset := range p {
		text = strconv.AppendInt(append(text, ':'), offset, 10)
	}
	return string(text)
}

// parseMark returns the folder of the journal below dir and the place.
func parseMark(dir, mark string) (string, place, error) {
	var p place
	fields := strings.Split(mark, ":")
	if len(fields) != int(lanes)+1 || !strings.HasPrefix(fields[0], "import-") || filepath.Base(fields[0]) != fields[0] {
		return "", p, fmt.Errorf("no mark of a journal: %.80q", mark)
	}
	for l := range p {
		n, err := strconv.ParseInt(fields[l+1], 10, 64)
		if err != nil || n < 0 {
			return "", p, fmt.Errorf("no mark of a journal: %.80q", mark)
		}
		p[l] = n
	}
	return filepath.Join(dir, fields[0]), p, nil
}
