package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state"
)

// records requires what both sides have, and that the account is proved.
func (p *pair) records(want map[string]string) {
	p.Helper()
	if diff := cmp.Diff(want, p.both()); diff != "" {
		p.Fatalf("both sides have (-want +got):\n%s", diff)
	}
	if r := p.prove(); !r.OK {
		p.Fatalf("not proved: %+v", r.Gaps)
	}
}

// runUnreadable is a run that could not read, or deliver, some records.
func (p *pair) runUnreadable() {
	p.Helper()
	if _, err := p.run(); gapless.ExitCode(err) != gapless.ExitSource+int(gapless.CauseUnreadable) {
		p.Fatal(err)
	}
}

// readThis has something stand between the first side and its readers.
func (p *pair) readThis(through func(gapless.Source) gapless.Source) {
	p.read = func(i int, s gapless.Source) gapless.Source {
		if i > 0 {
			return s
		}
		return through(s)
	}
}

// dieAt has every commit fail from the n-th on.
func (p *pair) dieAt(n int) {
	p.state.Set(func(_ string, _, total int) error {
		if total >= n {
			return errors.New("dead")
		}
		return nil
	})
}

// What a side takes only now is delivered, even if nothing is new.
func TestTwoWayRefusedUntilLater(t *testing.T) {
	t.Parallel()
	for late := -1; late < 4; late++ { // syncs until it is refused
		for taken := range 5 { // runs after which it is taken
			t.Run(fmt.Sprint("late ", late, " taken ", taken), func(t *testing.T) {
				t.Parallel()
				a, b, p := twoReplicas(t)
				refuse := func(keys ...string) { b.RefuseLate(late, keys...) }
				if late < 0 {
					refuse = b.Refuse
				}
				refuse("k")
				a.Edit("r", "k", `{"v":1}`, noon)
				a.Edit("r", "l", `{"v":1}`, noon)
				for run := range taken {
					_, err := p.run()
					refused := gapless.ExitCode(err) == gapless.ExitSource+int(gapless.CauseUnreadable)
					if err != nil && !refused || late <= 0 && !refused {
						t.Fatalf("run %d: %v", run, err)
					}
				}
				refuse()
				for range 3 {
					_, _ = p.run()
				}
				p.mustRun()
				p.records(map[string]string{"k": `{"v":1}`, "l": `{"v":1}`})
			})
		}
	}
}

// A certificate does not say that something is synced which was refused while
// the last checkpoint was written.
func TestTwoWayRefusedWithCheckpoint(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	b.RefuseLate(1, "k")
	a.Edit("r", "k", `{"v":1}`, noon)
	a.Edit("r", "l", `{"v":1}`, noon)
	p.runUnreadable()
	_, store := p.open()
	c, err := store.LastCertificate(t.Context(), p.name, "this/r")
	if err != nil {
		t.Fatal(err)
	}
	p.close(store)
	if c.Rejected.Count != 1 || c.Synced.Count != c.Pushed.Count || c.Read.Count != c.Unchanged.Count+c.Rejected.Count+c.Pushed.Count {
		t.Errorf("read %d, unchanged %d, pushed %d, synced %d, rejected %d", c.Read.Count, c.Unchanged.Count, c.Pushed.Count, c.Synced.Count, c.Rejected.Count)
	}
}

// A side is refused once, and takes what is pushed again within the run.
func TestTwoWayRefusedOnce(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	b.Refuse("k")
	b.Between(func(_, key string) {
		if key == "z" {
			b.Refuse()
		}
	})
	a.Edit("r", "k", `{"v":1}`, noon)
	a.Edit("r", "z", `{"v":1}`, noon)
	p.mustRun()
	p.records(map[string]string{"k": `{"v":1}`, "z": `{"v":1}`})
}

// The other store that stands in place of a side knows the same checkpoints.
func TestTwoWayReplacedSide(t *testing.T) {
	t.Parallel()
	a, _, p := twoReplicas(t)
	x, c := gaplesstest.NewReplica("x", "r"), gaplesstest.NewReplica("c", "r")
	elsewhere := newPair(t, x, c)
	for i := range 20 {
		x.Edit("r", fmt.Sprint("x", i), `{"v":1}`, noon)
	}
	a.Edit("r", "k", `{"v":1}`, noon)
	p.mustRun()
	elsewhere.mustRun() // as often as the other
	p.sides[1] = c
	p.mustRun()
	if got := p.both(); len(got) != 21 {
		t.Errorf("%d records", len(got))
	}
}

// A run that is told to stop says so.
func TestTwoWayStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b, p := twoReplicas(t)
		for i := range 20 {
			a.Edit("r", fmt.Sprint("k", i), `{"v":1}`, noon)
		}
		stop := make(chan struct{})
		var once sync.Once
		b.Between(func(string, string) {
			once.Do(func() { close(stop) })
			synctest.Wait() // the run has heard of it
		})
		if _, err := p.runWith(engine.RunOptions{Stop: stop}); !errors.Is(err, gapless.ErrInterrupted) {
			t.Fatal(err)
		}
		if got := len(b.Records("r")); got == 20 {
			t.Error("the run did not stop")
		}
		p.mustRun()
		p.both()
	})
}

// Two slices came back empty, and both have to be approved.
func TestTwoWayGuardOfSlices(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	a.Split("a", "b", "c")
	p.models[0] = gapless.ModelFull
	for i := range 3 {
		a.Edit("r", fmt.Sprint("a", i), `{"v":1}`, noon)
		a.Edit("r", fmt.Sprint("b", i), `{"v":1}`, noon)
		a.Edit("r", fmt.Sprint("c", i), `{"v":1}`, noon)
	}
	p.mustRun()
	for i := range 3 {
		a.Remove("r", fmt.Sprint("a", i), noon)
		a.Remove("r", fmt.Sprint("b", i), noon)
	}
	s, err := p.run()
	if gapless.ExitCode(err) != gapless.ExitGuard || len(b.Records("r")) != 9 || !strings.Contains(s.Hint, s.Plan) {
		t.Fatalf("%v (%s), %d records left", err, s.Hint, len(b.Records("r")))
	}
	for i := range 3 { // after the plan was made
		a.Remove("r", fmt.Sprint("c", i), noon)
	}
	if s, err = p.runWith(engine.RunOptions{Approve: s.Plan}); gapless.ExitCode(err) != gapless.ExitGuard || len(b.Records("r")) != 9 {
		t.Fatalf("%v, %d records left", err, len(b.Records("r")))
	}
	if _, err := p.runWith(engine.RunOptions{Approve: s.Plan}); err != nil {
		t.Fatal(err)
	}
	p.records(map[string]string{})
}

// A counter counts once, whoever refuses or writes in between.
func TestTwoWayCounter(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) (a, b *gaplesstest.Replica, p *pair) {
		a, b, p = twoReplicas(t)
		p.policy = resolve.Policy{Resolution: resolve.Counter}
		p.settings.Attempts = 2
		a.Edit("r", "k", `{"n":5}`, noon)
		p.mustRun()
		a.Edit("r", "k", `{"n":7}`, noon.Add(time.Hour))
		b.Edit("r", "k", `{"n":6}`, noon.Add(time.Hour))
		return a, b, p
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		_, b, p := start(t)
		b.Refuse("k")
		for range 3 {
			if _, err := p.run(); err == nil {
				t.Fatal("nothing was refused")
			}
		}
		b.Refuse()
		p.mustRun()
		p.records(map[string]string{"k": `{"n":8}`})
	})
	t.Run("edited in between", func(t *testing.T) {
		t.Parallel()
		for first := range 2 {
			a, b, p := start(t)
			r, n := a, 8
			if first == 1 {
				r, n = b, 10
			}
			once := false
			r.Between(func(collection, key string) {
				if !once {
					once = true
					r.Edit(collection, key, fmt.Sprintf(`{"n":%d}`, n), noon.Add(2*time.Hour))
				}
			})
			p.mustRun()
			want := 9 // 5 + 3 + 1
			if first == 1 {
				want = 12 // 5 + 2 + 5
			}
			p.records(map[string]string{"k": fmt.Sprintf(`{"n":%d}`, want)})
		}
	})
	for _, plain := range []bool{false, true} {
		for _, model := range []gapless.ChangeModel{gapless.ModelLog, gapless.ModelFull} {
			for call := 1; call < 12; call++ {
				t.Run(fmt.Sprint("killed ", plain, model, call), func(t *testing.T) {
					t.Parallel()
					a, b, p := twoReplicas(t)
					if plain {
						b.Plain()
					}
					p.models[0], p.models[1] = model, model
					p.policy = resolve.Policy{Resolution: resolve.Counter}
					for _, key := range []string{"both", "this", "other"} {
						a.Edit("r", key, `{"n":5}`, noon)
					}
					p.mustRun()
					a.Edit("r", "both", `{"n":7}`, time.Time{})
					b.Edit("r", "both", `{"n":6}`, time.Time{})
					a.Edit("r", "this", `{"n":7}`, time.Time{})
					b.Edit("r", "other", `{"n":6}`, time.Time{})
					p.dieAt(call)
					_, _ = p.run()
					p.state.Set(nil)
					p.mustRun()
					p.records(map[string]string{"both": `{"n":8}`, "this": `{"n":7}`, "other": `{"n":6}`})
				})
			}
		}
	}
}

// Side by side, what a person decides about a record that one side deleted.
func TestTwoWayDecisionAboutDeletion(t *testing.T) {
	t.Parallel()
	for _, held := range []bool{false, true} {
		for deleter := range 2 {
			for _, take := range []string{state.TakeThis, state.TakeOther} {
				t.Run(fmt.Sprintf("held %t, side %d deletes, take %s", held, deleter, take), func(t *testing.T) {
					t.Parallel()
					a, b, p := twoReplicas(t)
					sides := [2]*gaplesstest.Replica{a, b}
					if held {
						p.policy.Conflict = resolve.AcceptNone
					}
					a.Edit("r", "k", `{"v":1,"w":1}`, noon)
					p.mustRun()
					sides[deleter].Remove("r", "k", noon.Add(2*time.Hour))
					sides[1-deleter].Edit("r", "k", `{"v":2,"w":2}`, noon.Add(time.Hour))
					p.mustRun()
					list := p.conflicts()
					if len(list) == 0 {
						t.Fatal("the inbox is empty")
					}
					for _, x := range list {
						p.decide(x.ID, state.Decision{Take: take})
					}
					p.mustRun()
					want := map[string]string{}
					if deleter == 0 && take == state.TakeOther || deleter == 1 && take == state.TakeThis {
						want["k"] = `{"v":2,"w":2}`
					}
					p.records(want)
					for _, x := range p.conflicts() {
						if x.ResolvedBy == "" {
							t.Errorf("%+v is still open", x)
						}
					}
				})
			}
		}
	}
}

// Who decides does not know of what was edited since.
func TestTwoWayDecisionAgainstNewerEdit(t *testing.T) {
	t.Parallel()
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprint("held ", held), func(t *testing.T) {
			t.Parallel()
			a, b, p := twoReplicas(t)
			if held {
				p.policy.Conflict = resolve.AcceptNone
			}
			a.Edit("r", "k", `{"v":1}`, noon)
			p.mustRun()
			a.Edit("r", "k", `{"v":2}`, noon.Add(time.Hour))
			b.Edit("r", "k", `{"v":3}`, noon.Add(2*time.Hour))
			p.mustRun()
			p.decide(p.conflicts()[0].ID, state.Decision{Take: state.TakeThis})
			b.Edit("r", "k", `{"v":"later"}`, noon.Add(3*time.Hour))
			p.mustRun()
			p.mustRun()
			got := p.both()["k"]
			traced := slices.ContainsFunc(p.conflicts(), func(x state.Conflict) bool {
				return string(x.Other) == `"later"` && x.Loser == state.Other && x.ResolvedBy == ""
			})
			if got != `{"v":"later"}` && !traced {
				t.Errorf("the edit is gone without a trace: %s, %+v", got, p.conflicts())
			}
		})
	}
}

// A decision that cannot be carried out stops nobody.
func TestTwoWayDecisionThatFits(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	a.Edit("r", "k", `{"v":1}`, noon)
	p.mustRun()
	a.Remove("r", "k", noon.Add(time.Hour))
	b.Edit("r", "k", `{"v":2}`, noon.Add(2*time.Hour))
	p.mustRun()
	p.decide(p.conflicts()[0].ID, state.Decision{Take: state.TakeValue, Value: []byte(`5`)})
	a.Edit("r", "l", `{"v":1}`, noon)
	p.mustRun()
	p.records(map[string]string{"k": `{"v":2}`, "l": `{"v":1}`})
}

// A backup has old data, whether or not it says how old.
func TestTwoWayRestoredWithoutTimes(t *testing.T) {
	t.Parallel()
	for _, resolution := range []resolve.Resolution{"", resolve.Newer, resolve.Other} {
		t.Run("resolution "+string(resolution), func(t *testing.T) {
			t.Parallel()
			a, b, p := twoReplicas(t)
			b.Plain()
			p.policy.Resolution = resolution
			a.Edit("r", "k", `{"v":1}`, time.Time{})
			b.Edit("r", "own", `{"v":1}`, time.Time{})
			p.mustRun()
			backup := b.Backup()
			b.Edit("r", "k", `{"v":2}`, time.Time{})
			b.Edit("r", "own", `{"v":2}`, time.Time{})
			p.mustRun()
			p.records(map[string]string{"k": `{"v":2}`, "own": `{"v":2}`})
			b.Restore(backup)
			p.mustRun()
			for key, got := range p.both() {
				traced := slices.ContainsFunc(p.conflicts(), func(x state.Conflict) bool { return x.Key == key && string(x.This) == `2` })
				if got != `{"v":2}` && (!traced || resolution != resolve.Other) {
					t.Errorf("a backup took %s back to %s; the inbox has %+v", key, got, p.conflicts())
				}
			}
		})
	}
}

// A side comes back from a backup after a run that died.
func TestTwoWayRestoredAfterDeadRun(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{false, true} {
		for call := 1; call < 20; call++ {
			t.Run(fmt.Sprint(first, call), func(t *testing.T) {
				t.Parallel()
				a, b, p := twoReplicas(t)
				for i := range 3 {
					a.Edit("r", fmt.Sprint("old", i), `{"v":1}`, noon)
				}
				if !first {
					p.mustRun()
				}
				backup := b.Backup()
				for i := range 4 {
					a.Edit("r", fmt.Sprint("k", i), `{"v":1}`, noon)
				}
				p.dieAt(call)
				_, _ = p.run()
				b.Restore(backup)
				p.dieAt(20 - call) // and again
				_, _ = p.run()
				p.state.Set(nil)
				for range 2 {
					p.mustRun()
				}
				if got := p.both(); len(got) != 7 {
					t.Errorf("got %v", got)
				}
			})
		}
	}
}

// counted counts what is fetched, and may leave Fetch away.
type counted struct {
	gapless.Source
	fetched *int
}

type withoutFetch struct{ counted }

func (s withoutFetch) Position(ctx context.Context, p gapless.Partition) (gapless.Position, error) {
	return s.Source.(gapless.Positioner).Position(ctx, p)
}

func (s withoutFetch) ReadChanges(ctx context.Context, p gapless.Partition, from, to gapless.Position, out *gapless.Output) error {
	return s.Source.(gapless.ChangeReader).ReadChanges(ctx, p, from, to, out)
}

func (s withoutFetch) ReadKeys(ctx context.Context, p gapless.Partition, out *gapless.Output) error {
	return s.Source.(gapless.KeyReader).ReadKeys(ctx, p, out)
}

type withFetch struct{ withoutFetch }

func (s withFetch) Fetch(ctx context.Context, p gapless.Partition, keys []string, out *gapless.Output) error {
	*s.fetched += len(keys)
	return s.Source.(gapless.Fetcher).Fetch(ctx, p, keys, out)
}

// fetching has all that a source of a replica has.
func fetching(s gapless.Source) withFetch { return withFetch{withoutFetch{counted{s, new(int)}}} }

// What the changes have told is not fetched once more, and what was written is
// known.
func TestTwoWayKeysOfToldRecords(t *testing.T) {
	t.Parallel()
	for _, fetches := range []bool{false, true} {
		for _, plain := range []bool{false, true} {
			t.Run(fmt.Sprint(fetches, plain), func(t *testing.T) {
				t.Parallel()
				a, b, p := twoReplicas(t)
				if plain {
					b.Plain()
				}
				p.models[1] = gapless.ModelModified
				fetched := 0
				p.read = func(i int, s gapless.Source) gapless.Source {
					c := withoutFetch{counted{s, &fetched}}
					if i == 1 && fetches {
						return withFetch{c}
					}
					if i == 1 {
						return c
					}
					return s
				}
				for i := range 5 {
					a.Edit("r", fmt.Sprint("k", i), `{"v":1}`, noon)
				}
				p.mustRun()
				for round := range 4 {
					for i := range 5 {
						a.Edit("r", fmt.Sprint("k", i), fmt.Sprintf(`{"v":%d}`, round+2), noon.Add(time.Duration(round+1)*time.Hour))
					}
					b.Edit("r", fmt.Sprint("new", round), `{"v":1}`, noon)
					b.Edit("r", "new0", fmt.Sprintf(`{"v":%d}`, round+2), noon)
					*p.now = p.now.Add(30 * 24 * time.Hour)
					p.mustRun()
				}
				p.both()
				if fetched > 0 {
					t.Errorf("%d records were fetched", fetched)
				}
			})
		}
	}
}

// One slice of a collection came back, the other had not to be looked at.
func TestTwoWaySlices(t *testing.T) {
	t.Parallel()
	for _, model := range []gapless.ChangeModel{gapless.ModelFull, gapless.ModelModified, gapless.ModelLog} {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			a, b, p := twoReplicas(t)
			a.Split("a", "b")
			p.models[0] = model
			for i := range 4 {
				a.Edit("r", fmt.Sprint("a", i), `{"v":1}`, noon)
				a.Edit("r", fmt.Sprint("b", i), `{"v":1}`, noon)
				b.Edit("r", fmt.Sprint("c", i), `{"v":1}`, noon)
			}
			p.mustRun()
			a.Remove("r", "a1", noon.Add(time.Hour))
			b.Remove("r", "b1", noon.Add(time.Hour))
			b.Edit("r", "a2", `{"v":2}`, noon.Add(time.Hour))
			*p.now = p.now.Add(30 * 24 * time.Hour)
			p.mustRun()
			got := p.both()
			if len(got) != 10 || got["a2"] != `{"v":2}` {
				t.Errorf("got %v", got)
			}
			for range 2 {
				if s := p.mustRun(); s.Counts.Pushed > 0 {
					t.Errorf("pushed %d records after all had come to rest", s.Counts.Pushed)
				}
			}
		})
	}
}

// Slices whose keys do not tell them apart are refused.
func TestTwoWaySlicesWithoutPrefix(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	a.Edit("r", "k", `{"v":1}`, noon)
	for _, prefixes := range [][]string{{"", "k"}, {"ka", "k"}} {
		a.Split(prefixes...)
		if _, err := p.run(); gapless.KindOf(err) != gapless.KindMisconfigured || len(b.Records("r")) > 0 {
			t.Errorf("%q: %v", prefixes, err)
		}
	}
}

// Keys come back empty while a change was told.
func TestTwoWayGuardOfKeys(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	p.models[0] = gapless.ModelModified
	for i := range 10 {
		a.Edit("r", fmt.Sprint("k", i), `{"v":1}`, noon)
	}
	p.mustRun()
	p.readThis(func(s gapless.Source) gapless.Source { return noKeys{fetching(s)} })
	a.Edit("r", "k0", `{"v":2}`, noon.Add(time.Hour))
	*p.now = p.now.Add(30 * 24 * time.Hour)
	if _, err := p.run(); gapless.ExitCode(err) != gapless.ExitGuard {
		t.Errorf("%v", err)
	}
	if got := len(b.Records("r")); got != 10 {
		t.Errorf("%d records", got)
	}
}

type noKeys struct{ withFetch }

func (noKeys) ReadKeys(context.Context, gapless.Partition, *gapless.Output) error { return nil }

// A position that turns out to have expired only when it is read from.
func TestTwoWayExpiredPosition(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	for i := range 3 {
		a.Edit("r", fmt.Sprint("k", i), `{"v":1}`, noon)
	}
	p.mustRun()
	a.Edit("r", "k0", `{"v":2}`, noon)
	a.Remove("r", "k1", noon)
	b.Edit("r", "k2", `{"v":3}`, noon)
	a.Trim()
	p.mustRun()
	p.records(map[string]string{"k0": `{"v":2}`, "k2": `{"v":3}`})
	if s := p.mustRun(); s.Counts.Pushed > 0 || s.Counts.Read > 0 {
		t.Errorf("%+v", s.Counts)
	}
}

// unchecked emits what nobody has looked at.
type unchecked struct {
	withFetch
	data map[string]string
}

func (s unchecked) ReadChanges(ctx context.Context, p gapless.Partition, from, to gapless.Position, out *gapless.Output) error {
	for key, data := range s.data {
		out.Batch().Append(gapless.Change{Record: gapless.Record{Key: key, Data: []byte(data)}})
	}
	return s.withFetch.ReadChanges(ctx, p, from, to, out)
}

func TestTwoWayUncheckedData(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	a.Edit("r", "k", `{"v":1}`, noon)
	p.mustRun()
	p.readThis(func(s gapless.Source) gapless.Source {
		return unchecked{fetching(s), map[string]string{"list": `[1]`, "k": `nonsense`, "empty": ``, "half": `{"v":`}}
	})
	a.Edit("r", "l", `{"v":1}`, noon)
	p.runUnreadable()
	if diff := cmp.Diff(map[string]string{"k": `{"v":1}`, "l": `{"v":1}`}, b.Records("r")); diff != "" {
		t.Fatal(diff)
	}
}

// A record that is no object is a dead letter; the others go on.
func TestTwoWayUnreadableData(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`nonsense`, `[1]`, `5`, `{"v":1`, ""} {
		t.Run(data, func(t *testing.T) {
			t.Parallel()
			a, b, p := twoReplicas(t)
			a.Edit("r", "k", `{"v":1}`, noon)
			p.mustRun()
			a.Edit("r", "k", data, noon.Add(time.Hour))
			a.Edit("r", "new", data, noon.Add(time.Hour))
			a.Edit("r", "l", `{"v":1}`, noon)
			for range 2 {
				p.runUnreadable()
			}
			if diff := cmp.Diff(map[string]string{"k": `{"v":1}`, "l": `{"v":1}`}, b.Records("r")); diff != "" {
				t.Fatal(diff)
			}
			a.Edit("r", "k", `{"v":2}`, noon.Add(2*time.Hour))
			a.Edit("r", "new", `{"v":2}`, noon.Add(2*time.Hour))
			p.mustRun()
			p.records(map[string]string{"k": `{"v":2}`, "l": `{"v":1}`, "new": `{"v":2}`})
		})
	}
}

// An edit that is lost for good is open in the inbox, although it was held
// before.
func TestTwoWayHeldThenLost(t *testing.T) {
	t.Parallel()
	for _, begin := range []time.Time{noon.Add(-24 * time.Hour), noon} { // the latter's edits are ahead of now
		a, b, p := twoReplicas(t)
		p.policy.Conflict = resolve.AcceptNone
		a.Edit("r", "k", `{"v":1}`, begin)
		p.mustRun()
		a.Edit("r", "k", `{"v":2}`, begin.Add(2*time.Hour))
		b.Edit("r", "k", `{"v":3}`, begin.Add(time.Hour))
		p.mustRun()
		p.policy.Conflict = resolve.AcceptFields
		a.Edit("r", "k", `{"v":2,"w":1}`, begin.Add(3*time.Hour))
		p.mustRun()
		p.records(map[string]string{"k": `{"v":2,"w":1}`})
		open := slices.DeleteFunc(p.conflicts(), func(x state.Conflict) bool { return x.ResolvedBy != "" })
		if len(open) != 1 || open[0].Held || string(open[0].Other) != "3" {
			t.Errorf("open are %+v", open)
		}
	}
}

// What a policy withheld is delivered once the policy has changed.
func TestTwoWayPolicyChanges(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	p.policy.Strategy = []resolve.Method{resolve.Create}
	for _, key := range []string{"k", "l"} {
		a.Edit("r", key, `{"v":1}`, noon)
	}
	p.mustRun()
	a.Edit("r", "k", `{"v":2}`, noon)
	a.Remove("r", "l", noon)
	if s := p.mustRun(); s.Counts.Filtered != 2 || s.Counts.Pushed != 0 {
		t.Errorf("%+v", s.Counts)
	}
	if diff := cmp.Diff(map[string]string{"k": `{"v":1}`, "l": `{"v":1}`}, b.Records("r")); diff != "" {
		t.Fatal(diff)
	}
	p.policy.Strategy = nil
	p.mustRun()
	p.records(map[string]string{"k": `{"v":2}`})
}

// A version that changes alone is no edit, and stops nobody.
func TestTwoWayVersionAlone(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	p.read = func(i int, s gapless.Source) gapless.Source {
		return withoutFetch{counted{s, nil}}
	}
	a.Edit("r", "k", `{"v":1}`, noon)
	p.mustRun()
	b.Edit("r", "k", `{"v":1}`, noon.Add(time.Hour))
	p.mustRun()
	a.Edit("r", "k", `{"v":2}`, noon.Add(2*time.Hour))
	p.mustRun()
	p.records(map[string]string{"k": `{"v":2}`})
}

// What a source takes back within one reading is no edit.
func TestTwoWayToldAndTakenBack(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	a.Plain()
	a.Edit("r", "k", `{"v":1}`, noon)
	p.mustRun()
	p.readThis(func(s gapless.Source) gapless.Source {
		return unchecked{fetching(s), map[string]string{"k": `{"v":9}`}}
	})
	a.Edit("r", "k", `{"v":1}`, noon)
	p.mustRun()
	if got := b.Records("r")["k"]; got != `{"v":1}` {
		t.Errorf("the other side has %s", got)
	}
}

// hiding lists k in a way of its own, and shows l.
type hiding struct {
	gapless.Source
	k func(*gapless.Output) error
}

func (s hiding) ReadAll(_ context.Context, _ gapless.Partition, _ gapless.Mark, out *gapless.Output) error {
	if err := s.k(out); err != nil {
		return err
	}
	return out.Upsert(gapless.Record{Key: "l", Data: []byte(`{"v":1}`)})
}

// What cannot be read is there, and so is what is forbidden.
func TestTwoWayHiddenIsNotAbsent(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]func(*gapless.Output) error{
		"unreadable": func(out *gapless.Output) error {
			out.Batch().Append(gapless.Change{Record: gapless.Record{Key: "k", Data: []byte(`nonsense`)}})
			return nil
		},
		"forbidden": func(out *gapless.Output) error {
			return out.Reject(gapless.Rejection{Key: "k", Err: errors.New("permission denied")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, p := twoReplicas(t)
			p.models[0] = gapless.ModelFull
			a.Edit("r", "k", `{"v":1}`, noon)
			a.Edit("r", "l", `{"v":1}`, noon)
			p.mustRun()
			p.readThis(func(s gapless.Source) gapless.Source { return hiding{s, k} })
			p.runUnreadable()
			if got := len(b.Records("r")); got != 2 {
				t.Errorf("%d records are left", got)
			}
		})
	}
}

// What an enumeration shows as it was is there.
func TestTwoWayUnchangedIsNotAbsent(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	p.models[0] = gapless.ModelFull
	for _, key := range []string{"k", "l", "m"} {
		a.Edit("r", key, `{"v":1}`, noon)
	}
	p.mustRun()
	a.Remove("r", "m", noon.Add(time.Hour))
	p.mustRun()
	if diff := cmp.Diff(map[string]string{"k": `{"v":1}`, "l": `{"v":1}`}, b.Records("r")); diff != "" {
		t.Error(diff)
	}
}

// The same value is lost twice.
func TestTwoWayLostAgain(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	begin := noon.Add(-24 * time.Hour)
	a.Edit("r", "k", `{"v":1}`, begin)
	p.mustRun()
	for i := range 2 {
		begin = begin.Add(2 * time.Hour)
		a.Edit("r", "k", `{"v":2}`, begin)
		b.Edit("r", "k", fmt.Sprintf(`{"v":%d}`, 3+i), begin.Add(time.Hour))
		p.mustRun()
	}
	if list := p.conflicts(); len(list) != 2 {
		t.Errorf("the inbox has %+v", list)
	}
}

// A decision that a side refuses is not carried out yet.
func TestTwoWayDecisionRefused(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	a.Edit("r", "k", `{"v":1}`, noon)
	p.mustRun()
	a.Edit("r", "k", `{"v":2}`, noon.Add(time.Hour))
	b.Edit("r", "k", `{"v":3}`, noon.Add(2*time.Hour))
	p.mustRun()
	id := p.conflicts()[0].ID
	p.decide(id, state.Decision{Take: state.TakeThis})
	b.Refuse("k")
	if _, err := p.run(); err == nil {
		t.Fatal("nothing was refused")
	}
	if x := p.conflicts()[0]; x.ResolvedBy != "" {
		t.Errorf("%+v is resolved", x)
	}
	b.Refuse()
	p.mustRun()
	p.records(map[string]string{"k": `{"v":2}`})
	for _, x := range p.conflicts() {
		if x.ID == id && x.ResolvedBy == "" {
			t.Errorf("%+v is open", x)
		}
	}
}

// A connector is told of the deletion of a record that it never knew, and that
// has come to the other side by another way: the edits that are there win, and
// the deletion is in the inbox.
func TestTwoWayDeletionOfWhatIsUnknown(t *testing.T) {
	t.Parallel()
	a, b := gaplesstest.NewReplica("a", "r"), gaplesstest.NewReplica("b", "r")
	first, second := newPair(t, a, b), newPair(t, a, b)
	second.name, second.now = "second", first.now
	for _, p := range []*pair{first, second} {
		p.policy.Deletes = resolve.EditWins
		p.mustRun()
	}
	a.Edit("r", "k", `{"v":1}`, *first.now)
	first.mustRun()
	a.Remove("r", "k", first.now.Add(time.Second))
	second.mustRun()
	if got := second.both(); got["k"] != `{"v":1}` {
		t.Errorf("got %v", got)
	}
	if list := second.conflicts(); len(list) != 1 || !list[0].Deletion || list[0].Loser != state.This {
		t.Errorf("the inbox has %+v", list)
	}
}
