package proof_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

func TestValidChainsAreNeverFlagged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := drawBooks(t, true)
		if r := b.check(); !r.OK || len(r.Closed) > 0 || r.Certificates != len(b.list) {
			t.Fatalf("flagged: %s", r.Text())
		}
	})
}

func TestEveryAlteredFieldIsDetected(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := drawBooks(t, rapid.Bool().Draw(t, "full runs later"))
		held := map[string]gapless.Checkpoint{"asset": b.last().Checkpoint}
		i := rapid.IntRange(0, len(b.list)-1).Draw(t, "certificate")
		madeUpFor := slices.ContainsFunc(b.list[i+1:], func(c proof.Certificate) bool { return c.Mode == proof.ModeFull })
		fields := mutations(reflect.ValueOf(&b.list[i]).Elem(), "Certificate")
		field := rapid.SampledFrom(slices.Sorted(maps.Keys(fields))).Draw(t, "field")
		fields[field](t)
		r := check(b.list, held, held)
		tampered := func(g proof.Gap) bool { return g.Kind == proof.GapTampered }
		open, closed := slices.ContainsFunc(r.Gaps, tampered), slices.ContainsFunc(r.Closed, tampered)
		if open && !r.OK || closed && madeUpFor {
			return
		}
		t.Fatalf("altered %s is not detected: %s", field, r.Text())
	})
}

// A forger who seals an altered certificate again breaks the link to the next.
func TestSealingAgainIsDetected(t *testing.T) {
	t.Parallel()
	b := newBooks()
	for _, mode := range []string{proof.ModeFull, proof.ModeIncremental, proof.ModeIncremental} {
		b.run(mode, nil)
	}
	b.list[1].Deleted = proof.Digest{}
	b.list[1].Seal(&b.list[0])
	if r := b.check(); kinds(r.Gaps) != proof.GapChain {
		t.Errorf("gaps: %s", r.Text())
	}
	b.list = b.list[:2]
	b.list[1].Seal(&proof.Certificate{Seq: 4, Hash: b.list[0].Hash})
	if r := b.check(); kinds(r.Gaps) != proof.GapChain {
		t.Errorf("gaps of a number left out: %s", r.Text())
	}
}

func TestLostAndExchangedCertificatesAreDetected(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := drawBooks(t, false)
		held := map[string]gapless.Checkpoint{"asset": b.last().Checkpoint}
		i := rapid.IntRange(0, len(b.list)-1).Draw(t, "i")
		j := rapid.IntRange(0, len(b.list)-1).Draw(t, "j")
		list := slices.Clone(b.list)
		if i == j {
			list = slices.Delete(list, i, i+1)
		} else {
			list[i], list[j] = list[j], list[i]
		}
		if r := check(list, held, held); r.OK {
			t.Fatalf("not detected: %s", r.Text())
		}
	})
}

func kinds(list []proof.Gap) string {
	var found []string
	for _, g := range list {
		found = append(found, g.Kind)
	}
	return strings.Join(found, " ")
}

func TestChecker(t *testing.T) {
	t.Parallel()
	full, compare, resume, incremental, repair := proof.ModeFull, proof.ModeCompare, proof.ModeResume, proof.ModeIncremental, proof.ModeRepair
	tests := []struct {
		name         string
		history      func(b *books)
		gaps, closed string
	}{
		{name: "full", history: func(b *books) { b.run(full, nil) }},
		{name: "no full run at all", history: func(b *books) { b.at = "p0"; b.run(incremental, nil) }, gaps: "interval"},
		{name: "only an unfinished full run", history: func(b *books) { b.run(full, b.broken(gapless.KindRecoverable)) }, gaps: "incomplete"},
		{name: "incremental after an unfinished full run", history: func(b *books) {
			b.run(full, b.broken(gapless.KindRecoverable))
			b.at = "p1"
			b.run(incremental, nil)
		}, gaps: "interval"},
		{name: "a forced full run given up", history: func(b *books) {
			b.run(full, nil)
			b.run(full, b.broken(gapless.KindRecoverable))
			b.run(incremental, nil)
		}},
		{name: "a full run with another mapping given up", history: func(b *books) {
			b.run(full, nil)
			b.print = "f2"
			b.run(full, b.broken(gapless.KindRecoverable))
			b.print = "f1"
			b.run(incremental, nil)
		}, gaps: "interval fingerprint"},
		{name: "a full run elsewhere that nobody remembered the end of", history: func(b *books) {
			b.run(full, nil)
			b.place = "elsewhere"
			b.run(full, b.forgotten)
			b.run(compare, nil)
		}},
		{name: "the end of a full run that nobody remembered", history: func(b *books) { b.run(full, b.forgotten) }, gaps: "incomplete"},
		{name: "a full run given up without a mark", history: func(b *books) {
			b.run(full, nil)
			b.place = "elsewhere"
			b.run(full, func(c *proof.Certificate) {
				b.forgotten(c)
				c.Checkpoint.Run = "r1"
			})
			b.run(compare, nil)
		}, gaps: "interval"},
		{name: "row dropped from a full run that nobody remembered the end of", history: func(b *books) {
			b.run(full, func(c *proof.Certificate) {
				b.forgotten(c)
				c.Read.Merge(b.rows(1))
			})
			b.run(compare, nil)
		}, gaps: "balance"},
		{name: "interrupted incremental", history: func(b *books) {
			b.run(full, nil)
			b.run(incremental, b.broken(gapless.KindRecoverable))
		}, gaps: "incomplete"},
		{name: "interrupted incremental that got halfway", history: func(b *books) {
			b.run(full, nil)
			b.run(incremental, func(c *proof.Certificate) {
				b.broken(gapless.KindRecoverable)(c)
				c.Checkpoint.Position = "half"
			})
			b.run(incremental, nil)
		}},
		{name: "skipped interval", history: func(b *books) {
			b.run(full, nil)
			b.at = "elsewhere"
			b.run(incremental, nil)
			b.run(incremental, nil)
		}, gaps: "interval"},
		{name: "position from before the full run", history: func(b *books) {
			b.run(full, nil)
			b.run(full, nil)
			b.run(incremental, func(c *proof.Certificate) { c.From = "p1" })
		}, gaps: "interval"},
		{name: "incremental after an unrecoverable failure", history: func(b *books) {
			b.run(full, nil)
			b.run(incremental, b.broken(gapless.KindUnrecoverable))
			b.run(incremental, nil)
		}, gaps: "interval"},
		{name: "compare after an unrecoverable failure", history: func(b *books) {
			b.run(full, nil)
			b.run(compare, b.broken(gapless.KindUnrecoverable))
			b.run(compare, nil)
		}, gaps: "interval"},
		{name: "unrecoverable failure hidden by a full run given up", history: func(b *books) {
			b.run(full, nil)
			b.run(incremental, b.broken(gapless.KindUnrecoverable))
			b.run(full, b.broken(gapless.KindRecoverable))
			b.run(incremental, nil)
		}, gaps: "interval"},
		{name: "full after an unrecoverable failure", history: func(b *books) {
			b.run(full, nil)
			b.run(incremental, b.broken(gapless.KindUnrecoverable))
			b.run(full, nil)
		}},
		{name: "mapping changed", history: func(b *books) {
			b.run(full, nil)
			b.print = "f2"
			b.run(incremental, nil)
		}, gaps: "fingerprint"},
		{name: "mapping changed and compared", history: func(b *books) {
			b.run(full, nil)
			b.print = "f2"
			b.run(compare, nil)
		}, gaps: "fingerprint"},
		{name: "destination replaced", history: func(b *books) {
			b.run(full, nil)
			b.place = "other"
			b.run(incremental, nil)
		}, gaps: "destination"},
		{name: "old runner", history: func(b *books) {
			b.run(full, nil)
			b.epoch = 0
			b.run(incremental, nil)
		}, gaps: "fencing"},
		{name: "resume of nothing", history: func(b *books) {
			b.run(full, nil)
			b.run(resume, nil)
		}, gaps: "interval"},
		{name: "resume with a later position", history: func(b *books) {
			b.run(full, b.broken(gapless.KindRecoverable))
			b.run(resume, nil)
		}, gaps: "interval"},
		{name: "resume with another mapping", history: func(b *books) {
			b.run(full, b.broken(gapless.KindRecoverable))
			b.print = "f2"
			b.run(resume, func(c *proof.Certificate) { c.To, c.Checkpoint.Position = "p1", "p1" })
		}, gaps: "fingerprint"},
		{name: "resume after an unrecoverable failure", history: func(b *books) {
			b.run(full, b.broken(gapless.KindUnrecoverable))
			b.run(resume, func(c *proof.Certificate) { c.To, c.Checkpoint.Position = "p1", "p1" })
		}, gaps: "interval"},
		{name: "unfinished repair", history: func(b *books) {
			b.run(full, nil)
			b.run(repair, b.broken(gapless.KindRecoverable))
			b.run(incremental, nil)
			b.run(compare, nil)
		}, gaps: "incomplete"},
		{name: "unfinished repair that a later run carried along", history: func(b *books) {
			b.run(full, nil)
			b.run(repair, b.broken(gapless.KindRecoverable))
			b.run(incremental, func(c *proof.Certificate) { c.Repaired = true })
		}},
		{name: "unfinished repair that a later run carried along, unfinished too", history: func(b *books) {
			b.run(full, nil)
			b.run(repair, b.broken(gapless.KindRecoverable))
			b.run(incremental, func(c *proof.Certificate) {
				b.broken(gapless.KindRecoverable)(c)
				c.Repaired = true
			})
			b.run(incremental, nil)
		}, gaps: "incomplete"},
		{name: "repair that moves the position", history: func(b *books) {
			b.run(full, nil)
			b.run(repair, func(c *proof.Certificate) { c.To, c.Checkpoint.Position = "p9", "p9" })
		}, gaps: "interval"},
		{name: "row dropped", history: func(b *books) {
			b.run(full, func(c *proof.Certificate) { c.Read.Merge(b.rows(1)) })
		}, gaps: "balance"},
		{name: "a full run closes what was before it", history: func(b *books) {
			b.run(full, func(c *proof.Certificate) { c.Read.Merge(b.rows(1)) })
			b.run(full, nil)
		}, closed: "balance"},
		{name: "a full run in two parts closes what was before it", history: func(b *books) {
			b.run(full, func(c *proof.Certificate) { c.Read.Merge(b.rows(1)) })
			b.run(full, b.broken(gapless.KindRecoverable))
			b.run(resume, func(c *proof.Certificate) { c.To, c.Checkpoint.Position = "p2", "p2" })
		}, closed: "balance"},
		{name: "a comparison closes nothing", history: func(b *books) {
			b.run(full, func(c *proof.Certificate) { c.Read.Merge(b.rows(1)) })
			b.run(compare, nil)
		}, gaps: "balance"},
		{name: "a resumed comparison closes nothing", history: func(b *books) {
			b.run(full, func(c *proof.Certificate) { c.Read.Merge(b.rows(1)) })
			b.run(compare, b.broken(gapless.KindRecoverable))
			b.run(resume, func(c *proof.Certificate) { c.To, c.Checkpoint.Position = "p2", "p2" })
		}, gaps: "balance"},
		{name: "a bad full run closes nothing", history: func(b *books) {
			for range 2 {
				b.run(full, func(c *proof.Certificate) { c.Read.Merge(b.rows(1)) })
			}
		}, gaps: "balance balance"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBooks()
			tt.history(b)
			r := b.check()
			if diff := cmp.Diff([]string{tt.gaps, tt.closed}, []string{kinds(r.Gaps), kinds(r.Closed)}); diff != "" {
				t.Errorf("gaps and closed gaps (-want +got):\n%s%s", diff, r.Text())
			}
			if r.OK != (tt.gaps == "") || r.Partitions[0].OK != r.OK {
				t.Errorf("ok is %t", r.OK)
			}
		})
	}
}

func TestCheckerComparesCheckpoints(t *testing.T) {
	t.Parallel()
	b := newBooks()
	b.run(proof.ModeFull, nil)
	b.run(proof.ModeIncremental, nil)
	type held = map[string]gapless.Checkpoint
	good, old := held{"asset": b.list[1].Checkpoint}, held{"asset": b.list[0].Checkpoint}
	other := maps.Clone(good)
	other["edge"] = gapless.Checkpoint{Partition: "edge", Position: "p1", Run: "r1", Seq: 1}
	tests := []struct {
		name               string
		list               []proof.Certificate
		state, destination held
		gaps               string
	}{
		{name: "neither asked", list: b.list},
		{name: "both agree", list: b.list, state: good, destination: good},
		{name: "state restored from a backup", list: b.list, state: old, destination: good, gaps: "checkpoint"},
		{name: "destination restored from a backup", list: b.list, state: good, destination: old, gaps: "checkpoint"},
		{name: "both lost theirs", list: b.list, state: held{}, destination: held{}, gaps: "checkpoint checkpoint"},
		{name: "last certificate lost", list: b.list[:1], state: good, destination: good, gaps: "checkpoint checkpoint"},
		{name: "all certificates lost", state: good, gaps: "checkpoint"},
		{name: "uncertified partition", list: b.list, state: good, destination: other, gaps: "checkpoint"},
		{name: "nothing anywhere", state: held{}, destination: held{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if r := check(tt.list, tt.state, tt.destination); kinds(r.Gaps) != tt.gaps || r.OK != (tt.gaps == "") {
				t.Errorf("gaps %q, want %q: %s", kinds(r.Gaps), tt.gaps, r.Text())
			}
		})
	}
}

func TestContinues(t *testing.T) {
	t.Parallel()
	b, k := newBooks(), proof.NewChecker("docs")
	if !k.Continues("asset", "store", "f1") {
		t.Error("the first of all cannot begin")
	}
	for _, step := range []struct {
		name string
		run  func()
		want bool
	}{
		{"unfinished first run", func() { b.run(proof.ModeFull, b.broken(gapless.KindRecoverable)) }, true},
		{"full", func() { b.run(proof.ModeFull, nil) }, true},
		{"unrecoverable failure", func() { b.run(proof.ModeIncremental, b.broken(gapless.KindUnrecoverable)) }, false},
		{"full again", func() { b.run(proof.ModeFull, nil) }, true},
	} {
		step.run()
		k.Add(*b.last())
		if got := k.Continues("asset", "store", "f1"); got != step.want {
			t.Errorf("after %s: %t", step.name, got)
		}
	}
	if k.Continues("asset", "elsewhere", "f1") || k.Continues("asset", "store", "f2") {
		t.Error("goes on in another place, or with other records")
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	b, k := newBooks(), proof.NewChecker("docs")
	steps := []struct {
		name    string
		run     func()
		covered string
	}{
		{"full", func() { b.run(proof.ModeFull, nil) }, "p1"},
		{"incremental", func() { b.run(proof.ModeIncremental, nil) }, "p1 p2"},
		{"unrecoverable failure", func() { b.run(proof.ModeIncremental, b.broken(gapless.KindUnrecoverable)) }, ""},
		{"full again", func() { b.run(proof.ModeFull, nil) }, "p4"},
		{"a skipped interval", func() { b.at = "p2"; b.run(proof.ModeIncremental, nil) }, ""},
		{"full once more", func() { b.run(proof.ModeFull, nil) }, "p6"},
	}
	for _, step := range steps {
		step.run()
		k.Add(*b.last())
		var covered []string
		for _, p := range []string{"", "p1", "p2", "p3", "p4", "p5", "p6"} {
			if k.Covers("asset", gapless.Position(p)) {
				covered = append(covered, p)
			}
		}
		if got := strings.Join(covered, " "); got != step.covered {
			t.Errorf("after %s covered are %q, want %q", step.name, got, step.covered)
		}
	}
	if k.Covers("edge", "p6") {
		t.Errorf("a partition without certificates is covered")
	}
}

func TestReportNamesTheCommand(t *testing.T) {
	t.Parallel()
	b := newBooks()
	b.run(proof.ModeFull, nil)
	b.run(proof.ModeIncremental, b.broken(gapless.KindRecoverable))
	want := "docs: 2 certificates in 1 partition: completeness is not proved, 1 gap\n" +
		"  gap  asset  incomplete: run r2 did not come to its end (" + b.last().ID + ", since 2026-11-01T00:01:00Z, from \"p1\" to \"p2\")\n" +
		"       close it with: gapless run docs\n"
	if diff := cmp.Diff(want, b.check().Text()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text, err := json.Marshal(proof.NewChecker("docs").Finish(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"connector":"docs","partitions":[],"gaps":[],"closed":[],"certificates":0,"ok":true}`, string(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
