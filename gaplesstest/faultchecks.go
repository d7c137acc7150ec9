package gaplesstest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// checkKeys: an enumeration of keys names every record, with the version that
// reading it gives.
func checkKeys(t testing.TB, o *outside) {
	s := o.open()
	if _, ok := s.(gapless.KeyReader); !ok {
		t.Skip("the source is no gapless.KeyReader")
	}
	o.fill(0, handful)
	o.remove(name(4))
	versions := func(read func(ctx context.Context, p gapless.Partition, out *gapless.Output) error) map[string]string {
		found := map[string]string{}
		for _, p := range o.partitions(s) {
			o.rows(p, read, func(b *gapless.Batch, i int) {
				found[p.Collection+"/"+string(b.Key(i))] = string(b.Version(i))
			})
		}
		return found
	}
	records := versions(everything(s))
	keys := versions(s.(gapless.KeyReader).ReadKeys)
	for key, version := range keys {
		if version == "" {
			delete(keys, key)
			if _, ok := records[key]; !ok {
				t.Errorf("ReadKeys emitted %s, which ReadAll does not know", key)
			}
			delete(records, key)
		}
	}
	if diff := cmp.Diff(records, keys); diff != "" {
		t.Errorf("keys and versions (-ReadAll +ReadKeys):\n%s", diff)
	}
	o.close()
}

// rows calls fn for every row that read emits.
func (o *outside) rows(p gapless.Partition, read func(context.Context, gapless.Partition, *gapless.Output) error, fn func(b *gapless.Batch, i int)) {
	o.t.Helper()
	out := gapless.NewOutput(o.t.Context(), p, batchRows, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Rows {
			fn(b, i)
		}
		return &gapless.Batch{}, nil
	})
	err := read(o.t.Context(), p, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		o.t.Fatalf("read %s: %v", p.ID, err)
	}
}

// everything reads a partition as [outside.rows] has it read.
func everything(s gapless.Source) func(context.Context, gapless.Partition, *gapless.Output) error {
	return func(ctx context.Context, p gapless.Partition, out *gapless.Output) error {
		return s.ReadAll(ctx, p, "", out)
	}
}

// checkFetch: fetched records are as they are now, and a key that does not
// exist is a delete.
func checkFetch(t testing.TB, o *outside) {
	s := o.open()
	if _, ok := s.(gapless.Fetcher); !ok {
		t.Skip("the source is no gapless.Fetcher")
	}
	o.fill(0, handful)
	keys := o.keysOf(s)
	o.put(name(2))
	o.remove(name(3))
	s = o.open()
	wanted := []string{name(2), name(3), name(5)}
	r := o.fetch(s, keys, wanted)
	for _, n := range wanted {
		revision, want := r.replica[n], o.at(o.now())[n]
		if revision != want || !slices.ContainsFunc(r.events, func(e edit) bool { return e.name == n }) {
			t.Errorf("Fetch: %s came as revision %d and not as %d; 0 stands for a delete, which has to be emitted", n, revision, want)
		}
	}
	for _, e := range r.events {
		if !slices.Contains(wanted, e.name) {
			t.Errorf("Fetch emitted %s, which nobody asked for", e.name)
		}
	}
	o.close()
}

// place is where a record was found.
type place struct {
	partition gapless.Partition
	key       string
}

// keysOf returns the places of all records by name.
func (o *outside) keysOf(s gapless.Source) map[string]place {
	o.t.Helper()
	places := map[string]place{}
	for _, p := range o.partitions(s) {
		r := o.read(nil)
		if err := r.into(o.t.Context(), p, func(out *gapless.Output) error { return s.ReadAll(o.t.Context(), p, "", out) }); err != nil {
			o.t.Fatalf("ReadAll: %v", err)
		}
		for i, e := range r.events {
			places[e.name] = place{p, r.keys[i]}
		}
	}
	return places
}

func (o *outside) fetch(s gapless.Source, places map[string]place, names []string) *reading {
	o.t.Helper()
	r := o.read(nil)
	if err := r.fetch(o.t.Context(), s, places, names); err != nil {
		o.t.Fatalf("Fetch: %v", err)
	}
	return r
}

func (r *reading) fetch(ctx context.Context, s gapless.Source, places map[string]place, names []string) error {
	for _, n := range names {
		at, ok := places[n]
		if !ok {
			return fmt.Errorf("%s was never read", n)
		}
		err := r.into(ctx, at.partition, func(out *gapless.Output) error {
			return s.(gapless.Fetcher).Fetch(ctx, at.partition, []string{at.key}, out)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkFault: whichever outside call fails in this way, a read says so or is
// complete, its error is classified, and the next process loses nothing.
func checkFault(o *outside, fault Fault) {
	o.makeable(fault)
	o.faultyRead(fault)
	s := o.open()
	if _, ok := s.(gapless.KeyReader); ok {
		o.under(fault, o.readingKeys())
	}
	if _, ok := s.(gapless.Fetcher); ok {
		o.faultyFetch(fault)
	}
	if _, ok := s.(gapless.ChangeReader); ok {
		o.under(fault, o.readingChanges())
		o.faultyPosition(fault)
	}
	o.close()
}

// makeable makes records, and skips the test if no fault of the kind can meet
// who reads them.
func (o *outside) makeable(fault Fault) {
	o.t.Helper()
	o.fill(0, handful)
	if o.callsOf(o.readingAll()) == 0 {
		o.t.Skip("no outside call passes the Breaker")
	}
	if missing := o.breaker.missing(fault); missing != "" {
		o.t.Skip(missing)
	}
}

// checkRetryAfter: a source that is told to come back in a second does not do so
// before; it waits, or leaves it to a later run.
func checkRetryAfter(_ testing.TB, o *outside) {
	o.makeable(Postponed)
	attempts := []attempt{o.readingAll()}
	if _, ok := o.open().(gapless.ChangeReader); ok {
		attempts = append(attempts, o.readingChanges())
	}
	if _, ok := o.open().(gapless.KeyReader); ok {
		attempts = append(attempts, o.readingKeys())
	}
	for _, a := range attempts {
		calls := o.callsOf(a)
		o.underAt(Postponed, a, calls/2+1, calls)
	}
	o.close()
}

// attempt is one way to read under a fault.
type attempt struct {
	what string
	read func(ctx context.Context, s gapless.Source, r *reading) error
	// whole judges a reading that returned nil.
	whole func(what string, r *reading)
	// goOn does, in a new process, what follows an error.
	goOn func(s gapless.Source, r *reading)
}

// under makes the attempt once for each outside call that can fail.
func (o *outside) under(fault Fault, a attempt) {
	o.t.Helper()
	calls := o.callsOf(a)
	for _, n := range points(calls, o.some(8, 3)) {
		o.underAt(fault, a, n, calls)
	}
}

// underAt makes the attempt with one of its outside calls failing.
func (o *outside) underAt(fault Fault, a attempt, n, calls int) {
	o.t.Helper()
	s, r := o.open(), o.read(nil)
	o.breaker.arm(n, fault)
	err := a.read(o.t.Context(), s, r)
	_, broken := o.breaker.disarm()
	what := fmt.Sprintf("%s, with call %d of %d %s", a.what, n, calls, string(fault))
	if err == nil {
		if broken > 0 && fault.lasting() {
			o.t.Errorf("%s: it returned nil, as if nothing had been withheld", what)
		}
		o.breaker.waited(o.t, what)
		a.whole(what+": it returned nil", r)
		return
	}
	classifiedAs(o.t, what, fault, err)
	if a.goOn != nil {
		a.goOn(o.open(), r)
	}
}

func (o *outside) faultyRead(fault Fault) {
	o.t.Helper()
	var started positions
	a := o.readingAll()
	read := a.read
	a.read = func(ctx context.Context, s gapless.Source, r *reading) error {
		o.breaker.aside(func() { started = o.take(s) })
		return read(ctx, s, r)
	}
	a.goOn = func(s gapless.Source, r *reading) {
		if _, ok := s.(gapless.Resumer); !ok {
			r = o.read(nil)
		}
		o.resumed("ReadAll after a failed one", s, r, started)
		a.whole("ReadAll that failed, and the next one", r)
	}
	o.under(fault, a)
}

// readingKeys is the attempt to read all keys.
func (o *outside) readingKeys() attempt {
	return attempt{
		"ReadKeys",
		func(ctx context.Context, s gapless.Source, r *reading) error {
			list, err := partitions(ctx, s)
			for _, p := range list {
				if err == nil {
					err = r.into(ctx, p, func(out *gapless.Output) error { return s.(gapless.KeyReader).ReadKeys(ctx, p, out) })
				}
			}
			return err
		},
		func(what string, r *reading) {
			o.t.Helper()
			found := map[string]bool{}
			for _, e := range r.events {
				found[e.name] = true
			}
			var missing []string
			for n := range o.at(o.now()) {
				if !found[n] {
					missing = append(missing, n+" is missing: it would be deleted")
				}
			}
			if len(missing) > 0 {
				o.t.Errorf("%s:\n%s", what, list(missing))
			}
		},
		nil,
	}
}

func (o *outside) faultyFetch(fault Fault) {
	o.t.Helper()
	places, names := o.keysOf(o.open()), []string{name(0), name(1)}
	o.under(fault, attempt{
		"Fetch",
		func(ctx context.Context, s gapless.Source, r *reading) error { return r.fetch(ctx, s, places, names) },
		func(what string, r *reading) {
			o.t.Helper()
			for _, n := range names {
				if r.replica[n] != o.at(o.now())[n] {
					o.t.Errorf("%s, but %s came as revision %d (0: as deleted, or not at all)", what, n, r.replica[n])
				}
			}
		},
		nil,
	})
}

// readingChanges is the attempt to read changes, which are made before.
func (o *outside) readingChanges() attempt {
	o.t.Helper()
	s := o.open()
	held, from := o.at(o.now()), o.take(s)
	o.fill(5, handful+5)
	o.remove(name(0))
	until, to := o.now(), o.take(s)
	whole := func(what string, r *reading) {
		o.t.Helper()
		o.inStep(what, r.replica, until, o.deletesTold(o.opened))
	}
	return attempt{
		"ReadChanges",
		func(ctx context.Context, s gapless.Source, r *reading) error {
			maps.Copy(r.replica, held)
			return r.changes(ctx, s, from, to)
		},
		whole,
		func(s gapless.Source, r *reading) {
			if err := r.changes(o.t.Context(), s, r.marked(from), to); err != nil {
				o.t.Fatalf("ReadChanges after a failed one: %v", err)
			}
			whole("ReadChanges that failed, and the next one from its last mark", r)
		},
	}
}

// faultyPosition: a position that is taken in spite of the fault is a true one.
func (o *outside) faultyPosition(fault Fault) {
	o.t.Helper()
	var at moment
	var taken positions
	o.under(fault, attempt{
		"Position",
		func(ctx context.Context, s gapless.Source, _ *reading) (err error) {
			at = o.now()
			taken, err = take(ctx, s)
			return err
		},
		func(what string, _ *reading) {
			o.t.Helper()
			o.put(name(len(o.history) % handful))
			s := o.open()
			r := o.follow(s, o.at(at), taken, o.take(s))
			o.inStep(what+"; and ReadChanges from that position", r.replica, o.now(), o.deletesTold(s))
		},
		nil,
	})
}
