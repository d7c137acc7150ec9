package pushapi

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gapless-sync/gapless/httpx"
)

// writes reports whether an operation changes something at the server.
func (op *Operation) writes() bool {
	return slices.Contains(Commands(), op.Command) && !op.Command.Reads()
}

// DryRun is a filter that sends reads and no writes, and counts those.
type DryRun struct {
	*Filter
	mu     sync.Mutex // guards counts
	counts map[Command]int
}

// NewDryRun returns a filter before parent that sends no writes. They are
// checked as far as that is possible on this side and succeed; SetCheckpoint
// returns serial 0.
func NewDryRun(parent PushAPI) *DryRun {
	d := &DryRun{counts: map[Command]int{}}
	d.Filter = NewFilter(parent, d.pass)
	return d
}

func (d *DryRun) pass(ctx context.Context, op Operation, next func(context.Context) error) error {
	if !op.writes() {
		return next(ctx)
	}
	if err := op.check(); err != nil {
		return err
	}
	n := 1
	if op.Command == CommandAdd || op.Command == CommandUpdate || op.Command == CommandDelete {
		n = op.size()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[op.Command] += n
	return nil
}

// Suppressed returns how many documents would have been added, updated and
// deleted, and how many calls of other commands would have been made.
func (d *DryRun) Suppressed() map[Command]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.counts)
}

// check returns the first mistake that can be seen without a server.
func (op *Operation) check() error {
	if err := validate(op.Command, op.Documents); err != nil {
		return err
	}
	for _, uri := range op.URIs {
		if err := checkURI(uri); err != nil {
			return located(op.Command, err)
		}
	}
	if op.Command == CommandDeletePrefix {
		return checkPrefix(op.Path)
	}
	return nil
}

// NewTrace returns a filter before parent that writes a line to log for every
// call, with its arguments, what became of it and how long it took, the
// caller's own time within an enumeration included. At level debug there is
// a line for each document too: names and sizes, never contents or values.
func NewTrace(parent PushAPI, log *slog.Logger) *Filter {
	return NewFilter(parent, func(ctx context.Context, op Operation, next func(context.Context) error) error {
		for i := range op.Documents {
			traceDocument(ctx, log, op.Command, &op.Documents[i])
		}
		began := time.Now()
		err := next(ctx)
		attrs := append(op.attrs(), slog.Duration("took", time.Since(began)))
		level := slog.LevelInfo
		if err != nil {
			level, attrs = slog.LevelWarn, append(attrs, slog.Any("error", err))
		}
		log.LogAttrs(ctx, level, string(op.Command), attrs...)
		return err
	})
}

// attrs returns the arguments of an operation.
func (op *Operation) attrs() []slog.Attr {
	var attrs []slog.Attr
	if n := op.size(); n > 0 {
		attrs = append(attrs, slog.Int("documents", n))
	}
	if len(op.URIs) > 0 {
		attrs = append(attrs, slog.String("first", clip(op.URIs[0])))
	}
	switch op.Command {
	case CommandDeleteRootPath:
		attrs = append(attrs, slog.String("path", op.Path), slog.Bool("recursive", op.Recursive))
	case CommandDeletePrefix:
		attrs = append(attrs, slog.String("prefix", op.Path))
	case CommandEnumerate, CommandCount:
		attrs = append(attrs, slog.String("path", op.Path), slog.String("mode", op.Mode.String()))
	case CommandSetCheckpoint:
		attrs = append(attrs, slog.String("name", op.Checkpoint.Name), slog.Int("bytes", len(op.Checkpoint.Value)), slog.Bool("sync", op.Sync))
	case CommandGetCheckpoint:
		attrs = append(attrs, slog.String("name", op.Checkpoint.Name), slog.Bool("pushed", op.Pushed))
	case CommandCheckpoints:
		attrs = append(attrs, slog.Bool("pushed", op.Pushed))
	case CommandSearchable:
		attrs = append(attrs, slog.Uint64("serial", op.Serial))
	}
	return attrs
}

func traceDocument(ctx context.Context, log *slog.Logger, command Command, d *Document) {
	if !log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	var metas, parts []string
	for _, m := range d.Metas {
		metas = append(metas, m.Name)
	}
	bytes := int64(0)
	for i := range d.Parts {
		parts = append(parts, d.Parts[i].name())
		bytes += max(0, d.Parts[i].Size)
	}
	log.LogAttrs(ctx, slog.LevelDebug, string(command)+" document", slog.String("uri", d.URI), slog.String("stamp", d.Stamp),
		slog.Any("metas", metas), slog.Any("parts", parts), slog.Int64("bytes", bytes))
}

// rateLimit lets so many documents per second pass in the long run.
type rateLimit struct {
	interval time.Duration // per document
	burst    time.Duration // how far documents may be ahead of their time
	now      func() time.Time
	sleep    func(ctx context.Context, d time.Duration) error

	mu  sync.Mutex // guards due
	due time.Time  // when the documents sent so far would have been at the rate
}

// NewRateLimit returns a filter before parent that waits, before documents are
// added, updated, deleted or asked for, until they keep to perSecond on
// average. burst documents may come at once. Both are at least 1; every other
// call passes freely.
func NewRateLimit(parent PushAPI, perSecond float64, burst int) *Filter {
	interval := time.Duration(float64(time.Second) / max(perSecond, 1))
	r := &rateLimit{interval: interval, burst: time.Duration(max(burst, 1)) * interval, now: time.Now, sleep: httpx.Sleep}
	return NewFilter(parent, r.pass)
}

func (r *rateLimit) pass(ctx context.Context, op Operation, next func(context.Context) error) error {
	if wait := r.take(op.size()); wait > 0 {
		if err := r.sleep(ctx, wait); err != nil {
			return err
		}
	}
	return next(ctx)
}

// take reserves n documents and returns how long to wait before they go.
func (r *rateLimit) take(n int) time.Duration {
	if n == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.due.Before(now) {
		r.due = now
	}
	r.due = r.due.Add(time.Duration(n) * r.interval)
	return r.due.Sub(now) - r.burst
}
