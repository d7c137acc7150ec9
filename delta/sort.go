package delta

import (
	"slices"

	"github.com/gapless-sync/gapless"
)

// sorted yields log entries by key hash, and those of one key in the order in
// which they were logged. next returns nil after the last; the entry is valid
// until the next call.
type sorted interface {
	next() (*entry, error)
}

// run is as many entries as memory allows, sorted.
type run struct {
	bytes []byte
	refs  []ref
}

// ref is one entry of a run: the top of its key hash, and where it is.
type ref struct {
	hi uint64
	at int
}

// fits reports whether an entry can be added without exceeding the memory that
// was set aside. A run takes at least one entry.
func (r *run) fits(e *entry) bool {
	room := cap(r.bytes) - len(r.bytes)
	return len(r.refs) == 0 || len(r.refs) < cap(r.refs) && room >= e.size()
}

func (r *run) add(e *entry) {
	r.refs = append(r.refs, ref{hi: e.kh.Hi, at: len(r.bytes)})
	r.bytes = e.append(r.bytes)
}

// size is how much memory the run takes.
func (r *run) size() int { return len(r.bytes) + len(r.refs)*refBytes }

// raw returns an entry as it is encoded.
func (r *run) raw(at ref) []byte {
	var e entry
	return r.bytes[at.at:][:e.decode(r.bytes[at.at:])]
}

func (r *run) reset() { r.bytes, r.refs = r.bytes[:0], r.refs[:0] }

// sort puts the entries in order: by the top bits a byte at a time, in place,
// and the few that share them by comparing.
func (r *run) sort() { r.radix(r.refs, 56) }

func (r *run) radix(refs []ref, shift int) {
	if len(refs) <= 32 || shift < 0 {
		slices.SortFunc(refs, r.compare)
		return
	}
	var next, end [256]int
	for i := range refs {
		end[byte(refs[i].hi>>shift)]++
	}
	at := 0
	for b, n := range end {
		next[b] = at
		at += n
		end[b] = at
	}
	for b := range next {
		for next[b] < end[b] {
			moved := refs[next[b]]
			to := byte(moved.hi >> shift)
			for int(to) != b {
				refs[next[to]], moved = moved, refs[next[to]]
				next[to]++
				to = byte(moved.hi >> shift)
			}
			refs[next[b]] = moved
			next[b]++
		}
	}
	from := 0
	for _, to := range end {
		if to-from > 1 {
			r.radix(refs[from:to], shift-8)
		}
		from = to
	}
}

func (r *run) compare(a, b ref) int {
	switch {
	case a.hi < b.hi:
		return -1
	case a.hi > b.hi:
		return 1
	}
	if la, lb := number(r.bytes[a.at+1:]), number(r.bytes[b.at+1:]); la != lb {
		if la < lb {
			return -1
		}
		return 1
	}
	return a.at - b.at
}

// distinct reports whether no two entries have the same key.
func (r *run) distinct() bool {
	for i := 1; i < len(r.refs); i++ {
		if r.refs[i-1].hi == r.refs[i].hi {
			return false
		}
	}
	return true
}

// runReader yields the entries of a run that is in memory.
type runReader struct {
	run   *run
	at    int
	entry entry
}

func (r *runReader) next() (*entry, error) {
	if r.at == len(r.run.refs) {
		return nil, nil //nolint:nilnil // nil is the end
	}
	r.entry.decode(r.run.bytes[r.run.refs[r.at].at:])
	r.at++
	return &r.entry, nil
}

// merge yields the entries of several runs in a file as one. It is a heap of
// readers whose entries at hand ascend.
type merge struct {
	readers []*mergeReader
	started bool
}

type mergeReader struct {
	logReader
	number int
}

func (m *merge) next() (*entry, error) {
	if !m.started {
		if err := m.start(); err != nil {
			return nil, err
		}
	} else if len(m.readers) > 0 {
		more, err := m.readers[0].next()
		if err != nil {
			return nil, err
		}
		if !more {
			last := len(m.readers) - 1
			m.readers[0] = m.readers[last]
			m.readers = m.readers[:last]
		}
		m.down(0)
	}
	if len(m.readers) == 0 {
		return nil, nil //nolint:nilnil // nil is the end
	}
	return &m.readers[0].entry, nil
}

func (m *merge) start() error {
	m.started = true
	for _, r := range m.readers {
		if _, err := r.next(); err != nil { // no run is empty
			return err
		}
	}
	for i := len(m.readers)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	return nil
}

// down moves the reader at i to where it belongs.
func (m *merge) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(m.readers) {
			return
		}
		if child+1 < len(m.readers) && m.before(child+1, child) {
			child++
		}
		if !m.before(child, i) {
			return
		}
		m.readers[i], m.readers[child] = m.readers[child], m.readers[i]
		i = child
	}
}

func (m *merge) before(i, j int) bool {
	a, b := m.readers[i], m.readers[j]
	if a.entry.kh != b.entry.kh {
		return less(a.entry.kh, b.entry.kh)
	}
	return a.number < b.number
}

// runBytes bounds a run of the log, so that sorting it and writing it in order
// stay within the processor's cache.
const runBytes = 2 << 20

// extent is where a run lies in the log.
type extent struct{ from, to int64 }

// runFinder finds the runs of a log that is read from its beginning.
type runFinder struct {
	begins []int64
	last   gapless.Hash128
	torn   bool // the order breaks within a frame
}

func (f *runFinder) see(r *logReader) {
	if len(f.begins) == 0 || less(r.entry.kh, f.last) {
		f.torn = f.torn || !r.first
		f.begins = append(f.begins, r.begins)
	}
	f.last = r.entry.kh
}

// found returns the runs up to end; none if the log was not written in runs.
func (f *runFinder) found(end int64) []extent {
	if f.torn {
		return nil
	}
	runs := make([]extent, len(f.begins))
	for i := len(runs) - 1; i >= 0; i-- {
		runs[i] = extent{f.begins[i], end}
		end = f.begins[i]
	}
	return runs
}
