package service

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/connectors/car/server"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/hub"
)

// carHeader bounds the head of a request, which may list ten thousand ids.
const carHeader = 1 << 20

// carRead bounds how long a request may take to come in, and carWrite how long
// it may take altogether: an answer can be held, and a vertex with all its
// edges takes time to delete.
const (
	carRead  = 5 * time.Minute
	carWrite = 30 * time.Minute
)

// startCAR opens the listener of the CAR service if one is configured.
func (s *Service) startCAR(ctx context.Context, h *hub.Hub) error {
	c := s.Project.Config.CAR
	if c.Listen == "" {
		return nil
	}
	admit, err := newCARGate(c)
	if err != nil {
		return gapless.Errorf(gapless.CodeInvalidOption, "car", "%w", err).WithHint("correct users: and tokens: of car: in the configuration")
	}
	handler, err := server.New(server.Options{Store: CARStore(h), Admit: admit.admits, BodyBytes: int64(c.MaxBody), Logger: s.Logger, Now: s.Now})
	if err != nil {
		return err
	}
	s.cleanup = append(s.cleanup, handler.Close)
	d := door{
		block: "car", name: "the CAR service", path: server.PathV2, listen: c.Listen,
		guarded: len(c.Users)+len(c.Tokens) > 0, certificate: c.TLSCert, key: c.TLSKey,
	}
	web := &http.Server{Handler: handler, IdleTimeout: 2 * time.Minute, ReadTimeout: carRead, WriteTimeout: carWrite, MaxHeaderBytes: carHeader}
	web.RegisterOnShutdown(func() { _ = handler.Close() }) // it closes for good in the cleanup; now it ends those who wait
	return s.openDoor(ctx, d, web)
}

// tokenScheme is how clients send a token.
const tokenScheme = "car-token"

// carGate lets clients of the CAR service in, by key and password or by token.
type carGate struct {
	users, tokens *pushapi.Gatekeeper
	names         []string // of tokens
	open          bool     // nobody is asked
	secret        [32]byte
	known         sync.Map // keyed sums of tokens that were right
}

func newCARGate(c config.CAR) (*carGate, error) {
	g := &carGate{open: len(c.Users)+len(c.Tokens) == 0}
	_, _ = rand.Read(g.secret[:]) // never fails
	for _, token := range credentials(c.Tokens) {
		g.names = append(g.names, token.Login)
	}
	var err error
	if g.users, err = pushapi.NewGatekeeper(credentials(c.Users)); err != nil {
		return nil, err
	}
	g.tokens, err = pushapi.NewGatekeeper(credentials(c.Tokens))
	return g, err
}

func (g *carGate) admits(r *http.Request) bool {
	if g.open {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, tokenScheme) {
		return g.admitsToken(r.Context(), token)
	}
	key, password, ok := r.BasicAuth()
	return ok && g.users.Knows(r.Context(), key, password)
}

// admitsToken tries a token that it does not know yet under every name.
func (g *carGate) admitsToken(ctx context.Context, token string) bool {
	mac := hmac.New(sha256.New, g.secret[:])
	_, _ = mac.Write([]byte(token)) // never fails
	sum := [sha256.Size]byte(mac.Sum(nil))
	if _, ok := g.known.Load(sum); ok {
		return true
	}
	for _, name := range g.names {
		if g.tokens.Knows(ctx, name, token) {
			g.known.Store(sum, nil)
			return true
		}
	}
	return false
}
