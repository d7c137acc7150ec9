package gaplesstest

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// connectorName is that of the connector in runs of the engine.
const connectorName = "kit"

// runner runs the real engine, each time as a new process does: nothing is
// known from before but the state on disk.
type runner struct {
	t   testing.TB
	dir string
	now time.Time
}

func newRunner(t testing.TB) *runner {
	return &runner{t: t, dir: t.TempDir(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// engine opens an engine for fn. The lease of an earlier process has run out.
func (r *runner) engine(s gapless.Source, d gapless.Destination, fn func(e *engine.Engine) error) error {
	r.t.Helper()
	r.now = r.now.Add(time.Hour)
	start := r.now
	store, err := sqlite.Open(r.t.Context(), filepath.Join(r.dir, "state"))
	if err != nil {
		return fmt.Errorf("open the state: %w", err)
	}
	began := time.Now()
	e, err := engine.New(engine.Config{
		Connector: connectorName, Source: s, Destination: d, Store: store, Dir: filepath.Join(r.dir, "fingerprints"),
		Now:      func() time.Time { return start.Add(time.Since(began)) },
		Settings: engine.Settings{BatchRows: batchRows, SyncRecords: 2 * batchRows, Attempts: 1, GuardRecords: 1 << 20},
	})
	if err == nil {
		err = fn(e)
	}
	return errors.Join(err, store.Close())
}

func (r *runner) run(s gapless.Source, d gapless.Destination) error {
	r.t.Helper()
	return r.engine(s, d, func(e *engine.Engine) error {
		_, err := e.Run(r.t.Context(), engine.RunOptions{})
		return err
	})
}

// proved fails t unless the engine's own account has no gap.
func (r *runner) proved(what string, s gapless.Source, d gapless.Destination) {
	r.t.Helper()
	err := r.engine(s, d, func(e *engine.Engine) error {
		report, err := e.Prove(r.t.Context())
		if err == nil && !report.OK {
			r.t.Errorf("%s: in step, but not proved:\n%s", what, report.Text())
		}
		return err
	})
	if err != nil {
		r.t.Fatalf("%s: prove: %v", what, err)
	}
}

// checkSourceEngine: the real engine, between this source and a destination in
// memory, ends in step and proved, whatever failed on the way.
func checkSourceEngine(t testing.TB, o *outside) {
	w := &sourceRuns{outside: o, runner: newRunner(t), d: NewDestination("memory")}
	o.fill(0, handful)
	w.clean("the first run")
	w.edit()
	o.breaker.arm(0, "")
	w.clean("the next run")
	calls, _ := o.breaker.disarm()
	faults := o.breaker.makeable(t, Unavailable, Cut, Truncated, Forbidden, Throttled, Blank)
	for i, n := range points(calls, o.some(8, 3)) {
		fault := faults[i%len(faults)]
		w.edit()
		w.broken(fmt.Sprintf("call %d of %d %s", n, calls, string(fault)), func() { o.breaker.arm(n, fault) })
	}
	for i, n := range []int{1, 2, 4} {
		w.edit()
		w.broken(fmt.Sprintf("the destination crashed at its call %d", n), func() {
			w.d.Faults.Set(func(_ string, _, total int) error {
				if total != n {
					return nil
				}
				w.d.Crash(i)
				return gapless.Recoverable(Unavailable)
			})
		})
	}
	o.close()
}

// sourceRuns is a source under check, and a destination that it is run into.
type sourceRuns struct {
	*outside
	*runner
	d *Destination
}

// edit changes, adds and deletes a few records.
func (w *sourceRuns) edit() {
	n := len(w.history)
	for i := range 4 {
		w.put(name((n + i*5) % handful))
	}
	w.put(name(handful + n))
	_, keys := w.opened.(gapless.KeyReader)
	if keys || w.model(w.opened) != gapless.ModelModified {
		w.remove(name((n + 3) % handful))
	}
}

// clean is a run in which nothing fails; afterwards all is in step.
func (w *sourceRuns) clean(what string) {
	w.outside.t.Helper()
	s := w.open()
	if err := w.run(s, w.d); err != nil {
		w.outside.t.Fatalf("%s: %v", what, err)
	}
	w.breaker.aside(func() { w.landed(what, s) })
	w.breaker.aside(func() { w.proved(what, s, w.d) })
}

// landed compares what the destination holds with what there is.
func (w *sourceRuns) landed(what string, s gapless.Source) {
	w.outside.t.Helper()
	r := replica{}
	list := w.partitions(s)
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if h := w.d.connectors[connectorName]; h != nil {
		for path, record := range h.synced {
			for _, p := range list {
				key, ours := strings.CutPrefix(path, p.Collection+"/")
				if !ours || !strings.HasPrefix(key, p.Prefix) {
					continue
				}
				record.Key = key
				if name, revision := w.Read(p, gapless.Change{Record: record}); name != "" {
					r[name] = revision
				}
				break
			}
		}
	}
	w.inStep(what+": the destination is not in step", r, w.outside.now(), true)
}

// broken is a run in which something fails: it succeeds only if it is complete,
// and the next brings what is missing.
func (w *sourceRuns) broken(what string, arm func()) {
	w.outside.t.Helper()
	s := w.open()
	arm()
	err := w.run(s, w.d)
	w.breaker.disarm()
	w.d.Faults.Set(nil)
	if err == nil {
		w.landed("a run that succeeded although "+what, s)
	} else {
		classified(w.outside.t, "a run in which "+what, err)
	}
	w.clean("the run after one in which " + what)
}

// checkDestinationEngine: the real engine, between a source in memory and this
// destination, ends in step and proved, whatever failed on the way.
func checkDestinationEngine(t testing.TB, w *inside) {
	r := &destinationRuns{inside: w, runner: newRunner(t)}
	r.s = NewSource(w.collections()...)
	r.s.MarkEvery(4)
	for i := range handful {
		r.put(name(i))
	}
	r.clean("the first run")
	r.edit()
	calls := w.callsOf(func() { r.clean("the next run") })
	faults := w.breaker.makeable(t, Unavailable, Lost, Cut, Forbidden, Throttled)
	for i, n := range points(calls, w.some(10, 4)) {
		fault := faults[i%len(faults)]
		r.edit()
		w.breaker.arm(n, fault)
		r.broken(fmt.Sprintf("call %d of %d %s", n, calls, string(fault)))
	}
	for _, n := range []int{2, 5, 9} {
		r.edit()
		r.s.Faults.Set(func(_ string, _, total int) error {
			if total != n {
				return nil
			}
			return gapless.Recoverable(Unavailable)
		})
		r.broken(fmt.Sprintf("the source failed at its call %d", n))
	}
	r.crashes()
	w.exit()
}

// crashes has the outside system die between two runs, and in the middle of
// some if sessions outlive that.
func (r *destinationRuns) crashes() {
	t := r.inside.t
	t.Helper()
	if r.Crash == nil {
		unchecked(t, "crashes: DestinationSystem.Crash is nil")
		return
	}
	r.edit()
	r.dies()
	r.breaker.aside(r.Crash)
	r.s.Faults.Set(nil)
	r.clean("the run after a crash")
	if !r.Server {
		unchecked(t, "crashes in the middle of a run: sessions do not outlive them (DestinationSystem.Server)")
		return
	}
	for _, n := range points(r.s.Faults.Calls(), r.some(10, 6)) {
		r.edit()
		r.edit()
		err := r.crashed(n)
		r.ended(fmt.Sprintf("the destination crashed at call %d of the source", n), err)
	}
}

// crashed is a run during whose n-th call of the source the outside system
// dies. The hook is called where it may end the test.
func (r *destinationRuns) crashed(n int) error {
	r.inside.t.Helper()
	reached, gone, finished := make(chan struct{}), make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(gone) })
	defer func() { goOn(); <-finished }()
	r.s.Faults.Set(func(_ string, _, total int) error {
		if total == n {
			close(reached)
			<-gone
		}
		return nil
	})
	var err error
	source, d := r.s.As(gapless.ModelLog), r.destination()
	go func() {
		defer close(finished)
		err = r.run(source, d)
	}()
	select {
	case <-finished:
		return err
	case <-reached:
	}
	settles(onTheWay, func() bool { return false })
	r.breaker.aside(r.Crash)
	goOn()
	<-finished
	return err
}

// onTheWay is how long batches that a source has emitted are waited for, so
// that they are pushed when the destination crashes.
const onTheWay = 20 * time.Millisecond

// collections are those of the partitions, each once: the source in memory has
// one partition for each.
func (w *inside) collections() []string {
	var all []string
	for _, p := range w.Partitions {
		if !slices.Contains(all, p.Collection) {
			all = append(all, p.Collection)
		}
	}
	return all
}

// destinationRuns is a destination under check, and a source that is run into it.
type destinationRuns struct {
	*inside
	*runner
	s *Source
}

func (r *destinationRuns) put(n string) {
	p := r.partition(n)
	r.s.PutRecord(p.Collection, r.Record(p, n, r.next(n).revision))
}

func (r *destinationRuns) edit() {
	n := len(r.history)
	for i := range 4 {
		r.put(name((n + i*5) % handful))
	}
	r.put(name(handful + n))
	gone := name((n + 3) % handful)
	r.gone(gone)
	p := r.partition(gone)
	r.s.Remove(p.Collection, r.Record(p, gone, 1).Key)
}

// clean is a run in which nothing fails; afterwards all is in step.
func (r *destinationRuns) clean(what string) {
	r.inside.t.Helper()
	source := r.s.As(gapless.ModelLog)
	if err := r.run(source, r.destination()); err != nil {
		r.inside.t.Fatalf("%s: %v", what, err)
	}
	r.breaker.aside(func() { r.proved(what, source, r.destination()) })
	r.landed(what)
}

// landed sees all in step.
func (r *destinationRuns) landed(what string) {
	r.inside.t.Helper()
	r.breaker.aside(func() {
		r.session = r.with(0)
		r.has(what, r.inside.now())
		r.exit()
	})
}

// broken is a run in which something fails, and the next one.
func (r *destinationRuns) broken(what string) {
	r.inside.t.Helper()
	r.ended(what, r.run(r.s.As(gapless.ModelLog), r.destination()))
}

// ended judges a run in which something failed: it succeeds only if it is
// complete, and the next brings what is missing.
func (r *destinationRuns) ended(what string, err error) {
	r.inside.t.Helper()
	r.breaker.disarm()
	r.s.Faults.Set(nil)
	if err == nil {
		r.landed("a run that succeeded although " + what)
	} else {
		classified(r.inside.t, "a run in which "+what, err)
	}
	r.dies()
	r.clean("the run after one in which " + what)
}
