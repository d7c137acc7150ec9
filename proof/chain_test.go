package proof_test

import (
	"fmt"
	"maps"
	"reflect"
	"time"

	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// books issues certificates of one partition as an engine does.
type books struct {
	list  []proof.Certificate
	now   time.Time
	epoch uint64
	print string
	place string
	at    gapless.Position
}

func newBooks() *books {
	return &books{now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), epoch: 1, print: "f1", place: "store"}
}

// rows returns the digest of n rows that no other call returns.
func (b *books) rows(n int) (d proof.Digest) {
	for range n {
		b.now = b.now.Add(time.Millisecond)
		d.Add(proof.KeyHash([]byte(b.now.String())))
	}
	return d
}

// run issues the certificate of a run that comes to its end; change makes it a
// different one before it is sealed.
func (b *books) run(mode string, change func(*proof.Certificate)) *proof.Certificate {
	n := len(b.list) + 1
	c := proof.Certificate{
		Connector: "docs", Partition: "asset", Run: fmt.Sprintf("r%d", n), Rule: "P11", Mode: mode, Complete: true,
		From: b.at, To: gapless.Position(fmt.Sprintf("p%d", n)), DestinationID: b.place, Incarnation: "i1", Epoch: b.epoch, Fingerprint: b.print,
		Unchanged: b.rows(1), Filtered: b.rows(2), Rejected: b.rows(1), Pushed: b.rows(3), Deleted: b.rows(1), Started: b.now,
	}
	if mode == proof.ModeRepair {
		c.To = b.at
	}
	c.Synced = c.Pushed
	for _, d := range []proof.Digest{c.Unchanged, c.Filtered, c.Rejected, c.Pushed} {
		c.Read.Merge(d)
	}
	c.Checkpoint = gapless.Checkpoint{Partition: "asset", Position: c.To, Run: c.Run, Seq: uint64(n), Epoch: b.epoch}
	if change != nil {
		change(&c)
	}
	b.now = b.now.Add(time.Minute)
	c.Finished = b.now
	var previous *proof.Certificate
	if n > 1 {
		previous = &b.list[n-2]
	}
	c.Seal(previous)
	b.at = c.Checkpoint.Position
	b.list = append(b.list, c)
	return &b.list[n-1]
}

// broken makes a run end early, with half of its work done.
func (b *books) broken(kind gapless.Kind) func(*proof.Certificate) {
	return func(c *proof.Certificate) {
		c.Complete, c.Failure = false, kind.String()
		c.Read.Merge(b.rows(2))
		c.Synced = proof.Digest{}
		c.Checkpoint.Position = b.at
		switch c.Mode {
		case proof.ModeFull, proof.ModeResume:
			c.Checkpoint.Mark, c.Checkpoint.Target = "half", c.To
		case proof.ModeCompare:
			c.Checkpoint.Run = "the one before"
		}
	}
}

// forgotten makes a run fail after its last checkpoint.
func (b *books) forgotten(c *proof.Certificate) {
	c.Complete, c.Failure = false, gapless.KindRecoverable.String()
}

func (b *books) last() *proof.Certificate { return &b.list[len(b.list)-1] }

// check feeds the certificates to a checker whose state and destination agree
// with the last one.
func (b *books) check() proof.Report {
	held := map[string]gapless.Checkpoint{"asset": b.last().Checkpoint}
	return check(b.list, held, held)
}

func check(list []proof.Certificate, state, destination map[string]gapless.Checkpoint) proof.Report {
	k := proof.NewChecker("docs")
	for _, c := range list {
		k.Add(c)
	}
	return k.Finish(state, destination)
}

// drawBooks draws a history in which everything went right in the end. The
// first run is a full one; another one only if again is set.
func drawBooks(t *rapid.T, again bool) *books {
	b := newBooks()
	b.enumerate(t, proof.ModeFull)
	modes := []string{proof.ModeIncremental, proof.ModeIncremental, proof.ModeRepair, proof.ModeCompare, "older", "takeover"}
	if again {
		modes = append(modes, proof.ModeFull, "changed")
	}
	var reached []gapless.Position
	for range rapid.IntRange(0, 6).Draw(t, "runs") {
		reached = append(reached, b.at)
		switch mode := rapid.SampledFrom(modes).Draw(t, "mode"); mode {
		case proof.ModeFull, proof.ModeCompare:
			reached = nil
			b.enumerate(t, mode)
		case "changed":
			reached = nil
			b.print, b.place = b.print+"x", b.place+"x"
			b.enumerate(t, proof.ModeFull)
		case "older": // the destination was restored from a backup
			from := rapid.SampledFrom(reached).Draw(t, "from")
			b.run(proof.ModeIncremental, func(c *proof.Certificate) { c.From = from })
		case "takeover":
			b.epoch++
		default:
			if rapid.Bool().Draw(t, "interrupted") {
				b.run(mode, b.broken(gapless.KindRecoverable))
			}
			b.run(mode, nil)
		}
	}
	return b
}

// enumerate issues an enumeration, perhaps in several attempts.
func (b *books) enumerate(t *rapid.T, mode string) {
	if mode == proof.ModeFull && rapid.Bool().Draw(t, "unrecoverable") {
		b.run(mode, b.broken(gapless.KindUnrecoverable))
	}
	if !rapid.Bool().Draw(t, "interrupted") {
		b.run(mode, nil)
		return
	}
	b.run(mode, b.broken(gapless.KindRecoverable))
	target := b.last().To
	b.run(proof.ModeResume, func(c *proof.Certificate) { c.To, c.Checkpoint.Position = target, target })
}

// mutations returns, for every field of a certificate, its path and a function
// that changes it.
func mutations(v reflect.Value, path string) map[string]func(*rapid.T) {
	found := map[string]func(*rapid.T){}
	if at, ok := reflect.TypeAssert[*time.Time](v.Addr()); ok {
		return map[string]func(*rapid.T){
			path: func(t *rapid.T) { *at = at.Add(time.Duration(rapid.Int64Min(1).Draw(t, "later"))) },
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			maps.Copy(found, mutations(v.Field(i), path+"."+v.Type().Field(i).Name))
		}
	case reflect.String:
		found[path] = func(t *rapid.T) {
			old := v.String()
			v.SetString(rapid.OneOf(rapid.String(), rapid.Just(""), rapid.Just(old+"\xff"), rapid.Just(old+" ")).
				Filter(func(s string) bool { return s != old }).Draw(t, "text"))
		}
	case reflect.Uint64:
		found[path] = func(t *rapid.T) {
			old := v.Uint()
			v.SetUint(rapid.Uint64().Filter(func(u uint64) bool { return u != old }).Draw(t, "number"))
		}
	case reflect.Bool:
		found[path] = func(*rapid.T) { v.SetBool(!v.Bool()) }
	default:
		panic("no mutation for " + path)
	}
	return found
}
