package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/state"
)

// Batches on their way between reader and pusher; with one being filled and
// one being pushed they bound the memory of a partition.
const batchesInFlight = 2

// reader reads one partition of a source on a goroutine of its own.
type reader struct {
	*run
	source    gapless.Source
	side      state.Side // that the source is; This unless there are two
	partition gapless.Partition
	// name is what the partition is called in state.
	name     string
	decision plan.Decision
	// process takes each batch, in order.
	process func(context.Context, *gapless.Batch) error
	fed     feed
}

// pump runs read on a goroutine of its own and processes what it emits.
func (r *reader) pump(ctx context.Context, read func(context.Context, *gapless.Output) error) error {
	reading, stop := context.WithCancelCause(r.reading)
	defer stop(nil)
	full := make(chan *gapless.Batch, batchesInFlight)
	free := make(chan *gapless.Batch, batchesInFlight+1)
	var readErr error
	go func() {
		defer close(full)
		readErr = r.drive(reading, full, free, read)
	}()
	var err error
	for b := range full {
		if err == nil {
			if err = r.process(ctx, b); err != nil {
				stop(err)
			}
		}
		select {
		case free <- b:
		default:
		}
	}
	switch {
	case err == nil:
		return readErr
	case readErr != nil && gapless.KindOf(readErr) == gapless.KindUnrecoverable && !errors.Is(readErr, err):
		return withSecond(err, readErr) // it had failed on its own
	}
	return err
}

// drive calls read once, with an output that feeds full. A read that ends
// after it was told to stop has not seen the end, whatever it returns.
func (r *reader) drive(ctx context.Context, full chan<- *gapless.Batch, free <-chan *gapless.Batch, read func(context.Context, *gapless.Output) error) error {
	r.fed = feed{}
	emit := func(ctx context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		r.fed.sinceMark++
		if b.Mark != "" {
			r.fed = feed{mark: b.Mark}
		}
		select {
		case full <- b:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		select {
		case empty := <-free:
			return empty, nil
		default:
			return &gapless.Batch{}, nil
		}
	}
	out := gapless.NewOutput(ctx, r.partition, r.Settings.BatchRows, r.Settings.BatchBytes, emit)
	err := read(ctx, out)
	if err == nil {
		err = out.Flush()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("read partition %s: %w", r.name, err)
	}
	return nil
}

// feed is what the reading goroutine has handed over so far.
type feed struct {
	mark      gapless.Mark
	sinceMark int // batches
}

// readSource calls the read method that the decision asks for. After a
// recoverable failure it is called again from the last mark, unless that
// would emit records of an enumeration twice.
func (r *reader) readSource(ctx context.Context, out *gapless.Output) error {
	return r.retry(ctx, &r.quiet[r.side], r.name, "read", func() error {
		discard(out)
		if r.decision.Mode == plan.ModeIncremental {
			from := r.decision.From
			if r.fed.mark != "" {
				from = gapless.Position(r.fed.mark)
			}
			return r.source.(gapless.ChangeReader).ReadChanges(ctx, r.partition, from, r.decision.To, out)
		}
		after := r.decision.Mark
		if r.fed.mark != "" {
			after = r.fed.mark
		}
		err := r.source.ReadAll(ctx, r.partition, after, out)
		if err != nil && r.fed.sinceMark > 0 {
			return &final{err}
		}
		return err
	})
}

// discard forgets what was emitted but not handed over by a failed attempt.
func discard(out *gapless.Output) {
	b := out.Batch()
	p := b.Partition
	b.Reset()
	b.Partition = p
}

// fetch reads single records. A record whose key is not known cannot be.
func (r *reader) fetch(ctx context.Context, keys []string, out *gapless.Output) error {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == "" })
	return r.retry(ctx, &r.quiet[r.side], r.name, "fetch", func() error {
		return r.source.(gapless.Fetcher).Fetch(ctx, r.partition, keys, out)
	})
}
