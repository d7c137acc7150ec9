package engine_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/mapping"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// back is a destination whose sessions can read back as much as is asked for.
type back struct {
	*gaplesstest.Destination
	how string // "versions", "records", "contents", "nothing"
}

type backSession struct {
	gapless.Session
	d *gaplesstest.Destination
}

func (s backSession) all(p gapless.Partition) map[string]gapless.Record {
	records := map[string]gapless.Record{}
	for key, data := range s.d.Records(connector, p.Collection) {
		records[key] = gapless.Record{Key: key, Data: []byte(data)}
	}
	_ = s.Session.(gapless.Enumerator).Enumerate(context.Background(), p, func(key, version []byte) error {
		r := records[string(key)]
		r.Version = string(version)
		records[string(key)] = r
		return nil
	})
	return records
}

type nothingSession struct{ gapless.Session }

type versionsSession struct{ backSession }

func (s versionsSession) Enumerate(ctx context.Context, p gapless.Partition, fn func(key, version []byte) error) error {
	return s.Session.(gapless.Enumerator).Enumerate(ctx, p, fn)
}

type recordsSession struct{ versionsSession }

func (s recordsSession) Get(_ context.Context, p gapless.Partition, key string) (gapless.Record, error) {
	r, ok := s.all(p)[key]
	if !ok {
		return r, gapless.ErrNotFound
	}
	return r, nil
}

// contentsSession sums up, too.
type contentsSession struct{ recordsSession }

func (s contentsSession) Split(_ context.Context, p gapless.Partition, r gapless.KeyRange, n int) ([]string, error) {
	return split(s.all(p), r, n), nil
}

func (s contentsSession) Sum(_ context.Context, p gapless.Partition, r gapless.KeyRange, cuts []string) ([]gapless.RangeSum, error) {
	return sums(s.all(p), r, cuts)
}

func (s contentsSession) Contents(_ context.Context, p gapless.Partition, r gapless.KeyRange, fn func(key []byte, content gapless.Hash128) error) error {
	return contents(s.all(p), r, fn)
}

func contents(records map[string]gapless.Record, r gapless.KeyRange, fn func(key []byte, content gapless.Hash128) error) error {
	for _, key := range keysOf(records) {
		if !r.Holds(key) {
			continue
		}
		if err := fn([]byte(key), proof.RecordHash([]byte(records[key].Version), records[key].Data, nil)); err != nil {
			return err
		}
	}
	return nil
}

func split(records map[string]gapless.Record, r gapless.KeyRange, n int) []string {
	var inside []string
	for _, key := range keysOf(records) {
		if r.Holds(key) && key != r.From {
			inside = append(inside, key)
		}
	}
	var cuts []string
	for i := 1; i < n && len(inside) > n; i++ {
		cuts = append(cuts, inside[i*len(inside)/n])
	}
	return slices.Compact(cuts)
}

func sums(records map[string]gapless.Record, r gapless.KeyRange, cuts []string) ([]gapless.RangeSum, error) {
	s, err := proof.NewSums(r, cuts)
	if err != nil {
		return nil, err
	}
	err = contents(records, r, func(key []byte, content gapless.Hash128) error {
		s.Add(key, content)
		return nil
	})
	return s.Ranges(), err
}

func keysOf(records map[string]gapless.Record) []string {
	keys := make([]string, 0, len(records))
	for key := range records {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func (b back) Open(ctx context.Context, name string, epoch uint64) (gapless.Session, error) {
	s, err := b.Destination.Open(ctx, name, epoch)
	if err != nil {
		return nil, err
	}
	own := versionsSession{backSession{s, b.Destination}}
	switch b.how {
	case "versions":
		return own, nil
	case "records":
		return recordsSession{own}, nil
	case "contents":
		return contentsSession{recordsSession{own}}, nil
	}
	return nothingSession{s}, nil
}

// summed is a source of model log that sums up and reads single records.
type summed struct {
	gapless.Source
	gapless.Positioner
	gapless.ChangeReader
	gapless.Fetcher
	s *gaplesstest.Source
}

func newSummed(s *gaplesstest.Source) summed {
	log, fetches := s.As(gapless.ModelLog), s.As(gapless.ModelModified)
	return summed{log, log.(gapless.Positioner), log.(gapless.ChangeReader), fetches.(gapless.Fetcher), s}
}

func (s summed) all(p gapless.Partition) map[string]gapless.Record {
	records := map[string]gapless.Record{}
	out := gapless.NewOutput(context.Background(), p, 1<<20, 1<<30, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Rows {
			c := b.Change(i)
			records[c.Key] = c.Record
		}
		return &gapless.Batch{}, nil
	})
	_ = errors.Join(s.ReadAll(context.Background(), p, "", out), out.Flush())
	return records
}

func (s summed) Split(_ context.Context, p gapless.Partition, r gapless.KeyRange, n int) ([]string, error) {
	return split(s.all(p), r, n), nil
}

func (s summed) Sum(_ context.Context, p gapless.Partition, r gapless.KeyRange, cuts []string) ([]gapless.RangeSum, error) {
	return sums(s.all(p), r, cuts)
}

func (s summed) Contents(_ context.Context, p gapless.Partition, r gapless.KeyRange, fn func(key []byte, content gapless.Hash128) error) error {
	return contents(s.all(p), r, fn)
}

// verifier is a world whose destination can be read back.
type verifier struct {
	*world
	how     string
	sums    bool // the source sums up
	onEvent func(engine.Event)
}

func newVerifier(t tester, model gapless.ChangeModel, how string) *verifier {
	return &verifier{world: newWorld(t, model), how: how}
}

// with opens an engine in a process of its own.
func (v *verifier) with(fn func(*engine.Engine) error) error {
	v.Helper()
	v.later(time.Hour)
	v.events = nil
	store, err := sqlite.Open(context.Background(), filepath.Join(v.dir, "state"))
	if err != nil {
		v.Fatal(err)
	}
	source := v.source.As(v.model)
	if v.sums {
		source = newSummed(v.source)
	}
	e, err := engine.New(engine.Config{
		Connector: connector, Source: source, Destination: back{v.dest, v.how}, Store: faultyStore{store, &v.state},
		Dir: filepath.Join(v.dir, "fingerprints"), Settings: v.settings, Mapping: v.mapping,
		Now: func() time.Time { return v.later(time.Millisecond) },
		Events: func(ev engine.Event) {
			v.events = append(v.events, ev)
			if v.onEvent != nil {
				v.onEvent(ev)
			}
		},
	})
	if err != nil {
		v.Fatal(err)
	}
	err = fn(e)
	if closing := store.Close(); closing != nil {
		v.Fatal(closing)
	}
	return err
}

// tryNow is a run that may fail.
func (v *verifier) tryNow() error {
	v.Helper()
	return v.with(func(e *engine.Engine) error {
		_, err := e.Run(context.Background(), engine.RunOptions{})
		return err
	})
}

func (v *verifier) runNow() {
	v.Helper()
	if err := v.tryNow(); err != nil {
		v.Fatalf("run: %v", err)
	}
}

// synced has the first n records brought.
func (v *verifier) synced(n int) {
	v.Helper()
	v.fill(n)
	v.runNow()
}

func (v *verifier) verify(o engine.VerifyOptions) (r engine.VerifyReport, err error) {
	v.Helper()
	err = v.with(func(e *engine.Engine) error {
		var err error
		r, err = e.Verify(context.Background(), o)
		return err
	})
	return r, err
}

// plant changes the destination behind everybody's back.
func (v *verifier) plant(changes ...gapless.Change) {
	v.Helper()
	_, store := v.open()
	c, err := store.Connector(context.Background(), connector)
	if err := errors.Join(err, store.Close()); err != nil {
		v.Fatal(err)
	}
	s, err := v.dest.Open(context.Background(), connector, c.Epoch)
	if err != nil {
		v.Fatal(err)
	}
	b := &gapless.Batch{Partition: gapless.Partition{ID: "r", Collection: "r"}}
	for _, c := range changes {
		b.Append(c)
	}
	if _, err := s.Push(context.Background(), b); err != nil {
		v.Fatal(err)
	}
	if _, err := s.Sync(context.Background(), nil); err != nil {
		v.Fatal(err)
	}
}

func lose(key string) gapless.Change {
	return gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key}}
}

func alter(key, data string) gapless.Change {
	return gapless.Change{Record: gapless.Record{Key: key, Version: "altered", Data: []byte(data)}}
}

// named lists differences as key, kind and whether they are pending.
func named(list []engine.Difference) string {
	var texts []string
	for _, d := range list {
		text := d.Key + " " + string(d.Kind)
		if d.Pending {
			text += " pending"
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// everyWay runs a test in each kind of world that can be verified.
func everyWay(t *testing.T, test func(t *testing.T, v *verifier)) {
	t.Helper()
	for _, way := range []struct {
		name  string
		model gapless.ChangeModel
		how   string
		sums  bool
	}{
		{"ranges", gapless.ModelLog, "contents", true},
		{"log, contents", gapless.ModelLog, "contents", false},
		{"log, records", gapless.ModelLog, "records", false},
		{"log, versions", gapless.ModelLog, "versions", false},
		{"modified, contents", gapless.ModelModified, "contents", false},
		{"modified, records", gapless.ModelModified, "records", false},
		{"modified, versions", gapless.ModelModified, "versions", false},
		{"full, contents", gapless.ModelFull, "contents", false},
		{"full, records", gapless.ModelFull, "records", false},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			v := newVerifier(t, way.model, way.how)
			v.sums = way.sums
			test(t, v)
		})
	}
}

// Every kind of drift is found and named by every method, and nothing else.
func TestVerifyNamesDrift(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, v *verifier) {
		v.synced(40)
		r, err := v.verify(engine.VerifyOptions{})
		if err != nil || !r.OK || !r.Complete || len(r.Differences) > 0 {
			t.Fatalf("in step: %v, %+v", err, r)
		}
		v.plant(lose("k0003"), alter("k0017", `{"n":"other"}`), alter("zzz", `{}`))
		before := v.dest.Records(connector, "r")
		r, err = v.verify(engine.VerifyOptions{})
		if got := gapless.ExitCode(err); got != gapless.ExitUnrecoverable || r.Exit != got || r.OK {
			t.Errorf("exit %d: %v", got, err)
		}
		if diff := cmp.Diff("k0003 missing, k0017 differs, zzz extra", named(r.Differences)); diff != "" {
			t.Error(diff)
		}
		if p := r.Partitions[0]; p.Missing != 1 || p.Differs != 1 || p.Extra != 1 || p.Source.Records == 0 || p.Destination.Records == 0 || p.Destination.Bytes == 0 {
			t.Errorf("account: %+v", p)
		}
		if diff := cmp.Diff(before, v.dest.Records(connector, "r")); diff != "" {
			t.Errorf("verifying wrote something:\n%s", diff)
		}
		told := 0
		for _, e := range v.events {
			if e.Type == engine.EventDifference {
				told++
			}
		}
		if last := v.events[len(v.events)-1]; told != 3 || last.Type != engine.EventVerified {
			t.Errorf("%d differences told, last event %s", told, last.Type)
		}
	})
}

// What the source changed since the checkpoint comes with the next run and is
// no gap, whatever else is wrong.
func TestVerifyTellsPendingFromGaps(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, v *verifier) {
		v.synced(20)
		v.source.Put("r", "k0001", `{"n":"new"}`)
		v.source.Put("r", "new", `{}`)
		v.source.Remove("r", "k0002")
		r, err := v.verify(engine.VerifyOptions{})
		if err != nil {
			t.Errorf("only pending: %v", err)
		}
		if diff := cmp.Diff("k0001 differs pending, k0002 extra pending, new missing pending", named(r.Differences)); diff != "" {
			t.Error(diff)
		}
		v.plant(lose("k0005"), alter("k0006", `{}`))
		r, err = v.verify(engine.VerifyOptions{})
		if gapless.ExitCode(err) != gapless.ExitUnrecoverable {
			t.Errorf("with gaps: %v", err)
		}
		want := "k0001 differs pending, k0002 extra pending, k0005 missing, k0006 differs, new missing pending"
		if diff := cmp.Diff(want, named(r.Differences)); diff != "" {
			t.Error(diff)
		}
		if p := r.Partitions[0]; p.Pending != 3 || p.Gaps() != 2 {
			t.Errorf("account: %+v", p)
		}
	})
}

// Of a source that was found to be where the destination is, nothing is
// pending, not even what has slipped in behind its log.
func TestVerifyFindsWhatSlippedIn(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelLog, "contents")
	v.synced(10)
	v.source.Slip("r", "k0004", `{"late":true}`)
	r, err := v.verify(engine.VerifyOptions{})
	if gapless.ExitCode(err) != gapless.ExitUnrecoverable || named(r.Differences) != "k0004 differs" {
		t.Errorf("%s: %v", named(r.Differences), err)
	}
}

// Dead letters explain a difference; it is no gap, and nothing is in order.
func TestVerifyExplainsByDeadLetters(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, v *verifier) {
		v.fill(6)
		v.source.Put("r", "bad", `{"x":"refuse"}`)
		err := v.tryNow()
		if got := gapless.ExitCode(err); got != 55 {
			t.Fatalf("run: %v", err)
		}
		r, err := v.verify(engine.VerifyOptions{})
		if got := gapless.ExitCode(err); got != 55 || named(r.Differences) != "bad rejected" || r.OK {
			t.Errorf("exit %d, %s: %v", got, named(r.Differences), err)
		}
	})
}

// A record that the source cannot name may be any that is extra: that is said.
func TestVerifyWithUnnamedRecords(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelFull, "contents")
	v.synced(6)
	v.plant(alter("extra", `{}`))
	v.source.Garble("r", "k0002")
	v.source.Forbid("r", "k0003")
	r, err := v.verify(engine.VerifyOptions{})
	if got := gapless.ExitCode(err); got != 55 || named(r.Differences) != "k0003 rejected" || r.Partitions[0].ExtraUnknown == "" || r.OK {
		t.Errorf("exit %d, %s, %+v: %v", got, named(r.Differences), r.Partitions[0], err)
	}
}

// An enumeration that fails tells nothing about what is extra.
func TestVerifyWithFailingSource(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelFull, "contents")
	v.synced(6)
	v.plant(alter("extra", `{}`), lose("k0000"))
	v.source.Faults.Set(failing("end", 0, errors.New("the listing broke off")))
	r, err := v.verify(engine.VerifyOptions{})
	if err == nil || r.Complete || r.OK || strings.Contains(named(r.Differences), "extra") {
		t.Errorf("%s: %v", named(r.Differences), err)
	}
	if p := r.Partitions[0]; p.Complete || p.Error == "" {
		t.Errorf("account: %+v", p)
	}
}

// Filtered records are expected to be absent, mapped ones to be mapped.
func TestVerifyThroughMapping(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"contents", "records"} {
		v := newVerifier(t, gapless.ModelLog, how)
		v.sums = true
		program, err := mapping.Compile(mapping.Spec{Filter: "n != 3", Set: map[string]string{"kind": "'x'"}})
		if err != nil {
			t.Fatal(err)
		}
		v.mapping = program
		v.synced(8)
		r, err := v.verify(engine.VerifyOptions{})
		if err != nil || r.Partitions[0].Method != engine.MethodEnumeration {
			t.Errorf("%s: %s: %v", how, named(r.Differences), err)
		}
		v.plant(alter("k0003", `{"n":3}`), alter("k0004", `{"n":4}`))
		if r, err = v.verify(engine.VerifyOptions{}); named(r.Differences) != "k0003 extra, k0004 differs" {
			t.Errorf("%s: %s: %v", how, named(r.Differences), err)
		}
	}
}

// A destination that writes JSON its own way holds the same.
func TestVerifyComparesMeaning(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"contents", "records"} {
		v := newVerifier(t, gapless.ModelLog, how)
		v.source.Put("r", "a", `{"x":1.0,"y":[1, 2]}`)
		v.runNow()
		v.plant(gapless.Change{Record: gapless.Record{Key: "a", Version: "1", Data: []byte(`{ "y": [1,2], "x": 1 }`)}})
		if r, err := v.verify(engine.VerifyOptions{}); err != nil {
			t.Errorf("%s: %s: %v", how, named(r.Differences), err)
		}
		v.plant(gapless.Change{Record: gapless.Record{Key: "a", Version: "1", Data: []byte(`{ "y": [2,1], "x": 1 }`)}})
		if r, err := v.verify(engine.VerifyOptions{}); named(r.Differences) != "a differs" {
			t.Errorf("%s: %s: %v", how, named(r.Differences), err)
		}
	}
}

// What cannot be read back cannot be verified, and the error says so.
func TestVerifyWithoutReadingBack(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelLog, "nothing")
	v.synced(3)
	_, err := v.verify(engine.VerifyOptions{})
	e, ok := errors.AsType[*gapless.Error](err)
	if !ok || e.Code != gapless.CodeUnverifiable || gapless.ExitCode(err) != gapless.ExitUsage || e.Hint == "" {
		t.Errorf("%v", err)
	}
}

// Before the first run has come to its end there is nothing to be a gap of.
func TestVerifyBeforeTheFirstRun(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelLog, "contents")
	v.fill(3)
	r, err := v.verify(engine.VerifyOptions{})
	if gapless.ExitCode(err) != gapless.ExitRecoverable || r.Partitions[0].Pending != 3 || r.Partitions[0].Due == "" {
		t.Errorf("%+v: %v", r.Partitions, err)
	}
}

// A run that may have left a gap is no excuse for one.
func TestVerifyAfterAnUnrecoverableRun(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelLog, "contents")
	v.synced(5)
	v.plant(lose("k0003"))
	v.source.Put("r", "k0001", `{"n":"new"}`)
	v.source.Faults.Set(failing("read", 0, errors.New("broken")))
	_ = v.tryNow()
	v.source.Faults.Set(nil)
	r, err := v.verify(engine.VerifyOptions{})
	if gapless.ExitCode(err) != gapless.ExitUnrecoverable || named(r.Differences) != "k0001 differs pending, k0003 missing" {
		t.Errorf("%s: %v", named(r.Differences), err)
	}
}

// Bounds end a verification in order; the next ones go on, and what the first
// found still counts at the end.
func TestVerifyInSlices(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelLog, "contents")
	v.sums = true
	v.synced(3000)
	for _, key := range []string{"k0001", "k0700", "k1400", "k2100", "k2900"} {
		v.plant(lose(key))
	}
	var found []engine.Difference
	var r engine.VerifyReport
	slices := 0
	for ; !r.Complete && slices < 20; slices++ {
		var err error
		r, err = v.verify(engine.VerifyOptions{MaxReads: 1})
		found = append(found, r.Differences...)
		if want := gapless.ExitUnrecoverable; gapless.ExitCode(err) != want {
			t.Fatalf("slice %d: exit %d: %v", slices, gapless.ExitCode(err), err)
		}
	}
	if want := "k0001 missing, k0700 missing, k1400 missing, k2100 missing, k2900 missing"; named(found) != want {
		t.Errorf("found %s", named(found))
	}
	if slices != 5 || r.Partitions[0].Missing != 5 {
		t.Errorf("%d slices, %+v", slices, r.Partitions[0])
	}
	// The pass has come to its end: the next one begins anew.
	if r, _ = v.verify(engine.VerifyOptions{}); len(r.Differences) != 5 {
		t.Errorf("anew: %s", named(r.Differences))
	}
	// Another destination makes what was read before worthless.
	_, _ = v.verify(engine.VerifyOptions{MaxReads: 1})
	v.dest.Rename("d2")
	if r, _ = v.verify(engine.VerifyOptions{}); len(r.Differences) != 5 {
		t.Errorf("elsewhere: %s", named(r.Differences))
	}
	v.dest.Rename("d1")
	_, _ = v.verify(engine.VerifyOptions{MaxReads: 1})
	if r, _ = v.verify(engine.VerifyOptions{Restart: true}); len(r.Differences) != 5 {
		t.Errorf("restarted: %s", named(r.Differences))
	}
}

// A stop ends it in order as well, and an enumeration says that it begins anew.
func TestVerifyStops(t *testing.T) {
	t.Parallel()
	for _, sums := range []bool{true, false} {
		v := newVerifier(t, gapless.ModelLog, "contents")
		v.sums = sums
		v.synced(50)
		v.plant(lose("k0001"))
		stop := make(chan struct{})
		close(stop)
		r, err := v.verify(engine.VerifyOptions{Stop: stop})
		if !errors.Is(err, gapless.ErrInterrupted) || r.Exit != gapless.ExitInterrupted || r.Complete {
			t.Errorf("sums %t: exit %d: %v", sums, r.Exit, err)
		}
		r, err = v.verify(engine.VerifyOptions{})
		if named(r.Differences) != "k0001 missing" {
			t.Errorf("sums %t: %s: %v", sums, named(r.Differences), err)
		}
		r, err = v.verify(engine.VerifyOptions{MaxReads: 5, Records: true})
		if gapless.ExitCode(err) != gapless.ExitRecoverable || r.Complete {
			t.Errorf("sums %t: bounded: %v", sums, err)
		}
		if !strings.Contains(r.Hint, "begins r anew") {
			t.Errorf("sums %t: bounded: hint %q", sums, r.Hint)
		}
	}
}

// A run in between is noticed.
func TestVerifyNoticesARun(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, gapless.ModelLog, "contents")
	v.synced(5)
	v.plant(lose("k0001"))
	ran := false
	v.onEvent = func(ev engine.Event) {
		if ev.Type == engine.EventDifference && !ran {
			ran = true
			v.source.Put("r", "new", `{}`)
			w := &world{tester: t, source: v.source, dest: v.dest, dir: v.dir, model: v.model, settings: v.settings, now: v.later(time.Hour)}
			if _, err := w.run(engine.RunOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
	r, err := v.verify(engine.VerifyOptions{})
	if !ran || !r.Partitions[0].RunBetween || named(r.Differences) != "k0001 missing" {
		t.Errorf("ran %t, %+v: %v", ran, r.Partitions, err)
	}
}
