package pushapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// BackgroundOptions bound the queue of a [Background].
type BackgroundOptions struct {
	// Documents and Bytes are what may wait; a caller waits for room. Default
	// to 10,000 and 64 MiB. An operation larger than that waits until the
	// queue is empty.
	Documents int
	Bytes     int64
}

// Background is a filter that sends adds, updates and deletes on a goroutine of
// its own, in their order, while the caller goes on. Every other call waits
// until the queue is empty.
//
// The first error sticks: nothing more of the queue is sent, and this error is
// what that call and all later ones return.
type Background struct {
	*Filter
	parent PushAPI
	opts   BackgroundOptions
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex // guards what follows
	queue   []Operation
	count   int
	bytes   int64
	err     error
	closing bool
	changed chan struct{} // closed and replaced whenever any of these changes
}

// NewBackground returns a background filter before parent. Close ends its
// goroutine and has to be called.
func NewBackground(parent PushAPI, opts BackgroundOptions) *Background {
	opts.Documents = cmp.Or(opts.Documents, 10_000)
	opts.Bytes = cmp.Or(opts.Bytes, 64<<20)
	ctx, cancel := context.WithCancel(context.Background())
	b := &Background{parent: parent, opts: opts, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	b.Filter = NewFilter(parent, b.pass)
	go b.work(ctx)
	return b
}

func (b *Background) pass(ctx context.Context, op Operation, next func(context.Context) error) error {
	switch op.Command {
	case CommandPing:
		return next(ctx)
	case CommandAdd, CommandUpdate, CommandDelete:
		if err := op.check(); err != nil || op.size() == 0 {
			return err
		}
		return b.enqueue(ctx, op)
	case CommandClose:
		return b.finish(ctx, next)
	}
	if err := b.drain(ctx); err != nil {
		return err
	}
	return next(ctx)
}

var errBackgroundClosed = errors.New("the background filter is closed")

// wait calls ready, with the lock held, until it returns true or an error.
func (b *Background) wait(ctx context.Context, ready func() (bool, error)) error {
	for {
		b.mu.Lock()
		ok, err := ready()
		changed := b.changed
		b.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// notify wakes everybody who waits; the lock is held.
func (b *Background) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func (op *Operation) bytes() int64 {
	n := int64(0)
	for i := range op.Documents {
		n += documentSize(op.Documents[i])
	}
	for _, uri := range op.URIs {
		n += int64(len(uri))
	}
	return n
}

func (b *Background) enqueue(ctx context.Context, op Operation) error {
	op.Documents, op.URIs = slices.Clone(op.Documents), slices.Clone(op.URIs)
	size, bytes := op.size(), op.bytes()
	return b.wait(ctx, func() (bool, error) {
		switch {
		case b.err != nil:
			return false, b.err
		case b.closing:
			return false, errBackgroundClosed
		case b.count > 0 && (b.count+size > b.opts.Documents || b.bytes+bytes > b.opts.Bytes):
			return false, nil
		}
		b.queue = append(b.queue, op)
		b.count, b.bytes = b.count+size, b.bytes+bytes
		b.notify()
		return true, nil
	})
}

// drain waits until everything was sent.
func (b *Background) drain(ctx context.Context) error {
	return b.wait(ctx, func() (bool, error) { return b.count == 0, b.err })
}

// work sends the queue. An operation counts as waiting until it was sent.
func (b *Background) work(ctx context.Context) {
	defer close(b.done)
	for {
		var op Operation
		err := b.wait(ctx, func() (bool, error) {
			if len(b.queue) == 0 {
				return false, nil
			}
			op = b.queue[0]
			b.queue = slices.Delete(b.queue, 0, 1)
			return true, nil
		})
		if err == nil {
			err = op.send(ctx, b.parent)
		}
		b.mu.Lock()
		if err != nil {
			b.err = fmt.Errorf("%d documents were not sent: %w", b.count, err)
			b.queue = nil
			b.notify()
			b.mu.Unlock()
			return
		}
		b.count, b.bytes = b.count-op.size(), b.bytes-op.bytes()
		b.notify()
		b.mu.Unlock()
	}
}

// finish sends what is left, as long as ctx allows, and closes the parent.
func (b *Background) finish(ctx context.Context, next func(context.Context) error) error {
	b.mu.Lock()
	b.closing = true
	b.mu.Unlock()
	err := b.drain(ctx)
	b.mu.Lock()
	stuck := b.err
	b.mu.Unlock()
	b.cancel()
	<-b.done
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case errors.Is(stuck, errBackgroundClosed):
		err = nil // it was closed before
	case stuck != nil:
		err = stuck
	case err != nil:
		err = fmt.Errorf("%d documents were not sent: %w", b.count, err)
	}
	b.err = errBackgroundClosed
	return errors.Join(err, next(ctx))
}
