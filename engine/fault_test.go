package engine_test

import (
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
)

var errFault = errors.New("planned fault")

// faultKinds are the ways in which one call can fail.
var faultKinds = map[string]func() error{
	"recoverable":   func() error { return gapless.Recoverable(errFault) },
	"unclassified":  func() error { return errFault },
	"ambiguous":     func() error { return gaplesstest.Ambiguous(gapless.Recoverable(errFault)) },
	"misclassified": func() error { return gaplesstest.Ambiguous(errFault) },
}

// failing has the n-th call of a name fail, or every one if n is 0.
func failing(name string, n int, err error) func(call string, nth, total int) error {
	return func(call string, nth, _ int) error {
		if call == name && (nth == n || n == 0) {
			return err
		}
		return nil
	}
}

// TestEveryCallFailsOnce makes the n-th call of source, destination or state
// fail, for every n that a run has, then runs again without faults. Whatever
// failed: nothing is deleted that exists, no checkpoint passes what is not
// synced, a run that is not complete says so, and the next one mends it.
func TestEveryCallFailsOnce(t *testing.T) {
	t.Parallel()
	for _, model := range models {
		for kind, fault := range faultKinds {
			if testing.Short() && (kind != "misclassified" || model == gapless.ModelLog) {
				continue
			}
			t.Run(string(model)+"/"+kind, func(t *testing.T) {
				t.Parallel()
				for _, target := range []string{"source", "destination", "state"} {
					for n := 1; faultedRuns(t, model, target, n, fault); n++ {
					}
				}
			})
		}
	}
}

// faultedRuns plays one story with a fault at the n-th call, in the first, the
// second and the third run; false if there are fewer calls.
func faultedRuns(t *testing.T, model gapless.ChangeModel, target string, n int, fault func() error) bool {
	t.Helper()
	w := newWorld(t, model)
	faults := map[string]*gaplesstest.Faults{"source": &w.source.Faults, "destination": &w.dest.Faults, "state": &w.state}[target]
	w.source.MarkEvery(2)
	w.fill(8)
	reached := false
	for round := range 3 {
		faults.Set(func(_ string, _, total int) error {
			if total != n {
				return nil
			}
			return fault()
		})
		_, err := w.run(engine.RunOptions{})
		hit := faults.Calls() >= n
		reached = reached || hit
		faults.Set(nil)
		where := fmt.Sprintf("%s call %d in round %d", target, n, round)
		w.audit(where, err)
		w.dest.Crash(round) // what was not synced is lost, in part
		w.audit(where+", after a crash", errors.Join(err, errFault))
		w.mustRun()
		w.source.Put("r", "k0001", fmt.Sprintf(`{"round":%d}`, round))
		w.source.Put("r", fmt.Sprintf("new%d", round), `{}`)
		w.source.Remove("r", fmt.Sprintf("k%04d", 3+round))
	}
	return reached
}

// TestForgottenFullRunIsNoGap makes the n-th call fail, or the process die at
// it, of a full run that a changed schema, another destination or a gap asks for. What
// the next run builds on is proved.
func TestForgottenFullRunIsNoGap(t *testing.T) {
	t.Parallel()
	causes := map[string]func(*world){
		"schema":      func(w *world) { w.source.SetSchema("other") },
		"destination": func(w *world) { w.dest.Restore(gaplesstest.NewDestination("d2")) },
		"gap": func(w *world) {
			w.source.Put("r", "k0001", `{"n":"new"}`)
			w.source.Faults.Set(func(string, int, int) error { return errFault })
			if _, err := w.run(engine.RunOptions{}); gapless.KindOf(err) != gapless.KindUnrecoverable {
				w.Fatalf("an unclassified failure ended with %v", err)
			}
		},
	}
	for _, model := range models {
		for cause, happen := range causes {
			if testing.Short() && (model != gapless.ModelFull || cause == "schema") {
				continue
			}
			t.Run(string(model)+"/"+cause, func(t *testing.T) {
				t.Parallel()
				for n := 1; forgotten(t, model, happen, n, false); n++ {
					forgotten(t, model, happen, n, true)
				}
			})
		}
	}
}

// forgotten plays that story; false if there are fewer calls.
func forgotten(t *testing.T, model gapless.ChangeModel, happen func(*world), n int, dead bool) bool {
	t.Helper()
	w := newWorld(t, model)
	w.fill(8)
	w.mustRun()
	happen(w)
	targets := []*gaplesstest.Faults{&w.source.Faults, &w.dest.Faults, &w.state}
	var calls atomic.Int64
	for _, f := range targets {
		f.Set(func(string, int, int) error {
			if call := calls.Add(1); call == int64(n) || dead && call > int64(n) {
				return gapless.Recoverable(errFault)
			}
			return nil
		})
	}
	_, err := w.run(engine.RunOptions{})
	reached := calls.Load() >= int64(n)
	if reached == (err == nil) {
		t.Fatalf("call %d failed: %t, but the run ended with %v", n, reached, err)
	}
	for _, f := range targets {
		f.Set(nil)
	}
	w.mustRun()
	return reached
}

// audit checks what must hold after any run, however it ended.
func (w *world) audit(where string, err error) {
	w.Helper()
	source, dest := w.source.Records("r"), w.dest.Records(connector, "r")
	if err == nil {
		if diff := cmp.Diff(source, dest); diff != "" {
			w.Fatalf("%s: the run says complete (-source +destination):\n%s", where, diff)
		}
		return
	}
	c := w.dest.Checkpoint(connector, "r")
	if c.Position == "" || c.Position != w.source.Now() {
		return
	}
	// The checkpoint says that the destination is where the source is. Only
	// deletes that the source cannot tell may still be open.
	if w.model == gapless.ModelModified {
		maps.DeleteFunc(dest, func(key, _ string) bool { return source[key] == "" })
	}
	if diff := cmp.Diff(source, dest); diff != "" {
		w.Fatalf("%s: the checkpoint is at the source's position, the data is not (-source +destination):\n%s", where, diff)
	}
}
