package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/gapless-sync/gapless"
)

// source returns the source as the engine of this process sees it.
func (p *process) source() gapless.Source {
	r := reader{p}
	switch {
	case p.world.setup.Model == gapless.ModelModified:
		return keyed{fetching{changing{positioned{r}}}}
	case p.world.setup.Model == gapless.ModelLog && p.world.setup.Fetching:
		return checking{fetching{changing{positioned{r}}}}
	case p.world.setup.Model == gapless.ModelLog:
		return changing{positioned{r}}
	case p.world.setup.Positioned:
		return positioned{r}
	}
	return r
}

// reader is a source of model full.
type reader struct{ *process }

// ask is a call that gathers facts.
func (r reader) ask(ctx context.Context, p gapless.Partition, effect func() error) error {
	return r.call(ctx, call{endpoint: Source, place: r.world.placeOf(p.ID)}, effect)
}

// read is a call that reads records. Nothing is emitted once the engine has
// told to stop: whether it would still take that is left to chance.
func (r reader) read(ctx context.Context, p *part, effect func()) error {
	err := r.call(ctx, call{endpoint: Source, place: p.number, work: true}, func() error {
		effect()
		return nil
	})
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// Describe implements [gapless.Source].
func (r reader) Describe(ctx context.Context) (d gapless.Description, err error) {
	err = r.ask(ctx, gapless.Partition{}, func() error {
		w := r.world
		r.generation, r.began = w.source.generation, len(w.source.log)
		d = gapless.Description{Model: w.setup.Model, Schema: strconv.Itoa(w.source.generation)}
		for _, p := range w.source.parts {
			if !slices.Contains(d.Collections, p.Collection) {
				d.Collections = append(d.Collections, p.Collection)
			}
		}
		w.trace.add("%d describe: schema %s", r.number, d.Schema)
		return nil
	})
	return d, err
}

// Partitions implements [gapless.Partitioner].
func (r reader) Partitions(ctx context.Context) (list []gapless.Partition, err error) {
	err = r.ask(ctx, gapless.Partition{}, func() error {
		list = r.world.listed()
		r.account.listed = list
		r.world.trace.add("%d partitions: %d", r.number, len(list))
		return nil
	})
	return list, err
}

// ReadAll implements [gapless.Source]: a cursor over what there is at each
// moment, in order of the keys. A mark is the last key before it.
func (r reader) ReadAll(ctx context.Context, p gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	part := r.world.part(p.ID)
	err := r.read(ctx, part, func() {
		r.world.audit.reads(r.process, part, fromStart)
		r.enumerates(part, after)
		r.world.trace.add("%d read all of %s behind %q", r.number, p.ID, after)
	})
	if err != nil {
		return err
	}
	return r.scan(ctx, part, string(after), func(n int, e *emission) error {
		err := e.emit(out)
		if marks := r.world.setup.MarkEvery; err == nil && marks > 0 && n%marks == 0 {
			err = r.mark(ctx, part, out, gapless.Mark(e.Key))
		}
		return err
	})
}

// scan calls fn for every record behind a key, counted from 1.
func (r reader) scan(ctx context.Context, p *part, after string, fn func(n int, e *emission) error) error {
	for n := 1; ; n++ {
		var e emission
		err := r.read(ctx, p, func() { e = r.pick(p, after) })
		if err != nil && r.world.setup.Sabotage == FalseEnd && errors.Is(err, errFault) {
			return nil
		}
		if err != nil || !e.found {
			return err
		}
		if err := fn(n, &e); err != nil {
			return err
		}
		after = e.Key
	}
}

// mark emits a mark at an instant of its own.
func (r reader) mark(ctx context.Context, p *part, out *gapless.Output, m gapless.Mark) error {
	if err := r.read(ctx, p, func() { r.world.trace.add("%d mark %s %q", r.number, p.ID, m) }); err != nil {
		return err
	}
	return out.Mark(m)
}

// enumerates begins to remember what an enumeration contains. One that is
// resumed has what lay before the mark.
func (r reader) enumerates(p *part, after gapless.Mark) {
	a := &r.parts[p.number]
	a.enumerated = false
	clear(a.deleted) // the guard is for what one enumeration did not contain
	if after == "" {
		clear(a.kept)
		clear(a.nameless)
		a.empty, a.enumerating = true, true
		return
	}
	before := a // after a failure within the run
	if !a.enumerating {
		last := r.world.audit.runs[r.dest.checkpoints[p.ID].Run]
		if last == nil {
			return
		}
		before = &last.parts[p.number]
	}
	a.enumerating = true
	a.kept, a.nameless = upTo(after, before.kept), upTo(after, before.nameless)
}

// upTo returns the keys that lie before a mark.
func upTo(mark gapless.Mark, keys map[string]bool) map[string]bool {
	before := map[string]bool{}
	for key := range keys {
		if key <= string(mark) {
			before[key] = true
		}
	}
	return before
}

// emission is what the source emits of one record.
type emission struct {
	gapless.Record
	found, gone bool
	spoiled     error
	named       bool
	line        int
}

func (e *emission) emit(out *gapless.Output) error {
	switch {
	case e.gone:
		return out.Delete(e.Key)
	case e.spoiled != nil && e.named:
		return out.Reject(gapless.Rejection{Key: e.Key, Origin: "memory", Line: e.line, Raw: e.Data, Err: e.spoiled})
	case e.spoiled != nil:
		return out.Reject(gapless.Rejection{Origin: "memory", Line: e.line, Raw: e.Data, Err: e.spoiled})
	case e.Data == nil:
		return out.Key(e.Key, e.Version)
	}
	return out.Upsert(e.Record)
}

var (
	errForbidden = errors.New("permission denied")
	errGarbled   = errors.New("not a record")
)

// pick returns the first record behind a key, for an enumeration.
func (r reader) pick(p *part, after string) emission {
	key, rec := p.next(after)
	a := &r.parts[p.number]
	a.empty = a.empty && rec == nil
	if rec == nil {
		r.world.trace.add("%d end of %s", r.number, p.ID)
		a.enumerated = true
		r.settlePositions()
		return emission{}
	}
	e := r.look(p, key, rec)
	_, wanted := rules()[r.rule].mapped(r.world.source.generation, rec.value())
	if a.kept[key] = wanted || rec.forbidden; rec.garbled || !a.kept[key] {
		delete(a.kept, key)
	}
	return e
}

// look returns what the source emits of a record that exists, and notes what
// the auditor has to know.
func (r reader) look(p *part, key string, rec *record) emission {
	a := &r.parts[p.number]
	e := emission{Record: r.world.source.emitted(key, rec, r.world.setup.Model), found: true, line: slices.Index(p.keys, key) + 1}
	switch {
	case rec.forbidden:
		e.spoiled, e.named = errForbidden, true
	case rec.garbled:
		e.spoiled = errGarbled
		a.nameless[key] = true
	default:
		if _, wanted := rules()[r.rule].mapped(r.world.source.generation, rec.value()); !wanted {
			a.told[key] = true
		}
		r.world.trace.add("%d emit %s=%s", r.number, key, e.Data)
		return e
	}
	if r.dest != nil {
		r.dest.excused[name(p.Partition, key)] = true
	}
	a.rejected[key] = len(rec.history)
	r.world.trace.add("%d reject %s: %v", r.number, key, e.spoiled)
	return e
}

// positioned is a source that issues positions.
type positioned struct{ reader }

// Position implements [gapless.Positioner].
func (r positioned) Position(ctx context.Context, p gapless.Partition) (at gapless.Position, err error) {
	err = r.ask(ctx, p, func() error {
		at = r.world.source.now()
		if r.world.setup.Sabotage == LatePosition {
			at = r.postpone()
		}
		r.world.trace.add("%d position of %s: %s", r.number, p.ID, at)
		return nil
	})
	return at, err
}

// postpone issues a position that will turn out to lie later.
func (r reader) postpone() gapless.Position {
	s := &r.world.source
	r.tokens = append(r.tokens, len(s.tokens))
	s.tokens = append(s.tokens, len(s.log))
	return gapless.Position("~" + strconv.Itoa(len(s.tokens)-1))
}

// settlePositions moves the positions that were postponed to where the source
// is now.
func (r reader) settlePositions() {
	for _, i := range r.tokens {
		r.world.source.tokens[i] = len(r.world.source.log)
	}
}

// changing is a source of model log, or modified without keys.
type changing struct{ positioned }

// CanResume implements [gapless.Resumer].
func (r changing) CanResume(ctx context.Context, p gapless.Partition, _ gapless.Mark, _ gapless.Position) (can bool, err error) {
	err = r.ask(ctx, p, func() error {
		can = r.world.setup.MarkEvery > 0
		return nil
	})
	return can, err
}

// ReadChanges implements [gapless.ChangeReader]: the latest state of every key
// logged after from. Every third entry is marked if there are marks.
func (r changing) ReadChanges(ctx context.Context, p gapless.Partition, from, to gapless.Position, out *gapless.Output) error {
	part := r.world.part(p.ID)
	var entries []logged
	var first int
	err := r.call(ctx, call{endpoint: Source, place: part.number, work: true}, func() error {
		begin, end, err := r.interval(from, to)
		if err != nil {
			return err
		}
		r.world.audit.reads(r.process, part, begin)
		r.world.trace.add("%d read changes of %s from %s to %s", r.number, p.ID, from, to)
		first, entries = begin, slices.Clone(r.world.source.log[begin:end])
		return nil
	})
	if err != nil {
		return err
	}
	for i, entry := range entries {
		if entry.part != part {
			continue
		}
		var e emission
		err := r.read(ctx, part, func() { e = r.change(part, entry.key) })
		if err == nil && e.found {
			err = e.emit(out)
		}
		if err == nil && r.world.setup.MarkEvery > 0 && i%3 == 2 {
			err = r.mark(ctx, part, out, gapless.Mark(strconv.Itoa(first+i+1)))
		}
		if err != nil {
			return err
		}
	}
	return r.read(ctx, part, func() {
		r.settlePositions()
		r.world.trace.add("%d end of changes of %s", r.number, p.ID)
	})
}

// interval returns the places of two positions.
func (r changing) interval(from, to gapless.Position) (first, last int, err error) {
	s := &r.world.source
	first, known := s.place(from)
	if !known || first < s.pruned {
		return 0, 0, gapless.Expired(fmt.Errorf("position %q is not in the log", from))
	}
	if last, known = s.place(to); !known || last < first {
		return 0, 0, fmt.Errorf("position %q does not follow %q", to, from)
	}
	return first, last, nil
}

// change returns what is told of a key that stands in the log.
func (r changing) change(p *part, key string) emission {
	rec := p.records[key]
	if rec.value() != absent {
		return r.look(p, key, rec)
	}
	if r.world.setup.Model == gapless.ModelModified {
		return emission{}
	}
	return r.gone(p, key)
}

func (r reader) gone(p *part, key string) emission {
	r.parts[p.number].told[key] = true
	r.world.trace.add("%d emit delete %s", r.number, key)
	return emission{Record: gapless.Record{Key: key}, found: true, gone: true}
}

// fetching is a source that can read single records.
type fetching struct{ changing }

// Fetch implements [gapless.Fetcher].
func (r fetching) Fetch(ctx context.Context, p gapless.Partition, keys []string, out *gapless.Output) error {
	part := r.world.part(p.ID)
	for _, key := range keys {
		var e emission
		err := r.read(ctx, part, func() {
			r.world.audit.reads(r.process, part, singly)
			if rec := part.records[key]; rec != nil && rec.value() != absent {
				e = r.look(part, key, rec)
			} else {
				e = r.gone(part, key)
			}
		})
		if err == nil {
			err = e.emit(out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checking is a source of model log that knows what has expired.
type checking struct{ fetching }

// CheckPosition implements [gapless.PositionChecker].
func (r checking) CheckPosition(ctx context.Context, p gapless.Partition, from gapless.Position) error {
	return r.ask(ctx, p, func() error {
		_, _, err := r.interval(from, r.world.source.now())
		return err
	})
}

// keyed is a source of model modified.
type keyed struct{ fetching }

// ReadKeys implements [gapless.KeyReader].
func (r keyed) ReadKeys(ctx context.Context, p gapless.Partition, out *gapless.Output) error {
	part := r.world.part(p.ID)
	err := r.read(ctx, part, func() {
		r.enumerates(part, "")
		r.parts[part.number].keysRead = true
		r.world.trace.add("%d read keys of %s", r.number, p.ID)
	})
	if err != nil {
		return err
	}
	return r.scan(ctx, part, "", func(_ int, e *emission) error {
		if e.spoiled == nil {
			e.Data = nil
		}
		return e.emit(out)
	})
}
