package plan_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
)

var update = flag.Bool("update", false, "rewrite the files under testdata")

func checkpoint(run string, seq uint64, position gapless.Position) gapless.Checkpoint {
	return gapless.Checkpoint{Partition: "asset", Run: run, Seq: seq, Position: position}
}

// settled are the facts of a partition with nothing left to do.
func settled(edit func(f *plan.Facts)) plan.Facts {
	f := plan.Facts{
		Partition: "asset", Model: gapless.ModelLog, LastOutcome: plan.OutcomeComplete,
		Destination: checkpoint("r1", 5, "12"), State: checkpoint("r1", 5, "12"), SourcePosition: "12",
		CanFetch: true, CanReadKeys: true, BaselineValid: true,
	}
	edit(&f)
	return f
}

func TestDecide(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		facts plan.Facts
		rule  string
		mode  plan.Mode
	}{
		{"forced", settled(func(f *plan.Facts) { f.Forced = true }), "P0", plan.ModeFull},
		{"replaced destination", settled(func(f *plan.Facts) { f.DestinationReplaced = true }), "P1", plan.ModeFull},
		{"no checkpoint", settled(func(f *plan.Facts) { f.Destination = gapless.Checkpoint{} }), "P2", plan.ModeFull},
		{"unrecoverable", settled(func(f *plan.Facts) { f.LastOutcome = plan.OutcomeUnrecoverable }), "P3", plan.ModeFull},
		{"resumable", settled(func(f *plan.Facts) {
			f.Destination = gapless.Checkpoint{Partition: "asset", Run: "r1", Seq: 3, Mark: "page 7", Target: "12"}
			f.State = f.Destination
			f.LastOutcome, f.SourcePosition = plan.OutcomeInterrupted, "14"
			f.ProgressIntact, f.ProgressHonoured = true, true
		}), "P4", plan.ModeResume},
		{"expired", settled(func(f *plan.Facts) { f.PositionExpired, f.SourcePosition = true, "99" }), "P5", plan.ModeFull},
		{"mapping changed", settled(func(f *plan.Facts) { f.FingerprintChanged = true }), "P6", plan.ModeFull},
		{"cannot tell changes", settled(func(f *plan.Facts) { f.Model, f.SourcePosition = gapless.ModelFull, "13" }), "P7", plan.ModeCompare},
		{"cannot tell changes, no baseline", settled(func(f *plan.Facts) {
			f.Model, f.SourcePosition, f.BaselineValid = gapless.ModelFull, "13", false
		}), "P7", plan.ModeFull},
		{"differences", settled(func(f *plan.Facts) { f.Differences = 3 }), "P8", plan.ModeRepair},
		{"nothing new", settled(func(*plan.Facts) {}), "P9", plan.ModeNothing},
		{"nothing new in an enumerated source", settled(func(f *plan.Facts) { f.Model = gapless.ModelFull }), "P9", plan.ModeNothing},
		{"restored backup", settled(func(f *plan.Facts) {
			f.Model, f.Destination, f.SourcePosition = gapless.ModelModified, checkpoint("r1", 2, "4"), "12"
		}), "P10", plan.ModeIncremental},
		{"news", settled(func(f *plan.Facts) { f.SourcePosition = "15" }), "P11", plan.ModeIncremental},
		{"news and differences", settled(func(f *plan.Facts) { f.SourcePosition, f.Differences = "15", 1 }), "P11", plan.ModeIncremental},
		{"keys due", settled(func(f *plan.Facts) { f.Model, f.ReconcileDue = gapless.ModelModified, true }), "P11", plan.ModeIncremental},
		{"keys due, not to be had", settled(func(f *plan.Facts) {
			f.Model, f.ReconcileDue, f.CanReadKeys = gapless.ModelModified, true, false
		}), "P11", plan.ModeFull},
	}
	var got strings.Builder
	for _, test := range tests {
		d := plan.Decide(test.facts)
		if d.Rule != test.rule || d.Mode != test.mode {
			t.Errorf("%s: rule %s mode %s, want %s %s", test.name, d.Rule, d.Mode, test.rule, test.mode)
		}
		encoded, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "# %s\n%s\n%s\n\n", test.name, d.Text(), encoded)
	}
	golden(t, filepath.Join("testdata", "decisions.txt"), []byte(got.String()))
}

// TestScenarios decides on each file of testdata/scenarios: a remark, facts as
// JSON, and behind a line of dashes the decision as text and JSON.
func TestScenarios(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join("testdata", "scenarios", "*.txt"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		question, _, _ := bytes.Cut(content, []byte("\n---\n"))
		decoder := json.NewDecoder(bytes.NewReader(question[bytes.IndexByte(question, '{'):]))
		decoder.DisallowUnknownFields()
		var f plan.Facts
		if err := decoder.Decode(&f); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		d := plan.Decide(f)
		encoded, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, path, fmt.Appendf(nil, "%s\n---\n%s\n%s\n", bytes.TrimRight(question, "\n"), d.Text(), encoded))
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestTextShortensTokens asserts that an opaque token cannot flood a terminal
// or smuggle control characters into it.
func TestTextShortensTokens(t *testing.T) {
	t.Parallel()
	d := plan.Decision{Partition: "p", Mode: plan.ModeIncremental, From: "\x1b[2J", To: gapless.Position(strings.Repeat("x", 5000)), Rule: "P11", Reason: "r"}
	if text := d.Text(); len(text) > 200 || strings.Contains(text, "\x1b") {
		t.Errorf("%d bytes: %q", len(text), text)
	}
}

func sealed(edit func(p *plan.Plan)) plan.Plan {
	p := plan.Plan{
		Connector: "docs", Created: time.Unix(1, 0),
		Decisions: []plan.Decision{plan.Decide(settled(func(f *plan.Facts) { f.SourcePosition = "15" }))},
		Changes:   []plan.Count{{Partition: "asset", Known: true, Deletes: 30, Total: 40, Absent: "ab"}},
	}
	edit(&p)
	p.Seal()
	return p
}

func TestSeal(t *testing.T) {
	t.Parallel()
	base := sealed(func(*plan.Plan) {})
	if len(base.ID) != 14 || !strings.HasPrefix(base.ID, "p-") {
		t.Errorf("id %q", base.ID)
	}
	tests := []struct {
		name string
		edit func(p *plan.Plan)
		same bool
	}{
		{"later", func(p *plan.Plan) { p.Created = time.Unix(99, 0) }, true},
		{"sealed before", func(p *plan.Plan) { p.ID = "p-000000000000" }, true},
		{"position moved on", func(p *plan.Plan) { p.Decisions[0].To = "16" }, true},
		{"reworded", func(p *plan.Plan) { p.Decisions[0].Reason = "because" }, true},
		{"more creates", func(p *plan.Plan) { p.Changes[0].Creates = 7 }, true},
		{"another connector", func(p *plan.Plan) { p.Connector = "other" }, false},
		{"another partition", func(p *plan.Plan) { p.Decisions[0].Partition = "edge" }, false},
		{"another mode", func(p *plan.Plan) { p.Decisions[0].Mode = plan.ModeFull }, false},
		{"keys", func(p *plan.Plan) { p.Decisions[0].Keys = true }, false},
		{"other deletes", func(p *plan.Plan) { p.Changes[0].Absent = "cd" }, false},
		{"one delete more", func(p *plan.Plan) { p.Changes[0].Deletes++ }, false},
		{"not counted", func(p *plan.Plan) { p.Changes = nil }, false},
	}
	for _, test := range tests {
		if got := sealed(test.edit); (got.ID == base.ID) != test.same {
			t.Errorf("%s: id %s, base %s, want same=%v", test.name, got.ID, base.ID, test.same)
		}
	}
}

func TestApproves(t *testing.T) {
	t.Parallel()
	p := sealed(func(p *plan.Plan) {
		p.Changes = append(p.Changes, plan.Count{Partition: "uncounted", Deletes: 1, Absent: "ab"},
			plan.Count{Partition: "undigested", Known: true, Deletes: 1})
	})
	tests := []struct {
		name string
		now  plan.Count
		want bool
	}{
		{"the same keys", plan.Count{Partition: "asset", Known: true, Deletes: 30, Absent: "ab", Creates: 5, Total: 45}, true},
		{"other keys", plan.Count{Partition: "asset", Known: true, Deletes: 30, Absent: "cd"}, false},
		{"one more", plan.Count{Partition: "asset", Known: true, Deletes: 31, Absent: "ab"}, false},
		{"not counted now", plan.Count{Partition: "asset", Deletes: 30, Absent: "ab"}, false},
		{"not counted then", plan.Count{Partition: "uncounted", Known: true, Deletes: 1, Absent: "ab"}, false},
		{"no digest", plan.Count{Partition: "undigested", Known: true, Deletes: 1}, false},
		{"another partition", plan.Count{Partition: "edge", Known: true, Deletes: 30, Absent: "ab"}, false},
	}
	for _, test := range tests {
		if got := p.Approves(test.now); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
