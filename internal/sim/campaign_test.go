package sim_test

import (
	"cmp"
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
)

// How many faults the campaign plants and how many clean runs it makes, unless
// GAPLESS_FAULTS and GAPLESS_CLEAN_RUNS say otherwise; a short one is a tenth
// of that.
const (
	campaignFaults = 200
	campaignRuns   = 400
)

// Who notices a fault, in the order in which they are asked. Nobody of them
// writes anything to the destination but the run that the fault befalls.
const (
	byRun    = "run"    // it did not exit 0
	byPlan   = "plan"   // the next run would do otherwise than after a clean one
	byProof  = "prove"  // there is a gap
	byVerify = "verify" // both ends hold other contents, and no run will bring them
	// byNext: verify names every record that is wrong, as one that the next run
	// brings in any case.
	byNext = "next run"
	// harmless faults leave the destination in step.
	harmless = "harmless"
	nobody   = "nobody"
)

// scene is one kind of fault. plant lets it happen in a running history, and
// returns who has noticed already, if anybody; ok is false if there was nothing
// that it could befall.
type scene struct {
	name  string
	where string
	plant func(*trial) (by string, ok bool)
	// after says what follows.
	after aftermath
}

// aftermath is what follows a fault.
type aftermath uint8

const (
	// mended: a run, in full if the proof or the comparison noticed, closes what
	// the fault has torn open.
	mended aftermath = iota
	// resumed: the next run goes on, as a plan says, and closes it.
	resumed
	// altered: the account is not what it was, and stays so.
	altered
	// nothing: there is no such fault, whenever it is planted.
	nothing
)

func scenes() []scene {
	const (
		source, destination = "between source and engine", "between engine and destination"
		certificates        = "in the stored certificates"
		process, stores     = "in the process", "in the stores"
	)
	return []scene{
		{"drop a record", source, withSource(dropRow), mended},
		{"a record twice", source, withSource(repeatRow), mended},
		{"alter a record", source, withSource(alterRow), mended},
		{"end early", source, withSource(cutRows), mended},
		{"drop a record", destination, withDestination(dropRow), mended},
		{"a record twice", destination, withDestination(repeatRow), nothing},
		{"alter a record", destination, withDestination(alterRow), mended},
		{"end early", destination, withDestination(cutRows), mended},
		{"drop one", certificates, withCertificates(dropCertificate), altered},
		{"one twice", certificates, withCertificates(repeatCertificate), altered},
		{"alter one", certificates, withCertificates(alterCertificate), altered},
		{"drop the last ones", certificates, withCertificates(cutCertificates), altered},
		{"exchange two", certificates, withCertificates(exchangeCertificates), altered},
		{"die at a call", process, (*trial).die, resumed},
		{"roll back state", stores, (*trial).rollBack, mended},
		{"lose state", stores, (*trial).loseState, mended},
		{"restore an old destination", stores, (*trial).restore, mended},
		{"swap destinations", stores, (*trial).swap, mended},
		{"wipe the destination", stores, (*trial).wipe, mended},
		{"replace the destination by an empty one", stores, (*trial).replace, mended},
	}
}

// campaignRow is one kind of fault in the report.
type campaignRow struct {
	Table string `json:"table"`
	Where string `json:"where"`
	Fault string `json:"fault"`
	// Planted are those that were not harmless, By who noticed them.
	Planted  int            `json:"planted"`
	By       map[string]int `json:"by"`
	Harmless int            `json:"harmless"`
}

// TestCampaign plants faults in running histories. Each that is not harmless is
// noticed before anything is written on top of it, and the run that follows
// brings the destination into step.
func TestCampaign(t *testing.T) {
	t.Parallel()
	faults := asked(t, "GAPLESS_FAULTS", campaignFaults)
	all := scenes()
	rows := make([]campaignRow, len(all))
	for i, s := range all {
		rows[i] = campaignRow{Table: "fault-campaign", Where: s.where, Fault: s.name, By: map[string]int{}}
	}
	inParallel(t, faults, func(t *testing.T, n int) func() {
		i := n % len(all)
		by, spared := all[i].befall(t, uint64(n))
		return func() {
			rows[i].Harmless += spared
			if by != harmless {
				rows[i].Planted++
				rows[i].By[by]++
			}
		}
	})
	report(t, rows)
}

// befall plants the fault in histories of a seed until it does harm, and
// returns who notices, and how often it was harmless before.
func (s *scene) befall(t *testing.T, seed uint64) (by string, spared int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	for range 100 {
		w := newTrial(t, r)
		w.history()
		by, ok := s.plant(w)
		if !ok {
			continue
		}
		if by = cmp.Or(by, w.notice(s.after)); by == harmless {
			spared++
			if s.after != nothing {
				continue
			}
		}
		if by == nobody || s.after == nothing && by != harmless {
			t.Errorf("seed %d: %s, %s, is noticed by %s (model %s)\nsource      %v\ndestination %v",
				seed, s.name, s.where, by, w.model, w.source.Records(collection), w.records())
		}
		if s.after == mended || s.after == resumed {
			w.mend(by, s.name+", "+s.where)
		}
		return by, spared
	}
	t.Fatalf("seed %d: %s, %s: no harm in 100 histories", seed, s.name, s.where)
	return nobody, spared
}

// notice asks who notices that something is wrong.
func (w *trial) notice(after aftermath) string {
	w.Helper()
	switch {
	case !w.resting(), after == resumed && w.plan().Decisions[0].Mode != plan.ModeNothing && !w.equal():
		return byPlan
	case !w.prove().OK:
		return byProof
	}
	gaps, pending := w.verify()
	switch {
	case len(gaps) > 0:
		return byVerify
	case w.equal() && len(pending) == 0:
		return harmless
	case slices.Equal(pending, w.differences()):
		return byNext
	}
	return nobody
}

// cleanRow is the other half of the campaign.
type cleanRow struct {
	Table  string `json:"table"`
	Runs   int    `json:"runs"`
	Alarms int    `json:"alarms"`
}

// TestNoFalseAlarms makes runs to which nothing happens: nobody notices
// anything. The contents are compared after every fourth.
func TestNoFalseAlarms(t *testing.T) {
	t.Parallel()
	const each = 20
	runs := asked(t, "GAPLESS_CLEAN_RUNS", campaignRuns)
	row := cleanRow{Table: "clean-runs"}
	inParallel(t, runs/each, func(t *testing.T, n int) func() {
		w := newTrial(t, rand.New(rand.NewPCG(uint64(n), 8)))
		alarms := 0
		for i := range each {
			w.edit()
			err := w.run(false)
			quiet := err == nil && w.resting() && w.prove().OK
			if quiet && i%4 == 3 {
				quiet = w.notice(nothing) == harmless
			}
			if !quiet {
				alarms++
				t.Errorf("seed %d: run %d is a false alarm: %v", n, i+1, err)
			}
			w.rest = w.plan().Decisions[0]
		}
		return func() {
			row.Runs += each
			row.Alarms += alarms
		}
	})
	report(t, []cleanRow{row})
}

// inParallel calls do with the numbers below n, on two workers that are tests of
// their own; what it returns is called by one of them at a time. It returns when
// both are at their ends.
func inParallel(t *testing.T, n int, do func(t *testing.T, i int) (count func())) {
	t.Helper()
	var mu sync.Mutex
	const number = 2
	t.Run("workers", func(t *testing.T) {
		for worker := range number {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				for i := worker; i < n; i += number {
					count := do(t, i)
					mu.Lock()
					count()
					mu.Unlock()
				}
			})
		}
	})
}

func asked(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" && testing.Short() {
		return otherwise / 10
	}
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q", variable, text)
	}
	return n
}

// report appends rows to the file that GAPLESS_REPORT names, if it names one,
// as lines of JSON.
func report[Row any](t *testing.T, rows []Row) {
	t.Helper()
	var lines []byte
	for _, row := range rows {
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(append(lines, text...), '\n')
	}
	t.Logf("%s", lines)
	path := os.Getenv("GAPLESS_REPORT")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(lines); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// withSource has the source's records altered on their way in the next run.
func withSource(how alteration) func(*trial) (string, bool) {
	return func(w *trial) (string, bool) {
		w.edit()
		w.read = &tampering{how: how, at: w.r.IntN(4)}
		err := w.run(w.r.IntN(3) == 0)
		done := w.read.done
		w.read = nil
		return noticedBy(err), done
	}
}

// withDestination has what is pushed altered in the next run.
func withDestination(how alteration) func(*trial) (string, bool) {
	return func(w *trial) (string, bool) {
		w.edit()
		w.written = &tampering{how: how, at: w.r.IntN(4)}
		err := w.run(w.r.IntN(3) == 0)
		done := w.written.done
		w.written = nil
		return noticedBy(err), done
	}
}

func noticedBy(err error) string {
	if err != nil {
		return byRun
	}
	return ""
}

// alteration returns what becomes of a row, and whether the rows behind it come
// at all.
type alteration func(c gapless.Change) (instead []gapless.Change, goesOn bool)

func dropRow(gapless.Change) ([]gapless.Change, bool) { return nil, true }

func repeatRow(c gapless.Change) ([]gapless.Change, bool) { return []gapless.Change{c, c}, true }

func alterRow(c gapless.Change) ([]gapless.Change, bool) {
	if c.Op == gapless.OpDelete {
		return []gapless.Change{{Record: gapless.Record{Key: c.Key, Data: []byte(`{"v":"not deleted"}`)}}}, true
	}
	c.Data = slices.Concat(c.Data[:len(c.Data)-1], []byte(`,"altered":true}`))
	return []gapless.Change{c}, true
}

func cutRows(gapless.Change) ([]gapless.Change, bool) { return nil, false }

// tampering alters one row of a run.
type tampering struct {
	how  alteration
	at   int // row
	seen int
	done bool
	end  bool // nothing comes any more
}

// of returns what becomes of a row.
func (g *tampering) of(c gapless.Change) []gapless.Change {
	if g == nil {
		return []gapless.Change{c}
	}
	if g.end {
		return nil
	}
	if g.seen++; g.seen-1 != g.at {
		return []gapless.Change{c}
	}
	instead, goesOn := g.how(c)
	g.done, g.end = true, !goesOn
	return instead
}
