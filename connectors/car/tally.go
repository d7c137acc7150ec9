package car

import (
	"maps"

	"github.com/gapless-sync/gapless"
)

// tally counts the rows of each collection that a partition has pushed and no
// checkpoint stands for. A run that was broken off pushes those again.
type tally struct {
	rows map[string]uint64
	// marked are those before the last mark.
	mark   gapless.Mark
	marked map[string]uint64
}

// tallyOf returns the tally of a partition.
func (s *session) tallyOf(partition string) *tally {
	t := s.tallies[partition]
	if t == nil {
		t = &tally{rows: map[string]uint64{}}
		s.tallies[partition] = t
	}
	return t
}

// reach notes that everything up to a mark was pushed.
func (t *tally) reach(mark gapless.Mark) { t.mark, t.marked = mark, maps.Clone(t.rows) }

// take returns what a checkpoint stands for, and counts it no more.
func (t *tally) take(c gapless.Checkpoint) map[string]uint64 {
	counted := t.rows
	if c.Mark != "" && c.Mark == t.mark {
		counted = t.marked
	}
	rest := map[string]uint64{}
	for name, n := range t.rows {
		rest[name] = n - counted[name]
	}
	*t = tally{rows: rest}
	return counted
}

// account adds what checkpoints stand for to the full import, and takes what
// was deleted outside of one from the rows of the last.
func (s *session) account(checkpoints []gapless.Checkpoint) {
	for _, c := range checkpoints {
		if rows := s.tallyOf(c.Partition).take(c); s.state.full != nil {
			s.state.full.add(rows)
		}
	}
	for name, n := range s.deleted {
		if rows := s.state.sidecar.Rows[name]; rows > 0 && s.state.full == nil {
			s.state.sidecar.Rows[name] = rows - min(n, rows)
		}
	}
	clear(s.deleted)
}

// accountAll adds everything that was pushed to the full import.
func (s *session) accountAll() {
	for _, t := range s.tallies {
		s.state.full.add(t.take(gapless.Checkpoint{}))
	}
}

func (f *fullImport) add(rows map[string]uint64) {
	for name, n := range rows {
		f.Rows[name] += n
	}
}
