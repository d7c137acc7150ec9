package service

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/connectors/sahana/server"
	"github.com/gapless-sync/gapless/hub"
)

// sahanaPatience bounds how long a request may take to come in, and how long it
// may take altogether: whole tables travel in one.
const sahanaPatience = time.Hour

// startSahana opens the listener of the Sahana service if one is configured.
func (s *Service) startSahana(ctx context.Context, h *hub.Hub) error {
	c := s.Project.Config.Sahana
	if c.Listen == "" {
		return nil
	}
	handler, err := newSahana(ctx, c, h, s)
	if err != nil {
		return gapless.Errorf(gapless.CodeInvalidOption, "sahana", "%w", err).WithHint("correct sahana: in the configuration")
	}
	d := door{
		block: "sahana", name: "the Sahana service", path: c.Base, listen: c.Listen,
		guarded: len(c.Users) > 0, certificate: c.TLSCert, key: c.TLSKey,
	}
	return s.openDoor(ctx, d, &http.Server{
		Handler: handler, DisableGeneralOptionsHandler: true, IdleTimeout: 2 * time.Minute, ReadTimeout: sahanaPatience, WriteTimeout: sahanaPatience,
	})
}

func newSahana(ctx context.Context, c config.Sahana, h *hub.Hub, s *Service) (http.Handler, error) {
	if len(c.Users) == 0 && !c.Anonymous {
		return nil, gapless.Misconfigured(errors.New("there are no users, and anonymous reading is off: nobody could do anything"))
	}
	users, err := pushapi.NewGatekeeper(credentials(c.Users))
	if err != nil {
		return nil, err
	}
	store, err := SahanaStore(ctx, h)
	if err != nil {
		return nil, err
	}
	tasks := map[string]map[string]server.Task{}
	for repository, tables := range c.Repositories {
		tasks[repository] = map[string]server.Task{}
		for table, t := range tables {
			tasks[repository][table] = server.Task{Strategy: t.Strategy, Update: t.Update, Fields: t.Fields, Conflict: t.Conflict}
		}
	}
	return server.New(server.Options{
		Store: store, Anonymous: c.Anonymous, Base: c.Base, Domain: c.Domain, Repositories: tasks, BodyBytes: int64(c.MaxBody),
		Logger: s.Logger, Now: s.Now,
		Admit: func(r *http.Request) bool {
			user, password, ok := r.BasicAuth()
			return ok && users.Knows(r.Context(), user, password)
		},
	})
}
