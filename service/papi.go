package service

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/hub"
)

// startPushAPI opens the listener of the Push API if one is configured.
func (s *Service) startPushAPI(ctx context.Context, h *hub.Hub) error {
	c := s.Project.Config.PushAPI
	if c.Listen == "" {
		return nil
	}
	handler, err := newPushAPI(c, h)
	if err != nil {
		return gapless.Errorf(gapless.CodeInvalidOption, "pushapi", "%w", err).WithHint("correct pushapi: in the configuration")
	}
	d := door{
		block: "pushapi", name: "the Push API", path: "/papi/4/connectors/", listen: c.Listen,
		guarded: len(c.Users) > 0, certificate: c.TLSCert, key: c.TLSKey,
	}
	return s.openDoor(ctx, d, &http.Server{Handler: handler, DisableGeneralOptionsHandler: true, IdleTimeout: 2 * time.Minute})
}

func newPushAPI(c config.PushAPI, h *hub.Hub) (http.Handler, error) {
	o := pushapi.ServerOptions{Store: PushAPIStore(h), Connectors: c.Connectors, BodyBytes: int64(c.MaxBody), Credentials: credentials(c.Users)}
	o.Limits.PartBytes = int64(c.MaxPart)
	return pushapi.NewServer(o)
}

// credentials returns hashes by login in order.
func credentials(hashes map[string]string) (list []pushapi.Credential) {
	for _, login := range slices.Sorted(maps.Keys(hashes)) {
		list = append(list, pushapi.Credential{Login: login, Hash: hashes[login]})
	}
	return list
}
