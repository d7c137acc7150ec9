package sim

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
)

// PlaySeed plays the history that a seed stands for. It breaks off at the
// first violation.
func PlaySeed(t *testing.T, seed uint64, s Sabotage, trace bool) Result {
	t.Helper()
	h := &history{r: rand.New(rand.NewPCG(seed, 1))}
	setup := h.draw(seed)
	setup.Sabotage, setup.Trace = s, trace
	return Play(t, setup, h.play)
}

// history is a story that is decided by a seed.
type history struct {
	*World
	r       *rand.Rand
	backups []Backup
}

// odds is true once in n times.
func (h *history) odds(n int) bool { return h.r.IntN(n) == 0 }

// draw says what the world of a seed is like.
func (h *history) draw(seed uint64) Setup {
	models := [...]gapless.ChangeModel{gapless.ModelFull, gapless.ModelModified, gapless.ModelLog}
	s := Setup{
		Seed: seed, Model: models[h.r.IntN(len(models))], Positioned: h.odds(2), Fetching: h.odds(2),
		Partitions: 1 + h.r.IntN(3), Sliced: h.odds(2), Keys: 3 + h.r.IntN(6), MarkEvery: h.r.IntN(4), Settings: DefaultSettings(),
	}
	s.Settings.BatchRows, s.Settings.SyncRecords, s.Settings.Attempts = 1+h.r.IntN(4), 1+h.r.IntN(6), 1+h.r.IntN(3)
	if h.odds(3) {
		s.Settings.Parallel = 2
	}
	if h.odds(3) {
		s.Settings.GuardRecords = 1
	}
	if h.odds(4) {
		s.Settings.SyncInterval = 5 * time.Millisecond
	}
	return s
}

func (h *history) play(w *World) {
	h.World = w
	for range h.r.IntN(12) {
		h.edit()
	}
	for range 2 + h.r.IntN(5) {
		if w.Broken() {
			return
		}
		h.happen()
		h.round()
	}
	if w.Broken() {
		return
	}
	for partition := range h.setup.Partitions {
		w.List(partition, true) // of others nobody can tell whether they are in step
	}
	// Only who always enumerates comes across what was refused without being asked.
	w.Mend(h.setup.Model == gapless.ModelFull && !h.setup.Positioned && h.odds(2))
	w.Settle()
}

func (h *history) partition() int { return h.r.IntN(h.setup.Partitions) }
func (h *history) key() int       { return h.r.IntN(h.setup.Keys) }

// edit changes one record of the source.
func (h *history) edit() {
	p, key := h.partition(), h.key()
	switch n := h.r.IntN(20); {
	case n < 5:
		h.Remove(p, key)
	case n == 5:
		h.Put(p, key, refusedValue)
	case n == 6:
		h.Put(p, key, tardyValue)
	case n == 7:
		h.Spoil(p, key, h.odds(3))
	default:
		h.Put(p, key, h.r.IntN(3))
	}
}

// happen lets something befall the systems between two runs, as a rule.
func (h *history) happen() {
	for range h.r.IntN(5) {
		h.edit()
	}
	switch h.r.IntN(24) {
	case 0:
		h.Prune()
	case 1:
		h.Reshape()
	case 2, 3:
		h.Configure(h.r.IntN(len(h.rules)))
	case 4:
		h.List(h.partition(), h.odds(2))
	case 5:
		h.Replace()
	case 6:
		h.Exchange()
	case 7, 8, 9:
		h.backUp()
	case 10, 11, 12, 13:
		h.restore()
	case 14:
		h.ForgetState()
	case 15, 16:
		h.Crash(h.r.Uint64())
	}
}

func (h *history) backUp() {
	b, err := h.BackUp()
	if err != nil {
		h.unsettled("back up: %v", err)
	}
	h.backups = append(h.backups, b)
}

// restore restores the destination, state, or both from a backup.
func (h *history) restore() {
	if len(h.backups) == 0 {
		return
	}
	b := h.backups[h.r.IntN(len(h.backups))]
	which := h.r.IntN(3)
	if which != 0 {
		h.RestoreDestination(b, h.odds(3))
	}
	if which == 1 {
		return
	}
	if err := h.RestoreState(b); err != nil {
		h.unsettled("restore state: %v", err)
	}
}

// round is one run or two at once, while the source is edited and the
// destination crashes.
func (h *history) round() {
	if h.odds(3) {
		h.Wait(2 * h.setup.Settings.LeaseTTL) // no lease of a dead process is in the way
	}
	running := []Running{h.Start(h.run(2))}
	rival := h.odds(4)
	for range h.r.IntN(8) {
		h.Wait(time.Duration(h.r.IntN(40)) * time.Millisecond)
		if h.odds(12) {
			h.Crash(h.r.Uint64())
			continue
		}
		h.edit()
	}
	if rival {
		h.Wait(time.Duration(h.r.IntN(4)) * h.setup.Settings.LeaseTTL / 2)
		running = append(running, h.Start(h.run(1)))
	}
	for _, r := range running {
		ended := r.Wait()
		if gapless.ExitCode(ended.Err) == gapless.ExitGuard && h.odds(2) {
			run := h.run(1)
			run.Options.Approve = ended.Summary.Plan
			h.Run(run)
		}
	}
}

// run draws a run with at most so many faults.
func (h *history) run(faults int) Run {
	run := Run{Options: engine.RunOptions{Full: h.odds(10)}}
	if h.odds(8) {
		p := h.source.parts[h.partition()]
		run.Options.Keys = []string{p.keys[h.key()], p.keys[h.key()]}
	}
	for range h.r.IntN(faults + 1) {
		run.Faults = append(run.Faults, Fault{
			Endpoint: Endpoint(h.r.IntN(int(endpoints))), Nth: 1 + h.r.IntN(30), Kind: Kind(h.r.IntN(int(kinds))),
		})
	}
	return run
}

// Command is how a seed is played again.
func Command(seed uint64) string { return fmt.Sprintf("make sim SEED=%d", seed) }
