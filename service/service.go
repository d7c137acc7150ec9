package service

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
)

// Config is what a daemon needs.
type Config struct {
	Project *Project
	// Listen is the address of the HTTP listener, HOST:PORT; port 0 takes any
	// that is free. Defaults to [DefaultListen].
	Listen string
	// Exec executes commands that come through the local socket.
	Exec Exec
	// Logger defaults to discarding.
	Logger *slog.Logger
	// Now defaults to time.Now.
	Now func() time.Time
}

// Service is the daemon of one project.
type Service struct {
	Config
	metrics *metrics
	started time.Time
	halt    chan struct{}
	exec    *executor

	mu      sync.Mutex // guards what follows
	servers []*http.Server
	address string
	cleanup []func() error
	serving sync.WaitGroup
	stopped bool
	failed  chan error
	events  *eventDoor     // nil if none are taken
	working sync.WaitGroup // what acts on them
}

// New checks the configuration; nothing is opened yet.
func New(c Config) (*Service, error) {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if err := checkListen(c.Listen); err != nil {
		return nil, err
	}
	if c.Project == nil || c.Exec == nil {
		return nil, errors.New("service: project and exec are needed")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Service{Config: c, halt: make(chan struct{}), failed: make(chan error, 2)}
	s.metrics = newMetrics(s.Status)
	c.Project.observe = s.metrics.observe
	c.Project.queue = s.eventQueue
	return s, nil
}

// Start opens the hub and both doors and returns; requests are answered from
// then on. Cancelling the context ends everything at once. After an error
// nothing is left open.
func (s *Service) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = s.Now()
	if err := s.start(ctx); err != nil {
		return errors.Join(err, s.release())
	}
	return nil
}

func (s *Service) start(ctx context.Context) error {
	h, err := s.Project.Hub(ctx)
	if err != nil {
		return err
	}
	var config net.ListenConfig
	open, err := config.Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return gapless.Errorf(gapless.CodeUsage, s.Listen, "open the HTTP listener: %w", gapless.Misconfigured(err)).
			WithHint("choose another address with --listen")
	}
	s.address = open.Addr().String()
	s.cleanup = append(s.cleanup, closing(open))
	local, remove, err := listenLocal(ctx, s.Project.Config.State)
	if err != nil {
		return err
	}
	s.cleanup = append(s.cleanup, closing(local), func() error { remove(); return nil })

	mux := s.routes()
	inside := http.NewServeMux()
	inside.Handle("/", mux)
	s.exec = &executor{base: ctx, exec: s.Exec, halt: s.halt}
	inside.Handle("POST /exec", s.exec)
	s.serve(ctx, open, &http.Server{Handler: onlyLocal(mux), WriteTimeout: time.Minute, IdleTimeout: time.Minute})
	s.serve(ctx, local, &http.Server{Handler: inside})
	if err := s.startPushAPI(ctx, h); err != nil {
		return err
	}
	if err := s.startCAR(ctx, h); err != nil {
		return err
	}
	if err := s.startSahana(ctx, h); err != nil {
		return err
	}
	if err := s.startCarts(ctx, h); err != nil {
		return err
	}
	return s.startEvents(ctx)
}

func closing(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

func (s *Service) serve(ctx context.Context, l net.Listener, server *http.Server) {
	server.ReadHeaderTimeout, server.MaxHeaderBytes = 10*time.Second, cmp.Or(server.MaxHeaderBytes, 64<<10)
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	server.ErrorLog = slog.NewLogLogger(s.Logger.Handler(), slog.LevelWarn)
	s.servers = append(s.servers, server)
	s.serving.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
	})
}

// Address returns where the HTTP listener is; empty before Start.
func (s *Service) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// Failed receives an error if a listener ends by itself; the daemon should
// then be stopped.
func (s *Service) Failed() <-chan error { return s.failed }

// Stop asks the commands under way to end in good order, waits for them, and
// closes both doors. Stopping twice, or before Start, is no error. The
// project stays open.
func (s *Service) Stop() error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return nil
	}
	s.stopped = true
	close(s.halt)
	servers, commands := s.servers, s.exec
	s.mu.Unlock()
	var errs []error
	for _, server := range servers {
		errs = append(errs, server.Shutdown(context.Background()))
	}
	s.serving.Wait()
	if commands != nil {
		commands.running.Wait() // the servers no longer know of their connections
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(append(errs, s.release())...)
}

// release closes what Start has opened, the last first.
func (s *Service) release() error {
	var errs []error
	for _, undo := range slices.Backward(s.cleanup) {
		errs = append(errs, undo())
	}
	s.cleanup = nil
	return errors.Join(errs...)
}

// Status returns the project's status with the daemon in it.
func (s *Service) Status(ctx context.Context) (Status, error) {
	status, err := s.Project.Status(ctx, s.Now())
	status.Daemon = s.Self()
	return status, err
}

// eventQueue returns the queue of events, nil if none are taken.
func (s *Service) eventQueue() *eventQueue {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.events == nil {
		return nil
	}
	return s.events.queue
}

// Self says which process this is.
func (s *Service) Self() *Daemon {
	return &Daemon{Process: os.Getpid(), Started: s.started, Address: s.Address()}
}

// routes are the same behind both doors; all of them only read.
func (s *Service) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.Handle("GET /metrics", s.metrics.handler())
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		status, err := s.Status(r.Context())
		answer(w, status, err)
	})
	mux.HandleFunc("GET /search", s.search)
	return mux
}

func (s *Service) health(w http.ResponseWriter, r *http.Request) {
	h, err := s.Project.Hub(r.Context())
	if err == nil {
		err = h.Err()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n")) // the caller may be gone
}

func (s *Service) search(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		answer(w, nil, err)
		return
	}
	found, err := s.Project.Search(r.Context(), q)
	answer(w, found, err)
}

// answer writes a document, or an error as one.
func answer(w http.ResponseWriter, doc any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		problem := struct {
			Code  string `json:"code,omitempty"`
			Error string `json:"error"`
		}{Error: err.Error()}
		if e, ok := errors.AsType[*gapless.Error](err); ok {
			problem.Code = e.Code.String()
		}
		w.WriteHeader(httpStatus(err))
		doc = problem
	}
	_ = json.NewEncoder(w).Encode(doc) // the caller may be gone
}

func httpStatus(err error) int {
	switch gapless.ExitCode(err) {
	case gapless.ExitUsage:
		return http.StatusBadRequest
	case gapless.ExitRecoverable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
