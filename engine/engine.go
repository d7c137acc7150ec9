package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/mapping"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state"
)

// Config is what one connector's runs need.
type Config struct {
	// Connector is the configured name; it scopes everything in state and at
	// the destination.
	Connector   string
	Source      gapless.Source
	Destination gapless.Destination
	// Sides are the two ends of a two-way connector; Source and Destination
	// are nil then, and so is Mapping.
	Sides []Side
	// Policy decides between the sides, the first being local; it is by our
	// own rules ([resolve.Strict]).
	Policy resolve.Policy
	// Mapping is nil if records pass unchanged.
	Mapping *mapping.Program
	Store   state.Store
	// Dir is where the connector's fingerprints are kept; created if missing.
	Dir string
	// Holder names this process to others that want the same lease. Defaults
	// to host and process id.
	Holder   string
	Settings Settings
	// Events receives progress; nil discards it. It is called from several
	// goroutines, never concurrently, and must not block for long.
	Events func(Event)
	// Now defaults to time.Now.
	Now func() time.Time
}

// Settings bound and tune a run. The zero value of a field means its default.
type Settings struct {
	// Guard stops a run before it deletes more than both bounds allow.
	GuardPercent float64 // defaults to 10
	GuardRecords int     // defaults to 20
	// SyncRecords and SyncInterval say how often a checkpoint is written while
	// reading: whichever comes first. Default to 500,000 and 5 s.
	SyncRecords  int
	SyncInterval time.Duration
	BatchRows    int // defaults to gapless.DefaultBatchRows
	BatchBytes   int // defaults to gapless.DefaultBatchBytes
	// Parallel is how many partitions are read at once. Defaults to 4.
	Parallel int
	// Attempts and MaxWait bound the retries of a recoverable failure, with
	// exponential backoff and jitter. Default to 5 and 30 s.
	Attempts int
	MaxWait  time.Duration
	// Reconcile is the period of key enumerations of sources that cannot tell
	// deletes: 0 means with every run, negative never.
	Reconcile time.Duration
	// Memory bounds what a comparison holds, in bytes. Defaults to 32 MiB.
	Memory int
	// LeaseTTL is how long a dead runner blocks others. Defaults to 30 s.
	LeaseTTL time.Duration
	// Keep is how long the destination keeps what a run replaces and deletes,
	// so that the run can be undone; it has to be a [gapless.Keeper] then. 0
	// keeps nothing.
	Keep time.Duration
	// Canaries are keys that the source has to have before anything is deleted:
	// KEY or, where there are several collections, COLLECTION/KEY.
	Canaries []string
}

func (s Settings) withDefaults() Settings {
	setDefault(&s.GuardPercent, 10)
	setDefault(&s.GuardRecords, 20)
	setDefault(&s.SyncRecords, 500_000)
	setDefault(&s.SyncInterval, 5*time.Second)
	setDefault(&s.BatchRows, gapless.DefaultBatchRows)
	setDefault(&s.BatchBytes, gapless.DefaultBatchBytes)
	setDefault(&s.Parallel, 4)
	setDefault(&s.Attempts, 5)
	setDefault(&s.MaxWait, 30*time.Second)
	setDefault(&s.Memory, 32<<20)
	setDefault(&s.LeaseTTL, 30*time.Second)
	return s
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Engine plans and runs one connector.
type Engine struct {
	Config
	resolver *resolve.Resolver // nil unless there are two sides
	events   sync.Mutex
	// step is called before and after each durable step; tests die there.
	step func(name string)
	// undigested leaves out of certificates what rows were; benchmarks measure
	// what that costs.
	undigested bool
}

// New checks the configuration and prepares the folder.
func New(c Config) (*Engine, error) {
	if c.Connector == "" || c.Store == nil || c.Dir == "" {
		return nil, errors.New("engine: connector, store and folder are all needed")
	}
	resolver, err := c.ends()
	if err != nil {
		return nil, err
	}
	c.Settings = c.Settings.withDefaults()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Holder == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown host"
		}
		c.Holder = fmt.Sprintf(holderForm, host, os.Getpid())
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create folder for fingerprints: %w", err)
	}
	e := &Engine{Config: c, resolver: resolver, step: func(string) {}}
	return e, nil
}

func (e *Engine) emit(ev Event) {
	if e.Events == nil {
		return
	}
	e.events.Lock()
	defer e.events.Unlock()
	ev.Connector, ev.Time = e.Connector, e.Now()
	e.Events(ev)
}

// lease holds the connector's lease, renews it in the background, and cancels
// the run when it is lost.
type lease struct {
	state.Lease
	engine *Engine
	cancel context.CancelCauseFunc
	done   chan struct{}
	stop   context.CancelFunc
}

// acquire takes the lease. The returned context is cancelled with the cause
// [gapless.ErrFenced] if the lease is lost.
func (e *Engine) acquire(ctx context.Context) (context.Context, *lease, error) {
	l, err := e.Store.Acquire(ctx, e.Connector, e.Holder, e.Settings.LeaseTTL, e.Now())
	if held, ok := errors.AsType[*state.HeldError](err); ok && isDead(held.Holder) {
		l, err = e.inherit(ctx, held.Holder)
	}
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	renewing, stop := context.WithCancel(ctx)
	held := &lease{Lease: l, engine: e, cancel: cancel, done: make(chan struct{}), stop: stop}
	go held.renew(renewing)
	return ctx, held, nil
}

// holderForm names a process by host and id.
const holderForm = "%s, process %d"

// isDead reports whether a holder is a process of this host that no longer
// exists. Of another host nothing is known.
func isDead(holder string) bool {
	host, err := os.Hostname()
	if err != nil {
		return false
	}
	text, ok := strings.CutPrefix(holder, fmt.Sprintf(strings.TrimSuffix(holderForm, "%d"), host))
	id, err := strconv.Atoi(text)
	if !ok || err != nil {
		return false
	}
	process, err := os.FindProcess(id)
	return err == nil && errors.Is(process.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// inherit takes the lease of a holder that has died, without waiting for it to
// expire.
func (e *Engine) inherit(ctx context.Context, holder string) (state.Lease, error) {
	c, err := e.Store.Connector(ctx, e.Connector)
	if err != nil {
		return state.Lease{}, fmt.Errorf("look up the lease: %w", err)
	}
	if c.Lease.Holder == holder {
		if err := e.Store.Release(ctx, c.Lease); err != nil && !errors.Is(err, gapless.ErrFenced) {
			return state.Lease{}, fmt.Errorf("release the lease of %s: %w", holder, err)
		}
	}
	return e.Store.Acquire(ctx, e.Connector, e.Holder, e.Settings.LeaseTTL, e.Now())
}

func (l *lease) renew(ctx context.Context) {
	defer close(l.done)
	ttl := l.engine.Settings.LeaseTTL
	tick := time.NewTicker(ttl / 3)
	defer tick.Stop()
	deadline := time.Now().Add(ttl)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := l.engine.Store.Renew(ctx, l.Lease, ttl, l.engine.Now())
		switch {
		case err == nil:
			deadline = time.Now().Add(ttl)
		case errors.Is(err, gapless.ErrFenced) || time.Now().After(deadline):
			l.cancel(fmt.Errorf("renew lease: %w", errors.Join(gapless.ErrFenced, err)))
			return
		}
	}
}

// release gives the lease back, so that the next runner need not wait for it
// to expire.
func (l *lease) release(ctx context.Context) error {
	l.stop()
	<-l.done
	defer l.cancel(nil)
	return l.engine.Store.Release(context.WithoutCancel(ctx), l.Lease)
}

func newRunID(now time.Time) string { return state.NewRunID(now, rand.Reader) }
