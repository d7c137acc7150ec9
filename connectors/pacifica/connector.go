package pacifica

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
)

// Connector declares Pacifica installations as a source.
func Connector() gapless.Connector {
	return gapless.Connector{
		Name:    "pacifica",
		Summary: "Transactions of a Pacifica installation and their files, verified, by carts",
		Help:    help,
		Example: example,
		Source:  gapless.OpenSource(openSource),
	}
}

// sourceOptions of the source.
type sourceOptions struct {
	Cart            string         `option:"cart,required" help:"Address of the cart server." example:"https://cart.example.org:8081"`
	Policy          string         `option:"policy" help:"Address of the policy server, together with transactions." example:"https://policy.example.org:8181"`
	Transactions    []string       `option:"transactions" help:"Numbers and ranges of the transactions to read." example:"[67, 100-199]"`
	Events          string         `option:"events" help:"Folder of events about ingests, one to a file that ends in .json, instead of a policy server." example:"./events"`
	Login           string         `option:"login" help:"Login at both servers, together with a password." example:"gapless"`
	Password        gapless.Secret `option:"password" help:"Password of the login." example:"${PACIFICA_PASSWORD}"`
	Token           gapless.Secret `option:"token" help:"Bearer token for both servers, instead of a login." example:"${PACIFICA_TOKEN}"`
	Header          gapless.Secret `option:"header" help:"A header line that both servers want." example:"${PACIFICA_HEADER}"`
	CA              string         `option:"ca" help:"PEM file of the authorities that are trusted instead of the system's." example:"./ca.pem"`
	Certificate     string         `option:"certificate" help:"PEM file of a client certificate, together with a key." example:"./client.pem"`
	Key             string         `option:"key" help:"PEM file of the key of the client certificate." example:"./client.key"`
	Wait            time.Duration  `option:"wait" default:"1h" help:"How long a cart may take until it is ready."`
	Timeout         time.Duration  `option:"timeout" default:"1m" help:"How long a server may be silent."`
	AllowUnverified bool           `option:"allow_unverified" default:"false" help:"Take files that have no hash, too."`
}

const example = `pacifica:
  cart: https://cart.example.org:8081
  policy: https://policy.example.org:8181
  transactions: [67, 100-199]
  login: gapless
  password: ${PACIFICA_PASSWORD}
`

func openSource(_ context.Context, o sourceOptions, env gapless.Env) (gapless.Source, error) {
	access := Access{Login: o.Login, Password: o.Password, Token: o.Token, Timeout: o.Timeout}
	var err error
	if o.Header != "" {
		if access.Header, err = parseHeader(o.Header.Reveal()); err != nil {
			return nil, err
		}
	}
	if access.TLS, err = TLSFiles(within(env.Dir, o.CA), within(env.Dir, o.Certificate), within(env.Dir, o.Key)); err != nil {
		return nil, err
	}
	s := &source{events: within(env.Dir, o.Events)}
	switch {
	case (o.Policy == "") == (o.Events == ""):
		return nil, invalidOption("policy", errors.New("either a policy server or a folder of events says what there is"))
	case (o.Policy == "") != (len(o.Transactions) == 0):
		return nil, invalidOption("transactions", errors.New("transactions and a policy server are both given or both left out"))
	case o.Policy != "":
		if s.spans, err = parseSpans(o.Transactions); err != nil {
			return nil, invalidOption("transactions", err)
		}
		if s.policy, err = NewPolicy(o.Policy, access); err != nil {
			return nil, err
		}
	}
	carts, err := NewCartAPI(CartOptions{URL: o.Cart, Access: access})
	if err != nil {
		return nil, err
	}
	s.spool = &spool{carts: carts, parent: filepath.Join(env.State, "spool"), wait: o.Wait, allowUnverified: o.AllowUnverified}
	return s, nil
}

// parseHeader reads a line such as X-Key: abc. Its errors do not repeat it.
func parseHeader(line string) (http.Header, error) {
	name, value, found := strings.Cut(line, ":")
	if !found {
		return nil, invalidOption("header", errors.New("has no colon; write Name: value"))
	}
	h := http.Header{}
	h.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	return h, nil
}

// within returns path as it is seen from dir; "" stays "".
func within(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// TLSFiles returns a configuration from PEM files: the authorities that are
// trusted instead of the system's, and a client certificate with its key. A path
// may be empty; if all are, the configuration is nil. Its errors are
// [gapless.Misconfigured].
func TLSFiles(ca, certificate, key string) (*tls.Config, error) {
	if ca == "" && certificate == "" && key == "" {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, invalidOption("ca", fmt.Errorf("cannot be read: %w", err))
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, invalidOption("ca", fmt.Errorf("%s holds no certificate", ca))
		}
	}
	if (certificate == "") != (key == "") {
		return nil, invalidOption("certificate", errors.New("a client certificate and its key are both given or both left out"))
	}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, invalidOption("certificate", fmt.Errorf("cannot be used: %w", err))
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
