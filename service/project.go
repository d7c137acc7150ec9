package service

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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

// Engine opens both ends of a connector for runs. events may be nil. The
// function closes them again.
func (p *Project) Engine(ctx context.Context, c config.Connector, events func(engine.Event)) (*engine.Engine, func() error, error) {
	program, err := mapping.Compile(c.Mapping)
	if err != nil {
		return nil, nil, gapless.Errorf(gapless.CodeConfig, c.Name, "compile the mapping: %w", gapless.Misconfigured(err))
	}
	source, closeSource, err := openEnd(ctx, p, c.Name, "source", c.From, func(k gapless.Connector) *gapless.Opener[gapless.Source] { return k.Source })
	if err != nil {
		return nil, nil, err
	}
	destination, closeDestination, err := p.Destination(ctx, c)
	if err != nil {
		return nil, nil, errors.Join(err, closeSource())
	}
	closeBoth := func() error { return errors.Join(closeSource(), closeDestination()) }
	e, err := engine.New(engine.Config{
		Connector: c.Name, Source: source, Destination: destination, Mapping: program,
		Store: p.Store, Dir: filepath.Join(p.Config.State, "fingerprints", c.Name),
		Settings: settings(c), Events: p.events(events),
	})
	if err != nil {
		return nil, nil, errors.Join(err, closeBoth())
	}
	return e, closeBoth, nil
}

// Destination opens the destination of a connector alone.
func (p *Project) Destination(ctx context.Context, c config.Connector) (gapless.Destination, func() error, error) {
	return openEnd(ctx, p, c.Name, "destination", c.To, func(k gapless.Connector) *gapless.Opener[gapless.Destination] { return k.Destination })
}

func openEnd[T any](
	ctx context.Context, p *Project, name, side string, end config.Endpoint, opener func(gapless.Connector) *gapless.Opener[T],
) (opened T, closer func() error, err error) {
	kind, err := p.kinds.find(end.Kind)
	if err != nil {
		return opened, nil, err
	}
	open := opener(kind)
	if open == nil {
		return opened, nil, gapless.Errorf(gapless.CodeConfig, name, "%s cannot be a %s", end.Kind, side)
	}
	opened, err = open.Open(ctx, end.Options, p.Config.Env(name))
	if err != nil {
		return opened, nil, fmt.Errorf("%s: open the %s: %w", name, side, err)
	}
	if c, ok := any(opened).(gapless.Closer); ok {
		return opened, c.Close, nil
	}
	return opened, func() error { return nil }, nil
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
		SyncRecords: c.Sync.EveryRecords, SyncInterval: c.Sync.Every,
		BatchRows: c.Batch.Rows, BatchBytes: int(c.Batch.Size),
		Parallel: c.Parallel, Attempts: c.Retry.Attempts, MaxWait: c.Retry.MaxWait,
		Reconcile: c.Reconcile,
	}
}
