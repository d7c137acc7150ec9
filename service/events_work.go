package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
)

// Waits of events that could not be handled, which double from the first to the
// longest.
const (
	firstEventWait   = 2 * time.Second
	longestEventWait = time.Hour
	pruneInterval    = time.Hour
)

// eventWorker hands the events of a queue to a function.
type eventWorker struct {
	queue *eventQueue
	work  func(context.Context, event.Event) error
	// giveUp is how long a recoverable failure is tried again.
	giveUp  time.Duration
	workers int
	logger  *slog.Logger
}

// run handles events until the context ends, and returns when nobody is at
// work any more. Events under way are handled again next time, unless work
// completes them. The error says why the queue stands still.
func (w *eventWorker) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	for range w.workers {
		running.Go(func() {
			defer cancel() // nobody goes on alone
			for {
				name, ok := w.queue.next(ctx)
				if !ok {
					return
				}
				w.handle(ctx, name)
			}
		})
	}
	running.Go(func() { w.prune(ctx) })
	running.Wait()
	return w.queue.err()
}

// prune forgets old events now and then.
func (w *eventWorker) prune(ctx context.Context) {
	tick := time.NewTicker(pruneInterval)
	defer tick.Stop()
	for {
		if err := w.queue.prune(time.Now()); err != nil {
			w.logger.Warn("old events stay", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// handle hands one event to work, and notes what came of it.
func (w *eventWorker) handle(ctx context.Context, name string) {
	file, e, err := w.queue.load(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.logger.Error("a queued event was taken away", "event", name)
		return
	case gapless.KindOf(err) == gapless.KindRecoverable: // the disk is to blame
		w.note(name, err)
		return
	case err == nil:
		err = recovering(w.work)(ctx, e)
	}
	switch {
	case err == nil:
		w.note(name, w.queue.done(name))
	case ctx.Err() != nil: // it was interrupted, and is the first of the next run
		w.queue.push(dueEvent{name: name, due: file.Queued})
	default:
		w.fail(name, file, err)
	}
}

// fail lets an event wait, or gives it up.
func (w *eventWorker) fail(name string, file queuedEvent, err error) {
	file.Failed, file.Reason, file.Attempts = time.Now(), err.Error(), file.Attempts+1
	log := w.logger.With("event", name, "attempt", file.Attempts, "error", err)
	if gapless.KindOf(err) == gapless.KindRecoverable && file.Failed.Sub(file.Queued) < w.giveUp {
		wait := eventWait(file.Attempts)
		log.Warn("an event waits", "wait", wait)
		w.note(name, w.queue.retry(name, file, file.Failed.Add(wait)))
		return
	}
	log.Error("an event is dead")
	w.note(name, w.queue.kill(name, file))
}

// note reports that the queue could not be written, which is no reason to lose
// an event: it comes again.
func (w *eventWorker) note(name string, err error) {
	if err != nil {
		w.logger.Error("an event will be handled again", "event", name, "error", err)
		w.queue.push(dueEvent{name: name, due: time.Now().Add(eventWait(8))})
	}
}

// eventWait returns the wait after the given number of attempts: random, so
// that events which failed together do not come again together.
func eventWait(attempts int) time.Duration {
	wait := longestEventWait
	if shift := attempts - 1; shift < 16 {
		wait = min(wait, firstEventWait<<shift)
	}
	return wait/2 + rand.N(wait/2)
}

// recovering turns a panic of work into a failure of that event alone.
func recovering(work func(context.Context, event.Event) error) func(context.Context, event.Event) error {
	return func(ctx context.Context, e event.Event) (err error) {
		defer func() {
			if cause := recover(); cause != nil {
				err = gapless.Unrecoverable(fmt.Errorf("handling it broke down: %v\n%s", cause, debug.Stack()))
			}
		}()
		return work(ctx, e)
	}
}

// PendingEvent is an event that was received and not handled yet.
type PendingEvent struct {
	// Name identifies it in this service.
	Name string `json:"name"`
	// Source, ID and Type are the event's own; empty for a message that was no
	// event.
	Source string `json:"source,omitempty"`
	ID     string `json:"id,omitempty"`
	Type   string `json:"type,omitempty"`
	// Dead events are not handled unless they are queued again.
	Dead bool `json:"dead"`
	// Queued is when it came, or was queued again.
	Queued   time.Time `json:"queued"`
	Attempts int       `json:"attempts"`
	// Failed and Reason are of the last attempt, if there was one.
	Failed time.Time `json:"failed,omitzero"`
	Reason string    `json:"reason,omitempty"`
}

// pending lists the events that wait and those that are dead, the oldest
// first.
func (q *eventQueue) pending() ([]PendingEvent, error) {
	var list []PendingEvent
	for _, folder := range []string{folderQueued, folderDead} {
		err := q.disk.list(folder, func(name string, _ time.Time) error {
			doc, err := q.disk.read(folder, name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it was handled in the meantime
			}
			if err != nil {
				return err
			}
			list = append(list, pendingEvent(name, doc, folder == folderDead))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list the events: %w", err)
		}
	}
	slices.SortStableFunc(list, func(a, b PendingEvent) int { return a.Queued.Compare(b.Queued) })
	return list, nil
}

func pendingEvent(name string, doc []byte, dead bool) PendingEvent {
	var file queuedEvent
	p := PendingEvent{Name: name, Dead: dead}
	if err := json.Unmarshal(doc, &file); err != nil {
		p.Reason = "its file cannot be read: " + err.Error()
		return p
	}
	p.Queued, p.Attempts, p.Failed, p.Reason = file.Queued, file.Attempts, file.Failed, file.Reason
	if e, err := event.Decode(file.Event); err == nil {
		p.Source, p.ID, p.Type = e.Source, e.ID, e.Type
	}
	return p
}
