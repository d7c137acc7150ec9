package transfer

import (
	"bufio"
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"syscall"

	"github.com/gapless-sync/gapless"
)

// nameKey stands for a path in files of keys and as the name of what is not
// finished.
type nameKey [16]byte

func keyOf(path string) nameKey {
	sum := sha256.Sum256([]byte(path))
	return nameKey(sum[:16])
}

// mention is one place where a path occurs.
type mention struct {
	key  nameKey
	kind mentionKind
	// number of the file in the list.
	number uint32
	// at and length of the line that mentions it.
	at     int64
	length uint32
}

type mentionKind uint8

// The kinds, in the order in which mentions of one path come.
const (
	asFile mentionKind = iota
	asFolder
	asVerified // in the journal
)

func (m mention) compare(n mention) int {
	return cmp.Or(
		slices.Compare(m.key[:], n.key[:]), cmp.Compare(m.kind, n.kind),
		cmp.Compare(m.number, n.number), cmp.Compare(m.at, n.at),
	)
}

const (
	mentionSize = 16 + 1 + 4 + 8 + 4
	// runMentions are sorted in memory at a time.
	runMentions = 64 << 10
	runBuffer   = 16 << 10
)

func (m mention) append(dst []byte) []byte {
	dst = append(dst, m.key[:]...)
	dst = append(dst, byte(m.kind))
	dst = binary.BigEndian.AppendUint32(dst, m.number)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.at))
	return binary.BigEndian.AppendUint32(dst, m.length)
}

func parseMention(p []byte) mention {
	return mention{
		key: nameKey(p[:16]), kind: mentionKind(p[16]), number: binary.BigEndian.Uint32(p[17:]),
		at: int64(binary.BigEndian.Uint64(p[21:])), length: binary.BigEndian.Uint32(p[29:]),
	}
}

// mentions puts any number of mentions in order, in bounded memory.
type mentions struct {
	buffer []mention
	file   *os.File // of sorted runs; nil while all is in memory
	out    *bufio.Writer
	runs   []int // how many mentions each run has
}

func (s *mentions) add(m mention) error {
	s.buffer = append(s.buffer, m)
	if len(s.buffer) < runMentions {
		return nil
	}
	return s.spill()
}

func (s *mentions) spill() error {
	if s.file == nil {
		f, err := temporary()
		if err != nil {
			return err
		}
		s.file, s.out = f, bufio.NewWriterSize(f, 64<<10)
	}
	slices.SortFunc(s.buffer, mention.compare)
	var packed [mentionSize]byte
	for _, m := range s.buffer {
		if _, err := s.out.Write(m.append(packed[:0])); err != nil {
			return listProblem(err)
		}
	}
	s.runs = append(s.runs, len(s.buffer))
	s.buffer = s.buffer[:0]
	return nil
}

func (s *mentions) close() error { return discard(s.file) }

// sorted returns all mentions in order, those of one path together. The slice is
// good until the next.
func (s *mentions) sorted() iter.Seq2[[]mention, error] {
	return func(yield func([]mention, error) bool) {
		var same []mention
		for m, err := range s.merged() {
			if err != nil {
				yield(nil, err)
				return
			}
			if len(same) > 0 && same[0].key != m.key {
				if !yield(same, nil) {
					return
				}
				same = same[:0]
			}
			same = append(same, m)
		}
		if len(same) > 0 {
			yield(same, nil)
		}
	}
}

func (s *mentions) merged() iter.Seq2[mention, error] {
	return func(yield func(mention, error) bool) {
		slices.SortFunc(s.buffer, mention.compare)
		runs, err := s.open()
		for err == nil && len(runs) > 0 {
			if !yield(runs[0].head, nil) {
				return
			}
			err = runs[0].next()
			if errors.Is(err, io.EOF) {
				heap.Pop(&runs)
				err = nil
			} else {
				heap.Fix(&runs, 0)
			}
		}
		if err != nil {
			yield(mention{}, listProblem(err))
		}
	}
}

// open returns the runs that have a mention, the smallest first.
func (s *mentions) open() (mergeHeap, error) {
	var runs mergeHeap
	if len(s.buffer) > 0 {
		runs = append(runs, &mergeRun{head: s.buffer[0], rest: s.buffer[1:]})
	}
	if s.file == nil {
		return runs, nil
	}
	if err := s.out.Flush(); err != nil {
		return nil, err
	}
	at := int64(0)
	for _, n := range s.runs {
		length := int64(n) * mentionSize
		run := &mergeRun{in: bufio.NewReaderSize(io.NewSectionReader(s.file, at, length), runBuffer)}
		if err := run.next(); err != nil {
			return nil, err
		}
		runs = append(runs, run)
		at += length
	}
	heap.Init(&runs)
	return runs, nil
}

// mergeRun is a sorted run, in memory or on disk.
type mergeRun struct {
	head mention
	rest []mention
	in   *bufio.Reader
}

func (r *mergeRun) next() error {
	if r.in == nil {
		if len(r.rest) == 0 {
			return io.EOF
		}
		r.head, r.rest = r.rest[0], r.rest[1:]
		return nil
	}
	var packed [mentionSize]byte
	if _, err := io.ReadFull(r.in, packed[:]); err != nil {
		return err
	}
	r.head = parseMention(packed[:])
	return nil
}

type mergeHeap []*mergeRun

func (h mergeHeap) Len() int { return len(h) }

func (h mergeHeap) Less(i, j int) bool { return h[i].head.compare(h[j].head) < 0 }

func (h mergeHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *mergeHeap) Push(x any) { *h = append(*h, x.(*mergeRun)) }

func (h *mergeHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// temporary returns a new file that has no name any more where the system allows
// that; otherwise discard takes it away.
func temporary() (*os.File, error) {
	f, err := os.CreateTemp("", "gapless-list-*")
	if err != nil {
		return nil, listProblem(err)
	}
	_ = os.Remove(f.Name()) // where open files keep their name, discard removes it
	return f, nil
}

// listProblem is an error of what is on disk while a list is put in order. A
// disk that is full there, as in the target, does not stay so.
func listProblem(err error) error {
	err = fmt.Errorf("put the list of files in order: %w", err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return gapless.Errorf(gapless.CodeStoreFull, os.TempDir(), "%w", gapless.Recoverable(err))
	}
	return err
}

func discard(f *os.File) error {
	if f == nil {
		return nil
	}
	err := f.Close()
	if removed := os.Remove(f.Name()); removed != nil && !errors.Is(removed, os.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}
