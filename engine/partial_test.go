package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// partial is a source with two collections, r and s, and a destination that
// held both of them in step before something began to fail.
type partial struct {
	*world
	t *testing.T
	// rows, if not nil, decides what becomes of a row of r that the source
	// emits: nil for nothing.
	rows func(c gapless.Change) []gapless.Change
	// collections, if not nil, are those that the source shows.
	collections []string
	// refuse has the destination refuse deletes: "push" at once, "sync" late.
	refuse  string
	refused []gapless.Rejection
	spoiled []string // keys of r that cannot be read
}

// partialRecords is how many records r has; s has a tenth of that.
const partialRecords = 60

func newPartial(t *testing.T, model gapless.ChangeModel) *partial {
	t.Helper()
	w := newWorld(t, model)
	w.source = gaplesstest.NewSource("r", "s")
	w.settings = engine.Settings{BatchRows: 3, SyncRecords: 5, Attempts: 1, Parallel: 1}
	p := &partial{t: t, world: w}
	w.fill(partialRecords)
	for i := range partialRecords / 10 {
		w.source.Put("s", fmt.Sprintf("s%04d", i), fmt.Sprintf(`{"n":%d}`, i))
	}
	p.complete()
	// What happens at the source before the failure: two records go, one
	// changes, one is new. No guard minds.
	w.source.Remove("r", "k0007")
	w.source.Remove("r", "k0041")
	w.source.Put("r", "k0003", `{"n":"new"}`)
	w.source.Put("r", "k0100", `{"n":100}`)
	return p
}

// run is one run in a process of its own.
func (p *partial) run(o engine.RunOptions) error {
	p.Helper()
	p.later(leaseTime)
	store, err := sqlite.Open(context.Background(), filepath.Join(p.dir, "state"))
	if err != nil {
		p.Fatal(err)
	}
	e, err := engine.New(engine.Config{
		Connector: connector, Source: p.distorted(), Destination: refusing{p.dest, p}, Store: faultyStore{store, &p.state},
		Dir: filepath.Join(p.dir, "fingerprints"), Settings: p.settings, Now: func() time.Time { return p.later(time.Millisecond) },
	})
	if err != nil {
		p.Fatal(err)
	}
	_, err = e.Run(context.Background(), o)
	if closing := store.Close(); closing != nil {
		p.Fatal(closing)
	}
	return err
}

const leaseTime = time.Hour // after which a dead runner's lease has expired

// complete is a run without failures that has to bring both collections in
// step.
func (p *partial) complete() {
	p.Helper()
	if err := p.run(engine.RunOptions{}); err != nil {
		p.Fatalf("a run without failures: %v", err)
	}
	for _, c := range []string{"r", "s"} {
		if diff := cmp.Diff(p.source.Records(c), p.dest.Records(connector, c)); diff != "" {
			p.Fatalf("%s is not in step (-source +destination):\n%s", c, diff)
		}
	}
}

// heal ends every failure.
func (p *partial) heal() {
	p.source.Faults.Set(nil)
	p.dest.Faults.Set(nil)
	p.state.Set(nil)
	p.rows, p.collections, p.refuse, p.refused = nil, nil, "", nil
	for _, key := range p.spoiled {
		p.source.Put("r", key, p.source.Records("r")[key])
	}
}

// spoil makes records of r from one number up to another unreadable.
func (p *partial) spoil(how func(collection, key string), from, to int) {
	for i := from; i < to; i++ {
		key := fmt.Sprintf("k%04d", i)
		if _, there := p.source.Records("r")[key]; there {
			how("r", key)
			p.spoiled = append(p.spoiled, key)
		}
	}
}

// drop has rows go missing without a word.
func (p *partial) drop(which func(key string) bool) {
	p.rows = func(c gapless.Change) []gapless.Change {
		if which(c.Key) {
			return nil
		}
		return []gapless.Change{c}
	}
}

// fail has the n-th call of a name fail, and every later one.
func (p *partial) fail(faults *gaplesstest.Faults, name string, n int, err error) {
	faults.Set(func(call string, nth, _ int) error {
		if call == name && nth >= n {
			return err
		}
		return nil
	})
}

// distorted is the source as its failures show it.
func (p *partial) distorted() gapless.Source {
	s := p.source.As(p.model)
	full := fullSource{s, s.(gapless.Resumer), p}
	if p.model == gapless.ModelFull {
		return full
	}
	log := logSource{full, s.(gapless.Positioner), s.(gapless.ChangeReader)}
	if p.model == gapless.ModelLog {
		return log
	}
	return modifiedSource{log, s.(gapless.KeyReader), s.(gapless.Fetcher)}
}

type fullSource struct {
	gapless.Source
	gapless.Resumer
	p *partial
}

func (s fullSource) Describe(ctx context.Context) (gapless.Description, error) {
	d, err := s.Source.Describe(ctx)
	if s.p.collections != nil {
		d.Collections = s.p.collections
	}
	return d, err
}

func (s fullSource) ReadAll(ctx context.Context, p gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	return s.p.distort(ctx, p, out, func(out *gapless.Output) error { return s.Source.ReadAll(ctx, p, after, out) })
}

type logSource struct {
	fullSource
	gapless.Positioner
	gapless.ChangeReader
}

func (s logSource) ReadChanges(ctx context.Context, p gapless.Partition, from, to gapless.Position, out *gapless.Output) error {
	return s.p.distort(ctx, p, out, func(out *gapless.Output) error { return s.ChangeReader.ReadChanges(ctx, p, from, to, out) })
}

type modifiedSource struct {
	logSource
	gapless.KeyReader
	gapless.Fetcher
}

func (s modifiedSource) ReadKeys(ctx context.Context, p gapless.Partition, out *gapless.Output) error {
	return s.p.distort(ctx, p, out, func(out *gapless.Output) error { return s.KeyReader.ReadKeys(ctx, p, out) })
}

// distort hands on what read emits, row by row.
func (p *partial) distort(ctx context.Context, partition gapless.Partition, out *gapless.Output, read func(*gapless.Output) error) error {
	if p.rows == nil || partition.Collection != "r" {
		return read(out)
	}
	inner := gapless.NewOutput(ctx, partition, 1, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Rows {
			for _, c := range p.rows(b.Change(i)) {
				out.Batch().Append(c)
				if err := out.FlushIfFull(); err != nil {
					return nil, err
				}
			}
		}
		for _, r := range b.Rejects {
			if err := out.Reject(r); err != nil {
				return nil, err
			}
		}
		if b.Mark != "" {
			return b, out.Mark(b.Mark)
		}
		return b, nil
	})
	if err := read(inner); err != nil {
		return err
	}
	return inner.Flush()
}

// refusing is the destination, which may refuse deletes.
type refusing struct {
	gapless.Destination
	p *partial
}

func (d refusing) Open(ctx context.Context, name string, epoch uint64) (gapless.Session, error) {
	s, err := d.Destination.Open(ctx, name, epoch)
	if err != nil {
		return nil, err
	}
	return refusingSession{s, s.(gapless.Enumerator), d.p}, nil
}

type refusingSession struct {
	gapless.Session
	gapless.Enumerator
	p *partial
}

func (s refusingSession) Push(ctx context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	if s.p.refuse == "" {
		return s.Session.Push(ctx, b)
	}
	accepted := &gapless.Batch{Partition: b.Partition}
	var refused []gapless.Rejection
	for i := range b.Rows {
		if c := b.Change(i); c.Op == gapless.OpDelete {
			refused = append(refused, gapless.Rejection{Key: c.Key, Err: errors.New("deletes are refused")})
		} else {
			accepted.Append(c)
		}
	}
	receipt, err := s.Session.Push(ctx, accepted)
	if s.p.refuse == "push" {
		receipt.Rejected = append(receipt.Rejected, refused...)
		return receipt, err
	}
	for _, r := range refused {
		r.Partition = b.Partition.ID
		s.p.refused = append(s.p.refused, r)
	}
	return receipt, err
}

func (s refusingSession) Sync(ctx context.Context, list []gapless.Checkpoint) (gapless.Receipt, error) {
	receipt, err := s.Session.Sync(ctx, list)
	receipt.Rejected = append(receipt.Rejected, s.p.refused...)
	s.p.refused = nil
	return receipt, err
}

// failure is one row of the table: what fails while records have to be deleted.
type failure struct {
	name string
	// models it can happen to; all if there are none.
	models []gapless.ChangeModel
	// full asks for full runs while it lasts, so that every model enumerates.
	full bool
	// canaries are configured from the start.
	canaries []string
	begin    func(p *partial)
	// healed is what the run after the failure is asked for: what was refused
	// of a change log is only read again if somebody asks for it.
	healed engine.RunOptions
	// after is called after each run while it lasts.
	after func(p *partial)
	// exits are the exit codes that a run may have while it lasts.
	exits []int
}

var (
	recoverable = gapless.Recoverable(errFault)
	forbiddenBy = gapless.Because(gapless.CauseForbidden, errors.New("403 Forbidden"))
	reading     = []gapless.ChangeModel{gapless.ModelLog, gapless.ModelModified}
	byKeys      = []gapless.ChangeModel{gapless.ModelModified}
	byLog       = []gapless.ChangeModel{gapless.ModelLog}
)

// brokenOff is a listing that ends with an error after k records.
func brokenOff(k int, what string, err error, exit int) failure {
	return failure{name: fmt.Sprintf("the listing breaks off after %d of 60 records: %s", k, what), full: true, exits: []int{exit}, begin: func(p *partial) {
		p.fail(&p.source.Faults, "read", k+1, err)
	}}
}

func failures() []failure {
	behind := func(key string) func(string) bool { return func(k string) bool { return k >= key } }
	list := []failure{
		brokenOff(0, "403", forbiddenBy, 53),
		brokenOff(0, "404, not classified", errors.New("404 Not Found"), 1),
		brokenOff(0, "401", gapless.Because(gapless.CauseAuthentication, errors.New("401 Unauthorized")), 52),
		brokenOff(0, "no connection", gapless.Because(gapless.CauseUnreachable, errors.New("connection refused")), 51),
		brokenOff(1, "500", recoverable, 10),
		brokenOff(20, "403, the permission was revoked", forbiddenBy, 53),
		brokenOff(30, "500", recoverable, 10),
		brokenOff(30, "not classified", errFault, 1),
		brokenOff(58, "500", recoverable, 10),
		{name: "the listing ends with an error after its last record", full: true, exits: []int{10}, begin: func(p *partial) {
			p.fail(&p.source.Faults, "end", 1, recoverable)
		}},
		{name: "the listing fails once and is read again", full: true, exits: []int{0, 10}, begin: func(p *partial) {
			p.settings.Attempts, p.settings.MaxWait = 3, time.Millisecond
			p.source.Faults.Set(failing("read", 20, recoverable))
		}},
		{name: "an empty page with status 200", full: true, exits: []int{7}, begin: func(p *partial) { p.drop(behind("")) }},
		{name: "half of the listing is missing, without an error", full: true, exits: []int{7}, begin: func(p *partial) { p.drop(behind("k0030")) }},
		{name: "the last page of the listing is missing, a canary with it", full: true, canaries: []string{"r/k0059"}, exits: []int{7}, begin: func(p *partial) {
			p.drop(behind("k0057"))
		}},
		{name: "a single record of the listing is missing, and it is the canary", full: true, canaries: []string{"r/k0010"}, exits: []int{7}, begin: func(p *partial) {
			p.drop(func(key string) bool { return key == "k0010" })
		}},
		{name: "403 on a subtree, its records named one by one", full: true, exits: []int{55}, begin: func(p *partial) {
			p.spoil(p.source.Forbid, 20, 30)
		}},
		{name: "403 on a subtree, its records not named", full: true, exits: []int{55}, begin: func(p *partial) {
			p.spoil(p.source.Garble, 20, 30)
		}},
		{name: "one record is unreadable, its key known", full: true, exits: []int{55}, begin: func(p *partial) { p.spoil(p.source.Forbid, 30, 31) }},
		{name: "one record is unreadable, its key unknown", full: true, exits: []int{55}, begin: func(p *partial) { p.spoil(p.source.Garble, 30, 31) }},
		{name: "one record has lost its key", full: true, exits: []int{55}, begin: func(p *partial) {
			p.rows = func(c gapless.Change) []gapless.Change {
				if c.Key == "k0030" {
					c.Key = ""
				}
				return []gapless.Change{c}
			}
		}},
		{name: "every record is unreadable, its key unknown", full: true, exits: []int{7, 55}, begin: func(p *partial) {
			p.spoil(p.source.Garble, 0, partialRecords)
		}},
		{name: "the listing has records twice", full: true, exits: []int{0, 55}, begin: func(p *partial) {
			p.spoil(func(c, key string) { p.source.Repeat(c, key, `{"n":"again"}`) }, 10, 13)
		}},
		{name: "a collection is no longer listed", full: true, exits: []int{0}, begin: func(p *partial) { p.collections = []string{"s"} }},
		{name: "no collection is listed any more", full: true, exits: []int{0}, begin: func(p *partial) { p.collections = []string{} }},
		{name: "the source cannot say what it has", exits: []int{10}, begin: func(p *partial) { p.fail(&p.source.Faults, "describe", 1, recoverable) }},
		{name: "the source cannot say where it is", models: reading, exits: []int{10}, begin: func(p *partial) {
			p.fail(&p.source.Faults, "position", 1, recoverable)
		}},
		{name: "the change log breaks off", models: reading, exits: []int{10}, begin: func(p *partial) { p.fail(&p.source.Faults, "read", 3, recoverable) }},
		{name: "the change log ends with an error", models: reading, exits: []int{10}, begin: func(p *partial) { p.fail(&p.source.Faults, "end", 1, recoverable) }},
		{name: "the change log has expired, and the listing in its place breaks off", models: reading, exits: []int{10}, begin: func(p *partial) {
			p.source.Prune()
			p.fail(&p.source.Faults, "read", 30, recoverable)
		}},
		{name: "the change log says that a canary was deleted", models: byLog, canaries: []string{"r/k0010"}, exits: []int{7}, begin: func(p *partial) {
			p.rows = func(c gapless.Change) []gapless.Change {
				return []gapless.Change{c, {Op: gapless.OpDelete, Record: gapless.Record{Key: "k0010"}}}
			}
		}},
		{name: "the list of keys breaks off", models: byKeys, exits: []int{10}, begin: func(p *partial) { p.fail(&p.source.Faults, "keys", 20, recoverable) }},
		{name: "the list of keys is empty", models: byKeys, exits: []int{7}, begin: func(p *partial) { p.drop(behind("")) }},
		{name: "half of the list of keys is missing", models: byKeys, exits: []int{7}, begin: func(p *partial) { p.drop(behind("k0030")) }},
		{name: "the list of keys lacks a canary", models: byKeys, canaries: []string{"r/k0059"}, exits: []int{7}, begin: func(p *partial) {
			p.drop(behind("k0058"))
		}},
		{name: "a record that the keys show cannot be read", models: byKeys, exits: []int{10}, begin: func(p *partial) {
			p.source.Slip("r", "k0020", `{"n":"late"}`)
			p.fail(&p.source.Faults, "fetch", 1, recoverable)
		}},
		{name: "the destination refuses deletes at once", healed: engine.RunOptions{Full: true}, exits: []int{10, 55}, begin: func(p *partial) { p.refuse = "push" }},
		{name: "the destination refuses deletes when it syncs", healed: engine.RunOptions{Full: true}, exits: []int{10, 55}, begin: func(p *partial) { p.refuse = "sync" }},
		{name: "the destination cannot list what it holds", full: true, exits: []int{0, 1}, begin: func(p *partial) { p.fail(&p.dest.Faults, "enumerate", 1, errFault) }},
		{name: "the destination fails at its first push", exits: []int{10}, begin: func(p *partial) { p.fail(&p.dest.Faults, "push", 1, recoverable) }},
		{name: "the destination takes deletes and loses its answer", exits: []int{10}, begin: func(p *partial) {
			p.fail(&p.dest.Faults, "push", 2, gaplesstest.Ambiguous(recoverable))
		}},
		crashing(0, "and loses them"),
		crashing(1, "and keeps one of them"),
		crashing(100, "and keeps them"),
		{name: "the run dies after the deletes are synced, before that is remembered", exits: []int{10}, begin: func(p *partial) {
			var synced atomic.Bool
			p.dest.Faults.Set(func(call string, nth, _ int) error {
				synced.Store(synced.Load() || call == "sync" && nth > 2)
				return nil
			})
			p.state.Set(func(string, int, int) error {
				if synced.Load() {
					return recoverable
				}
				return nil
			})
		}},
		{name: "what is remembered of earlier runs is lost", exits: []int{0}, begin: func(p *partial) { p.dir = newDir(p) }},
		{name: "the fingerprints are lost", exits: []int{0}, begin: func(p *partial) {
			if err := os.RemoveAll(filepath.Join(p.dir, "fingerprints")); err != nil {
				p.Fatal(err)
			}
		}},
		{name: "the state is an older backup", exits: []int{0}, begin: func(p *partial) {
			old := p.copyState()
			p.complete()
			p.source.Remove("r", "k0020")
			p.dir = old
		}},
		{name: "the destination is an older backup", exits: []int{0}, begin: func(p *partial) {
			old := p.dest.Snapshot()
			p.complete()
			p.source.Remove("r", "k0020")
			p.dest.Restore(old)
		}},
		{name: "an enumeration is broken off twice and resumed", models: reading, exits: []int{10}, begin: func(p *partial) {
			p.source.MarkEvery(4)
			p.source.SetSchema("another")
			p.fail(&p.source.Faults, "read", 30, recoverable)
		}, after: func(p *partial) { p.source.Remove("r", "k0002") }},
		{name: "records go while an enumeration reads on", full: true, exits: []int{0}, begin: func(p *partial) {
			p.source.Faults.Set(func(call string, nth, _ int) error {
				if call == "read" && nth == 20 {
					p.source.Remove("r", "k0001")
					p.source.Remove("r", "k0050")
				}
				return nil
			})
		}},
	}
	return list
}

// crashing is a destination that dies before it syncs deletes; keep of what was
// pushed survive.
func crashing(keep int, how string) failure {
	return failure{name: "the destination crashes between the deletes and their sync, " + how, exits: []int{10}, begin: func(p *partial) {
		p.fail(&p.dest.Faults, "sync", 2, recoverable)
	}, after: func(p *partial) { p.dest.Crash(keep) }}
}

// verdict is what a row of the table came to, in all models.
type verdict struct {
	Table           string `json:"table"`
	Name            string `json:"name"`
	FalseDeletes    int    `json:"false_deletes"`
	TrueDeletesGone bool   `json:"true_deletes_gone"`
}

// TestPartialFailures plays every failure in every change model it can happen
// to, for two runs, and then one run without it. While it lasts nothing is
// deleted that exists; the run after it deletes all that does not. With
// GAPLESS_REPORT a file of that name gets a line of JSON for each row.
func TestPartialFailures(t *testing.T) {
	t.Parallel()
	rows := failures()
	if len(rows) < 40 {
		t.Errorf("the table has only %d rows", len(rows))
	}
	verdicts := make([]verdict, len(rows))
	var mu sync.Mutex // guards verdicts
	t.Cleanup(func() { report(t, verdicts) })
	for i, f := range rows {
		verdicts[i] = verdict{Table: "partial-failures", Name: f.name, TrueDeletesGone: true}
		for _, model := range models {
			if f.models != nil && !slices.Contains(f.models, model) {
				continue
			}
			t.Run(f.name+"/"+string(model), func(t *testing.T) {
				t.Parallel()
				deleted, gone := f.play(t, model)
				mu.Lock()
				defer mu.Unlock()
				verdicts[i].FalseDeletes += deleted
				verdicts[i].TrueDeletesGone = verdicts[i].TrueDeletesGone && gone
			})
		}
	}
}

// play returns how many records were deleted that exist, and whether those are
// gone at the end that do not.
func (f *failure) play(t *testing.T, model gapless.ChangeModel) (falseDeletes int, gone bool) {
	p := newPartial(t, model)
	p.settings.Canaries = f.canaries
	f.begin(p)
	held := p.held()
	for run := range 2 {
		err := p.run(engine.RunOptions{Full: f.full})
		if exit := gapless.ExitCode(err); !slices.Contains(f.exits, exit) {
			t.Errorf("run %d: exit code %d, want one of %v: %v", run, exit, f.exits, err)
		}
		if f.after != nil {
			f.after(p)
		}
		falseDeletes += p.missing(held)
	}
	p.heal()
	if err := p.run(f.healed); err != nil {
		t.Errorf("the run after the failure: %v", err)
	}
	falseDeletes += p.missing(held)
	for _, collection := range []string{"r", "s"} {
		if diff := cmp.Diff(p.source.Records(collection), p.dest.Records(connector, collection)); diff != "" {
			t.Errorf("%s is not in step after one complete run (-source +destination):\n%s", collection, diff)
		}
	}
	return falseDeletes, !t.Failed()
}

// held returns the keys that the destination holds, with their collections.
func (p *partial) held() map[[2]string]bool {
	keys := map[[2]string]bool{}
	for _, c := range []string{"r", "s"} {
		for key := range p.dest.Records(connector, c) {
			keys[[2]string{c, key}] = true
		}
	}
	return keys
}

// missing counts the keys that were held, exist at the source, and are held no
// more.
func (p *partial) missing(held map[[2]string]bool) (count int) {
	p.Helper()
	now := p.held()
	for at := range held {
		if _, exists := p.source.Records(at[0])[at[1]]; exists && !now[at] {
			p.t.Errorf("%s of %s was deleted, although it exists", at[1], at[0])
			count++
		}
	}
	return count
}

func report(t *testing.T, verdicts []verdict) {
	name := os.Getenv("GAPLESS_REPORT")
	if name == "" {
		return
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	encoder := json.NewEncoder(file)
	for i := range verdicts {
		err = errors.Join(err, encoder.Encode(verdicts[i]))
	}
	if err := errors.Join(err, file.Close()); err != nil {
		t.Error(err)
	}
}
