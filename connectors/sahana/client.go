package sahana

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

// clientOptions say which Eden to speak to, and how.
type clientOptions struct {
	// URL up to the application, such as https://host/eden.
	URL string
	// Login and Password are sent with every request; both empty for an Eden
	// that lets anybody in.
	Login    string
	Password gapless.Secret
	// TLS is the configuration of HTTPS; nil is the default one.
	TLS *tls.Config
	// Timeout is how long the Eden may be silent. Defaults to 5 min: it answers
	// an import when all of it is done.
	Timeout time.Duration
	// Retries is how often a request is sent again if the Eden is unreachable
	// or overloaded. Defaults to 4; negative means never.
	Retries int

	sleep func(ctx context.Context, d time.Duration) error
}

// client speaks to one Eden. It is safe for concurrent use.
type client struct {
	base          string // without a slash at the end
	authorization string // empty for nobody
	http          *http.Client
	opts          clientOptions
	// kin says that it is the service of Gapless that answers, not an Eden.
	kin atomic.Bool
}

// newClient returns a client; it connects when it is first used. Its errors are
// [gapless.Misconfigured] and name the option at fault.
func newClient(opts clientOptions) (*client, error) {
	base, err := baseOf(opts.URL)
	if err != nil {
		return nil, invalidOption("url", err)
	}
	c := &client{base: base, opts: opts}
	switch {
	case (opts.Login == "") != (opts.Password == ""):
		return nil, invalidOption("login", errors.New("login and password are both given or both left out"))
	case strings.ContainsAny(opts.Login, ":\r\n") || strings.ContainsAny(opts.Password.Reveal(), "\r\n"):
		return nil, invalidOption("login", errors.New("login and password have one line each, and the login no colon"))
	case opts.Login != "":
		c.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(opts.Login+":"+opts.Password.Reveal()))
	}
	o := &c.opts
	o.Timeout = cmp.Or(o.Timeout, 5*time.Minute)
	o.Retries = max(0, cmp.Or(o.Retries, 4))
	if o.sleep == nil {
		o.sleep = httpx.Sleep
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			TLSClientConfig:     o.TLS,
			MaxIdleConnsPerHost: 4,
			IdleConnTimeout:     time.Minute,
		},
		// A redirect leads to the page for logging in, if anywhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// baseOf returns the address below which all requests are.
func baseOf(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("is no URL") // the error repeats what may hold a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", errors.New("is not of the form https://host/eden")
	case u.User != nil:
		return "", errors.New("holds credentials; give them as login and password")
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("has a query or a fragment")
	}
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/"), nil
}

// Close drops idle connections.
func (c *client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

func invalidOption(option string, err error) error {
	return gapless.Misconfigured(gapless.OptionError{Option: option, Problem: err.Error(), Code: gapless.CodeInvalidOption})
}

// clip shortens a foreign text for a message.
func clip(s string) string {
	const most = 300
	s = strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
