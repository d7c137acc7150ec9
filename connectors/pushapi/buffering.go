package pushapi

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// BufferingOptions say when a [Buffering] sends what it holds.
type BufferingOptions struct {
	// Documents and Bytes bound what is held. Default to 1,000 and 4 MiB.
	Documents int
	Bytes     int64
	// Delay bounds how long anything is held. Defaults to 5 s.
	Delay time.Duration

	after func(d time.Duration, f func()) (stop func() bool)
}

func (o *BufferingOptions) setDefaults() {
	o.Documents = cmp.Or(o.Documents, 1000)
	o.Bytes = cmp.Or(o.Bytes, 4<<20)
	o.Delay = cmp.Or(o.Delay, 5*time.Second)
	if o.after == nil {
		o.after = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
}

// Buffering is a filter that holds adds, updates and deletes back and sends
// them as lists: when enough has gathered, after a while, and before any other
// call that they must not be overtaken by.
//
// What is held is never dropped but by Discard. If it cannot be sent, the call
// that wanted to send it returns the error, and whatever is called next tries
// again before anything else. What could not be sent after the delay is tried
// again after the next one.
type Buffering struct {
	*Filter
	parent PushAPI
	opts   BufferingOptions
	turn   chan struct{} // held by whoever uses what follows
	held   []Operation
	count  int
	bytes  int64
	stop   func() bool // of the timer; nil if none runs
	failed bool        // the last attempt to send
}

// NewBuffering returns a buffering filter before parent.
func NewBuffering(parent PushAPI, opts BufferingOptions) *Buffering {
	opts.setDefaults()
	b := &Buffering{parent: parent, opts: opts, turn: make(chan struct{}, 1)}
	b.Filter = NewFilter(parent, b.pass)
	return b
}

func (b *Buffering) enter(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *Buffering) leave() { <-b.turn }

func (b *Buffering) pass(ctx context.Context, op Operation, next func(context.Context) error) error {
	if op.Command == CommandPing {
		return next(ctx)
	}
	holdable := op.Command == CommandAdd || op.Command == CommandUpdate || op.Command == CommandDelete
	if holdable {
		if err := op.check(); err != nil || op.size() == 0 {
			return err
		}
	}
	if holdable && !readOnce(op.Documents) {
		return b.hold(ctx, op)
	}
	if err := b.Flush(ctx); err != nil {
		return err
	}
	return next(ctx)
}

// Pending returns how many documents are held.
func (b *Buffering) Pending(ctx context.Context) (int, error) {
	if err := b.enter(ctx); err != nil {
		return 0, err
	}
	defer b.leave()
	return b.count, nil
}

// Discard drops what is held and returns how many documents that were. It is
// what to do after [ErrSessionMismatch], before everything is pushed again
// from the last checkpoint.
func (b *Buffering) Discard(ctx context.Context) (int, error) {
	if err := b.enter(ctx); err != nil {
		return 0, err
	}
	defer b.leave()
	n := b.count
	b.drop()
	return n, nil
}

// Flush sends what is held.
func (b *Buffering) Flush(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	return b.flush(ctx)
}

func (b *Buffering) hold(ctx context.Context, op Operation) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	if b.failed || b.full() {
		if err := b.flush(ctx); err != nil {
			return err // op is not held
		}
	}
	op.Documents, op.URIs = slices.Clone(op.Documents), slices.Clone(op.URIs)
	b.held = append(b.held, op)
	b.count += op.size()
	b.bytes += op.bytes()
	if b.full() {
		return b.flush(ctx)
	}
	if b.stop == nil {
		b.stop = b.opts.after(b.opts.Delay, b.expire)
	}
	return nil
}

func (b *Buffering) full() bool { return b.count >= b.opts.Documents || b.bytes >= b.opts.Bytes }

// expire sends what is held when the delay is over.
func (b *Buffering) expire() {
	b.turn <- struct{}{}
	defer b.leave()
	b.stop = nil
	if b.flush(context.Background()) != nil {
		b.stop = b.opts.after(b.opts.Delay, b.expire)
	}
}

// flush sends what is held, runs of one kind as one list. What was sent is no
// longer held, even if the next run fails.
func (b *Buffering) flush(ctx context.Context) error {
	for len(b.held) > 0 {
		run, n := b.run()
		if err := run.send(ctx, b.parent); err != nil {
			b.failed = true
			return fmt.Errorf("%d documents are held back: %w", b.count, err)
		}
		b.held = b.held[n:]
		b.count, b.bytes = b.count-run.size(), b.bytes-run.bytes()
	}
	b.drop()
	return nil
}

func (b *Buffering) drop() {
	if b.stop != nil {
		b.stop()
	}
	b.held, b.count, b.bytes, b.stop, b.failed = nil, 0, 0, nil, false
}

// run joins the first operations that are of one kind, and returns how many.
func (b *Buffering) run() (Operation, int) {
	joined, n := b.held[0], 1
	joined.Documents, joined.URIs = slices.Clone(joined.Documents), slices.Clone(joined.URIs)
	for n < len(b.held) && b.held[n].Command == joined.Command && slices.Equal(b.held[n].Fields, joined.Fields) {
		joined.Documents = append(joined.Documents, b.held[n].Documents...)
		joined.URIs = append(joined.URIs, b.held[n].URIs...)
		n++
	}
	return joined, n
}
