package proof_test

import (
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// undo issues the certificate of an undo of the first run.
func (b *books) undo(change func(*proof.Certificate)) {
	before := b.last().Checkpoint
	b.run(proof.ModeUndo, func(c *proof.Certificate) {
		*c = proof.Certificate{
			Connector: c.Connector, Partition: c.Partition, Run: c.Run, Mode: c.Mode, Undone: "r1", Failure: gapless.KindUnrecoverable.String(),
			DestinationID: c.DestinationID, Epoch: c.Epoch, Fingerprint: c.Fingerprint, Checkpoint: before, Started: c.Started,
		}
		if change != nil {
			change(c)
		}
	})
}

func TestWhatWasUndoneIsAGapUntilTheNextFullRun(t *testing.T) {
	t.Parallel()
	full, compare, resume, incremental := proof.ModeFull, proof.ModeCompare, proof.ModeResume, proof.ModeIncremental
	tests := []struct {
		name    string
		history func(b *books)
		gaps    string
	}{
		{name: "undone", history: func(b *books) { b.undo(nil) }, gaps: "undone"},
		{name: "undone twice", history: func(b *books) { b.undo(nil); b.undo(nil) }, gaps: "undone"},
		{name: "a full run", history: func(b *books) { b.undo(nil); b.run(full, nil) }},
		{name: "a full run and what follows it", history: func(b *books) {
			b.undo(nil)
			b.run(full, nil)
			b.run(incremental, nil)
		}},
		{name: "an unfinished full run", history: func(b *books) { b.undo(nil); b.run(full, b.broken(gapless.KindRecoverable)) }, gaps: "incomplete undone"},
		{name: "incremental", history: func(b *books) { b.undo(nil); b.run(incremental, nil) }, gaps: "interval undone"},
		{name: "a comparison", history: func(b *books) { b.undo(nil); b.run(compare, nil) }, gaps: "interval undone"},
		{name: "in the midst of a full run that is then resumed", history: func(b *books) {
			b.run(full, b.broken(gapless.KindRecoverable))
			target := b.last().To
			b.undo(nil)
			b.run(resume, func(c *proof.Certificate) { c.To, c.Checkpoint.Position = target, target })
		}, gaps: "undone"},
		{name: "an undo that claims to be complete", history: func(b *books) {
			b.undo(func(c *proof.Certificate) { c.Complete, c.Failure = true, "" })
		}, gaps: "balance undone"},
		{name: "an undo of nothing", history: func(b *books) {
			b.undo(func(c *proof.Certificate) { c.Undone = "" })
		}, gaps: "balance undone"},
		{name: "a run that pretends to be an undo as well", history: func(b *books) {
			b.run(incremental, func(c *proof.Certificate) { c.Undone = "r1" })
		}, gaps: "balance"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBooks()
			b.run(full, nil)
			test.history(b)
			r := b.check()
			if got := kinds(r.Gaps); got != test.gaps {
				t.Errorf("gaps %q, want %q:\n%s", got, test.gaps, r.Text())
			}
			for _, g := range r.Gaps {
				if g.Kind == proof.GapUndone && (g.Run != "gapless run docs" || g.ClosedBy != "") {
					t.Errorf("%+v", g)
				}
			}
		})
	}
}

func TestNothingIsCoveredAfterAnUndo(t *testing.T) {
	t.Parallel()
	b := newBooks()
	b.run(proof.ModeFull, nil)
	at := b.last().Checkpoint.Position
	k := proof.NewChecker("docs")
	k.Add(b.list[0])
	if !k.Covers("asset", at) {
		t.Fatal("a full run covers nothing")
	}
	b.undo(nil)
	k.Add(b.list[1])
	if k.Covers("asset", at) {
		t.Error("it is still covered")
	}
}
