package tabular

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/gapless-sync/gapless"
)

// item is what is sorted: one operation on a key of a collection. Items are
// ordered by collection, key and ordinal.
type item struct {
	collection uint32
	scope      uint32
	ordinal    uint64 // of the operation among all, oldest first
	op         gapless.Op
	key        []byte
	version    []byte
}

func (a item) compare(b item) int {
	if c := cmp.Compare(a.collection, b.collection); c != 0 {
		return c
	}
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c
	}
	return cmp.Compare(a.ordinal, b.ordinal)
}

func (a item) same(b item) bool { return a.collection == b.collection && bytes.Equal(a.key, b.key) }

// sorterMemory bounds what a sorter holds before it writes a sorted run.
const sorterMemory = 4 << 20

// sorter sorts any number of items in bounded memory.
type sorter struct {
	disk   *disk
	path   string // of the file for runs
	limit  int
	held   int // bytes in memory
	arena  []byte
	items  []item
	spill  *diskFile
	runs   []int64 // where each run ends
	bounds []byte
}

func newSorter(d *disk, path string) *sorter {
	return &sorter{disk: d, path: path, limit: sorterMemory}
}

// add copies an item.
func (s *sorter) add(it item) error {
	const itemSize = 72
	size := len(it.key) + len(it.version)
	if s.held += size + itemSize; s.held > s.limit && len(s.items) > 0 {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if cap(s.arena)-len(s.arena) < size {
		// Items keep the arena they lie in.
		s.arena = make([]byte, 0, max(size, s.limit/8))
	}
	s.arena = append(append(s.arena, it.key...), it.version...)
	stored := s.arena[len(s.arena)-size:]
	it.key, it.version = stored[:len(it.key):len(it.key)], stored[len(it.key):]
	s.items = append(s.items, it)
	return nil
}

// flush writes a sorted run.
func (s *sorter) flush() error {
	slices.SortFunc(s.items, item.compare)
	if s.spill == nil {
		f, err := s.disk.create(s.path)
		if err != nil {
			return err
		}
		s.spill = f
	}
	for _, it := range s.items {
		s.bounds = it.append(s.bounds[:0])
		if err := s.spill.Append(s.bounds); err != nil {
			return err
		}
	}
	s.runs = append(s.runs, s.spill.size)
	s.items, s.arena, s.held = s.items[:0], s.arena[:0], 0
	return nil
}

// append writes an item as it stands in a run.
func (a item) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, a.collection)
	dst = binary.BigEndian.AppendUint64(dst, a.ordinal)
	return appendEntry(dst, a.op, uint64(a.scope), a.key, a.version, 0)
}

// each calls fn for every item in order; the item's slices are valid until fn
// returns.
func (s *sorter) each(fn func(item) error) error {
	if s.spill == nil {
		slices.SortFunc(s.items, item.compare)
		for _, it := range s.items {
			if err := fn(it); err != nil {
				return err
			}
		}
		return nil
	}
	if err := errors.Join(s.flush(), s.spill.flush()); err != nil {
		return err
	}
	var queue runQueue
	from := int64(0)
	for _, to := range s.runs {
		r := &run{text: bufio.NewReaderSize(io.NewSectionReader(s.spill.file, from, to-from), 16<<10)}
		if from = to; r.next() {
			queue = append(queue, r)
		}
		if r.err != nil {
			return r.err
		}
	}
	heap.Init(&queue)
	for len(queue) > 0 {
		top := queue[0]
		if err := fn(top.item); err != nil {
			return err
		}
		if top.next() {
			heap.Fix(&queue, 0)
		} else {
			heap.Pop(&queue)
		}
		if top.err != nil {
			return top.err
		}
	}
	return nil
}

// chains calls fn for every key with what decides about it, oldest first: its
// last upsert or delete, if there is one, and the patches that follow. drop, if
// set, is called with the ordinal of each operation that was superseded.
func (s *sorter) chains(drop func(ordinal uint64), fn func([]item) error) error {
	var chain []item
	err := s.each(func(it item) error {
		if len(chain) > 0 && !chain[0].same(it) {
			if err := fn(chain); err != nil {
				return err
			}
			chain = chain[:0]
		}
		if it.op != gapless.OpPatch {
			for _, old := range chain {
				if drop != nil {
					drop(old.ordinal)
				}
			}
			chain = chain[:0]
		}
		it.key, it.version = bytes.Clone(it.key), bytes.Clone(it.version)
		chain = append(chain, it)
		return nil
	})
	if err == nil && len(chain) > 0 {
		err = fn(chain)
	}
	return err
}

// close removes the runs.
func (s *sorter) close() {
	if s.spill != nil {
		_ = s.spill.Close() // nobody reads it again, and opening the store removes what stays
		_ = os.Remove(s.path)
	}
}

// run is a sorted run being read back.
type run struct {
	text   *bufio.Reader
	head   [13]byte
	buffer []byte
	item   item
	err    error
}

// next reads the next item; false at the end and on errors.
func (r *run) next() bool {
	r.buffer = r.buffer[:0]
	head := r.head[:]
	if _, err := io.ReadFull(r.text, head); err != nil {
		if !errors.Is(err, io.EOF) {
			r.err = fmt.Errorf("read sorted run: %w", err)
		}
		return false
	}
	r.item = item{collection: binary.BigEndian.Uint32(head), ordinal: binary.BigEndian.Uint64(head[4:]), op: gapless.Op(head[12])}
	scope, err := binary.ReadUvarint(r.text)
	if err != nil {
		r.err = err
		return false
	}
	r.item.scope = uint32(scope)
	var lengths [2]int
	for i := range lengths {
		n, err := binary.ReadUvarint(r.text)
		if err != nil {
			r.err = err
			return false
		}
		lengths[i] = int(n)
		r.buffer = slices.Grow(r.buffer, lengths[i])[:len(r.buffer)+lengths[i]]
		if _, err := io.ReadFull(r.text, r.buffer[len(r.buffer)-lengths[i]:]); err != nil {
			r.err = err
			return false
		}
	}
	r.item.key, r.item.version = r.buffer[:lengths[0]:lengths[0]], r.buffer[lengths[0]:]
	if _, err := r.text.ReadByte(); err != nil { // the length, 0
		r.err = err
		return false
	}
	return true
}

// runQueue is a heap of runs by their next item.
type runQueue []*run

func (q runQueue) Len() int           { return len(q) }
func (q runQueue) Less(i, j int) bool { return q[i].item.compare(q[j].item) < 0 }
func (q runQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *runQueue) Push(x any)        { *q = append(*q, x.(*run)) }
func (q *runQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
