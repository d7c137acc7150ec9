package service

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
)

// eventOptions are what an event door needs.
type eventOptions struct {
	// Dir is the folder of the queue.
	Dir string
	// Work handles an event. It is called again after recoverable failures,
	// and at times for an event that it has handled before: whoever was
	// interrupted has to be able to go on. Cancelling ends it.
	Work func(context.Context, event.Event) error
	// Workers is how many events are handled at a time. Defaults to 1.
	Workers int
	// Admit reports whether the sender of a request may pass. Nil lets
	// everybody in.
	Admit func(*http.Request) bool
	// MaxBody bounds a request. Defaults to 16 MiB, and is [event.MaxSize] at
	// most.
	MaxBody gapless.ByteSize
	// Keep is how long an event that was handled is known. Defaults to 30 days.
	Keep time.Duration
	// GiveUp is how long an event whose handling fails is tried again before it
	// is dead. Defaults to 7 days.
	GiveUp time.Duration
	// Logger defaults to discarding.
	Logger *slog.Logger
}

// eventDoor takes CloudEvents and has them handled, each at most once by source
// and id as far as it is known. A sender's answer waits for the disk, never for
// the handling.
type eventDoor struct {
	queue   *eventQueue
	worker  *eventWorker
	admit   func(*http.Request) bool
	maxBody int64
	logger  *slog.Logger
}

// newEventDoor opens the queue. Requests are answered from then on; events are
// handled while run runs. The door has to be closed after that.
func newEventDoor(o eventOptions) (*eventDoor, error) {
	if o.Dir == "" || o.Work == nil {
		return nil, errors.New("events: a folder and work are needed")
	}
	q, err := openEventQueue(o.Dir, cmp.Or(o.Keep, 30*24*time.Hour), nil)
	if err != nil {
		return nil, gapless.Errorf(gapless.CodeStoreDamaged, o.Dir, "%w", err)
	}
	logger := cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return &eventDoor{
		queue: q, admit: o.Admit, logger: logger,
		maxBody: min(int64(cmp.Or(o.MaxBody, 16<<20)), event.MaxSize),
		worker: &eventWorker{
			queue: q, work: o.Work, logger: logger,
			giveUp: cmp.Or(o.GiveUp, 7*24*time.Hour), workers: cmp.Or(o.Workers, 1),
		},
	}, nil
}

// run handles events until the context ends. The error says why none can be
// handled any more.
func (d *eventDoor) run(ctx context.Context) error { return d.worker.run(ctx) }

// Close closes the queue, once nobody uses it.
func (d *eventDoor) Close() error { return d.queue.Close() }

// pending lists the events that wait and those that are dead, the oldest
// first.
func (d *eventDoor) pending() ([]PendingEvent, error) { return d.queue.pending() }

// requeue has a dead event handled again. The error is of
// [gapless.CodeNotFound] if there is none of that name.
func (d *eventDoor) requeue(name string) error { return d.queue.revive(name) }

// ServeHTTP takes one event, or a batch, at any path. The answer is 202 if they
// are on disk, or 200 if all of them had come before. After any other answer
// the sender has to send them again.
func (d *eventDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.admit != nil && !d.admit(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="events", charset="UTF-8"`)
		http.Error(w, "credentials are missing or wrong", http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "events are posted", http.StatusMethodNotAllowed)
		return
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		http.Error(w, "events are sent without compression", http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, d.maxBody))
	if err != nil {
		http.Error(w, err.Error(), eventStatus(err))
		return
	}
	events, err := event.FromRequest(r.Header, body)
	if err != nil {
		http.Error(w, err.Error(), eventStatus(err))
		return
	}
	stored, err := d.queue.accept(events)
	if gapless.KindOf(err) == gapless.KindRejected {
		http.Error(w, err.Error(), eventStatus(err))
		return
	}
	if err != nil {
		d.logger.Error("events were not accepted", "error", err)
		w.Header().Set("Retry-After", "60")
		http.Error(w, "the events cannot be stored now", http.StatusServiceUnavailable)
		return
	}
	if stored > 0 {
		w.WriteHeader(http.StatusAccepted)
	}
}

// eventStatus returns the status for a body that is no event.
func eventStatus(err error) int {
	_, large := errors.AsType[*http.MaxBytesError](err)
	switch {
	case large, errors.Is(err, event.ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, event.ErrMediaType):
		return http.StatusUnsupportedMediaType
	}
	return http.StatusBadRequest
}
