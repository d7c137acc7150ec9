package server

import (
	"errors"
	"sync"
)

// syncer lets all who wait for durability share one sync. The zero value is
// ready for use.
type syncer struct {
	mu      sync.Mutex // guards what follows
	next    *round     // may still be joined
	running *round     // began last
}

var errNoSync = errors.New("the sync did not return")

// round is one sync and its outcome.
type round struct {
	done chan struct{}
	err  error
}

// do returns once a sync that began after the call has ended.
func (s *syncer) do(sync func() error) error {
	s.mu.Lock()
	r, before := s.next, s.running
	leads := r == nil
	if leads {
		r = &round{done: make(chan struct{})}
		s.next = r
	}
	s.mu.Unlock()
	if !leads {
		<-r.done
		return r.err
	}
	if before != nil {
		<-before.done
	}
	s.mu.Lock()
	s.next, s.running = nil, r // whoever comes from now on may be too late for this one
	s.mu.Unlock()
	defer close(r.done)
	r.err = errNoSync // unless it returns
	r.err = sync()
	return r.err
}
