package sim_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/internal/sim"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

const (
	trialConnector = "c"
	collection     = "r"
	trialKeys      = 12 // that there are at first
	moreKeys       = 6
)

func keyOf(i int) string { return fmt.Sprintf("k%02d", i) }

// trial is a history that a fault is planted in: a source and a destination in
// memory, the real engine, and its state in memory.
type trial struct {
	*testing.T
	r      *rand.Rand
	model  gapless.ChangeModel
	source *gaplesstest.Source
	dest   *gaplesstest.Destination
	store  *sim.Store
	// certificates, if not nil, are what the store says they are.
	certificates []proof.Certificate
	faults       gaplesstest.Faults // of state
	dir          string
	now          atomic.Int64
	// read alters what the source emits, written what the destination is given.
	read, written *tampering
	rest          plan.Decision // what a plan says when there is nothing to do
	older         []backup
}

// backup is what state and destination were after a run.
type backup struct {
	dest  *gaplesstest.Destination
	store *sim.Store
	dir   string
}

func newTrial(t *testing.T, r *rand.Rand) *trial {
	t.Helper()
	models := [...]gapless.ChangeModel{gapless.ModelFull, gapless.ModelModified, gapless.ModelLog}
	w := &trial{
		T: t, r: r, model: models[r.IntN(len(models))], source: gaplesstest.NewSource(collection), dest: gaplesstest.NewDestination("d1"),
		store: sim.NewStore(),
	}
	w.dir = w.folder()
	w.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	w.source.MarkEvery(r.IntN(4))
	for i := range trialKeys {
		w.put(i)
	}
	return w
}

// folder returns a new one, in memory if the machine has a place for that: what
// is in it is synced often.
func (w *trial) folder() string {
	w.Helper()
	const memory = "/dev/shm"
	base := ""
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		base = memory
	}
	dir, err := os.MkdirTemp(base, "gapless-campaign-*")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = os.RemoveAll(dir) }) // of what the test has left
	return dir
}

// later moves the clock on.
func (w *trial) later(d time.Duration) time.Time { return time.Unix(0, w.now.Add(int64(d))).UTC() }

func (w *trial) put(i int) {
	w.source.Put(collection, keyOf(i), `{"v":`+strconv.Itoa(w.r.IntN(1000))+`}`)
}

// edit changes some records of the source.
func (w *trial) edit() {
	for range 3 + w.r.IntN(5) {
		if i := w.r.IntN(trialKeys + moreKeys); w.r.IntN(5) == 0 {
			w.source.Remove(collection, keyOf(i))
		} else {
			w.put(i)
		}
	}
}

// history is some runs, with a backup after each.
func (w *trial) history() {
	w.Helper()
	for range 2 + w.r.IntN(3) {
		w.edit()
		if err := w.run(false); err != nil {
			w.Fatalf("a clean run: %v", err)
		}
		w.older = append(w.older, w.backUp())
	}
	w.rest = w.plan().Decisions[0]
}

func (w *trial) backUp() backup {
	w.Helper()
	b := backup{dest: w.dest.Snapshot(), store: w.store.Snapshot(), dir: w.folder()}
	if err := os.CopyFS(b.dir, os.DirFS(w.dir)); err != nil {
		w.Fatal(err)
	}
	return b
}

func (w *trial) engine() *engine.Engine {
	w.Helper()
	e, err := engine.New(engine.Config{
		Connector: trialConnector, Source: w.input(), Destination: output{w}, Store: trialStore{w.store, w}, Dir: w.dir,
		Settings: engine.Settings{BatchRows: 3, SyncRecords: 5, Attempts: 1, Parallel: 1, GuardRecords: 1000, Memory: 1 << 16},
		Now:      func() time.Time { return w.later(time.Millisecond) },
	})
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// run performs a run in a process of its own. Leases of dead ones have expired.
func (w *trial) run(full bool) error {
	w.Helper()
	w.later(time.Hour)
	_, err := w.engine().Run(context.Background(), engine.RunOptions{Full: full})
	return err
}

func (w *trial) plan() plan.Plan {
	w.Helper()
	w.later(time.Hour)
	p, err := w.engine().Plan(context.Background(), engine.PlanOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// resting reports whether the next run would do what it does after a clean one
// if nothing has changed.
func (w *trial) resting() bool {
	w.Helper()
	d := w.plan().Decisions[0]
	if w.rest.Rule == "" {
		return true // there was no earlier one to compare with
	}
	return d.Rule == w.rest.Rule && d.Mode == w.rest.Mode && d.Disagreement == w.rest.Disagreement
}

func (w *trial) prove() proof.Report {
	w.Helper()
	r, err := w.engine().Prove(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	r.OK = r.OK && len(r.Closed) == 0
	return r
}

func (w *trial) records() map[string]string { return w.dest.Records(trialConnector, collection) }

// equal reports whether both ends really hold the same, which only a test can
// know.
func (w *trial) equal() bool { return maps.Equal(w.source.Records(collection), w.records()) }

// verify compares the contents of both ends, as an operator would, and returns
// what is a gap, and what it says that the next run brings.
func (w *trial) verify() (gaps, pending []string) {
	w.Helper()
	report, err := w.engine().Verify(context.Background(), engine.VerifyOptions{})
	for _, d := range report.Differences {
		if d.Pending {
			pending = append(pending, d.Key)
		} else {
			gaps = append(gaps, d.Key)
		}
	}
	if !report.Complete || report.OK != (len(gaps) == 0) {
		w.Errorf("complete %t, ok %t, gaps %q: %v", report.Complete, report.OK, gaps, err)
	}
	return gaps, pending
}

// differences are the keys of the records that are not the same at both ends.
func (w *trial) differences() (keys []string) {
	source, destination := w.source.Records(collection), w.records()
	for i := range trialKeys + moreKeys {
		if key := keyOf(i); source[key] != destination[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

// mend does what whoever noticed says, until that exits 0; then the destination
// is in step and proved.
func (w *trial) mend(by, what string) {
	w.Helper()
	full := by == byProof
	var err error
	for range 4 {
		w.later(time.Hour)
		if by == byVerify {
			_, err = w.engine().Repair(context.Background(), engine.RepairOptions{})
		} else {
			err = w.run(full)
		}
		if err == nil {
			break
		}
		full = full || gapless.KindOf(err) == gapless.KindUnrecoverable
	}
	if err != nil {
		w.Errorf("%s: noticed by %s, and not mended (model %s): %v", what, by, w.model, err)
		return
	}
	if gaps, pending := w.verify(); !w.equal() || len(gaps)+len(pending) > 0 {
		w.Errorf("%s: noticed by %s and mended (model %s): %q %q\nsource      %v\ndestination %v",
			what, by, w.model, gaps, pending, w.source.Records(collection), w.records())
	}
	if report, err := w.engine().Prove(context.Background()); err != nil || !report.OK {
		w.Errorf("%s: noticed by %s, mended, and not proved (model %s): %s%v", what, by, w.model, report.Text(), err)
	}
}

// The stores.

func (w *trial) rollBack() (string, bool) {
	b := w.older[w.r.IntN(len(w.older)-1)]
	w.store, w.dir = b.store, b.dir
	return "", true
}

func (w *trial) loseState() (string, bool) {
	w.store, w.dir = sim.NewStore(), w.folder()
	return "", true
}

func (w *trial) restore() (string, bool) {
	w.dest.Restore(w.older[w.r.IntN(len(w.older)-1)].dest)
	return "", true
}

// swap puts the destination of another history in the place of this one's: of
// the same connector, as two installations have it that were mixed up.
func (w *trial) swap() (string, bool) {
	other := newTrial(w.T, w.r)
	other.dest = gaplesstest.NewDestination("d2")
	other.history()
	w.dest = other.dest
	return "", true
}

func (w *trial) wipe() (string, bool) {
	w.dest.Restore(gaplesstest.NewDestination("d1"))
	return "", true
}

func (w *trial) replace() (string, bool) {
	w.dest = gaplesstest.NewDestination("d2")
	return "", true
}

// die lets the process of the next run die at one of its calls: neither that nor
// any later one has an effect.
func (w *trial) die() (string, bool) {
	w.edit()
	at := int64(1 + w.r.IntN(40))
	var calls atomic.Int64
	all := []*gaplesstest.Faults{&w.source.Faults, &w.dest.Faults, &w.faults}
	for _, f := range all {
		f.Set(func(string, int, int) error {
			if calls.Add(1) < at {
				return nil
			}
			return errDead
		})
	}
	err := w.run(w.r.IntN(4) == 0)
	died := calls.Load() >= at
	for _, f := range all {
		f.Set(nil)
	}
	return "", err != nil && died
}

var errDead = errors.New("the process is dead")

// trialStore is the state as the engine sees it.
type trialStore struct {
	state.Store
	w *trial
}

func (s trialStore) Acquire(ctx context.Context, connector, holder string, ttl time.Duration, now time.Time) (state.Lease, error) {
	if err := s.w.faults.Check("acquire"); err != nil {
		return state.Lease{}, err
	}
	return s.Store.Acquire(ctx, connector, holder, ttl, now)
}

func (s trialStore) Renew(ctx context.Context, l state.Lease, ttl time.Duration, now time.Time) (state.Lease, error) {
	if err := s.w.faults.Check("renew"); err != nil {
		return state.Lease{}, err
	}
	return s.Store.Renew(ctx, l, ttl, now)
}

func (s trialStore) Release(ctx context.Context, l state.Lease) error {
	if err := s.w.faults.Check("release"); err != nil {
		return err
	}
	return s.Store.Release(ctx, l)
}

func (s trialStore) SavePlan(ctx context.Context, p plan.Plan) error {
	if err := s.w.faults.Check("save plan"); err != nil {
		return err
	}
	return s.Store.SavePlan(ctx, p)
}

func (s trialStore) Commit(ctx context.Context, l state.Lease, c state.Commit) error {
	if err := s.w.faults.Check("commit"); err != nil {
		return err
	}
	return s.Store.Commit(ctx, l, c)
}

func (s trialStore) Certificates(ctx context.Context, connector string) iter.Seq2[proof.Certificate, error] {
	if s.w.certificates == nil {
		return s.Store.Certificates(ctx, connector)
	}
	return func(yield func(proof.Certificate, error) bool) {
		for _, c := range s.w.certificates {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (s trialStore) LastCertificate(ctx context.Context, connector, partition string) (proof.Certificate, error) {
	if n := len(s.w.certificates); n > 0 {
		return s.w.certificates[n-1], nil
	}
	return s.Store.LastCertificate(ctx, connector, partition)
}

// withCertificates changes what the store holds.
func withCertificates(change func(r *rand.Rand, list []proof.Certificate) []proof.Certificate) func(*trial) (string, bool) {
	return func(w *trial) (string, bool) {
		var list []proof.Certificate
		for c, err := range w.store.Certificates(context.Background(), trialConnector) {
			if err != nil {
				w.Fatal(err)
			}
			list = append(list, c)
		}
		if len(list) < 2 {
			return "", false
		}
		w.certificates = change(w.r, slices.Clone(list))
		return "", !slices.Equal(list, w.certificates)
	}
}

func dropCertificate(r *rand.Rand, list []proof.Certificate) []proof.Certificate {
	i := r.IntN(len(list))
	return slices.Delete(list, i, i+1)
}

func repeatCertificate(r *rand.Rand, list []proof.Certificate) []proof.Certificate {
	i := r.IntN(len(list))
	return slices.Insert(list, i, list[i])
}

func cutCertificates(r *rand.Rand, list []proof.Certificate) []proof.Certificate {
	return list[:1+r.IntN(len(list)-1)]
}

func exchangeCertificates(r *rand.Rand, list []proof.Certificate) []proof.Certificate {
	i := r.IntN(len(list) - 1)
	list[i], list[i+1] = list[i+1], list[i]
	return list
}

func alterCertificate(r *rand.Rand, list []proof.Certificate) []proof.Certificate {
	c := &list[r.IntN(len(list))]
	alterations := [...]func(){
		func() { c.Read.Count++ },
		func() { c.Read.Lo++ },
		func() { c.Unchanged.Hi++ },
		func() { c.Filtered.Count++ },
		func() { c.Rejected.Count++ },
		func() { c.Pushed.Lo++ },
		func() { c.Synced.Count-- },
		func() { c.Deleted.Count++ },
		func() { c.From += "0" },
		func() { c.To += "0" },
		func() { c.Run += "0" },
		func() { c.Epoch++ },
		func() { c.Complete = !c.Complete },
		func() { c.Failure = "recoverable" },
		func() { c.Fingerprint += "0" },
		func() { c.DestinationID += "0" },
		func() { c.Mapped = !c.Mapped },
		func() { c.Checkpoint.Seq++ },
		func() { c.Checkpoint.Position += "0" },
		func() { c.Started = c.Started.Add(time.Second) },
		func() { c.Finished = c.Finished.Add(time.Second) },
		func() { c.Mode = proof.ModeFull },
		func() { c.Rule += "0" },
		func() { c.Previous = c.Hash },
	}
	alterations[r.IntN(len(alterations))]()
	return list
}

// output is the destination as the engine sees it.
type output struct{ w *trial }

func (o output) Open(ctx context.Context, name string, epoch uint64) (gapless.Session, error) {
	s, err := o.w.dest.Open(ctx, name, epoch)
	if err != nil {
		return nil, err
	}
	return trialSession{s, s.(gapless.Enumerator), o.w}, nil
}

type trialSession struct {
	gapless.Session
	gapless.Enumerator
	w *trial
}

// Get implements [gapless.Getter]: what is synced.
func (s trialSession) Get(_ context.Context, p gapless.Partition, key string) (gapless.Record, error) {
	data, there := s.w.dest.Records(trialConnector, p.Collection)[key]
	if !there {
		return gapless.Record{}, gapless.ErrNotFound
	}
	return gapless.Record{Key: key, Data: []byte(data)}, nil
}

// Push says that it took what it was given, and takes what becomes of that.
func (s trialSession) Push(ctx context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	given := &gapless.Batch{Partition: b.Partition}
	for i := range b.Rows {
		for _, c := range s.w.written.of(b.Change(i)) {
			given.Append(c)
		}
	}
	return s.Session.Push(ctx, given)
}

// input is the source as the engine sees it.
func (w *trial) input() gapless.Source {
	s := w.source.As(w.model)
	p := piped{s, w}
	switch w.model {
	case gapless.ModelModified:
		return pipedKeys{pipedChanges{p, s.(gapless.Positioner), s.(gapless.Resumer)}, s.(gapless.KeyReader), s.(gapless.Fetcher)}
	case gapless.ModelLog:
		return pipedChanges{p, s.(gapless.Positioner), s.(gapless.Resumer)}
	}
	return p
}

// piped alters what is read.
type piped struct {
	gapless.Source
	w *trial
}

func (p piped) ReadAll(ctx context.Context, of gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	return p.through(ctx, of, out, func(in *gapless.Output) error { return p.Source.ReadAll(ctx, of, after, in) })
}

// through has read emit into an output that hands on what becomes of it.
func (p piped) through(ctx context.Context, of gapless.Partition, out *gapless.Output, read func(*gapless.Output) error) error {
	in := gapless.NewOutput(ctx, of, 0, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Rows {
			for _, c := range p.w.read.of(b.Change(i)) {
				if err := out.Change(c); err != nil {
					return nil, err
				}
			}
		}
		if b.Mark != "" {
			return &gapless.Batch{}, out.Mark(b.Mark)
		}
		return &gapless.Batch{}, nil
	})
	return errors.Join(read(in), in.Flush())
}

type pipedChanges struct {
	piped
	gapless.Positioner
	gapless.Resumer
}

func (p pipedChanges) ReadChanges(ctx context.Context, of gapless.Partition, from, to gapless.Position, out *gapless.Output) error {
	return p.through(ctx, of, out, func(in *gapless.Output) error {
		return p.Source.(gapless.ChangeReader).ReadChanges(ctx, of, from, to, in)
	})
}

type pipedKeys struct {
	pipedChanges
	gapless.KeyReader
	gapless.Fetcher
}
