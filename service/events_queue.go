package service

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
)

// The folders of the queue. An event is one file, named by the hash of its
// key, in one of them; where a crash leaves it in two, done wins over dead, and
// dead over queued.
const (
	folderQueued = "queued" // to be handled; a file's time says when
	folderDone   = "done"   // empty: the event was handled
	folderDead   = "dead"   // nobody will handle it unless it is queued again
)

// eventQueue keeps events until they were handled. It answers only for what is
// on disk: an event that was accepted is handled, or dead and listed, whatever
// happens; one that was marked as done is not handled again. Only if a crash
// comes between handling and marking, it is handled twice.
//
// One process has the queue at a time. The methods may be called from any
// goroutine.
type eventQueue struct {
	disk *eventDisk
	keep time.Duration
	// locks guard the files of the names that fall on them: an event moves
	// between folders, and is looked for, under its lock.
	locks [64]sync.Mutex

	mu      sync.Mutex // guards what follows
	waiting dueHeap
	broken  error         // nobody knows what is on disk any more
	wake    chan struct{} // holds a value when there may be something to do
}

// queuedEvent is the file of an event.
type queuedEvent struct {
	// Queued is when the event came, or when somebody queued it again.
	Queued   time.Time `json:"queued"`
	Attempts int       `json:"attempts,omitempty"`
	// Failed and Reason are of the last attempt.
	Failed time.Time       `json:"failed,omitzero"`
	Reason string          `json:"reason,omitempty"`
	Event  json.RawMessage `json:"event,omitempty"`
	// Message is what came instead of an event, with its headers.
	Message []byte      `json:"message,omitempty"`
	Header  http.Header `json:"header,omitempty"`
}

// openEventQueue opens the queue of a folder. Marks of events that were handled
// are kept for a time: so long an event that is sent again is known.
func openEventQueue(dir string, keep time.Duration, watch func(diskStep, string) error) (*eventQueue, error) {
	disk, err := openEventDisk(dir, []string{folderQueued, folderDone, folderDead}, watch)
	if err != nil {
		return nil, fmt.Errorf("open the queue of events: %w", err)
	}
	q := &eventQueue{disk: disk, keep: keep, wake: make(chan struct{}, 1)}
	if err := q.resume(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the queue of events: %w", err), disk.root.Close())
	}
	return q, nil
}

// resume finishes what a crash has interrupted, and lists what waits.
func (q *eventQueue) resume() error {
	defer heap.Init(&q.waiting)
	return q.disk.list(folderQueued, func(name string, due time.Time) error {
		for _, folder := range []string{folderDone, folderDead} {
			moved, err := q.disk.has(folder, name)
			if err != nil {
				return err
			}
			if moved {
				return q.disk.remove(folderQueued, name)
			}
		}
		q.waiting = append(q.waiting, dueEvent{name: name, due: due})
		return nil
	})
}

// Close releases the folder. Nothing may be under way.
func (q *eventQueue) Close() error { return q.disk.root.Close() }

// eventName is the name of an event's file.
func eventName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// accept stores the events that are new; it returns how many. They are on disk
// then, and if there is an error those that were stored stay. The error is a
// rejection if an event cannot be stored at all.
func (q *eventQueue) accept(events []event.Event) (int, error) {
	files := make(map[string]queuedEvent, len(events))
	for i := range events {
		doc, err := events[i].Encode()
		if err != nil {
			return 0, err
		}
		files[eventName(events[i].Key())] = queuedEvent{Queued: time.Now(), Event: doc}
	}
	return q.store(folderQueued, files)
}

// bury stores a message that is no event among the dead.
func (q *eventQueue) bury(header http.Header, message []byte, reason error) error {
	now := time.Now()
	file := queuedEvent{Queued: now, Failed: now, Reason: reason.Error(), Message: message, Header: header}
	_, err := q.store(folderDead, map[string]queuedEvent{eventName("\x00" + string(message)): file})
	return err
}

// store puts files into a folder, but for those that are anywhere already.
func (q *eventQueue) store(folder string, files map[string]queuedEvent) (int, error) {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	defer q.lock(names)()
	if err := q.err(); err != nil {
		return 0, err
	}
	var failed error
	var stored []dueEvent
	for _, name := range names {
		var seen bool
		if seen, failed = q.seen(name); failed != nil {
			break
		}
		if seen {
			continue
		}
		file := files[name]
		if failed = q.put(folder, name, file, file.Queued); failed != nil {
			break
		}
		stored = append(stored, dueEvent{name: name, due: file.Queued})
	}
	if len(stored) == 0 {
		return 0, failed
	}
	if err := q.sync(folder); err != nil {
		return 0, err
	}
	if folder == folderQueued {
		q.push(stored...)
	}
	return len(stored), failed
}

// seen reports whether there is a file of that name.
func (q *eventQueue) seen(name string) (bool, error) {
	for _, folder := range []string{folderQueued, folderDone, folderDead} {
		if found, err := q.disk.has(folder, name); err != nil || found {
			return found, err
		}
	}
	return false, nil
}

func (q *eventQueue) put(folder, name string, file queuedEvent, at time.Time) error {
	var doc bytes.Buffer
	encoder := json.NewEncoder(&doc)
	encoder.SetEscapeHTML(false) // data stays as it came
	if err := encoder.Encode(file); err != nil {
		return fmt.Errorf("encode a queued event: %w", err)
	}
	return q.disk.put(folder, name, doc.Bytes(), at)
}

// sync syncs a folder. If that does not work, nobody knows what is on disk, not
// even after another try: the queue accepts and hands out nothing any more.
func (q *eventQueue) sync(folder string) error {
	err := q.disk.sync(folder)
	if err != nil {
		err = fmt.Errorf("sync the queue of events: %w", err)
		q.mu.Lock()
		q.broken = cmp.Or(q.broken, err)
		q.mu.Unlock()
		q.signal()
	}
	return err
}

// err returns why the queue stands still, or nil.
func (q *eventQueue) err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.broken
}

// lock takes the locks of names, in their order, so that nobody waits for
// each other.
func (q *eventQueue) lock(names []string) (unlock func()) {
	var taken []int
	for _, name := range names {
		if b, err := hex.DecodeString(name[:2]); err == nil {
			taken = append(taken, int(b[0])%len(q.locks))
		}
	}
	slices.Sort(taken)
	taken = slices.Compact(taken)
	for _, i := range taken {
		q.locks[i].Lock()
	}
	return func() {
		for _, i := range taken {
			q.locks[i].Unlock()
		}
	}
}

// next waits for an event that is due. It returns false when the context ends
// or the queue is broken.
func (q *eventQueue) next(ctx context.Context) (string, bool) {
	for ctx.Err() == nil {
		name, wait := q.pop(time.Now())
		if name != "" {
			return name, true
		}
		if q.err() != nil {
			q.signal() // the others, too
			return "", false
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	return "", false
}

// pop returns an event that is due, or how long there is none.
func (q *eventQueue) pop(now time.Time) (string, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	const long = time.Hour // whatever comes wakes us
	if q.broken != nil || len(q.waiting) == 0 {
		return "", long
	}
	if wait := q.waiting[0].due.Sub(now); wait > 0 {
		return "", min(wait, long)
	}
	first := heap.Pop(&q.waiting).(dueEvent)
	if len(q.waiting) > 0 {
		q.signal()
	}
	return first.name, 0
}

func (q *eventQueue) push(events ...dueEvent) {
	q.mu.Lock()
	for _, e := range events {
		heap.Push(&q.waiting, e)
	}
	q.mu.Unlock()
	q.signal()
}

func (q *eventQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // one is enough
	}
}

// load reads an event that is to be handled. If the file cannot be understood,
// the event is returned with a rejection.
func (q *eventQueue) load(name string) (queuedEvent, event.Event, error) {
	doc, err := q.disk.read(folderQueued, name)
	if err != nil {
		return queuedEvent{}, event.Event{}, fmt.Errorf("read a queued event: %w", gapless.Recoverable(err))
	}
	var file queuedEvent
	if err := json.Unmarshal(doc, &file); err != nil {
		return queuedEvent{Message: doc}, event.Event{}, gapless.Reject("", fmt.Errorf("read a queued event: %w", err))
	}
	e, err := event.Decode(file.Event)
	return file, e, err
}

// done marks an event as handled.
func (q *eventQueue) done(name string) error {
	defer q.lock([]string{name})()
	if err := q.disk.put(folderDone, name, nil, time.Now()); err != nil {
		return err
	}
	return q.leave(name, folderDone)
}

// kill moves an event among the dead.
func (q *eventQueue) kill(name string, file queuedEvent) error {
	defer q.lock([]string{name})()
	if err := q.put(folderDead, name, file, time.Now()); err != nil {
		return err
	}
	return q.leave(name, folderDead)
}

// leave removes an event from those that wait, as it is in another folder now.
// The removal need not be synced: the other folder counts.
func (q *eventQueue) leave(name, folder string) error {
	if err := q.sync(folder); err != nil {
		return err
	}
	return q.disk.remove(folderQueued, name)
}

// retry lets an event wait.
func (q *eventQueue) retry(name string, file queuedEvent, due time.Time) error {
	defer q.lock([]string{name})()
	if err := q.put(folderQueued, name, file, due); err != nil {
		return err
	}
	if err := q.sync(folderQueued); err != nil {
		return err
	}
	q.push(dueEvent{name: name, due: due})
	return nil
}

// revive queues a dead event again, as if it had come now.
func (q *eventQueue) revive(name string) error {
	missing := gapless.Errorf(gapless.CodeNotFound, name, "there is no dead event of that id")
	if len(name) != hex.EncodedLen(sha256.Size) {
		return missing
	}
	defer q.lock([]string{name})()
	doc, err := q.disk.read(folderDead, name)
	if errors.Is(err, fs.ErrNotExist) {
		return missing
	}
	if err != nil {
		return fmt.Errorf("read a dead event: %w", err)
	}
	var file queuedEvent
	if err := json.Unmarshal(doc, &file); err != nil || file.Event == nil {
		return gapless.Errorf(gapless.CodeUsage, name, "it is no event, and can only be sent again: %s", file.Reason)
	}
	now := time.Now()
	if err := q.put(folderQueued, name, queuedEvent{Queued: now, Event: file.Event}, now); err != nil {
		return err
	}
	if err := q.sync(folderQueued); err != nil {
		return err
	}
	if err := q.disk.remove(folderDead, name); err != nil {
		return err
	}
	if err := q.sync(folderDead); err != nil {
		return err
	}
	q.push(dueEvent{name: name, due: now})
	return nil
}

// prune forgets events that were handled long ago.
func (q *eventQueue) prune(now time.Time) error {
	return q.disk.list(folderDone, func(name string, at time.Time) error {
		if now.Sub(at) <= q.keep {
			return nil
		}
		return q.disk.remove(folderDone, name)
	})
}

// dueEvent is an event that waits.
type dueEvent struct {
	name string
	due  time.Time
}

// dueHeap has the event that is due first at its head.
type dueHeap []dueEvent

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(dueEvent)) }
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
