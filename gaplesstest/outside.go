package gaplesstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/gapless-sync/gapless"
)

// outside is the outside system of a source under check, and the account of
// everything that was done to it, by which what the source says is judged.
type outside struct {
	SourceSystem
	t       testing.TB
	breaker *Breaker
	opened  gapless.Source
	account
	brief
}

// put gives a record its next revision.
func (o *outside) put(name string) {
	e := o.next(name)
	o.breaker.aside(func() { o.Put(e.name, e.revision) })
}

// fill puts records from to below to.
func (o *outside) fill(from, to int) {
	for i := from; i < to; i++ {
		o.put(name(i))
	}
}

// remove deletes a record; it is left alone if nothing can.
func (o *outside) remove(name string) {
	if o.Remove == nil {
		return
	}
	o.gone(name)
	o.breaker.aside(func() { o.Remove(name) })
}

// vanish takes a partition away.
func (o *outside) vanish() {
	o.breaker.aside(func() {
		for _, name := range o.Vanish() {
			o.gone(name)
		}
	})
}

// inStep fails the check if r is not the state at a moment or what became of
// it since.
func (o *outside) inStep(what string, r replica, since moment, deletesTold bool) {
	o.t.Helper()
	if problems := o.differences(r, since, deletesTold); len(problems) > 0 {
		o.t.Errorf("%s:\n%s", what, list(problems))
	}
}

// open returns the source as a new process has it.
func (o *outside) open() gapless.Source {
	o.t.Helper()
	o.close()
	o.opened = o.Open()
	if o.opened == nil {
		o.t.Fatal("SourceSystem.Open returned nil")
	}
	return o.opened
}

// close ends the process that opened the source.
func (o *outside) close() {
	o.t.Helper()
	if o.opened != nil {
		closeIt(o.t, o.opened)
		o.opened = nil
	}
}

// model returns the change model of a source.
func (o *outside) model(s gapless.Source) gapless.ChangeModel {
	o.t.Helper()
	d, err := s.Describe(o.t.Context())
	if err != nil {
		o.t.Fatalf("describe: %v", err)
	}
	return d.Model
}

// partitions lists the partitions of a source as the engine sees them.
func partitions(ctx context.Context, s gapless.Source) ([]gapless.Partition, error) {
	if p, ok := s.(gapless.Partitioner); ok {
		return p.Partitions(ctx)
	}
	d, err := s.Describe(ctx)
	var all []gapless.Partition
	for _, c := range d.Collections {
		all = append(all, gapless.Partition{ID: c, Collection: c})
	}
	return all, err
}

func (o *outside) partitions(s gapless.Source) []gapless.Partition {
	o.t.Helper()
	all, err := partitions(o.t.Context(), s)
	if err != nil {
		o.t.Fatalf("list partitions: %v", err)
	}
	return all
}

// positions are those of all partitions, by id.
type positions map[string]gapless.Position

// take takes the positions of all partitions; none of a source without.
func take(ctx context.Context, s gapless.Source) (positions, error) {
	all, err := partitions(ctx, s)
	p, ok := s.(gapless.Positioner)
	if err != nil || !ok {
		return nil, err
	}
	taken := positions{}
	for _, partition := range all {
		if taken[partition.ID], err = p.Position(ctx, partition); err != nil {
			return nil, err
		}
	}
	return taken, nil
}

func (o *outside) take(s gapless.Source) positions {
	o.t.Helper()
	taken, err := take(o.t.Context(), s)
	if err != nil {
		o.t.Fatalf("take the position: %v", err)
	}
	return taken
}

// errStop is what an output returns when the run is over.
var errStop = errors.New("the run is over")

// errEndless is what the output of a read returns that turns in a circle.
var errEndless = errors.New("the read does not end")

// reading is what comes out of read calls, as the engine takes it.
type reading struct {
	o       *outside
	replica replica
	events  []edit // in the order in which they were emitted
	keys    []string
	// marks are the last ones, by partition.
	marks map[string]gapless.Mark
	// batches that were taken.
	batches int
	rejects []gapless.Rejection
	// each is called before a batch is taken, with its number from 1; its error
	// is what the source gets.
	each func(nth int) error
	// deaf has the output not notice that the context is cancelled, so that the
	// source has to.
	deaf bool
	// problems that the batches themselves have.
	problems []string
}

// read begins a reading that goes on from what a follower holds.
func (o *outside) read(from replica) *reading {
	r := replica{}
	maps.Copy(r, from)
	return &reading{o: o, replica: r, marks: map[string]gapless.Mark{}}
}

// batchRows is small, so that a handful of records crosses every boundary.
const batchRows = 3

// into calls a read method with an output of its own, and flushes it.
func (r *reading) into(ctx context.Context, p gapless.Partition, read func(out *gapless.Output) error) error {
	if r.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	out := gapless.NewOutput(ctx, p, batchRows, 0, r.take)
	if err := read(out); err != nil {
		return err
	}
	return out.Flush()
}

// take takes a batch and hands another one out; the bytes of the first are
// overwritten, for nobody may look at them again.
func (r *reading) take(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
	if r.each != nil {
		if err := r.each(r.batches + 1); err != nil {
			return nil, err
		}
	}
	if r.batches++; r.batches > 1000+100*len(r.o.history) {
		return nil, fmt.Errorf("%w: %d batches of %d edits", errEndless, r.batches, len(r.o.history))
	}
	for i := range b.Rows {
		r.problems = append(r.problems, rowProblems(b, i)...)
		c := b.Change(i)
		name, revision := r.o.Read(b.Partition, c)
		if name == "" {
			continue
		}
		if c.Op == gapless.OpDelete {
			revision = 0
		}
		e := edit{name, revision}
		r.events, r.keys = append(r.events, e), append(r.keys, c.Key)
		r.replica.apply(e)
	}
	r.rejects = append(r.rejects, b.Rejects...)
	if b.Mark != "" {
		r.marks[b.Partition.ID] = b.Mark
	}
	for i := range b.Buf {
		b.Buf[i] = '!'
	}
	return &gapless.Batch{}, nil
}

// all reads every partition in full, those with a mark behind it.
func (r *reading) all(ctx context.Context, s gapless.Source, behind map[string]gapless.Mark) error {
	list, err := partitions(ctx, s)
	for _, p := range list {
		if err == nil {
			err = r.into(ctx, p, func(out *gapless.Output) error { return s.ReadAll(ctx, p, behind[p.ID], out) })
		}
	}
	return err
}

// marked returns where to read on from: the last marks, as positions, and what
// was read from where there are none.
func (r *reading) marked(from positions) positions {
	next := positions{}
	for id, p := range from {
		next[id] = p
		if mark, ok := r.marks[id]; ok {
			next[id] = gapless.Position(mark)
		}
	}
	return next
}

// changes reads what changed between positions, and partitions that have none
// in full.
func (r *reading) changes(ctx context.Context, s gapless.Source, from, to positions) error {
	list, err := partitions(ctx, s)
	for _, p := range list {
		if err != nil {
			return err
		}
		first, known := from[p.ID]
		switch {
		case !known:
			err = r.into(ctx, p, func(out *gapless.Output) error { return s.ReadAll(ctx, p, "", out) })
		default:
			err = r.into(ctx, p, func(out *gapless.Output) error {
				return s.(gapless.ChangeReader).ReadChanges(ctx, p, first, to[p.ID], out)
			})
		}
	}
	return err
}
