package service

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/mapping"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// Kinds are the connectors that a configuration can name, and the pool of hubs
// that the built-in one opens; package catalog has both.
type Kinds struct {
	Connectors []gapless.Connector
	Hubs       *hub.Pool
}

func (k Kinds) find(name string) (gapless.Connector, error) {
	for _, c := range k.Connectors {
		if c.Name == name {
			return c, nil
		}
	}
	return gapless.Connector{}, gapless.Errorf(gapless.CodeUnknownKind, name, "there is no connector of that name")
}

// Project is a configuration with its state open. It owns the hub as soon as
// anything uses it. Its methods may be called from any goroutine.
type Project struct {
	Config *config.Config
	Store  state.Store
	kinds  Kinds
	// observe sees the events of every run, besides whoever runs it.
	observe func(engine.Event)
	// queue returns the daemon's queue of events, nil if it takes none.
	queue func() *eventQueue
}

// OpenProject opens the state of a configuration.
func OpenProject(ctx context.Context, c *config.Config, kinds Kinds) (*Project, error) {
	store, err := sqlite.Open(ctx, c.State)
	if err != nil {
		return nil, err
	}
	return &Project{Config: c, Store: store, kinds: kinds}, nil
}

// With returns the same project under a newly read configuration. Only the
// original is closed.
func (p *Project) With(c *config.Config) (*Project, error) {
	if c.State != p.Config.State {
		return nil, gapless.Errorf(gapless.CodeUsage, c.File, "its state is kept in %s, but the daemon owns %s", c.State, p.Config.State)
	}
	again := *p
	again.Config = c
	return &again, nil
}

// Close closes the stores.
func (p *Project) Close() error {
	return errors.Join(p.kinds.Hubs.Close(), p.Store.Close())
}

// Now returns the time of day.
func (p *Project) Now() time.Time { return time.Now() }

// Engine opens the ends of a connector for runs: a source and a destination, or
// both of each side. events may be nil. The function closes them again.
func (p *Project) Engine(ctx context.Context, c config.Connector, events func(engine.Event)) (*engine.Engine, func() error, error) {
	program, err := mapping.Compile(c.Mapping)
	if err != nil {
		return nil, nil, gapless.Errorf(gapless.CodeConfig, c.Name, "compile the mapping: %w", gapless.Misconfigured(err))
	}
	o := opening{ctx: ctx, project: p, connector: c.Name}
	conf := engine.Config{
		Connector: c.Name, Store: p.Store, Dir: filepath.Join(p.Config.State, "fingerprints", c.Name),
		Settings: settings(c), Events: p.events(events),
	}
	if two := c.Between; two != nil {
		conf.Policy = two.Policy
		for _, s := range two.Sides {
			conf.Sides = append(conf.Sides, engine.Side{Name: s.Kind, Source: o.source(s.Source), Destination: o.destination(s.Destination)})
		}
	} else {
		conf.Source, conf.Destination, conf.Mapping = o.source(c.From), o.destination(c.To), program
	}
	if o.err != nil {
		return nil, nil, errors.Join(o.err, o.close())
	}
	e, err := engine.New(conf)
	if err != nil {
		return nil, nil, errors.Join(err, o.close())
	}
	return e, o.close, nil
}

// Destination opens the destination of a connector alone.
func (p *Project) Destination(ctx context.Context, c config.Connector) (gapless.Destination, func() error, error) {
	o := opening{ctx: ctx, project: p, connector: c.Name}
	d := o.destination(c.To)
	return d, o.close, o.err
}

// opening opens one end after the other until one fails.
type opening struct {
	ctx       context.Context //nolint:containedctx // lives as long as one call
	project   *Project
	connector string
	err       error
	closers   []func() error
}

func (o *opening) source(at config.Endpoint) gapless.Source {
	return openEnd(o, "source", at, func(k gapless.Connector) *gapless.Opener[gapless.Source] { return k.Source })
}

func (o *opening) destination(at config.Endpoint) gapless.Destination {
	return openEnd(o, "destination", at, func(k gapless.Connector) *gapless.Opener[gapless.Destination] { return k.Destination })
}

// close closes what was opened, the last first.
func (o *opening) close() error {
	var errs []error
	for _, closer := range slices.Backward(o.closers) {
		errs = append(errs, closer())
	}
	o.closers = nil
	return errors.Join(errs...)
}

func openEnd[T any](o *opening, role string, at config.Endpoint, opener func(gapless.Connector) *gapless.Opener[T]) (opened T) {
	if o.err != nil {
		return opened
	}
	kind, err := o.project.kinds.find(at.Kind)
	if err != nil {
		o.err = err
		return opened
	}
	open := opener(kind)
	if open == nil {
		o.err = gapless.Errorf(gapless.CodeConfig, o.connector, "%s cannot be a %s", at.Kind, role)
		return opened
	}
	if opened, err = open.Open(o.ctx, at.Options, o.project.Config.Env(o.connector)); err != nil {
		o.err = fmt.Errorf("%s: open the %s: %w", o.connector, role, err)
		return opened
	}
	if c, ok := any(opened).(gapless.Closer); ok {
		o.closers = append(o.closers, c.Close)
	}
	return opened
}

func (p *Project) events(mine func(engine.Event)) func(engine.Event) {
	switch {
	case p.observe == nil:
		return mine
	case mine == nil:
		return p.observe
	}
	return func(e engine.Event) {
		p.observe(e)
		mine(e)
	}
}

func settings(c config.Connector) engine.Settings {
	return engine.Settings{
		GuardPercent: c.Deletes.MaxPercent, GuardRecords: c.Deletes.MaxRecords,
		Keep: c.Deletes.Keep, Canaries: c.Deletes.Canary,
		SyncRecords: c.Sync.EveryRecords, SyncInterval: c.Sync.Every,
		BatchRows: c.Batch.Rows, BatchBytes: int(c.Batch.Size),
		Parallel: c.Parallel, Attempts: c.Retry.Attempts, MaxWait: c.Retry.MaxWait,
		Reconcile: c.Reconcile,
	}
}
