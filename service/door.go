package service

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"path/filepath"

	"github.com/gapless-sync/gapless"
)

// door is a listener for the clients of a protocol, which the configuration
// asks for.
type door struct {
	block string // of the configuration
	name  string // of the protocol
	path  string // that it is found at
	// listen is the address, which must be on loopback unless the door is
	// guarded by credentials.
	listen  string
	guarded bool
	// certificate and key are files; without them the door speaks plain HTTP.
	certificate, key string
}

// openDoor opens a listener and serves it until the service stops.
func (s *Service) openDoor(ctx context.Context, d door, server *http.Server) error {
	if err := checkListen(d.listen); err != nil {
		if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeUnsafeListen || !d.guarded {
			return err
		}
	}
	secure, err := d.tls(s.Project.Config.Dir)
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", d.listen)
	if err != nil {
		return gapless.Errorf(gapless.CodeUsage, d.listen, "open the listener of %s: %w", d.name, gapless.Misconfigured(err)).
			WithHint("choose another address in %s: listen:", d.block)
	}
	s.cleanup = append(s.cleanup, closing(l))
	scheme := "http"
	if secure != nil {
		l, scheme = tls.NewListener(l, secure), "https"
	}
	s.serve(ctx, l, server)
	s.Logger.Info("serving "+d.name, "address", scheme+"://"+l.Addr().String()+d.path)
	return nil
}

// tls returns nil if no certificate is configured.
func (d *door) tls(dir string) (*tls.Config, error) {
	if d.certificate == "" && d.key == "" {
		return nil, nil //nolint:nilnil // no certificate, no mistake
	}
	pair, err := tls.LoadX509KeyPair(inFolder(dir, d.certificate), inFolder(dir, d.key))
	if err != nil {
		return nil, gapless.Errorf(gapless.CodeInvalidOption, d.block, "load the certificate: %w", err).
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
