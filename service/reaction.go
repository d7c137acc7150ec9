package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/connectors/pacifica"
	cartserver "github.com/gapless-sync/gapless/connectors/pacifica/server"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/event"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/transfer"
)

// reactions are what events set off.
type reactions struct {
	*Service
	list []reaction
}

type reaction struct {
	config.Reaction
	wants *event.Subscription
	// turn has room for one: who runs the connector, or downloads into the folder.
	turn chan struct{}
}

func newReactions(s *Service, list []config.Reaction) (*reactions, error) {
	r := &reactions{Service: s}
	turns := map[string]chan struct{}{}
	for _, c := range list {
		wants, err := c.Rule().Compile()
		if err != nil {
			return nil, err
		}
		of := "run " + c.Run
		if c.Download != nil {
			of = "download " + filepath.Join(inFolder(s.Project.Config.Dir, c.Download.To), c.Download.Name)
		}
		if turns[of] == nil {
			turns[of] = make(chan struct{}, 1)
		}
		r.list = append(r.list, reaction{c, wants, turns[of]})
	}
	return r, nil
}

// handle does everything that an event sets off. All of it is done again after
// a failure of one: a run finds nothing new then, and a download everything in
// its place.
func (r *reactions) handle(ctx context.Context, e event.Event) error {
	for _, reaction := range r.list {
		if !reaction.wants.Matches(e) {
			continue
		}
		if err := r.act(ctx, reaction, e); err != nil {
			return fmt.Errorf("%s: %w", reaction, err)
		}
		r.Logger.Info("an event was acted on", "source", e.Source, "id", e.ID, "action", reaction.String())
	}
	return nil
}

// act does one thing that an event sets off, when it is its turn.
func (r *reactions) act(ctx context.Context, reaction reaction, e event.Event) error {
	select {
	case reaction.turn <- struct{}{}:
		defer func() { <-reaction.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if reaction.Download != nil {
		return r.download(ctx, reaction.Download, e)
	}
	return r.run(ctx, reaction.Run, reaction.wants.KeysOf(e))
}

// run runs a connector, of the records named if there are any. Records that
// cannot be synced are in the dead letters, so that the event is done.
func (r *reactions) run(ctx context.Context, name string, keys []string) error {
	c, err := r.Project.Config.Connector(name)
	if err != nil {
		return err
	}
	e, closeEnds, err := r.Project.Engine(ctx, c, nil)
	if err != nil {
		return err
	}
	_, err = e.Run(ctx, engine.RunOptions{Keys: keys, Stop: r.halt})
	if coded, ok := errors.AsType[*gapless.Error](err); ok && coded.Code == gapless.CodeRejectedRecords {
		err = nil
	}
	return errors.Join(err, closeEnds())
}

// download brings the files that an event names. What does not come is left to
// the queue, which tries again later: other events have their turn meanwhile.
func (r *reactions) download(ctx context.Context, d *config.EventDownload, e event.Event) error {
	dir := r.Project.Config.Dir
	tls, err := pacifica.TLSFiles(ifNamed(dir, d.CA), ifNamed(dir, d.ClientCert), ifNamed(dir, d.ClientKey))
	if err != nil {
		return err
	}
	downloader, err := pacifica.NewDownloader(inFolder(dir, d.To), pacifica.CartOptions{
		URL: d.Cart, Access: pacifica.Access{Login: d.User, Password: d.Password, Token: d.Token, TLS: tls},
	})
	if err != nil {
		return err
	}
	_, err = downloader.CloudEvent(ctx, e, pacifica.DownloadOptions{Filename: d.Name, Job: transfer.Job{AllowUnverified: d.AllowUnverified, Attempts: 1}})
	return errors.Join(err, downloader.Close())
}

// ifNamed is inFolder for a file that need not be named.
func ifNamed(dir, path string) string {
	if path == "" {
		return ""
	}
	return inFolder(dir, path)
}

// eventFolder is where the queue of events is kept.
func (p *Project) eventFolder() string { return filepath.Join(p.Config.State, "events") }

// startEvents opens the queue of events, the listener for them if one is
// configured, and begins to act on them.
func (s *Service) startEvents(ctx context.Context) error {
	c := s.Project.Config.Events
	if c.Listen == "" && c.NATS == nil {
		return nil
	}
	act, err := newReactions(s, c.On)
	if err != nil {
		return err
	}
	gate, err := newCartGate(c.Users, c.Tokens)
	if err != nil {
		return err
	}
	events, err := newEventDoor(eventOptions{
		Dir: s.Project.eventFolder(), Work: act.handle, Workers: c.Workers, MaxBody: c.MaxBody, Keep: c.Keep, GiveUp: c.GiveUp, Logger: s.Logger,
		Admit: func(r *http.Request) bool { _, ok := gate.admits(r); return ok },
	})
	if err != nil {
		return err
	}
	s.events = events
	working, stop := context.WithCancel(ctx)
	s.cleanup = append(s.cleanup, func() error {
		stop()
		s.working.Wait()
		return events.Close()
	})
	if c.Listen != "" {
		d := door{
			block: "events", name: "the receiver of events", path: "/", listen: c.Listen,
			guarded: len(c.Users)+len(c.Tokens) > 0, certificate: c.TLSCert, key: c.TLSKey,
		}
		if err := s.openDoor(ctx, d, &http.Server{Handler: events, IdleTimeout: 2 * time.Minute, ReadTimeout: time.Minute, WriteTimeout: time.Minute}); err != nil {
			return err
		}
	}
	s.working.Go(func() {
		if err := events.run(working); err != nil {
			s.failed <- fmt.Errorf("act on events: %w", err)
		}
	})
	if n := c.NATS; n != nil {
		subject := eventSubject{URL: n.URL, Subject: n.Subject, Stream: n.Stream, Durable: n.Durable, Credentials: ifNamed(s.Project.Config.Dir, n.Credentials)}
		s.working.Go(func() { events.follow(working, subject) })
	}
	return nil
}

// PendingEvents lists the events that wait and those that are dead, the oldest
// first. The daemon, if there is one, executes this.
func (p *Project) PendingEvents() ([]PendingEvent, error) {
	var list []PendingEvent
	err := p.withEvents(func(q *eventQueue) (err error) {
		list, err = q.pending()
		return err
	})
	return list, err
}

// RequeueEvent has a dead event handled again, at once if the daemon runs. The
// error is of [gapless.CodeNotFound] if there is none of that name.
func (p *Project) RequeueEvent(name string) error {
	return p.withEvents(func(q *eventQueue) error { return q.revive(name) })
}

// withEvents calls fn with the queue, that of the daemon if this is it.
func (p *Project) withEvents(fn func(*eventQueue) error) error {
	if p.queue != nil {
		if q := p.queue(); q != nil {
			return fn(q)
		}
	}
	q, err := openEventQueue(p.eventFolder(), p.Config.Events.Keep, nil)
	if err != nil {
		return err
	}
	return errors.Join(fn(q), q.Close())
}

// startCarts opens the listener of the cart service if one is configured.
func (s *Service) startCarts(ctx context.Context, h *hub.Hub) error {
	c := s.Project.Config.Cart
	if c.Listen == "" {
		return nil
	}
	carts, err := newCartDoor(cartOptions{
		Dir: filepath.Join(s.Project.Config.State, "carts"), Root: ifNamed(s.Project.Config.Dir, c.Root), Parts: c.Parts,
		Users: c.Users, Tokens: c.Tokens, Keep: c.Keep, Logger: s.Logger, Now: s.Now,
		Limits: cartserver.Limits{BodyBytes: int64(c.MaxBody), Files: c.MaxFiles, Carts: c.MaxCarts},
	}, h)
	if err != nil {
		return gapless.Errorf(gapless.CodeInvalidOption, "cart", "%w", err).WithHint("correct cart: in the configuration")
	}
	s.cleanup = append(s.cleanup, carts.Close)
	d := door{
		block: "cart", name: "the cart service", path: "/", listen: c.Listen,
		guarded: len(c.Users)+len(c.Tokens) > 0, certificate: c.TLSCert, key: c.TLSKey,
	}
	server := &http.Server{Handler: carts, IdleTimeout: 2 * time.Minute}
	server.RegisterOnShutdown(func() { // downloads end visibly, rather than never
		if err := carts.Close(); err != nil {
			s.Logger.Error("close the cart service", "error", err)
		}
	})
	return s.openDoor(ctx, d, server)
}
