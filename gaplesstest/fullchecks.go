package gaplesstest

import (
	"testing"

	"github.com/gapless-sync/gapless"
)

// checkFullRun: a destination that retires on its own what a full run did not
// contain retires just that, and nothing before the run has ended.
func checkFullRun(t testing.TB, w *inside) {
	w.begin()
	if _, ok := w.session.(gapless.FullRunner); !ok {
		w.exit()
		t.Skip("the session is no gapless.FullRunner")
	}
	w.save(w.puts(0, 8)...)

	w.beginFull(false)
	w.push(w.puts(0, 6)...)
	w.flush()
	w.has("a full run that has not ended", w.now())
	w.gone(name(6)) // the run did not come across it
	w.gone(name(7))
	w.endFull()
	w.has("a full run that left two records out", w.now())

	w.beginFull(false)
	w.push(w.puts(0, 3)...)
	w.flush()
	w.dies()
	w.begin()
	w.has("a full run that was broken off", w.now())
	rest := 3
	if !w.beginFull(true) {
		rest = 0
	}
	w.push(w.puts(rest, 5)...)
	w.flush()
	w.gone(name(5))
	w.endFull()
	w.has("a full run that was broken off and gone on with", w.now())

	w.beginFull(false)
	w.push(w.puts(0, 1)...)
	w.flush()
	w.dies()
	w.begin()
	w.save(w.puts(1, 2)...)
	w.restart()
	w.has("a run of changes after a full one that was broken off", w.now())
	w.exit()
}

// beginFull begins a full run, and reports whether it goes on with one that was
// broken off.
func (w *inside) beginFull(resumed bool) (goesOn bool) {
	w.t.Helper()
	runner := w.session.(gapless.FullRunner)
	err := runner.BeginFull(w.t.Context(), resumed)
	if resumed && gapless.KindOf(err) == gapless.KindExpired && err != nil {
		return w.beginFull(false)
	}
	if err != nil {
		w.t.Fatalf("BeginFull: %v", err)
	}
	return resumed
}

// flush syncs without checkpoints, as in the middle of a run.
func (w *inside) flush() {
	w.t.Helper()
	receipt, err := w.session.Sync(w.t.Context(), nil)
	if err != nil {
		w.t.Fatalf("Sync: %v", err)
	}
	w.took(receipt)
}

// endFull ends a full run, as the engine does: everything is synced, then it has
// ended, then the checkpoints follow.
func (w *inside) endFull() {
	w.t.Helper()
	if err := w.session.(gapless.FullRunner).EndFull(w.t.Context()); err != nil {
		w.t.Fatalf("EndFull: %v", err)
	}
	w.sync()
}

// checkSearchable: once a session says that readers see everything up to a
// serial, they do; and it says so in the end, and not of serials to come.
func checkSearchable(t testing.TB, w *inside) {
	w.begin()
	s, ok := w.session.(gapless.Searchable)
	if !ok {
		w.exit()
		t.Skip("the session is no gapless.Searchable")
	}
	w.save(w.puts(0, 4)...)
	w.push(append(w.puts(2, 6), w.gone(name(1)))...)
	w.sync()
	if w.serial == 0 {
		t.Fatal("neither Push nor Sync names a serial that could be asked for")
	}
	var searchable bool
	var err error
	settles(patience, func() bool {
		searchable, err = s.Searchable(t.Context(), w.serial)
		return searchable || err != nil
	})
	if !searchable {
		t.Errorf("what was synced is not searchable after %s: %v", patience, err)
	}
	w.has("what is searchable", w.now())
	const ahead = 1 << 48
	if searchable, err = s.Searchable(t.Context(), w.serial+ahead); searchable && err == nil {
		t.Errorf("serial %d is searchable, and the last one is %d", w.serial+ahead, w.serial)
	}
	w.exit()
}
