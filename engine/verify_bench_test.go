package engine_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// BenchmarkRepair finds and repairs 0.01 % of drift between two hubs, and says
// how much it reads and how long it takes in percent of a full run. The first
// verification after a full run has the hubs sum up what was written, which is
// told apart.
func BenchmarkRepair(b *testing.B) {
	for _, records := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(records), func(b *testing.B) {
			if testing.Short() && records > 100_000 {
				b.Skip("fills two hubs with a million records each")
			}
			d := newDrifting(b, records)
			full := d.run(engine.RunOptions{Full: true})
			first, err := d.engine.Verify(b.Context(), engine.VerifyOptions{})
			if err != nil {
				b.Fatal(err)
			}
			var bytes uint64
			var repairs time.Duration
			b.ResetTimer()
			for round := range b.N {
				b.StopTimer()
				d.drift(round, records/10_000)
				b.StartTimer()
				started := time.Now()
				r, err := d.engine.Repair(b.Context(), engine.RepairOptions{})
				repairs += time.Since(started)
				if err != nil || !r.After.OK {
					b.Fatalf("%+v: %v", r.After, err)
				}
				before, after := r.Before.Totals(), r.After.Totals()
				if before.Gaps() != uint64(records/10_000) {
					b.Fatalf("%d gaps found", before.Gaps())
				}
				bytes += before.Source.Bytes + before.Destination.Bytes + uint64(r.Run.Bytes) + after.Source.Bytes + after.Destination.Bytes
			}
			b.StopTimer()
			if r, err := d.engine.Verify(b.Context(), engine.VerifyOptions{Records: true}); err != nil {
				b.Fatalf("%+v: %v", r.Differences, err)
			}
			b.ReportMetric(100*float64(bytes)/float64(b.N)/float64(full.Bytes), "%bytes")
			b.ReportMetric(100*repairs.Seconds()/float64(b.N)/full.Seconds, "%time")
			b.ReportMetric(full.Seconds, "full-s")
			b.ReportMetric(first.Seconds, "first-verify-s")
		})
	}
}

// drifting is two hubs, one of which is kept in step with the other.
type drifting struct {
	*testing.B
	hubs   [2]*hub.Hub
	engine *engine.Engine
	store  *sqlite.Store
}

func newDrifting(b *testing.B, records int) *drifting {
	b.Helper()
	d := &drifting{B: b}
	var err error
	for i := range d.hubs {
		if d.hubs[i], err = hub.Open(b.Context(), hub.Options{Dir: filepath.Join(b.TempDir(), "hub")}); err != nil {
			b.Fatal(err)
		}
	}
	if d.store, err = sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "state")); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(d.hubs[0].Close(), d.hubs[1].Close(), d.store.Close()); err != nil {
			b.Error(err)
		}
	})
	d.push(0, "items", 1, records, func(i int) gapless.Change { return item(i, "a record of the source") })
	d.engine, err = engine.New(engine.Config{
		Connector: connector, Source: d.hubs[0].Source("items"), Destination: d.hubs[1], Store: d.store, Dir: b.TempDir(),
	})
	if err != nil {
		b.Fatal(err)
	}
	d.run(engine.RunOptions{})
	return d
}

func item(i int, text string) gapless.Change {
	return gapless.Change{Record: gapless.Record{
		Key: fmt.Sprintf("k%07d", i), Version: "1",
		Data: fmt.Appendf(nil, `{"n":%d,"text":%q,"tags":["one","two","three"],"size":%d,"owner":"nobody in particular"}`, i, text, i*31),
	}}
}

// push gives a hub n records.
func (d *drifting) push(to int, name string, epoch uint64, n int, change func(i int) gapless.Change) {
	d.Helper()
	s, err := d.hubs[to].Open(context.Background(), name, epoch)
	if err != nil {
		d.Fatal(err)
	}
	batch := &gapless.Batch{}
	for i := range n {
		if i%10_000 == 0 {
			if batch.Len() > 0 {
				if _, err := s.Push(context.Background(), batch); err != nil {
					d.Fatal(err)
				}
			}
			batch.Reset()
			batch.Partition = gapless.Partition{ID: "r", Collection: "r"}
		}
		batch.Append(change(i))
	}
	if _, err := s.Push(context.Background(), batch); err != nil {
		d.Fatal(err)
	}
	if _, err := s.Sync(context.Background(), nil); err != nil {
		d.Fatal(err)
	}
	if err := s.Close(); err != nil {
		d.Fatal(err)
	}
}

// drift changes, loses and adds records at the destination, all over the keys.
func (d *drifting) drift(round, n int) {
	d.Helper()
	c, err := d.store.Connector(context.Background(), connector)
	if err != nil {
		d.Fatal(err)
	}
	d.push(1, connector, c.Epoch, n, func(i int) gapless.Change {
		at := i*10_000 + round%10_000
		switch i % 3 {
		case 0:
			return item(at, "altered")
		case 1:
			return lose(fmt.Sprintf("k%07d", at))
		}
		return alter(fmt.Sprintf("k%07d-extra", at), `{}`)
	})
}

func (d *drifting) run(o engine.RunOptions) engine.Summary {
	d.Helper()
	s, err := d.engine.Run(context.Background(), o)
	if err != nil {
		d.Fatal(err)
	}
	return s
}
