package pushapi

import (
	"bufio"
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
)

// sortMemory is about how much of an enumeration is sorted at once; the rest
// waits in temporary files.
const sortMemory = 32 << 20

// sortEntries yields entries in ascending order of URI bytes. Memory is bounded
// by limit, whatever there is to sort. An error is the last thing yielded.
func sortEntries(entries iter.Seq2[SyncedEntry, error], limit int) iter.Seq2[SyncedEntry, error] {
	return func(yield func(SyncedEntry, error) bool) {
		s := &entrySorter{limit: limit}
		defer s.remove()
		for entry, err := range entries {
			if err == nil {
				err = s.add(entry)
			}
			if err != nil {
				yield(SyncedEntry{}, err)
				return
			}
		}
		if err := s.merge(yield); err != nil {
			yield(SyncedEntry{}, err)
		}
	}
}

// entrySorter keeps sorted runs in files and the last one in memory.
type entrySorter struct {
	limit int
	held  []SyncedEntry
	size  int
	runs  []*os.File
}

func (s *entrySorter) add(entry SyncedEntry) error {
	const overhead = 64
	s.held = append(s.held, entry)
	if s.size += len(entry.URI) + len(entry.Stamp) + overhead; s.size < s.limit {
		return nil
	}
	return s.spill()
}

func (s *entrySorter) sort() {
	slices.SortStableFunc(s.held, func(a, b SyncedEntry) int { return strings.Compare(a.URI, b.URI) })
}

// spill writes what is held to a file.
func (s *entrySorter) spill() error {
	s.sort()
	file, err := os.CreateTemp("", "gapless-entries-*")
	if err != nil {
		return fmt.Errorf("sort entries: %w", err)
	}
	s.runs = append(s.runs, file)
	out := bufio.NewWriterSize(file, 256<<10)
	var line []byte
	for _, entry := range s.held {
		line = AppendEntry(line[:0], entry, EscapeFull)
		if _, err := out.Write(line); err != nil {
			return fmt.Errorf("sort entries: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("sort entries: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("sort entries: %w", err)
	}
	clear(s.held)
	s.held, s.size = s.held[:0], 0
	return nil
}

// remove removes the files; there is nothing to do about a failure.
func (s *entrySorter) remove() {
	for _, file := range s.runs {
		_ = errors.Join(file.Close(), os.Remove(file.Name()))
	}
}

// merge yields all entries and returns what went wrong.
func (s *entrySorter) merge(yield func(SyncedEntry, error) bool) error {
	s.sort()
	var runs runHeap
	defer func() {
		for _, r := range runs {
			r.stop()
		}
	}()
	for i := range len(s.runs) + 1 {
		sequence := held(s.held)
		if i < len(s.runs) {
			sequence = ReadEntries(s.runs[i], EscapeFull)
		}
		next, stop := iter.Pull2(sequence)
		r := &entryRun{next: next, stop: stop, number: i}
		if more, err := r.advance(); err != nil {
			return err
		} else if more {
			runs = append(runs, r)
		}
	}
	heap.Init(&runs)
	for len(runs) > 0 {
		first := runs[0]
		if !yield(first.entry, nil) {
			return nil
		}
		more, err := first.advance()
		if err != nil {
			return err
		}
		if more {
			heap.Fix(&runs, 0)
		} else {
			heap.Pop(&runs)
		}
	}
	return nil
}

func held(entries []SyncedEntry) iter.Seq2[SyncedEntry, error] {
	return func(yield func(SyncedEntry, error) bool) {
		for _, entry := range entries {
			if !yield(entry, nil) {
				return
			}
		}
	}
}

// entryRun is a sorted run, of which the first entry was read.
type entryRun struct {
	entry  SyncedEntry
	number int
	next   func() (SyncedEntry, error, bool)
	stop   func()
}

// advance reads the next entry, or ends the run.
func (r *entryRun) advance() (more bool, err error) {
	entry, err, more := r.next()
	if err != nil || !more {
		r.stop()
	}
	r.entry = entry
	return more && err == nil, err
}

// runHeap has the run with the lowest entry on top.
type runHeap []*entryRun

func (h runHeap) Len() int { return len(h) }
func (h runHeap) Less(i, j int) bool {
	return cmp.Or(strings.Compare(h[i].entry.URI, h[j].entry.URI), h[i].number-h[j].number) < 0
}
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)   { *h = append(*h, x.(*entryRun)) }
func (h *runHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
