package plan_test

import (
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
)

// pair is one relation of the checkpoints at the destination and in state.
type pair struct {
	name               string
	destination, state gapless.Checkpoint
}

func relations() []pair {
	epochs := map[string]uint64{"r1": 1, "r2": 2}
	at := func(run string, seq uint64, position gapless.Position) gapless.Checkpoint {
		return gapless.Checkpoint{Partition: "p", Run: run, Seq: seq, Position: position, Epoch: epochs[run]}
	}
	midway := func(run string, seq uint64, position gapless.Position, mark gapless.Mark) gapless.Checkpoint {
		c := at(run, seq, position)
		c.Mark, c.Target = mark, "here"
		return c
	}
	none := gapless.Checkpoint{}
	return []pair{
		{"none", none, none},
		{"destination only", at("r1", 5, "here"), none},
		{"state only", none, at("r1", 5, "here")},
		{"agree", at("r1", 5, "here"), at("r1", 5, "here")},
		{"agree elsewhere", at("r1", 5, "there"), at("r1", 5, "there")},
		{"state behind in one run", at("r1", 5, "here"), at("r1", 4, "there")},
		{"destination behind in one run", at("r1", 4, "here"), at("r1", 5, "there")},
		{"two runs, state counts less", at("r2", 5, "here"), at("r1", 4, "there")},
		{"two runs, destination counts less", at("r1", 4, "here"), at("r2", 5, "there")},
		{"two runs, one position", at("r1", 4, "here"), at("r2", 5, "here")},
		{"first full run under way", midway("r1", 3, "", "m"), midway("r1", 3, "", "m")},
		{"first full run under way, state empty", midway("r1", 3, "", "m"), none},
		{"later full run under way", midway("r2", 6, "here", "m"), midway("r2", 6, "here", "m")},
		{"full run under way without mark", midway("r1", 3, "", ""), midway("r1", 3, "", "")},
		{"full run ended after state's last write", at("r1", 5, "here"), midway("r1", 4, "", "m")},
		{"state knows of a later full run", at("r1", 5, "here"), midway("r2", 7, "here", "m")},
		{"destination restored into a full run", midway("r1", 3, "", "m"), at("r2", 9, "here")},
		{"no positions", at("r1", 5, ""), at("r1", 5, "")},
	}
}

var (
	models = [...]gapless.ChangeModel{gapless.ModelFull, gapless.ModelModified, gapless.ModelLog, "unheard-of"}

	outcomes = [...]plan.Outcome{
		plan.OutcomeNone, plan.OutcomeComplete, plan.OutcomeRecoverable,
		plan.OutcomeUnrecoverable, plan.OutcomeRefused, plan.OutcomeInterrupted,
	}

	positions = [...]gapless.Position{"", "here", "elsewhere"}
)

// everyFact calls fn for every combination of the facts that do not end the
// question at once, and for those that do with a fourth of the others.
func everyFact(fn func(f plan.Facts, relation string)) {
	for early := range 16 {
		for _, relation := range relations() {
			for _, model := range models {
				for _, outcome := range outcomes {
					for _, position := range positions {
						base := plan.Facts{
							Partition: "p", Model: model, LastOutcome: outcome, SourcePosition: position,
							Destination: relation.destination, State: relation.state,
							DestinationNew: early&1 != 0, DestinationReplaced: early&2 != 0,
							DestinationEmpty: early&4 != 0, Forced: early&8 != 0,
						}
						everyBit(base, early, func(f plan.Facts) { fn(f, relation.name) })
					}
				}
			}
		}
	}
}

func everyBit(f plan.Facts, early int, fn func(plan.Facts)) {
	step := 1
	if early != 0 {
		step = 101
	}
	for bits := 0; bits < 1<<11; bits += step {
		f.FullUnfinished = bits&1 != 0
		f.ProgressIntact = bits&2 != 0
		f.ProgressHonoured = bits&4 != 0
		f.PositionExpired = bits&8 != 0
		f.FingerprintChanged = bits&16 != 0
		f.BaselineValid = bits&32 != 0
		f.CanFetch = bits&64 != 0
		f.CanReadKeys = bits&128 != 0
		f.ReconcileDue = bits&256 != 0
		f.Differences = bits >> 9 & 1 * 3
		f.Unaccounted = bits&1024 != 0
		fn(f)
	}
}

// TestNeverCheaperThanSafe asserts for every combination of facts that no gap
// is possible, by a predicate that shares nothing with the rules.
func TestNeverCheaperThanSafe(t *testing.T) {
	t.Parallel()
	rules, modes, combinations := map[string]int{}, map[plan.Mode]int{}, 0
	everyFact(func(f plan.Facts, relation string) {
		combinations++
		d := plan.Decide(f)
		rules[d.Rule]++
		modes[d.Mode]++
		if gap := gapPossible(f, d); gap != "" {
			t.Fatalf("%s\nrelation %s\nfacts %+v\ndecision %+v", gap, relation, f, d)
		}
		if d.Reason == "" || d.Partition != "p" {
			t.Fatalf("incomplete decision %+v for %+v", d, f)
		}
	})
	t.Logf("%d combinations: %v %v", combinations, rules, modes)
	for _, r := range plan.Rules() {
		if rules[r.ID] == 0 {
			t.Errorf("rule %s is unreachable", r.ID)
		}
	}
	if len(rules) != len(plan.Rules()) {
		t.Errorf("rules that fired are not those of the table: %v", rules)
	}
	for _, m := range []plan.Mode{plan.ModeFull, plan.ModeResume, plan.ModeCompare, plan.ModeIncremental, plan.ModeRepair, plan.ModeNothing} {
		if modes[m] == 0 {
			t.Errorf("mode %s is unreachable", m)
		}
	}
}

// gapPossible says how the destination could miss something after a run that
// followed the decision; empty if it cannot.
func gapPossible(f plan.Facts, d plan.Decision) string {
	if everything := d.Mode == plan.ModeFull || d.Mode == plan.ModeResume || d.Mode == plan.ModeCompare; everything != d.Sweep {
		return "sweeping goes with reading everything"
	}
	if d.Mode == plan.ModeFull {
		return ""
	}
	holds := f.Destination.Run != ""
	switch {
	case f.Forced:
		return "the operator was not obeyed"
	case f.DestinationNew, f.DestinationReplaced, f.DestinationEmpty, !holds:
		return "the destination may hold nothing"
	case f.LastOutcome == plan.OutcomeUnrecoverable:
		return "the last run may have left a gap"
	case f.FingerprintChanged:
		return "records before the checkpoint would have to look different"
	case f.Differences > 0 && !d.Repair && d.Mode != plan.ModeResume:
		return "known differences are forgotten"
	case d.Repair && d.Mode != plan.ModeCompare && !f.CanFetch:
		return "records to repair cannot be read"
	}
	if d.Mode == plan.ModeResume {
		return gapAfterResume(f, d)
	}
	stateMidway := f.State.Mark != "" || f.State.Target != ""
	ended := f.State.Run == f.Destination.Run && f.Destination.Seq > f.State.Seq
	switch {
	case f.FullUnfinished, f.Destination.Mark != "", f.Destination.Target != "", stateMidway && !ended:
		return "a full run that had its reason never finished"
	case f.PositionExpired:
		return "the source no longer knows what happened since"
	}
	switch d.Mode {
	case plan.ModeCompare:
		return gapAfterCompare(f)
	case plan.ModeIncremental:
		return gapAfterIncremental(f, d)
	case plan.ModeNothing, plan.ModeRepair:
		return gapAfterStandingStill(f, d)
	}
	return "unknown mode"
}

func gapAfterResume(f plan.Facts, d plan.Decision) string {
	if f.Destination.Mark == "" || !f.ProgressIntact || !f.ProgressHonoured {
		return "what lies before the mark is not known to be complete"
	}
	if d.Mark != f.Destination.Mark || d.To != f.Destination.Target {
		return "resumed at another place than the one saved with the data"
	}
	return ""
}

func gapAfterCompare(f plan.Facts) string {
	if !f.BaselineValid || f.Destination.Run != f.State.Run || f.Destination.Seq != f.State.Seq {
		return "compared with something that is not what the destination holds"
	}
	return ""
}

func gapAfterIncremental(f plan.Facts, d plan.Decision) string {
	agree := f.Destination.Run == f.State.Run && f.Destination.Seq == f.State.Seq && f.Destination.Position == f.State.Position
	earlier := f.State.Run < f.Destination.Run || f.State.Run == f.Destination.Run && f.State.Seq < f.Destination.Seq
	behind := earlier && f.State.Position != ""
	switch {
	case f.Model != gapless.ModelLog && f.Model != gapless.ModelModified:
		return "the source cannot tell changes"
	case d.From == "" || d.To == "" || d.To != f.SourcePosition:
		return "there is no interval to read"
	case behind && d.From != f.State.Position:
		return "state is older, and it was not continued from there"
	case !behind && d.From != f.Destination.Position:
		return "continued from a position the destination never reached"
	case !agree && f.Unaccounted:
		return "continued from a position that nothing accounts for"
	case !agree && !d.Disagreement:
		return "a disagreement goes unreported"
	case f.Model == gapless.ModelModified && (!agree || f.ReconcileDue) && !d.Keys:
		return "deletes stay unseen"
	case d.Keys && !f.CanReadKeys:
		return "the source cannot enumerate keys"
	}
	return ""
}

func gapAfterStandingStill(f plan.Facts, d plan.Decision) string {
	switch p := f.SourcePosition; {
	case p == "" || p != f.Destination.Position || p != f.State.Position:
		return "the source may have moved"
	case f.Destination.Run != f.State.Run || f.Destination.Seq != f.State.Seq:
		return "the checkpoints disagree"
	case f.LastOutcome != plan.OutcomeComplete:
		return "the last run is not known to be complete"
	case f.Model == gapless.ModelModified && f.ReconcileDue:
		return "deletes stay unseen"
	case (d.Mode == plan.ModeRepair) != (f.Differences > 0):
		return "repair is for differences"
	}
	return ""
}

// TestOutcomesNeverForceFull asserts that a run which ended early without a
// gap does not by itself make the next one full.
func TestOutcomesNeverForceFull(t *testing.T) {
	t.Parallel()
	everyFact(func(f plan.Facts, relation string) {
		if !f.BaselineValid { // nothing was pushed, or the destination knows no baseline
			return
		}
		switch f.LastOutcome {
		case plan.OutcomeRecoverable, plan.OutcomeInterrupted, plan.OutcomeRefused:
		default:
			return
		}
		d := plan.Decide(f)
		if d.Mode != plan.ModeFull {
			return
		}
		g := f
		g.LastOutcome = plan.OutcomeComplete
		if e := plan.Decide(g); e.Mode != plan.ModeFull {
			t.Fatalf("%s alone makes a full run of %s\nrelation %s\nfacts %+v", f.LastOutcome, e.Text(), relation, f)
		}
	})
}

func TestRulesAreInOrderAndDescribed(t *testing.T) {
	t.Parallel()
	want := strings.Fields("P0 P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11")
	for i, r := range plan.Rules() {
		if r.ID != want[i] || r.Facts == "" || r.Decision == "" {
			t.Errorf("row %d: %+v", i, r)
		}
	}
}

func BenchmarkDecide10k(b *testing.B) {
	var facts []plan.Facts
	relation := relations()[3]
	for i := range 10_000 {
		facts = append(facts, plan.Facts{
			Partition: "p", Model: models[i%3], Destination: relation.destination, State: relation.state,
			SourcePosition: positions[i/3%3], LastOutcome: plan.OutcomeComplete, BaselineValid: true, Differences: i % 5, CanFetch: true,
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range facts {
			plan.Decide(facts[i])
		}
	}
}
