package gaplesstest

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
)

// changing skips the check of a source that cannot tell changes.
func (o *outside) changing() gapless.Source {
	o.t.Helper()
	s := o.open()
	if _, ok := s.(gapless.ChangeReader); !ok {
		o.t.Skip("the source is no gapless.ChangeReader: every run reads it in full")
	}
	return s
}

// follow reads the changes between positions into what a follower held at from.
func (o *outside) follow(s gapless.Source, held replica, from, to positions) *reading {
	o.t.Helper()
	r := o.read(held)
	if err := r.changes(o.t.Context(), s, from, to); err != nil {
		o.t.Fatalf("ReadChanges: %v", err)
	}
	return r
}

// deletesTold reports whether the source tells deletes.
func (o *outside) deletesTold(s gapless.Source) bool { return o.model(s) == gapless.ModelLog }

// editedBatches is how many batches of a read see changes coming in: a source
// that reads on until there is nothing new has to come to an end.
const editedBatches = 6

// checkPosition: what happened before a position was taken is covered by it,
// what comes after is not passed over.
func checkPosition(t testing.TB, o *outside) {
	s := o.open()
	if _, ok := s.(gapless.Positioner); !ok {
		t.Skip("the source is no gapless.Positioner: every run reads it in full")
	}
	o.fill(0, handful)
	if _, ok := s.(gapless.ChangeReader); !ok {
		o.positionsDiffer(s)
		o.close()
		return
	}
	started, r := o.take(s), o.read(nil)
	r.each = func(nth int) error {
		if nth > editedBatches {
			return nil
		}
		o.put(name(nth * 2))
		o.put(name(handful + nth))
		o.remove(name(nth * 3))
		return nil
	}
	if err := r.all(t.Context(), s, nil); err != nil {
		t.Fatalf("ReadAll: %v", err)
	}
	r.each = nil
	o.caughtUp("ReadAll with changes coming in", o.open(), r, started)
	o.close()
}

// positionsDiffer: of a source that can only be enumerated, an equal position
// says that nothing has changed.
func (o *outside) positionsDiffer(s gapless.Source) {
	o.t.Helper()
	steps := []struct {
		what string
		do   func()
	}{
		{"a record was added", func() { o.put(name(handful)) }},
		{"a record was changed", func() { o.put(name(3)) }},
		{"a record was deleted", func() { o.remove(name(5)) }},
		{"a record was changed while the position was in use", func() { o.readAll(s); o.put(name(3)) }},
	}
	for _, step := range steps {
		before := o.take(s)
		at := o.now()
		step.do()
		s = o.open()
		after := o.take(s)
		same := at < o.now()
		for id, p := range after {
			same = same && before[id] == p
		}
		if same {
			o.t.Errorf("%s, and no position differs: the next run would do nothing", step.what)
		}
	}
}

// checkChanges: from every position to every later one, nothing is lost.
func checkChanges(t testing.TB, o *outside) {
	s := o.changing()
	type taken struct {
		positions
		moment
	}
	var all []taken
	for i := range o.some(8, 5) {
		o.fill(i*3, i*3+4)
		o.put(name(i))
		o.remove(name(i * 2))
		if i%2 == 0 {
			o.put(name(i * 2))
		}
		all = append(all, taken{o.take(s), o.now()})
	}
	for i, from := range all {
		for _, to := range all[i:] {
			r := o.follow(o.open(), o.at(from.moment), from.positions, to.positions)
			what := fmt.Sprintf("ReadChanges from the position after edit %d to the one after edit %d", from.moment, to.moment)
			o.inStep(what, r.replica, to.moment, o.deletesTold(o.opened))
		}
	}
	o.close()
}

// checkOrder: the changes of a key come in order.
func checkOrder(t testing.TB, o *outside) {
	s := o.changing()
	o.fill(0, 3)
	from := o.take(s)
	for i := range o.some(30, 10) {
		o.put(name(i % 3))
	}
	r := o.follow(s, nil, from, o.take(s))
	last := replica{}
	for _, e := range r.events {
		if e.revision != 0 && e.revision < last[e.name] {
			t.Fatalf("%s: revision %d came after revision %d", e.name, e.revision, last[e.name])
		}
		last.apply(e)
	}
	o.close()
}

// checkWhileChanging: what changes while changes are being read comes with
// them, or with the next.
func checkWhileChanging(t testing.TB, o *outside) {
	s := o.changing()
	o.fill(0, handful)
	held, from := o.at(o.now()), o.take(s)
	o.fill(5, handful+5)
	until, to := o.now(), o.take(s)
	r := o.read(held)
	r.each = func(nth int) error {
		if nth > editedBatches {
			return nil
		}
		o.put(name(nth))
		o.put(name(handful + 4))
		o.remove(name(handful - nth))
		return nil
	}
	if err := r.changes(t.Context(), s, from, to); err != nil {
		t.Fatalf("ReadChanges: %v", err)
	}
	r.each = nil
	o.inStep("ReadChanges with changes coming in", r.replica, until, o.deletesTold(s))
	o.caughtUp("ReadChanges with changes coming in", o.open(), r, to)
	o.close()
}

// checkResumeChanges: stopped at any batch, reading goes on from the last mark,
// or from where it began.
func checkResumeChanges(t testing.TB, o *outside) {
	s := o.changing()
	o.fill(0, handful)
	held, from := o.at(o.now()), o.take(s)
	o.fill(5, handful+5)
	o.remove(name(0))
	until, to := o.now(), o.take(s)
	o.goesOn(o.some(12, 4), held, from, to, until)
	o.close()
}

// goesOn stops ReadChanges at each of its batches, and reads on from the last
// mark, which is as good a checkpoint as any.
func (o *outside) goesOn(most int, held replica, from, to positions, until moment) {
	o.t.Helper()
	read := func(s gapless.Source, r *reading) error {
		maps.Copy(r.replica, held)
		return r.changes(o.t.Context(), s, from, to)
	}
	o.stops(most, read, func(s gapless.Source, r *reading) {
		if err := r.changes(o.t.Context(), s, r.marked(from), to); err != nil {
			o.t.Fatalf("ReadChanges from a mark: %v", err)
		}
		o.inStep("ReadChanges that was stopped and went on from its last mark", r.replica, until, o.deletesTold(s))
	})
}

// checkTies: many records that share a time are all told, wherever a position
// is taken among them and wherever reading stops.
func checkTies(t testing.TB, o *outside) {
	s := o.changing()
	if o.Clock != nil {
		o.Clock(1)
	} else {
		unchecked(t, "that all records share one time: SourceSystem.Clock is nil")
	}
	start, n := o.take(s), o.some(1000, 100)
	o.fill(0, n/2)
	held, middle := o.at(o.now()), o.take(s)
	o.fill(n/2, n)
	until := o.now()
	r := o.follow(o.open(), held, middle, o.take(o.opened))
	o.inStep("ReadChanges from a position that half of the records share", r.replica, until, o.deletesTold(o.opened))
	o.goesOn(o.some(5, 3), nil, start, o.take(o.opened), until)
	if o.Clock != nil {
		o.Clock(2)
	}
	next := o.take(o.open())
	o.fill(n-3, n+3)
	r = o.follow(o.open(), o.at(until), next, o.take(o.opened))
	o.inStep("ReadChanges behind records that share a time", r.replica, o.now(), o.deletesTold(o.opened))
	o.close()
}

// checkClockSkew: a clock that is put back or forward loses nothing.
func checkClockSkew(t testing.TB, o *outside) {
	o.changing()
	if o.Clock == nil {
		t.Skip("SourceSystem.Clock is nil")
	}
	o.Clock(0)
	o.fill(0, 5)
	for i, seconds := range []int{10, 3, 3600, 5, 3600, 3601} {
		held, from := o.at(o.now()), o.take(o.open())
		o.Clock(seconds)
		o.fill(i, i+5)
		s, r := o.open(), o.read(held)
		if err := o.followRest(s, r, from, o.take(s)); err != nil { // a position may be unknown to an earlier clock
			t.Fatalf("ReadChanges after the outside clock was put to second %d: %v", seconds, err)
		}
		o.inStep(fmt.Sprintf("what was read after the outside clock was put to second %d", seconds), r.replica, o.now(), true)
	}
	o.close()
}

// checkDeletes: deletes are told as the change model says.
func checkDeletes(t testing.TB, o *outside) {
	if o.Remove == nil {
		t.Skip("SourceSystem.Remove is nil")
	}
	s := o.open()
	o.fill(0, handful)
	held, from := o.at(o.now()), positions(nil)
	if _, ok := s.(gapless.ChangeReader); ok {
		from = o.take(s)
	}
	o.remove(name(1))
	o.remove(name(2))
	o.put(name(2))
	o.put(name(3))
	o.remove(name(3))
	o.put(name(handful))
	o.remove(name(handful))
	o.inStep("ReadAll after deletes", o.readAll(o.open()).replica, o.now(), true)
	if from != nil {
		r := o.follow(o.open(), held, from, o.take(o.opened))
		o.inStep("ReadChanges after deletes", r.replica, o.now(), o.deletesTold(o.opened))
	}
	o.close()
}

// garbage are positions that no source has issued.
func garbage() []gapless.Position {
	return []gapless.Position{
		"no such position", "-1", gapless.Position(strings.Repeat("9", 200)), "\xff\xfe\x00", "{}", "[", " ", "\n", "\U0010ffff",
	}
}

// checkExpired: from a position that the source does not know, it says so
// before it emits anything.
func checkExpired(t testing.TB, o *outside) {
	s := o.changing()
	o.fill(0, handful)
	early := o.take(s)
	o.fill(3, 9)
	for _, p := range garbage() {
		from := positions{}
		for id := range early {
			from[id] = p
		}
		o.expired(fmt.Sprintf("%.20q", string(p)), from)
	}
	if o.Expire != nil {
		o.breaker.aside(o.Expire)
		o.fill(4, 6)
		o.expired("that has expired", early)
	} else {
		unchecked(t, "positions that have expired: SourceSystem.Expire is nil")
	}
	o.close()
}

func (o *outside) expired(what string, from positions) {
	o.t.Helper()
	s := o.open()
	to := o.take(s)
	for _, p := range o.partitions(s) {
		r := o.read(nil)
		err := r.into(o.t.Context(), p, func(out *gapless.Output) error {
			return s.(gapless.ChangeReader).ReadChanges(o.t.Context(), p, from[p.ID], to[p.ID], out)
		})
		if err == nil || gapless.KindOf(err) != gapless.KindExpired {
			o.t.Errorf("ReadChanges of %s from a position %s is not answered by gapless.Expired but by: %v", p.ID, what, err)
		}
		if len(r.events) > 0 {
			o.t.Errorf("ReadChanges of %s emitted %d changes from a position %s before it said so", p.ID, len(r.events), what)
		}
		c, ok := s.(gapless.PositionChecker)
		if !ok {
			continue
		}
		if err := c.CheckPosition(o.t.Context(), p, from[p.ID]); err == nil || gapless.KindOf(err) != gapless.KindExpired {
			o.t.Errorf("CheckPosition of %s of a position %s is not answered by gapless.Expired but by: %v", p.ID, what, err)
		}
		if err := c.CheckPosition(o.t.Context(), p, to[p.ID]); err != nil {
			o.t.Errorf("CheckPosition of %s of its present position: %v", p.ID, err)
		}
	}
}

// checkPartitions: partitions that are split, merged or added while nobody
// looks leave nothing out.
func checkPartitions(t testing.TB, o *outside) {
	if o.Split == nil {
		t.Skip("SourceSystem.Split is nil")
	}
	s := o.open()
	o.fill(0, handful)
	from := o.take(s)
	held := o.readAll(s).replica
	o.put(name(2))
	o.breaker.aside(o.Split)
	o.fill(5, handful+5)
	s = o.open()
	o.inStep("ReadAll after partitions were split", o.readAll(s).replica, o.now(), true)
	if _, ok := s.(gapless.ChangeReader); !ok {
		o.close()
		return
	}
	until := o.now()
	r := o.read(held)
	if err := o.followRest(s, r, from, o.take(s)); err != nil {
		t.Fatalf("ReadChanges after partitions were split: %v", err)
	}
	o.inStep("changes of the old partitions and full reads of the new", r.replica, until, o.deletesTold(s))
	o.close()
}

// followRest reads changes, and in full what the source says it must.
func (o *outside) followRest(s gapless.Source, r *reading, from, to positions) error {
	var err error
	for _, p := range o.partitions(s) {
		one := o.read(r.replica)
		_, known := from[p.ID]
		if known {
			err = one.into(o.t.Context(), p, func(out *gapless.Output) error {
				return s.(gapless.ChangeReader).ReadChanges(o.t.Context(), p, from[p.ID], to[p.ID], out)
			})
		}
		if !known || gapless.KindOf(err) == gapless.KindExpired && err != nil {
			err = one.into(o.t.Context(), p, func(out *gapless.Output) error { return s.ReadAll(o.t.Context(), p, "", out) })
		}
		if err != nil {
			return err
		}
		r.replica = one.replica
	}
	return nil
}

// checkVanished: a partition that is no more is not an empty one.
func checkVanished(t testing.TB, o *outside) {
	if o.Vanish == nil {
		t.Skip("SourceSystem.Vanish is nil")
	}
	o.fill(0, handful)
	before := o.partitions(o.open())
	o.vanish()
	s := o.open()
	left := map[string]bool{}
	for _, p := range o.partitions(s) {
		left[p.ID] = true
	}
	var gone []gapless.Partition
	for _, p := range before {
		if !left[p.ID] {
			gone = append(gone, p)
		}
	}
	if len(gone) == 0 {
		t.Fatal("SourceSystem.Vanish took no partition away")
	}
	for _, p := range gone {
		err := o.read(nil).into(t.Context(), p, func(out *gapless.Output) error { return s.ReadAll(t.Context(), p, "", out) })
		if err == nil {
			t.Errorf("ReadAll of partition %s, which is no more, returned nil: that says that its records were deleted one by one", p.ID)
		}
		classified(t, "ReadAll of a partition that is no more", err)
	}
	o.inStep("ReadAll of the partitions that are left", o.readAll(s).replica, o.now(), true)
	o.close()
}
