package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// pair is a two-way connector between two replicas, over several runs.
type pair struct {
	tester
	name     string
	sides    [2]*gaplesstest.Replica
	models   [2]gapless.ChangeModel
	dir      string
	now      *time.Time
	policy   resolve.Policy
	settings engine.Settings
	state    gaplesstest.Faults
	kept     state.Store // stays open from run to run, if there is one
	// read, if there is one, stands between a side and its readers.
	read func(i int, s gapless.Source) gapless.Source
}

func newPair(t tester, this, other *gaplesstest.Replica) *pair {
	t.Helper()
	now := noon
	return &pair{
		tester: t, name: "pair", sides: [2]*gaplesstest.Replica{this, other}, models: [2]gapless.ChangeModel{gapless.ModelLog, gapless.ModelLog},
		dir: newDir(t), now: &now, policy: resolve.Policy{Resolution: resolve.Newer},
		settings: engine.Settings{BatchRows: 3, Attempts: 1, GuardRecords: 1000},
	}
}

func twoReplicas(t *testing.T) (a, b *gaplesstest.Replica, p *pair) {
	t.Helper()
	a, b = gaplesstest.NewReplica("a", "r"), gaplesstest.NewReplica("b", "r")
	return a, b, newPair(t, a, b)
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func (p *pair) open() (*engine.Engine, state.Store) {
	p.Helper()
	store := p.kept
	if store == nil {
		opened, err := sqlite.Open(context.Background(), filepath.Join(p.dir, "state"))
		if err != nil {
			p.Fatal(err)
		}
		store = opened
	}
	c := engine.Config{
		Connector: p.name, Store: faultyStore{store, &p.state}, Dir: filepath.Join(p.dir, "fingerprints"), Settings: p.settings, Policy: p.policy,
		Now: p.tick,
	}
	for i, r := range p.sides {
		source := r.As(p.models[i])
		if p.read != nil {
			source = p.read(i, source)
		}
		c.Sides = append(c.Sides, engine.Side{Name: fmt.Sprint("replica ", i), Source: source, Destination: r})
	}
	e, err := engine.New(c)
	if err != nil {
		p.Fatal(err)
	}
	return e, store
}

// ticking guards the clocks of pairs, which both sides look at.
var ticking sync.Mutex

func (p *pair) tick() time.Time {
	ticking.Lock()
	defer ticking.Unlock()
	*p.now = p.now.Add(time.Millisecond)
	return *p.now
}

// close closes a store unless it is to stay open.
func (p *pair) close(store state.Store) {
	p.Helper()
	if p.kept != nil {
		return
	}
	if err := store.Close(); err != nil {
		p.Fatal(err)
	}
}

func (p *pair) run() (engine.Summary, error) {
	p.Helper()
	return p.runWith(engine.RunOptions{})
}

func (p *pair) runWith(o engine.RunOptions) (engine.Summary, error) {
	p.Helper()
	*p.now = p.now.Add(time.Minute)
	e, store := p.open()
	summary, err := e.Run(context.Background(), o)
	p.close(store)
	return summary, err
}

func (p *pair) mustRun() engine.Summary {
	p.Helper()
	s, err := p.run()
	if err != nil {
		p.Fatalf("run: %v", err)
	}
	return s
}

func (p *pair) conflicts() []state.Conflict {
	p.Helper()
	_, store := p.open()
	list, err := store.Conflicts(context.Background(), state.ConflictFilter{})
	if err != nil {
		p.Fatal(err)
	}
	p.close(store)
	return list
}

// prove checks the account.
func (p *pair) prove() proof.Report {
	p.Helper()
	e, store := p.open()
	report, err := e.Prove(context.Background())
	if err != nil {
		p.Fatal(err)
	}
	p.close(store)
	return report
}

// both returns the data of both sides, which have to be equal.
func (p *pair) both() map[string]string {
	p.Helper()
	this, other := canonicalRecords(p.tester, p.sides[0].Records("r")), canonicalRecords(p.tester, p.sides[1].Records("r"))
	if diff := cmp.Diff(this, other); diff != "" {
		p.Fatalf("the sides differ (-this +other):\n%s", diff)
	}
	return this
}

func canonicalRecords(t tester, records map[string]string) map[string]string {
	t.Helper()
	for key, data := range records {
		var v any
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		records[key] = string(text)
	}
	return records
}

func TestTwoWay(t *testing.T) {
	t.Parallel()
	for _, models := range [][2]gapless.ChangeModel{
		{gapless.ModelLog, gapless.ModelLog}, {gapless.ModelLog, gapless.ModelModified}, {gapless.ModelFull, gapless.ModelLog}, {gapless.ModelModified, gapless.ModelFull},
	} {
		for _, plain := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s-%s-%t", models[0], models[1], plain), func(t *testing.T) {
				t.Parallel()
				a, b := gaplesstest.NewReplica("a", "r"), gaplesstest.NewReplica("b", "r")
				if plain {
					b.Plain()
				}
				p := newPair(t, a, b)
				p.models = models
				for i := range 10 {
					a.Edit("r", fmt.Sprintf("a%d", i), `{"v":1,"w":2}`, noon)
					b.Edit("r", fmt.Sprintf("b%d", i), `{"v":1,"w":2}`, noon)
				}
				p.mustRun()
				if got := p.both(); len(got) != 20 {
					t.Fatalf("%d records, want 20", len(got))
				}
				// Fields that one side each has changed merge.
				a.Edit("r", "a1", `{"v":3,"w":2}`, noon.Add(time.Hour))
				b.Edit("r", "a1", `{"v":1,"w":4}`, noon.Add(time.Minute))
				a.Remove("r", "a2", time.Time{})
				b.Remove("r", "b3", time.Time{})
				p.mustRun()
				got := p.both()
				if got["a1"] != `{"v":3,"w":4}` || got["a2"] != "" || got["b3"] != "" || len(got) != 18 {
					t.Fatalf("got %v", got)
				}
				if list := p.conflicts(); len(list) != 0 {
					t.Errorf("nothing is lost, but %+v", list)
				}
				writes := a.Writes() + b.Writes()
				for range 3 {
					s := p.mustRun()
					if s.Counts.Pushed != 0 {
						t.Errorf("pushed %d records after quiescence", s.Counts.Pushed)
					}
				}
				if now := a.Writes() + b.Writes(); now != writes {
					t.Errorf("%d writes after quiescence", now-writes)
				}
				if r := p.prove(); !r.OK {
					t.Errorf("not proved: %+v", r.Gaps)
				}
			})
		}
	}
}

func TestTwoWayConflict(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	a.Edit("r", "k", `{"v":1,"w":1}`, noon)
	p.mustRun()
	a.Edit("r", "k", `{"v":2,"w":1}`, noon.Add(time.Hour))
	b.Edit("r", "k", `{"v":3,"w":1}`, noon.Add(2*time.Hour))
	p.mustRun()
	if got := p.both()["k"]; got != `{"v":3,"w":1}` {
		t.Errorf("the newer edit lost: %s", got)
	}
	list := p.conflicts()
	if len(list) != 1 || list[0].Field != "v" || string(list[0].This) != "2" || string(list[0].Other) != "3" || list[0].Loser != state.This || list[0].Held {
		t.Fatalf("the inbox has %+v", list)
	}
	p.decide(list[0].ID, state.Decision{Take: state.TakeThis})
	p.mustRun()
	if got := p.both()["k"]; got != `{"v":2,"w":1}` {
		t.Errorf("the decision was not carried out: %s", got)
	}
	if list = p.conflicts(); len(list) != 1 || list[0].ResolvedBy == "" {
		t.Errorf("the inbox has %+v", list)
	}
}

func (p *pair) decide(id string, d state.Decision) {
	p.Helper()
	_, store := p.open()
	d.By, d.At = "me", *p.now
	if err := store.Decide(context.Background(), id, d); err != nil {
		p.Fatal(err)
	}
	p.close(store)
}

func TestTwoWayHeldConflict(t *testing.T) {
	t.Parallel()
	a, b := gaplesstest.NewReplica("a", "r"), gaplesstest.NewReplica("b", "r").Plain()
	p := newPair(t, a, b)
	p.policy.Conflict = resolve.AcceptNone
	a.Edit("r", "k", `{"v":1,"w":1,"x":1}`, noon)
	a.Edit("r", "l", `{"v":1}`, noon)
	p.mustRun()
	a.Edit("r", "k", `{"v":2,"w":2,"x":1}`, noon.Add(time.Hour))
	b.Edit("r", "k", `{"v":3,"w":3,"x":1}`, noon.Add(2*time.Hour))
	b.Edit("r", "l", `{"v":2}`, noon.Add(2*time.Hour))
	for range 3 {
		p.mustRun()
		if got := [2]string{a.Records("r")["k"], b.Records("r")["k"]}; got != [2]string{`{"v":2,"w":2,"x":1}`, `{"v":3,"w":3,"x":1}`} {
			t.Fatalf("a conflict that is held changed the sides: %v", got)
		}
	}
	if got := a.Records("r")["l"]; got != `{"v":2}` {
		t.Errorf("a record without conflict waits: %s", got)
	}
	list := p.conflicts()
	if len(list) != 2 || !list[0].Held || !list[1].Held {
		t.Fatalf("the inbox has %+v", list)
	}
	for _, x := range list {
		take := state.Decision{Take: state.TakeThis}
		if x.Field == "w" {
			take = state.Decision{Take: state.TakeValue, Value: []byte(`9`)}
		}
		p.decide(x.ID, take)
	}
	p.mustRun()
	if got := p.both()["k"]; got != `{"v":2,"w":9,"x":1}` {
		t.Errorf("the decisions were not carried out: %s", got)
	}
	// Another conflict goes away because the sides come to agree.
	a.Edit("r", "l", `{"v":3}`, noon.Add(3*time.Hour))
	b.Edit("r", "l", `{"v":4}`, noon.Add(3*time.Hour))
	p.mustRun()
	a.Edit("r", "l", `{"v":4}`, noon.Add(4*time.Hour))
	p.mustRun()
	for _, x := range p.conflicts() {
		if x.ResolvedBy == "" {
			t.Errorf("%+v is still open", x)
		}
	}
}

// A deletion and an edit that did not know of each other.
func TestTwoWayDeletionAgainstEdit(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	for _, key := range []string{"k", "l"} {
		a.Edit("r", key, `{"v":1}`, noon)
	}
	p.mustRun()
	a.Remove("r", "k", noon.Add(time.Hour))
	b.Edit("r", "k", `{"v":2}`, noon.Add(2*time.Hour))
	a.Edit("r", "l", `{"v":2}`, noon.Add(time.Hour))
	b.Remove("r", "l", noon.Add(2*time.Hour))
	p.mustRun()
	if diff := cmp.Diff(map[string]string{"k": `{"v":2}`}, p.both()); diff != "" {
		t.Error(diff)
	}
	list := p.conflicts()
	if len(list) != 2 {
		t.Fatalf("the inbox has %+v", list)
	}
	for _, x := range list {
		take := state.Decision{Take: state.TakeThis}
		if x.Key == "l" && (x.Deletion || x.Field != "v" || string(x.This) != "2") || x.Key == "k" && !x.Deletion {
			t.Errorf("the inbox has %+v", x)
		}
		p.decide(x.ID, take)
	}
	p.mustRun()
	if diff := cmp.Diff(map[string]string{"l": `{"v":2}`}, p.both()); diff != "" {
		t.Error(diff)
	}
}

// What a side does not keep was not removed there.
func TestTwoWayFieldsThatASideDoesNotKeep(t *testing.T) {
	t.Parallel()
	a, b := gaplesstest.NewReplica("a", "r"), gaplesstest.NewReplica("b", "r").Plain("v", "u")
	p := newPair(t, a, b)
	a.Edit("r", "k", `{"v":1,"secret":1}`, noon)
	p.mustRun()
	b.Edit("r", "k", `{"v":2}`, noon.Add(time.Hour))
	p.mustRun()
	p.mustRun()
	if got := a.Records("r")["k"]; got != `{"v":2,"secret":1}` {
		t.Errorf("this side has %s", got)
	}
	a.Edit("r", "k", `{"v":2,"secret":2,"u":7}`, noon.Add(2*time.Hour))
	p.mustRun()
	b.Edit("r", "k", `{"v":2}`, noon.Add(3*time.Hour)) // u was there, so that it was removed
	p.mustRun()
	if got := a.Records("r")["k"]; got != `{"v":2,"secret":2}` {
		t.Errorf("this side has %s", got)
	}
	if got := b.Records("r")["k"]; got != `{"v":2}` {
		t.Errorf("the other side has %s", got)
	}
}

// Somebody edits a record in the moment before it is overwritten.
func TestTwoWayEditInBetween(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	p.settings.Attempts = 3
	for i := range 5 {
		a.Edit("r", fmt.Sprint("k", i), `{"v":1,"w":1}`, noon)
	}
	p.mustRun()
	for i := range 5 {
		a.Edit("r", fmt.Sprint("k", i), `{"v":2,"w":1}`, noon.Add(time.Hour))
	}
	left := 3
	b.Between(func(collection, key string) {
		if left--; left >= 0 {
			b.Edit(collection, key, fmt.Sprintf(`{"v":1,"w":"in between %d"}`, left), noon.Add(2*time.Hour))
		}
	})
	p.mustRun()
	got := p.both()
	if got["k0"] != `{"v":2,"w":"in between 2"}` || got["k3"] != `{"v":2,"w":1}` {
		t.Errorf("got %v", got)
	}
	if r := p.prove(); !r.OK {
		t.Errorf("not proved: %+v", r.Gaps)
	}
}

// An edit that a run which is narrowed to its record comes across is read again
// by that run, which reads nothing else.
func TestTwoWayEditInBetweenOfANarrowRun(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	p.settings.Attempts = 3
	a.Edit("r", "k", `{"v":1,"w":1}`, noon)
	p.mustRun()
	a.Edit("r", "k", `{"v":2,"w":1}`, noon.Add(time.Hour))
	left := 1
	b.Between(func(collection, key string) {
		if left--; left >= 0 {
			b.Edit(collection, key, `{"v":1,"w":"in between"}`, noon.Add(2*time.Hour))
		}
	})
	if _, err := p.runWith(engine.RunOptions{Keys: []string{"k"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"k": `{"v":2,"w":"in between"}`}, b.Records("r")); diff != "" {
		t.Error(diff)
	}
}

// An edit that is dated long before or after all others is an edit like any
// other.
func TestTwoWayStrangeDates(t *testing.T) {
	t.Parallel()
	a, b := gaplesstest.NewReplica("a", "r"), gaplesstest.NewReplica("b", "r").Plain()
	p := newPair(t, a, b)
	a.Edit("r", "k", `{"v":1}`, noon)
	p.mustRun()
	b.Edit("r", "k", `{"v":2}`, noon.AddDate(-20, 0, 0))
	b.Edit("r", "old", `{"v":1}`, noon.AddDate(-20, 0, 0))
	a.Edit("r", "new", `{"v":1}`, time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC))
	p.mustRun()
	if diff := cmp.Diff(map[string]string{"k": `{"v":2}`, "old": `{"v":1}`, "new": `{"v":1}`}, p.both()); diff != "" {
		t.Fatal(diff)
	}
	b.Edit("r", "new", `{"v":2}`, noon.Add(time.Hour)) // after 2040 was read
	p.mustRun()
	if got := p.both()["new"]; got != `{"v":2}` {
		t.Errorf("an edit after one that was dated 2040 is lost: %s", got)
	}
}

// A side that comes back from a backup must not take the other one back.
func TestTwoWayRestoredSide(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	a.Edit("r", "k", `{"v":1}`, noon)
	a.Edit("r", "gone", `{"v":1}`, noon)
	p.mustRun()
	backup := b.Backup()
	a.Edit("r", "k", `{"v":2}`, noon.Add(time.Hour))
	a.Edit("r", "new", `{"v":1}`, noon.Add(time.Hour))
	a.Remove("r", "gone", noon.Add(time.Hour))
	p.mustRun()
	want := p.both()
	b.Restore(backup)
	p.mustRun()
	if diff := cmp.Diff(want, p.both()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"k": `{"v":2}`, "new": `{"v":1}`}, want); diff != "" {
		t.Error(diff)
	}
	// Another store in its place, and empty.
	p.sides[1] = gaplesstest.NewReplica("c", "r")
	p.mustRun()
	if diff := cmp.Diff(want, p.both()); diff != "" {
		t.Error(diff)
	}
}

// A side came back that cannot tell positions from before from its own, and has
// gone on since.
func TestTwoWayRewoundSide(t *testing.T) {
	t.Parallel()
	_, b, p := twoReplicas(t)
	b.Edit("r", "k", `{"v":1}`, noon)
	p.mustRun()
	backup := b.Backup()
	want := map[string]string{"k": `{"v":1}`}
	for i, key := range []string{"x1", "x2", "x3", "y1", "y2", "y3", "y4"} {
		if key == "y1" {
			p.mustRun()
			b.Rewind(backup)
		}
		b.Edit("r", key, `{"v":1}`, noon.Add(time.Duration(i)*time.Hour))
		want[key] = `{"v":1}`
	}
	p.mustRun()
	if diff := cmp.Diff(want, p.both()); diff != "" {
		t.Error(diff)
	}
}

// A side that can only be enumerated came back almost empty.
func TestTwoWayGuard(t *testing.T) {
	t.Parallel()
	a, b, p := twoReplicas(t)
	p.models[0], p.settings.GuardRecords = gapless.ModelFull, 5
	for i := range 40 {
		a.Edit("r", fmt.Sprint("k", i), `{"v":1}`, noon)
	}
	p.mustRun()
	for i := range 39 {
		a.Remove("r", fmt.Sprint("k", i), noon)
	}
	s, err := p.run()
	if gapless.ExitCode(err) != gapless.ExitGuard || len(b.Records("r")) != 40 {
		t.Fatalf("%v, %d records left", err, len(b.Records("r")))
	}
	e, store := p.open()
	if _, err := e.Run(t.Context(), engine.RunOptions{Approve: s.Plan}); err != nil {
		t.Fatal(err)
	}
	p.close(store)
	if got := p.both(); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}
}

// A record that a side refuses is a dead letter until it takes it.
func TestTwoWayRefused(t *testing.T) {
	t.Parallel()
	a, _, p := twoReplicas(t)
	a.Edit("r", "k", `{"v":"refuse"}`, noon)
	if _, err := p.run(); gapless.ExitCode(err) != gapless.ExitSource+int(gapless.CauseUnreadable) {
		t.Fatal(err)
	}
	if _, err := p.run(); gapless.ExitCode(err) != gapless.ExitSource+int(gapless.CauseUnreadable) {
		t.Fatal(err)
	}
	a.Edit("r", "k", `{"v":1}`, noon)
	p.mustRun()
	if got := p.both(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

// Records pass a chain of replicas, whatever their dates.
func TestTwoWayChain(t *testing.T) {
	t.Parallel()
	a, b, c := gaplesstest.NewReplica("a", "r"), gaplesstest.NewReplica("b", "r"), gaplesstest.NewReplica("c", "r").Plain()
	first, second := newPair(t, a, b), newPair(t, b, c)
	second.name, second.now = "second", first.now
	a.Edit("r", "a", `{"v":1}`, noon.AddDate(-30, 0, 0))
	c.Edit("r", "c", `{"v":1}`, time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC))
	for range 2 {
		first.mustRun()
		second.mustRun()
	}
	c.Edit("r", "a", `{"v":2}`, noon.AddDate(-29, 0, 0))
	a.Remove("r", "c", time.Time{})
	for range 2 {
		first.mustRun()
		second.mustRun()
	}
	if diff := cmp.Diff(map[string]string{"a": `{"v":2}`}, first.both()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(first.both(), second.both()); diff != "" {
		t.Error(diff)
	}
}
