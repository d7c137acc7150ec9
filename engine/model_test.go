package engine_test

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// TestAnyHistoryEndsInStep lets edits, runs, faults, interruptions, crashes,
// restored backups and lost or rolled-back state follow each other in any
// order. After every run the audit must hold, and a run without faults must
// bring the destination into step and prove it. The cases are the same whenever
// it runs; TestAnyHistorySoak plays others.
func TestAnyHistoryEndsInStep(t *testing.T) {
	t.Parallel()
	cases := 100
	if testing.Short() {
		cases = 15
	}
	for _, model := range models {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			playCases(t, 0, cases, func(t *testing.T, r *rapid.T) { newHistory(t, r, model).play() })
		})
	}
}

// TestAnyHistorySoak plays cases by chance, as many as -rapid.checks says, and
// shrinks one that fails.
func TestAnyHistorySoak(t *testing.T) {
	t.Parallel()
	if os.Getenv("GAPLESS_SOAK") == "" {
		t.Skip("set GAPLESS_SOAK to play")
	}
	for _, model := range models {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(r *rapid.T) { newHistory(t, r, model).play() })
		})
	}
}

// property is a rapid test with the temporary folders of its parent.
type property struct {
	*rapid.T
	parent *testing.T
}

func (p property) TempDir() string { return p.parent.TempDir() }

type history struct {
	*world
	r       *rapid.T
	backups []*gaplesstest.Destination
	states  []string
}

func newHistory(t *testing.T, r *rapid.T, model gapless.ChangeModel) *history {
	h := &history{world: newWorld(property{r, t}, model), r: r}
	h.source.MarkEvery(rapid.IntRange(0, 3).Draw(r, "mark every"))
	h.fill(rapid.IntRange(0, 9).Draw(r, "records"))
	return h
}

func (h *history) play() {
	h.r.Repeat(map[string]func(*rapid.T){
		"put": func(r *rapid.T) {
			h.source.Put("r", h.key(r), fmt.Sprintf(`{"v":%d}`, rapid.IntRange(0, 2).Draw(r, "value")))
		},
		"remove":  func(r *rapid.T) { h.source.Remove("r", h.key(r)) },
		"prune":   func(*rapid.T) { h.source.Prune() },
		"schema":  func(r *rapid.T) { h.source.SetSchema(rapid.SampledFrom([]string{"", "a"}).Draw(r, "schema")) },
		"crash":   func(r *rapid.T) { h.dest.Crash(rapid.IntRange(0, 5).Draw(r, "keep")) },
		"run":     h.faulty,
		"clean":   func(r *rapid.T) { h.cleanRun(r) },
		"backup":  func(*rapid.T) { h.backups = append(h.backups, h.dest.Snapshot()) },
		"restore": h.restore,
		"replace": func(r *rapid.T) {
			h.dest.Restore(gaplesstest.NewDestination("d" + fmt.Sprint(rapid.IntRange(2, 9).Draw(r, "id"))))
		},
		"remember": func(*rapid.T) {
			if len(h.states) < 3 {
				h.states = append(h.states, h.copyState())
			}
		},
		"rollback": h.rollback,
		"forget":   func(*rapid.T) { h.dir = newDir(h) },
	})
	h.cleanRun(h.r)
}

func (h *history) key(r *rapid.T) string {
	return fmt.Sprintf("k%04d", rapid.IntRange(0, 9).Draw(r, "key"))
}

// faulty is a run in which one call fails, or which is interrupted.
func (h *history) faulty(r *rapid.T) {
	targets := []*gaplesstest.Faults{&h.source.Faults, &h.dest.Faults, &h.state}
	faults := targets[rapid.IntRange(0, len(targets)-1).Draw(r, "target")]
	n := rapid.IntRange(1, 20).Draw(r, "call")
	kind := rapid.SampledFrom([]string{"recoverable", "unclassified", "ambiguous", "misclassified", "interrupt", "dead"}).Draw(r, "kind")
	stop := make(chan struct{})
	if kind == "dead" {
		h.die(targets, n)
	} else {
		h.failOnce(faults, n, kind, stop)
	}
	_, err := h.run(engine.RunOptions{Stop: stop, Full: rapid.IntRange(0, 5).Draw(r, "full") == 0})
	for _, f := range targets {
		f.Set(nil)
	}
	h.audit(fmt.Sprintf("%s at call %d", kind, n), h.allowed(err))
}

// die makes the n-th call and all that follow fail, as for a process that is
// no longer there: it cannot even record its end.
func (h *history) die(targets []*gaplesstest.Faults, n int) {
	var calls atomic.Int64
	for _, f := range targets {
		f.Set(func(string, int, int) error {
			if calls.Add(1) < int64(n) {
				return nil
			}
			return errFault
		})
	}
}

func (h *history) failOnce(faults *gaplesstest.Faults, n int, kind string, stop chan struct{}) {
	faults.Set(func(_ string, _, total int) error {
		switch {
		case total != n:
			return nil
		case kind == "interrupt":
			close(stop)
			return nil
		}
		return faultKinds[kind]()
	})
}

// cleanRun has no faults. The guard may stop it; a person then approves.
func (h *history) cleanRun(r *rapid.T) {
	s, err := h.run(engine.RunOptions{})
	for range 3 {
		if gapless.ExitCode(err) != gapless.ExitGuard {
			break
		}
		s, err = h.run(engine.RunOptions{Approve: s.Plan})
	}
	if err != nil {
		r.Fatalf("clean run: %v", err)
	}
	h.inStep()
}

// allowed lets a restored destination be ahead or behind after a failed run.
func (h *history) allowed(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(err, errFault)
}

func (h *history) restore(*rapid.T) {
	if len(h.backups) > 0 {
		h.dest.Restore(h.backups[len(h.backups)-1])
	}
}

func (h *history) rollback(r *rapid.T) {
	if len(h.states) == 0 {
		return
	}
	h.dir = h.TempDir()
	if err := os.CopyFS(h.dir, os.DirFS(h.states[len(h.states)-1])); err != nil {
		r.Fatal(err)
	}
}
