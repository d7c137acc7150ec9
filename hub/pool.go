package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
)

// Pool opens each hub once per process, for sources, destinations and servers
// that share it. Hubs stay open until the pool is closed.
type Pool struct {
	// Logger receives what the hubs log; nothing if nil. Set it before the
	// first Open.
	Logger *slog.Logger

	mu     sync.Mutex // guards what follows
	hubs   map[string]*Hub
	closed bool
}

// NewPool returns an empty pool.
func NewPool() *Pool { return &Pool{hubs: map[string]*Hub{}} }

// Open returns the hub in dir, with search if anybody asked for it. The pool
// owns it: callers do not close it. A hub that has stopped is opened anew.
func (p *Pool) Open(ctx context.Context, dir string, search bool) (*Hub, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, err := realFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("open hub %s: %w", dir, err)
	}
	if p.closed {
		return nil, errClosed
	}
	if h := p.hubs[dir]; h != nil {
		if h.Err() == nil {
			if search {
				return h, h.EnableSearch()
			}
			return h, nil
		}
		search = search || h.indexer() != nil
		_ = h.Close() // it has stopped and says so again
		delete(p.hubs, dir)
	}
	h, err := Open(ctx, Options{Dir: dir, Search: search, Logger: p.Logger})
	if err != nil {
		return nil, err
	}
	p.hubs[dir] = h
	return h, nil
}

// realFolder returns the one name of a folder, which it creates if missing.
func realFolder(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return dir, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return dir, err
	}
	return filepath.EvalSymlinks(dir)
}

// Close closes all hubs.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, h := range p.hubs {
		errs = append(errs, h.Close())
	}
	clear(p.hubs)
	return errors.Join(errs...)
}
