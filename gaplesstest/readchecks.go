package gaplesstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// handful is how many records most checks begin with: several batches, and
// several pages of a source whose pages are small.
const handful = 25

// checkDescribe: what a source says about itself is the same for every process,
// and its interfaces are those that its model asks for.
func checkDescribe(t testing.TB, o *outside) {
	o.fill(0, handful)
	describe := func() (gapless.Description, []gapless.Partition) {
		s := o.open()
		d, err := s.Describe(t.Context())
		if err != nil {
			t.Fatalf("describe: %v", err)
		}
		return d, o.partitions(s)
	}
	d, p := describe()
	again, listed := describe()
	if diff := cmp.Diff(d, again); diff != "" {
		t.Errorf("Describe says something else to the next process (-first +next):\n%s", diff)
	}
	if diff := cmp.Diff(p, listed); diff != "" {
		t.Errorf("the partitions are others for the next process (-first +next):\n%s", diff)
	}
	ids := map[string]bool{}
	for _, partition := range p {
		if partition.ID == "" || partition.Collection == "" || ids[partition.ID] {
			t.Errorf("partition %+v has no id of its own, or no collection", partition)
		}
		ids[partition.ID] = true
	}
	if len(p) == 0 {
		t.Error("a source with records has no partition")
	}
	if slices.Contains([]gapless.ChangeModel{gapless.ModelModified, gapless.ModelLog}, d.Model) {
		if _, ok := o.opened.(gapless.Positioner); !ok {
			t.Errorf("a source of model %s is a gapless.Positioner", d.Model)
		}
		if _, ok := o.opened.(gapless.ChangeReader); !ok {
			t.Errorf("a source of model %s is a gapless.ChangeReader", d.Model)
		}
	} else if d.Model != gapless.ModelFull {
		t.Errorf("model %q is none of full, modified and log", d.Model)
	}
	o.close()
}

// checkComplete: an enumeration that returns nil has emitted everything once.
func checkComplete(t testing.TB, o *outside) {
	s := o.open()
	r := o.read(nil)
	if err := r.all(t.Context(), s, nil); err != nil {
		t.Errorf("an outside system without records is none to complain about: %v", err)
	}
	o.inStep("ReadAll of nothing", r.replica, o.now(), true)
	o.fill(0, handful)
	o.fill(3, 5)
	o.remove(name(7))
	for range 2 {
		r := o.readAll(o.open())
		o.inStep("ReadAll returned nil", r.replica, o.now(), true)
		if len(r.events) > len(o.at(o.now())) {
			t.Errorf("ReadAll emitted %d records of %d: each is emitted once", len(r.events), len(o.at(o.now())))
		}
		if len(r.rejects) > 0 {
			t.Errorf("ReadAll rejected %d good records, the first because: %v", len(r.rejects), r.rejects[0].Err)
		}
	}
	o.close()
}

// readAll reads everything, which has to succeed.
func (o *outside) readAll(s gapless.Source) *reading {
	o.t.Helper()
	r := o.read(nil)
	if err := r.all(o.t.Context(), s, nil); err != nil {
		o.t.Fatalf("ReadAll: %v", err)
	}
	return r
}

// checkBounds: rows are what every destination may rely on.
func checkBounds(t testing.TB, o *outside) {
	o.fill(0, handful)
	s := o.open()
	r := o.read(nil)
	started := o.take(s)
	if err := r.all(t.Context(), s, nil); err != nil {
		t.Fatalf("ReadAll: %v", err)
	}
	if slices.ContainsFunc(r.events, func(e edit) bool { return e.revision == 0 }) {
		t.Error("ReadAll emitted a delete: an enumeration says what exists")
	}
	o.put(name(1))
	o.remove(name(2))
	if _, ok := s.(gapless.ChangeReader); ok {
		if err := r.changes(t.Context(), s, started, o.take(s)); err != nil {
			t.Fatalf("ReadChanges: %v", err)
		}
	}
	if len(r.problems) > 0 {
		t.Errorf("rows that destinations cannot rely on:\n%s", list(r.problems))
	}
	o.close()
}

// rowProblems returns what is wrong with a row of a batch.
func rowProblems(b *gapless.Batch, i int) (problems []string) {
	key, data, op := b.Key(i), b.Data(i), b.Rows[i].Op
	complain := func(format string, args ...any) {
		problems = append(problems, fmt.Sprintf("key %.40q: ", key)+fmt.Sprintf(format, args...))
	}
	if len(key) == 0 || len(key) > gapless.MaxKeyBytes || !utf8.Valid(key) {
		complain("is not 1 to %d bytes of UTF-8", gapless.MaxKeyBytes)
	}
	if op != gapless.OpUpsert && op != gapless.OpPatch && op != gapless.OpDelete {
		complain("operation %d is not known", op)
	}
	object := map[string]json.RawMessage{}
	if op != gapless.OpDelete && len(data) > 0 && (!utf8.Valid(data) || json.Unmarshal(data, &object) != nil) {
		complain("data is not one JSON object in UTF-8: %.60q", data)
	}
	if len(data) > gapless.MaxDataBytes {
		complain("data has %d bytes, more than %d", len(data), gapless.MaxDataBytes)
	}
	parts := map[string]bool{}
	for _, p := range b.Parts(i) {
		if parts[p.Name] || p.Open == nil {
			complain("part %q has a name of another, or cannot be opened", p.Name)
		}
		parts[p.Name] = true
	}
	return problems
}

// checkStop: when the run is over at any batch, the source returns at once,
// with that error, and the next process reads everything.
func checkStop(t testing.TB, o *outside) {
	o.fill(0, handful)
	o.stops(o.some(12, 4), func(s gapless.Source, r *reading) error { return r.all(t.Context(), s, nil) }, func(s gapless.Source, _ *reading) {
		o.inStep("ReadAll after a run that was stopped", o.readAll(s).replica, o.now(), true)
	})
	o.close()
}

// stops has a read be stopped at each of its batches in turn, or at so many of
// them, and goes on each time in a new process.
func (o *outside) stops(most int, read func(gapless.Source, *reading) error, goOn func(gapless.Source, *reading)) {
	o.t.Helper()
	whole := o.read(nil)
	if err := read(o.open(), whole); err != nil {
		o.t.Fatalf("read: %v", err)
	}
	for _, n := range points(whole.batches, most) {
		r, calls := o.read(nil), 0
		r.each = func(nth int) error {
			if nth < n {
				return nil
			}
			calls++
			return errStop
		}
		err := read(o.open(), r)
		if err == nil {
			o.t.Fatalf("the output ended at batch %d of %d, and the read returned nil: return the error of an Output method at once", n, whole.batches)
		}
		if !errors.Is(err, errStop) {
			o.t.Errorf("the output ended at batch %d with an error that the read does not return; it returned: %v", n, err)
		}
		if calls > 1 {
			o.t.Errorf("the output ended at batch %d, and %d batches were emitted nevertheless", n, calls-1)
		}
		r.each = nil
		goOn(o.open(), r)
	}
}

// checkResume: behind a mark that is honoured, exactly the rest comes; what
// changed meanwhile is among the changes since the enumeration began.
func checkResume(t testing.TB, o *outside) {
	if _, ok := o.open().(gapless.Resumer); !ok {
		t.Skip("the source is no gapless.Resumer: an interrupted enumeration begins anew")
	}
	o.fill(0, handful)
	first := o.readAll(o.opened)
	if len(first.marks) == 0 {
		t.Skipf("the source did not call Output.Mark within %d records: let it mark more often in the test", handful)
	}
	var started positions
	begin := func(s gapless.Source, r *reading) error {
		started = o.take(s)
		return r.all(t.Context(), s, nil)
	}
	o.stops(o.some(12, 4), begin, func(s gapless.Source, r *reading) {
		o.resumed("ReadAll behind a mark", s, r, started)
		o.inStep("the part before a mark and the part behind it", r.replica, o.now(), true)
	})
	o.stops(o.some(12, 4), begin, func(s gapless.Source, r *reading) {
		o.put(name(0))
		o.put(name(handful / 2))
		o.put(name(handful - 1))
		o.put(name(handful + len(o.history)))
		o.resumed("ReadAll behind a mark", s, r, started)
		o.caughtUp("an enumeration with changes while it was interrupted", s, r, started)
	})
	o.close()
}

// resumed goes on behind the last marks of r, where they are honoured.
func (o *outside) resumed(what string, s gapless.Source, r *reading, started positions) {
	o.t.Helper()
	behind := map[string]gapless.Mark{}
	for _, p := range o.partitions(s) {
		mark, ok := r.marks[p.ID]
		if !ok {
			continue
		}
		honoured, err := s.(gapless.Resumer).CanResume(o.t.Context(), p, mark, started[p.ID])
		if err != nil {
			o.t.Fatalf("CanResume: %v", err)
		}
		if honoured {
			behind[p.ID] = mark
		}
	}
	if err := r.all(o.t.Context(), s, behind); err != nil {
		o.t.Fatalf("%s that CanResume honours: %v", what, err)
	}
}

// caughtUp reads what changed since the positions were taken, after which the
// follower is in step.
func (o *outside) caughtUp(what string, s gapless.Source, r *reading, since positions) {
	o.t.Helper()
	if _, ok := s.(gapless.ChangeReader); !ok {
		return // the next enumeration brings it
	}
	until := o.now()
	if err := r.changes(o.t.Context(), s, since, o.take(s)); err != nil {
		o.t.Fatalf("ReadChanges: %v", err)
	}
	o.inStep(what+", and then the changes", r.replica, until, o.model(s) == gapless.ModelLog)
}

// checkConcurrent: the engine reads several partitions of one source at a time.
func checkConcurrent(t testing.TB, o *outside) {
	o.fill(0, handful)
	s := o.open()
	list := o.partitions(s)
	if len(list) < 2 {
		t.Skip("the source has just one partition")
	}
	readings, errs := make([]*reading, len(list)), make([]error, len(list))
	ctx, first := context.WithTimeout(t.Context(), patience/5)
	defer first()
	begun := make(chan struct{}, len(list))
	var group sync.WaitGroup
	for i, p := range list {
		readings[i] = o.read(nil)
		read := func() {
			errs[i] = readings[i].into(t.Context(), p, func(out *gapless.Output) error { return s.ReadAll(t.Context(), p, "", out) })
		}
		group.Go(func() {
			if i > 0 {
				begins := sync.OnceFunc(func() { begun <- struct{}{} })
				defer begins()
				readings[i].each = func(int) error { begins(); <-ctx.Done(); return nil }
				read()
				return
			}
			defer first()
			for range len(list) - 1 { // in the middle of the others, one is read to its end
				select {
				case <-begun:
				case <-ctx.Done():
				}
			}
			read()
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("ReadAll: %v", err)
	}
	all := o.read(nil)
	for _, r := range readings {
		for _, e := range r.events {
			all.replica.apply(e)
		}
	}
	o.inStep("partitions that are read at the same time", all.replica, o.now(), true)
	o.close()
}

// checkCancel: a read whose context is cancelled ends soon, and never with nil
// unless it was complete.
func checkCancel(t testing.TB, o *outside) {
	o.fill(0, handful)
	s := o.open()
	reads := []func() attempt{o.readingAll}
	if _, ok := s.(gapless.KeyReader); ok {
		reads = append(reads, o.readingKeys)
	}
	if _, ok := s.(gapless.ChangeReader); ok {
		reads = append(reads, o.readingChanges)
	}
	missing := o.breaker.missing(Stalled)
	if missing != "" {
		unchecked(t, "calls that get no answer: "+missing)
	}
	for _, read := range reads {
		a := read() // in turn, for it may make edits
		o.interrupts(a)
		if missing == "" {
			o.stalls(a)
		}
	}
	o.close()
}

// readingAll is the attempt to read in full.
func (o *outside) readingAll() attempt {
	return attempt{
		what: "ReadAll",
		read: func(ctx context.Context, s gapless.Source, r *reading) error { return r.all(ctx, s, nil) },
		whole: func(what string, r *reading) {
			o.t.Helper()
			o.inStep(what, r.replica, o.now(), true)
		},
	}
}

// interrupts cancels an attempt at batches that it emits.
func (o *outside) interrupts(a attempt) {
	o.t.Helper()
	whole := o.read(nil)
	if err := a.read(o.t.Context(), o.open(), whole); err != nil {
		o.t.Fatalf("%s: %v", a.what, err)
	}
	for _, n := range points(whole.batches, o.some(8, 3)) {
		ctx, cancel := context.WithCancel(o.t.Context())
		r, s := o.read(nil), o.open()
		r.deaf = true
		r.each = func(nth int) error {
			if nth == n {
				cancel()
			}
			return nil
		}
		err := ends(ctx, o.t, a.what, func() error { return a.read(ctx, s, r) })
		cancel()
		o.cancelled(a, err, r)
	}
}

func (o *outside) cancelled(a attempt, err error, r *reading) {
	o.t.Helper()
	if err == nil {
		a.whole(a.what+" returned nil after its context was cancelled, as if that were all", r)
		return
	}
	classified(o.t, a.what+", cancelled", err)
}

// stalls cancels an attempt while the outside system gives no answer.
func (o *outside) stalls(a attempt) {
	o.t.Helper()
	for _, n := range points(o.callsOf(a), o.some(6, 2)) {
		r, s := o.read(nil), o.open()
		r.deaf = true
		ctx, cancel := context.WithCancel(o.t.Context())
		o.breaker.arm(n, Stalled)
		go func() {
			settles(lag, func() bool { return o.breaker.hit() || ctx.Err() != nil })
			cancel()
		}()
		err := ends(ctx, o.t, fmt.Sprintf("%s, with no answer to call %d,", a.what, n), func() error { return a.read(ctx, s, r) })
		cancel()
		o.breaker.disarm()
		o.cancelled(a, err, r)
	}
}

// callsOf counts the outside calls of an attempt that goes well.
func (o *outside) callsOf(a attempt) int {
	o.t.Helper()
	s := o.open()
	o.breaker.arm(0, "")
	err := a.read(o.t.Context(), s, o.read(nil))
	calls, _ := o.breaker.disarm()
	if err != nil {
		o.t.Fatalf("%s: %v", a.what, err)
	}
	return calls
}

// checkSourceLeaks: a source that is closed leaves nothing behind.
func checkSourceLeaks(t testing.TB, o *outside) {
	o.fill(0, handful)
	attempts := []attempt{o.readingAll()}
	if _, ok := o.open().(gapless.ChangeReader); ok {
		attempts = append(attempts, o.readingChanges())
	}
	if _, ok := o.open().(gapless.KeyReader); ok {
		attempts = append(attempts, o.readingKeys())
	}
	o.close()
	leaks(t, func(ctx context.Context) {
		s := o.open()
		for _, a := range attempts {
			if err := a.read(ctx, s, o.read(nil)); err != nil {
				t.Fatalf("%s: %v", a.what, err)
			}
			stopped := o.read(nil)
			stopped.each = func(int) error { return errStop }
			if err := a.read(ctx, s, stopped); !errors.Is(err, errStop) {
				t.Fatalf("%s that was stopped: %v", a.what, err)
			}
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			_ = a.read(cancelled, s, o.read(nil)) // only what it leaves behind counts
		}
		o.close()
	})
}
