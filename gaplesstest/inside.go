package gaplesstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

// inside is the outside system of a destination under check, and the account
// of everything that was pushed into it.
type inside struct {
	DestinationSystem
	t       testing.TB
	breaker *Breaker
	opened  gapless.Destination
	session gapless.Session
	epoch   uint64
	account
	brief
	synced moment // what was synced last
	serial uint64 // the highest that a receipt has named
}

// partition returns the partition that a record is pushed into.
func (w *inside) partition(name string) gapless.Partition {
	_, number, _ := strings.Cut(name, "-")
	n, _ := strconv.Atoi(number) // of a name made by us
	return w.Partitions[n%len(w.Partitions)]
}

// destination returns the destination of the process at hand.
func (w *inside) destination() gapless.Destination {
	w.t.Helper()
	if w.opened == nil {
		if w.opened = w.Open(); w.opened == nil {
			w.t.Fatal("DestinationSystem.Open returned nil")
		}
	}
	return w.opened
}

// begin opens a session with the next epoch, in the process at hand.
func (w *inside) begin() {
	w.t.Helper()
	w.end()
	w.epoch++
	w.session = w.with(w.epoch)
}

func (w *inside) with(epoch uint64) gapless.Session {
	w.t.Helper()
	s, err := w.destination().Open(w.t.Context(), connectorName, epoch)
	if err != nil {
		w.t.Fatalf("open a session of epoch %d: %v", epoch, err)
	}
	return s
}

// end closes the session.
func (w *inside) end() {
	w.t.Helper()
	if w.session != nil {
		if err := w.session.Close(); err != nil {
			w.t.Errorf("close the session: %v", err)
		}
		w.session = nil
	}
}

// exit ends the process in order.
func (w *inside) exit() {
	w.t.Helper()
	w.end()
	if w.opened != nil {
		closeIt(w.t, w.opened)
		w.opened = nil
	}
}

// restart begins a session in a new process.
func (w *inside) restart() {
	w.t.Helper()
	w.exit()
	w.begin()
}

// crash loses what is not durable, and the process with it: nothing is closed.
func (w *inside) crash() {
	w.t.Helper()
	w.breaker.aside(w.Crash)
	w.session, w.opened = nil, nil
}

// puts gives records from to below to their next revisions.
func (w *inside) puts(from, to int) []edit {
	var edits []edit
	for i := from; i < to; i++ {
		edits = append(edits, w.next(name(i)))
	}
	return edits
}

// change is an edit as it is pushed.
func (w *inside) change(e edit) gapless.Change {
	if e.revision == 0 {
		return gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: w.Record(w.partition(e.name), e.name, 1).Key}}
	}
	return gapless.Change{Record: w.Record(w.partition(e.name), e.name, e.revision)}
}

// batches makes one batch for each partition.
func (w *inside) batches(edits []edit) []*gapless.Batch {
	var all []*gapless.Batch
	for _, p := range w.Partitions {
		b := &gapless.Batch{Partition: p}
		for _, e := range edits {
			if w.partition(e.name).ID == p.ID {
				b.Append(w.change(e))
			}
		}
		if b.Len() > 0 {
			all = append(all, b)
		}
	}
	return all
}

// push pushes edits, none of which may be rejected.
func (w *inside) push(edits ...edit) {
	w.t.Helper()
	for _, b := range w.batches(edits) {
		receipt, err := w.session.Push(w.t.Context(), b)
		if err != nil {
			w.t.Fatalf("Push: %v", err)
		}
		w.took(receipt)
	}
}

func (w *inside) took(receipt gapless.Receipt) {
	w.t.Helper()
	w.serial = max(w.serial, receipt.Serial)
	for _, r := range receipt.Rejected {
		w.t.Errorf("record %q was rejected: %v", r.Key, r.Err)
	}
}

// sync syncs with a checkpoint of every partition.
func (w *inside) sync() {
	w.t.Helper()
	receipt, err := w.session.Sync(w.t.Context(), w.checkpoints(w.now()))
	if err != nil {
		w.t.Fatalf("Sync: %v", err)
	}
	w.took(receipt)
	w.synced = w.now()
}

// save pushes edits and syncs.
func (w *inside) save(edits ...edit) {
	w.t.Helper()
	w.push(edits...)
	w.sync()
}

// checkpoints are those of all partitions for a moment.
func (w *inside) checkpoints(m moment) []gapless.Checkpoint {
	var all []gapless.Checkpoint
	for _, p := range w.Partitions {
		all = append(all, w.checkpoint(p, m))
	}
	return all
}

func (w *inside) checkpoint(p gapless.Partition, m moment) gapless.Checkpoint {
	return gapless.Checkpoint{
		Partition: p.ID, Position: gapless.Position(fmt.Sprintf("after %d", m)), Run: "run", Seq: uint64(m) + 1, Epoch: w.epoch,
	}
}

// status reads back what the destination holds.
func (w *inside) status() gapless.Status {
	w.t.Helper()
	st, err := w.session.Status(w.t.Context())
	if err != nil {
		w.t.Fatalf("Status: %v", err)
	}
	return st
}

// holds returns what readers see, or why nobody can tell.
func (w *inside) holds() (replica, error) {
	if w.Holds != nil {
		return w.Holds(), nil
	}
	enumerator, enumerates := w.session.(gapless.Enumerator)
	getter, gets := w.session.(gapless.Getter)
	if !enumerates || !gets {
		return nil, errBlind
	}
	r := replica{}
	for _, p := range w.Partitions {
		var keys []string
		err := enumerator.Enumerate(w.t.Context(), p, func(key, _ []byte) error {
			keys = append(keys, string(key))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("enumerate %s: %w", p.ID, err)
		}
		for _, key := range keys {
			record, err := getter.Get(w.t.Context(), p, key)
			if err != nil {
				return nil, fmt.Errorf("get %q: %w", key, err)
			}
			if name, revision := w.Read(p, gapless.Change{Record: record}); name != "" {
				r[name] = revision
			}
		}
	}
	return r, nil
}

var errBlind = errors.New("DestinationSystem.Holds is nil, and the session is not both gapless.Enumerator and gapless.Getter")

// has waits until readers see the state of a moment, or for each record a
// later one, and fails t if they do not.
func (w *inside) has(what string, since moment) {
	w.t.Helper()
	w.hasOr(what, func(r replica) []string { return w.differences(r, since, true) })
}

func (w *inside) hasOr(what string, differences func(replica) []string) {
	w.t.Helper()
	var problems []string
	var err error
	wait := lag
	if w.t.Failed() {
		wait = 0 // it has been waited for once
	}
	settles(wait, func() bool {
		var r replica
		w.breaker.aside(func() { r, err = w.holds() })
		if err == nil {
			problems = differences(r)
		}
		return err != nil || len(problems) == 0
	})
	switch {
	case errors.Is(err, errBlind):
		w.t.Skip(err.Error())
	case err != nil:
		w.t.Fatalf("%s: %v", what, err)
	case len(problems) > 0:
		w.t.Errorf("%s:\n%s", what, strings.ReplaceAll(list(problems), "was emitted", "is held"))
	}
}

// deliver opens a session and pushes and syncs edits as the engine does: what
// fails is tried again, the same batch.
func (w *inside) deliver(ctx context.Context, edits []edit) (err error) {
	w.breaker.aside(w.end)
	w.epoch++
	if w.session, err = w.destination().Open(ctx, connectorName, w.epoch); err != nil {
		w.session = nil
		return fmt.Errorf("open: %w", err)
	}
	if _, err := w.session.Status(ctx); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	for _, b := range w.batches(edits) {
		err = w.twice(ctx, func() error { return accepted(w.session.Push(ctx, b)) })
		if err != nil {
			return fmt.Errorf("push: %w", err)
		}
	}
	list := w.checkpoints(w.now())
	if err := w.twice(ctx, func() error { return accepted(w.session.Sync(ctx, list)) }); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// twice tries again what failed in a way that passes.
func (w *inside) twice(ctx context.Context, do func() error) error {
	err := do()
	again := err != nil && gapless.KindOf(err) == gapless.KindRecoverable && ctx.Err() == nil &&
		!slices.ContainsFunc([]error{gapless.ErrFenced, gapless.ErrIncarnation}, func(stop error) bool { return errors.Is(err, stop) })
	if failure, ok := errors.AsType[*gapless.Failure](err); ok && failure.Cause == gapless.CauseForbidden || failure != nil && failure.Cause == gapless.CauseAuthentication {
		again = false
	}
	if again {
		if httpx.Sleep(ctx, gapless.WaitOf(err)) == nil {
			err = do()
		}
	}
	return err
}

// accepted makes an error of a rejection.
func accepted(receipt gapless.Receipt, err error) error {
	for _, r := range receipt.Rejected {
		err = errors.Join(err, gapless.Reject(r.Key, fmt.Errorf("record %q was rejected: %w", r.Key, r.Err)))
	}
	return err
}
