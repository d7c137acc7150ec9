package service

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
	"path/filepath"
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
	if err := checkListen(c.Listen); err != nil {
		if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeUnsafeListen || len(c.Users) == 0 {
			return err
		}
	}
	handler, err := newPushAPI(c, h)
	if err != nil {
		return gapless.Errorf(gapless.CodeInvalidOption, "pushapi", "%w", err).WithHint("correct pushapi: in the configuration")
	}
	secure, err := serverTLS(c, s.Project.Config.Dir)
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return gapless.Errorf(gapless.CodeUsage, c.Listen, "open the listener of the Push API: %w", gapless.Misconfigured(err)).
			WithHint("choose another address in pushapi: listen:")
	}
	s.cleanup = append(s.cleanup, closing(l))
	scheme := "http"
	if secure != nil {
		l, scheme = tls.NewListener(l, secure), "https"
	}
	s.serve(ctx, l, &http.Server{Handler: handler, DisableGeneralOptionsHandler: true, IdleTimeout: 2 * time.Minute})
	s.Logger.Info("serving the Push API", "address", scheme+"://"+l.Addr().String()+"/papi/4/connectors/")
	return nil
}

func newPushAPI(c config.PushAPI, h *hub.Hub) (http.Handler, error) {
	o := pushapi.ServerOptions{Store: PushAPIStore(h), Connectors: c.Connectors, BodyBytes: int64(c.MaxBody)}
	o.Limits.PartBytes = int64(c.MaxPart)
	for _, login := range slices.Sorted(maps.Keys(c.Users)) {
		o.Credentials = append(o.Credentials, pushapi.Credential{Login: login, Hash: c.Users[login]})
	}
	return pushapi.NewServer(o)
}

// serverTLS returns nil if no certificate is configured.
func serverTLS(c config.PushAPI, dir string) (*tls.Config, error) {
	if c.TLSCert == "" && c.TLSKey == "" {
		return nil, nil //nolint:nilnil // no certificate, no mistake
	}
	pair, err := tls.LoadX509KeyPair(inFolder(dir, c.TLSCert), inFolder(dir, c.TLSKey))
	if err != nil {
		return nil, gapless.Errorf(gapless.CodeInvalidOption, "pushapi", "load the certificate: %w", err).
			WithHint("tls_cert and tls_key name a PEM file each")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

func inFolder(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
