package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
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

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func (p *pair) open() (*engine.Engine, state.Store) {
	p.Helper()
	store, err := sqlite.Open(context.Background(), filepath.Join(p.dir, "state"))
	if err != nil {
		p.Fatal(err)
	}
	c := engine.Config{
		Connector: p.name, Store: faultyStore{store, &p.state}, Dir: filepath.Join(p.dir, "fingerprints"), Settings: p.settings, Policy: p.policy,
		Now: func() time.Time { *p.now = p.now.Add(time.Millisecond); return *p.now },
	}
	for i, r := range p.sides {
		c.Sides = append(c.Sides, engine.Side{Name: fmt.Sprint("replica ", i), Source: r.As(p.models[i]), Destination: r})
	}
	e, err := engine.New(c)
	if err != nil {
		p.Fatal(err)
	}
	return e, store
}

func (p *pair) run() (engine.Summary, error) {
	p.Helper()
	*p.now = p.now.Add(time.Minute)
	e, store := p.open()
	summary, err := e.Run(context.Background(), engine.RunOptions{})
	if closeErr := store.Close(); closeErr != nil {
		p.Fatal(closeErr)
	}
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
	if err := store.Close(); err != nil {
		p.Fatal(err)
	}
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
	if err := store.Close(); err != nil {
		p.Fatal(err)
	}
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
