package car

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

// ClientOptions say which service to speak to, and how. Either a token or a key
// with a password is needed.
type ClientOptions struct {
	// URL of the service, such as https://host/api/car/v2. It has a segment v2,
	// in whose place the newer requests have v3.
	URL string
	// Key and Password are sent as Basic credentials, unless there is a Token.
	Key      string
	Password gapless.Secret
	Token    gapless.Secret
	// TLS is the configuration of HTTPS; nil is the default one.
	TLS *tls.Config
	// HTTP replaces the client of our own, and TLS with it. It follows no
	// redirects.
	HTTP *http.Client
	// Timeout is how long the service may be silent. Defaults to 60 s, for
	// services may hold a question about a job for 30.
	Timeout time.Duration
	// JobTimeout bounds the wait for one job. Defaults to 30 min.
	JobTimeout time.Duration
	// Retries is how often a request is sent again if the service is
	// unreachable or overloaded. Defaults to 4; negative means never.
	Retries int

	sleep func(ctx context.Context, d time.Duration) error
}

// Client speaks to one service. It is safe for concurrent use.
type Client struct {
	v2, v3        string // without a slash at the end
	authorization string
	http          *http.Client
	opts          ClientOptions
}

// NewClient returns a client; it connects when it is first used. Its errors are
// [gapless.Misconfigured] and name the option at fault.
func NewClient(opts ClientOptions) (*Client, error) {
	v2, v3, err := versions(opts.URL)
	if err != nil {
		return nil, invalidOption("url", err)
	}
	c := &Client{v2: v2, v3: v3, opts: opts}
	switch {
	case opts.Token != "":
		c.authorization = "car-token " + opts.Token.Reveal()
	case opts.Key != "" && opts.Password != "":
		c.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(opts.Key+":"+opts.Password.Reveal()))
	case opts.Key != "" || opts.Password != "":
		return nil, invalidOption("key", errors.New("key and password are both given or both left out"))
	default:
		return nil, invalidOption("key", errors.New("neither a token nor a key with a password is given"))
	}
	if strings.ContainsAny(c.authorization, "\r\n") {
		return nil, invalidOption("token", errors.New("token, key and password have one line each"))
	}
	o := &c.opts
	o.Timeout = cmp.Or(o.Timeout, time.Minute)
	o.JobTimeout = cmp.Or(o.JobTimeout, 30*time.Minute)
	o.Retries = max(0, cmp.Or(o.Retries, 4))
	if o.sleep == nil {
		o.sleep = httpx.Sleep
	}
	c.http = newHTTPClient(o)
	return c, nil
}

// versions returns the addresses below which the requests of both versions
// are.
func versions(base string) (v2, v3 string, err error) {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return "", "", errors.New("is no URL") // the error repeats what may hold a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", "", errors.New("is not of the form https://host/api/car/v2")
	case u.User != nil:
		return "", "", errors.New("holds credentials; give them as key and password")
	case u.RawQuery != "" || u.Fragment != "":
		return "", "", errors.New("has a query or a fragment")
	}
	segments := strings.Split(strings.TrimRight(u.EscapedPath(), "/"), "/")
	at := len(segments) - 1
	for at >= 0 && segments[at] != "v2" {
		at--
	}
	if at < 0 {
		return "", "", errors.New("has no segment /v2, such as in https://host/api/car/v2")
	}
	origin := u.Scheme + "://" + u.Host
	v2 = origin + strings.Join(segments, "/")
	segments[at] = "v3"
	return v2, origin + strings.Join(segments, "/"), nil
}

func newHTTPClient(o *ClientOptions) *http.Client {
	client := &http.Client{}
	if o.HTTP != nil {
		*client = *o.HTTP
	} else {
		client.Transport = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			TLSClientConfig:     o.TLS,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
			WriteBufferSize:     64 << 10,
		}
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func invalidOption(option string, err error) error {
	return gapless.Misconfigured(gapless.OptionError{Option: option, Problem: err.Error(), Code: gapless.CodeInvalidOption})
}

// escape percent-encodes everything that could mean something in a path or in
// a query, a slash and a plus among it.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// clip shortens a foreign text for a message.
func clip(s string) string {
	const most = 300
	s = strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD")
	if len(s) > most {
		s = fmt.Sprintf("%s... (%d bytes)", strings.ToValidUTF8(s[:most], ""), len(s))
	}
	return s
}
