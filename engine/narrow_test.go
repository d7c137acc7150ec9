package engine_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
)

// A run that is narrowed to some keys reads just those, and leaves the rest to
// the next run.
func TestNarrowRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelModified)
	for _, key := range []string{"a", "b", "c"} {
		w.source.Put("r", key, `{"v":1}`)
	}
	w.mustRun()
	w.source.Put("r", "a", `{"v":2}`)
	w.source.Put("r", "b", `{"v":2}`)
	before := w.dest.Checkpoint(connector, "r")
	s := w.narrowed("a", "none")
	if s.Counts.Read != 2 || s.Partitions[0].Mode != "repair" {
		t.Errorf("read %d records, mode %s", s.Counts.Read, s.Partitions[0].Mode)
	}
	if diff := cmp.Diff(map[string]string{"a": `{"v":2}`, "b": `{"v":1}`, "c": `{"v":1}`}, w.dest.Records(connector, "r")); diff != "" {
		t.Error(diff)
	}
	if after := w.dest.Checkpoint(connector, "r"); after.Position != before.Position {
		t.Errorf("the position moved from %q to %q", before.Position, after.Position)
	}
	w.mustRun()
	w.inStep()
}

func (w *world) narrowed(keys ...string) engine.Summary {
	w.Helper()
	s, err := w.run(engine.RunOptions{Keys: keys})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// What has to be read in full is, whatever it was narrowed to.
func TestNarrowRunClosesGapsFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gapless.ModelModified)
	w.source.Put("r", "a", `{"v":1}`)
	w.source.Put("r", "b", `{"v":1}`)
	if s := w.narrowed("a"); s.Partitions[0].Mode != "full" {
		t.Errorf("the first run was %s", s.Partitions[0].Mode)
	}
	w.inStep()
	w.source.Put("r", "b", `{"v":2}`)
	w.source.Faults.Set(failing("read", 0, errFault))
	if _, err := w.run(engine.RunOptions{}); gapless.KindOf(err) != gapless.KindUnrecoverable {
		t.Fatalf("an unclassified failure ended with %v", err)
	}
	w.source.Faults.Set(nil)
	if s := w.narrowed("a"); s.Partitions[0].Mode != "full" {
		t.Errorf("the run after a gap was %s", s.Partitions[0].Mode)
	}
	w.inStep()
}

func TestNarrowTwoWayRun(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	a.Edit("r", "k", `{"v":1}`, noon)
	a.Edit("r", "l", `{"v":1}`, noon)
	p.mustRun()
	a.Edit("r", "k", `{"v":2}`, noon)
	b.Edit("r", "l", `{"v":2}`, noon)
	if _, err := p.runWith(engine.RunOptions{Keys: []string{"k"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"k": `{"v":2}`, "l": `{"v":2}`}, b.Records("r")); diff != "" || a.Records("r")["l"] != `{"v":1}` {
		t.Errorf("%s%v", diff, a.Records("r"))
	}
	p.mustRun()
	if got := p.both(); got["l"] != `{"v":2}` {
		t.Errorf("got %v", got)
	}
	if r := p.prove(); !r.OK {
		t.Errorf("not proved: %+v", r.Gaps)
	}
}
